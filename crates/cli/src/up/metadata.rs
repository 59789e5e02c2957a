//! The metadata service beside the API: started before anything says that the service is ready, because a guest asks once
//! at its start, and stopped with it.

use super::DRAIN;
use super::settings::{Settings, reachable};
use anyhow::{Context, Result};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;
use tidemark_api::{MetadataConfig, MetadataServer};
use tidemark_control::{Control, MetadataSockets};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Before a guest's socket that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The running service.
pub struct Metadata {
    /// For guests that we run: their sockets are attached here.
    server: MetadataServer,
    /// Where machines of others reach it, if it has an address.
    pub address: Option<SocketAddr>,
    listening: Option<JoinHandle<()>>,
    /// Gives each guest its socket.
    following: JoinHandle<()>,
}

impl Metadata {
    /// Serves at `listener`, if there is one, until `closed` says so.
    pub fn start(
        settings: &Settings,
        listener: Option<TcpListener>,
        control: &Control,
        mut closed: watch::Receiver<bool>,
    ) -> Result<Self> {
        let config = MetadataConfig {
            data_dir: settings.data_dir.clone(),
            site: settings.site.clone(),
            refuse_this_machine: settings.guests.may_reach_loopback(&settings.data_dir),
        };
        let server =
            MetadataServer::open(control.clone(), config).context("cannot prepare the metadata service")?;
        let following = tokio::spawn(follow(server.clone(), control.metadata_sockets()));
        let mut address = None;
        let mut listening = None;
        if let Some(listener) = listener {
            let own = listener
                .local_addr()
                .context("cannot tell the metadata service's address")?;
            address = Some(reachable(own));
            let listener = tokio::net::TcpListener::from_std(listener).context("cannot serve metadata")?;
            let service = server.clone();
            listening = Some(tokio::spawn(async move {
                let until = async move {
                    // The sender's end is an end, too.
                    let _ = closed.wait_for(|closed| *closed).await;
                };
                service.serve(listener, until).await;
            }));
        }
        Ok(Self {
            server,
            address,
            listening,
            following,
        })
    }

    /// Once `closed` was told: waits for the requests under way, but not for long.
    pub async fn stop(self) {
        self.following.abort();
        self.server.detach_all();
        if let Some(listening) = self.listening {
            let end = listening.abort_handle();
            if tokio::time::timeout(DRAIN, listening).await.is_err() {
                end.abort();
            }
        }
    }
}

/// Has a socket for each guest that there is, where the control plane says. What cannot be made is tried again: a guest without
/// has no metadata for as long as it runs.
async fn follow(server: MetadataServer, mut wanted: watch::Receiver<MetadataSockets>) {
    let mut served = MetadataSockets::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        served.retain(|id, _| {
            let stays = now.contains_key(id);
            if !stays {
                server.detach(id);
            }
            stays
        });
        for (id, socket) in &now {
            if served.get(id) == Some(socket) {
                continue;
            }
            match attach(&server, id, socket) {
                Ok(()) => drop(served.insert(id.clone(), socket.clone())),
                Err(error) => {
                    tracing::error!(instance = %id, socket = %socket.display(), %error, "a guest has no metadata service");
                }
            }
        }
        let changed = match served == now {
            true => wanted.changed().await,
            false => tokio::time::timeout(RETRY, wanted.changed())
                .await
                .unwrap_or(Ok(())),
        };
        if changed.is_err() {
            return;
        }
    }
}

fn attach(server: &MetadataServer, id: &str, socket: &Path) -> std::io::Result<()> {
    if let Some(dir) = socket.parent() {
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(dir)?;
    }
    server.attach(id, socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use tidemark_control::{Caller, ControlConfig};
    use tidemark_ecs::Params;
    use tidemark_ecs::actions::run_instances::Request;
    use tidemark_node::{Node, NodeConfig};

    struct Stage {
        dir: tempfile::TempDir,
        node: Node,
        control: Control,
        server: MetadataServer,
    }

    impl Stage {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let place = |name: &str| dir.path().join(name);
            let config = NodeConfig {
                spool_bytes_max: 1 << 30,
                ..NodeConfig::new(place("node"), place("vault"))
            };
            let node = Node::start(config).await.unwrap();
            let control = Control::open(ControlConfig::new(place("control")), node.clone())
                .await
                .unwrap();
            let config = MetadataConfig {
                data_dir: dir.path().to_owned(),
                ..MetadataConfig::default()
            };
            let server = MetadataServer::open(control.clone(), config).unwrap();
            Self {
                dir,
                node,
                control,
                server,
            }
        }

        async fn instance(&self) -> String {
            self.instance_at("10.0.0.1").await
        }

        async fn instance_at(&self, address: &str) -> String {
            let key = self.control.root_key().await.unwrap();
            let caller = Caller {
                region: Some("cn-hangzhou".into()),
                ..self.control.caller(&key)
            };
            let asked = [
                ("RegionId", "cn-hangzhou"),
                ("InstanceType", "tidemark.external"),
                ("PrivateIpAddress", address),
            ];
            let request = Request::parse(&Params::from_pairs(asked).unwrap()).unwrap();
            let made = self.control.run_instances(&caller, request).await.unwrap();
            made.instance_id_sets[0].clone()
        }

        fn socket(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        async fn end(self) {
            self.server.detach_all();
            self.control.shutdown().await;
            self.node.shutdown().await;
        }
    }

    /// The whole answer to one request.
    async fn ask(socket: &Path, request: &str) -> std::io::Result<String> {
        let (socket, request) = (socket.to_owned(), request.to_owned());
        let exchange = move || exchange(UnixStream::connect(socket)?, &request);
        tokio::task::spawn_blocking(exchange).await.unwrap()
    }

    /// The same over TCP, from 127.0.0.1.
    async fn ask_at(address: SocketAddr, request: &str) -> String {
        let request = request.to_owned();
        let exchange = move || exchange(TcpStream::connect(address)?, &request);
        tokio::task::spawn_blocking(exchange).await.unwrap().unwrap()
    }

    fn exchange(mut stream: impl Read + Write, request: &str) -> std::io::Result<String> {
        stream.write_all(format!("{request}connection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    const WHO: &str = "GET /latest/meta-data/instance-id HTTP/1.1\r\nhost: 100.100.100.200\r\n";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_guests_socket_is_that_guests_alone() {
        let stage = Stage::new().await;
        let (one, two) = (stage.instance().await, stage.instance().await);
        let (at_one, at_two) = (stage.socket("one.sock"), stage.socket("two.sock"));
        // One is left from a service that was killed.
        drop(UnixListener::bind(&at_one).unwrap());
        stage.server.attach(&one, &at_one).unwrap();
        stage.server.attach(&two, &at_two).unwrap();
        for (id, socket) in [(&one, &at_one), (&two, &at_two)] {
            let mode = std::fs::metadata(socket).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let answer = ask(socket, WHO).await.unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("\r\n\r\n{id}")),
                "{answer}"
            );
        }
        let put =
            "PUT /latest/api/token HTTP/1.1\r\nhost: h\r\nx-aliyun-ecs-metadata-token-ttl-seconds: 60\r\n";
        let answer = ask(&at_one, put).await.unwrap();
        let token = answer.split("\r\n\r\n").nth(1).unwrap();
        let with_token = format!("{WHO}x-aliyun-ecs-metadata-token: {token}\r\n");
        assert!(ask(&at_one, &with_token).await.unwrap().contains(" 200 "));
        let refused = ask(&at_two, &with_token).await.unwrap();
        assert!(refused.contains(" 401 ") && !refused.contains(&one), "{refused}");

        // Its place is anew what it was told last; without one, nobody is there.
        let moved = stage.socket("moved.sock");
        stage.server.attach(&one, &moved).unwrap();
        assert!(ask(&moved, WHO).await.unwrap().ends_with(&one));
        assert!(!at_one.exists());
        stage.server.detach(&one);
        stage.server.detach("i-none");
        assert_eq!(ask(&moved, WHO).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(ask(&at_two, WHO).await.unwrap().ends_with(&two), "others stay");
        stage.end().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_socket_takes_no_other_files_place_and_an_instance_that_is_gone_is_nobody() {
        let stage = Stage::new().await;
        let file = stage.socket("file");
        std::fs::write(&file, "kept").unwrap();
        let error = stage.server.attach("i-1", &file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
        let socket = stage.socket("gone.sock");
        stage.server.attach("i-gone", &socket).unwrap();
        assert!(ask(&socket, WHO).await.unwrap().contains(" 404 "));
        stage.end().await;
    }
    /// A guest behind QEMU's user-mode network seems to be this machine itself.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_guests_may_seem_to_be_this_machine_it_is_nobody() {
        let stage = Stage::new().await;
        let id = stage.instance_at("127.0.0.1").await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = stage.server.clone();
        let serving = tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
        // It is Running soon after it was made.
        let begun = std::time::Instant::now();
        while !ask_at(address, WHO).await.ends_with(&id) {
            assert!(begun.elapsed().as_secs() < 60, "it is not answered");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        stage.server.set_refuse_this_machine(true);
        let refused = ask_at(address, WHO).await;
        assert!(refused.contains(" 404 ") && !refused.contains(&id), "{refused}");
        // What has a socket of its own is not concerned.
        let socket = stage.socket("one.sock");
        stage.server.attach(&id, &socket).unwrap();
        assert!(ask(&socket, WHO).await.unwrap().ends_with(&id));
        serving.abort();
        stage.end().await;
    }
}
