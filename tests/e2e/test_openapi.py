"""schemathesis reads the published description and sends what it allows, and a little of what it forbids: every answer
is one that the description knows, and none is our fault. Bounded to about a minute.
"""

import time

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import signed
from service import Service
from signed import Wire

SECONDS = 60
EXAMPLES = 12


@pytest.fixture(scope="module")
def own():
    service = Service()
    try:
        yield service.start()
    finally:
        service.destroy()


def sign(case):
    """What a client does last: the common parameters, and the signature over all of them."""
    given = {name: text(value) for name, value in (case.query or {}).items()}
    fixed = {"Action": given.pop("Action"), "Version": given.pop("Version"), "Format": "JSON"}
    given.pop("Format", None)
    case.query = signed.v1(fixed["Action"], given, case.method.upper(), Version=fixed["Version"])


def run(operation, service, checks, until, sent):
    """Some cases of one operation, and at least one."""

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy())
    def check(case):
        if time.monotonic() > until and sent.get(operation.label):
            return
        sign(case)
        answer = case.call(base_url=f"http://{service.endpoint}")
        sent[operation.label] = sent.get(operation.label, 0) + 1
        case.validate_response(answer, checks=checks)

    check()


def text(value):
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(text, value)) if isinstance(value, list) else str(value)


def test_the_description_is_what_is_served(own):
    document = Wire(own).description()
    schema = schemathesis.openapi.from_dict(document)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == len(document["paths"])
    deadline = time.monotonic() + SECONDS
    sent = {}
    for at, operation in enumerate(operations):
        # What one does not use of its share is there for the others.
        share = time.monotonic() + (deadline - time.monotonic()) / (len(operations) - at)
        run(operation, own, checks, share, sent)
    assert len(sent) == len(operations) and "panicked" not in own.log.read_text(errors="replace")
