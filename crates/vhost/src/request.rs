//! From a chain of descriptors to a request, believing nothing.
//!
//! [`Buffers::collect`] walks a chain once and copies its descriptors. The library's walker ends in silence at a chain that is malformed, and
//! begins only at the ring's next entry; requests that a death left in flight begin at a head that we name. What has no place for an answer is a
//! [`Broken`] ring. [`Buffers::request`] reads header and data, once, into memory of ours; what is wrong with them is a [`Refusal`], which
//! the guest sees as a status.
//!
//! The layout of a request (5.2.6): readable bytes are a header of 16 bytes and then data, writable bytes are data and then
//! one byte of status; how they are cut into descriptors means nothing.

use crate::config::{RANGE_SECTORS_MAX, RANGES_MAX, REQUEST_BYTES_MAX, SECTOR_BYTES};
use crate::memory::{Memory, Taken};
use bytes::Bytes;
use tidemark_env::Piece;
use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH,
    VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
    VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{
    Address, Bytes as _, GuestAddress, GuestMemory, GuestMemoryError, Permissions, WriteVolatile,
};

/// Descriptors of one chain that are looked at. A driver that keeps to the limits it was told needs an eighth of them.
const DESCRIPTORS_MAX: usize = 1024;
const DESCRIPTOR_BYTES: u32 = 16;
const HEADER_BYTES: usize = 16;
const RANGE_BYTES: usize = 16;

/// The status of a request that did what it should.
pub const OK: u8 = virtio_bindings::bindings::virtio_blk::VIRTIO_BLK_S_OK as u8;
/// The status of a request that failed, or should not have been made.
pub const IOERR: u8 = VIRTIO_BLK_S_IOERR as u8;
/// The status of a request that we know nothing of.
pub const UNSUPP: u8 = VIRTIO_BLK_S_UNSUPP as u8;

/// Why a ring cannot go on: there is a request that cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The descriptor table, or an indirect one, is not in the guest's memory.
    #[error("a descriptor is not in the guest's memory")]
    Unreadable,
    /// An index past the table's end.
    #[error("a chain goes on past the end of its table")]
    PastTheEnd,
    /// Longer than any request, or without an end.
    #[error("a chain has no end")]
    TooLong,
    /// An indirect table inside of one, of no whole number of entries, or with a successor.
    #[error("an indirect table breaks the rules")]
    Indirect,
    /// No writable byte for the status, or one that is not in the guest's memory.
    #[error("a request has no place for its status")]
    NoStatus,
    /// A head that is in flight, or that the ring does not have.
    #[error("a request is offered twice, or is none of the ring's")]
    Head,
    /// An index that is further from ours than the ring is long, or a ring that is not in memory any more.
    #[error("the ring itself is not valid")]
    Ring,
}

/// What a guest asked for and does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status that it sees.
    pub status: u8,
    /// Why, for people.
    pub why: &'static str,
}

fn refuse<T>(why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status: IOERR, why })
}

/// A range of a discard or of a write of zeros, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
    /// Whether its space may be given back.
    pub unmap: bool,
}

/// What a guest asks for; ranges are within the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Fill the writable data.
    Read { offset: u64, len: u32 },
    /// Store a copy of the readable data.
    Write { offset: u64, data: Bytes },
    /// Make everything durable that was answered before.
    Flush,
    /// Say so many bytes of the disk's name.
    GetId { len: u32 },
    /// Content that is no longer needed.
    Discard(Vec<Range>),
    /// Ranges that are to read as zeros.
    WriteZeroes(Vec<Range>),
    /// A read or a write of nothing.
    Nothing,
}

impl Request {
    /// Bytes that it holds until it is answered.
    pub fn bytes(&self) -> u64 {
        match self {
            Request::Read { len, .. } => u64::from(*len),
            Request::Write { data, .. } => data.len() as u64,
            _ => 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    at: GuestAddress,
    len: u32,
}

/// A chain's memory.
#[derive(Debug)]
pub struct Buffers {
    readable: Vec<Segment>,
    /// Without the status.
    writable: Vec<Segment>,
    status: GuestAddress,
    flaw: Option<&'static str>,
}

fn within(memory: &Memory, at: GuestAddress, len: u32, access: Permissions) -> bool {
    at.checked_add(u64::from(len)).is_some() && memory.check_range(at, len as usize, access)
}

fn total(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.len)).sum()
}

impl Buffers {
    /// Walks the chain that begins at `head` of a table of `size` descriptors at `table`.
    pub fn collect(memory: &Memory, table: GuestAddress, size: u16, head: u16) -> Result<Self, Broken> {
        let (mut table, mut size, mut index, mut indirect) = (table, u32::from(size), u32::from(head), false);
        let (mut readable, mut writable) = (Vec::new(), Vec::new());
        let mut flaw = None;
        for _ in 0..DESCRIPTORS_MAX {
            if index >= size {
                return Err(Broken::PastTheEnd);
            }
            let at = table.checked_add(u64::from(index * DESCRIPTOR_BYTES));
            let read = at.and_then(|at| memory.read_obj::<Descriptor>(at).ok());
            let descriptor = read.ok_or(Broken::Unreadable)?;
            if descriptor.refers_to_indirect_table() {
                let entries = descriptor.len() / DESCRIPTOR_BYTES;
                let whole = descriptor.len().is_multiple_of(DESCRIPTOR_BYTES) && entries > 0;
                if indirect || descriptor.has_next() || !whole {
                    return Err(Broken::Indirect);
                }
                // Indices have 16 bits: more entries cannot be reached.
                (table, size, index, indirect) = (descriptor.addr(), entries.min(1 << 16), 0, true);
                continue;
            }
            let segment = Segment {
                at: descriptor.addr(),
                len: descriptor.len(),
            };
            let (list, access): (&mut Vec<Segment>, _) = match descriptor.is_write_only() {
                true => (&mut writable, Permissions::Write),
                false => {
                    if !writable.is_empty() {
                        flaw = Some("readable bytes come after writable ones");
                    }
                    (&mut readable, Permissions::Read)
                }
            };
            if segment.len > 0 {
                if !within(memory, segment.at, segment.len, access) {
                    flaw = Some("a buffer is not in the guest's memory");
                }
                list.push(segment);
            }
            if !descriptor.has_next() {
                return Self::with_status(memory, readable, writable, flaw);
            }
            index = u32::from(descriptor.next());
        }
        Err(Broken::TooLong)
    }

    fn with_status(
        memory: &Memory,
        readable: Vec<Segment>,
        mut writable: Vec<Segment>,
        flaw: Option<&'static str>,
    ) -> Result<Self, Broken> {
        let last = writable.last_mut().ok_or(Broken::NoStatus)?;
        last.len -= 1;
        let status = last.at.checked_add(u64::from(last.len)).ok_or(Broken::NoStatus)?;
        if !within(memory, status, 1, Permissions::Write) {
            return Err(Broken::NoStatus);
        }
        Ok(Self {
            readable,
            writable,
            status,
            flaw,
        })
    }

    /// `len` readable bytes from `skip` on, copied to `out`. Callers have checked that there are so many.
    fn copy(
        &self,
        memory: &Memory,
        mut skip: u64,
        len: usize,
        out: &mut impl WriteVolatile,
    ) -> Result<(), Refusal> {
        let mut left = len;
        for segment in &self.readable {
            if skip >= u64::from(segment.len) {
                skip -= u64::from(segment.len);
                continue;
            }
            let part = left.min((u64::from(segment.len) - skip) as usize);
            let at = GuestAddress(segment.at.0 + skip);
            if memory.write_all_volatile_to(at, out, part).is_err() {
                return refuse("a buffer is not in the guest's memory");
            }
            left -= part;
            if left == 0 {
                return Ok(());
            }
            skip = 0;
        }
        match left {
            0 => Ok(()),
            _ => refuse("there are fewer bytes than the request needs"),
        }
    }

    /// All readable bytes after the header, `len` of them.
    fn data(&self, memory: &Memory, len: usize) -> Result<Vec<u8>, Refusal> {
        let mut data = Vec::with_capacity(len);
        self.copy(memory, HEADER_BYTES as u64, len, &mut data)?;
        Ok(data)
    }

    /// What is asked of a disk of `size_bytes`.
    pub fn request(&self, memory: &Memory, size_bytes: u64) -> Result<Request, Refusal> {
        if let Some(why) = self.flaw {
            return refuse(why);
        }
        let (readable, writable) = (total(&self.readable), total(&self.writable));
        let Some(sent) = readable.checked_sub(HEADER_BYTES as u64) else {
            return refuse("the header is too short");
        };
        let mut header = [0; HEADER_BYTES];
        self.copy(memory, 0, HEADER_BYTES, &mut &mut header[..])?;
        let kind = u32::from_le_bytes(header[..4].try_into().expect("4 bytes"));
        let sector = u64::from_le_bytes(header[8..].try_into().expect("8 bytes"));
        match kind {
            VIRTIO_BLK_T_IN => Ok(match transfer(sector, writable, size_bytes)? {
                (_, 0) => Request::Nothing,
                (offset, len) => Request::Read { offset, len },
            }),
            VIRTIO_BLK_T_OUT => Ok(match transfer(sector, sent, size_bytes)? {
                (_, 0) => Request::Nothing,
                (offset, len) => Request::Write {
                    offset,
                    data: self.data(memory, len as usize)?.into(),
                },
            }),
            VIRTIO_BLK_T_FLUSH => Ok(Request::Flush),
            VIRTIO_BLK_T_GET_ID => Ok(Request::GetId {
                len: writable.min(u64::from(VIRTIO_BLK_ID_BYTES)) as u32,
            }),
            VIRTIO_BLK_T_DISCARD => Ok(Request::Discard(self.ranges(memory, sent, size_bytes, 0)?)),
            VIRTIO_BLK_T_WRITE_ZEROES => {
                let ranges = self.ranges(memory, sent, size_bytes, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)?;
                Ok(Request::WriteZeroes(ranges))
            }
            _ => Err(Refusal {
                status: UNSUPP,
                why: "there is no such type of request",
            }),
        }
    }

    fn ranges(
        &self,
        memory: &Memory,
        sent: u64,
        size_bytes: u64,
        flags_known: u32,
    ) -> Result<Vec<Range>, Refusal> {
        let count = sent / RANGE_BYTES as u64;
        if !sent.is_multiple_of(RANGE_BYTES as u64) || count == 0 || count > u64::from(RANGES_MAX) {
            return refuse("the list of ranges has a length that is not offered");
        }
        let list = self.data(memory, sent as usize)?;
        let mut ranges = Vec::with_capacity(count as usize);
        for range in list.chunks_exact(RANGE_BYTES) {
            let sector = u64::from_le_bytes(range[..8].try_into().expect("8 bytes"));
            let sectors = u32::from_le_bytes(range[8..12].try_into().expect("4 bytes"));
            let flags = u32::from_le_bytes(range[12..].try_into().expect("4 bytes"));
            if flags & !flags_known != 0 {
                return Err(Refusal {
                    status: UNSUPP,
                    why: "a range has flags that are not offered",
                });
            }
            if sectors > RANGE_SECTORS_MAX {
                return refuse("a range is longer than is offered");
            }
            let len = u64::from(sectors) * SECTOR_BYTES;
            let offset = place(sector, len, size_bytes)?;
            if len > 0 {
                ranges.push(Range {
                    offset,
                    len,
                    unmap: flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0,
                });
            }
        }
        Ok(ranges)
    }

    /// Fills the writable data from its start with as much of `pieces` as there is room for; how many bytes that were.
    pub fn fill(&self, memory: &Memory, pieces: Vec<Piece>) -> Result<u32, Refusal> {
        let mut segments = self.writable.iter().copied();
        let mut room = Segment {
            at: GuestAddress(0),
            len: 0,
        };
        let mut done = 0;
        for mut piece in pieces {
            while !piece.is_empty() {
                if room.len == 0 {
                    match segments.next() {
                        Some(next) => room = next,
                        None => return Ok(done),
                    }
                    continue;
                }
                let part = move_front(memory, &mut piece, room.at, room.len as usize)?;
                room = Segment {
                    at: GuestAddress(room.at.0 + part as u64),
                    len: room.len - part as u32,
                };
                done += part as u32;
            }
        }
        Ok(done)
    }

    /// Which of the guest's bytes an answer may change, as (address, length), the status among them.
    #[cfg(feature = "fuzzing")]
    pub fn may_change(&self) -> impl Iterator<Item = (u64, u64)> {
        let writable = self.writable.iter().map(|s| (s.at.0, u64::from(s.len)));
        writable.chain([(self.status.0, 1)])
    }

    /// Writes the status.
    pub fn answer(&self, memory: &Memory, status: u8) -> Result<(), Broken> {
        memory
            .write_obj(status, self.status)
            .map_err(|_| Broken::NoStatus)
    }
}

/// Moves some of the front of `piece`, which is not empty, to the `room` bytes of the guest's memory at `to`: how many bytes, at least one.
fn move_front(memory: &Memory, piece: &mut Piece, to: GuestAddress, room: usize) -> Result<usize, Refusal> {
    let len = piece.len().min(room);
    let moved = match piece {
        Piece::Bytes(bytes) => memory.write_slice(&bytes.split_to(len), to).map(|()| len),
        Piece::Lent(lent) => memory.read_volatile_from(to, &mut Taken(lent), len),
    };
    match moved {
        Ok(0) => refuse("a buffer is not in the guest's memory"),
        Ok(moved) => Ok(moved),
        Err(GuestMemoryError::IOError(e)) => {
            tracing::error!(error = %e, "copying out of a disk's file into a guest's memory");
            refuse("the disk failed it")
        }
        Err(_) => refuse("a buffer is not in the guest's memory"),
    }
}

fn place(sector: u64, len: u64, size_bytes: u64) -> Result<u64, Refusal> {
    let offset = sector.checked_mul(SECTOR_BYTES);
    match offset.and_then(|offset| Some((offset, offset.checked_add(len)?))) {
        Some((offset, end)) if end <= size_bytes => Ok(offset),
        _ => refuse("it reaches past the end of the disk"),
    }
}

/// Where and how many bytes are moved.
fn transfer(sector: u64, len: u64, size_bytes: u64) -> Result<(u64, u32), Refusal> {
    if len > REQUEST_BYTES_MAX {
        return refuse("it moves more bytes than one request may");
    }
    if !len.is_multiple_of(SECTOR_BYTES) {
        return refuse("it moves part of a sector");
    }
    // Below the limit, which has 32 bits.
    Ok((place(sector, len, size_bytes)?, len as u32))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
