//! The HTTP client behind every command that talks to the API: signs, sends, reads, explains.
//!
//! Requests look as the V1 SDKs send them (ecs-api.md 6.1): everything in the query, empty form
//! body, JSON answers. A server that asks for patience (`x-acs-retry-after`) gets three more
//! tries; nothing else is sent twice, because a create without a ClientToken is not idempotent.
//! Not here: what to print.

use crate::credentials::Connection;
use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tidemark_ecs::sign::{Credentials, encode_form, v1};

/// Further tries that a server may ask for, and the longest wait that it may ask for.
const RETRIES_MAX: u32 = 3;
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);
/// Actions only start work, so an answer that takes longer than this will not come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A full page of the largest resource is far below this.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A refusal by the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// HTTP status.
    pub status: u16,
    /// The documented code.
    pub code: String,
    /// The text for people.
    pub message: String,
    /// A link that helps, or nothing.
    pub recommend: String,
    /// Names the request in the server's log.
    pub request_id: String,
    /// Response headers, sorted by name.
    pub headers: BTreeMap<String, Vec<String>>,
}

impl std::error::Error for ServerError {}

impl std::fmt::Display for ServerError {
    /// As the reference client prints it, headers in the notation of its language.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<String> = self
            .headers
            .iter()
            .map(|(n, v)| format!("{n}:[{}]", v.join(" ")))
            .collect();
        write!(
            f,
            "SDK.ServerError\nErrorCode: {}\nRecommend: {}\nRequestId: {}\nMessage: {}\nRespHeaders: map[{}]",
            self.code,
            self.recommend,
            self.request_id,
            self.message,
            headers.join(" ")
        )
    }
}

/// The server was not reached, or did not answer: it may be there again later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable(String);

impl std::error::Error for Unreachable {}

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a call failed because the service is away or goes away, and not because of what was asked.
pub fn is_away(error: &anyhow::Error) -> bool {
    error.is::<Unreachable>()
        || error
            .downcast_ref()
            .is_some_and(|e: &ServerError| e.status == 503)
}

/// How to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The SDKs' habit.
    #[default]
    Post,
    /// Means the same to the server.
    Get,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Method::Post => "POST",
            Method::Get => "GET",
        }
    }
}

/// A connection that can be called.
pub struct Client {
    connection: Connection,
    credentials: Credentials,
    agent: ureq::Agent,
    /// How requests are sent.
    pub method: Method,
    /// Headers added to each request.
    pub headers: Vec<(String, String)>,
}

/// One answer of the server, whatever its status.
struct Answer {
    status: u16,
    headers: BTreeMap<String, Vec<String>>,
    body: String,
}

impl Client {
    /// A client for the connection. Nothing is sent yet.
    pub fn new(connection: Connection) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Endpoints are local: a proxy meant for the internet must not see the signed request.
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build();
        let credentials = Credentials {
            access_key_id: connection.access_key_id.clone(),
            access_key_secret: connection.access_key_secret.clone(),
            security_token: connection.security_token.clone(),
        };
        Self {
            connection,
            credentials,
            agent: config.new_agent(),
            method: Method::default(),
            headers: Vec::new(),
        }
    }

    /// Where it goes.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Calls an action and returns the body of its 200 answer. Fails with a [`ServerError`] when the
    /// server refuses, an [`Unreachable`] when it cannot be reached, and a plain explanation when it is not understood.
    pub fn call(&self, action: &str, parameters: &[(String, String)]) -> Result<String> {
        let mut retry_headers = Vec::new();
        let mut attempt = 0;
        loop {
            let answer = self.send(action, parameters, &retry_headers)?;
            if (200..300).contains(&answer.status) {
                return Ok(answer.body);
            }
            let error = self.explain(answer);
            let Some(wait) = retry_after(&error.headers).filter(|_| attempt < RETRIES_MAX) else {
                return Err(error.into());
            };
            attempt += 1;
            eprintln!(
                "{}: trying again in {:.1} s ({attempt} of {RETRIES_MAX})",
                error.code,
                wait.as_secs_f64()
            );
            retry_headers = vec![
                ("x-acs-retry-attempts".to_string(), attempt.to_string()),
                ("x-acs-retry-delay".to_string(), wait.as_millis().to_string()),
            ];
            std::thread::sleep(wait);
        }
    }

    /// [`Client::call`], read as JSON.
    pub fn call_json(&self, action: &str, parameters: &[(String, String)]) -> Result<Value> {
        let body = self.call(action, parameters)?;
        serde_json::from_str(&body).with_context(|| {
            format!(
                "{action}: {} answered what is not JSON; is it a Tidemark API?",
                self.connection.endpoint.url()
            )
        })
    }

    fn send(
        &self,
        action: &str,
        parameters: &[(String, String)],
        more: &[(String, String)],
    ) -> Result<Answer> {
        let mut parameters = parameters.to_vec();
        for (name, value) in [
            ("RegionId", self.connection.region.as_str()),
            ("SignatureType", ""),
        ] {
            if !parameters.iter().any(|(n, _)| n == name) {
                parameters.push((name.into(), value.into()));
            }
        }
        // Actions of the services beside ECS say their own.
        let version = parameters.iter().find(|(name, _)| name == "Version");
        let version = version.map_or(tidemark_ecs::API_VERSION, |(_, value)| value.as_str());
        let timestamp = tidemark_ecs::time::seconds(Timestamp::now());
        let method = self.method.as_str();
        let signed = v1::sign_request(
            &self.credentials,
            method,
            action,
            "JSON",
            &parameters,
            &timestamp,
            &random_hex::<16>()?,
        );
        let query = encode_form(signed.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let url = format!("{}/?{query}", self.connection.endpoint.url());

        let mut builder = ureq::http::Request::builder()
            .method(method)
            .uri(&url)
            .header("user-agent", concat!("tidemark-cli/", env!("CARGO_PKG_VERSION")))
            .header("x-acs-action", action)
            .header("x-acs-version", version);
        if self.method == Method::Post {
            builder = builder.header("content-type", "application/x-www-form-urlencoded");
        }
        for (name, value) in self.headers.iter().chain(more) {
            builder = builder.header(name, value);
        }
        let result = match self.method {
            Method::Post => self
                .agent
                .run(builder.body("").context("cannot build the request")?),
            Method::Get => self
                .agent
                .run(builder.body(()).context("cannot build the request")?),
        };
        let mut response = result.map_err(|error| self.unreachable(error))?;
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in response.headers() {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers
                .entry(canonical_header(name.as_str()))
                .or_default()
                .push(value);
        }
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|error| self.unreachable(error))?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers,
            body,
        })
    }

    fn unreachable(&self, error: ureq::Error) -> anyhow::Error {
        let url = self.connection.endpoint.url();
        let why = match error {
            ureq::Error::Io(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => {
                "connection refused.\nNothing listens there: is `tidemark up` running?".to_owned()
            }
            ureq::Error::HostNotFound => "no such host".to_owned(),
            ureq::Error::Timeout(_) => "no answer in time".to_owned(),
            other => other.to_string(),
        };
        Unreachable(format!("cannot reach {url}: {why}")).into()
    }

    /// An error answer, also when its body is not what the contract promises.
    fn explain(&self, answer: Answer) -> ServerError {
        let Answer {
            status,
            headers,
            body,
        } = answer;
        let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |name: &str| parsed[name].as_str().unwrap_or_default().to_string();
        let mut error = ServerError {
            status,
            code: text("Code"),
            message: text("Message"),
            recommend: text("Recommend"),
            request_id: text("RequestId"),
            headers,
        };
        if error.code.is_empty() {
            error.code = format!("HTTP {status}");
            let shown: String = body.chars().take(200).collect();
            error.message = format!(
                "{} answered what is no API error: {shown}",
                self.connection.endpoint.url()
            );
        }
        error
    }
}

/// The wait that the server asks for.
fn retry_after(headers: &BTreeMap<String, Vec<String>>) -> Option<Duration> {
    let millis = headers.get("X-Acs-Retry-After")?.first()?.trim().parse().ok()?;
    Some(Duration::from_millis(millis).min(RETRY_WAIT_MAX))
}

/// `content-type` -> `Content-Type`.
fn canonical_header(name: &str) -> String {
    let parts: Vec<String> = name
        .split('-')
        .map(|part| {
            let mut chars = part.chars();
            chars
                .next()
                .map(|c| c.to_ascii_uppercase().to_string() + chars.as_str())
                .unwrap_or_default()
        })
        .collect();
    parts.join("-")
}

/// `N` random bytes as lower-case hex.
pub fn random_hex<const N: usize>() -> Result<String> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("the system has no randomness: {e}"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Shorthand for a parameter list.
pub fn params<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs
        .into_iter()
        .map(|(n, v)| (n.to_string(), v.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    /// Answers the given raw responses to one connection each and returns the request heads.
    fn serve(answers: Vec<&'static str>) -> (Client, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let thread = std::thread::spawn(move || {
            answers
                .into_iter()
                .map(|answer| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut head = String::new();
                    loop {
                        let mut line = String::new();
                        reader.read_line(&mut line).unwrap();
                        if line == "\r\n" || line.is_empty() {
                            break;
                        }
                        head += &line;
                    }
                    stream.write_all(answer.as_bytes()).unwrap();
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                    let _ = reader.read_to_end(&mut Vec::new());
                    head
                })
                .collect()
        });
        let connection = Connection {
            endpoint,
            region: "cn-hangzhou".into(),
            access_key_id: "testid".into(),
            access_key_secret: "testsecret".into(),
            security_token: None,
            nbd_socket: None,
        };
        (Client::new(connection), thread)
    }

    #[test]
    fn the_request_is_signed_and_in_the_query() {
        let (client, server) = serve(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        ]);
        let body = client
            .call(
                "CreateSnapshot",
                &params([("DiskId", "d-1"), ("SnapshotName", "a b")]),
            )
            .unwrap();
        assert_eq!(body, "{}");
        let heads = server.join().unwrap();
        let head = &heads[0];
        let query = head.split(' ').nth(1).unwrap().strip_prefix("/?").unwrap();
        assert!(head.starts_with("POST /?"), "{head}");
        let pairs = tidemark_ecs::sign::decode_form(query).unwrap();
        let get = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(get("Action"), Some("CreateSnapshot"));
        assert_eq!(get("RegionId"), Some("cn-hangzhou"));
        assert_eq!(get("SnapshotName"), Some("a b"));
        let text = v1::string_to_sign("POST", pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        assert!(v1::verify("testsecret", &text, get("Signature").unwrap()));
    }

    #[test]
    fn a_refusal_prints_as_the_reference_client_prints_it() {
        let body = r#"{"RequestId":"R","HostId":"h","Code":"InvalidDiskId.NotFound","Message":"No such disk.","Recommend":"u"}"#;
        let answer: &'static str = Box::leak(
            format!(
                "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .into_boxed_str(),
        );
        let (client, server) = serve(vec![answer]);
        let error = client.call("DeleteDisk", &[]).unwrap_err();
        server.join().unwrap();
        assert_eq!(
            error.to_string(),
            "SDK.ServerError\nErrorCode: InvalidDiskId.NotFound\nRecommend: u\nRequestId: R\nMessage: No such disk.\n\
             RespHeaders: map[Connection:[close] Content-Length:[103] Content-Type:[application/json]]"
                .replace("103", &body.len().to_string())
        );
    }

    #[test]
    fn a_server_that_asks_for_patience_gets_another_try() {
        let (client, server) = serve(vec![
            "HTTP/1.1 400 Bad\r\nx-acs-retry-after: 1\r\nContent-Length: 21\r\nConnection: close\r\n\r\n{\"Code\":\"Throttling\"}",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        ]);
        assert_eq!(client.call("DescribeDisks", &[]).unwrap(), "{}");
        let heads = server.join().unwrap();
        assert!(
            heads[1].to_lowercase().contains("x-acs-retry-attempts: 1"),
            "{}",
            heads[1]
        );
        let nonce = |head: &str| head.split("SignatureNonce=").nth(1).unwrap()[..32].to_string();
        assert_ne!(
            nonce(&heads[0]),
            nonce(&heads[1]),
            "a repeated nonce would be refused"
        );
    }

    #[test]
    fn what_is_no_api_is_said_so() {
        let (client, server) = serve(vec![
            "HTTP/1.1 502 Bad\r\nContent-Length: 7\r\nConnection: close\r\n\r\n<html/>",
        ]);
        let error = client.call("DescribeDisks", &[]).unwrap_err().to_string();
        server.join().unwrap();
        assert!(error.contains("HTTP 502") && error.contains("<html/>"), "{error}");

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let mut connection = client.connection().clone();
        connection.endpoint = Endpoint::parse(&address).unwrap();
        let error = Client::new(connection)
            .call("DescribeDisks", &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&address) && error.contains("tidemark up"),
            "{error}"
        );
    }
}
