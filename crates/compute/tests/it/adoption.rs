//! Guests outlive who started them, and are found again.

use crate::machine::{LONG, Machine, kill, next, next_but_reboots};
use std::fs;
use std::time::Duration;
use tidemark_compute::{Compute, ComputeConfig, ComputeErrorKind, DiskTransport, GuestEnd, GuestEvent};

#[tokio::test]
async fn guests_are_found_and_followed() {
    let machine = Machine::new();
    let first = machine.compute();
    for id in ["i-1", "i-2", "i-3"] {
        first.start(&machine.spec(id)).await.unwrap();
    }
    let before = machine.processes();
    drop(first);
    // One ends while nobody is there.
    let third = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line)
            .contains("guest=i-3\0")
            .then_some(number)
    });
    kill(third.filter(|number| before.contains(number)).unwrap());

    let second = machine.compute();
    let mut events = second.events();
    assert!(!second.is_running("i-1").await);
    let mut found = second.adopt().await.unwrap();
    if found.len() == 3 {
        // It was still ending.
        assert!(matches!(next(&mut events).await, GuestEvent::Ended { id, .. } if id == "i-3"));
        found = second.adopt().await.unwrap();
    }
    assert_eq!(found, ["i-1", "i-2"]);
    assert_eq!(machine.files_of("i-3"), ["console.log", "qemu.log"]);
    assert!(second.is_running("i-1").await && !second.is_running("i-3").await);

    second.reset("i-1").await.unwrap();
    assert_eq!(
        next(&mut events).await,
        GuestEvent::Rebooted { id: "i-1".to_owned() }
    );
    second.kill("i-1").await.unwrap();
    let how = GuestEnd::Killed;
    assert_eq!(
        next_but_reboots(&mut events).await,
        GuestEvent::Ended {
            id: "i-1".to_owned(),
            how
        }
    );
    // An adopted guest's crash is seen too.
    let left = machine.processes();
    assert_eq!(left.len(), 1);
    kill(left[0]);
    assert!(matches!(
        next_but_reboots(&mut events).await,
        GuestEvent::Ended { id, how: GuestEnd::Crashed { .. } } if id == "i-2"
    ));
    assert_eq!(second.adopt().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_guest_that_nobody_adopted_is_not_started_twice() {
    let machine = Machine::new();
    let first = machine.compute();
    let spec = machine.spec("i-1");
    first.start(&spec).await.unwrap();
    let before = machine.processes();
    drop(first);
    let second = machine.compute();
    assert_eq!(
        second.forget("i-1").await.unwrap_err().kind,
        ComputeErrorKind::Failed
    );
    second.start(&spec).await.unwrap();
    assert_eq!(machine.processes(), before);
    drop(second);
    // And can be killed.
    machine.compute().kill("i-1").await.unwrap();
    assert_eq!(machine.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_start_goes_on_without_who_asked_for_it() {
    let machine = Machine::new();
    let compute = machine.compute();
    let spec = machine.spec("i-1");
    let asked = tokio::time::timeout(Duration::from_millis(1), compute.start(&spec)).await;
    assert!(asked.is_err(), "that was quick");
    // Waits for the start, then ends it.
    tokio::time::timeout(LONG, compute.kill("i-1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(machine.processes(), Vec::<u32>::new());
    assert!(!compute.is_running("i-1").await);
}

#[tokio::test]
async fn a_memory_that_was_promised_is_known_again() {
    let machine = Machine::new();
    let first = machine.compute();
    first.start(&machine.spec("i-1")).await.unwrap();
    drop(first);
    let mut config = machine.config();
    config.memory_mib_max = Some(60);
    let second = tidemark_compute::Compute::open(config);
    assert_eq!(second.adopt().await.unwrap(), ["i-1"]);
    let error = second.start(&machine.spec("i-2")).await.unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::NoCapacity);
}

#[tokio::test]
async fn a_guest_is_found_and_killed_under_another_name_of_its_directory() {
    let machine = Machine::new();
    let first = machine.compute();
    first.start(&machine.spec("i-1")).await.unwrap();
    let before = machine.processes();
    drop(first);
    let link = machine.guests().with_file_name("link");
    std::os::unix::fs::symlink(machine.guests(), &link).unwrap();
    let config = |dir| ComputeConfig {
        dir,
        ..machine.config()
    };
    let second = Compute::open(config(link));
    assert_eq!(second.adopt().await.unwrap(), ["i-1"]);
    drop(second);

    // One that it has been given since.
    let moved = machine.guests().with_file_name("moved");
    fs::rename(machine.guests(), &moved).unwrap();
    let third = Compute::open(config(moved.clone()));
    assert_eq!(third.adopt().await.unwrap(), ["i-1"]);
    third.start(&machine.spec("i-1")).await.unwrap();
    assert_eq!(machine.processes(), before);
    third.kill("i-1").await.unwrap();
    assert!(machine.processes().is_empty());
}

#[tokio::test]
async fn an_adopted_guest_gets_its_disks_as_it_was_started_to() {
    let mut machine = Machine::new();
    let first = machine.compute();
    first.start(&machine.spec("i-1")).await.unwrap();
    drop(first);
    let disk = machine.disk("d-1", false);
    fs::remove_file(&disk.socket).unwrap();
    // What a new guest would get now.
    let second = Compute::open(ComputeConfig {
        disks: DiskTransport::VhostUser,
        ..machine.config()
    });
    second.adopt().await.unwrap();
    second.plug("i-1", &disk).await.unwrap();
    assert!(second.has_disk("i-1", "d-1").await.unwrap());
}

#[tokio::test]
async fn a_guest_of_which_nothing_can_be_read_is_not_taken_for_ended() {
    let machine = Machine::new();
    let first = machine.compute();
    for id in ["i-1", "i-2"] {
        first.start(&machine.spec(id)).await.unwrap();
    }
    let before = machine.processes();
    drop(first);
    // Not readable as a file.
    let (told, away) = (
        machine.guests().join("i-1/guest.json"),
        machine.guests().join("away"),
    );
    fs::rename(&told, &away).unwrap();
    fs::create_dir(&told).unwrap();
    let second = machine.compute();
    assert!(second.adopt().await.is_err());
    assert!(second.look_for("i-1").await.is_err());
    // The one beside it does not suffer.
    assert!(second.is_running("i-2").await);
    assert!(second.start(&machine.spec("i-1")).await.is_err());
    assert_eq!(machine.processes(), before);
    // Told in a way that is not known any more: it is found by where it listens.
    fs::remove_dir(&told).unwrap();
    fs::write(&told, "{}").unwrap();
    assert!(second.look_for("i-1").await.unwrap());
    for id in ["i-1", "i-2"] {
        second.kill(id).await.unwrap();
    }
    assert!(machine.processes().is_empty());
    assert!(!second.look_for("i-1").await.unwrap());
}
