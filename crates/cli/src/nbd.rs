//! A small NBD client over a unix socket: one request at a time.
//!
//! Enough for the tour, which must work where no NBD tool is installed, and for images from files and to files. Data moves with
//! simple replies; where data is ([`Map`]) is asked on a connection of its own, because that question needs structured
//! ones. Any surprise from the server is an error that says what was expected.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use tidemark_nbd::proto::wire::{
    BASE_ALLOCATION, MAGIC_INIT, MAGIC_OPTION, MAGIC_OPTION_REPLY, MAGIC_REPLY_SIMPLE,
    MAGIC_REPLY_STRUCTURED, MAGIC_REQUEST, STATE_ZERO, chunk, command, handshake_flag, info, option,
    option_reply,
};

/// Bytes of one request at most.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Longest reply to an option that makes sense: facts and messages are short.
const OPTION_REPLY_BYTES_MAX: u32 = 64 << 10;
/// Longest range that is asked about at once, and longest answer to that: an extent takes 8 bytes.
const MAP_BYTES_MAX: u64 = 1 << 30;
const MAP_REPLY_BYTES_MAX: u32 = 16 << 20;

/// A connection to one export.
pub struct Connection {
    stream: UnixStream,
    size_bytes: u64,
    cookie: u64,
}

impl Connection {
    /// Connects and picks the export.
    pub fn open(socket: &Path, export: &str) -> Result<Self> {
        let mut connection = Self::greeted(socket)?;
        connection
            .go(export)
            .with_context(|| format!("NBD export {export}"))?;
        Ok(connection)
    }

    /// Size of the export.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Connected, and ready for options.
    fn greeted(socket: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
        let mut connection = Self {
            stream,
            size_bytes: 0,
            cookie: 0,
        };
        if connection.u64()? != MAGIC_INIT || connection.u64()? != MAGIC_OPTION {
            bail!("the server does not speak newstyle NBD");
        }
        let server = connection.u16()?;
        let wanted = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        if server & wanted != wanted {
            bail!("the server's handshake is too old (flags {server:#x})");
        }
        connection.stream.write_all(&u32::from(wanted).to_be_bytes())?;
        Ok(connection)
    }

    /// Sends an option and hands its replies, each a kind and data, to `each`, up to the one that says that it is accepted.
    fn option(&mut self, code: u32, data: &[u8], mut each: impl FnMut(u32, &[u8])) -> Result<()> {
        let mut message = Vec::with_capacity(16 + data.len());
        message.extend(MAGIC_OPTION.to_be_bytes());
        message.extend(code.to_be_bytes());
        message.extend((data.len() as u32).to_be_bytes());
        message.extend(data);
        self.stream.write_all(&message)?;
        loop {
            if self.u64()? != MAGIC_OPTION_REPLY || self.u32()? != code {
                bail!("not a reply to the option that was sent");
            }
            let (kind, length) = (self.u32()?, self.u32()?);
            if length > OPTION_REPLY_BYTES_MAX {
                bail!("a reply of {length} bytes to an option");
            }
            let mut data = vec![0; length as usize];
            self.stream.read_exact(&mut data)?;
            match kind {
                option_reply::ACK => return Ok(()),
                refused if refused >> 31 == 1 => {
                    bail!("refused ({refused:#x}): {}", String::from_utf8_lossy(&data))
                }
                kind => each(kind, &data),
            }
        }
    }

    fn go(&mut self, export: &str) -> Result<()> {
        let mut go = with_length(export);
        go.extend(0u16.to_be_bytes());
        let mut size_bytes = 0;
        self.option(option::GO, &go, |kind, data| {
            if kind == option_reply::INFO
                && let Some((fact, rest)) = data.split_first_chunk::<2>()
                && u16::from_be_bytes(*fact) == info::EXPORT
                && let Some((size, _)) = rest.split_first_chunk::<8>()
            {
                size_bytes = u64::from_be_bytes(*size);
            }
        })?;
        if size_bytes == 0 {
            bail!("the server did not tell the export's size");
        }
        self.size_bytes = size_bytes;
        Ok(())
    }

    /// Fills `buffer` from `offset`.
    pub fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        for (at, part) in buffer.chunks_mut(REQUEST_BYTES_MAX).enumerate() {
            let offset = offset + (at * REQUEST_BYTES_MAX) as u64;
            self.request(command::READ, offset, part.len() as u32, &[])
                .and_then(|()| Ok(self.stream.read_exact(part)?))
                .with_context(|| format!("reading {} bytes at {offset}", part.len()))?;
        }
        Ok(())
    }

    /// Writes `data` at `offset`; it is durable after the next [`Connection::flush`].
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        for (at, part) in data.chunks(REQUEST_BYTES_MAX).enumerate() {
            let offset = offset + (at * REQUEST_BYTES_MAX) as u64;
            self.request(command::WRITE, offset, part.len() as u32, part)
                .with_context(|| format!("writing {} bytes at {offset}", part.len()))?;
        }
        Ok(())
    }

    /// Makes all completed writes durable.
    pub fn flush(&mut self) -> Result<()> {
        self.request(command::FLUSH, 0, 0, &[]).context("flushing")
    }

    /// Sends a request with its payload and reads the header of its simple reply.
    fn request(&mut self, kind: u16, offset: u64, length: u32, payload: &[u8]) -> Result<()> {
        self.send(kind, offset, length, payload)?;
        let (magic, error, cookie) = (self.u32()?, self.u32()?, self.u64()?);
        if magic != MAGIC_REPLY_SIMPLE || cookie != self.cookie {
            bail!("not a reply to the request that was sent");
        }
        if error != 0 {
            bail!("the server answered error {error}");
        }
        Ok(())
    }

    fn send(&mut self, kind: u16, offset: u64, length: u32, payload: &[u8]) -> Result<()> {
        self.cookie += 1;
        let mut header = Vec::with_capacity(28 + payload.len());
        header.extend(MAGIC_REQUEST.to_be_bytes());
        header.extend(0u16.to_be_bytes());
        header.extend(kind.to_be_bytes());
        header.extend(self.cookie.to_be_bytes());
        header.extend(offset.to_be_bytes());
        header.extend(length.to_be_bytes());
        header.extend(payload);
        self.stream.write_all(&header)?;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream
            .read_exact(&mut bytes)
            .context("the server closed the connection")?;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.bytes()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.bytes()?))
    }
}

/// A string with its length before it, as options carry names.
fn with_length(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A stretch of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its bytes.
    pub length: u64,
    /// Whether it is known to read as zeros.
    pub zero: bool,
}

/// Where an export has data, and where it is known to be zeros.
pub struct Map(Connection);

impl Map {
    /// Connects and picks the export.
    pub fn open(socket: &Path, export: &str) -> Result<Self> {
        let mut connection = Connection::greeted(socket)?;
        connection
            .map_of(export)
            .with_context(|| format!("map of the NBD export {export}"))?;
        Ok(Self(connection))
    }

    /// What is known of the range from `offset` on, which lies in the export: at least one extent, and none past its end.
    pub fn extents(&mut self, offset: u64, length: u64) -> Result<Vec<Extent>> {
        let asked = length.min(MAP_BYTES_MAX);
        let found = self
            .0
            .block_status(offset, asked as u32)
            .with_context(|| format!("asking where data is in {asked} bytes at {offset}"))?;
        let mut left = asked;
        let mut extents = Vec::with_capacity(found.len());
        for extent in found {
            // The last one may say more than it was asked.
            let length = extent.length.min(left);
            if length > 0 {
                extents.push(Extent { length, ..extent });
            }
            left -= length;
        }
        if extents.is_empty() {
            bail!("the server knows nothing of {asked} bytes at {offset}");
        }
        Ok(extents)
    }
}

impl Connection {
    fn map_of(&mut self, export: &str) -> Result<()> {
        self.option(option::STRUCTURED_REPLY, &[], |_, _| ())?;
        let mut query = with_length(export);
        query.extend(1u32.to_be_bytes());
        query.extend(with_length(BASE_ALLOCATION));
        let mut selected = 0;
        self.option(option::SET_META_CONTEXT, &query, |kind, _| {
            selected += u32::from(kind == option_reply::META_CONTEXT);
        })?;
        if selected != 1 {
            bail!("the server does not tell where data is");
        }
        self.go(export)
    }

    /// One structured reply to BLOCK_STATUS.
    fn block_status(&mut self, offset: u64, length: u32) -> Result<Vec<Extent>> {
        self.send(command::BLOCK_STATUS, offset, length, &[])?;
        let mut extents = Vec::new();
        loop {
            let (magic, flags, kind) = (self.u32()?, self.u16()?, self.u16()?);
            let (cookie, length) = (self.u64()?, self.u32()?);
            if magic != MAGIC_REPLY_STRUCTURED || cookie != self.cookie {
                bail!("not a reply to the request that was sent");
            }
            if length > MAP_REPLY_BYTES_MAX {
                bail!("a reply of {length} bytes");
            }
            let mut data = vec![0; length as usize];
            self.stream.read_exact(&mut data)?;
            match kind {
                chunk::NONE => {}
                chunk::BLOCK_STATUS => {
                    extents.extend(data.get(4..).unwrap_or_default().chunks_exact(8).map(extent))
                }
                chunk::ERROR | chunk::ERROR_OFFSET => {
                    let code = data.first_chunk().map_or(0, |code| u32::from_be_bytes(*code));
                    bail!("the server answered error {code}");
                }
                other => bail!("a chunk of an unknown kind, {other}"),
            }
            if flags & chunk::FLAG_DONE != 0 {
                return Ok(extents);
            }
        }
    }
}

/// An extent as on the wire: a length and what it is, four bytes each.
fn extent(bytes: &[u8]) -> Extent {
    let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
    Extent {
        length: u64::from(word(bytes)),
        zero: word(&bytes[4..]) & STATE_ZERO != 0,
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut bye = Vec::new();
        bye.extend(MAGIC_REQUEST.to_be_bytes());
        bye.extend(0u16.to_be_bytes());
        bye.extend(command::DISC.to_be_bytes());
        bye.extend([0; 20]);
        // Nobody is left to tell that the good-bye failed.
        let _ = self.stream.write_all(&bye);
    }
}
