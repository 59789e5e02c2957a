//! What the node tells: it only makes things quicker. Everything is found out by looking, too.

use crate::Control;
use crate::catalogue::disks::DiskRow;
use crate::notices;
use crate::store::{StoreError, Transaction};
use tidemark_node::{Event, Loss};
use tokio::sync::broadcast::{self, error::RecvError};

/// Listens until the node ends or the control plane is shut down.
pub(crate) async fn listen(control: Control, region: String, mut events: broadcast::Receiver<Event>) {
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
            Ok(Event::VaultDamaged(loss)) => note_damage(&control, &region, loss, false).await,
            Ok(Event::VaultRepaired(loss)) => note_damage(&control, &region, loss, true).await,
            Ok(Event::Connected(disk)) => note_use(&control, disk.as_str()).await,
            Err(RecvError::Lagged(_)) => control.jobs().hurry(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// What the scrub has found is an event of ours, too.
async fn note_damage(control: &Control, region: &str, loss: Loss, repaired: bool) {
    let (account, region, now) = (
        control.config().account.clone(),
        region.to_owned(),
        control.now_ms(),
    );
    let note =
        move |t: &mut dyn Transaction| notices::vault_damage(t, (&account, &region), &loss, repaired, now);
    if let Err(error) = control.store().write(note).await {
        tracing::warn!(%error, "what the scrub found cannot be written down");
    }
    control.jobs().wake();
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
