"""A guest of QEMU on a disk over vhost-user-blk: what it writes is what NBD reads, it sees its disk grow, and a
service that is killed and started again while it writes costs it neither an error nor a block that was acknowledged.
"""

import hashlib
import re

import pytest

from cloud import GIB, Cloud
from guest import Guest, vhost_user_disk
from service import wait_until

MIB = 1 << 20
# Where the guest writes block after block, in blocks of 4 KiB.
FIRST = 4096
BLOCKS = 160

SCRIPT = f"""
echo "SERIAL $(cat /sys/block/vda/serial) QUEUES $(ls /sys/block/vda/mq | wc -l)"
echo "SIZE $(cat /sys/block/vda/size)"
dd if=/dev/urandom of=/tmp/pattern bs=64k count=64 2>/dev/null
dd if=/tmp/pattern of=/dev/vda bs=64k oflag=direct conv=fsync 2>/dev/null || echo FAILED
echo "SUM $(md5sum < /tmp/pattern)"
while [ $(cat /sys/block/vda/size) = {GIB // 512} ]; do sleep 0.1; done
echo "GROWN $(cat /sys/block/vda/size)"
i=0
while [ $i -lt {BLOCKS} ]; do
  printf "%4096s" "block $i" | dd of=/dev/vda bs=4096 seek=$(({FIRST} + i)) iflag=fullblock oflag=direct conv=fsync 2>/dev/null || echo FAILED
  echo "ACK $i"
  i=$((i + 1))
done
dd if=/dev/vda of=/tmp/back bs=64k count=64 iflag=direct 2>/dev/null || echo FAILED
echo "BACK $(md5sum < /tmp/back)"
"""


@pytest.fixture
def machines():
    started = []
    yield started
    for guest in started:
        guest.end()


def test_a_guest_outlives_its_server(new_service, scratch, machines):
    service = new_service()
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    socket = service.data / "vhost" / f"{disk}.sock"
    guest = Guest(scratch, SCRIPT, vhost_user_disk("disk", socket))
    machines.append(guest)

    serial, queues = guest.said(r"SERIAL (\S+) QUEUES (\d+)").groups()
    assert serial == disk.removeprefix("d-")[:20] and queues == "2"
    assert guest.said(r"SIZE (\d+)")[1] == str(GIB // 512)
    summed = guest.said(r"SUM (\w+)")[1]
    with service.client(disk) as client:
        assert hashlib.md5(client.read(0, 4 * MIB)).hexdigest() == summed

    cloud.call("ResizeDisk", DiskId=disk, NewSize=2, Type="online")
    assert guest.said(r"GROWN (\d+)")[1] == str(2 * GIB // 512)

    # Twice, at different moments of a write.
    for last in (20, 70):
        guest.said(rf"ACK {last}\b")
        service.kill()
        acknowledged = max(int(number) for line in guest.lines for number in re.findall(r"ACK (\d+)", line))
        assert acknowledged < BLOCKS - 1, "it was killed too late"
        service.start()
        with service.client(disk) as client:
            for number in range(acknowledged + 1):
                found = client.read((FIRST + number) * 4096, 4096)
                assert found == f"block {number}".rjust(4096).encode(), f"block {number} was acknowledged and is lost"
    guest.said(rf"ACK {BLOCKS - 1}\b")
    assert guest.said(r"BACK (\w+)")[1] == summed
    assert guest.said(r"ERRORS (\d+)")[1] == "0", guest.text()
    assert guest.process.wait(60) == 0
    assert not [line for line in guest.lines if "FAILED" in line], guest.text()
    with service.client(disk) as client:
        for number in range(BLOCKS):
            assert client.read((FIRST + number) * 4096, 4096) == f"block {number}".rjust(4096).encode()

    # A disk that is not attached has no socket.
    cloud.detach(instance, disk)
    wait_until(lambda: not socket.exists(), "the socket is gone")
