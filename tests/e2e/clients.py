"""The two vendor SDKs behind one call, so that every test can be run with either.

`call("CreateSnapshot", DiskId=...)` takes the API's own parameter names and returns the answer as the
SDK hands it out, or raises `EcsError`. Tags are given as a list of {"Key", "Value"} under `Tag`.
"""

import json
import re

from alibabacloud_ecs20140526 import models
from alibabacloud_ecs20140526.client import Client as TeaClient
from alibabacloud_tea_openapi.utils_models import Config
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient

from service import KEY, REGION, SECRET

LISTS = {  # where the answer's list of an action is
    "DescribeSnapshots": ("Snapshots", "Snapshot"),
    "DescribeDisks": ("Disks", "Disk"),
    "DescribeInstances": ("Instances", "Instance"),
}


class EcsError(Exception):
    def __init__(self, code, status, message):
        super().__init__(f"{status} {code}: {message}")
        self.code, self.status, self.message = code, status, message


class V3:
    """`alibabacloud_ecs20140526`, signing with ACS3-HMAC-SHA256 in headers."""

    name = "V3"

    def __init__(self, service, key=KEY, secret=SECRET, token=None):
        self.client = TeaClient(
            Config(
                access_key_id=key,
                access_key_secret=secret,
                security_token=token,
                endpoint=service.endpoint,
                protocol="http",
                region_id=REGION,
            )
        )

    def call(self, action, **parameters):
        request = getattr(models, f"{action}Request")().from_map(parameters)
        # The SDK takes VSwitch for one word.
        method = re.sub(r"(?<!^)([A-Z])", r"_\1", action.replace("VSwitch", "Vswitch")).lower()
        try:
            return getattr(self.client, method)(request).body.to_map()
        except Exception as failure:
            code = getattr(failure, "code", None)
            if not isinstance(code, str) or getattr(failure, "status_code", None) is None:
                raise
            raise EcsError(code, failure.status_code, failure.message) from None


class V1:
    """`aliyun-python-sdk-ecs`, signing with HMAC-SHA1 in the query."""

    name = "V1"

    def __init__(self, service, key=KEY, secret=SECRET, token=None):
        if token is None:
            self.client = AcsClient(key, secret, REGION, auto_retry=False)
        else:
            credential = StsTokenCredential(key, secret, token)
            self.client = AcsClient(region_id=REGION, credential=credential, auto_retry=False)
        self.endpoint = service.endpoint

    def call(self, action, **parameters):
        module = __import__(f"aliyunsdkecs.request.v20140526.{action}Request", fromlist=[action])
        request = getattr(module, f"{action}Request")()
        request.set_endpoint(self.endpoint)
        for name, value in parameters.items():
            setter = getattr(request, f"set_{name}", None) or getattr(request, f"set_{name}s", None)
            if setter is not None:
                setter(value)
            elif name.lower() != "regionid":  # the core adds the region to every request by itself
                raise TypeError(f"{action} of the V1 SDK has no parameter {name}")
        try:
            return json.loads(self.client.do_action_with_exception(request))
        except ServerException as failure:
            raise EcsError(failure.error_code, failure.http_status, failure.message) from None


def rows(client, action, **parameters):
    """The rows of a Describe call, first page of at most 100."""
    parameters.setdefault("RegionId", REGION)
    parameters.setdefault("PageSize", 100)
    answer = client.call(action, **parameters)
    wrapper, item = LISTS[action]
    return answer[wrapper][item]
