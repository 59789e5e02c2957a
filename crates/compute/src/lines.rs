//! Lines from a stream, bounded, without losing what came when the waiting is cut short.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What has come and was not taken yet.
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Up to here it was taken.
    taken: usize,
    /// Up to here there is no end of a line.
    searched: usize,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(reader: R, bytes_max: usize) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            bytes_max,
        }
    }

    /// The next line without its end; none when the stream has ended. May be dropped while it waits.
    ///
    /// # Errors
    /// The stream's own, and `InvalidData` for a line that is too long.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(found) = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let end = self.searched + found;
                let mut line = self.buffer[self.taken..end].to_vec();
                (self.taken, self.searched) = (end + 1, end + 1);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            // Once for all lines of one read: whoever sends many short ones must not have all the rest moved for each.
            self.buffer.drain(..self.taken);
            (self.taken, self.searched) = (0, self.buffer.len());
            if self.buffer.len() > self.bytes_max {
                let text = format!("a line of more than {} bytes", self.bytes_max);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut lines = Lines::new(near, 1000);
        far.write_all(b"on").await.unwrap();
        // Given up while half of it is there.
        assert!(
            tokio::time::timeout(Duration::from_millis(20), lines.next())
                .await
                .is_err()
        );
        far.write_all(b"e\r\ntwo\nthr").await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap(), b"one");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"two");
        drop(far);
        assert_eq!(lines.next().await.unwrap(), None, "an unfinished line is none");
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let (mut far, near) = tokio::io::duplex(64);
        tokio::spawn(async move { while far.write_all(&[b'x'; 64]).await.is_ok() {} });
        let error = Lines::new(near, 1000).next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
