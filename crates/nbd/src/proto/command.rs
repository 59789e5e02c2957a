//! What a request asks for, or why it is refused: the rules that need no export to be decided.
//!
//! A refusal never ends the connection. Error numbers follow the protocol's recommendations: past the
//! end is ENOSPC for what would store something and EINVAL otherwise; a change of a read-only export
//! is EPERM; unknown commands and flags are EINVAL. Alignment is never demanded: smaller requests than
//! the advertised minimum are served.

use super::info::{Dialect, ExportInfo};
use super::request::{Body, Request};
use super::wire::{Errno, command, command_flag as flag};
use bytes::Bytes;

/// A request that may be carried out: in range, with flags that it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send a range's bytes.
    Read {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
        /// Whether the answer must be one piece.
        whole: bool,
    },
    /// Store a payload.
    Write {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
        /// The payload, piece after piece.
        data: Vec<Bytes>,
        /// Whether it must be durable before the reply.
        fua: bool,
    },
    /// Finish and close.
    Disconnect,
    /// Make durable what was acknowledged.
    Flush,
    /// Forget a range's content.
    Trim {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Whether it must be durable before the reply.
        fua: bool,
    },
    /// Get ready for reads of a range.
    Cache {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Make a range read as zeros.
    Zero {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Whether its space may be given back.
        may_punch: bool,
        /// Whether it must be durable before the reply.
        fua: bool,
    },
    /// Describe a range.
    BlockStatus {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Whether the answer is one extent.
        one: bool,
    },
}

/// A refused request: the error number and a text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number in the reply.
    pub errno: Errno,
    /// The text in a chunked reply.
    pub message: &'static str,
}

const fn refusal(errno: Errno, message: &'static str) -> Refusal {
    Refusal { errno, message }
}

/// What requests are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    dialect: Dialect,
    size_bytes: u64,
    read_only: bool,
    fast_zero: bool,
    contexts_selected: bool,
    payload_max: u32,
}

impl Rules {
    /// Rules of a connection to an export.
    pub fn new(info: &ExportInfo, dialect: Dialect, contexts_selected: bool, payload_max: u32) -> Rules {
        Rules {
            dialect,
            size_bytes: info.size_bytes,
            read_only: info.read_only,
            fast_zero: info.fast_zero,
            contexts_selected,
            payload_max,
        }
    }

    /// Decides what `request` asks for.
    pub fn check(&self, request: Request) -> Result<Command, Refusal> {
        let Request {
            flags,
            command,
            offset,
            length: len,
            body,
            ..
        } = request;
        let allowed = flag::FUA
            | match command {
                command::READ if self.dialect != Dialect::Simple => flag::DF,
                command::WRITE if self.dialect == Dialect::Extended => flag::PAYLOAD_LEN,
                command::WRITE_ZEROES if self.fast_zero => flag::NO_HOLE | flag::FAST_ZERO,
                command::WRITE_ZEROES => flag::NO_HOLE,
                command::BLOCK_STATUS => flag::REQ_ONE,
                // Leaving is never refused.
                command::DISC => u16::MAX,
                _ => 0,
            };
        let fua = flags & flag::FUA != 0;
        if command > command::BLOCK_STATUS {
            return Err(refusal(Errno::Inval, "unknown command"));
        }
        let changes = matches!(command, command::WRITE | command::WRITE_ZEROES | command::TRIM);
        if changes && self.read_only {
            return Err(refusal(Errno::Perm, "the export is read-only"));
        }
        if flags & !allowed != 0 {
            return Err(refusal(Errno::Inval, "a flag that this command cannot have"));
        }
        match command {
            command::DISC => return Ok(Command::Disconnect),
            command::FLUSH => return Ok(Command::Flush),
            _ => {}
        }
        if offset.checked_add(len).is_none_or(|end| end > self.size_bytes) {
            let stores = matches!(command, command::WRITE | command::WRITE_ZEROES);
            let errno = if stores { Errno::NoSpc } else { Errno::Inval };
            return Err(refusal(errno, "the request reaches past the end of the export"));
        }
        match command {
            command::READ => {
                let too_long = match self.dialect {
                    Dialect::Simple => Errno::Inval,
                    Dialect::Structured | Dialect::Extended => Errno::Overflow,
                };
                let len = self.payload(len, too_long)?;
                Ok(Command::Read {
                    offset,
                    len,
                    whole: flags & flag::DF != 0,
                })
            }
            command::WRITE => {
                let len = self.payload(len, Errno::Inval)?;
                let Body::Data(data) = body else {
                    return Err(refusal(Errno::Inval, "a write without its payload"));
                };
                Ok(Command::Write {
                    offset,
                    len,
                    data,
                    fua,
                })
            }
            command::TRIM => Ok(Command::Trim { offset, len, fua }),
            command::CACHE => Ok(Command::Cache { offset, len }),
            command::WRITE_ZEROES => {
                let may_punch = flags & flag::NO_HOLE == 0;
                if flags & flag::FAST_ZERO != 0 && !may_punch {
                    // Allocating the space can be as slow as writing it.
                    return Err(refusal(Errno::NotSup, "zeroing without a hole may not be fast"));
                }
                Ok(Command::Zero {
                    offset,
                    len,
                    may_punch,
                    fua,
                })
            }
            command::BLOCK_STATUS if !self.contexts_selected => {
                Err(refusal(Errno::Inval, "no metadata context was negotiated"))
            }
            command::BLOCK_STATUS if len == 0 => Err(refusal(Errno::Inval, "an empty range has no status")),
            command::BLOCK_STATUS => Ok(Command::BlockStatus {
                offset,
                len,
                one: flags & flag::REQ_ONE != 0,
            }),
            _ => Err(refusal(Errno::Inval, "unknown command")),
        }
    }

    /// `len` as the length of a payload.
    fn payload(&self, len: u64, too_long: Errno) -> Result<u32, Refusal> {
        match u32::try_from(len) {
            Ok(len) if len <= self.payload_max => Ok(len),
            _ => Err(refusal(
                too_long,
                "the request is longer than the advertised maximum",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;

    fn check(info: ExportInfo, dialect: Dialect, request: Request) -> Result<Command, Errno> {
        Rules::new(&info, dialect, dialect != Dialect::Simple, 1 << 19)
            .check(request)
            .map_err(|no| no.errno)
    }

    fn request(command: u16, flags: u16, offset: u64, length: u64) -> Request {
        let body = if command == command::WRITE {
            Body::Data(vec![])
        } else {
            Body::None
        };
        Request {
            flags,
            command,
            cookie: 7,
            offset,
            length,
            body,
        }
    }

    fn writable() -> ExportInfo {
        ExportInfo {
            size_bytes: SIZE,
            trim: true,
            ..ExportInfo::default()
        }
    }

    fn structured(request: Request) -> Result<Command, Errno> {
        check(writable(), Dialect::Structured, request)
    }

    #[test]
    fn past_the_end_is_enospc_where_it_would_store_and_einval_elsewhere() {
        for (code, errno) in [
            (command::READ, Errno::Inval),
            (command::WRITE, Errno::NoSpc),
            (command::TRIM, Errno::Inval),
            (command::CACHE, Errno::Inval),
            (command::WRITE_ZEROES, Errno::NoSpc),
            (command::BLOCK_STATUS, Errno::Inval),
        ] {
            assert_eq!(
                structured(request(code, 0, SIZE - 4096, 4097)),
                Err(errno),
                "command {code}"
            );
            assert_eq!(
                structured(request(code, 0, u64::MAX, 4096)),
                Err(errno),
                "command {code} overflows"
            );
            assert!(
                structured(request(code, 0, SIZE - 4096, 4096)).is_ok(),
                "command {code} at the end"
            );
        }
    }

    #[test]
    fn a_read_only_export_refuses_every_change() {
        let info = ExportInfo {
            read_only: true,
            ..writable()
        };
        for code in [command::WRITE, command::TRIM, command::WRITE_ZEROES] {
            assert_eq!(
                check(info.clone(), Dialect::Simple, request(code, 0, 0, 512)),
                Err(Errno::Perm)
            );
        }
        assert_eq!(
            check(info, Dialect::Simple, request(command::FLUSH, 0, 0, 0)),
            Ok(Command::Flush)
        );
    }

    #[test]
    fn fua_is_accepted_everywhere_and_other_flags_only_where_they_belong() {
        for code in command::READ..=command::BLOCK_STATUS {
            assert!(
                structured(request(code, flag::FUA, 0, 512)).is_ok(),
                "command {code}"
            );
        }
        for (code, flags) in [
            (command::READ, flag::NO_HOLE),
            (command::READ, flag::REQ_ONE),
            (command::WRITE, flag::DF),
            (command::WRITE, flag::PAYLOAD_LEN),
            (command::FLUSH, flag::DF),
            (command::TRIM, flag::NO_HOLE),
            (command::WRITE_ZEROES, flag::FAST_ZERO),
            (command::BLOCK_STATUS, flag::DF),
            (command::CACHE, 1 << 9),
        ] {
            assert_eq!(
                structured(request(code, flags, 0, 512)),
                Err(Errno::Inval),
                "command {code} {flags:#x}"
            );
        }
        assert_eq!(
            check(
                writable(),
                Dialect::Simple,
                request(command::READ, flag::DF, 0, 512)
            ),
            Err(Errno::Inval)
        );
    }

    #[test]
    fn fast_zero_only_where_advertised_and_never_with_allocation() {
        let fast = ExportInfo {
            fast_zero: true,
            ..writable()
        };
        let zero = |flags| {
            check(
                fast.clone(),
                Dialect::Structured,
                request(command::WRITE_ZEROES, flags, 0, 512),
            )
        };
        assert_eq!(
            zero(flag::FAST_ZERO),
            Ok(Command::Zero {
                offset: 0,
                len: 512,
                may_punch: true,
                fua: false
            })
        );
        assert_eq!(zero(flag::FAST_ZERO | flag::NO_HOLE), Err(Errno::NotSup));
        assert_eq!(
            zero(flag::NO_HOLE),
            Ok(Command::Zero {
                offset: 0,
                len: 512,
                may_punch: false,
                fua: false
            })
        );
    }

    #[test]
    fn longer_than_the_advertised_maximum() {
        let read = request(command::READ, 0, 0, 1 << 20);
        assert_eq!(
            check(writable(), Dialect::Simple, read.clone()),
            Err(Errno::Inval)
        );
        assert_eq!(check(writable(), Dialect::Structured, read), Err(Errno::Overflow));
        assert_eq!(
            structured(request(command::WRITE, 0, 0, 1 << 20)),
            Err(Errno::Inval)
        );
        assert!(
            structured(request(command::WRITE_ZEROES, 0, 0, 1 << 20)).is_ok(),
            "no payload, no limit"
        );
    }

    #[test]
    fn payloads_belong_to_writes() {
        let skipped = Request {
            body: Body::Skipped,
            ..request(command::WRITE, 0, 0, 512)
        };
        assert_eq!(check(writable(), Dialect::Extended, skipped), Err(Errno::Inval));
        assert!(
            check(
                writable(),
                Dialect::Extended,
                request(command::WRITE, flag::PAYLOAD_LEN, 0, 512)
            )
            .is_ok()
        );
        assert_eq!(
            check(
                writable(),
                Dialect::Extended,
                request(command::READ, flag::PAYLOAD_LEN, 0, 512)
            ),
            Err(Errno::Inval)
        );
    }

    #[test]
    fn status_needs_a_context_and_a_range() {
        let status = request(command::BLOCK_STATUS, 0, 0, 512);
        assert_eq!(check(writable(), Dialect::Simple, status), Err(Errno::Inval));
        assert_eq!(
            structured(request(command::BLOCK_STATUS, 0, 0, 0)),
            Err(Errno::Inval)
        );
    }

    #[test]
    fn unknown_commands_are_refused_and_leaving_never_is() {
        assert_eq!(structured(request(8, 0, 0, 0)), Err(Errno::Inval));
        assert_eq!(structured(request(u16::MAX, 0, 0, 0)), Err(Errno::Inval));
        assert_eq!(
            structured(request(command::DISC, u16::MAX, 1, 1)),
            Ok(Command::Disconnect)
        );
    }
}
