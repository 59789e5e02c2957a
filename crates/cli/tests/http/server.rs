//! A service for one test, and a client that signs.

use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tempfile::TempDir;
use tidemark_api::{ApiState, Bounds, router, serve};
use tidemark_control::{Clock, Control, ControlConfig, Throttle, ThrottleConfig};
use tidemark_ecs::sign::{Credentials, encode_form, v1, v3};
use tidemark_ecs::time;
use tidemark_node::{Node, NodeConfig};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// The time at which every service starts: 2026-01-02T03:04:05Z.
const START_MS: i64 = 1_767_323_045_000;
static NONCE: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Server {
    runtime: Runtime,
    now_ms: Arc<AtomicI64>,
    running: Option<Running>,
    /// `127.0.0.1:port`
    pub(crate) host: String,
    dir: TempDir,
}

struct Running {
    control: Control,
    node: Node,
    serving: JoinHandle<()>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// `status Code`, or `200`.
    pub(crate) fn outcome(&self) -> String {
        match self.status {
            200 => "200".into(),
            status => format!("{status} {}", self.json()["Code"].as_str().unwrap_or("?")),
        }
    }
}

/// The root key of every service here.
pub(crate) fn root() -> Credentials {
    Credentials {
        access_key_id: "testid".into(),
        access_key_secret: "testsecret".into(),
        security_token: None,
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut server = Self {
            runtime,
            now_ms: Arc::new(AtomicI64::new(START_MS)),
            running: None,
            host: String::new(),
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        server.open();
        server
    }

    fn open(&mut self) {
        let now_ms = self.now_ms.clone();
        let clock = Clock::new(move || now_ms.load(Ordering::SeqCst));
        let (running, host) = self.runtime.block_on(open(self.dir.path(), clock));
        self.running = Some(running);
        self.host = host;
    }

    /// Stops everything and starts it again on the same directory.
    pub(crate) fn restart(&mut self) {
        self.close();
        self.open();
    }

    fn close(&mut self) {
        if let Some(Running {
            control,
            node,
            serving,
        }) = self.running.take()
        {
            serving.abort();
            self.runtime.block_on(async {
                control.shutdown().await;
                node.shutdown().await;
            });
        }
    }

    /// Moves the service's time.
    pub(crate) fn pass(&self, seconds: i64) {
        self.now_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// The service's time, as requests carry it.
    pub(crate) fn timestamp(&self) -> String {
        let now = jiff::Timestamp::from_millisecond(self.now_ms.load(Ordering::SeqCst));
        time::seconds(now.expect("a test's own time"))
    }

    /// Sends anything.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(String, String)], body: &str) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.host));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body.to_owned()).expect("a test's own request");
        let mut response = agent.run(request).expect("the server answers");
        let content_type = response
            .headers()
            .get("content-type")
            .and_then(|kind| kind.to_str().ok());
        Answer {
            content_type: content_type.unwrap_or_default().to_owned(),
            status: response.status().as_u16(),
            text: response.body_mut().read_to_string().expect("a body"),
        }
    }

    /// A V1 query, signed with the service's time and a new nonce.
    pub(crate) fn sign(&self, key: &Credentials, method: &str, action: &str, parameters: &str) -> String {
        let own = tidemark_ecs::sign::decode_form(parameters).expect("a test's own parameters");
        let nonce = NONCE.fetch_add(1, Ordering::SeqCst).to_string();
        let pairs = v1::sign_request(key, method, action, "JSON", &own, &self.timestamp(), &nonce);
        encode_form(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Calls an action as V1 SDKs do: POST, all in the query.
    pub(crate) fn call(&self, action: &str, parameters: &str) -> Answer {
        let query = self.sign(&root(), "POST", action, parameters);
        self.send("POST", &format!("/?{query}"), &[], "")
    }

    /// Calls an action that must succeed.
    pub(crate) fn ok(&self, action: &str, parameters: &str) -> Value {
        let answer = self.call(action, parameters);
        assert_eq!(answer.status, 200, "{action} {parameters}: {}", answer.text);
        answer.json()
    }

    /// Headers of a V3 call to this server.
    pub(crate) fn sign_v3(
        &self,
        action: &str,
        version: &str,
        query: &[(String, String)],
    ) -> Vec<(String, String)> {
        let nonce = NONCE.fetch_add(1, Ordering::SeqCst).to_string();
        let timestamp = self.timestamp();
        let call = v3::Call {
            method: "POST",
            host: &self.host,
            action,
            version,
            query,
            timestamp: &timestamp,
            nonce: &nonce,
        };
        v3::sign_request(&root(), &call)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

async fn open(dir: &Path, clock: Clock) -> (Running, String) {
    let node = Node::start(NodeConfig {
        nbd_socket: Some(dir.join("nbd.sock")),
        spool_bytes_max: 64 << 20,
        ..NodeConfig::new(dir.to_owned(), dir.join("vault"))
    })
    .await
    .expect("a node");
    let mut config = ControlConfig::new(dir);
    config.root_key = Some((root().access_key_id, root().access_key_secret));
    config.clock = clock.clone();
    let control = Control::open(config, node.clone())
        .await
        .expect("a control plane");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let mut state = ApiState::new(
        control.clone(),
        Arc::new(Throttle::new(ThrottleConfig::default())),
    );
    state.clock = clock;
    let serving = tokio::spawn(serve(
        listener,
        router(state),
        Bounds::default(),
        std::future::pending(),
    ));
    (
        Running {
            control,
            node,
            serving,
        },
        host,
    )
}
