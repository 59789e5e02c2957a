//! State that belongs to one engine thread, and calls into it from other threads.
//!
//! A call is a closure that runs on the owning thread and makes a local future there; its result comes
//! back by a channel. So nothing of the state is ever shared, and there is no list of messages to keep in step.
//! Calls start in the order in which they were made and then run beside each other.

use crate::place::{Place, SharedLauncher, Thread};
use std::future::Future;
use std::io;
use std::rc::Rc;
use tidemark_env::LocalFuture;
use tokio::sync::{mpsc, oneshot};

type Call<S> = Box<dyn FnOnce(Rc<S>) -> LocalFuture<'static, ()> + Send>;

/// The thread has ended, or ended before it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread that owns this has ended")]
pub struct Gone;

/// A way to call into the thread that owns an `S`. Clones reach the same thread, which ends when the
/// last one is dropped or [`Remote::end`] was called.
pub struct Remote<S: 'static> {
    calls: mpsc::UnboundedSender<Option<Call<S>>>,
}

impl<S> Clone for Remote<S> {
    fn clone(&self) -> Self {
        Self {
            calls: self.calls.clone(),
        }
    }
}

impl<S: 'static> Remote<S> {
    /// Starts a thread, makes the state on it by `make`, and gives a way to call it; the error is `make`'s.
    pub async fn start<E, F>(
        launcher: &SharedLauncher,
        name: String,
        make: impl FnOnce(Place) -> F + Send + 'static,
    ) -> Result<(Self, Thread), E>
    where
        E: Send + From<io::Error> + 'static,
        F: Future<Output = Result<Rc<S>, E>> + 'static,
    {
        let (calls, mut queue) = mpsc::unbounded_channel::<Option<Call<S>>>();
        let (ready, made) = oneshot::channel();
        let main = move |place: Place| -> LocalFuture<'static, ()> {
            let making = make(place.clone());
            Box::pin(async move {
                let state = match making.await {
                    Ok(state) => state,
                    Err(e) => {
                        let _ = ready.send(Err(e));
                        return;
                    }
                };
                if ready.send(Ok(())).is_err() {
                    return;
                }
                while let Some(Some(call)) = queue.recv().await {
                    place.env.tasks.spawn(call(Rc::clone(&state)));
                }
            })
        };
        let thread = launcher.launch(name, Box::new(main))?;
        match made.await {
            Ok(Ok(())) => Ok((Self { calls }, thread)),
            Ok(Err(e)) => {
                // Whoever tries again finds the thread's locks free.
                thread.ended().await;
                Err(e)
            }
            Err(_) => Err(io::Error::other("the engine thread could not start").into()),
        }
    }

    /// Runs `call` on the owning thread and waits for its result.
    pub async fn call<T, F>(&self, call: impl FnOnce(Rc<S>) -> F + Send + 'static) -> Result<T, Gone>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (done, answer) = oneshot::channel();
        let boxed: Call<S> = Box::new(move |state| {
            let work = call(state);
            Box::pin(async move {
                // Nobody waiting any more is fine: the work is done all the same.
                let _ = done.send(work.await);
            })
        });
        self.calls.send(Some(boxed)).map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Starts `call` on the owning thread without waiting; a thread that has ended ignores it.
    pub fn cast<F>(&self, call: impl FnOnce(Rc<S>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let boxed: Call<S> = Box::new(move |state| Box::pin(call(state)));
        let _ = self.calls.send(Some(boxed));
    }

    /// Ends the thread after the calls made so far have started; what still runs then is dropped.
    pub fn end(&self) {
        let _ = self.calls.send(None);
    }
}
