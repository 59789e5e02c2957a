//! A whole server: an acceptor on tokio, and an engine thread that owns exports in memory.

use super::ram::{Knobs, RamExport};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tidemark_env::real::{RealEnv, RuntimeOptions};
use tidemark_nbd::proto::{ExportEntry, ExportInfo, LookUpError, Negotiated};
use tidemark_nbd::server::{
    Directory, Export, NegotiateError, NegotiateLimits, SendFuture, ServeLimits, ServeOutcome, Stop,
    negotiate, serve,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    Handshake(NegotiateError),
    Served(ServeOutcome),
}

/// What to serve, and how.
pub struct Options {
    pub exports: Vec<ExportInfo>,
    pub negotiate: NegotiateLimits,
    pub serve: ServeLimits,
    pub runtime: RuntimeOptions,
}

enum ToEngine {
    Connection(OwnedFd, Box<Negotiated>),
    Stop,
}

struct Exports(Vec<ExportInfo>);

impl Directory for Exports {
    fn list(&self) -> SendFuture<'_, Result<Vec<ExportEntry>, LookUpError>> {
        let entry = |info: &ExportInfo| ExportEntry {
            name: info.name.clone(),
            description: info.description.clone(),
        };
        let entries = self.0.iter().map(entry).collect();
        Box::pin(std::future::ready(Ok(entries)))
    }

    fn look_up<'a>(&'a self, name: &'a str) -> SendFuture<'a, Result<ExportInfo, LookUpError>> {
        // The first one is the default export.
        let found = self.0.iter().find(|info| info.name == name || name.is_empty());
        Box::pin(std::future::ready(found.cloned().ok_or(LookUpError::Unknown)))
    }
}

/// A running server; dropping it ends it.
pub struct Server {
    pub socket: PathBuf,
    pub knobs: Arc<Knobs>,
    pub ends: mpsc::Receiver<End>,
    engine: UnboundedSender<ToEngine>,
    shutdown: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Serves `options` at `socket`, which must not exist.
    pub fn start(socket: &Path, options: Options) -> Server {
        let knobs = Arc::<Knobs>::default();
        let (to_engine, from_acceptor) = unbounded_channel();
        let (tell, ends) = mpsc::channel();
        let (shutdown, ended) = oneshot::channel();
        let Options {
            exports,
            negotiate,
            serve,
            runtime,
        } = options;

        let (engine_exports, engine_knobs, engine_tell) = (exports.clone(), knobs.clone(), tell.clone());
        let engine = std::thread::spawn(move || {
            tidemark_env::real::run(runtime, |real| {
                run_engine(
                    real,
                    engine_exports,
                    engine_knobs,
                    serve,
                    from_acceptor,
                    engine_tell,
                )
            });
        });
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let engine_sender = to_engine.clone();
        let acceptor = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            tokio.block_on(async move {
                let listener = UnixListener::from_std(listener).unwrap();
                let exports = Arc::new(Exports(exports));
                let accept = accept(listener, exports, negotiate, engine_sender, tell);
                tokio::select! { () = accept => {}, _ = ended => {} }
            });
        });
        Server {
            socket: socket.to_owned(),
            knobs,
            ends,
            engine: to_engine,
            shutdown: Some(shutdown),
            threads: vec![acceptor, engine],
        }
    }

    /// Pulls the stop of every connection that is served now.
    pub fn stop_connections(&self) {
        self.engine.send(ToEngine::Stop).ok().unwrap();
    }

    /// How the next connection ends.
    pub fn next_end(&self) -> End {
        self.ends
            .recv_timeout(Duration::from_secs(60))
            .expect("a connection ends")
    }

    /// The address of an export, as libnbd and qemu take it.
    pub fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket.display())
    }

    /// Waits for ever.
    pub fn join(mut self) {
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        let (disconnected, _) = unbounded_channel();
        self.engine = disconnected;
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "a server thread panicked"
            );
        }
    }
}

async fn accept(
    listener: UnixListener,
    exports: Arc<Exports>,
    limits: NegotiateLimits,
    engine: UnboundedSender<ToEngine>,
    tell: mpsc::Sender<End>,
) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (exports, engine, tell) = (exports.clone(), engine.clone(), tell.clone());
        tokio::spawn(async move {
            match negotiate(&mut stream, &*exports, &limits).await {
                Ok(negotiated) => hand_over(stream, negotiated, &engine),
                Err(error) => drop(tell.send(End::Handshake(error))),
            }
        });
    }
}

fn hand_over(stream: UnixStream, negotiated: Negotiated, engine: &UnboundedSender<ToEngine>) {
    let fd = OwnedFd::from(stream.into_std().unwrap());
    // Fails only when the engine has ended: the connection closes.
    let _ = engine.send(ToEngine::Connection(fd, Box::new(negotiated)));
}

async fn run_engine(
    real: RealEnv,
    exports: Vec<ExportInfo>,
    knobs: Arc<Knobs>,
    limits: ServeLimits,
    mut inbox: UnboundedReceiver<ToEngine>,
    tell: mpsc::Sender<End>,
) {
    let exports: HashMap<String, Rc<dyn Export>> = exports
        .into_iter()
        .map(|info| {
            let name = info.name.clone();
            (
                name,
                Rc::new(RamExport::new(info, knobs.clone())) as Rc<dyn Export>,
            )
        })
        .collect();
    let mut stop = Stop::new();
    while let Some(message) = inbox.recv().await {
        match message {
            ToEngine::Connection(fd, mut negotiated) => {
                let export = exports[&negotiated.export_name].clone();
                let stream = real.net.stream(fd);
                let leftover = std::mem::take(&mut negotiated.leftover);
                let served = serve(
                    stream,
                    leftover,
                    *negotiated,
                    export,
                    real.env.clone(),
                    limits,
                    stop.clone(),
                );
                let tell = tell.clone();
                real.env
                    .spawn(async move { drop(tell.send(End::Served(served.await))) });
            }
            ToEngine::Stop => std::mem::take(&mut stop).stop(),
        }
    }
}
