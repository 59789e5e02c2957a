//! Guests and front ends that break the rules: an error, a lost ring or a lost connection, and never more.

use crate::back_end::{BackEnd, Content};
use crate::front_end::*;
use std::io::Write;
use std::os::fd::AsRawFd;
use tidemark_env::real::IoChoice;
use tidemark_vhost::ServeLimits;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserInflight;

const SIZE: u64 = 8 << 20;
const SECTORS: u64 = SIZE / 512;

/// What becomes of a chain whose descriptors are given: the status, or `None` for a ring that is given up.
fn outcome(describe: impl FnOnce(&mut Machine) -> (Vec<(u16, Descriptor)>, Option<u64>)) -> Option<u8> {
    let content = Content::new(SIZE);
    let (mut machine, front, back_end) = connected(&content, 2, IoChoice::Auto);
    let (descriptors, status) = describe(&mut machine);
    for (index, descriptor) in descriptors {
        machine.set_descriptor(machine.table(0), index, descriptor);
    }
    machine.offer(0, 0);
    let answer = machine.answer(0);
    assert_eq!(content.take_log(), Vec::<String>::new(), "nothing was done");
    // The other ring, and the connection, go on.
    assert_eq!(machine.request(1, IN, 0, &[], 512).0, 0);
    drop(front);
    assert_eq!(back_end.outcome(), "Closed");
    answer.map(|_| machine.get(status.expect("an answer has a status"), 1)[0])
}

/// A request as three descriptors: header, data, status.
fn plain(kind: u32, sector: u64, len: u32, writable: bool) -> Option<u8> {
    outcome(|machine| {
        let (header, data, status) = (
            machine.header(kind, sector),
            machine.place(1024),
            machine.put(&[0xff]),
        );
        let flags = NEXT | if writable { WRITE } else { 0 };
        let chain = vec![
            (0, (header, 16, NEXT, 1)),
            (1, (data, len, flags, 2)),
            (2, (status, 1, WRITE, 0)),
        ];
        (chain, Some(status))
    })
}

#[test]
fn requests_that_make_no_sense_get_an_error() {
    const IOERR: Option<u8> = Some(1);
    for (what, found) in [
        ("a write past the end", plain(OUT, SECTORS, 512, false)),
        ("a write over the end", plain(OUT, SECTORS - 1, 1024, false)),
        ("a read past the end", plain(IN, SECTORS, 512, true)),
        ("a sector that overflows", plain(OUT, u64::MAX / 512, 512, false)),
        ("a sector that overflows more", plain(IN, u64::MAX, 512, true)),
        ("part of a sector", plain(OUT, 0, 100, false)),
        ("part of a sector read", plain(IN, 0, 513, true)),
        ("more than one request may", plain(OUT, 0, 33 << 20, false)),
        ("data outside of memory", plain(OUT, 0, 1 << 31, false)),
        ("no whole range", plain(DISCARD, 0, 15, false)),
        ("too many ranges", plain(DISCARD, 0, 33 * 16, false)),
    ] {
        assert_eq!(found, IOERR, "{what}");
    }
}

#[test]
fn ranges_that_make_no_sense_get_an_error() {
    let one = |kind: u32, sector: u64, sectors: u32, flags: u32| {
        outcome(move |machine| {
            let mut range = sector.to_le_bytes().to_vec();
            range.extend(sectors.to_le_bytes());
            range.extend(flags.to_le_bytes());
            let (header, data, status) = (machine.header(kind, 0), machine.put(&range), machine.put(&[0xff]));
            let chain = vec![
                (0, (header, 16, NEXT, 1)),
                (1, (data, 16, NEXT, 2)),
                (2, (status, 1, WRITE, 0)),
            ];
            (chain, Some(status))
        })
    };
    assert_eq!(one(DISCARD, SECTORS - 1, 2, 0), Some(1), "past the end");
    assert_eq!(one(ZEROES, u64::MAX - 1, 8, 0), Some(1), "overflow");
    assert_eq!(one(ZEROES, 0, u32::MAX, 0), Some(1), "longer than offered");
    assert_eq!(one(DISCARD, 0, 1, 1), Some(2), "a discard has no unmap flag");
    assert_eq!(one(ZEROES, 0, 1, 2), Some(2), "an unknown flag");
}

#[test]
fn chains_that_break_the_rules() {
    type Chain = fn(&mut Machine) -> (Vec<(u16, Descriptor)>, Option<u64>);
    let table: &[(&str, Option<u8>, Chain)] = &[
        ("a status of no bytes", None, |m| {
            let (header, status) = (m.header(FLUSH_TYPE, 0), m.place(1));
            (vec![(0, (header, 16, NEXT, 1)), (1, (status, 0, WRITE, 0))], None)
        }),
        ("no status", None, |m| {
            (vec![(0, (m.header(FLUSH_TYPE, 0), 16, 0, 0))], None)
        }),
        ("a status outside of memory", None, |m| {
            let header = m.header(FLUSH_TYPE, 0);
            (
                vec![(0, (header, 16, NEXT, 1)), (1, (MEMORY_BYTES, 1, WRITE, 0))],
                None,
            )
        }),
        ("a status past all addresses", None, |m| {
            let header = m.header(FLUSH_TYPE, 0);
            (
                vec![(0, (header, 16, NEXT, 1)), (1, (u64::MAX, 2, WRITE, 0))],
                None,
            )
        }),
        ("a short header", Some(1), |m| {
            let (header, status) = (m.header(FLUSH_TYPE, 0), m.put(&[0xff]));
            (
                vec![(0, (header, 8, NEXT, 1)), (1, (status, 1, WRITE, 0))],
                Some(status),
            )
        }),
        ("only a status", Some(1), |m| {
            let status = m.put(&[0xff]);
            (vec![(0, (status, 1, WRITE, 0))], Some(status))
        }),
        ("readable after writable", Some(1), |m| {
            let (header, status) = (m.header(FLUSH_TYPE, 0), m.put(&[0xff]));
            (
                vec![(0, (status, 1, WRITE | NEXT, 1)), (1, (header, 16, 0, 0))],
                Some(status),
            )
        }),
        ("a header outside of memory", Some(1), |m| {
            let status = m.put(&[0xff]);
            (
                vec![(0, (MEMORY_BYTES - 8, 16, NEXT, 1)), (1, (status, 1, WRITE, 0))],
                Some(status),
            )
        }),
        ("a loop", None, |m| {
            let header = m.header(IN, 0);
            (vec![(0, (header, 16, NEXT, 1)), (1, (header, 16, NEXT, 0))], None)
        }),
        ("a next past the table", None, |m| {
            (vec![(0, (m.header(IN, 0), 16, NEXT, QUEUE_SIZE))], None)
        }),
        ("an indirect table outside of memory", None, |_| {
            (
                vec![(0, (MEMORY_BYTES - 16, 32, INDIRECT, 0)), (1, (0, 0, 0, 0))],
                None,
            )
        }),
        ("an indirect table of no entries", None, |m| {
            (vec![(0, (m.place(16), 0, INDIRECT, 0))], None)
        }),
        ("an indirect table of parts of entries", None, |m| {
            (vec![(0, (m.place(64), 40, INDIRECT, 0))], None)
        }),
        ("an indirect table with a successor", None, |m| {
            (vec![(0, (m.place(64), 32, INDIRECT | NEXT, 1))], None)
        }),
        ("an indirect table in an indirect table", None, |m| {
            let outer = m.place(64).next_multiple_of(16);
            m.set_descriptor(outer, 0, (outer, 16, INDIRECT, 0));
            (vec![(0, (outer, 16, INDIRECT, 0))], None)
        }),
        ("a next past an indirect table", None, |m| {
            let header = m.header(IN, 0);
            let outer = m.place(64).next_multiple_of(16);
            m.set_descriptor(outer, 0, (header, 16, NEXT, 1));
            (vec![(0, (outer, 16, INDIRECT, 0))], None)
        }),
        ("an indirect table that never ends", None, |m| {
            let header = m.header(IN, 0);
            let outer = m.place(16 * 5000).next_multiple_of(16);
            for index in 0..5000 {
                m.set_descriptor(outer, index, (header, 16, NEXT, index + 1));
            }
            (vec![(0, (outer, 16 * 5000, INDIRECT, 0))], None)
        }),
    ];
    for (what, expected, chain) in table {
        assert_eq!(outcome(chain), *expected, "{what}");
    }
}

#[test]
fn rings_that_break_the_rules() {
    type Break = fn(&mut Machine);
    let breaks: &[(&str, Break)] = &[
        ("a head past the table", |m| m.offer(0, QUEUE_SIZE)),
        ("an index too far ahead", |m| {
            m.set_avail(0, 1000);
            m.queues[0].kick.write(1).unwrap();
        }),
        ("one request twice", |m| {
            let (head, _, _) = m.begin(0, OUT, 0, &[1; 512], 0);
            m.offer(0, head);
        }),
    ];
    for (what, break_it) in breaks {
        let content = Content::new(SIZE);
        content.hold(true);
        let (mut machine, front, back_end) = connected(&content, 1, IoChoice::Auto);
        break_it(&mut machine);
        assert_eq!(machine.answer(0), None, "{what}");
        content.hold(false);
        drop(front);
        assert_eq!(back_end.outcome(), "Closed", "{what}");
    }
}

#[test]
fn front_ends_that_break_the_rules_are_left() {
    let content = Content::new(SIZE);
    let start = || BackEnd::start(&content, IoChoice::Auto, ServeLimits::default());

    let (back_end, mut socket) = start();
    socket
        .write_all(&[1, 0, 0, 0, 1, 0, 0, 0, 255, 255, 0, 0])
        .unwrap();
    assert!(back_end.outcome().contains("a message of 65535 bytes"));

    let (back_end, mut socket) = start();
    socket.write_all(&[9; 12]).unwrap();
    drop(socket);
    back_end.outcome();

    let (back_end, socket) = start();
    drop(socket);
    assert_eq!(back_end.outcome(), "Closed");

    // Half a message ends the connection after a while, and nothing waits for it meanwhile.
    let (back_end, mut socket) = start();
    socket.write_all(&[1, 0, 0]).unwrap();
    assert!(back_end.outcome().contains("never ends"));

    // Answers that nobody reads.
    let (back_end, mut socket) = start();
    let asked = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(1000);
    while socket.write_all(&asked).is_ok() {}
    assert!(back_end.outcome().contains("not read"));
}

#[test]
fn what_is_not_safe_or_not_offered_is_refused() {
    let content = Content::new(SIZE);
    let with = |refused: &dyn Fn(&mut Machine, &mut vhost::vhost_user::Frontend) -> bool| {
        let mut machine = Machine::small(1);
        let (back_end, socket) = BackEnd::start(&content, IoChoice::Auto, ServeLimits::default());
        let mut front = machine.greet(socket).0;
        assert!(refused(&mut machine, &mut front));
        drop(front);
        back_end.outcome()
    };
    let outcome = with(&|machine, front| {
        let plain = rustix::fs::memfd_create("plain", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&plain, MEMORY_BYTES).unwrap();
        let mut region = machine.region();
        region.mmap_handle = plain.as_raw_fd();
        front.set_mem_table(&[region]).is_err()
    });
    assert!(outcome.contains("sealed"), "{outcome}");
    with(&|machine, front| {
        let mut region = machine.region();
        region.memory_size *= 2;
        front.set_mem_table(&[region]).is_err()
    });
    with(&|machine, front| {
        let region = machine.region();
        let mut same = machine.region();
        same.guest_phys_addr = 4096;
        front.set_mem_table(&[region, same]).is_err()
    });
    with(&|_, front| front.set_vring_num(0, 2048).is_err());
    with(&|_, front| front.set_vring_num(0, 24).is_err());
    with(&|machine, front| front.set_vring_kick(0, &machine.queues[0].kick).is_err());
    with(&|_, front| {
        front
            .get_inflight_fd(&VhostUserInflight::new(0, 0, 65, 32))
            .is_err()
    });
    with(&|_, front| front.set_features(1 << 5).is_err());
    with(&|machine, front| {
        let small = sealed(4096);
        let region = VhostUserInflight::new(1 << 20, 0, 1, 1024);
        drop(machine.inflight.take());
        front.set_inflight_fd(&region, small.as_raw_fd()).is_err()
    });
}
