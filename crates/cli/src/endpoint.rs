//! The API's address as users write it: `host:port`, `http://host:port`, `[::1]:7480`.

use anyhow::{Result, bail};

/// The API's port when none is written.
pub const DEFAULT_PORT: u16 = 7480;

/// A checked address of the API, reached by plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    authority: String,
}

impl Endpoint {
    /// Reads an address; a missing port is [`DEFAULT_PORT`].
    pub fn parse(text: &str) -> Result<Self> {
        let rest = match text.trim().split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                bail!(
                    "endpoint {text:?}: HTTPS is not offered by this client yet; use http:// (loopback or a tunnel)"
                )
            }
            Some((scheme, _)) => {
                bail!("endpoint {text:?}: unknown scheme {scheme:?}; write http://host:port")
            }
            None => text.trim(),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            bail!("endpoint {text:?} is not an address; write host:port");
        }
        // What follows the last colon is a port, unless that colon is inside the brackets of an IPv6 address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare_v6 {
            bail!("endpoint {text:?} is not an address; write host:port, an IPv6 host in [brackets]");
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => bail!("endpoint {text:?}: {port:?} is no port"),
            },
        };
        Ok(Self {
            authority: format!("{host}:{port}"),
        })
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        for (text, url) in [
            ("127.0.0.1:7480", "http://127.0.0.1:7480"),
            ("http://127.0.0.1:80/", "http://127.0.0.1:80"),
            ("storage.example", "http://storage.example:7480"),
            ("[::1]:9", "http://[::1]:9"),
            ("[::1]", "http://[::1]:7480"),
        ] {
            assert_eq!(Endpoint::parse(text).expect(text).url(), url);
        }
    }

    #[test]
    fn refusals_name_the_text() {
        for text in [
            "",
            ":80",
            "h:0",
            "h:99999",
            "h:x",
            "::1:80",
            "ftp://h",
            "https://h",
            "h/path",
            "u@h:1",
        ] {
            let error = Endpoint::parse(text).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
