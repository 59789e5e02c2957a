"""The walk of a user through the clients that are not the two Python SDKs: apache-libcloud, which speaks XML, and the
vendor's two for Node.js. They do what they do, unmodified; only the endpoint is ours.
"""

import json
import os
import pathlib

import pytest
from libcloud.common.exceptions import BaseHTTPError
from libcloud.compute.providers import get_driver
from libcloud.compute.types import NodeState, Provider, StorageVolumeState, VolumeSnapshotState

from service import KEY, REGION, SECRET, ZONE, run, wait_until

NODE_MODULES = os.environ.get("TIDEMARK_NODE_MODULES", "target/node/node_modules")


@pytest.fixture
def libcloud(service):
    driver = get_driver(Provider.ALIYUN_ECS)
    return driver(KEY, SECRET, region=REGION, host="127.0.0.1", port=service.port, secure=False)


def test_libcloud(libcloud, v3):
    (location,) = libcloud.list_locations()
    assert location.id == REGION
    assert ZONE in [zone.id for zone in libcloud.ex_list_zones()]
    made = [
        libcloud.create_volume(20, f"volume-{n}", ex_zone_id=ZONE, ex_disk_category="cloud_efficiency", ex_client_token=f"lc-{n}")
        for n in range(12)
    ]
    volume = made[0]
    assert (volume.size, volume.name) == (20, "volume-0")
    # More than a page: it goes from page to page by PageNumber, PageSize and TotalCount.
    listed = {volume.id for volume in libcloud.list_volumes()}
    assert listed >= {volume.id for volume in made}

    def state(volume):
        (found,) = libcloud.list_volumes(ex_volume_ids=[volume.id])
        return found.state

    wait_until(lambda: state(volume) == StorageVolumeState.AVAILABLE, "the volume is available")
    instance = v3.new_instance()
    node = next(node for node in libcloud.list_nodes() if node.id == instance)
    assert node.state == NodeState.RUNNING
    assert libcloud.attach_volume(node, volume)
    wait_until(lambda: state(volume) == StorageVolumeState.INUSE, "the volume is in use")
    snapshot = libcloud.create_volume_snapshot(volume, name="by-libcloud")

    def snapshots():
        return {found.id: found.state for found in libcloud.list_volume_snapshots(volume)}

    wait_until(lambda: snapshots()[snapshot.id] == VolumeSnapshotState.AVAILABLE, "the snapshot is available")
    with pytest.raises(BaseHTTPError, match="InvalidDisk.InUse"):
        libcloud.attach_volume(node, volume)
    assert libcloud.detach_volume(volume)
    wait_until(lambda: state(volume) == StorageVolumeState.AVAILABLE, "the volume is available again")
    copy = libcloud.create_volume(20, "copy", snapshot=snapshot, ex_zone_id=ZONE, ex_disk_category="cloud_efficiency")
    assert copy.extra["source_snapshot_id"] == snapshot.id
    wait_until(lambda: state(copy) == StorageVolumeState.AVAILABLE, "the copy is available")
    assert libcloud.ex_stop_node(node)
    wait_until(lambda: libcloud.list_nodes(ex_node_ids=[node.id])[0].state == NodeState.STOPPED, "the node is stopped")
    assert libcloud.ex_start_node(node)
    # CreateInstance, a list that must have it, and StartInstance at once.
    (image, *_), (size, *_) = libcloud.list_images(), libcloud.list_sizes()
    group = libcloud.ex_list_security_groups()[0].id
    node = libcloud.create_node("by-libcloud", size, image, ex_security_group_id=group)
    wait_until(lambda: libcloud.list_nodes(ex_node_ids=[node.id])[0].state == NodeState.RUNNING, "the new node runs")
    assert libcloud.ex_stop_node(node)
    assert libcloud.destroy_node(node)
    wait_until(lambda: node.id not in [found.id for found in libcloud.list_nodes()], "the node is gone")
    for one in [*made, copy]:
        wait_until(lambda one=one: state(one) == StorageVolumeState.AVAILABLE, "the volume is available")
        assert libcloud.destroy_volume(one)
    assert libcloud.destroy_volume_snapshot(snapshot)
    assert libcloud.list_volume_snapshots(volume) == []


@pytest.mark.parametrize("client", ["pop-core", "ecs20140526"])
def test_node(service, client):
    env = dict(os.environ, NODE_PATH=NODE_MODULES, ENDPOINT=service.endpoint, KEY=KEY, SECRET=SECRET, REGION=REGION, ZONE=ZONE)
    script = pathlib.Path(__file__).parent.parent / "node" / "walk.js"
    found = json.loads(run("node", script, client, env=env).stdout)
    assert found["regions"] == [REGION] and found["left"] == 0
    snapshot = found["snapshot"]
    assert snapshot["SourceDiskId"] == found["disk"] and snapshot["Progress"] == "100%"
    # Numbers that are strings, and text in any alphabet.
    assert (snapshot["SourceDiskSize"], snapshot["RetentionDays"]) == ("20", 7)
    assert snapshot["Description"] == "a*b~c+d/e=f&g 中文"
    assert found["refusal"]["code"] == "InvalidSnapshotId.NotFound" and "s-bp1nosuchsnapshot000" in found["refusal"]["message"]
