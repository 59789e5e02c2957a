//! `tidemark volume serve`: a volume over NBD in the foreground, until a signal or the volume's end.
//!
//! Two threads: this one owns the volume; another accepts clients and shakes hands with them on tokio,
//! then passes their sockets over. On SIGTERM or SIGINT the clients' requests under way are finished,
//! the volume is closed and the socket removed.

use super::directory::Only;
use anyhow::{Context, Result, bail};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tidemark_env::real::RealEnv;
use tidemark_nbd::proto::Negotiated;
use tidemark_nbd::server::{NegotiateLimits, ServeLimits, Stop, negotiate, serve};
use tidemark_node::VolumeExport;
use tidemark_volume::{Volume, VolumeConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What the accepting thread tells the volume's.
enum Event {
    /// A client that shook hands.
    Client(OwnedFd, Negotiated),
    /// The end; why, unless someone asked for it.
    End(Result<()>),
}

/// Serves the volume in `dir` on `socket` until told to stop.
pub async fn run(real: RealEnv, dir: PathBuf, socket: PathBuf, export: String) -> Result<()> {
    let volume = Volume::open(&real.env, &dir, None, &VolumeConfig::default()).await?;
    // Bound after the volume is ours: who owns it owns the socket.
    let result = async {
        let listener = bind(&socket)?;
        let result = serve_clients(&real, &volume, listener, export, &socket).await;
        let _ = std::fs::remove_file(&socket);
        result
    }
    .await;
    let closed = volume.close().await.context("closing the volume");
    result.and(closed)
}

async fn serve_clients(
    real: &RealEnv,
    volume: &Volume,
    listener: UnixListener,
    export: String,
    socket: &Path,
) -> Result<()> {
    let served = Rc::new(VolumeExport::new(&export, volume.clone()));
    let (events, mut inbox) = mpsc::unbounded_channel();
    let only = Arc::new(Only(served.info.clone()));
    let thread = std::thread::Builder::new().name("accept".into()).spawn(move || {
        let end = accept(listener, only, &events);
        // The volume's thread is gone only when it has ended for a reason of its own.
        let _ = events.send(Event::End(end));
    })?;
    crate::people::print(&format!(
        "ready: nbd+unix:///{export}?socket={}",
        socket.display()
    ))?;

    let stop = Stop::new();
    // Each connection holds a sender; the end of the last one ends the receiver.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let end = loop {
        match inbox.recv().await {
            Some(Event::Client(fd, mut negotiated)) => {
                volume.note_connected().await?;
                let leftover = std::mem::take(&mut negotiated.leftover);
                let (stream, export, env) = (real.net.stream(fd), served.clone(), real.env.clone());
                let (stop, alive) = (stop.clone(), alive.clone());
                real.env.spawn(async move {
                    let outcome = serve(
                        stream,
                        leftover,
                        negotiated,
                        export,
                        env,
                        ServeLimits::default(),
                        stop,
                    )
                    .await;
                    tracing::info!(?outcome, "a client left");
                    drop(alive);
                });
            }
            Some(Event::End(end)) => break end,
            None => bail!("the accepting thread ended early"),
        }
    };
    stop.stop();
    drop(alive);
    let _ = all_gone.recv().await;
    // It has sent its last word, so this does not wait.
    let _ = thread.join();
    end
}

/// Takes the socket's path; what a killed server left there is replaced, what a living one has is not.
fn bind(socket: &Path) -> Result<UnixListener> {
    let shown = socket.display();
    match std::fs::symlink_metadata(socket) {
        Ok(meta) if !meta.file_type().is_socket() => bail!("{shown} exists and is not a socket"),
        Ok(_) if UnixStream::connect(socket).is_ok() => bail!("{shown} is in use by another server"),
        Ok(_) => std::fs::remove_file(socket).with_context(|| format!("cannot remove the old {shown}"))?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen on {shown}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts clients until a signal comes.
fn accept(listener: UnixListener, only: Arc<Only>, events: &mpsc::UnboundedSender<Event>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        loop {
            let stream = tokio::select! {
                _ = term.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of descriptors, for example: others may leave.
                        tracing::warn!(%error, "cannot accept a client");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (only, events) = (only.clone(), events.clone());
            tokio::spawn(async move {
                if let Err(error) = shake_hands(stream, &only, &events).await {
                    tracing::info!("a client left: {error:#}");
                }
            });
        }
    })
}

async fn shake_hands(
    mut stream: tokio::net::UnixStream,
    only: &Only,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<()> {
    let negotiated = negotiate(&mut stream, only, &NegotiateLimits::default()).await?;
    let fd = OwnedFd::from(stream.into_std()?);
    events
        .send(Event::Client(fd, negotiated))
        .map_err(|_| anyhow::anyhow!("the volume is closing"))
}
