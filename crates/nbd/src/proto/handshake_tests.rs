//! Handshakes as a client sees them: what it sends, what comes back.

use super::*;
use crate::proto::wire::{BASE_ALLOCATION, export_flag};
use proptest::prelude::*;

const FLAGS: [u8; 4] = [0, 0, 0, 3];

fn disk() -> ExportInfo {
    ExportInfo {
        name: "d-1".into(),
        description: "a disk".into(),
        size_bytes: 1 << 30,
        contexts: vec![BASE_ALLOCATION.into(), "tidemark:changed-since/s-1".into()],
        ..ExportInfo::default()
    }
}

fn look_up(name: &str) -> Result<ExportInfo, LookUpError> {
    match name {
        "d-1" | "" => Ok(disk()),
        "gone" => Err(LookUpError::ShuttingDown),
        "stopped" => Err(LookUpError::Refused("its instance is stopped".into())),
        _ => Err(LookUpError::Unknown),
    }
}

/// How a handshake ended, and all that the server sent behind its greeting.
#[derive(Debug)]
struct Outcome {
    end: Result<Step, HandshakeError>,
    sent: Vec<u8>,
}

/// Plays `client` against a server, cut into pieces of `cut` bytes.
fn play_cut(client: &[u8], cut: usize) -> Outcome {
    let mut out = BytesMut::new();
    let mut handshake = Handshake::new(&mut out);
    let greeting = out.split();
    assert_eq!(greeting[..], *b"NBDMAGICIHAVEOPT\0\x03");
    let mut pieces = client.chunks(cut.max(1));
    let end = loop {
        match handshake.step(&mut out) {
            Ok(Step::Receive) => match pieces.next() {
                Some(piece) => handshake.receive(piece),
                None => break Ok(Step::Receive),
            },
            Ok(Step::ListExports) => {
                let entry = ExportEntry {
                    name: "d-1".into(),
                    description: "a disk".into(),
                };
                handshake.exports(Ok(vec![entry]), &mut out);
            }
            Ok(Step::LookUp { name }) => {
                if let Err(error) = handshake.export(look_up(&name), &mut out) {
                    break Err(error);
                }
            }
            other => break other,
        }
    };
    Outcome {
        end,
        sent: out.to_vec(),
    }
}

fn play(parts: &[Vec<u8>]) -> Outcome {
    let client = [FLAGS.to_vec(), parts.concat()].concat();
    play_cut(&client, client.len())
}

fn opt(code: u32, data: &[u8]) -> Vec<u8> {
    [
        &MAGIC_OPTION.to_be_bytes()[..],
        &code.to_be_bytes(),
        &(data.len() as u32).to_be_bytes(),
        data,
    ]
    .concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

fn go(name: &str, wanted: &[u16]) -> Vec<u8> {
    info_body(option::GO, name, wanted)
}

fn info_body(code: u32, name: &str, wanted: &[u16]) -> Vec<u8> {
    let mut body = text(name);
    body.extend((wanted.len() as u16).to_be_bytes());
    wanted.iter().for_each(|kind| body.extend(kind.to_be_bytes()));
    opt(code, &body)
}

fn meta(code: u32, name: &str, queries: &[&str]) -> Vec<u8> {
    let mut body = text(name);
    body.extend((queries.len() as u32).to_be_bytes());
    queries.iter().for_each(|query| body.extend(text(query)));
    opt(code, &body)
}

/// The replies as (option, type, data).
fn replies(outcome: &Outcome) -> Vec<(u32, u32, Vec<u8>)> {
    let mut rest = &outcome.sent[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        assert_eq!(rest.get_u64(), MAGIC_OPTION_REPLY);
        let (code, kind, len) = (rest.get_u32(), rest.get_u32(), rest.get_u32() as usize);
        found.push((code, kind, rest[..len].to_vec()));
        rest.advance(len);
    }
    found
}

fn kinds(outcome: &Outcome) -> Vec<u32> {
    replies(outcome).into_iter().map(|(_, kind, _)| kind).collect()
}

fn finished(outcome: &Outcome) -> &Negotiated {
    match &outcome.end {
        Ok(Step::Finished(negotiated)) => negotiated,
        other => panic!("the handshake ended with {other:?}"),
    }
}

#[test]
fn golden_go() {
    let outcome = play(&[go("d-1", &[wire::info::BLOCK_SIZE])]);
    let mut wanted = Vec::new();
    wanted.extend(b"\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x07\x00\x00\x00\x03\x00\x00\x00\x0c");
    wanted.extend(b"\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x04\x4d");
    wanted.extend(b"\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x07\x00\x00\x00\x03\x00\x00\x00\x0e");
    wanted.extend(b"\x00\x03\x00\x00\x02\x00\x00\x00\x10\x00\x02\x00\x00\x00");
    wanted.extend(b"\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00");
    assert_eq!(outcome.sent, wanted);
    assert_eq!(finished(&outcome).export_name, "d-1");
    assert_eq!(finished(&outcome).dialect, Dialect::Simple);
}

#[test]
fn golden_export_name_with_and_without_padding() {
    let short = play(&[opt(option::EXPORT_NAME, b"d-1")]);
    assert_eq!(short.sent, b"\x00\x00\x00\x00\x40\x00\x00\x00\x04\x4d");
    let client = [vec![0, 0, 0, 1], opt(option::EXPORT_NAME, b"")].concat();
    let long = play_cut(&client, 7);
    assert_eq!(long.sent, [&short.sent[..], &[0; 124]].concat());
    assert_eq!(
        finished(&long).export_name,
        "d-1",
        "the default export has its canonical name"
    );
}

#[test]
fn requests_behind_the_last_option_are_handed_over() {
    for last in [opt(option::EXPORT_NAME, b"d-1"), go("d-1", &[])] {
        let outcome = play(&[last, b"first request".to_vec()]);
        assert_eq!(finished(&outcome).leftover, &b"first request"[..]);
    }
}

#[test]
fn list_shows_names_and_descriptions() {
    let outcome = play(&[opt(option::LIST, b"")]);
    let entry = [text("d-1"), b"a disk".to_vec()].concat();
    assert_eq!(
        replies(&outcome),
        [
            (option::LIST, option_reply::SERVER, entry),
            (option::LIST, option_reply::ACK, vec![])
        ]
    );
}

#[test]
fn a_refused_export_leaves_the_client_in_the_handshake() {
    let outcome = play(&[
        go("nope", &[]),
        go("gone", &[]),
        go("stopped", &[]),
        go("d-1", &[]),
    ]);
    let [unknown, gone, refused, ..] = &replies(&outcome)[..] else {
        panic!("three refusals")
    };
    assert_eq!(unknown.1, option_reply::ERR_UNKNOWN);
    assert_eq!(gone.1, option_reply::ERR_SHUTDOWN);
    assert_eq!(
        (refused.1, &refused.2[..]),
        (option_reply::ERR_POLICY, &b"its instance is stopped"[..])
    );
    finished(&outcome);
}

#[test]
fn info_describes_and_stays() {
    let all = [
        wire::info::NAME,
        wire::info::DESCRIPTION,
        wire::info::BLOCK_SIZE,
        77,
    ];
    let outcome = play(&[info_body(option::INFO, "", &all)]);
    let facts: Vec<Vec<u8>> = replies(&outcome).into_iter().map(|(_, _, data)| data).collect();
    assert_eq!(facts[1], b"\0\x01d-1");
    assert_eq!(facts[2], b"\0\x02a disk");
    assert_eq!(outcome.end, Ok(Step::Receive));
}

#[test]
fn an_export_name_that_fails_closes() {
    let outcome = play(&[opt(option::EXPORT_NAME, b"nope")]);
    let wanted = HandshakeError::ExportName {
        name: "nope".into(),
        cause: LookUpError::Unknown,
    };
    assert_eq!(outcome.end, Err(wanted));
    assert!(outcome.sent.is_empty());
    assert!(matches!(
        play(&[opt(option::EXPORT_NAME, &[0xff])]).end,
        Err(HandshakeError::MalformedExportName(_))
    ));
}

#[test]
fn unknown_options_and_tls_are_unsupported() {
    let outcome = play(&[
        opt(99, b"data"),
        opt(option::STARTTLS, b""),
        opt(option::STARTTLS, b"x"),
    ]);
    assert_eq!(
        kinds(&outcome),
        [
            option_reply::ERR_UNSUP,
            option_reply::ERR_UNSUP,
            option_reply::ERR_INVALID
        ]
    );
}

#[test]
fn abort_is_acknowledged() {
    let outcome = play(&[opt(option::ABORT, b"ignored")]);
    assert_eq!(outcome.end, Ok(Step::Aborted));
    assert_eq!(kinds(&outcome), [option_reply::ACK]);
}

#[test]
fn metadata_contexts_need_structured_replies() {
    let select = || meta(option::SET_META_CONTEXT, "d-1", &[BASE_ALLOCATION]);
    assert_eq!(kinds(&play(&[select()])), [option_reply::ERR_INVALID]);
    let outcome = play(&[opt(option::STRUCTURED_REPLY, b""), select(), go("d-1", &[])]);
    assert_eq!(
        finished(&outcome).contexts,
        [MetaContext {
            id: 1,
            name: BASE_ALLOCATION.into()
        }]
    );
    assert_ne!(finished(&outcome).transmission_flags & export_flag::SEND_DF, 0);
}

#[test]
fn contexts_belong_to_the_export_they_were_selected_for() {
    let structured = opt(option::STRUCTURED_REPLY, b"");
    let select = meta(option::SET_META_CONTEXT, "d-1", &[BASE_ALLOCATION]);
    let outcome = play(&[structured.clone(), select.clone(), go("", &[])]);
    assert_eq!(finished(&outcome).contexts, []);
    // A later failure drops what was selected before.
    let fails = meta(option::SET_META_CONTEXT, "nope", &[BASE_ALLOCATION]);
    let outcome = play(&[structured, select, fails, go("d-1", &[])]);
    assert_eq!(finished(&outcome).contexts, []);
}

#[test]
fn context_queries() {
    let found = |code: u32, queries: &[&str]| -> Vec<String> {
        let outcome = play(&[opt(option::STRUCTURED_REPLY, b""), meta(code, "d-1", queries)]);
        let all = replies(&outcome);
        assert_eq!(all.last().unwrap().1, option_reply::ACK);
        all.iter()
            .filter(|(_, kind, _)| *kind == option_reply::META_CONTEXT)
            .map(|(_, _, data)| String::from_utf8(data[4..].to_vec()).unwrap())
            .collect()
    };
    let changed = "tidemark:changed-since/s-1";
    let list = option::LIST_META_CONTEXT;
    assert_eq!(found(list, &[]), [BASE_ALLOCATION, changed]);
    assert_eq!(
        found(list, &["base:", "base:", BASE_ALLOCATION]),
        [BASE_ALLOCATION]
    );
    assert_eq!(found(list, &["tidemark:", "qemu:dirty-bitmap:x"]), [changed]);
    let set = option::SET_META_CONTEXT;
    assert_eq!(found(set, &[]), Vec::<String>::new());
    assert_eq!(found(set, &["base:"]), Vec::<String>::new());
    assert_eq!(
        found(set, &["base:other", changed, BASE_ALLOCATION]),
        [BASE_ALLOCATION, changed]
    );
}

#[test]
fn extended_headers_win() {
    let extended = opt(option::EXTENDED_HEADERS, b"");
    let structured = opt(option::STRUCTURED_REPLY, b"");
    let outcome = play(&[structured.clone(), extended.clone(), structured, go("d-1", &[])]);
    assert_eq!(
        kinds(&outcome)[..3],
        [
            option_reply::ACK,
            option_reply::ACK,
            option_reply::ERR_EXT_HEADER_REQD
        ]
    );
    assert_eq!(finished(&outcome).dialect, Dialect::Extended);
    let outcome = play(&[extended, opt(option::EXPORT_NAME, b"d-1")]);
    assert_eq!(outcome.end, Err(HandshakeError::ExportNameExtended));
}

#[test]
fn a_huge_option_is_refused_before_its_data_arrives() {
    let mut header = opt(option::GO, b"");
    header[12..].copy_from_slice(&u32::MAX.to_be_bytes());
    let outcome = play(&[header]);
    assert_eq!(
        outcome.end,
        Err(HandshakeError::OptionTooLong {
            option: option::GO,
            len: u32::MAX
        })
    );
    assert_eq!(kinds(&outcome), [option_reply::ERR_TOO_BIG]);
}

#[test]
fn broken_framing_closes() {
    assert_eq!(
        play_cut(&[0xff; 4], 4).end,
        Err(HandshakeError::ClientFlags(0xffff_fffc))
    );
    let outcome = play(&[b"GET / HTTP/1.1\r\n\r\n".to_vec()]);
    assert_eq!(
        outcome.end,
        Err(HandshakeError::OptionMagic(u64::from_be_bytes(*b"GET / HT")))
    );
    let endless = opt(option::STRUCTURED_REPLY, b"").repeat(OPTIONS_MAX as usize + 1);
    assert_eq!(play(&[endless]).end, Err(HandshakeError::TooManyOptions));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        options in proptest::collection::vec((0u32..14, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
        tail in proptest::collection::vec(any::<u8>(), 0..40),
        cut in 1usize..50,
    ) {
        let mut client = FLAGS.to_vec();
        options.iter().for_each(|(code, data)| client.extend(opt(*code, data)));
        client.extend(tail);
        play_cut(&client, cut);
    }

    #[test]
    fn any_cutting_gives_the_same_handshake(cut in 1usize..80) {
        let client = [
            FLAGS.to_vec(),
            opt(option::STRUCTURED_REPLY, b""),
            meta(option::SET_META_CONTEXT, "d-1", &["base:allocation"]),
            info_body(option::INFO, "nope", &[3]),
            opt(option::LIST, b""),
            go("d-1", &[3]),
        ]
        .concat();
        let (whole, pieces) = (play_cut(&client, client.len()), play_cut(&client, cut));
        prop_assert_eq!(whole.sent, pieces.sent);
        prop_assert_eq!(whole.end, pieces.end);
    }
}
