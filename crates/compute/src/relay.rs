//! The program that QEMU starts for each connection of a guest to the metadata service.
//!
//! Its standard input and output are the guest's connection; what comes there goes to a unix socket, and back. It ends when the
//! service has said all it had to say, or when nothing has come from it for a while: a guest must not be able to collect such programs. How many
//! there are at once is for the service to bound: it closes a connection that is one too many, and this ends with it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Clients keep a connection for a request or two.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Connects standard input and output to a unix socket until the socket's end. The caller should then end the process: a thread may
/// still wait for input.
///
/// # Errors
/// Nobody listens there, or the service was silent for a minute.
pub async fn relay(socket: &Path) -> io::Result<()> {
    let service = UnixStream::connect(socket)?;
    service.set_read_timeout(Some(IDLE_LIMIT))?;
    service.set_write_timeout(Some(IDLE_LIMIT))?;
    let towards = service.try_clone()?;
    let moved = Arc::new(AtomicU64::new(0));
    let (up, down) = (Arc::clone(&moved), Arc::clone(&moved));
    // Threads, because standard input may be anything, and one that waits for it must not keep a runtime from ending.
    std::thread::spawn(move || {
        let _ = copy(&mut io::stdin().lock(), &mut &towards, &up);
        let _ = towards.shutdown(Shutdown::Write);
    });
    let (done, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = done.send(copy(&mut &service, &mut io::stdout().lock(), &down));
    });
    let mut ended = pin!(ended);
    let mut before = 0;
    loop {
        if let Ok(ended) = timeout(IDLE_LIMIT, ended.as_mut()).await {
            return ended.map_err(io::Error::other)?;
        }
        // A guest that takes nothing of what it asked for keeps a thread waiting, which no limit of a socket ends.
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return Err(io::ErrorKind::TimedOut.into());
        }
        before = now;
    }
}

/// Hands on what comes when it comes.
fn copy(from: &mut impl Read, to: &mut impl Write, moved: &AtomicU64) -> io::Result<()> {
    let mut piece = [0; 16 << 10];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&piece[..count])?;
                to.flush()?;
                moved.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
