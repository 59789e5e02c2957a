//! Disks come and go while a guest runs.

use crate::machine::{LONG, Machine, next_but_reboots, says};
use std::time::Duration;
use tidemark_compute::{Compute, ComputeConfig, ComputeErrorKind, DiskTransport, GuestDisk, GuestEvent};

const SHORT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_disk_is_plugged_in_and_taken_out() {
    comes_and_goes(DiskTransport::Nbd).await;
}

#[tokio::test]
async fn a_disk_over_vhost_user_is_plugged_in_and_taken_out() {
    comes_and_goes(DiskTransport::VhostUser).await;
}

async fn comes_and_goes(disks: DiskTransport) {
    let mut machine = Machine::new();
    let compute = Compute::open(ComputeConfig {
        disks,
        ..machine.config()
    });
    let mut events = compute.events();
    let disk = machine.disk("d-1", false);
    // Only what it is to be connected by is there.
    let other = match disks {
        DiskTransport::VhostUser => &disk.nbd,
        _ => &disk.socket,
    };
    std::fs::remove_file(other).unwrap();
    compute.start(&machine.spec("i-1")).await.unwrap();
    says(&compute.console("i-1"), "SeaBIOS").await;
    compute.plug("i-1", &disk).await.unwrap();
    compute.plug("i-1", &disk).await.unwrap();

    // Firmware does not let go of it, whatever is asked how often; after a reset QEMU takes it away.
    for _ in 0..2 {
        let error = compute.unplug("i-1", "d-1", SHORT).await.unwrap_err();
        assert_eq!(error.kind, ComputeErrorKind::GuestBusy, "{error}");
        assert!(
            error.message.contains("i-1") && error.message.contains("d-1"),
            "{error}"
        );
    }
    compute.reset("i-1").await.unwrap();
    let gone = GuestEvent::Unplugged {
        id: "i-1".to_owned(),
        disk: "d-1".to_owned(),
    };
    assert_eq!(next_but_reboots(&mut events).await, gone);
    compute.unplug("i-1", "d-1", SHORT).await.unwrap();
    compute.unplug("i-1", "d-1", SHORT).await.unwrap();
    // Its server is free for the next.
    compute.plug("i-1", &disk).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_nobody_serves_is_refused_and_costs_the_guest_nothing() {
    let machine = Machine::new();
    let compute = machine.compute();
    let disk = GuestDisk {
        id: "d-1".to_owned(),
        socket: machine.guests().join("nothing.sock"),
        nbd: machine.guests().join("nothing.nbd"),
        serial: "1".to_owned(),
        boot: false,
    };
    compute.start(&machine.spec("i-1")).await.unwrap();
    let error = compute.plug("i-1", &disk).await.unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::Failed);
    assert!(error.message.contains("nobody answers"), "{error}");
    // The guest was not held up, and there is no trace of the disk.
    compute.reset("i-1").await.unwrap();
    compute.unplug("i-1", "d-1", SHORT).await.unwrap();

    let mut spec = machine.spec("i-2");
    spec.disks = vec![disk];
    let error = tokio::time::timeout(LONG, compute.start(&spec))
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        error.message.contains("d-1") && error.message.contains("nothing."),
        "{error}"
    );
}

#[tokio::test]
async fn a_kill_does_not_wait_for_an_unplug() {
    let mut machine = Machine::new();
    let compute = machine.compute();
    let mut spec = machine.spec("i-1");
    spec.disks = vec![machine.disk("d-1", false)];
    compute.start(&spec).await.unwrap();
    let patient = compute.clone();
    let unplugging = tokio::spawn(async move { patient.unplug("i-1", "d-1", LONG * 60).await });
    tokio::time::sleep(SHORT).await;
    tokio::time::timeout(LONG, compute.kill("i-1"))
        .await
        .unwrap()
        .unwrap();
    let error = tokio::time::timeout(LONG, unplugging)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::NotRunning, "{error}");
    assert_eq!(
        compute.plug("i-1", &spec.disks[0]).await.unwrap_err().kind,
        ComputeErrorKind::NotRunning
    );
}

#[tokio::test]
async fn no_agent_is_told_apart() {
    let machine = Machine::new();
    let compute = machine.compute();
    compute.start(&machine.spec("i-1")).await.unwrap();
    let error = compute.freeze("i-1", LONG).await.unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::NoAgent, "{error}");
    let error = compute.exec("i-1", "true", &[], LONG).await.unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::NoAgent, "{error}");
    assert_eq!(
        compute.freeze("i-2", LONG).await.unwrap_err().kind,
        ComputeErrorKind::NotRunning
    );
}
