//! One connection of a front end: its messages, and what ends it.
//!
//! The library reads and answers a message in one blocking call, so it is called only when the whole message has arrived
//! and its answer has room in the socket; until then we wait as everything on this thread waits. Before a message that changes what rings stand on,
//! those are paused and what they have under way is answered; so the front end can take the memory away once it has its answer.
//!
//! The other channel, on which a back end may speak first, carries one message: the configuration space has changed. The library
//! has no way to send it, so that channel's descriptor is taken off the socket here.

use crate::device::{Device, Rings};
use crate::disk::Disk;
use crate::ring::Shared;
use futures_util::future::{Either, select};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tidemark_env::Env;
use tidemark_env::real::net::{Net, Watch};
use tokio::sync::Notify;
use vhost::vhost_user::BackendReqHandler;
use vhost::vhost_user::message::{BackendReq, FrontendReq, MAX_MSG_SIZE, VhostUserProtocolFeatures};

const HEADER_BYTES: usize = 12;
/// How long the rest of a message may take, or the front end to read its answers, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(5);
/// See [`PATIENCE`].
const LOOK: Duration = Duration::from_millis(5);
/// The protocol's version in a header's flags, and those that mark an answer and ask for one.
const VERSION: u32 = 1;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;

/// What one connection may have under way.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Requests taken and not yet answered; more wait in their rings.
    pub requests: usize,
    /// Bytes that they move. One request may begin below this and exceed it.
    pub bytes: u64,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            requests: 1024,
            bytes: 64 << 20,
        }
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub enum ServeOutcome {
    /// The front end closed it.
    Closed,
    /// It was stopped from here.
    Stopped,
    /// The front end broke the protocol, or asked for what is not offered.
    Violation(String),
    /// The socket failed.
    Broken(io::Error),
}

/// What a connection is served with.
pub struct Session {
    /// The disk.
    pub disk: Rc<dyn Disk>,
    /// The thread's world.
    pub env: Env,
    /// Its sockets.
    pub net: Net,
    /// What it may have under way.
    pub limits: ServeLimits,
    /// Signalled, by `notify_one`, when the disk has become larger.
    pub resized: Rc<Notify>,
}

/// Serves the front end behind `socket` until it leaves or `stop` completes; then what is under way is finished and answered, and the
/// socket closed.
pub async fn serve(socket: OwnedFd, session: Session, stop: impl Future<Output = ()>) -> ServeOutcome {
    match Connection::new(socket, &session) {
        Ok(mut connection) => {
            let outcome = connection.run(&session.resized, stop).await;
            connection.quiesce(Rings::All).await;
            connection.device.stop();
            let _ = connection.socket.shutdown(std::net::Shutdown::Both);
            outcome
        }
        Err(e) => ServeOutcome::Broken(e),
    }
}

struct Connection {
    socket: UnixStream,
    readable: Watch,
    shared: Rc<Shared>,
    device: Arc<Device>,
    library: BackendReqHandler<Device>,
    /// Where the front end listens to us.
    back: Option<OwnedFd>,
}

enum Event {
    Stop,
    Grown,
    /// Something of a message has arrived, or the socket cannot be waited for.
    Message(io::Result<()>),
}

/// The start of a message.
#[derive(Clone, Copy)]
struct Header {
    request: u32,
    flags: u32,
    /// Of its payload, or 0.
    first_word: u32,
}

impl Header {
    fn is(self, request: FrontendReq) -> bool {
        self.request == u32::from(request)
    }

    /// The running rings that must have nothing under way while it is handled: those whose ground it changes.
    fn needs_quiet(self) -> Option<Rings> {
        let all = [
            FrontendReq::SET_FEATURES,
            FrontendReq::RESET_OWNER,
            FrontendReq::RESET_DEVICE,
            FrontendReq::SET_MEM_TABLE,
            FrontendReq::SET_INFLIGHT_FD,
        ];
        if all.into_iter().any(|request| self.is(request)) {
            Some(Rings::All)
        } else if self.is(FrontendReq::GET_VRING_BASE) {
            Some(Rings::One(self.first_word))
        } else if self.is(FrontendReq::SET_VRING_KICK) {
            // The rest of the word says other things.
            Some(Rings::One(self.first_word & 0xff))
        } else {
            None
        }
    }
}

impl Connection {
    fn new(socket: OwnedFd, session: &Session) -> io::Result<Self> {
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let shared = Rc::new(Shared::new(
            Rc::clone(&session.disk),
            session.env.clone(),
            session.limits,
        ));
        #[expect(
            clippy::arc_with_non_send_sync,
            reason = "the library wants an Arc; it stays on this thread"
        )]
        let device = Arc::new(Device::new(&shared, session.net.clone()));
        Ok(Self {
            readable: session.net.watch(socket.try_clone()?.into()),
            library: BackendReqHandler::from_stream(socket.try_clone()?, Arc::clone(&device)),
            socket,
            shared,
            device,
            back: None,
        })
    }

    async fn run(&mut self, resized: &Notify, stop: impl Future<Output = ()>) -> ServeOutcome {
        let mut stop = pin!(stop);
        loop {
            let outcome = match self.next_event(resized, stop.as_mut()).await {
                Event::Stop => Err(ServeOutcome::Stopped),
                Event::Grown => {
                    self.tell_grown();
                    Ok(())
                }
                Event::Message(Ok(())) => self.take_message().await,
                Event::Message(Err(e)) => Err(ServeOutcome::Broken(e)),
            };
            if let Err(outcome) = outcome {
                return outcome;
            }
        }
    }

    async fn next_event(&self, resized: &Notify, stop: Pin<&mut impl Future<Output = ()>>) -> Event {
        let grown = pin!(resized.notified());
        let readable = pin!(self.readable.readable());
        match select(stop, select(grown, readable)).await {
            Either::Left(_) => Event::Stop,
            Either::Right((Either::Left(_), _)) => Event::Grown,
            Either::Right((Either::Right((readable, _)), _)) => Event::Message(readable),
        }
    }

    async fn take_message(&mut self) -> Result<(), ServeOutcome> {
        let header = self.whole_message().await?;
        self.writable().await?;
        if header.is(FrontendReq::SET_BACKEND_REQ_FD) {
            return self.take_back_channel(header);
        }
        let quiet = header.needs_quiet();
        if let Some(rings) = quiet {
            self.quiesce(rings).await;
        }
        let handled = self.library.handle_request();
        if let Some(rings) = quiet {
            self.device.pause(rings, false);
        }
        handled.map_err(|e| ServeOutcome::Violation(format!("message {}: {e}", header.request)))
    }

    /// Waits until the socket holds a whole message, and leaves it there.
    async fn whole_message(&self) -> Result<Header, ServeOutcome> {
        let deadline = self.shared.env.clock.now() + PATIENCE;
        let mut buf = [0; HEADER_BYTES + MAX_MSG_SIZE];
        loop {
            let len =
                match rustix::net::recv(&self.socket, &mut buf[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                    Ok((_, 0)) => return Err(ServeOutcome::Closed),
                    Ok((_, len)) => len,
                    Err(Errno::AGAIN | Errno::INTR) => 0,
                    Err(Errno::CONNRESET) => return Err(ServeOutcome::Closed),
                    Err(errno) => return Err(ServeOutcome::Broken(errno.into())),
                };
            if len >= HEADER_BYTES {
                let word = |at: usize| u32::from_ne_bytes(buf[at..at + 4].try_into().expect("4 bytes"));
                let size = word(8) as usize;
                if size > MAX_MSG_SIZE {
                    return Err(ServeOutcome::Violation(format!("a message of {size} bytes")));
                }
                if len >= HEADER_BYTES + size {
                    return Ok(Header {
                        request: word(0),
                        flags: word(4),
                        first_word: word(HEADER_BYTES),
                    });
                }
            }
            self.look_again(deadline, "a message never ends").await?;
        }
    }

    /// Waits until any answer fits into the socket.
    async fn writable(&self) -> Result<(), ServeOutcome> {
        let deadline = self.shared.env.clock.now() + PATIENCE;
        loop {
            // A unix socket is writable when most of its buffer is free.
            let mut polled = [PollFd::new(&self.socket, PollFlags::OUT)];
            match rustix::event::poll(&mut polled, Some(&Timespec::default())) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(ServeOutcome::Broken(errno.into())),
            }
            self.look_again(deadline, "answers are not read").await?;
        }
    }

    async fn look_again(&self, deadline: Duration, what: &str) -> Result<(), ServeOutcome> {
        if self.shared.env.clock.now() >= deadline {
            return Err(ServeOutcome::Violation(what.into()));
        }
        self.shared.env.clock.sleep(LOOK).await;
        Ok(())
    }

    /// Takes nothing new from rings, and waits until all that they have under way is answered.
    async fn quiesce(&self, rings: Rings) {
        self.device.pause(rings, true);
        loop {
            let quieter = self.shared.quieter.notified();
            if self.device.is_quiet(rings) {
                return;
            }
            quieter.await;
        }
    }

    /// The message that brings the descriptor of the other channel.
    fn take_back_channel(&mut self, header: Header) -> Result<(), ServeOutcome> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; HEADER_BYTES];
        let received = rustix::net::recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
        );
        let received = received.map_err(|errno| ServeOutcome::Broken(errno.into()))?;
        let mut fds: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let body = u32::from_ne_bytes(bytes[8..].try_into().expect("4 bytes"));
        let offered = self.device.speaks(VhostUserProtocolFeatures::BACKEND_REQ);
        if received.bytes != HEADER_BYTES || body != 0 || fds.len() != 1 || !offered {
            return Err(ServeOutcome::Violation(
                "the channel to the front end comes with one descriptor and nothing else, once it was agreed on".into(),
            ));
        }
        self.back = fds.pop();
        if header.flags & NEED_REPLY != 0 && self.device.speaks(VhostUserProtocolFeatures::REPLY_ACK) {
            let mut ack = message(header.request, VERSION | REPLY, 8).to_vec();
            ack.extend(0u64.to_ne_bytes());
            send(&self.socket, &ack).map_err(ServeOutcome::Broken)?;
        }
        Ok(())
    }

    /// Tells the front end that the disk is larger.
    fn tell_grown(&self) {
        let agreed = self.device.speaks(VhostUserProtocolFeatures::CONFIG);
        let Some(back) = self.back.as_ref().filter(|_| agreed) else {
            tracing::info!(
                disk = self.shared.disk.serial(),
                "the front end cannot be told that the disk has grown; it sees that when it connects again"
            );
            return;
        };
        // No answer is asked for, so there is none to wait for.
        let told = send(back, &message(BackendReq::CONFIG_CHANGE_MSG.into(), VERSION, 0));
        if let Err(e) = told {
            tracing::warn!(disk = self.shared.disk.serial(), error = %e, "telling a front end that the disk has grown");
        }
    }
}

fn message(request: u32, flags: u32, size: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    for (place, word) in bytes.chunks_exact_mut(4).zip([request, flags, size]) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Sends all or nothing of a few bytes, without waiting.
fn send(socket: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    match rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(errno) => Err(errno.into()),
    }
}
