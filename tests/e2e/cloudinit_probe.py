"""cloud-init's own data source for this platform, run against a metadata service: what would it make of the machine?

A process of its own: `cloudinit_probe.py URL ADDRESS DIRECTORY`, with cloud-init on PYTHONPATH. Asks URL from ADDRESS and
prints JSON. Only what tells the platform (DMI) is put in place of this machine's.
"""

import base64
import json
import logging
import sys

from instance import source_address

url, address, directory = sys.argv[1:]

from cloudinit import dmi, helpers  # noqa: E402
from cloudinit.sources import DataSourceAliYun as module  # noqa: E402

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
dmi.read_dmi_data = lambda key: "Alibaba Cloud ECS" if key == "system-product-name" else None
settings = {"metadata_urls": [url], "max_wait": 20, "timeout": 5}
paths = helpers.Paths({"cloud_dir": directory, "run_dir": directory})
source = module.DataSourceAliYun({"datasource": {"AliYun": settings}}, None, paths)
with source_address(address):
    found = source._get_data()
hostname = source.get_hostname() if found else ""
user_data = source.userdata_raw or b""
print(
    json.dumps(
        {
            "found": found,
            "hostname": getattr(hostname, "hostname", hostname),
            "instance": source.get_instance_id() if found else None,
            "keys": source.get_public_ssh_keys() if found else None,
            "user_data": base64.b64encode(user_data if isinstance(user_data, bytes) else user_data.encode()).decode(),
            "macs": list(source.metadata["network"]["interfaces"]["macs"]) if found else None,
        }
    )
)
