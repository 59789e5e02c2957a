//! Engine threads as processes of a simulated machine: each gets tasks, handles and locks of its own, which are gone
//! when it ends, as a thread's are in the real world.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use tidemark_env::Bucket;
use tidemark_env::sim::{Machine, Process, SimBucket};
use tidemark_node::place::{Launch, Main, Place, SharedLauncher, Thread};
use tokio::sync::{mpsc, oneshot};

struct Start(Main, oneshot::Sender<()>);

/// Hands the starts, which come from `Send` code, to a task that may hold what belongs to this thread.
struct SimLauncher(mpsc::UnboundedSender<Start>);

impl Launch for SimLauncher {
    fn launch(&self, _name: String, main: Main) -> io::Result<Thread> {
        let (end, thread) = Thread::new();
        self.0
            .send(Start(main, end))
            .map_err(|_| io::Error::other("the machine is off"))?;
        Ok(thread)
    }
}

/// A launcher for a node on `machine`, for as long as `control` lives; without a bucket the vault is a directory. What it
/// starts is noted in `threads`.
pub fn launcher(
    machine: &Machine,
    control: &Process,
    bucket: Option<SimBucket>,
    threads: Rc<RefCell<Vec<Process>>>,
) -> SharedLauncher {
    let (starts, mut queue) = mpsc::unbounded_channel::<Start>();
    let machine = machine.clone();
    control.env().spawn(async move {
        while let Some(Start(main, end)) = queue.recv().await {
            let process = machine.boot();
            threads.borrow_mut().retain(Process::is_alive);
            threads.borrow_mut().push(process.clone());
            let place = Place {
                env: process.env(),
                net: None,
                bucket: bucket.as_ref().map(|b| -> Rc<dyn Bucket> { b.client(&process) }),
            };
            let thread = process.clone();
            process.env().spawn(async move {
                main(place).await;
                thread.kill();
                // Moved in, so that a thread that is killed in the middle ends too.
                drop(end);
            });
        }
    });
    Arc::new(SimLauncher(starts))
}
