"""`tidemark verify` and the scrub: damage is told with snapshot and byte range, repaired by a disk that still has the bytes,
and what cannot be repaired stays open. Beside a running service, as an operator would."""

import json

import data
from cloud import Cloud
from service import wait_until

MIB = data.MIB
CHUNK = 65536
# Noise: stored as it is, so a place in a pack is a place in a chunk.
CONTENT = data.random_bytes(24 * MIB, seed=50)
# Long enough that a test damages, verifies and looks before a round begins.
SCRUBBING = ["--scrub-rate", "1G", "--scrub-every", "6s"]
QUIET = ["--scrub-rate", "0"]


def made(new_service, extra):
    """A service with a disk, two snapshots of it that share all but one chunk, and a disk made from the second."""
    service = new_service(extra=extra)
    cloud = Cloud(service)
    instance, disk = cloud.attached_disk(1)
    with service.client(disk) as client:
        client.write_all(0, CONTENT)
    first = cloud.take_snapshot(disk)
    with service.client(disk) as client:
        client.write_all(5 * CHUNK, b"changed " * 1024)
        client.flush()
    return service, cloud, disk, first, cloud.take_snapshot(disk)


def where(service, index):
    """The pack that stores chunk `index` of CONTENT, and where in it."""
    needle = CONTENT[index * CHUNK : index * CHUNK + 64]
    for path in sorted((service.vault / "packs").rglob("*")):
        if path.is_file() and (at := path.read_bytes().find(needle)) >= 0:
            return path, at
    raise AssertionError(f"chunk {index} is in no pack")


def flip(path, at):
    # The object in the vault only: a spool's file may be the same one.
    body = bytearray(path.read_bytes())
    body[at] ^= 0x20
    replace(path, bytes(body))


def replace(path, body):
    beside = path.with_name(".beside")
    beside.write_bytes(body)
    beside.rename(path)


def verify(service, *words, code):
    done = service.cli("verify", *words, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def test_damage_is_told_with_what_it_hits(new_service):
    service, cloud, disk, first, second = made(new_service, QUIET)
    done = verify(service, code=0)
    assert "WHOLE" in done.stdout and "2 snapshots of 1 disk" in done.stdout
    assert "verify:" in done.stderr, "progress goes to standard error"
    path, at = where(service, 40)
    whole = path.read_bytes()
    flip(path, at + 7)
    key = str(path.relative_to(service.vault))
    text = verify(service, code=1).stdout
    for word in [first, second, disk, key, f"{40 * CHUNK}..{41 * CHUNK}", "DAMAGED: 2 of 2 snapshots"]:
        assert word in text, text
    found = json.loads(verify(service, "--json", code=1).stdout)
    (damage,) = found["Damage"]
    assert (damage["Start"], damage["End"], damage["Object"]) == (40 * CHUNK, 41 * CHUNK, key)
    assert sorted(damage["Snapshots"]) == sorted([first, second]) and damage["Disk"] == disk
    # Chunk 5 differs: only the first snapshot has what this pack holds of it.
    replace(path, whole)
    path, at = where(service, 5)
    flip(path, at)
    found = json.loads(verify(service, "--json", code=1).stdout)
    assert found["Damage"][0]["Snapshots"] == [first] and found["DamagedSnapshots"] == 1
    verify(service, second, code=0)
    verify(service, first, code=1)
    # Trees are read whole in any sample, and a missing tree pack hits everything.
    replace(path, whole)
    for node in (service.vault / "nodes").rglob("*"):
        if node.is_file():
            node.unlink()
    found = json.loads(verify(service, "--sample", "0.0001%", "--json", code=1).stdout)
    assert found["DamagedSnapshots"] == 2 and all(loss["Kind"] == "Nodes" for loss in found["Damage"])


def test_what_cannot_be_checked_is_not_called_whole(new_service):
    service, cloud, disk, first, second = made(new_service, QUIET)
    done = verify(service, "s-nobody", first, code=3)
    assert "s-nobody" in done.stderr and first not in done.stderr
    assert "1%" in verify(service, "--sample", "nonsense", code=2).stderr
    assert "no directory" in verify(service, "--data-dir", "elsewhere", code=3).stderr
    assert "not scrubbed" in verify(service, "--status", code=3).stderr
    hidden = service.vault.rename(service.vault.with_name("hidden"))
    service.vault.mkdir()
    assert "WHOLE" not in verify(service, code=3).stdout
    service.vault.rmdir()
    hidden.rename(service.vault)
    verify(service, code=0)


def scrubbed(service, condition, what):
    def look():
        done = service.cli("verify", "--status", "--json", check=False)
        if done.returncode == 3:
            return None
        state = json.loads(done.stdout)
        return state if condition(state) else None

    return wait_until(look, what)


def whole_rounds(service, count):
    """Until so many rounds have begun and ended from now on."""
    rounds = scrubbed(service, lambda state: True, "the scrub has a state")["Rounds"]
    return scrubbed(service, lambda state: state["Rounds"] > rounds + count, "the scrub goes round")


def test_the_scrub_repairs_what_a_disk_still_has(new_service):
    service, cloud, disk, first, second = made(new_service, SCRUBBING)
    assert whole_rounds(service, 0)["Open"] == []
    path, at = where(service, 40)
    whole = path.read_bytes()
    flip(path, at + 7)
    wait_until(lambda: path.read_bytes() == whole, "the pack is what it was, to the byte")
    wait_until(lambda: path.name in service.log.read_text(errors="replace"), "the log says so")
    verify(service, code=0)
    # A pack that is gone altogether, also after a kill.
    path.unlink()
    service.kill()
    service.start()
    wait_until(path.exists, "the pack is there again")
    state = whole_rounds(service, 1)
    lost = [(loss["Loss"]["Start"], loss["Loss"]["Snapshots"]) for loss in state["Open"]]
    # The disk has overwritten chunk 5 since: nobody has what the first snapshot had there.
    assert lost == [(5 * CHUNK, [first])]
    verify(service, second, code=0)
    with service.client(second) as client:
        changed = bytearray(CONTENT)
        changed[5 * CHUNK : 5 * CHUNK + 8192] = b"changed " * 1024
        assert client.read(0, 4 * MIB) == bytes(changed[: 4 * MIB])


def test_what_nobody_has_stays_open(new_service):
    service, cloud, disk, first, second = made(new_service, SCRUBBING)
    path, at = where(service, 5)
    whole = path.read_bytes()
    flip(path, at)
    state = scrubbed(service, lambda state: state["Open"], "the damage is open")
    (open_loss,) = state["Open"]
    assert open_loss["Loss"]["Snapshots"] == [first] and open_loss["Loss"]["Start"] == 5 * CHUNK
    text = verify(service, "--status", code=1).stdout
    assert first in text and "open damage" in text
    assert path.read_bytes() != whole, "nothing wrong was written"
    # Deletion is a way out, too.
    cloud.call("DeleteSnapshot", SnapshotId=first)
    scrubbed(service, lambda state: not state["Open"], "nobody is hit any more")
    verify(service, code=0)


def test_repair_is_asked_of_the_service(new_service):
    service, cloud, disk, first, second = made(new_service, QUIET)
    path, at = where(service, 40)
    whole = path.read_bytes()
    flip(path, at)
    done = verify(service, "--repair", code=0)
    assert "DAMAGED: 2 of 2" in done.stdout and "WHOLE" in done.stdout.splitlines()[-1]
    assert path.read_bytes() == whole
    # A footer, and a chunk that nobody has any more.
    flip(path, len(whole) - 30)
    assert "WHOLE" in verify(service, "--repair", code=0).stdout.splitlines()[-1]
    path, at = where(service, 5)
    flip(path, at)
    assert "DAMAGED: 1 of 1" in verify(service, "--repair", first, code=1).stdout.splitlines()[-1]
    service.stop()
    assert "running service" in verify(service, "--repair", code=3).stderr
