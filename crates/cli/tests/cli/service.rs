//! `tidemark up` and what talks to it: `ecs` in the documented walkthrough, the commands for people.

use crate::common::{Ran, run, signal, tidemark};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};

/// A service of the test's own; killed when the test ends.
pub struct Service {
    dir: tempfile::TempDir,
    child: Child,
    ready: String,
}

impl Service {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    pub fn start_in(dir: tempfile::TempDir) -> Self {
        let mut child = tidemark(dir.path(), &["up", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .expect("the binary runs");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(ready.starts_with("ready: "), "{ready}{}", log());
        Self { dir, child, ready }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        run(self.path(), words)
    }

    /// Runs what must succeed and returns what it printed, without the final line break.
    pub fn out(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, Some(0), "{words:?}\n{}{}", ran.out, ran.err);
        ran.out.trim_end_matches('\n').to_string()
    }

    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.out(words)).expect("JSON is printed")
    }

    /// Ends it as a power cut does, but for what the kernel still writes.
    pub fn kill(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.dir, empty)
    }

    /// Ends it as an operator does.
    pub fn stop(mut self) -> tempfile::TempDir {
        signal(&self.child, "TERM");
        assert_eq!(
            self.child.wait().unwrap().code(),
            Some(0),
            "SIGTERM is a clean end"
        );
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.dir, empty)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_walkthrough_prints_the_documented_tables() {
    let service = Service::start();
    let instance = service.json(&["instance", "create", "--name", "box", "--wait", "--json"]);
    let instance = instance["InstanceId"].as_str().unwrap();
    assert_eq!(
        service.out(&[
            "ecs",
            "DescribeInstances",
            "--RegionId",
            "cn-hangzhou",
            "--output",
            "cols=InstanceId,InstanceName",
            "rows=Instances.Instance[]",
        ]),
        format!(
            "InstanceId             | InstanceName\n----------             | ------------\n{instance} | box"
        ),
    );

    let disk = service.json(&["disk", "create", "--size", "1G", "--wait", "--json"]);
    let disk = disk["DiskId"].as_str().unwrap();
    service.out(&["disk", "attach", disk, "--instance", instance, "--wait"]);
    let columns = ["--output", "cols=DiskId", "rows=Disks.Disk[]"];
    let words = [
        &[
            "ecs",
            "DescribeDisks",
            "--DiskType",
            "data",
            "--InstanceId",
            instance,
        ][..],
        &columns,
    ]
    .concat();
    assert_eq!(service.out(&words), format!("DiskId\n------\n{disk}"));

    let answer = service.json(&["ecs", "CreateSnapshot", "--DiskId", disk]);
    let members: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(members, ["RequestId", "SnapshotId"]);
    let snapshot = answer["SnapshotId"].as_str().unwrap();
    service.out(&[
        "ecs",
        "DescribeSnapshots",
        "--SnapshotIds",
        &format!("[\"{snapshot}\"]"),
        "--waiter",
        "expr=Snapshots.Snapshot[0].Status",
        "to=accomplished",
        "interval=2",
        "--quiet",
    ]);
    assert_eq!(
        service.out(&[
            "ecs",
            "DescribeSnapshots",
            "--InstanceId",
            instance,
            "--output",
            "cols=SnapshotId,Status",
            "rows=Snapshots.Snapshot[]",
        ]),
        format!(
            "SnapshotId             | Status\n----------             | ------\n{snapshot} | accomplished"
        ),
    );
    let query = [
        "ecs",
        "DescribeSnapshots",
        "--pager",
        "--cli-query",
        "Snapshots.Snapshot[].Progress",
    ];
    assert_eq!(service.out(&query), "[\n\t\"100%\"\n]");
}

#[test]
fn people_get_tables_and_the_same_as_json() {
    let service = Service::start();
    let none = service.run(&["disk", "list"]);
    assert_eq!(
        (none.code, none.out.as_str(), none.err.as_str()),
        (Some(0), "", "no disks\n")
    );
    let disk = service.json(&[
        "disk", "create", "--size", "2G", "--name", "data", "--tag", "a=b", "--json",
    ]);
    let id = disk["DiskId"].as_str().unwrap();
    let list = service.out(&["disk", "list"]);
    let cells: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(cells[0][..4], ["DISK", "NAME", "SIZE", "STATUS"]);
    assert_eq!(cells[1][..5], [id, "data", "2", "GiB", "Available"]);
    assert_eq!(service.json(&["disk", "list", "--json"])[0]["DiskId"], id);
    let show = service.out(&["disk", "show", id]);
    assert!(show.contains("a=b"), "{show}");

    let endpoint = service.run(&["disk", "endpoint", id]);
    let socket = service.path().join("tidemark-data/run/nbd.sock");
    assert_eq!(
        endpoint.out,
        format!("nbd+unix:///{id}?socket={}\n", socket.display())
    );
    assert!(endpoint.err.contains("not exported now"), "{}", endpoint.err);

    let refused = service.run(&["disk", "detach", id]);
    assert!(
        refused.code == Some(1) && refused.err.contains("not attached"),
        "{}",
        refused.err
    );
    let missing = service.run(&["disk", "show", "d-none"]);
    assert!(
        missing.code == Some(1) && missing.err.contains("d-none"),
        "{}",
        missing.err
    );
    service.out(&["disk", "delete", id, "--wait"]);
    assert!(service.run(&["disk", "show", id]).code == Some(1));
}

#[test]
fn refusals_come_as_the_reference_client_prints_them() {
    let service = Service::start();
    let ran = service.run(&["ecs", "CreateSnapshot", "--DiskId", "d-none"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(
        lines[..2],
        ["ERROR: SDK.ServerError", "ErrorCode: InvalidDiskId.NotFound"]
    );
    let names: Vec<&str> = lines[2..]
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(names, ["Recommend", "RequestId", "Message", "RespHeaders"]);

    let rows = service.run(&[
        "ecs",
        "DescribeDisks",
        "--output",
        "cols=DiskId",
        "rows=TotalCount",
    ]);
    assert!(
        rows.code == Some(1) && rows.err.contains("Need Array Expr"),
        "{}",
        rows.err
    );
    let people = service.run(&["disk", "delete", "d-none"]);
    assert!(
        people.code == Some(1) && people.err.contains("InvalidDiskId.NotFound"),
        "{}",
        people.err
    );
    let wrong = [
        "ecs",
        "DescribeDisks",
        "--access-key-id",
        "nobody",
        "--access-key-secret",
        "x",
    ];
    assert!(service.run(&wrong).err.contains("InvalidAccessKeyId.NotFound"));
}

#[test]
fn a_directory_has_one_service_and_survives_it() {
    let service = Service::start();
    let data = service.path().join("tidemark-data");
    let credentials = std::fs::metadata(data.join("credentials.toml")).unwrap();
    assert_eq!(credentials.permissions().mode() & 0o777, 0o600);

    let second = service.run(&["up", "--listen", "127.0.0.1:0"]);
    assert!(
        second.code == Some(1) && second.err.contains("is in use by process"),
        "{}",
        second.err
    );
    let address = service
        .ready
        .split_whitespace()
        .find_map(|word| word.strip_prefix("http://"))
        .unwrap();
    let taken = service.run(&["up", "--data-dir", "other", "--listen", address]);
    assert!(
        taken.code == Some(1) && taken.err.contains(address),
        "{}",
        taken.err
    );

    let disk = service.json(&["disk", "create", "--size", "1G", "--wait", "--json"]);
    let key = service.json(&["ecs", "DescribeRegions"]);
    assert_eq!(key["Regions"]["Region"][0]["RegionId"], "cn-hangzhou");
    let service = Service::start_in(service.stop());
    assert_eq!(
        service.json(&["disk", "list", "--json"])[0]["DiskId"],
        disk["DiskId"]
    );
}
