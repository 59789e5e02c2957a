//! The back end: a thread that serves one connection over a disk in memory, which can be held up and which tells what it did.

use bytes::Bytes;
use futures_util::future::{Either, select};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tidemark_env::real::{IoChoice, RuntimeOptions, run};
use tidemark_env::{LocalFuture, Piece};
use tidemark_vhost::{Disk, DiskError, ServeLimits, Session, serve};
use tokio::sync::{Notify, oneshot};

pub const NAME: &str = "d-a-name-of-more-than-20-bytes";

/// A disk's content and what happens to it, for both sides.
#[derive(Default)]
pub struct Content {
    pub bytes: Mutex<Vec<u8>>,
    pub size: AtomicU64,
    /// What was asked of the disk, in order.
    pub log: Mutex<Vec<String>>,
    /// Changes wait while this is set; whoever clears it notifies.
    pub held: AtomicBool,
    pub released: Notify,
    pub fails: AtomicBool,
    under_way: AtomicUsize,
    pub most_under_way: AtomicUsize,
}

impl Content {
    pub fn new(size: u64) -> Arc<Self> {
        let content = Self {
            size: AtomicU64::new(size),
            ..Self::default()
        };
        *content.bytes.lock().unwrap() = vec![0; size as usize];
        Arc::new(content)
    }

    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
        self.released.notify_waiters();
    }

    async fn change(&self, what: String, at: u64, fill: impl FnOnce(&mut [u8])) -> Result<(), DiskError> {
        self.log.lock().unwrap().push(what);
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(now, Ordering::SeqCst);
        loop {
            let released = self.released.notified();
            if !self.held.load(Ordering::SeqCst) {
                break;
            }
            released.await;
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(DiskError("told to fail".into()));
        }
        fill(&mut self.bytes.lock().unwrap()[at as usize..]);
        Ok(())
    }
}

struct MemoryDisk(Arc<Content>);

impl Disk for MemoryDisk {
    fn size_bytes(&self) -> u64 {
        self.0.size.load(Ordering::SeqCst)
    }

    fn serial(&self) -> String {
        NAME.into()
    }

    fn read(&self, offset: u64, len: u32) -> LocalFuture<'_, Result<Vec<Piece>, DiskError>> {
        Box::pin(async move {
            if self.0.fails.load(Ordering::SeqCst) {
                return Err(DiskError("told to fail".into()));
            }
            let bytes = self.0.bytes.lock().unwrap();
            let range = &bytes[offset as usize..offset as usize + len as usize];
            // Pieces that end where descriptors do not.
            Ok(range
                .chunks(1000)
                .map(|piece| Bytes::copy_from_slice(piece).into())
                .collect())
        })
    }

    fn write(&self, offset: u64, data: Bytes, fua: bool) -> LocalFuture<'_, Result<(), DiskError>> {
        let what = format!("write {offset}+{} fua={fua}", data.len());
        Box::pin(async move {
            let fill = |place: &mut [u8]| place[..data.len()].copy_from_slice(&data);
            self.0.change(what, offset, fill).await
        })
    }

    fn zero(
        &self,
        offset: u64,
        len: u64,
        may_punch: bool,
        fua: bool,
    ) -> LocalFuture<'_, Result<(), DiskError>> {
        let what = format!("zero {offset}+{len} punch={may_punch} fua={fua}");
        Box::pin(async move {
            self.0
                .change(what, offset, |place| place[..len as usize].fill(0))
                .await
        })
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> LocalFuture<'_, Result<(), DiskError>> {
        let what = format!("trim {offset}+{len} fua={fua}");
        Box::pin(async move {
            self.0
                .change(what, offset, |place| place[..len as usize].fill(0))
                .await
        })
    }

    fn flush(&self) -> LocalFuture<'_, Result<(), DiskError>> {
        Box::pin(async move { self.0.change("flush".into(), 0, |_| {}).await })
    }
}

/// A back end on a thread of its own.
pub struct BackEnd {
    thread: JoinHandle<String>,
    kill: oneshot::Sender<()>,
    pub stop: Arc<Notify>,
    pub grown: Arc<Notify>,
}

impl BackEnd {
    pub fn start(content: &Arc<Content>, io: IoChoice, limits: ServeLimits) -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (kill, killed) = oneshot::channel();
        let (stop, grown) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (stopped, told, content) = (Arc::clone(&stop), Arc::clone(&grown), Arc::clone(content));
        let thread = std::thread::spawn(move || {
            run(RuntimeOptions { io }, |here| async move {
                let resized = Rc::new(Notify::new());
                let again = Rc::clone(&resized);
                here.env.spawn(async move {
                    loop {
                        told.notified().await;
                        again.notify_one();
                    }
                });
                let session = Session {
                    disk: Rc::new(MemoryDisk(content)),
                    env: here.env,
                    net: here.net,
                    limits,
                    resized,
                };
                let serving = pin!(serve(ours.into(), session, stopped.notified()));
                match select(serving, killed).await {
                    Either::Left((outcome, _)) => format!("{outcome:?}"),
                    Either::Right(_) => "killed".into(),
                }
            })
        });
        let back_end = Self {
            thread,
            kill,
            stop,
            grown,
        };
        (back_end, theirs)
    }

    /// Ends it in the middle of whatever it does, as a kill does.
    pub fn kill(self) {
        let _ = self.kill.send(());
        assert_eq!(self.thread.join().unwrap(), "killed");
    }

    /// How it ended.
    pub fn outcome(self) -> String {
        self.thread.join().unwrap()
    }
}
