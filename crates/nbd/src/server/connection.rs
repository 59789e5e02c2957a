//! One connection after its handshake, on the thread that owns the export.
//!
//! Two halves share one task. The reading half cuts requests out of what arrives and starts each as
//! soon as it is admitted; the writing half sends whatever replies are ready, in the order of their
//! completion. A request is first polled in place and becomes a task of its own only if it has to
//! wait, so that one answered from memory costs no scheduling.
//!
//! What must stay true: what is held never exceeds [`ServeLimits`] and one payload; no started request
//! is dropped half done, whatever becomes of the connection; [`serve`] returns only when none of its
//! requests is under way any more.

use super::export::Export;
use super::outbox::{Held, Outbox, Permit};
use super::perform::Exported;
use super::stop::Stop;
use crate::proto::{
    Command, Decoder, Dialect, EXTENTS_MAX, Negotiated, PAYLOAD_BYTES_MAX, ReplyTo, Request, Rules,
    StreamError,
};
use bytes::Bytes;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tidemark_env::real::net::Stream;
use tidemark_env::{Env, LocalFuture};

/// Least and most bytes received at once. A payload pins the buffer that it arrived in, so buffers
/// follow what the client has under way: a lone 4 KiB write does not pin 256 KiB.
const RECV_BYTES_MIN: usize = 16 << 10;
const RECV_BYTES_MAX: usize = 256 << 10;
/// What a request is taken to hold besides its payload.
const REQUEST_BYTES: u64 = 512;

/// What one connection may hold, and how long it may linger.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Requests admitted and not yet answered; more wait in the socket.
    pub requests: usize,
    /// Bytes of their payloads, either way. One request alone may exceed it.
    pub bytes: u64,
    /// How long a client may take to read the replies of one send, once the connection is ending.
    pub linger: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            requests: 256,
            bytes: 64 << 20,
            linger: Duration::from_secs(10),
        }
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub enum ServeOutcome {
    /// The client said good-bye; everything was answered.
    Disconnected,
    /// The client closed the connection without a word.
    Closed,
    /// The [`Stop`] was pulled.
    Stopped,
    /// The client broke the protocol.
    Violation(StreamError),
    /// The socket failed.
    Broken(io::Error),
}

/// Serves `export` to the client behind `stream` until one side ends it; then closes the stream.
///
/// `leftover` are bytes that the client sent right behind the handshake.
pub async fn serve(
    stream: Stream,
    leftover: Bytes,
    negotiated: Negotiated,
    export: Rc<dyn Export>,
    env: Env,
    limits: ServeLimits,
    stop: Stop,
) -> ServeOutcome {
    let rules = Rules::new(
        &export.info(),
        negotiated.dialect,
        !negotiated.contexts.is_empty(),
        PAYLOAD_BYTES_MAX,
    );
    let connection = Connection {
        dialect: negotiated.dialect,
        rules,
        outbox: Rc::new(Outbox::new(Held {
            requests: limits.requests,
            bytes: limits.bytes,
        })),
        exported: Rc::new(Exported {
            export,
            contexts: negotiated.contexts,
        }),
        env,
        gave_way: Cell::new(false),
    };
    connection.run(&stream, leftover, limits.linger, stop).await
}

struct Connection {
    dialect: Dialect,
    rules: Rules,
    outbox: Rc<Outbox>,
    exported: Rc<Exported>,
    env: Env,
    /// Set by the reading half when it wants to go on as soon as the writing half has had its turn.
    gave_way: Cell<bool>,
}

impl Connection {
    async fn run(&self, stream: &Stream, leftover: Bytes, linger: Duration, stop: Stop) -> ServeOutcome {
        let outbox = &self.outbox;
        let finishing = Cell::new(false);
        let mut reading = pin!(self.read_until_end(stream, leftover, stop));
        let mut writing = pin!(self.write_until_end(stream, &finishing, linger));
        let mut outcome = None;
        let broken = poll_fn(|context| {
            loop {
                outbox.set_waker(context);
                self.gave_way.set(false);
                if outcome.is_none()
                    && let Poll::Ready(ended) = outbox.quietly(|| reading.as_mut().poll(context))
                {
                    outcome = Some(ended);
                    finishing.set(true);
                }
                match writing.as_mut().poll(context) {
                    Poll::Pending if self.gave_way.get() => {}
                    polled => return polled,
                }
            }
        })
        .await;
        stream.shutdown();
        match broken {
            Some(error) => ServeOutcome::Broken(error),
            None => outcome.expect("the writing half ends after the reading half"),
        }
    }

    /// Reads and starts requests until there will be no more.
    async fn read_until_end(&self, stream: &Stream, leftover: Bytes, stop: Stop) -> ServeOutcome {
        let mut stopped = pin!(stop.stopped());
        let mut decoder = Decoder::new(self.dialect, PAYLOAD_BYTES_MAX);
        let mut received = leftover;
        let mut room = RECV_BYTES_MIN;
        loop {
            decoder.feed(received);
            loop {
                let request = match decoder.next() {
                    Ok(Some(request)) => request,
                    Ok(None) => break,
                    Err(violation) => return ServeOutcome::Violation(violation),
                };
                if let Some(outcome) = self.start(request, stopped.as_mut()).await {
                    return outcome;
                }
            }
            // Answers that are ready leave before anything else is asked for.
            self.give_way().await;
            let missing = usize::try_from(decoder.payload_missing()).unwrap_or(usize::MAX);
            let max = missing.clamp(room, RECV_BYTES_MAX);
            let mut recv = pin!(stream.recv(max));
            let arrived = poll_fn(|context| match self.poll_ended(stopped.as_mut(), context) {
                Poll::Ready(outcome) => Poll::Ready(Err(outcome)),
                Poll::Pending => recv.as_mut().poll(context).map(Ok),
            });
            received = match arrived.await {
                Err(outcome) => return outcome,
                Ok(Ok(bytes)) if bytes.is_empty() => return ServeOutcome::Closed,
                Ok(Ok(bytes)) => bytes,
                Ok(Err(error)) if is_gone(&error) => return ServeOutcome::Closed,
                Ok(Err(error)) => return ServeOutcome::Broken(error),
            };
            if received.len() == max {
                room = (room * 2).min(RECV_BYTES_MAX);
            } else if received.len() < room / 4 {
                room = (room / 2).max(RECV_BYTES_MIN);
            }
        }
    }

    /// Lets the writing half run once.
    async fn give_way(&self) {
        let mut given = !self.outbox.has_replies();
        poll_fn(|_| {
            if given {
                return Poll::Ready(());
            }
            given = true;
            self.gave_way.set(true);
            Poll::Pending
        })
        .await;
    }

    /// Ready when no further request is to be taken.
    fn poll_ended(
        &self,
        stopped: Pin<&mut impl Future<Output = ()>>,
        context: &mut Context<'_>,
    ) -> Poll<ServeOutcome> {
        if self.outbox.is_abandoned() {
            return Poll::Ready(ServeOutcome::Closed);
        }
        stopped.poll(context).map(|()| ServeOutcome::Stopped)
    }

    /// Starts `request` once there is room for it; an outcome means that it was the last one.
    async fn start(
        &self,
        request: Request,
        mut stopped: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<ServeOutcome> {
        let to = ReplyTo {
            dialect: self.dialect,
            cookie: request.cookie,
            offset: request.offset,
        };
        let checked = self.rules.check(request);
        let bytes = match &checked {
            Ok(Command::Disconnect) => return Some(ServeOutcome::Disconnected),
            Ok(Command::Read { len, .. } | Command::Write { len, .. }) => u64::from(*len),
            Ok(Command::BlockStatus { .. }) => (self.exported.contexts.len() * EXTENTS_MAX * 16) as u64,
            _ => 0,
        };
        let admitted = poll_fn(|context| match self.outbox.poll_admit(REQUEST_BYTES + bytes) {
            Poll::Ready(permit) => Poll::Ready(Ok(permit)),
            Poll::Pending => self.poll_ended(stopped.as_mut(), context).map(Err),
        });
        let permit: Permit = match admitted.await {
            Ok(permit) => permit,
            Err(outcome) => return Some(outcome),
        };
        match checked {
            Err(refusal) => {
                permit.reply(|batch| to.error(&mut batch.headers, refusal.errno, refusal.message, None));
            }
            Ok(command) => {
                let mut task: LocalFuture<'static, ()> =
                    Box::pin(self.exported.clone().perform(command, to, permit));
                if task
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
                {
                    self.env.tasks.spawn(task);
                }
            }
        }
        None
    }

    /// Sends replies until none can come any more; what broke the socket, if that happened.
    async fn write_until_end(
        &self,
        stream: &Stream,
        finishing: &Cell<bool>,
        linger: Duration,
    ) -> Option<io::Error> {
        let mut broken = None;
        while let Some(batch) = poll_fn(|_| self.outbox.poll_batch(finishing.get())).await {
            let mut send = pin!(stream.send(batch.pieces));
            let mut lingering: Option<LocalFuture<'static, ()>> = None;
            let sent = poll_fn(|context| {
                if let Poll::Ready(sent) = send.as_mut().poll(context) {
                    return Poll::Ready(Some(sent));
                }
                if !finishing.get() {
                    return Poll::Pending;
                }
                let sleep = lingering.get_or_insert_with(|| self.env.clock.sleep(linger));
                sleep.as_mut().poll(context).map(|()| None)
            })
            .await;
            self.outbox.release(batch.held);
            match sent {
                Some(Ok(())) => {}
                // A client that leaves its last replies unread has had its time.
                None => self.outbox.abandon(),
                Some(Err(error)) => {
                    self.outbox.abandon();
                    broken = Some(error).filter(|error| !is_gone(error));
                }
            }
        }
        broken
    }
}

/// Whether the socket failed only because the client is no longer there.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}
