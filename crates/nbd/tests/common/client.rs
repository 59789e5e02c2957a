//! A small client for what real ones never send.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tidemark_nbd::proto::wire::{self, handshake_flag, option};

/// A connection. Whatever it waits for for long fails the test.
pub struct Client {
    pub stream: UnixStream,
}

/// A reply in the simple dialect, or the last chunk of one in the structured one.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub cookie: u64,
    pub errno: u32,
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(socket: &Path) -> Client {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut client = Client { stream };
        assert_eq!(client.take(18), *b"NBDMAGICIHAVEOPT\0\x03");
        client
    }

    /// Connects and picks an export by EXPORT_NAME: simple replies.
    pub fn simple(socket: &Path, export: &str) -> Client {
        let mut client = Client::connect(socket);
        client.flags(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        client.option(option::EXPORT_NAME, export.as_bytes());
        client.take(10);
        client
    }

    /// Connects with structured replies and GO.
    pub fn structured(socket: &Path, export: &str) -> Client {
        let mut client = Client::connect(socket);
        client.flags(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        client.option(option::STRUCTURED_REPLY, &[]);
        client.option_reply();
        let name = [&(export.len() as u32).to_be_bytes(), export.as_bytes(), &[0, 0]].concat();
        client.option(option::GO, &name);
        while client.option_reply().0 != wire::option_reply::ACK {}
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn flags(&mut self, flags: u16) {
        self.send(&u32::from(flags).to_be_bytes());
    }

    pub fn option(&mut self, code: u32, data: &[u8]) {
        let len = data.len() as u32;
        self.send(
            &[
                &wire::MAGIC_OPTION.to_be_bytes()[..],
                &code.to_be_bytes(),
                &len.to_be_bytes(),
                data,
            ]
            .concat(),
        );
    }

    /// Type and data of the next reply to an option.
    pub fn option_reply(&mut self) -> (u32, Vec<u8>) {
        assert_eq!(self.u64(), wire::MAGIC_OPTION_REPLY);
        self.u32();
        let (kind, len) = (self.u32(), self.u32());
        (kind, self.take(len as usize))
    }

    pub fn request(&mut self, command: u16, flags: u16, cookie: u64, offset: u64, len: u32) {
        self.send(&request(command, flags, cookie, offset, len));
    }

    pub fn write(&mut self, cookie: u64, offset: u64, data: &[u8]) {
        let header = request(wire::command::WRITE, 0, cookie, offset, data.len() as u32);
        self.send(&[&header, data].concat());
    }

    /// The next simple reply; the data of a read is for the caller to take.
    pub fn reply(&mut self) -> Reply {
        assert_eq!(self.u32(), wire::MAGIC_REPLY_SIMPLE);
        let errno = self.u32();
        Reply {
            cookie: self.u64(),
            errno,
        }
    }

    /// The next chunk of a structured reply: its type and payload.
    pub fn chunk(&mut self, cookie: u64) -> (u16, Vec<u8>) {
        assert_eq!(self.u32(), wire::MAGIC_REPLY_STRUCTURED);
        let header = self.take(4);
        assert_eq!(self.u64(), cookie);
        let len = self.u32() as usize;
        (u16::from_be_bytes([header[2], header[3]]), self.take(len))
    }

    /// The range's bytes, read in the simple dialect.
    pub fn read(&mut self, offset: u64, len: u32) -> Vec<u8> {
        self.request(wire::command::READ, 0, 77, offset, len);
        assert_eq!(self.reply(), Reply { cookie: 77, errno: 0 });
        self.take(len as usize)
    }

    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    /// Fails unless the server closes the connection and has nothing more to say.
    pub fn expect_close(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "the server said {rest:?} before it closed"),
            // What we sent last may not have been read.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

/// A compact request's header.
pub fn request(command: u16, flags: u16, cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    [
        &wire::MAGIC_REQUEST.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &command.to_be_bytes(),
        &cookie.to_be_bytes(),
        &offset.to_be_bytes(),
        &len.to_be_bytes(),
    ]
    .concat()
}
