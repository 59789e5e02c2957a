//! Numbers of the protocol: magics, flags, option, command and reply types. All big-endian on the wire.

/// `NBDMAGIC`, the first eight bytes that a server sends.
pub const MAGIC_INIT: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`: announces the newstyle handshake and opens each option.
pub const MAGIC_OPTION: u64 = 0x4948_4156_454f_5054;
/// Opens each reply to an option.
pub const MAGIC_OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// Opens a compact request.
pub const MAGIC_REQUEST: u32 = 0x2560_9513;
/// Opens an extended request.
pub const MAGIC_REQUEST_EXTENDED: u32 = 0x21e4_1c71;
/// Opens a simple reply.
pub const MAGIC_REPLY_SIMPLE: u32 = 0x6744_6698;
/// Opens a chunk of a structured reply.
pub const MAGIC_REPLY_STRUCTURED: u32 = 0x668e_33ef;
/// Opens a chunk of an extended reply.
pub const MAGIC_REPLY_EXTENDED: u32 = 0x6e8a_278c;

/// Handshake flags, sent by the server; the client's answers use the same bits.
pub mod handshake_flag {
    /// Options have replies.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// No padding after the answer to [`super::option::EXPORT_NAME`].
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// Option types.
pub mod option {
    /// Picks the export, without any reply on failure.
    pub const EXPORT_NAME: u32 = 1;
    /// Ends the session.
    pub const ABORT: u32 = 2;
    /// Lists exports.
    pub const LIST: u32 = 3;
    /// Asks for TLS.
    pub const STARTTLS: u32 = 5;
    /// Describes an export.
    pub const INFO: u32 = 6;
    /// Describes an export and picks it.
    pub const GO: u32 = 7;
    /// Asks for structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Lists metadata contexts.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Selects metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Asks for extended headers.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// Types of replies to options.
pub mod option_reply {
    /// Accepted, or the end of a list.
    pub const ACK: u32 = 1;
    /// One export of a list.
    pub const SERVER: u32 = 2;
    /// One fact about an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// Option unknown to this server.
    pub const ERR_UNSUP: u32 = (1 << 31) + 1;
    /// Forbidden here.
    pub const ERR_POLICY: u32 = (1 << 31) + 2;
    /// Malformed, or in the wrong place.
    pub const ERR_INVALID: u32 = (1 << 31) + 3;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = (1 << 31) + 6;
    /// The server is going away.
    pub const ERR_SHUTDOWN: u32 = (1 << 31) + 7;
    /// Larger than this server takes.
    pub const ERR_TOO_BIG: u32 = (1 << 31) + 9;
    /// Extended headers are in force already.
    pub const ERR_EXT_HEADER_REQD: u32 = (1 << 31) + 10;
}

/// Types of facts in an [`option_reply::INFO`].
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// Canonical name.
    pub const NAME: u16 = 1;
    /// Text for people.
    pub const DESCRIPTION: u16 = 2;
    /// Minimum, preferred and maximum sizes.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags: what an export can do.
pub mod export_flag {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// [`super::command::FLUSH`] works.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// [`super::command_flag::FUA`] works.
    pub const SEND_FUA: u16 = 1 << 3;
    /// [`super::command::TRIM`] works.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// [`super::command::WRITE_ZEROES`] works.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// [`super::command_flag::DF`] works.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection covers writes of all.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// [`super::command::CACHE`] works.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// [`super::command_flag::FAST_ZERO`] works.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// Request types.
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// Finish what is under way, then close; has no reply.
    pub const DISC: u16 = 2;
    /// Make durable what was acknowledged.
    pub const FLUSH: u16 = 3;
    /// The range's content is no longer needed.
    pub const TRIM: u16 = 4;
    /// The range will be read soon.
    pub const CACHE: u16 = 5;
    /// The range shall read as zeros.
    pub const WRITE_ZEROES: u16 = 6;
    /// What is known of the range.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Flags of requests.
pub mod command_flag {
    /// Durable before the reply. Accepted on every command.
    pub const FUA: u16 = 1 << 0;
    /// WRITE_ZEROES must keep the space.
    pub const NO_HOLE: u16 = 1 << 1;
    /// READ answers in one piece.
    pub const DF: u16 = 1 << 2;
    /// BLOCK_STATUS answers with one extent.
    pub const REQ_ONE: u16 = 1 << 3;
    /// WRITE_ZEROES fails rather than being as slow as a write.
    pub const FAST_ZERO: u16 = 1 << 4;
    /// Extended headers only: the length is that of a payload which follows.
    pub const PAYLOAD_LEN: u16 = 1 << 5;
}

/// Types of chunks in structured and extended replies.
pub mod chunk {
    /// Nothing; only ends a reply.
    pub const NONE: u16 = 0;
    /// Data at an offset.
    pub const OFFSET_DATA: u16 = 1;
    /// Zeros at an offset.
    pub const OFFSET_HOLE: u16 = 2;
    /// Extents of one metadata context.
    pub const BLOCK_STATUS: u16 = 5;
    /// The same with 64-bit fields.
    pub const BLOCK_STATUS_EXT: u16 = 6;
    /// The request failed.
    pub const ERROR: u16 = (1 << 15) + 1;
    /// The request failed at an offset.
    pub const ERROR_OFFSET: u16 = (1 << 15) + 2;
    /// Flag of the last chunk of a reply.
    pub const FLAG_DONE: u16 = 1 << 0;
}

/// The metadata context that tells holes and zeros from data.
pub const BASE_ALLOCATION: &str = "base:allocation";
/// In [`BASE_ALLOCATION`]: no space is allocated.
pub const STATE_HOLE: u32 = 1 << 0;
/// In [`BASE_ALLOCATION`]: reads as zeros.
pub const STATE_ZERO: u32 = 1 << 1;

/// Longest string that the protocol allows.
pub const STRING_BYTES_MAX: usize = 4096;

/// The error numbers that may stand in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Errno {
    /// Operation not permitted: a write to a read-only export.
    Perm = 1,
    /// Input/output error.
    Io = 5,
    /// Cannot allocate memory.
    NoMem = 12,
    /// Invalid argument: out of range, unknown command or flag.
    Inval = 22,
    /// No space left, or a write past the end.
    NoSpc = 28,
    /// Value too large.
    Overflow = 75,
    /// Only in answer to a fast zero that would not be fast.
    NotSup = 95,
    /// The server is going away.
    Shutdown = 108,
}

impl Errno {
    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self as u32
    }
}
