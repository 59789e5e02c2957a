//! A small NBD client over a unix socket: one request at a time, simple replies.
//!
//! Enough for the tour, which must work where no NBD tool is installed. Any surprise from the server
//! is an error that says what was expected.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use tidemark_nbd::proto::wire::{
    MAGIC_INIT, MAGIC_OPTION, MAGIC_OPTION_REPLY, MAGIC_REPLY_SIMPLE, MAGIC_REQUEST, command, handshake_flag,
    info, option, option_reply,
};

/// Bytes of one request at most.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Longest reply to an option that makes sense: facts and messages are short.
const OPTION_REPLY_BYTES_MAX: u32 = 64 << 10;

/// A connection to one export.
pub struct Connection {
    stream: UnixStream,
    size_bytes: u64,
    cookie: u64,
}

impl Connection {
    /// Connects and picks the export.
    pub fn open(socket: &Path, export: &str) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
        let mut connection = Self {
            stream,
            size_bytes: 0,
            cookie: 0,
        };
        connection
            .handshake(export)
            .with_context(|| format!("NBD export {export}"))?;
        Ok(connection)
    }

    /// Size of the export.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn handshake(&mut self, export: &str) -> Result<()> {
        if self.u64()? != MAGIC_INIT || self.u64()? != MAGIC_OPTION {
            bail!("the server does not speak newstyle NBD");
        }
        let server = self.u16()?;
        let wanted = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        if server & wanted != wanted {
            bail!("the server's handshake is too old (flags {server:#x})");
        }
        let mut go = Vec::new();
        go.extend(u32::from(wanted).to_be_bytes());
        go.extend(MAGIC_OPTION.to_be_bytes());
        go.extend(option::GO.to_be_bytes());
        go.extend((export.len() as u32 + 6).to_be_bytes());
        go.extend((export.len() as u32).to_be_bytes());
        go.extend(export.as_bytes());
        go.extend(0u16.to_be_bytes());
        self.stream.write_all(&go)?;
        loop {
            if self.u64()? != MAGIC_OPTION_REPLY || self.u32()? != option::GO {
                bail!("not a reply to the option that was sent");
            }
            let (kind, length) = (self.u32()?, self.u32()?);
            if length > OPTION_REPLY_BYTES_MAX {
                bail!("a reply of {length} bytes to an option");
            }
            let mut data = vec![0; length as usize];
            self.stream.read_exact(&mut data)?;
            match kind {
                option_reply::ACK if self.size_bytes > 0 => return Ok(()),
                option_reply::ACK => bail!("the server did not tell the export's size"),
                option_reply::INFO => {
                    if let Some((fact, rest)) = data.split_first_chunk::<2>()
                        && u16::from_be_bytes(*fact) == info::EXPORT
                        && let Some((size, _)) = rest.split_first_chunk::<8>()
                    {
                        self.size_bytes = u64::from_be_bytes(*size);
                    }
                }
                refused => bail!("refused ({refused:#x}): {}", String::from_utf8_lossy(&data)),
            }
        }
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

    /// Sends a request with its payload and reads the header of its reply.
    fn request(&mut self, kind: u16, offset: u64, length: u32, payload: &[u8]) -> Result<()> {
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
        let (magic, error, cookie) = (self.u32()?, self.u32()?, self.u64()?);
        if magic != MAGIC_REPLY_SIMPLE || cookie != self.cookie {
            bail!("not a reply to the request that was sent");
        }
        if error != 0 {
            bail!("the server answered error {error}");
        }
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
