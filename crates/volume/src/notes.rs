//! What mark records say: their payload, one block each.
//!
//! A note is the time, the snapshot's id and, when a mark is prepared, the group that decides about it. Written here and
//! nowhere else; docs/format.md has the bytes. Not here: what a note does to the volume (`volume::Core::apply`).

use crate::codec::{Reader, Writer};
use crate::error::{Result, VolumeError};
use crate::log::layout::{BLOCK, RecordKind};
use bytes::Bytes;
use tidemark_units::SnapshotId;

/// Longest name of a group in bytes: with a snapshot's id it fits one block many times over.
pub const GROUP_BYTES_MAX: usize = 256;

/// The payload of a record that is about a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When it was written, in milliseconds since 1970-01-01 UTC.
    pub unix_millis: i64,
    /// The snapshot of the mark.
    pub snapshot: SnapshotId,
    /// The group that decides, for [`RecordKind::MarkPrepare`]; empty for the others.
    pub group: String,
}

impl Note {
    /// The payload: one block.
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::default();
        w.u64(self.unix_millis as u64);
        w.blob(self.snapshot.as_str().as_bytes());
        w.blob(self.group.as_bytes());
        w.bytes.resize(BLOCK, 0);
        w.bytes.into()
    }

    /// Reads the payload of a record of `kind`.
    pub fn decode(payload: &[u8], kind: RecordKind) -> Result<Self> {
        let mut r = Reader::new(payload, "mark record");
        let unix_millis = r.u64()? as i64;
        let snapshot =
            SnapshotId::new(r.text()?).map_err(|e| VolumeError::corrupt(format!("mark record: {e}")))?;
        // The others have zeros there, which is an empty name.
        let group = match kind {
            RecordKind::MarkPrepare => r.text()?,
            _ => String::new(),
        };
        Ok(Self {
            unix_millis,
            snapshot,
            group,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(group: &str) -> Note {
        Note {
            unix_millis: -1234,
            snapshot: SnapshotId::new("s-abc").unwrap(),
            group: group.into(),
        }
    }

    #[test]
    fn a_note_is_read_as_written() {
        assert_eq!(
            Note::decode(&note("").encode(), RecordKind::Mark).unwrap(),
            note("")
        );
        assert_eq!(
            Note::decode(&note("ssg-1").encode(), RecordKind::MarkPrepare).unwrap(),
            note("ssg-1")
        );
    }

    #[test]
    fn bytes_that_are_no_note_are_an_error() {
        for kind in [RecordKind::Mark, RecordKind::MarkPrepare, RecordKind::MarkAbort] {
            for hostile in [
                &[0xff; 20][..],
                &[0; BLOCK],
                &[],
                &[0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0],
            ] {
                assert!(Note::decode(hostile, kind).is_err(), "{kind:?} {hostile:?}");
            }
        }
    }
}
