//! Requests out of a stream of received buffers, whatever their boundaries.
//!
//! Payloads are slices of the received buffers, never copies. Only a header that straddles two buffers
//! is put together in place. What is held between calls: at most one header, and of one payload the
//! slices that have arrived so far; a payload over the limit is skipped, not kept.

use super::info::Dialect;
use super::wire::{MAGIC_REQUEST, MAGIC_REQUEST_EXTENDED, command, command_flag};
use bytes::{Buf, Bytes};

const COMPACT_BYTES: usize = 28;
const EXTENDED_BYTES: usize = 32;

/// What came behind a request's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// The whole payload, in pieces, one after the other.
    Data(Vec<Bytes>),
    /// A payload that the command cannot have or that is over the limit; it was skipped.
    Skipped,
}

/// One request as it was sent; nothing about it has been judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Command flags.
    pub flags: u16,
    /// Command type.
    pub command: u16,
    /// The client's name for it, to be repeated in replies.
    pub cookie: u64,
    /// First byte concerned.
    pub offset: u64,
    /// Bytes concerned.
    pub length: u64,
    /// The payload.
    pub body: Body,
}

/// Why the stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A request did not start with its magic number.
    #[error("a request starts with {0:#010x} instead of its magic number")]
    Magic(u32),
    /// Extended headers: a payload longer than was ever offered.
    #[error("a request announces a payload of {0} bytes")]
    PayloadTooLong(u64),
}

#[derive(Debug)]
enum State {
    Header,
    Payload { request: Request, missing: u64 },
}

/// Cuts requests out of received buffers.
#[derive(Debug)]
pub struct Decoder {
    extended: bool,
    payload_max: u64,
    /// What has been received and not consumed.
    input: Bytes,
    /// The start of a header that straddles buffers.
    head: [u8; EXTENDED_BYTES],
    head_len: usize,
    state: State,
}

impl Decoder {
    /// For a connection that speaks `dialect` and was told of `payload_max` bytes.
    pub fn new(dialect: Dialect, payload_max: u32) -> Decoder {
        Decoder {
            extended: dialect == Dialect::Extended,
            payload_max: u64::from(payload_max),
            input: Bytes::new(),
            head: [0; EXTENDED_BYTES],
            head_len: 0,
            state: State::Header,
        }
    }

    /// Takes received bytes.
    ///
    /// # Panics
    /// If [`Decoder::next`] has not yet returned `None` for the ones before.
    pub fn feed(&mut self, data: Bytes) {
        assert!(self.input.is_empty(), "earlier bytes are not consumed yet");
        self.input = data;
    }

    /// Bytes known to be missing from the payload under way: worth receiving at once.
    pub fn payload_missing(&self) -> u64 {
        match &self.state {
            State::Header => 0,
            State::Payload { missing, .. } => *missing,
        }
    }

    /// The next complete request; `None` when more bytes are needed.
    // Not an iterator: it goes on after `None`, and fails.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Request>, StreamError> {
        if matches!(self.state, State::Header) {
            let Some((request, payload)) = self.header()? else {
                return Ok(None);
            };
            if payload == 0 {
                return Ok(Some(request));
            }
            self.state = State::Payload {
                request,
                missing: payload,
            };
        }
        let State::Payload { request, missing } = &mut self.state else {
            unreachable!("set just above")
        };
        let here = (*missing).min(self.input.len() as u64);
        *missing -= here;
        // At most what is in memory, so it fits a usize.
        let piece = self.input.split_to(here as usize);
        if let Body::Data(pieces) = &mut request.body
            && !piece.is_empty()
        {
            pieces.push(piece);
        }
        if *missing > 0 {
            return Ok(None);
        }
        match std::mem::replace(&mut self.state, State::Header) {
            State::Payload { request, .. } => Ok(Some(request)),
            State::Header => unreachable!("a payload was under way"),
        }
    }

    /// The next header as a request whose payload, of the returned length, is still to come.
    fn header(&mut self) -> Result<Option<(Request, u64)>, StreamError> {
        let size = if self.extended {
            EXTENDED_BYTES
        } else {
            COMPACT_BYTES
        };
        if self.head_len == 0 && self.input.len() >= size {
            let parsed = self.parse(&self.input[..size])?;
            self.input.advance(size);
            return Ok(Some(parsed));
        }
        let here = (size - self.head_len).min(self.input.len());
        self.head[self.head_len..self.head_len + here].copy_from_slice(&self.input[..here]);
        self.input.advance(here);
        self.head_len += here;
        if self.head_len < size {
            return Ok(None);
        }
        self.head_len = 0;
        self.parse(&self.head[..size]).map(Some)
    }

    fn parse(&self, mut header: &[u8]) -> Result<(Request, u64), StreamError> {
        let magic = header.get_u32();
        if magic
            != if self.extended {
                MAGIC_REQUEST_EXTENDED
            } else {
                MAGIC_REQUEST
            }
        {
            return Err(StreamError::Magic(magic));
        }
        let (flags, command) = (header.get_u16(), header.get_u16());
        let (cookie, offset) = (header.get_u64(), header.get_u64());
        let length = if self.extended {
            header.get_u64()
        } else {
            u64::from(header.get_u32())
        };
        // A write always has a payload: QEMU up to 10.0 at least sends it in extended headers too, but
        // without the flag that the protocol asks for.
        let has_payload =
            command == command::WRITE || (self.extended && flags & command_flag::PAYLOAD_LEN != 0);
        let payload = if has_payload { length } else { 0 };
        if self.extended && payload > self.payload_max {
            return Err(StreamError::PayloadTooLong(payload));
        }
        let body = match command {
            command::WRITE if payload <= self.payload_max => Body::Data(Vec::new()),
            _ if payload > 0 => Body::Skipped,
            _ => Body::None,
        };
        Ok((
            Request {
                flags,
                command,
                cookie,
                offset,
                length,
                body,
            },
            payload,
        ))
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
