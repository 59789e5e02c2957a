//! The smallest NBD client that can tell whether bytes are where they belong.

use crate::world::World;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// A connection to one export.
pub struct Guest {
    stream: UnixStream,
}

impl Guest {
    /// Connects to the export of that name; `None`: the server has none.
    pub fn connect(world: &World, export: &str) -> Option<Guest> {
        Self::negotiate(world, "nbd.sock", export).expect("the server negotiates")
    }

    /// As [`Guest::connect`], in the second region.
    pub fn connect_far(world: &World, export: &str) -> Option<Guest> {
        Self::negotiate(world, "far-nbd.sock", export).expect("the server negotiates")
    }

    fn negotiate(world: &World, socket: &str, export: &str) -> io::Result<Option<Guest>> {
        let mut stream = UnixStream::connect(world.dir.path().join(socket))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting)?;
        stream.write_all(&3_u32.to_be_bytes())?;
        let mut go = OPTION_MAGIC.to_be_bytes().to_vec();
        go.extend(7_u32.to_be_bytes());
        go.extend((export.len() as u32 + 6).to_be_bytes());
        go.extend((export.len() as u32).to_be_bytes());
        go.extend(export.as_bytes());
        go.extend(0_u16.to_be_bytes());
        stream.write_all(&go)?;
        loop {
            let mut head = [0; 20];
            stream.read_exact(&mut head)?;
            assert_eq!(head[..8], REPLY_MAGIC.to_be_bytes());
            let kind = u32::from_be_bytes(head[12..16].try_into().expect("four bytes"));
            let len = u32::from_be_bytes(head[16..].try_into().expect("four bytes"));
            stream.read_exact(&mut vec![0; len as usize])?;
            match kind {
                1 => return Ok(Some(Guest { stream })),
                3 => {}
                _ => return Ok(None),
            }
        }
    }

    fn request(&mut self, kind: u16, offset: u64, len: usize, data: &[u8]) -> io::Result<()> {
        let mut request = REQUEST_MAGIC.to_be_bytes().to_vec();
        request.extend(0_u16.to_be_bytes());
        request.extend(kind.to_be_bytes());
        request.extend(7_u64.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend((len as u32).to_be_bytes());
        request.extend(data);
        self.stream.write_all(&request)?;
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply)?;
        assert_eq!(reply[..4], SIMPLE_REPLY_MAGIC.to_be_bytes());
        match u32::from_be_bytes(reply[4..8].try_into().expect("four bytes")) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno as i32)),
        }
    }

    /// Reads; an error when the connection is gone.
    pub fn try_read(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.request(0, offset, len, &[])?;
        let mut data = vec![0; len];
        self.stream.read_exact(&mut data)?;
        Ok(data)
    }

    pub fn read(&mut self, offset: u64, len: usize) -> Vec<u8> {
        self.try_read(offset, len).expect("reads")
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        self.request(1, offset, data.len(), data).expect("writes");
    }

    pub fn flush(&mut self) {
        self.request(3, 0, 0, &[]).expect("flushes");
    }
}
