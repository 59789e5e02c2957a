//! Disks that come and go while the guest runs.
//!
//! QEMU's own list of devices is the truth; nothing of it is kept here. QEMU stands still, guest and all, while it connects to a back end,
//! so the socket is connected before the device is made. Taking a disk out is a request to the guest, which may be slow, deaf, or
//! not yet have a system: then the disk stays, and the request too, so that it may go later ([`GuestEvent::Unplugged`](crate::GuestEvent)).

use crate::command_line::{
    CYLINDERS_HEADS_SECTORS, Transport, block_node, chardev_of, device_of, node_of, queues, reconnects_in_ms,
    socket_path,
};
use crate::config::GuestDisk;
use crate::error::{ComputeError, ComputeErrorKind};
use crate::guest::{Guest, QMP_LIMIT, Unplugging};
use crate::qmp::{QmpError, Version};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// A back end that is there answers at once; one that is starting has this long.
const BACK_END_LIMIT: Duration = Duration::from_secs(10);
/// While a device goes, its socket is still in use for a moment.
const SOCKET_LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// In case an event is lost with a connection.
const LIST_EVERY: Duration = Duration::from_secs(1);

impl Guest {
    /// Puts a disk in. One that is in is left as it is.
    pub async fn plug(&self, disk: &GuestDisk) -> Result<(), ComputeError> {
        let _plugging = self.plugging.lock().await;
        if self.has(&disk.id).await? {
            return Ok(());
        }
        self.remove_back_end(&disk.id).await?;
        let device = match self.transport {
            Transport::VhostUser => {
                self.add_socket(disk).await?;
                json!({
                    "driver": "vhost-user-blk-pci",
                    "id": device_of(&disk.id),
                    "chardev": chardev_of(&disk.id),
                    "num-queues": queues(self.cpus),
                })
            }
            Transport::Nbd => {
                self.add_node(disk).await?;
                let [cyls, heads, secs] = CYLINDERS_HEADS_SECTORS;
                json!({
                    "cyls": cyls,
                    "heads": heads,
                    "secs": secs,
                    "driver": "virtio-blk-pci",
                    "id": device_of(&disk.id),
                    "drive": node_of(&disk.id)?,
                    "serial": disk.serial,
                    "num-queues": queues(self.cpus),
                    "rerror": "report",
                    "werror": "report",
                })
            }
        };
        match self.ask("device_add", device, QMP_LIMIT * 3).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // If QEMU is only slow the device may still come; then its back end is in use and stays.
                let _ = self.remove_back_end(&disk.id).await;
                Err(self.explain(&format!("disk {}", disk.id), &error))
            }
        }
    }

    /// Takes a disk out. One that is not in is fine.
    ///
    /// # Errors
    /// `GuestBusy` when the guest has not let go within `patience`, or says that it will not.
    pub async fn unplug(&self, disk: &str, patience: Duration) -> Result<(), ComputeError> {
        let _plugging = self.plugging.lock().await;
        let mut news = self.unplugging.subscribe();
        let deadline = Instant::now() + patience;
        if self.has(disk).await? {
            self.ask_for(disk).await?;
        }
        while self.has(disk).await? {
            let left = deadline.saturating_duration_since(Instant::now());
            let busy = |why: String| {
                let text = format!("guest {} does not let go of disk {disk}: {why}", self.id);
                Err(ComputeError::new(ComputeErrorKind::GuestBusy, text))
            };
            if left.is_zero() {
                return busy(format!("it has not answered within {patience:?}"));
            }
            match timeout(left.min(LIST_EVERY), news.recv()).await {
                Ok(Ok(Unplugging::Refused(which))) if which == disk => {
                    return busy("its system refuses".to_owned());
                }
                // Something else, or nothing: look again.
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(_)) => sleep(LOOK_EVERY).await,
            }
        }
        self.remove_back_end(disk).await
    }

    /// After a device has gone by itself: its socket goes too, unless the disk is back.
    pub async fn forget_socket_of(&self, disk: &str) {
        let _plugging = self.plugging.lock().await;
        if let Ok(false) = self.has(disk).await
            && let Err(error) = self.remove_back_end(disk).await
        {
            tracing::warn!(guest = self.id, disk, %error, "the socket of a disk that is gone");
        }
    }

    /// Whether it has the disk.
    pub async fn has(&self, disk: &str) -> Result<bool, ComputeError> {
        let arguments = json!({ "path": "/machine/peripheral" });
        let listed = self.ask("qom-list", arguments, QMP_LIMIT).await;
        let listed = listed.map_err(|error| self.explain("its devices", &error))?;
        let mut names = listed
            .as_array()
            .into_iter()
            .flatten()
            .map(|device| device["name"].as_str());
        Ok(names.any(|name| name == Some(&device_of(disk))))
    }

    async fn ask_for(&self, disk: &str) -> Result<(), ComputeError> {
        let arguments = json!({ "id": device_of(disk) });
        match self.ask("device_del", arguments, QMP_LIMIT).await {
            Ok(_) => Ok(()),
            Err(QmpError::Refused { class, .. }) if class == "DeviceNotFound" => Ok(()),
            // It has been asked before.
            Err(QmpError::Refused { text, .. }) if text.contains("in the process of unplug") => Ok(()),
            Err(error) => Err(self.explain(&format!("disk {disk}"), &error)),
        }
    }

    /// Has QEMU connect to the back end, and waits until it has.
    async fn add_socket(&self, disk: &GuestDisk) -> Result<(), ComputeError> {
        let path = socket_path(&disk.socket)?;
        let mut socket = json!({ "addr": { "type": "unix", "data": { "path": path } }, "server": false });
        match self.version().is_some_and(reconnects_in_ms) {
            true => socket["reconnect-ms"] = 200.into(),
            false => socket["reconnect"] = 1.into(),
        }
        let name = chardev_of(&disk.id);
        let arguments = json!({ "id": name, "backend": { "type": "socket", "data": socket } });
        let added = self.ask("chardev-add", arguments, QMP_LIMIT).await;
        added.map_err(|error| self.explain(&format!("disk {}", disk.id), &error))?;
        let deadline = Instant::now() + BACK_END_LIMIT;
        loop {
            match self.socket_state(&name).await? {
                Some(true) => return Ok(()),
                _ if Instant::now() >= deadline => {
                    self.remove_socket(&disk.id).await?;
                    return Err(ComputeError::failed(format!(
                        "guest {}: disk {}: nobody answers at {path}",
                        self.id, disk.id
                    )));
                }
                _ => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Whether a character device is connected; none if there is no such one.
    async fn socket_state(&self, name: &str) -> Result<Option<bool>, ComputeError> {
        let listed = self.ask("query-chardev", json!({}), QMP_LIMIT).await;
        let listed = listed.map_err(|error| self.explain("its sockets", &error))?;
        let mut all = listed.as_array().into_iter().flatten();
        let found = all.find(|chardev| chardev["label"] == name);
        let connected = |chardev: &serde_json::Value| {
            let filename = chardev["filename"].as_str().unwrap_or_default();
            !filename.starts_with("disconnected:")
        };
        Ok(found.map(connected))
    }

    /// Has QEMU's block layer connect to the server.
    async fn add_node(&self, disk: &GuestDisk) -> Result<(), ComputeError> {
        let path = socket_path(&disk.nbd)?;
        let there = timeout(QMP_LIMIT, tokio::net::UnixStream::connect(path)).await;
        if !matches!(there, Ok(Ok(_))) {
            return Err(ComputeError::failed(format!(
                "guest {}: disk {}: nobody answers at {path}",
                self.id, disk.id
            )));
        }
        let version = self.version().unwrap_or(Version { major: 0, minor: 0 });
        let added = self
            .ask("blockdev-add", block_node(disk, version)?, BACK_END_LIMIT)
            .await;
        added
            .map(drop)
            .map_err(|error| self.explain(&format!("disk {}", disk.id), &error))
    }

    async fn has_node(&self, name: &str) -> Result<bool, ComputeError> {
        let listed = self
            .ask("query-named-block-nodes", json!({ "flat": true }), QMP_LIMIT)
            .await;
        let listed = listed.map_err(|error| self.explain("its block nodes", &error))?;
        let mut all = listed.as_array().into_iter().flatten();
        Ok(all.any(|node| node["node-name"] == name))
    }

    /// Removes what connects QEMU to a disk's server, if there is something, however it was connected.
    async fn remove_back_end(&self, disk: &str) -> Result<(), ComputeError> {
        let name = node_of(disk)?;
        let deadline = Instant::now() + SOCKET_LIMIT;
        while self.has_node(&name).await? {
            let arguments = json!({ "node-name": name });
            match self.ask("blockdev-del", arguments, QMP_LIMIT).await {
                Ok(_) => break,
                Err(error) if Instant::now() >= deadline => {
                    return Err(self.explain(&format!("block node of disk {disk}"), &error));
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
        self.remove_socket(disk).await
    }

    /// Removes a disk's socket, if there is one.
    async fn remove_socket(&self, disk: &str) -> Result<(), ComputeError> {
        let name = chardev_of(disk);
        let deadline = Instant::now() + SOCKET_LIMIT;
        while self.socket_state(&name).await?.is_some() {
            let removed = self.ask("chardev-remove", json!({ "id": name }), QMP_LIMIT).await;
            match removed {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(self.explain(&format!("socket of disk {disk}"), &error));
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
        Ok(())
    }
}
