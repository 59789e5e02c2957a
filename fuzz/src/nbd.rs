//! What an NBD client may send: a handshake, then requests.
//!
//! Besides not panicking: how the bytes were cut on their way changes nothing, and what passes the rules lies
//! inside the export and within the limits that the client was told.

use bytes::{Bytes, BytesMut};
use tidemark_nbd::proto::{
    BASE_ALLOCATION, Body, Command, Decoder, Dialect, ExportEntry, ExportInfo, Extent, Handshake,
    LookUpError, Negotiated, ReplyTo, Request, Rules, Step, fit_extents,
};

const EXPORT_BYTES: u64 = 1 << 20;
/// Far below the real limit, so that short inputs can exceed it.
const PAYLOAD_MAX: u32 = 1 << 12;

fn export(how: u8) -> ExportInfo {
    ExportInfo {
        name: "d-1".into(),
        description: "a disk".into(),
        size_bytes: EXPORT_BYTES,
        read_only: how & 0x10 != 0,
        trim: true,
        fast_zero: how & 0x20 != 0,
        multi_conn: true,
        contexts: vec![BASE_ALLOCATION.into(), "tidemark:changed-since/s-1".into()],
    }
}

/// The first byte says how the rest is cut.
pub fn handshake(bytes: &[u8]) {
    let Some((&how, stream)) = bytes.split_first() else {
        return;
    };
    let whole = talk(how, stream, stream.len());
    assert_eq!(whole, talk(how, stream, usize::from(how % 31) + 1));
    if let Ending::Finished(negotiated) = &whole.ending {
        serve(how, &negotiated.leftover, negotiated.dialect);
    }
}

#[derive(Debug, PartialEq)]
struct Talk {
    sent: BytesMut,
    ending: Ending,
}

#[derive(Debug, PartialEq)]
enum Ending {
    Waiting,
    Aborted,
    Failed(String),
    Finished(Box<Negotiated>),
}

/// A whole handshake with a client that sends `stream` in pieces of `piece` bytes.
fn talk(how: u8, stream: &[u8], piece: usize) -> Talk {
    let mut sent = BytesMut::new();
    let mut handshake = Handshake::new(&mut sent);
    let mut pieces = stream.chunks(piece.max(1));
    let ending = loop {
        match handshake.step(&mut sent) {
            Ok(Step::Receive) => match pieces.next() {
                Some(piece) => handshake.receive(piece),
                None => break Ending::Waiting,
            },
            Ok(Step::ListExports) => {
                let entry = ExportEntry {
                    name: "d-1".into(),
                    description: String::new(),
                };
                handshake.exports(Ok(vec![entry]), &mut sent);
            }
            Ok(Step::LookUp { name }) => {
                let found = match name.as_bytes().first() {
                    Some(b'u') => Err(LookUpError::Unknown),
                    Some(b'r') => Err(LookUpError::Refused(name)),
                    _ => Ok(export(how)),
                };
                if let Err(error) = handshake.export(found, &mut sent) {
                    break Ending::Failed(error.to_string());
                }
            }
            Ok(Step::Finished(mut negotiated)) => {
                negotiated.leftover = [&negotiated.leftover[..], &pieces.collect::<Vec<_>>().concat()]
                    .concat()
                    .into();
                break Ending::Finished(negotiated);
            }
            Ok(Step::Aborted) => break Ending::Aborted,
            Err(error) => break Ending::Failed(error.to_string()),
        }
    };
    Talk { sent, ending }
}

/// The first byte picks the dialect and how the rest is cut.
pub fn requests(bytes: &[u8]) {
    let Some((&how, stream)) = bytes.split_first() else {
        return;
    };
    let dialect = match how % 3 {
        0 => Dialect::Simple,
        1 => Dialect::Structured,
        _ => Dialect::Extended,
    };
    serve(how, stream, dialect);
}

fn serve(how: u8, stream: &[u8], dialect: Dialect) {
    let whole = decode(stream, dialect, stream.len());
    assert_eq!(whole, decode(stream, dialect, usize::from(how % 37) + 1));
    let (found, _) = whole;
    let rules = Rules::new(
        &export(how),
        dialect,
        dialect != Dialect::Simple && how & 0x40 != 0,
        PAYLOAD_MAX,
    );
    let mut replies = BytesMut::new();
    for request in found {
        let to = ReplyTo {
            dialect,
            cookie: request.cookie,
            offset: request.offset,
        };
        match rules.check(request) {
            Ok(command) => perform(&command, &to, &mut replies),
            Err(refusal) => to.error(&mut replies, refusal.errno, refusal.message, None),
        }
    }
}

/// Every request in the stream, payloads joined, and whether it ended in an error.
fn decode(stream: &[u8], dialect: Dialect, piece: usize) -> (Vec<Request>, bool) {
    let mut decoder = Decoder::new(dialect, PAYLOAD_MAX);
    let mut found = Vec::new();
    for piece in stream.chunks(piece.max(1)) {
        decoder.feed(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next() {
                Ok(Some(mut request)) => {
                    if let Body::Data(pieces) = &mut request.body {
                        *pieces = vec![pieces.concat().into()];
                    }
                    found.push(request);
                }
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

fn perform(command: &Command, to: &ReplyTo, replies: &mut BytesMut) {
    let inside = |offset: u64, len: u64| assert!(offset <= EXPORT_BYTES && len <= EXPORT_BYTES - offset);
    match command {
        Command::Read { offset, len, .. } => {
            inside(*offset, u64::from(*len));
            assert!(*len <= PAYLOAD_MAX);
            to.data(replies, true, *offset, *len);
        }
        Command::Write {
            offset, len, data, ..
        } => {
            inside(*offset, u64::from(*len));
            assert!(*len <= PAYLOAD_MAX);
            assert_eq!(data.iter().map(Bytes::len).sum::<usize>(), *len as usize);
            to.done(replies);
        }
        Command::Disconnect | Command::Flush => to.done(replies),
        Command::Trim { offset, len, .. }
        | Command::Cache { offset, len }
        | Command::Zero { offset, len, .. } => {
            inside(*offset, *len);
            to.done(replies);
        }
        Command::BlockStatus { offset, len, one } => {
            inside(*offset, *len);
            let found = [
                Extent::allocation(1 << 12, true, true),
                Extent::allocation(u64::MAX, false, false),
            ];
            let extents = fit_extents(&found, *len, *one);
            assert!(!extents.is_empty());
            to.block_status(replies, true, 1, &extents);
        }
    }
}
