"""A disk of ours inside a real guest over vhost-user-blk, against other disks of the same guest.

The others: a vhost-user-blk export of qemu-storage-daemon on a raw file, and QEMU's own virtio-blk on a raw file (through the
page cache, in a thread of its own). *tidemark over NBD* is another disk of the same service, through QEMU's NBD client and
virtio-blk; it is shown, and no other.

What is equal: all are disks of one running guest, two processors, two queues each; all are as large and were written
before; fio in the guest works past the guest's page cache, one disk at a time. All go through the host's page cache and answer
a flush after an fdatasync. (An export of qemu-storage-daemon 7.2 tells a guest that it writes through, does not, and is never
flushed; the guest is told what it is.) Ours runs behind the whole service, writes each block to its log first and to its base
later, and keeps a checksum of each.
"""

import contextlib
import itertools
import shlex

import compare
import fio
import guest
import peers
from cloud import Cloud
from compare import OURS, Job
from report import progress, say
from service import Service, run as tool

NEEDS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-storage-daemon": "qemu-system-common",
    "qemu-img": "qemu-utils",
    "fio": "fio",
    "busybox": "busybox-static",
}
JOBS = [
    Job("4 KiB random read, depth 1", "randread", "4k", 1, "iops", 1.0),
    Job("4 KiB random read, depth 32", "randread", "4k", 32, "iops", 1.0),
    Job("4 KiB random write, depth 1", "randwrite", "4k", 1, "iops", 1.0),
    Job("4 KiB random write, depth 32", "randwrite", "4k", 32, "iops", 1.0),
    Job("4 KiB synced write, depth 1", "randwrite", "4k", 1, "iops", 1.0, ("--fsync=1",)),
    # At first; then 1.0, too.
    Job("1 MiB read stream, depth 4", "read", "1m", 4, "mib", 0.8),
    Job("1 MiB write stream, depth 4", "write", "1m", 4, "mib", 0.8),
]
SCRIPT = """
stty -echo
while [ ! -b /dev/vdd ]; do sleep 0.1; done
for disk in vda vdb vdc vdd; do
  [ "$(cat /sys/block/$disk/cache_type)" = "write back" ] || echo "write back" > /sys/block/$disk/cache_type
done
cat /sys/block/vd?/queue/write_cache | sort | uniq -c | sed 's/^/CACHES/'
echo READY
while read number command; do
  if $command > /tmp/out 2> /tmp/errors; then
    echo "DONE $number $(tr -d ' \\n\\t' < /tmp/out)"
  else
    echo "FAILED $number $(cat /tmp/out /tmp/errors | tr '\\n' ' ')"
  fi
done
"""


def run(options, directory):
    accelerator = "kvm" if guest.kvm_works() else "tcg"
    jobs, gib, used = (JOBS[::3], 1, "256m") if options.quick else (JOBS, 2, "2g")
    if accelerator == "tcg":
        say(
            "**No KVM on this machine's processor: the guest is emulated (TCG), and its own slowness hides much of what the disks differ in.**"
        )
    service = Service(directory=directory / "ours")
    service.directory.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(service.destroy)
        service.start()
        cloud = Cloud(service)
        instance, disk = cloud.attached_disk(gib)
        _, other = cloud.attached_disk(gib, instance)
        daemon = stack.enter_context(peers.serving(directory, "qemu-storage-daemon", gib, peers.storage_daemon_vhost))
        raw = directory / "own.raw"
        tool("qemu-img", "create", "-q", "-f", "raw", raw, f"{gib}G")
        disks = {  # in the guest's order: vda, vdb, ...
            OURS: guest.vhost_user_disk("ours", service.data / "vhost" / f"{disk}.sock"),
            "qemu-storage-daemon": guest.vhost_user_disk("daemon", daemon.socket),
            "QEMU virtio-blk": own_disk("raw", f"file,filename={raw},discard=unmap"),
            f"{OURS} over NBD": own_disk("nbd", f"nbd,server.type=unix,server.path={service.socket},export={other}"),
        }
        machine = guest.Guest(
            directory, SCRIPT, itertools.chain(*disks.values()), guest.with_libraries("fio"), accelerator, memory="1G"
        )
        stack.callback(machine.end)
        machine.said(r"CACHES +4 write back", 300)
        machine.said("READY")
        devices = {name: f"/dev/vd{letter}" for name, letter in zip(disks, "abcd")}
        numbers = itertools.count(1)

        def inside(words, device, timeout):
            number = next(numbers)
            machine.tell(shlex.join([str(number), *words, "--ioengine=libaio", "--direct=1", f"--filename={device}"]))
            outcome = machine.said(rf"(DONE|FAILED) {number} (.*)", timeout)
            if outcome[1] == "FAILED":
                raise RuntimeError(f"fio in the guest: {outcome[2]}")
            return outcome[2]

        for name, device in devices.items():
            progress(f"fill {name}")
            inside(["fio", "--name=fill", "--rw=write", "--bs=1m", "--iodepth=4", f"--size={used}", "--end_fsync=1"], device, 900)

        def one(name, job):
            words = fio.words(job.rw, job.bs, job.depth, options.seconds, used, job.extra)
            return fio.figures(inside(words, devices[name], options.seconds + 120))

        found = compare.measure(jobs, list(disks), options.rounds, [service.process.pid, daemon.pid], one)
    note = f"{used[:-1]} {used[-1].upper()}iB each, accelerator {accelerator}. Medians (least–most) of {options.rounds} interleaved rounds of {options.seconds} s."
    compare.show("vhost", "A guest's disks", jobs, list(disks), found, note)


def own_disk(name, blockdev):
    """QEMU's virtio-blk in a thread of its own."""
    device = f"virtio-blk-pci,drive={name},iothread=thread-{name},num-queues=2,write-cache=on"
    return ["-object", f"iothread,id=thread-{name}", "-blockdev", f"{blockdev},node-name={name}", "-device", device]
