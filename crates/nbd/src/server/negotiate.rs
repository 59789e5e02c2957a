//! The handshake over a socket, on tokio.
//!
//! A client that stops talking is closed after [`NegotiateLimits::idle`], one that never comes to an
//! end after [`NegotiateLimits::total`]: a half-open connection holds nothing for long.

use super::directory::Directory;
use crate::proto::{Handshake, HandshakeError, Negotiated, Step};
use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// How long a handshake may take.
#[derive(Clone, Copy, Debug)]
pub struct NegotiateLimits {
    /// Without a byte from or to the client.
    pub idle: Duration,
    /// As a whole.
    pub total: Duration,
}

impl Default for NegotiateLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30),
            total: Duration::from_secs(300),
        }
    }
}

/// Why a handshake came to no result. The socket is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum NegotiateError {
    /// The client ended the session, as one that only lists exports does.
    #[error("the client ended the session")]
    Aborted,
    /// The client closed the connection.
    #[error("the client closed the connection")]
    Closed,
    /// The client was silent, or did not come to an end.
    #[error("the handshake took too long")]
    TimedOut,
    /// The client broke the protocol.
    #[error(transparent)]
    Protocol(#[from] HandshakeError),
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
}

/// Brings a client from its first byte to an export. Reads may go past the handshake's end: the
/// result's `leftover` has those bytes.
pub async fn negotiate<S>(
    stream: &mut S,
    directory: &dyn Directory,
    limits: &NegotiateLimits,
) -> Result<Negotiated, NegotiateError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let end = Instant::now() + limits.total;
    let deadline = || end.min(Instant::now() + limits.idle);
    let mut out = BytesMut::new();
    let mut handshake = Handshake::new(&mut out);
    let mut received = [0; 4096];
    loop {
        let step = match handshake.step(&mut out) {
            Ok(Step::ListExports) => {
                handshake.exports(directory.list().await, &mut out);
                Ok(None)
            }
            Ok(Step::LookUp { name }) => handshake
                .export(directory.look_up(&name).await, &mut out)
                .map(|()| None),
            Ok(step) => Ok(Some(step)),
            Err(broken) => Err(broken),
        };
        // Sent before the next option is looked at, however many have arrived: replies can be much
        // longer than options. Also sent before an error: the reply may tell the client why.
        let sent = timeout_at(deadline(), stream.write_all_buf(&mut out)).await;
        let step = step?;
        // The client need not wait for the answer to its good-bye.
        if step == Some(Step::Aborted) {
            return Err(NegotiateError::Aborted);
        }
        sent.map_err(|_| NegotiateError::TimedOut)?.map_err(closed)?;
        match step {
            Some(Step::Finished(negotiated)) => return Ok(*negotiated),
            None => continue,
            Some(_) => {}
        }
        let read = timeout_at(deadline(), stream.read(&mut received)).await;
        match read.map_err(|_| NegotiateError::TimedOut)?.map_err(closed)? {
            0 => return Err(NegotiateError::Closed),
            count => handshake.receive(&received[..count]),
        }
    }
}

fn closed(error: io::Error) -> NegotiateError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => NegotiateError::Closed,
        _ => NegotiateError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::{MAGIC_OPTION, option};
    use crate::proto::{ExportEntry, ExportInfo, LookUpError};
    use crate::server::SendFuture;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Many exports, and how often somebody asked for them.
    #[derive(Default)]
    struct Crowd {
        listed: AtomicU32,
    }

    impl Directory for Crowd {
        fn list(&self) -> SendFuture<'_, Result<Vec<ExportEntry>, LookUpError>> {
            self.listed.fetch_add(1, Ordering::SeqCst);
            let entry = |n| ExportEntry {
                name: format!("d-{n}"),
                description: String::new(),
            };
            Box::pin(std::future::ready(Ok((0..1000).map(entry).collect())))
        }

        fn look_up<'a>(&'a self, _: &'a str) -> SendFuture<'a, Result<ExportInfo, LookUpError>> {
            Box::pin(std::future::ready(Err(LookUpError::Unknown)))
        }
    }

    #[tokio::test]
    async fn a_flood_of_lists_is_answered_one_by_one() {
        let directory = Crowd::default();
        let list = [
            &MAGIC_OPTION.to_be_bytes()[..],
            &option::LIST.to_be_bytes(),
            &[0; 4],
        ]
        .concat();
        let (mut client, mut server) = tokio::io::duplex(16 << 10);
        client
            .write_all(&[&[0, 0, 0, 3], &list.repeat(500)[..]].concat())
            .await
            .unwrap();
        let limits = NegotiateLimits {
            idle: Duration::from_millis(50),
            ..NegotiateLimits::default()
        };
        // The client reads nothing.
        let end = negotiate(&mut server, &directory, &limits).await;
        assert!(matches!(end, Err(NegotiateError::TimedOut)), "{end:?}");
        assert_eq!(directory.listed.load(Ordering::SeqCst), 1);
    }
}
