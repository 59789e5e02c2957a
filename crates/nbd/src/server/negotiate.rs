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
        let step = handshake.step(&mut out);
        let step = match step {
            Ok(Step::ListExports) => {
                handshake.exports(directory.list().await, &mut out);
                continue;
            }
            Ok(Step::LookUp { name }) => match handshake.export(directory.look_up(&name).await, &mut out) {
                Ok(()) => continue,
                Err(broken) => Err(broken),
            },
            other => other,
        };
        // Also before an error: it may have left a reply that tells the client why.
        let sent = timeout_at(deadline(), stream.write_all_buf(&mut out)).await;
        let step = step?;
        match (step, sent) {
            // The client need not wait for the answer to its good-bye.
            (Step::Aborted, _) => return Err(NegotiateError::Aborted),
            (_, Err(_)) => return Err(NegotiateError::TimedOut),
            (_, Ok(Err(error))) => return Err(closed(error)),
            (Step::Finished(negotiated), _) => return Ok(*negotiated),
            (Step::Receive | Step::ListExports | Step::LookUp { .. }, _) => {}
        }
        let count = match timeout_at(deadline(), stream.read(&mut received)).await {
            Err(_) => return Err(NegotiateError::TimedOut),
            Ok(Err(error)) => return Err(closed(error)),
            Ok(Ok(0)) => return Err(NegotiateError::Closed),
            Ok(Ok(count)) => count,
        };
        handshake.receive(&received[..count]);
    }
}

fn closed(error: io::Error) -> NegotiateError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => NegotiateError::Closed,
        _ => NegotiateError::Io(error),
    }
}
