//! What requests mean.

use crate::back_end::{BackEnd, Content, NAME};
use crate::front_end::*;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use tidemark_env::real::IoChoice;
use tidemark_vhost::ServeLimits;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserConfigFlags;

const SIZE: u64 = 8 << 20;

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed)
        .collect()
}

fn ranges(list: &[(u64, u32, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (sector, sectors, flags) in list {
        bytes.extend(sector.to_le_bytes());
        bytes.extend(sectors.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
    }
    bytes
}

fn a_day(io: IoChoice) {
    let content = Content::new(SIZE);
    let (mut machine, front, back_end) = connected(&content, 3, io);
    let data = pattern(12345 / 512 * 512, 1);
    assert_eq!(machine.request(0, OUT, 7, &data, 0), (0, vec![]));
    assert_eq!(machine.request(1, IN, 7, &[], data.len()), (0, data.clone()));
    assert_eq!(machine.request(2, FLUSH_TYPE, 0, &[], 0), (0, vec![]));
    let zeroed = ranges(&[(7, 1, 0), (9, 2, 1)]);
    assert_eq!(machine.request(0, ZEROES, 0, &zeroed, 0).0, 0);
    assert_eq!(
        machine
            .request(0, DISCARD, 0, &ranges(&[(16, 8, 0), (8, 1, 0)]), 0)
            .0,
        0
    );
    let mut expected = data.clone();
    for sectors in [0..1, 2..4, 9..17, 1..2] {
        expected[sectors.start * 512..sectors.end * 512].fill(0);
    }
    assert_eq!(machine.request(1, IN, 7, &[], data.len()).1, expected);
    assert_eq!(
        machine.request(0, GET_ID, 0, &[], 20),
        (0, NAME.as_bytes()[..20].to_vec())
    );
    assert_eq!(
        machine.request(0, 99, 0, &[], 0).0,
        2,
        "an unknown type is not supported"
    );
    assert_eq!(
        content.take_log(),
        [
            "write 3584+12288 fua=false",
            "flush",
            "zero 3584+512 punch=false fua=false",
            "zero 4608+1024 punch=true fua=false",
            "trim 8192+4096 fua=false",
            "trim 4096+512 fua=false",
        ]
    );
    content.fails.store(true, Ordering::SeqCst);
    for kind in [OUT, FLUSH_TYPE, IN] {
        let (out, read) = (
            if kind == OUT { &data[..] } else { &[] },
            if kind == IN { 512 } else { 0 },
        );
        assert_eq!(
            machine.request(0, kind, 0, out, read).0,
            1,
            "a failure of type {kind} is told"
        );
    }
    // Where the ring went on, once it is stopped.
    assert_eq!(front.get_vring_base(0).unwrap(), 8);
    drop(front);
    assert_eq!(back_end.outcome(), "Closed");
}

#[test]
fn a_day_on_io_uring_or_what_there_is() {
    a_day(IoChoice::Auto);
}

#[test]
fn a_day_on_threads() {
    a_day(IoChoice::Threads);
}

#[test]
fn many_requests_on_many_queues_wrap_around() {
    let content = Content::new(SIZE);
    let (mut machine, _front, _back_end) = connected(&content, 4, IoChoice::Auto);
    for round in 0..100u64 {
        for queue in 0..4 {
            let data = pattern(4096, (round * 4 + queue) as u8);
            let sector = (round * 4 + queue) * 8;
            machine.begin(queue as usize, OUT, sector, &data, 0);
        }
        for queue in 0..4 {
            machine.answer(queue).unwrap();
        }
    }
    for block in 0..400 {
        let found = content.bytes.lock().unwrap()[block * 4096..(block + 1) * 4096].to_vec();
        assert_eq!(found, pattern(4096, block as u8), "block {block}");
    }
}

#[test]
fn without_flushes_every_change_is_durable() {
    let content = Content::new(SIZE);
    let mut machine = Machine::small(1);
    machine.features = 0;
    let (_back_end, socket) = BackEnd::start(&content, IoChoice::Auto, ServeLimits::default());
    let _front = machine.connect(socket);
    machine.request(0, OUT, 0, &[1; 512], 0);
    machine.request(0, DISCARD, 0, &ranges(&[(0, 1, 0)]), 0);
    machine.request(0, ZEROES, 0, &ranges(&[(0, 1, 0)]), 0);
    assert!(
        content
            .take_log()
            .iter()
            .all(|change| change.ends_with("fua=true"))
    );
}

#[test]
fn an_answer_waits_for_the_disk_and_the_copy_is_made_before() {
    let content = Content::new(SIZE);
    let (mut machine, _front, _back_end) = connected(&content, 1, IoChoice::Auto);
    content.hold(true);
    let data = machine.put(&[1; 512]);
    let (header, status) = (machine.header(OUT, 0), machine.put(&[0xff]));
    machine.submit(0, &[(header, 16, false), (data, 512, false), (status, 1, true)]);
    wait_until("the write is begun", || content.log.lock().unwrap().len() == 1);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(machine.answer_now(0), None);
    // The guest changes its mind too late.
    vm_memory::Bytes::write_slice(&machine.memory, &[2; 512], vm_memory::GuestAddress(data)).unwrap();
    content.hold(false);
    machine.answer(0).unwrap();
    assert_eq!(content.bytes.lock().unwrap()[..512], [1; 512]);
}

#[test]
fn indirect_descriptors() {
    let content = Content::new(SIZE);
    let (mut machine, _front, _back_end) = connected(&content, 1, IoChoice::Auto);
    let (header, data, status) = (
        machine.header(OUT, 3),
        machine.put(&[9; 1024]),
        machine.put(&[0xff]),
    );
    let table = machine.place(16 * 4);
    let table = table.next_multiple_of(16);
    machine.set_descriptor(table, 0, (header, 16, NEXT, 2));
    machine.set_descriptor(table, 2, (data, 1024, NEXT, 1));
    machine.set_descriptor(table, 1, (status, 1, WRITE, 0));
    machine.set_descriptor(machine.table(0), 5, (table, 48, INDIRECT, 0));
    machine.offer(0, 5);
    assert_eq!(machine.answer(0), Some(Answer { head: 5, written: 1 }));
    assert_eq!(machine.get(status, 1), [0]);
    assert_eq!(content.bytes.lock().unwrap()[3 * 512..5 * 512], [9; 1024]);
}

#[test]
fn no_more_is_under_way_than_is_allowed() {
    let content = Content::new(SIZE);
    let mut machine = Machine::small(2);
    let limits = ServeLimits {
        requests: 3,
        bytes: 4 << 20,
    };
    let (_back_end, socket) = BackEnd::start(&content, IoChoice::Auto, limits);
    let _front = machine.connect(socket);
    content.hold(true);
    for number in 0..10 {
        machine.begin(number % 2, OUT, number as u64, &[number as u8; 512], 0);
    }
    wait_until("three are begun", || content.log.lock().unwrap().len() == 3);
    std::thread::sleep(std::time::Duration::from_millis(50));
    content.hold(false);
    for number in 0..10 {
        machine.answer(number % 2).unwrap();
    }
    assert_eq!(content.most_under_way.load(Ordering::SeqCst), 3);
}

#[test]
fn growth_is_told_and_seen() {
    let content = Content::new(SIZE);
    let (mut machine, mut front, back_end) = connected(&content, 1, IoChoice::Auto);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    front.set_backend_request_fd(&theirs).unwrap();
    drop(theirs);
    let capacity = |front: &mut vhost::vhost_user::Frontend| {
        let flags = VhostUserConfigFlags::empty();
        let (_, space) = front.get_config(0, 60, flags, &[0; 60]).unwrap();
        u64::from_le_bytes(space[..8].try_into().unwrap())
    };
    assert_eq!(capacity(&mut front), SIZE / 512);
    assert_eq!(machine.request(0, IN, SIZE / 512, &[], 512).0, 1);
    content.bytes.lock().unwrap().resize(2 * SIZE as usize, 7);
    content.size.store(2 * SIZE, Ordering::SeqCst);
    back_end.grown.notify_one();
    let mut message = [0; 12];
    ours.set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .unwrap();
    ours.read_exact(&mut message).unwrap();
    assert_eq!(message, [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(capacity(&mut front), 2 * SIZE / 512);
    assert_eq!(machine.request(0, IN, SIZE / 512, &[], 512), (0, vec![7; 512]));
    let flags = VhostUserConfigFlags::empty();
    assert!(front.set_config(32, flags, &[0]).is_err());
}

#[test]
fn a_stop_finishes_what_is_under_way_and_takes_nothing_new() {
    let content = Content::new(SIZE);
    let (mut machine, front, back_end) = connected(&content, 1, IoChoice::Auto);
    content.hold(true);
    let (first, _, _) = machine.begin(0, OUT, 0, &[1; 512], 0);
    wait_until("it is begun", || content.log.lock().unwrap().len() == 1);
    back_end.stop.notify_one();
    std::thread::sleep(std::time::Duration::from_millis(50));
    machine.begin(0, OUT, 1, &[2; 512], 0);
    content.hold(false);
    assert_eq!(back_end.outcome(), "Stopped");
    assert_eq!(machine.answer(0).unwrap().head, first);
    assert_eq!(machine.answer_now(0), None);
    drop(front);
    // The next one, say after the disk was attached again, takes the rest.
    let (_back_end, socket) = BackEnd::start(&content, IoChoice::Auto, ServeLimits::default());
    let _front = machine.connect(socket);
    machine.answer(0).unwrap();
    assert_eq!(
        content.bytes.lock().unwrap()[..1024],
        [[1; 512], [2; 512]].concat()
    );
}

#[test]
fn memory_can_be_handed_over_again_while_rings_run() {
    let content = Content::new(SIZE);
    let (mut machine, front, _back_end) = connected(&content, 1, IoChoice::Auto);
    content.hold(true);
    machine.begin(0, OUT, 0, &[1; 512], 0);
    wait_until("it is begun", || content.log.lock().unwrap().len() == 1);
    let region = machine.region();
    let handing = std::thread::spawn(move || {
        front.set_mem_table(&[region]).unwrap();
        front
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!handing.is_finished(), "what is under way is answered first");
    content.hold(false);
    let _front = handing.join().unwrap();
    assert!(machine.answer_now(0).is_some());
    assert_eq!(machine.request(0, IN, 0, &[], 512), (0, vec![1; 512]));
}
