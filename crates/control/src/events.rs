//! What the node tells: it only makes things quicker. Everything is found out by looking, too: states by jobs, damage by
//! `damage`.

use crate::Control;
use crate::catalogue::disks::DiskRow;
use crate::store::{StoreError, Transaction};
use tidemark_node::Event;
use tokio::sync::broadcast::{self, error::RecvError};

/// Damage that is told of in one go.
const TOGETHER: usize = 100;

/// Listens until the node ends or the control plane is shut down.
pub(crate) async fn listen(control: Control, region: String, mut events: broadcast::Receiver<Event>) {
    // What was said before anybody listened.
    control.tell_damage(&region, Vec::new()).await;
    let mut said = Vec::new();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = control.stopped() => return,
        };
        match event {
            // The job that follows the snapshot asks the node for the rest; jobs that wait for a
            // capture to end look again.
            Ok(Event::Accomplished(..) | Event::CaptureFailed(..)) => control.jobs().hurry(),
            // The node's own log has it; no resource changes its state.
            Ok(Event::Hydrated(_)) => {}
            // Together with what else is said at once: each look reads all.
            Ok(Event::VaultDamaged(loss)) => {
                said.push(loss);
                if events.is_empty() || said.len() >= TOGETHER {
                    control.tell_damage(&region, std::mem::take(&mut said)).await;
                }
            }
            Ok(Event::VaultRepaired(_)) => {
                if events.is_empty() {
                    control.tell_damage(&region, std::mem::take(&mut said)).await;
                }
            }
            Ok(Event::Connected(disk)) => note_use(&control, disk.as_str()).await,
            Err(RecvError::Lagged(_)) => {
                control.jobs().hurry();
                control.tell_damage(&region, std::mem::take(&mut said)).await;
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// A disk that a client has connected to may hold data: it can be snapshotted from now on.
async fn note_use(control: &Control, disk: &str) {
    let id = disk.to_owned();
    let note = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
        match DiskRow::get(t, id)? {
            Some(mut row) if !row.ever_attached => {
                row.ever_attached = true;
                row.save(t)
            }
            _ => Ok(()),
        }
    };
    if let Err(error) = control.store().write(note).await {
        tracing::warn!(disk, %error, "the first use of a disk cannot be noted");
    }
}
