//! The server against the clients that people use. A missing tool is a failure, not a skip.

mod common;

use common::{Fixture, MIB, run, run_ok, serve_disks};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

const LIBNBD: &str = "libnbd-bin";
const QEMU: &str = "qemu-utils";

/// A 64 MiB file with data, zeros and holes, none of them aligned to anything.
fn image(fixture: &Fixture) -> PathBuf {
    use std::os::unix::fs::FileExt;
    let path = fixture.dir.path().join("image");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(64 * MIB).unwrap();
    let noise: Vec<u8> = (0u32..3_000_000)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    file.write_all_at(&noise, 12_345).unwrap();
    file.write_all_at(&noise[..70_001], 40 * MIB + 7).unwrap();
    file.write_all_at(b"end", 64 * MIB - 3).unwrap();
    path
}

fn same(one: &std::path::Path, other: &std::path::Path) -> bool {
    std::fs::read(one).unwrap() == std::fs::read(other).unwrap()
}

#[test]
fn nbdinfo_lists_exports_with_what_they_can_do() {
    let fixture = serve_disks();
    let uri = fixture.server.uri("");
    let list = run_ok(LIBNBD, "nbdinfo", &["--list", "--json", &uri]);
    for fact in [
        r#""export-name": "disk""#,
        r#""description": "a disk in memory""#,
        r#""export-size": 67108864"#,
        r#""export-name": "frozen""#,
        r#""description": "a snapshot""#,
        r#""base:allocation""#,
        r#""block_size_minimum": 512"#,
        r#""block_size_preferred": 4096"#,
        r#""block_size_maximum": 33554432"#,
        r#""can_fast_zero": true"#,
        r#""can_multi_conn": true"#,
    ] {
        assert!(list.contains(fact), "{fact} is missing in {list}");
    }
    let frozen = fixture.server.uri("frozen");
    run_ok(LIBNBD, "nbdinfo", &["--is", "read-only", &frozen]);
    for ability in ["flush", "fua", "cache", "df", "multi-conn"] {
        run_ok(LIBNBD, "nbdinfo", &["--can", ability, &frozen]);
    }
    for ability in ["trim", "zero", "fast-zero"] {
        assert!(
            !run(LIBNBD, "nbdinfo", &["--can", ability, &frozen])
                .status
                .success(),
            "{ability}"
        );
    }
}

#[test]
fn an_unknown_export_is_refused_by_name() {
    let fixture = serve_disks();
    let output = run(LIBNBD, "nbdinfo", &[&fixture.server.uri("nope")]);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("No such file or directory for export: nope"),
        "{errors}"
    );
}

#[test]
fn nbdinfo_maps_holes_and_data() {
    let fixture = serve_disks();
    let uri = fixture.server.uri("disk");
    run_ok(
        QEMU,
        "qemu-io",
        &[
            "-f",
            "raw",
            "-c",
            "write -P 7 1M 128k",
            "-c",
            "write -P 7 32M 64k",
            &uri,
        ],
    );
    let map = run_ok(LIBNBD, "nbdinfo", &["--map", &uri]);
    let rows: Vec<Vec<&str>> = map
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let wanted: [&[&str]; 5] = [
        &["0", "1048576", "3", "hole,zero"],
        &["1048576", "131072", "0", "data"],
        &["1179648", "32374784", "3", "hole,zero"],
        &["33554432", "65536", "0", "data"],
        &["33619968", "33488896", "3", "hole,zero"],
    ];
    assert_eq!(rows, wanted);
}

#[test]
fn nbdcopy_there_and_back() {
    let fixture = serve_disks();
    let (uri, image) = (fixture.server.uri("disk"), image(&fixture));
    let back = fixture.dir.path().join("back");
    run_ok(LIBNBD, "nbdcopy", &["--flush", image.to_str().unwrap(), &uri]);
    assert!(
        fixture.server.knobs.synced.load(Ordering::SeqCst) > 0,
        "the flush did not arrive"
    );
    run_ok(LIBNBD, "nbdcopy", &[&uri, back.to_str().unwrap()]);
    assert!(same(&image, &back));
    // One connection, one request at a time, through other code of the client.
    std::fs::remove_file(&back).unwrap();
    run_ok(
        LIBNBD,
        "nbdcopy",
        &["--synchronous", "--allocated", &uri, back.to_str().unwrap()],
    );
    assert!(same(&image, &back));
}

#[test]
fn qemu_img_converts_and_compares() {
    let fixture = serve_disks();
    let (uri, image) = (fixture.server.uri("disk"), image(&fixture));
    let image = image.to_str().unwrap();
    assert!(run_ok(QEMU, "qemu-img", &["info", &uri]).contains("64 MiB"));
    run_ok(
        QEMU,
        "qemu-img",
        &["convert", "-n", "-f", "raw", "-O", "raw", image, &uri],
    );
    run_ok(
        QEMU,
        "qemu-img",
        &["compare", "-f", "raw", "-F", "raw", image, &uri],
    );
    let back = fixture.dir.path().join("back.qcow2");
    run_ok(
        QEMU,
        "qemu-img",
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            &uri,
            back.to_str().unwrap(),
        ],
    );
    run_ok(
        QEMU,
        "qemu-img",
        &[
            "compare",
            "-f",
            "qcow2",
            "-F",
            "raw",
            back.to_str().unwrap(),
            &uri,
        ],
    );
    let map = run_ok(QEMU, "qemu-img", &["map", "--output=json", "-f", "raw", &uri]);
    assert!(
        map.contains(r#""zero": true"#) && map.contains(r#""zero": false"#),
        "{map}"
    );
}

#[test]
fn qemu_io_small_zero_and_discarded_ranges() {
    let fixture = serve_disks();
    let io = |commands: &[&str]| {
        let uri = fixture.server.uri("disk");
        let mut args = vec!["-f", "raw"];
        commands.iter().for_each(|command| args.extend(["-c", command]));
        args.push(&uri);
        run_ok(QEMU, "qemu-io", &args)
    };
    let printed = io(&[
        "write -P 1 0 1M",
        "write -P 2 1000 3333",
        "write -z -u 64k 64k",
        "write -z 200k 10k",
        "discard 512k 64k",
        "write -f -P 3 900k 4k",
        "flush",
        "read -P 1 0 1000",
        "read -P 2 1000 3333",
        "read -P 1 4333 1k",
        "read -P 0 64k 64k",
        "read -P 0 200k 10k",
        "read -P 1 210k 1k",
        "read -P 3 900k 4k",
        "aio_write -P 4 2M 1M",
        "aio_read -P 1 0 512",
        "aio_flush",
        "read -P 4 2M 1M",
    ]);
    assert!(!printed.contains("Pattern verification failed"), "{printed}");
    assert!(
        fixture.server.knobs.synced.load(Ordering::SeqCst) >= 2,
        "FUA or the flush did not arrive"
    );
}

#[test]
fn a_read_only_export_is_not_written() {
    let fixture = serve_disks();
    let uri = fixture.server.uri("frozen");
    let output = run(QEMU, "qemu-io", &["-f", "raw", "-c", "write -P 1 0 4k", &uri]);
    assert!(!output.status.success());
    assert_eq!(fixture.server.knobs.writes.load(Ordering::SeqCst), 0);
    run_ok(
        QEMU,
        "qemu-io",
        &["-r", "-f", "raw", "-c", "read -P 0 0 1M", &uri],
    );
}

#[test]
fn an_error_of_the_disk_reaches_the_client() {
    let fixture = serve_disks();
    fixture.server.knobs.damaged_from.store(MIB, Ordering::SeqCst);
    let uri = fixture.server.uri("disk");
    let output = run(
        QEMU,
        "qemu-io",
        &["-f", "raw", "-c", "read 1M 4k", "-c", "read 0 4k", &uri],
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("read failed: Input/output error"), "{printed}");
    assert!(
        printed.contains("read 4096/4096 bytes at offset 0"),
        "the connection goes on: {printed}"
    );
}

fn fio(fixture: &Fixture, args: &[&str]) {
    let uri = format!("--uri={}", fixture.server.uri("disk"));
    let common = [
        "--name=verify",
        "--ioengine=nbd",
        &uri,
        "--verify=crc32c",
        "--verify_fatal=1",
        "--size=16m",
    ];
    let printed = run_ok("fio", "fio", &[&common[..], args].concat());
    assert!(printed.contains("err= 0"), "{printed}");
}

#[test]
fn fio_verifies_what_it_wrote() {
    let fixture = serve_disks();
    fio(
        &fixture,
        &["--rw=randwrite", "--bs=4k", "--iodepth=32", "--fsync=64"],
    );
    fio(&fixture, &["--rw=randrw", "--bsrange=512-64k", "--iodepth=16"]);
    fio(&fixture, &["--rw=write", "--bs=1m", "--iodepth=4"]);
}
