//! Peers that send nonsense, too much, or nothing: an error or a close, never harm to others.

mod common;

use common::client::{Client, Reply, request};
use common::server::{End, Server};
use common::{MIB, serve_disks, serve_with};
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tidemark_env::real::IoChoice;
use tidemark_nbd::proto::wire::{Errno, chunk, command, command_flag, option, option_reply};
use tidemark_nbd::proto::{HandshakeError, StreamError};
use tidemark_nbd::server::{NegotiateError, ServeOutcome};

/// Fails unless an honest client is still served.
fn assert_alive(server: &Server) {
    assert_eq!(Client::simple(&server.socket, "disk").read(0, 512), vec![0; 512]);
}

fn einval(cookie: u64) -> Reply {
    Reply {
        cookie,
        errno: Errno::Inval.code(),
    }
}

fn done(cookie: u64) -> Reply {
    Reply { cookie, errno: 0 }
}

#[test]
fn a_huge_option_is_refused_without_being_read() {
    let fixture = serve_disks();
    let mut client = Client::connect(&fixture.server.socket);
    client.flags(3);
    client.send(b"IHAVEOPT\0\0\0\x07\xff\xff\xff\xff");
    assert_eq!(client.option_reply().0, option_reply::ERR_TOO_BIG);
    client.expect_close();
    let wanted = HandshakeError::OptionTooLong {
        option: option::GO,
        len: u32::MAX,
    };
    let end = fixture.server.next_end();
    assert!(
        matches!(&end, End::Handshake(NegotiateError::Protocol(error)) if *error == wanted),
        "{end:?}"
    );
    assert_alive(&fixture.server);
}

#[test]
fn garbage_instead_of_a_handshake() {
    let fixture = serve_disks();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        b"\0\0\0\x03SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let mut client = Client::connect(&fixture.server.socket);
        client.send(garbage);
        client.expect_close();
        assert!(matches!(
            fixture.server.next_end(),
            End::Handshake(NegotiateError::Protocol(_))
        ));
    }
    assert_alive(&fixture.server);
}

#[test]
fn a_half_open_handshake_is_closed() {
    let fixture = serve_with(|options| options.negotiate.idle = Duration::from_millis(50));
    let mut silent = Client::connect(&fixture.server.socket);
    silent.expect_close();
    let mut stuck = Client::connect(&fixture.server.socket);
    stuck.send(b"\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x20half");
    stuck.expect_close();
    for _ in 0..2 {
        assert!(matches!(
            fixture.server.next_end(),
            End::Handshake(NegotiateError::TimedOut)
        ));
    }
}

#[test]
fn an_endless_handshake_is_closed() {
    let fixture = serve_with(|options| options.negotiate.total = Duration::from_millis(50));
    let mut client = Client::connect(&fixture.server.socket);
    client.flags(3);
    // Until the server has had enough.
    while client.stream.write_all(b"IHAVEOPT\0\0\0\x08\0\0\0\0").is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(
        fixture.server.next_end(),
        End::Handshake(NegotiateError::TimedOut | NegotiateError::Closed)
    ));
    assert_alive(&fixture.server);
}

#[test]
fn requests_right_behind_the_handshake_are_served() {
    let fixture = serve_disks();
    let mut client = Client::connect(&fixture.server.socket);
    let name = b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\x04disk";
    client.send(
        &[
            &name[..],
            &request(command::FLUSH, 0, 5, 0, 0),
            &request(command::READ, 0, 6, 0, 4),
        ]
        .concat(),
    );
    client.take(10);
    assert_eq!((client.reply(), client.reply()), (done(5), done(6)));
    assert_eq!(client.take(4), [0; 4]);
}

#[test]
fn a_request_without_magic_closes() {
    let fixture = serve_disks();
    let mut client = Client::simple(&fixture.server.socket, "disk");
    client.write(1, 0, b"kept");
    assert_eq!(client.reply(), done(1));
    client.send(&[0x55; 28]);
    client.expect_close();
    let end = fixture.server.next_end();
    assert!(
        matches!(
            end,
            End::Served(ServeOutcome::Violation(StreamError::Magic(0x5555_5555)))
        ),
        "{end:?}"
    );
    assert_eq!(Client::simple(&fixture.server.socket, "disk").read(0, 4), b"kept");
}

#[test]
fn wrong_requests_are_answered_and_the_connection_goes_on() {
    let fixture = serve_disks();
    let size = 64 * MIB;
    let mut client = Client::simple(&fixture.server.socket, "disk");
    client.request(99, 0, 1, 0, 512);
    assert_eq!(client.reply(), einval(1));
    client.request(command::READ, 1 << 12, 2, 0, 512);
    assert_eq!(client.reply(), einval(2));
    client.request(command::READ, 0, 3, size - 511, 512);
    assert_eq!(client.reply(), einval(3));
    client.request(command::READ, 0, 4, u64::MAX, u32::MAX);
    assert_eq!(client.reply(), einval(4));
    client.write(5, size - 1, b"xy");
    assert_eq!(
        client.reply(),
        Reply {
            cookie: 5,
            errno: Errno::NoSpc.code()
        }
    );
    client.request(command::WRITE_ZEROES, 0, 6, size, 1);
    assert_eq!(
        client.reply(),
        Reply {
            cookie: 6,
            errno: Errno::NoSpc.code()
        }
    );
    client.request(command::TRIM, 0, 7, size, 1);
    assert_eq!(client.reply(), einval(7));
    client.request(command::BLOCK_STATUS, 0, 8, 0, 512);
    assert_eq!(client.reply(), einval(8));
    client.request(command::READ, 0, 9, 0, 33 << 20);
    assert_eq!(client.reply(), einval(9));
    // A write over the limit is skipped, all of it.
    client.write(10, 0, &vec![1; 33 << 20]);
    assert_eq!(client.reply(), einval(10));
    assert_eq!(client.read(size - 1, 1), [0]);
    assert_eq!(client.read(0, 2), [0, 0]);
}

#[test]
fn a_read_only_export_refuses_changes_of_raw_clients() {
    let fixture = serve_disks();
    let mut client = Client::simple(&fixture.server.socket, "frozen");
    client.write(1, 0, b"x");
    client.request(command::TRIM, 0, 2, 0, 512);
    client.request(command::WRITE_ZEROES, command_flag::NO_HOLE, 3, 0, 512);
    for cookie in 1..=3 {
        assert_eq!(
            client.reply(),
            Reply {
                cookie,
                errno: Errno::Perm.code()
            }
        );
    }
    assert_eq!(client.read(0, 1), [0]);
}

#[test]
fn unaligned_and_empty_requests_of_simple_clients() {
    let fixture = serve_disks();
    let mut client = Client::simple(&fixture.server.socket, "disk");
    client.write(1, 4095, b"odd");
    assert_eq!(client.reply(), done(1));
    assert_eq!(client.read(4094, 5), b"\0odd\0");
    client.write(2, 0, b"");
    client.request(command::READ, 0, 3, 0, 0);
    client.request(command::TRIM, 0, 4, 0, 0);
    for cookie in 2..=4 {
        assert_eq!(client.reply(), done(cookie));
    }
}

#[test]
fn structured_errors_carry_a_message_and_a_place() {
    let fixture = serve_disks();
    fixture.server.knobs.damaged_from.store(8192, Ordering::SeqCst);
    let mut client = Client::structured(&fixture.server.socket, "disk");
    client.request(command::READ, 0, 1, 4096, 8192);
    let text = b"this part of the disk is damaged";
    let wanted = [&[0, 0, 0, 5, 0, 32], &text[..], &8192u64.to_be_bytes()].concat();
    assert_eq!(client.chunk(1), (chunk::ERROR_OFFSET, wanted));
    client.request(command::READ, 0, 2, 0, 33 << 20);
    let (kind, payload) = client.chunk(2);
    assert_eq!(
        (kind, &payload[..4]),
        (chunk::ERROR, &Errno::Overflow.code().to_be_bytes()[..])
    );
}

#[test]
fn zeros_are_named_and_not_sent() {
    let fixture = serve_disks();
    let mut client = Client::structured(&fixture.server.socket, "disk");
    client.write(1, MIB, b"data");
    assert_eq!(client.chunk(1).0, chunk::NONE);
    client.request(command::READ, 0, 2, 0, 2 << 20);
    let (first, hole) = client.chunk(2);
    assert_eq!(
        (first, hole),
        (
            chunk::OFFSET_HOLE,
            [&0u64.to_be_bytes()[..], &(1u32 << 20).to_be_bytes()].concat()
        )
    );
    let (second, data) = client.chunk(2);
    assert_eq!(
        (second, &data[..12]),
        (
            chunk::OFFSET_DATA,
            &[&MIB.to_be_bytes()[..], b"data"].concat()[..]
        )
    );
    assert_eq!(client.chunk(2).0, chunk::OFFSET_HOLE);
    // Unless the client wants one piece.
    client.request(command::READ, command_flag::DF, 3, 0, 8192);
    let (kind, data) = client.chunk(3);
    assert_eq!((kind, data.len()), (chunk::OFFSET_DATA, 8 + 8192));
}

/// Sends 1000 reads of 1 MiB and does not read a reply until the server has had its fill.
fn flood(io: IoChoice) {
    let fixture = serve_with(|options| options.runtime.io = io);
    let reads = || fixture.server.knobs.reads.load(Ordering::SeqCst);
    let mut client = Client::simple(&fixture.server.socket, "disk");
    let mut sender = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for cookie in 0..1000 {
            sender
                .write_all(&request(command::READ, 0, cookie, 0, 1 << 20))
                .unwrap();
        }
    });
    while reads() < 60 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(200));
    // 64 MiB in flight, and what fits into the socket.
    assert!(
        reads() <= 70,
        "{} reads of 1 MiB were started for a client that reads nothing",
        reads()
    );
    assert_alive(&fixture.server);
    for cookie in 0..1000 {
        assert_eq!(client.reply(), done(cookie));
        client.take(1 << 20);
    }
    sending.join().unwrap();
}

#[test]
fn a_client_that_does_not_read_is_not_read_with_io_uring_or_what_there_is() {
    flood(IoChoice::Auto);
}

#[test]
fn a_client_that_does_not_read_is_not_read_with_epoll() {
    flood(IoChoice::Threads);
}

/// A server whose writes wait until permits are added.
fn gated() -> common::Fixture {
    let fixture = serve_disks();
    let gate = &fixture.server.knobs.write_gate;
    gate.forget_permits(usize::MAX);
    assert_eq!(gate.available_permits(), 0);
    fixture
}

fn wait_for_writes(server: &Server, count: u64) {
    while server.knobs.writes.load(Ordering::SeqCst) < count {
        std::thread::yield_now();
    }
}

#[test]
fn good_bye_waits_for_what_is_under_way() {
    let fixture = gated();
    let mut client = Client::simple(&fixture.server.socket, "disk");
    client.write(1, 0, b"last words");
    client.request(command::DISC, 0, 2, 0, 0);
    wait_for_writes(&fixture.server, 1);
    assert!(
        fixture
            .server
            .ends
            .recv_timeout(Duration::from_millis(100))
            .is_err(),
        "ended with a write under way"
    );
    fixture.server.knobs.write_gate.add_permits(1);
    assert_eq!(client.reply(), done(1));
    client.expect_close();
    assert!(matches!(
        fixture.server.next_end(),
        End::Served(ServeOutcome::Disconnected)
    ));
}

#[test]
fn a_dropped_connection_leaves_no_write_half_done() {
    let fixture = gated();
    let mut client = Client::simple(&fixture.server.socket, "disk");
    client.write(1, 0, b"unanswered");
    wait_for_writes(&fixture.server, 1);
    drop(client);
    assert!(
        fixture
            .server
            .ends
            .recv_timeout(Duration::from_millis(100))
            .is_err(),
        "ended with a write under way"
    );
    fixture.server.knobs.write_gate.add_permits(1);
    assert!(matches!(
        fixture.server.next_end(),
        End::Served(ServeOutcome::Closed)
    ));
    assert_eq!(
        Client::simple(&fixture.server.socket, "disk").read(0, 10),
        b"unanswered"
    );
}

#[test]
fn a_client_that_sends_no_more_still_gets_its_answers() {
    let fixture = gated();
    let mut client = Client::simple(&fixture.server.socket, "disk");
    client.write(1, 0, b"x");
    client.stream.shutdown(Shutdown::Write).unwrap();
    wait_for_writes(&fixture.server, 1);
    fixture.server.knobs.write_gate.add_permits(1);
    assert_eq!(client.reply(), done(1));
    client.expect_close();
}

#[test]
fn a_withdrawn_export_answers_what_was_started_and_closes() {
    let fixture = gated();
    let mut busy = Client::simple(&fixture.server.socket, "disk");
    let mut idle = Client::structured(&fixture.server.socket, "frozen");
    busy.write(1, 0, b"started");
    wait_for_writes(&fixture.server, 1);
    idle.request(command::FLUSH, 0, 9, 0, 0);
    assert_eq!(idle.chunk(9).0, chunk::NONE);
    fixture.server.stop_connections();
    idle.expect_close();
    assert!(matches!(
        fixture.server.next_end(),
        End::Served(ServeOutcome::Stopped)
    ));
    fixture.server.knobs.write_gate.add_permits(1);
    assert_eq!(busy.reply(), done(1));
    busy.expect_close();
    assert!(matches!(
        fixture.server.next_end(),
        End::Served(ServeOutcome::Stopped)
    ));
}

#[test]
fn a_withdrawn_export_does_not_wait_for_ever_for_a_client_that_reads_nothing() {
    let fixture = serve_with(|options| options.serve.linger = Duration::from_millis(50));
    let mut client = Client::simple(&fixture.server.socket, "disk");
    for cookie in 0..8 {
        client.request(command::READ, 0, cookie, 0, 1 << 20);
    }
    while fixture.server.knobs.reads.load(Ordering::SeqCst) < 8 {
        std::thread::yield_now();
    }
    fixture.server.stop_connections();
    assert!(matches!(
        fixture.server.next_end(),
        End::Served(ServeOutcome::Stopped)
    ));
}
