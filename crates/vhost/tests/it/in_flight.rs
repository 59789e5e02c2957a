//! A back end dies in the middle; the next one, with the same region, finishes what was begun, once.

use crate::back_end::{BackEnd, Content};
use crate::front_end::*;
use std::collections::BTreeMap;
use tidemark_env::real::IoChoice;
use tidemark_vhost::ServeLimits;

const SIZE: u64 = 8 << 20;

#[test]
fn each_request_is_answered_exactly_once() {
    let content = Content::new(SIZE);
    let (mut machine, front, back_end) = connected(&content, 2, IoChoice::Auto);
    machine.request(0, OUT, 100, &[1; 512], 0);
    machine.request(1, OUT, 101, &[2; 512], 0);
    content.take_log();
    content.hold(true);
    let mut waiting: [Vec<u16>; 2] = Default::default();
    let mut statuses = BTreeMap::new();
    for number in 0..8u64 {
        let queue = (number % 2) as usize;
        let (head, _, status) = machine.begin(queue, OUT, number, &[number as u8 + 10; 512], 0);
        waiting[queue].push(head);
        statuses.insert(number, status);
    }
    wait_until("all are begun", || content.log.lock().unwrap().len() == 8);
    let begun = content.take_log();
    back_end.kill();
    drop(front);
    // More comes while nobody is there.
    let (late, _, _) = machine.begin(0, OUT, 50, &[50; 512], 0);
    waiting[0].push(late);
    assert_eq!((machine.answer_now(0), machine.answer_now(1)), (None, None));

    let (back_end, socket) = BackEnd::start(&content, IoChoice::Auto, ServeLimits::default());
    let front = machine.connect(socket);
    wait_until("all are begun again", || content.log.lock().unwrap().len() == 9);
    let again = content.take_log();
    for queue in 0..2 {
        let of = |log: &[String]| -> Vec<String> {
            let mine = |line: &&String| {
                let offset: u64 = line[6..].split('+').next().unwrap().parse().unwrap();
                offset < 50 * 512 && offset / 512 % 2 == queue
            };
            log.iter().filter(mine).cloned().collect()
        };
        assert_eq!(of(&again), of(&begun), "in their order");
    }
    // It dies again before it has answered any.
    back_end.kill();
    drop(front);
    content.hold(false);
    content.take_log();
    let (back_end, socket) = BackEnd::start(&content, IoChoice::Auto, ServeLimits::default());
    let front = machine.connect(socket);
    for (queue, heads) in waiting.iter().enumerate() {
        let mut answered: Vec<u16> = heads
            .iter()
            .map(|_| machine.answer(queue).unwrap().head)
            .collect();
        answered.sort_unstable();
        let mut expected = heads.clone();
        expected.sort_unstable();
        assert_eq!(answered, expected);
    }
    for status in statuses.values() {
        assert_eq!(machine.get(*status, 1), [0]);
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!((machine.answer_now(0), machine.answer_now(1)), (None, None));
    assert_eq!(content.take_log().len(), 9);
    for number in 0..8 {
        assert_eq!(content.bytes.lock().unwrap()[number * 512], number as u8 + 10);
    }
    // Nothing is left for another one.
    machine.request(1, OUT, 3, &[99; 512], 0);
    content.take_log();
    back_end.kill();
    drop(front);
    let (_back_end, socket) = BackEnd::start(&content, IoChoice::Auto, ServeLimits::default());
    let _front = machine.connect(socket);
    assert_eq!(machine.request(0, IN, 3, &[], 512), (0, vec![99; 512]));
    assert_eq!(content.take_log(), Vec::<String>::new());
}

/// Deaths at moments of chance under load: whatever was answered is there, and every request is answered once.
#[test]
fn deaths_at_any_moment() {
    let content = Content::new(SIZE);
    let mut machine = Machine::small(1);
    let mut versions = [0u8; 64];
    for round in 0..40u64 {
        let (back_end, socket) = BackEnd::start(&content, IoChoice::Auto, ServeLimits::default());
        let front = machine.connect(socket);
        let mut waiting = BTreeMap::new();
        // Four at a time, none of two at one place.
        for step in 0..2 {
            for number in 0..4u64 {
                let block = (round * 8 + step * 4 + number) % 64;
                versions[block as usize] += 1;
                let data = [versions[block as usize]; 512];
                let (head, _, status) = machine.begin(0, OUT, block, &data, 0);
                waiting.insert(head, (block, status));
            }
            if step == 0 {
                std::thread::sleep(std::time::Duration::from_micros(round * 37 % 900));
            }
        }
        back_end.kill();
        drop(front);
        let (back_end, socket) = BackEnd::start(&content, IoChoice::Auto, ServeLimits::default());
        let front = machine.connect(socket);
        while !waiting.is_empty() {
            let answer = machine.answer(0).unwrap();
            let (block, status) = waiting.remove(&answer.head).expect("answered once");
            assert_eq!(machine.get(status, 1), [0]);
            let found = content.bytes.lock().unwrap()[block as usize * 512];
            assert_eq!(found, versions[block as usize], "round {round} block {block}");
        }
        assert_eq!(machine.answer_now(0), None);
        drop(front);
        assert_eq!(back_end.outcome(), "Closed");
    }
}
