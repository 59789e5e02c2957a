//! What QEMU is told, word by word.

use super::*;
use crate::error::ComputeErrorKind;

const OLD: Version = Version { major: 7, minor: 2 };

fn spec() -> GuestSpec {
    GuestSpec {
        id: "i-1".to_owned(),
        uuid: "6bf2b4f4-0d0a-4b4e-9d33-0a0b0c0d0e0f".to_owned(),
        cpus: 2,
        memory_mib: 512,
        mac: "00:16:3e:00:00:01".to_owned(),
        address: Ipv4Addr::new(100, 64, 0, 7),
        disks: vec![
            GuestDisk {
                id: "d-1".to_owned(),
                socket: "/data/a,b/d-1.sock".into(),
                nbd: "/data/a,b/d-1.nbd".into(),
                serial: "1".to_owned(),
                boot: true,
            },
            GuestDisk {
                id: "d-2".to_owned(),
                socket: "/data/d-2.sock".into(),
                nbd: "/data/d-2.nbd".into(),
                serial: "2".to_owned(),
                boot: false,
            },
        ],
        metadata_socket: "/data/a,b/it's metadata.sock".into(),
    }
}

fn probe(version: Version) -> Probe {
    Probe {
        version,
        accelerator: Accelerator::Tcg,
        why_not_kvm: None,
        sandbox: true,
    }
}

fn relay() -> Vec<OsString> {
    vec!["/usr/bin/tidemark".into(), "metadata-relay".into()]
}

fn told(spec: &GuestSpec, version: Version, network: &NetworkMode) -> Result<Vec<String>, ComputeError> {
    let dir = GuestDir::new("/run/g,1".as_ref(), &spec.id);
    words(
        spec,
        &dir,
        &probe(version),
        network,
        DiskTransport::VhostUser,
        &relay(),
    )
}

/// Every value of an option.
fn values<'a>(words: &'a [String], option: &str) -> Vec<&'a str> {
    let pairs = words.windows(2).filter(|pair| pair[0] == option);
    pairs.map(|pair| pair[1].as_str()).collect()
}

#[test]
fn commas_are_doubled_in_every_path() {
    let words = told(&spec(), OLD, &NetworkMode::Isolated).unwrap();
    assert_eq!(
        values(&words, "-chardev"),
        [
            "socket,id=qmp,path=/run/g,,1/i-1/qmp.sock,server=on,wait=off",
            "socket,id=agent,path=/run/g,,1/i-1/agent.sock,server=on,wait=off",
            "file,id=console,append=on,path=/run/g,,1/i-1/console.log",
            "socket,id=socket-d-1,path=/data/a,,b/d-1.sock,reconnect=1",
            "socket,id=socket-d-2,path=/data/d-2.sock,reconnect=1",
        ]
    );
}

#[test]
fn a_newer_qemu_reconnects_in_milliseconds() {
    for (version, word) in [
        (OLD, "reconnect=1"),
        (Version { major: 9, minor: 1 }, "reconnect=1"),
        (Version { major: 9, minor: 2 }, "reconnect-ms=200"),
        (Version { major: 10, minor: 0 }, "reconnect-ms=200"),
    ] {
        let words = told(&spec(), version, &NetworkMode::Isolated).unwrap();
        let disk = values(&words, "-chardev")[3].to_owned();
        assert_eq!(disk.rsplit(',').next(), Some(word), "{version}");
    }
}

#[test]
fn the_metadata_service_is_in_the_guests_network() {
    let words = told(&spec(), OLD, &NetworkMode::Isolated).unwrap();
    assert_eq!(
        values(&words, "-netdev"),
        [
            "user,id=net,ipv6=off,restrict=on,net=100.64.0.0/10,host=100.127.255.253,dns=100.127.255.254,\
          dhcpstart=100.64.0.7,guestfwd=tcp:100.100.100.200:80-cmd:/usr/bin/tidemark metadata-relay \
          '/data/a,,b/it'\\''s metadata.sock'"
        ]
    );
    let words = told(&spec(), OLD, &NetworkMode::User).unwrap();
    assert!(values(&words, "-netdev")[0].contains(",restrict=off,"));
}

#[test]
fn other_networks_have_no_relay() {
    let words = told(&spec(), OLD, &NetworkMode::Bridge("br0".to_owned())).unwrap();
    assert_eq!(values(&words, "-netdev"), ["bridge,id=net,br=br0"]);
    let mut spec = spec();
    spec.id = "i-bp1aaaabbbbccccdddd".to_owned();
    // An address of any network is right there.
    spec.address = Ipv4Addr::new(192, 168, 1, 5);
    let words = told(&spec, OLD, &NetworkMode::Tap("tm".to_owned())).unwrap();
    assert_eq!(
        values(&words, "-netdev"),
        ["tap,id=net,ifname=tmabbbbccccdddd,script=no,downscript=no"]
    );
}

#[test]
fn what_starts_programs_may_do_so() {
    for (network, refused) in [
        (NetworkMode::User, false),
        (NetworkMode::Isolated, false),
        (NetworkMode::Bridge("br0".to_owned()), false),
        (NetworkMode::Tap("tm".to_owned()), true),
    ] {
        let words = told(&spec(), OLD, &network).unwrap();
        let sandbox = values(&words, "-sandbox")[0];
        assert_eq!(sandbox.contains("elevateprivileges"), refused, "{network:?}");
    }
}

#[test]
fn an_address_that_cannot_be_is_refused() {
    for address in [
        Ipv4Addr::new(192, 168, 1, 5),
        Ipv4Addr::new(100, 64, 0, 0),
        Ipv4Addr::new(100, 127, 255, 255),
        METADATA_ADDRESS,
        USER_GATEWAY,
        USER_DNS,
    ] {
        let spec = GuestSpec { address, ..spec() };
        let error = told(&spec, OLD, &NetworkMode::User).unwrap_err();
        assert_eq!(error.kind, ComputeErrorKind::Failed);
        assert!(error.message.contains(&address.to_string()), "{error}");
    }
}

#[test]
fn the_machine_says_what_cloud_init_looks_for() {
    let words = told(&spec(), OLD, &NetworkMode::Isolated).unwrap();
    let uuid = spec().uuid;
    assert_eq!(
        values(&words, "-smbios"),
        [format!(
            "type=1,manufacturer=Alibaba Cloud,product=Alibaba Cloud ECS,serial={uuid},uuid={uuid}"
        )]
    );
    assert_eq!(values(&words, "-uuid"), [uuid]);
    // A guest that reboots goes on.
    assert!(
        !words
            .iter()
            .any(|word| word == "-no-reboot" || word == "-no-shutdown")
    );
}

#[test]
fn only_the_boot_disk_has_a_place_in_the_boot_order() {
    let words = told(&spec(), OLD, &NetworkMode::Isolated).unwrap();
    let disks: Vec<&str> = values(&words, "-device")
        .into_iter()
        .filter(|device| device.starts_with("vhost-user-blk-pci"))
        .collect();
    assert_eq!(
        disks,
        [
            "vhost-user-blk-pci,id=disk-d-1,chardev=socket-d-1,num-queues=2,bootindex=1",
            "vhost-user-blk-pci,id=disk-d-2,chardev=socket-d-2,num-queues=2",
        ]
    );
}

#[test]
fn kvm_gets_the_machines_own_processor() {
    let probe = Probe {
        accelerator: Accelerator::Kvm,
        sandbox: false,
        ..probe(OLD)
    };
    let dir = GuestDir::new("/run".as_ref(), "i-1");
    let words = words(
        &spec(),
        &dir,
        &probe,
        &NetworkMode::Isolated,
        DiskTransport::VhostUser,
        &relay(),
    )
    .unwrap();
    assert_eq!(
        (values(&words, "-accel"), values(&words, "-cpu")),
        (vec!["kvm"], vec!["host"])
    );
    assert_eq!(values(&words, "-sandbox"), Vec::<&str>::new());
}

#[test]
fn what_qemu_cannot_be_told_is_refused() {
    let long = format!("/{}/m.sock", "x".repeat(101));
    let refuse = |change: &dyn Fn(&mut GuestSpec), word: &str| {
        let mut spec = spec();
        change(&mut spec);
        let refused = check(&spec).and_then(|()| told(&spec, OLD, &NetworkMode::Isolated).map(drop));
        let error = refused.unwrap_err();
        assert!(error.message.contains(word), "{error}");
    };
    refuse(&|spec| spec.id = "../up".to_owned(), "../up");
    refuse(&|spec| spec.id = String::new(), "guest");
    refuse(&|spec| spec.cpus = 0, "0 processors");
    refuse(&|spec| spec.metadata_socket = long.clone().into(), "at most 107");
    refuse(&|spec| spec.disks[0].socket = long.clone().into(), "at most 107");
    refuse(&|spec| spec.disks[1].id = "d,1".to_owned(), "d,1");
    refuse(&|spec| spec.disks[1].id = "d-1".to_owned(), "twice");
    refuse(&|spec| spec.disks[1].boot = true, "boots from two");
    // 107 bytes are right.
    let spec = GuestSpec {
        metadata_socket: format!("/{}/m.sock", "x".repeat(99)).into(),
        ..spec()
    };
    told(&spec, OLD, &NetworkMode::Isolated).unwrap();
    // QEMU would cut this one and run another command.
    let dir = GuestDir::new("/run".as_ref(), "i-1");
    let relay = vec!["x".repeat(990).into()];
    let error = words(
        &spec,
        &dir,
        &probe(OLD),
        &NetworkMode::User,
        DiskTransport::VhostUser,
        &relay,
    )
    .unwrap_err();
    assert!(error.message.contains("more than QEMU takes"), "{error}");
}

#[test]
fn emulated_guests_have_their_disks_through_qemu_itself() {
    let dir = GuestDir::new("/run/g,1".as_ref(), "i-1");
    let found = |accelerator, wanted| {
        let probe = Probe {
            accelerator,
            ..probe(OLD)
        };
        let words = words(&spec(), &dir, &probe, &NetworkMode::Isolated, wanted, &relay()).unwrap();
        let devices = values(&words, "-device").join(" ");
        (
            devices.contains("vhost-user-blk-pci"),
            values(&words, "-blockdev").join(" "),
        )
    };
    let devices = |accelerator| {
        let probe = Probe {
            accelerator,
            ..probe(OLD)
        };
        let words = words(
            &spec(),
            &dir,
            &probe,
            &NetworkMode::Isolated,
            DiskTransport::Auto,
            &relay(),
        );
        let words = words.unwrap();
        values(&words, "-device")
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let (vhost, nodes) = found(Accelerator::Tcg, DiskTransport::Auto);
    assert!(
        !vhost && nodes.contains(r#""path":"/data/a,b/d-1.nbd""#) && nodes.contains(r#""export":"d-2""#),
        "{nodes}"
    );
    // A server that goes away is waited for; what was deleted is given back; an error is the guest's to see.
    for words in [
        r#""reconnect-delay":31536000"#,
        r#""open-timeout":5"#,
        r#""discard":"unmap""#,
    ] {
        assert!(nodes.contains(words), "{nodes}");
    }
    let device = "virtio-blk-pci,id=disk-d-1,drive=nbd-d-1,serial=1,num-queues=2,cyls=16383,heads=16,secs=63,\
                  rerror=report,werror=report,bootindex=1";
    assert!(devices(Accelerator::Tcg).contains(&device.to_owned()));
    assert_eq!(
        found(Accelerator::Kvm, DiskTransport::Auto),
        (true, String::new())
    );
    assert!(!found(Accelerator::Kvm, DiskTransport::Nbd).0);
    assert!(found(Accelerator::Tcg, DiskTransport::VhostUser).0);
}

#[test]
fn a_disks_name_fits_a_block_node() {
    assert!(node_of("d-bp1adyohe2uc8xe8z1tg").is_ok());
    assert!(node_of(&"d".repeat(28)).is_err());
}
