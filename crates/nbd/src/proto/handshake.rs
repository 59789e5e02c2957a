//! The handshake: from the greeting to an export, as a state machine over bytes.
//!
//! [`Handshake::receive`] takes bytes; [`Handshake::step`] consumes one message and says what to do
//! next, after sending what it appended to `out`. Two steps are questions about exports, which only
//! the outside can answer: it does so by [`Handshake::exports`] or [`Handshake::export`] and steps on.
//!
//! A client that is wrong inside an option gets an error reply and goes on; one that breaks the
//! framing, or fails at EXPORT_NAME (which has no error reply), gets a [`HandshakeError`]: send `out`,
//! then close. Metadata contexts survive only if the last SET_META_CONTEXT succeeded and named the
//! export that is finally picked.

use super::info::{Dialect, ExportEntry, ExportInfo};
use super::options::{self, ClientOption, OPTION_BYTES_MAX};
use super::wire::{self, MAGIC_INIT, MAGIC_OPTION, MAGIC_OPTION_REPLY, handshake_flag, option, option_reply};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Most options in one handshake; an honest client needs about ten.
const OPTIONS_MAX: u32 = 1000;
const OPTION_HEADER_BYTES: usize = 16;

/// A metadata context that the client selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaContext {
    /// Its number on this connection.
    pub id: u32,
    /// Its full name, such as `base:allocation`.
    pub name: String,
}

/// What the handshake settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Canonical name of the picked export.
    pub export_name: String,
    /// Headers of all further messages.
    pub dialect: Dialect,
    /// Metadata contexts for BLOCK_STATUS.
    pub contexts: Vec<MetaContext>,
    /// Transmission flags that the client was told.
    pub transmission_flags: u16,
    /// Bytes that the client sent behind its last option: the first requests.
    pub leftover: Bytes,
}

/// What to do next, once the bytes in `out` are sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Feed more bytes by [`Handshake::receive`].
    Receive,
    /// Answer by [`Handshake::exports`].
    ListExports,
    /// Answer by [`Handshake::export`].
    LookUp {
        /// The name as the client gave it; empty means the default export.
        name: String,
    },
    /// Requests follow.
    Finished(Box<Negotiated>),
    /// The client ended the session.
    Aborted,
}

/// Why an export cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookUpError {
    /// There is none of that name.
    #[error("no such export")]
    Unknown,
    /// The server is going away.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// There is one, but not for this client now; the text tells why.
    #[error("{0}")]
    Refused(String),
}

/// Why the connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Client flags that this server did not offer.
    #[error("the client set unknown handshake flags {0:#x}")]
    ClientFlags(u32),
    /// An option did not start with its magic number.
    #[error("an option starts with {0:#018x} instead of its magic number")]
    OptionMagic(u64),
    /// An option announced more data than is ever read.
    #[error("option {option} announces {len} bytes, more than {OPTION_BYTES_MAX}")]
    OptionTooLong {
        /// Option type.
        option: u32,
        /// Announced length in bytes.
        len: u32,
    },
    /// The client went on and on.
    #[error("more than {OPTIONS_MAX} options in one handshake")]
    TooManyOptions,
    /// EXPORT_NAME could not be fulfilled, and has no other way to say so.
    #[error("export {name:?}: {cause}")]
    ExportName {
        /// The name that was asked for.
        name: String,
        /// Why not.
        cause: LookUpError,
    },
    /// EXPORT_NAME with a name that is not text.
    #[error("the name in EXPORT_NAME is malformed: {0}")]
    MalformedExportName(String),
    /// EXPORT_NAME cannot follow EXTENDED_HEADERS.
    #[error("EXPORT_NAME after extended headers were negotiated")]
    ExportNameExtended,
}

/// A question to the outside that is still open.
#[derive(Debug)]
enum Question {
    List,
    Name {
        name: String,
    },
    Info {
        go: bool,
        name: String,
        wanted: Vec<u16>,
    },
    Meta {
        set: bool,
        name: String,
        queries: Vec<String>,
    },
}

#[derive(Debug)]
enum Stage {
    ClientFlags,
    Options,
    Asked(Question),
    Finished(Box<Negotiated>),
}

/// One handshake, from the server's side.
#[derive(Debug)]
pub struct Handshake {
    input: BytesMut,
    stage: Stage,
    no_zeroes: bool,
    options_seen: u32,
    dialect: Dialect,
    /// Selected contexts, and the export name they were selected for.
    contexts: Option<(String, Vec<MetaContext>)>,
}

impl Handshake {
    /// Starts one; the greeting goes to `out`.
    pub fn new(out: &mut BytesMut) -> Handshake {
        out.put_u64(MAGIC_INIT);
        out.put_u64(MAGIC_OPTION);
        out.put_u16(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        Handshake {
            input: BytesMut::new(),
            stage: Stage::ClientFlags,
            no_zeroes: false,
            options_seen: 0,
            dialect: Dialect::Simple,
            contexts: None,
        }
    }

    /// Takes bytes that the client sent. What is held stays below one option and one `data`.
    pub fn receive(&mut self, data: &[u8]) {
        self.input.extend_from_slice(data);
    }

    /// Consumes the next message, if it is complete, and says what to do.
    ///
    /// # Panics
    /// If the last step asked a question that was not answered.
    pub fn step(&mut self, out: &mut BytesMut) -> Result<Step, HandshakeError> {
        loop {
            match &mut self.stage {
                Stage::ClientFlags => {
                    let Ok(flags) = self.input.try_get_u32() else {
                        return Ok(Step::Receive);
                    };
                    let offered = u32::from(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
                    if flags & !offered != 0 {
                        return Err(HandshakeError::ClientFlags(flags & !offered));
                    }
                    // A client without FIXED_NEWSTYLE may only send EXPORT_NAME; the others work all the same.
                    self.no_zeroes = flags & u32::from(handshake_flag::NO_ZEROES) != 0;
                    self.stage = Stage::Options;
                }
                Stage::Options => {
                    let Some((code, body)) = self.next_option(out)? else {
                        return Ok(Step::Receive);
                    };
                    if let Some(step) = self.option(code, &body, out)? {
                        return Ok(step);
                    }
                }
                Stage::Asked(question) => panic!("the question {question:?} was not answered"),
                Stage::Finished(negotiated) => {
                    let mut negotiated = negotiated.clone();
                    negotiated.leftover = self.input.split().freeze();
                    return Ok(Step::Finished(negotiated));
                }
            }
        }
    }

    /// The next complete option's type and data.
    fn next_option(&mut self, out: &mut BytesMut) -> Result<Option<(u32, Bytes)>, HandshakeError> {
        let Some((mut header, rest)) = self.input.split_at_checked(OPTION_HEADER_BYTES) else {
            return Ok(None);
        };
        let (magic, code, len) = (header.get_u64(), header.get_u32(), header.get_u32());
        if magic != MAGIC_OPTION {
            return Err(HandshakeError::OptionMagic(magic));
        }
        if len > OPTION_BYTES_MAX {
            if code != option::EXPORT_NAME {
                reply(out, code, option_reply::ERR_TOO_BIG, b"the option is too long");
            }
            return Err(HandshakeError::OptionTooLong { option: code, len });
        }
        if rest.len() < len as usize {
            return Ok(None);
        }
        self.options_seen += 1;
        if self.options_seen > OPTIONS_MAX {
            return Err(HandshakeError::TooManyOptions);
        }
        self.input.advance(OPTION_HEADER_BYTES);
        Ok(Some((code, self.input.split_to(len as usize).freeze())))
    }

    fn option(&mut self, code: u32, body: &[u8], out: &mut BytesMut) -> Result<Option<Step>, HandshakeError> {
        let parsed = match options::parse(code, body) {
            Ok(parsed) => parsed,
            Err(why) if code == option::EXPORT_NAME => {
                return Err(HandshakeError::MalformedExportName(why.to_string()));
            }
            Err(why) => {
                if code == option::SET_META_CONTEXT {
                    self.contexts = None;
                }
                reply(out, code, option_reply::ERR_INVALID, why.to_string().as_bytes());
                return Ok(None);
            }
        };
        let question = match parsed {
            ClientOption::Abort => {
                reply(out, code, option_reply::ACK, &[]);
                return Ok(Some(Step::Aborted));
            }
            ClientOption::StructuredReply if self.dialect == Dialect::Extended => {
                let text = b"extended headers are in force already";
                reply(out, code, option_reply::ERR_EXT_HEADER_REQD, text);
                return Ok(None);
            }
            ClientOption::StructuredReply => {
                self.dialect = Dialect::Structured;
                reply(out, code, option_reply::ACK, &[]);
                return Ok(None);
            }
            ClientOption::ExtendedHeaders => {
                self.dialect = Dialect::Extended;
                reply(out, code, option_reply::ACK, &[]);
                return Ok(None);
            }
            ClientOption::StartTls => {
                reply(out, code, option_reply::ERR_UNSUP, b"this socket has no TLS");
                return Ok(None);
            }
            ClientOption::Unknown => {
                reply(out, code, option_reply::ERR_UNSUP, b"unknown option");
                return Ok(None);
            }
            ClientOption::Meta { set, .. } if self.dialect == Dialect::Simple => {
                if set {
                    self.contexts = None;
                }
                reply(
                    out,
                    code,
                    option_reply::ERR_INVALID,
                    b"negotiate structured replies first",
                );
                return Ok(None);
            }
            ClientOption::ExportName(_) if self.dialect == Dialect::Extended => {
                return Err(HandshakeError::ExportNameExtended);
            }
            ClientOption::List => Question::List,
            ClientOption::ExportName(name) => Question::Name { name },
            ClientOption::Info { go, name, wanted } => Question::Info { go, name, wanted },
            ClientOption::Meta { set, name, queries } => Question::Meta { set, name, queries },
        };
        let step = match &question {
            Question::List => Step::ListExports,
            Question::Name { name } | Question::Info { name, .. } | Question::Meta { name, .. } => {
                Step::LookUp { name: name.clone() }
            }
        };
        self.stage = Stage::Asked(question);
        Ok(Some(step))
    }

    /// Answers [`Step::ListExports`].
    ///
    /// # Panics
    /// If that was not the question.
    pub fn exports(&mut self, found: Result<Vec<ExportEntry>, LookUpError>, out: &mut BytesMut) {
        assert!(
            matches!(self.stage, Stage::Asked(Question::List)),
            "nobody asked for a list"
        );
        self.stage = Stage::Options;
        match found {
            Ok(entries) => {
                for entry in entries {
                    let mut data = BytesMut::new();
                    data.put_u32(entry.name.len() as u32);
                    data.put_slice(entry.name.as_bytes());
                    data.put_slice(entry.description.as_bytes());
                    reply(out, option::LIST, option_reply::SERVER, &data);
                }
                reply(out, option::LIST, option_reply::ACK, &[]);
            }
            Err(why) => refuse(out, option::LIST, &why),
        }
    }

    /// Answers [`Step::LookUp`].
    ///
    /// # Panics
    /// If that was not the question.
    pub fn export(
        &mut self,
        found: Result<ExportInfo, LookUpError>,
        out: &mut BytesMut,
    ) -> Result<(), HandshakeError> {
        let Stage::Asked(question) = std::mem::replace(&mut self.stage, Stage::Options) else {
            panic!("nobody asked for an export");
        };
        match (question, found) {
            (Question::List, _) => panic!("the question was for a list"),
            (Question::Name { name }, Err(cause)) => return Err(HandshakeError::ExportName { name, cause }),
            (Question::Name { name }, Ok(info)) => {
                out.put_u64(info.size_bytes);
                out.put_u16(info.transmission_flags(self.dialect));
                if !self.no_zeroes {
                    out.put_bytes(0, 124);
                }
                self.finish(&name, info);
            }
            (Question::Info { go, .. }, Err(why)) => refuse(out, info_option(go), &why),
            (Question::Info { go, name, wanted }, Ok(info)) => {
                self.describe(info_option(go), &info, &wanted, out);
                if go {
                    self.finish(&name, info);
                }
            }
            (Question::Meta { set, .. }, Err(why)) => {
                if set {
                    self.contexts = None;
                }
                refuse(out, meta_option(set), &why);
            }
            (Question::Meta { set, name, queries }, Ok(info)) => {
                self.select(set, name, &queries, info.contexts, out);
            }
        }
        Ok(())
    }

    /// The successful reply to INFO and GO.
    fn describe(&self, code: u32, info: &ExportInfo, wanted: &[u16], out: &mut BytesMut) {
        let mut fact = |kind: u16, data: &[u8]| {
            reply(
                out,
                code,
                option_reply::INFO,
                &[&kind.to_be_bytes(), data].concat(),
            );
        };
        let mut export = info.size_bytes.to_be_bytes().to_vec();
        export.extend(info.transmission_flags(self.dialect).to_be_bytes());
        fact(wire::info::EXPORT, &export);
        if wanted.contains(&wire::info::NAME) {
            fact(wire::info::NAME, info.name.as_bytes());
        }
        if wanted.contains(&wire::info::DESCRIPTION) && !info.description.is_empty() {
            fact(wire::info::DESCRIPTION, info.description.as_bytes());
        }
        if wanted.contains(&wire::info::BLOCK_SIZE) {
            fact(
                wire::info::BLOCK_SIZE,
                &info.block_sizes().map(u32::to_be_bytes).concat(),
            );
        }
        reply(out, code, option_reply::ACK, &[]);
    }

    /// The successful reply to LIST_META_CONTEXT and SET_META_CONTEXT.
    fn select(
        &mut self,
        set: bool,
        name: String,
        queries: &[String],
        available: Vec<String>,
        out: &mut BytesMut,
    ) {
        let matches = |context: &str| {
            // `namespace:` stands for all of a namespace, in lists only; no queries at all for everything.
            let in_namespace = |query: &str| !set && query.ends_with(':') && context.starts_with(query);
            (queries.is_empty() && !set)
                || queries
                    .iter()
                    .any(|query| query == context || in_namespace(query))
        };
        let chosen: Vec<MetaContext> = available
            .into_iter()
            .filter(|context| matches(context))
            .zip(1..)
            .map(|(name, id)| MetaContext { id, name })
            .collect();
        for context in &chosen {
            let id = if set { context.id } else { 0 };
            let data = [&id.to_be_bytes(), context.name.as_bytes()].concat();
            reply(out, meta_option(set), option_reply::META_CONTEXT, &data);
        }
        reply(out, meta_option(set), option_reply::ACK, &[]);
        if set {
            self.contexts = Some((name, chosen));
        }
    }

    fn finish(&mut self, asked_name: &str, info: ExportInfo) {
        let contexts = match self.contexts.take() {
            Some((name, contexts)) if name == asked_name => contexts,
            _ => Vec::new(),
        };
        self.stage = Stage::Finished(Box::new(Negotiated {
            dialect: self.dialect,
            contexts,
            transmission_flags: info.transmission_flags(self.dialect),
            export_name: info.name,
            leftover: Bytes::new(),
        }));
    }
}

fn info_option(go: bool) -> u32 {
    if go { option::GO } else { option::INFO }
}

fn meta_option(set: bool) -> u32 {
    if set {
        option::SET_META_CONTEXT
    } else {
        option::LIST_META_CONTEXT
    }
}

/// Appends one reply to an option.
fn reply(out: &mut BytesMut, code: u32, kind: u32, data: &[u8]) {
    out.put_u64(MAGIC_OPTION_REPLY);
    out.put_u32(code);
    out.put_u32(kind);
    out.put_u32(data.len() as u32);
    out.put_slice(data);
}

fn refuse(out: &mut BytesMut, code: u32, why: &LookUpError) {
    let kind = match why {
        LookUpError::Unknown => option_reply::ERR_UNKNOWN,
        LookUpError::ShuttingDown => option_reply::ERR_SHUTDOWN,
        LookUpError::Refused(_) => option_reply::ERR_POLICY,
    };
    reply(out, code, kind, clip(&why.to_string()).as_bytes());
}

/// `text`, cut to what the protocol allows a string to be.
pub(super) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(wire::STRING_BYTES_MAX)]
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
