"""kill -9, again and again, loses nothing that was acknowledged: judged by fio and by a client of our own.

fio writes blocks with checksums and reads them back; its log of completions says which writes were
acknowledged, its saved state what it meant to write. The stamping client (`ledger`) knows of every block
what it can still hold, while snapshots are taken. The disks live on over all rounds.
"""

import json
import re
import threading
import time

from cloud import Cloud
from ledger import Ledger, Stamper
from service import run
from snapshotting import compare_snapshots, snapshots_while

MIB = 1 << 20
# More than is written before the kill, so that fio never ends by itself.
FIO_BYTES = 512 * MIB


class Fio:
    """Random writes of one fio job, each block once; files of one round are kept in `directory`."""

    def __init__(self, directory, uri, seed, depth):
        self.directory = directory
        self.job = ["--name=kill", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bs=4k"]
        self.job += [f"--size={FIO_BYTES}", f"--iodepth={depth}", f"--randseed={seed}", "--verify=crc32c"]

    def write(self):
        """Until the connection breaks, reading back what it wrote a while ago."""
        words = ["--do_verify=0", "--verify_backlog=256", "--verify_state_save=1"]
        words += ["--write_lat_log=acks", "--log_offset=1"]
        return run("fio", *self.job, *words, cwd=self.directory, check=False)

    def acknowledged(self):
        """Offsets of the writes whose completion fio saw."""
        log = self.directory / "acks_clat.1.log"
        lines = [line.split(",") for line in log.read_text().splitlines()] if log.exists() else []
        return {int(words[4]) for words in lines if words[2].strip() == "1"}

    def verify(self):
        """Reads back what the saved state covers; returns how many blocks, and the offsets of the wrong ones."""
        words = ["--verify_only", "--verify_state_load=1", "--continue_on_error=verify"]
        done = run("fio", *self.job, *words, "--output-format=json", "--output=verified", cwd=self.directory, check=False)
        said = done.stdout + done.stderr
        wrong = {int(offset) for offset in re.findall(r"offset (\d+), length", said)}
        report = (self.directory / "verified").read_text()
        read = json.loads(report[report.index("{") :])["jobs"][0]["read"]["total_ios"]
        return read, wrong, said


def test_fio_finds_all_that_was_acknowledged(new_service, striking, scratch):
    rounds = striking(10)
    service = new_service()
    _, disk = Cloud(service).attached_disk(1)
    total = 0
    for number, choose in rounds:
        directory = scratch / str(number)
        directory.mkdir()
        fio = Fio(directory, service.uri(disk), rounds.seed + number, choose.choice([1, 16, 64]))
        said = []
        writing = threading.Thread(target=lambda: said.append(fio.write()), daemon=True)
        writing.start()
        time.sleep(choose.uniform(1, 3))
        service.kill()
        rounds.tally.kills += 1
        writing.join(120)
        assert said, "fio does not end after its server is gone"
        assert "bad magic" not in said[0].stderr, f"before the kill: {said[0].stderr}"
        acknowledged = fio.acknowledged()
        service.start()
        if not acknowledged:
            continue  # It had not yet begun.
        with rounds.judged():
            read, wrong, verified = fio.verify()
            assert read >= len(acknowledged), f"only {read} of {len(acknowledged)} were verified:\n{verified}"
            lost = sorted(acknowledged & wrong)
            assert not lost, f"acknowledged and lost: {lost[:20]} ({len(lost)} in all)\n{verified}"
        total += len(acknowledged)
        rounds.tally.acknowledged += len(acknowledged)
    assert total > 0, "fio never wrote anything: the test tests nothing"


def test_a_stamping_client_finds_all_that_was_acknowledged(new_service, striking):
    rounds = striking(10)
    service = new_service()
    cloud = Cloud(service)
    _, disk = cloud.attached_disk(2)
    ledger = Ledger(3 * MIB, 8192)
    for number, choose in rounds:
        connection = service.client(disk)
        stamper = Stamper(connection, ledger, rounds.seed + number, depth=choose.choice([1, 8, 32]))
        stamper.start()
        taken = snapshots_while(choose, cloud, disk, stamper, choose.randrange(3))
        stamper.wait_for(len(ledger.changes) + choose.randrange(1, 3000))
        service.kill()
        rounds.tally.kills += 1
        stamper.end()
        connection.abandon()
        # Some kills come while the last one is being recovered from.
        while choose.random() < 0.3:
            service.launch()
            time.sleep(choose.uniform(0, 0.6))
            service.kill()
            rounds.tally.kills += 1
        service.start()
        life = ledger.freeze()
        with service.client(disk) as client, rounds.judged():
            found = ledger.read(client.read_all)
            ledger.check_killed(found)
            client.flush()
            rounds.tally.acknowledged += ledger.settle(found)
        with rounds.judged():
            compare_snapshots(rounds.tally, cloud, service, disk, life, taken)
