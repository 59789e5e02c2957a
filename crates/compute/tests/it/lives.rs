//! Guests start, end in every way there is, and are told of once.

use crate::machine::{LONG, Machine, kill, next, next_but_reboots, says};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;
use tidemark_compute::{Accelerator, Compute, ComputeErrorKind, GuestEnd, GuestEvent, NetworkMode, StopMode};
use tokio::sync::broadcast::error::TryRecvError;

fn ended(id: &str, how: GuestEnd) -> GuestEvent {
    let id = id.to_owned();
    GuestEvent::Ended { id, how }
}

#[tokio::test]
async fn a_guest_starts_once_and_is_killed() {
    let machine = Machine::new();
    let compute = machine.compute();
    let mut events = compute.events();
    let spec = machine.spec("i-1");
    assert_eq!(compute.probe().await.unwrap().accelerator, Accelerator::Tcg);
    let (one, two) = tokio::join!(compute.start(&spec), compute.start(&spec));
    one.and(two).unwrap();
    compute.start(&spec).await.unwrap();
    assert_eq!(machine.processes().len(), 1);
    assert!(compute.is_running("i-1").await);
    says(&compute.console("i-1"), "SeaBIOS").await;

    // Nobody else's.
    let mode = |name: &str| {
        fs::metadata(machine.guests().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("i-1"), 0o700);
    for socket in ["i-1/qmp.sock", "i-1/agent.sock"] {
        assert_eq!(mode(socket), 0o600, "{socket}");
    }

    // A guest without a system does not hear the button.
    compute.stop("i-1", StopMode::Ask).await.unwrap();
    assert!(compute.is_running("i-1").await);

    compute.stop("i-1", StopMode::Now).await.unwrap();
    assert_eq!(machine.processes(), Vec::<u32>::new());
    assert!(!compute.is_running("i-1").await);
    assert_eq!(next(&mut events).await, ended("i-1", GuestEnd::Killed));
    // Once, and again nothing.
    compute.kill("i-1").await.unwrap();
    compute.ask_to_stop("i-1").await.unwrap();
    assert_eq!(
        compute.reset("i-1").await.unwrap_err().kind,
        ComputeErrorKind::NotRunning
    );
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(machine.files_of("i-1"), ["console.log", "qemu.log"]);
    assert!(String::from_utf8_lossy(&compute.console_tail("i-1", 1 << 20).unwrap()).contains("SeaBIOS"));
    // It can live again.
    compute.start(&spec).await.unwrap();
    compute.kill("i-1").await.unwrap();
    compute.forget("i-1").await.unwrap();
    assert!(!machine.guests().join("i-1").exists());
}

#[tokio::test]
async fn a_guest_boots_restarts_itself_and_switches_itself_off() {
    let mut machine = Machine::new();
    let compute = machine.compute();
    let mut events = compute.events();
    let mut spec = machine.spec("i-1");
    spec.disks = vec![machine.disk("d-data", false), machine.disk("d-boot", true)];
    compute.start(&spec).await.unwrap();
    let rebooted = GuestEvent::Rebooted { id: "i-1".to_owned() };
    assert_eq!(next(&mut events).await, rebooted);
    assert_eq!(
        next_but_reboots(&mut events).await,
        ended("i-1", GuestEnd::PoweredOff)
    );
    let said = String::from_utf8_lossy(&compute.console_tail("i-1", 1 << 20).unwrap()).into_owned();
    assert_eq!(said.matches("HELLO").count(), 2, "{said}");
    assert_eq!(machine.processes(), Vec::<u32>::new());
    // Whoever hears of an end can start it again.
    compute.start(&spec).await.unwrap();
    assert_eq!(next(&mut events).await, rebooted);
}

#[tokio::test]
async fn a_crash_is_told_with_what_is_known() {
    let machine = Machine::new();
    let compute = machine.compute();
    let mut events = compute.events();
    compute.start(&machine.spec("i-1")).await.unwrap();
    kill(machine.processes()[0]);
    match next(&mut events).await {
        GuestEvent::Ended {
            id,
            how: GuestEnd::Crashed { detail },
        } => {
            assert_eq!(id, "i-1");
            assert!(detail.contains("signal: 9"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!compute.is_running("i-1").await);
}

#[tokio::test]
async fn a_reset_is_told() {
    let machine = Machine::new();
    let compute = machine.compute();
    let mut events = compute.events();
    compute.start(&machine.spec("i-1")).await.unwrap();
    compute.reset("i-1").await.unwrap();
    let id = "i-1".to_owned();
    assert_eq!(next(&mut events).await, GuestEvent::Rebooted { id });
    assert!(compute.is_running("i-1").await);
}

#[tokio::test]
async fn a_guest_that_is_stopped_by_the_kernel_is_killed_all_the_same() {
    let machine = Machine::new();
    let compute = machine.compute();
    let mut events = compute.events();
    compute.start(&machine.spec("i-1")).await.unwrap();
    let pid = rustix::process::Pid::from_raw(machine.processes()[0].cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // It cannot be asked, and whoever asks is not kept for ever.
    let asked = tokio::time::timeout(LONG, compute.ask_to_stop("i-1"))
        .await
        .unwrap();
    assert_eq!(asked.unwrap_err().kind, ComputeErrorKind::Failed);
    tokio::time::timeout(LONG, compute.kill("i-1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next(&mut events).await, ended("i-1", GuestEnd::Killed));
}

#[tokio::test]
async fn memory_is_not_promised_twice() {
    let machine = Machine::new();
    let mut config = machine.config();
    config.memory_mib_max = Some(80);
    let compute = Compute::open(config);
    compute.start(&machine.spec("i-1")).await.unwrap();
    let mut large = machine.spec("i-2");
    large.memory_mib = 49;
    let error = compute.start(&large).await.unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::NoCapacity);
    // A refused guest leaves nothing.
    assert!(!machine.guests().join("i-2").exists());
    compute.kill("i-1").await.unwrap();
    compute.start(&large).await.unwrap();
}

#[tokio::test]
async fn a_refusal_shows_qemus_words_and_leaves_nothing() {
    let machine = Machine::new();
    let mut config = machine.config();
    config.memory_mib_max = Some(40);
    let compute = Compute::open(config);
    let mut spec = machine.spec("i-1");
    spec.mac = "not a mac".to_owned();
    let error = compute.start(&spec).await.unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::Failed);
    assert!(
        error.message.contains("i-1") && error.message.contains("not a mac"),
        "{error}"
    );
    assert_eq!(machine.processes(), Vec::<u32>::new());
    assert!(!compute.is_running("i-1").await);
    // Its memory is free again.
    spec.mac = machine.spec("i-1").mac;
    compute.start(&spec).await.unwrap();
}

#[tokio::test]
async fn qemu_takes_what_it_is_told_of_networks() {
    let machine = Machine::new();
    for network in [NetworkMode::User, NetworkMode::Isolated] {
        let mut config = machine.config();
        config.network = network.clone();
        config.relay = vec![
            "/opt/a program, with \"quotes\" and 'more'".into(),
            "metadata-relay".into(),
        ];
        let compute = Compute::open(config);
        compute
            .start(&machine.spec("i-1"))
            .await
            .unwrap_or_else(|error| panic!("{network:?}: {error}"));
        compute.kill("i-1").await.unwrap();
    }
}

#[tokio::test]
async fn guests_run_on_what_was_found_to_work() {
    let machine = Machine::new();
    let mut config = machine.config();
    config.accelerator = Accelerator::Auto;
    let compute = Compute::open(config);
    let probe = compute.probe().await.unwrap();
    // Emulation has a reason that can be shown.
    assert_eq!(
        probe.accelerator == Accelerator::Tcg,
        probe.why_not_kvm.is_some(),
        "{probe:?}"
    );
    compute.start(&machine.spec("i-1")).await.unwrap();
    says(&compute.console("i-1"), "SeaBIOS").await;
}

#[tokio::test]
async fn a_missing_qemu_is_told_apart() {
    let machine = Machine::new();
    let mut config = machine.config();
    config.qemu = "/nowhere/qemu".into();
    let error = Compute::open(config)
        .start(&machine.spec("i-1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::NotInstalled);
}

#[tokio::test]
async fn the_console_stays_small() {
    let machine = Machine::new();
    let compute = machine.compute();
    compute.start(&machine.spec("i-1")).await.unwrap();
    let console = compute.console("i-1");
    says(&console, "SeaBIOS").await;
    // As if the guest had said much while nobody was there.
    let file = fs::OpenOptions::new().append(true).open(&console).unwrap();
    std::io::Write::write_all(&mut &file, &vec![b'x'; 8 << 20]).unwrap();
    let deadline = tokio::time::Instant::now() + LONG;
    while fs::metadata(&console).unwrap().size() > 1 << 20 {
        assert!(tokio::time::Instant::now() < deadline, "nobody cuts it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // QEMU goes on at the new end.
    compute.reset("i-1").await.unwrap();
    says(&console, "SeaBIOS").await;
    assert!(fs::metadata(&console).unwrap().size() < 1 << 20);
}
