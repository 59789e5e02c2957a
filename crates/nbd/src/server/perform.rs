//! Carries out one request and queues its reply.

use super::export::{Export, ExportError};
use super::outbox::{Batch, Permit};
use crate::proto::{Command, Dialect, Errno, MetaContext, ReplyTo, fit_extents};
use bytes::Buf;
use std::rc::Rc;
use tidemark_env::Piece;

/// Zeros in a read are looked for in pieces of this size; smaller reads are looked at as a whole.
const HOLE_BYTES: usize = 32 << 10;

/// What all requests of a connection share.
pub(super) struct Exported {
    pub(super) export: Rc<dyn Export>,
    pub(super) contexts: Vec<MetaContext>,
}

impl Exported {
    /// Runs `command` and replies. Never called for [`Command::Disconnect`], which has no reply.
    pub(super) async fn perform(self: Rc<Self>, command: Command, to: ReplyTo, permit: Permit) {
        let export = &*self.export;
        let done = match command {
            Command::Read { len: 0, .. }
            | Command::Write { len: 0, .. }
            | Command::Trim { len: 0, .. }
            | Command::Zero { len: 0, .. }
            | Command::Cache { len: 0, .. }
            | Command::Disconnect => Ok(()),
            Command::Read { offset, len, whole } => match export.read(offset, len).await {
                Ok(pieces) => return reply_read(permit, to, pieces, len, whole),
                Err(error) => Err(error),
            },
            Command::Write {
                offset, data, fua, ..
            } => export.write(offset, data, fua).await,
            Command::Flush => export.flush().await,
            Command::Trim { offset, len, fua } => export.trim(offset, len, fua).await,
            Command::Cache { offset, len } => export.cache(offset, len).await,
            Command::Zero {
                offset,
                len,
                may_punch,
                fua,
            } => export.zero(offset, len, may_punch, fua).await,
            Command::BlockStatus { offset, len, one } => {
                return self.block_status(offset, len, one, to, permit).await;
            }
        };
        permit.reply(|batch| match done {
            Ok(()) => to.done(&mut batch.headers),
            Err(error) => fail(batch, &to, &error),
        });
    }

    async fn block_status(&self, offset: u64, len: u64, one: bool, to: ReplyTo, permit: Permit) {
        let mut statuses = Vec::with_capacity(self.contexts.len());
        for context in &self.contexts {
            let found = self.export.block_status(offset, len, &context.name).await;
            let fitted = found.map(|extents| fit_extents(&extents, len, one));
            match fitted {
                Ok(extents) if !extents.is_empty() => statuses.push((context.id, extents)),
                Ok(_) => {
                    let error = ExportError::new(Errno::Io, "the export knows nothing of this range");
                    return permit.reply(|batch| fail(batch, &to, &error));
                }
                Err(error) => return permit.reply(|batch| fail(batch, &to, &error)),
            }
        }
        permit.reply(|batch| {
            let last = statuses.len();
            for ((id, extents), number) in statuses.iter().zip(1..) {
                to.block_status(&mut batch.headers, number == last, *id, extents);
            }
        });
    }
}

fn fail(batch: &mut Batch, to: &ReplyTo, error: &ExportError) {
    to.error(&mut batch.headers, error.errno, &error.message, error.at);
}

/// Replies to a read of `len` bytes with `pieces`; stretches of zeros are named, not sent, where the
/// dialect can do that and the client does not want one piece.
fn reply_read(permit: Permit, to: ReplyTo, pieces: Vec<Piece>, len: u32, whole: bool) {
    let found: usize = pieces.iter().map(Piece::len).sum();
    if found != len as usize {
        let error = ExportError::new(Errno::Io, format!("the export returned {found} bytes of {len}"));
        return permit.reply(|batch| fail(batch, &to, &error));
    }
    permit.reply(|batch| {
        if to.dialect == Dialect::Simple || whole {
            to.data(&mut batch.headers, true, to.offset, len);
            pieces.into_iter().for_each(|piece| batch.data(piece));
            return;
        }
        let runs = Run::cut(pieces);
        let last = runs.len();
        let mut at = to.offset;
        for (run, number) in runs.into_iter().zip(1..) {
            // Runs are parts of a request whose length has 32 bits.
            let run_len = run.len as u32;
            if run.zero {
                to.hole(&mut batch.headers, number == last, at, run_len);
            } else {
                to.data(&mut batch.headers, number == last, at, run_len);
                run.pieces.into_iter().for_each(|piece| batch.data(piece));
            }
            at += u64::from(run_len);
        }
    });
}

/// Neighbouring pieces that are all zeros, or that are not.
struct Run {
    zero: bool,
    len: usize,
    pieces: Vec<Piece>,
}

impl Run {
    /// What is lent is not looked at: that would be the copy that lending spares.
    fn cut(pieces: Vec<Piece>) -> Vec<Run> {
        if let [Piece::Bytes(only)] = &pieces[..]
            && only.len() <= HOLE_BYTES
        {
            return vec![Run {
                zero: is_zero(only),
                len: only.len(),
                pieces,
            }];
        }
        let mut runs: Vec<Run> = Vec::new();
        for piece in pieces {
            let mut bytes = match piece {
                Piece::Bytes(bytes) => bytes,
                lent => {
                    push(&mut runs, false, lent);
                    continue;
                }
            };
            while bytes.has_remaining() {
                // The longest start of the piece that is all alike.
                let zero = is_zero(&bytes[..bytes.len().min(HOLE_BYTES)]);
                let alike = bytes.chunks(HOLE_BYTES).take_while(|part| is_zero(part) == zero);
                let part = bytes.split_to(alike.map(<[u8]>::len).sum());
                push(&mut runs, zero, part.into());
            }
        }
        runs
    }
}

fn push(runs: &mut Vec<Run>, zero: bool, piece: Piece) {
    match runs.last_mut() {
        Some(last) if last.zero == zero => {
            last.len += piece.len();
            last.pieces.push(piece);
        }
        _ => runs.push(Run {
            zero,
            len: piece.len(),
            pieces: vec![piece],
        }),
    }
}

/// Whether all bytes are zero: the first one is, and each equals the one before.
fn is_zero(bytes: &[u8]) -> bool {
    match bytes {
        [first, rest @ ..] => *first == 0 && *rest == bytes[..rest.len()],
        [] => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn zeros_are_zeros() {
        assert!(is_zero(&[]) && is_zero(&[0]) && is_zero(&[0; 4097]));
        assert!(!is_zero(&[1]) && !is_zero(&[0, 1]) && !is_zero(&[1, 0]) && !is_zero(&[2, 2]));
    }

    proptest! {
        #[test]
        fn runs_are_the_pieces_again(lens in proptest::collection::vec((0usize..100_000, any::<bool>()), 0..6)) {
            let pieces: Vec<Bytes> =
                lens.iter().map(|&(len, data)| Bytes::from(vec![u8::from(data); len])).collect();
            let whole = pieces.concat();
            let runs = Run::cut(pieces.into_iter().map(Piece::from).collect());
            prop_assert!(runs.windows(2).all(|pair| pair[0].zero != pair[1].zero));
            let mut joined = Vec::new();
            for run in &runs {
                let bytes: Vec<Bytes> = run.pieces.iter().cloned().filter_map(Piece::into_bytes).collect();
                let bytes = bytes.concat();
                prop_assert_eq!(bytes.len(), run.len);
                prop_assert!(!run.zero || is_zero(&bytes));
                joined.extend(bytes);
            }
            prop_assert_eq!(joined, whole);
        }
    }
}
