//! Requests survive any cutting of the stream; anything else is an error, never a panic.

use super::*;
use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

const MAX: u32 = 4096;

/// A client's side of [`Decoder`]: `payload` is sent as the header announces it.
fn encode(dialect: Dialect, request: &Request, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let extended = dialect == Dialect::Extended;
    out.put_u32(if extended {
        MAGIC_REQUEST_EXTENDED
    } else {
        MAGIC_REQUEST
    });
    out.put_u16(request.flags);
    out.put_u16(request.command);
    out.put_u64(request.cookie);
    out.put_u64(request.offset);
    if extended {
        out.put_u64(request.length);
    } else {
        out.put_u32(request.length as u32);
    }
    out.put_slice(payload);
    out.to_vec()
}

/// Everything that comes out when `stream` arrives in pieces of the given lengths, then the rest.
fn decode(dialect: Dialect, stream: &[u8], cuts: &[usize]) -> Result<Vec<Request>, StreamError> {
    let mut decoder = Decoder::new(dialect, MAX);
    let mut found = Vec::new();
    let mut rest = stream;
    let mut cuts = cuts.iter();
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(cuts.next().copied().unwrap_or(rest.len()).clamp(1, rest.len()));
        rest = tail;
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(request) = decoder.next()? {
            found.push(request);
        }
    }
    Ok(found)
}

fn joined(mut request: Request) -> Request {
    if let Body::Data(pieces) = &mut request.body {
        *pieces = vec![Bytes::from(pieces.concat())];
    }
    request
}

fn write(offset: u64, payload: &[u8]) -> Request {
    Request {
        flags: 0,
        command: command::WRITE,
        cookie: 9,
        offset,
        length: payload.len() as u64,
        body: Body::Data(vec![Bytes::copy_from_slice(payload)]),
    }
}

fn read(offset: u64, length: u64) -> Request {
    Request {
        flags: 0,
        command: command::READ,
        cookie: 1,
        offset,
        length,
        body: Body::None,
    }
}

#[test]
fn golden_read_request() {
    let wire = [
        0x25, 0x60, 0x95, 0x13, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0x10, 0,
    ];
    let wanted = Request {
        flags: 1,
        cookie: 7,
        ..read(8192, 4096)
    };
    assert_eq!(decode(Dialect::Structured, &wire, &[]), Ok(vec![wanted]));
}

#[test]
fn several_requests_in_one_buffer_share_its_memory() {
    let stream = [
        encode(Dialect::Simple, &write(0, b"hello"), b"hello"),
        encode(Dialect::Simple, &write(5, b"world"), b"world"),
        encode(Dialect::Simple, &read(0, 10), b""),
    ]
    .concat();
    let received = Bytes::from(stream);
    let range = received.as_ptr_range();
    let mut decoder = Decoder::new(Dialect::Simple, MAX);
    decoder.feed(received);
    for text in [&b"hello"[..], b"world"] {
        let Body::Data(pieces) = decoder.next().unwrap().unwrap().body else {
            panic!("a write has data")
        };
        assert_eq!(pieces, [text]);
        assert!(range.contains(&pieces[0].as_ptr()), "the payload was copied");
    }
    assert_eq!(decoder.next(), Ok(Some(read(0, 10))));
    assert_eq!(decoder.next(), Ok(None));
}

#[test]
fn a_write_over_the_limit_is_skipped_and_the_stream_goes_on() {
    let big = vec![7; MAX as usize + 1];
    let stream = [
        encode(Dialect::Simple, &write(0, &big), &big),
        encode(Dialect::Simple, &read(0, 1), b""),
    ];
    let found = decode(Dialect::Simple, &stream.concat(), &[100, 1, 2000]).unwrap();
    assert_eq!(
        found,
        [
            Request {
                body: Body::Skipped,
                ..write(0, &big)
            },
            read(0, 1)
        ]
    );
}

#[test]
fn an_extended_payload_over_the_limit_ends_the_connection() {
    let request = Request {
        flags: command_flag::PAYLOAD_LEN,
        length: 1 << 40,
        ..write(0, b"")
    };
    let stream = encode(Dialect::Extended, &request, b"");
    assert_eq!(
        decode(Dialect::Extended, &stream, &[]),
        Err(StreamError::PayloadTooLong(1 << 40))
    );
}

#[test]
fn an_unexpected_extended_payload_is_consumed() {
    let odd = Request {
        flags: command_flag::PAYLOAD_LEN,
        ..read(0, 3)
    };
    let stream = [
        encode(Dialect::Extended, &odd, b"abc"),
        encode(Dialect::Extended, &read(1 << 33, 1 << 34), b""),
    ];
    let found = decode(Dialect::Extended, &stream.concat(), &[33]).unwrap();
    assert_eq!(
        found,
        [
            Request {
                body: Body::Skipped,
                ..odd
            },
            read(1 << 33, 1 << 34)
        ]
    );
}

#[test]
fn an_extended_write_has_its_payload_with_or_without_the_flag() {
    let flagged = Request {
        flags: command_flag::PAYLOAD_LEN,
        ..write(0, b"abc")
    };
    let stream = [
        encode(Dialect::Extended, &flagged, b"abc"),
        encode(Dialect::Extended, &write(9, b"xyz"), b"xyz"),
    ];
    assert_eq!(
        decode(Dialect::Extended, &stream.concat(), &[]),
        Ok(vec![flagged, write(9, b"xyz")])
    );
}

#[test]
fn a_wrong_magic_is_named() {
    let mut stream = encode(Dialect::Simple, &read(0, 1), b"");
    stream[0] = 0;
    assert_eq!(
        decode(Dialect::Simple, &stream, &[]),
        Err(StreamError::Magic(0x0060_9513))
    );
    // Each dialect has its own.
    let stream = encode(Dialect::Simple, &read(0, 1), &[0; 8]);
    assert_eq!(
        decode(Dialect::Extended, &stream, &[]),
        Err(StreamError::Magic(MAGIC_REQUEST))
    );
}

fn any_request() -> impl Strategy<Value = (Request, Vec<u8>)> {
    let payload = proptest::collection::vec(any::<u8>(), 1..200);
    (0u16..8, any::<u64>(), any::<u64>(), 0u64..1 << 32, payload).prop_map(
        |(command, cookie, offset, length, payload)| {
            if command == command::WRITE {
                (
                    Request {
                        cookie,
                        ..write(offset, &payload)
                    },
                    payload,
                )
            } else {
                (
                    Request {
                        command,
                        cookie,
                        ..read(offset, length)
                    },
                    vec![],
                )
            }
        },
    )
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_requests(
        requests in proptest::collection::vec(any_request(), 1..8),
        cuts in proptest::collection::vec(1usize..60, 0..60),
        extended: bool,
    ) {
        let dialect = if extended { Dialect::Extended } else { Dialect::Structured };
        let mut stream = Vec::new();
        let mut wanted = Vec::new();
        for (mut request, payload) in requests {
            if extended && !payload.is_empty() {
                request.flags |= command_flag::PAYLOAD_LEN;
            }
            stream.extend(encode(dialect, &request, &payload));
            wanted.push(request);
        }
        let found: Vec<Request> = decode(dialect, &stream, &cuts).unwrap().into_iter().map(joined).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        stream in proptest::collection::vec(any::<u8>(), 0..300),
        with_magic: bool,
        extended: bool,
        cuts in proptest::collection::vec(1usize..60, 0..20),
    ) {
        let dialect = if extended { Dialect::Extended } else { Dialect::Simple };
        let magic = if extended { MAGIC_REQUEST_EXTENDED } else { MAGIC_REQUEST };
        let stream = if with_magic { [&magic.to_be_bytes()[..], &stream].concat() } else { stream };
        let _ = decode(dialect, &stream, &cuts);
    }
}
