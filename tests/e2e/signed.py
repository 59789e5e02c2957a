"""Requests as bytes: signed like a client's and then spoilt, or sent by the thousand. No SDK would send these.

Version 1 of the signature (HMAC-SHA1 over the parameters) and version 3 (ACS3-HMAC-SHA256 over headers and body).
"""

import base64
import hashlib
import hmac
import http.client
import itertools
import json
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

from service import KEY, REGION, SECRET

_numbers = itertools.count(1)


def encode(text):
    return urllib.parse.quote(text, safe="-_.~")


def nonce():
    return f"nonce-{time.time_ns()}-{next(_numbers)}"


def timestamp(seconds=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def v1(action, parameters=(), method="GET", secret=SECRET, **common):
    """All parameters of a request, signed; `common` replaces or (None) leaves out what every request has."""
    all_of_them = {
        "Action": action,
        "Version": "2014-05-26",
        "Format": "JSON",
        "AccessKeyId": KEY,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": nonce(),
        "Timestamp": timestamp(),
        **dict(parameters),
        **common,
    }
    all_of_them = {name: value for name, value in all_of_them.items() if value is not None}
    canonical = "&".join(f"{encode(name)}={encode(all_of_them[name])}" for name in sorted(all_of_them))
    text = f"{method}&%2F&{encode(canonical)}"
    digest = hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
    return {**all_of_them, "Signature": base64.b64encode(digest).decode()}


def query(parameters):
    return "&".join(f"{encode(name)}={encode(value)}" for name, value in parameters.items())


def v3(action, parameters=(), method="POST", body=b"", host="h", secret=SECRET, **headers):
    """(query, headers) of a request."""
    parameters = dict(parameters)
    sent = {
        "host": host,
        "x-acs-action": action,
        "x-acs-version": "2014-05-26",
        "x-acs-date": timestamp(),
        "x-acs-signature-nonce": nonce(),
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    names = sorted(sent)
    canonical_query = "&".join(f"{name}={encode(parameters[name])}" for name in sorted(parameters))
    canonical_headers = "".join(f"{name}:{sent[name].strip()}\n" for name in names)
    canonical = "\n".join([method, "/", canonical_query, canonical_headers, ";".join(names), sent["x-acs-content-sha256"]])
    text = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    sent["Authorization"] = f"ACS3-HMAC-SHA256 Credential={KEY},SignedHeaders={';'.join(names)},Signature={signature}"
    return query(parameters), sent


class Answer:
    """Status, headers and body of one answer, which must be whole in its format."""

    def __init__(self, answer):
        self.status, self.headers, self.text = answer.status, dict(answer.getheaders()), answer.read().decode()
        kind = self.headers.get("content-type", "")
        if kind.startswith("application/json"):
            self.body = json.loads(self.text)
        elif kind.startswith("text/xml"):
            self.body = tree(ElementTree.fromstring(self.text))
        else:
            self.body = None

    @property
    def code(self):
        return (self.status, self.body.get("Code"))

    def check_error(self):
        """What every error has, whatever else it is."""
        assert set(self.body) == {"RequestId", "HostId", "Code", "Message", "Recommend"}, self.text
        assert all(isinstance(value, str) for value in self.body.values()), self.text
        return self


def tree(element):
    """XML as the JSON that it stands for, with all values as texts, and a list for every repeated name."""
    if len(element) == 0:
        return element.text or ""
    members = {}
    for child in element:
        members.setdefault(child.tag, []).append(tree(child))
    return {name: values[0] if len(values) == 1 else values for name, values in members.items()}


class Wire:
    """One connection that is kept open."""

    def __init__(self, service):
        self.service = service
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)

    def send(self, method, target, body=None, headers=()):
        for attempt in (1, 2):
            try:
                self.connection.request(method, target, body=body, headers=dict(headers))
                return Answer(self.connection.getresponse())
            except (http.client.RemoteDisconnected, ConnectionError, BrokenPipeError):
                # It had been idle for too long.
                self.connection.close()
                if attempt == 2:
                    raise

    def call(self, action, parameters=(), method="GET", **common):
        return self.send(method, f"/?{query(v1(action, parameters, method, **common))}")

    def call_v3(self, action, parameters=(), method="POST", body=b"", **headers):
        text, sent = v3(action, parameters, method, body, host=self.service.endpoint, **headers)
        return self.send(method, f"/?{text}", body, sent)

    def description(self):
        return self.send("GET", "/openapi.json").body


class Operation:
    """One action as the published description has it."""

    def __init__(self, path, item):
        ((self.method, operation),) = item.items()
        self.action = operation["operationId"]
        assert path == f"/#Action={self.action}"
        fixed = {"Action", "Version", "Format"}
        self.version = next(p for p in operation["parameters"] if p["name"] == "Version")["schema"]["enum"][0]
        self.parameters = {p["name"]: p for p in operation["parameters"] if p["name"] not in fixed}
        self.reads = self.method == "get"
        self._smallest = operation["x-smallest-request"]

    def smallest(self, **more):
        """The parameters of a small request that parses, with some more."""
        region = {"RegionId": REGION} if "RegionId" in self.parameters else {}
        return {**self._smallest, **region, **more}

    def __repr__(self):
        return self.action


def operations(wire):
    return [Operation(path, item) for path, item in sorted(wire.description()["paths"].items())]
