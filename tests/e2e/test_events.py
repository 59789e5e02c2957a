"""What happened is told: to who asks, to who follows, and to webhooks, however often their receiver fails at first."""

import hashlib
import hmac
import http.server
import json
import subprocess
import threading

from cloud import Cloud
from service import BINARY, wait_until


class Receiver(http.server.ThreadingHTTPServer):
    """Answers 503 so many times, then 200; keeps what came."""

    def __init__(self, failures):
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures, self.came = failures, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.headers, body))
        failing = len(self.server.came) <= self.server.failures
        self.send_response(503 if failing else 200)
        self.end_headers()
        self.wfile.write(b"a secret of the receiver's")

    def log_message(self, *_):
        pass


def test_events_reach_who_asks_who_follows_and_webhooks(new_service):
    service = new_service(extra=["--webhooks-to-this-machine"])
    cloud = Cloud(service)
    receiver = Receiver(failures=3)
    completed = "Snapshot:CreateSnapshotCompleted"
    hook = json.loads(service.cli("webhook", "create", receiver.url, "--event", completed, "--json").stdout)
    follower = subprocess.Popen(
        [BINARY, "events", "--follow", "--name", completed, "--json"], cwd=service.directory, stdout=subprocess.PIPE, text=True
    )
    try:
        _, disk = cloud.attached_disk(1)
        snapshots = [cloud.take_snapshot(disk), cloud.take_snapshot(disk)]
        followed = [json.loads(follower.stdout.readline()) for _ in snapshots]
    finally:
        follower.kill()
    assert [event["ResourceId"] for event in followed] == snapshots
    assert all(event["Content"]["result"] == "accomplished" for event in followed)
    listed = service.cli("events", "--resource", disk).stdout
    assert "Disk:DiskOperationCompleted" in listed and "operation=AttachDisk" in listed

    # A kill in the middle of the failures loses nothing.
    service.kill()
    service.start()
    wait_until(lambda: len(receiver.came) >= receiver.failures + 2, "both events arrive")
    ids = []
    for headers, body in receiver.came:
        text = headers["X-Tidemark-Timestamp"].encode() + b"." + body
        expected = hmac.new(hook["Secret"].encode(), text, hashlib.sha256).hexdigest()
        assert headers["X-Tidemark-Signature"] == f"v1={expected}"
        event = json.loads(body)
        assert event["name"] == completed and event["userId"] and event["level"] == "INFO"
        ids.append(event["content"]["snapshotId"])
    once = list(dict.fromkeys(ids))
    assert once == snapshots, "in order, none left out"
    wait_until(lambda: json.loads(service.cli("webhook", "list", "--json").stdout)[0]["Behind"] == 0, "it has seen all")
    assert hook["Secret"] not in service.log.read_text(errors="replace")
    service.cli("webhook", "delete", hook["WebhookId"])
    receiver.shutdown()


def test_who_follows_is_told_of_each_event_once_across_a_restart(new_service):
    service = new_service()
    log = service.directory / "follower"
    with open(log, "wb") as errors:
        follower = subprocess.Popen(
            [BINARY, "events", "--follow", "--name", "User:Created", "--json"],
            cwd=service.directory,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        service.cli("user", "create", "alice")
        seen = [json.loads(follower.stdout.readline())]
        service.stop()
        wait_until(lambda: "asked again" in log.read_text(), "it says that the service is away")
        assert follower.poll() is None
        service.start()
        service.cli("user", "create", "bob")
        seen.append(json.loads(follower.stdout.readline()))
    finally:
        follower.kill()
    assert [event["ResourceId"] for event in seen] == ["alice", "bob"]
    assert log.read_text().count("asked again") == 1, "it is said once"


def test_a_webhook_does_not_reach_this_machine_unless_the_operator_says_so(new_service):
    service = new_service()
    receiver = Receiver(failures=0)
    service.cli("webhook", "create", receiver.url)
    service.cli("user", "create", "alice")

    def trouble():
        return json.loads(service.cli("webhook", "list", "--json").stdout)[0]["LastError"]

    wait_until(trouble, "it is told why nothing arrives")
    assert receiver.came == []
    receiver.shutdown()
