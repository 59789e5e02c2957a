//! Requests taken apart, and answers with the headers that every one has.

use crate::fields::Fields;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use maud::Markup;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tidemark_ecs::ApiError;

/// Largest form: a policy document and twenty tags fit many times.
const FORM_BYTES_MOST: usize = 64 * 1024;
/// How long a browser may take to send one.
const FORM_TIME: Duration = Duration::from_secs(30);

/// The cookie that holds a session's token.
pub(crate) const SESSION_COOKIE: &str = "tidemark_console";
/// The cookie that remembers the region.
pub(crate) const REGION_COOKIE: &str = "tidemark_region";

/// What a page may do: nothing from elsewhere, no script and no style but our files, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// One request.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// `POST`; otherwise it is `GET` or `HEAD`.
    pub(crate) is_post: bool,
    /// Below `/console/`, without slashes at its ends.
    pub(crate) path: String,
    pub(crate) query: Fields,
    pub(crate) form: Fields,
    pub(crate) headers: HeaderMap,
    pub(crate) source: Option<IpAddr>,
}

impl Incoming {
    /// Reads it all. A refusal is a status and a sentence.
    pub(crate) async fn read(parts: Parts, body: Body) -> Result<Self, (StatusCode, String)> {
        let is_post = match parts.method {
            Method::POST => true,
            Method::GET | Method::HEAD => false,
            _ => {
                return Err((
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Only GET and POST are served.".to_owned(),
                ));
            }
        };
        let refused = |error: ApiError| (StatusCode::BAD_REQUEST, error.message);
        let query = Fields::parse(parts.uri.query().unwrap_or_default()).map_err(refused)?;
        let form = if is_post {
            let read = tokio::time::timeout(FORM_TIME, axum::body::to_bytes(body, FORM_BYTES_MOST)).await;
            let bytes = match read {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(_)) => {
                    return Err((StatusCode::PAYLOAD_TOO_LARGE, "The form is too large.".to_owned()));
                }
                Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "The form did not arrive.".to_owned())),
            };
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| (StatusCode::BAD_REQUEST, "The form is not UTF-8.".to_owned()))?;
            Fields::parse(text).map_err(refused)?
        } else {
            Fields::default()
        };
        let source = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let path = parts.uri.path();
        let path = path.strip_prefix("/console").unwrap_or(path).trim_matches('/');
        Ok(Self {
            is_post,
            path: path.to_owned(),
            query,
            form,
            source: source.map(|ConnectInfo(address)| address.ip()),
            headers: parts.headers,
        })
    }

    /// A header's text, or `""`.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A cookie's value.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    /// Whether a browser says that another site made it send this. Browsers name the origin of every form that they send to
    /// another site; what names none is no browser, or has nothing to lose.
    pub(crate) fn is_from_elsewhere(&self) -> bool {
        match self.header("sec-fetch-site") {
            "" => {}
            site => return !matches!(site, "same-origin" | "none"),
        }
        match self.header(header::ORIGIN.as_str()) {
            "" => false,
            origin => {
                let host = origin.split_once("://").map_or(origin, |(_, host)| host);
                host != self.header(header::HOST.as_str())
            }
        }
    }

    /// Whether the page's own script asks, to follow what happens: that is no sign of anybody at the keyboard.
    pub(crate) fn is_following(&self) -> bool {
        self.path == "live" || !self.header("x-console-follow").is_empty()
    }

    /// The whole address below this host, to come back to.
    pub(crate) fn address(&self) -> String {
        let query = self.query.without(&["region"]).query();
        match (self.path.as_str(), query.as_str()) {
            ("", "") => "/console".to_owned(),
            (path, "") => format!("/console/{path}"),
            (path, query) => format!("/console/{path}?{query}"),
        }
    }
}

/// Whether a place to go to after something is one of ours: anything else is not followed.
pub(crate) fn is_ours(place: &str) -> bool {
    let below = place.strip_prefix("/console");
    let plain = |c: char| c.is_ascii_graphic() && c != '\\';
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with('?'))
        && place.chars().all(plain)
        && !place.contains("//")
}

/// A page.
pub(crate) fn page(status: StatusCode, markup: Markup) -> Response<Body> {
    let mut response = Response::new(Body::from(markup.into_string()));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "text/html; charset=utf-8");
    response
}

/// A sentence, where no page can be made.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

/// To another place of ours, by GET.
pub(crate) fn redirect(place: &str) -> Response<Body> {
    let place = if is_ours(place) { place } else { "/console" };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    set(&mut response, header::LOCATION, place);
    response
}

/// Sets a header; a text that cannot be one is left out.
pub(crate) fn set(response: &mut Response<Body>, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(name, value);
    }
}

/// Adds a cookie that scripts cannot read and other sites cannot send. `seconds`: how long it is kept; 0 removes it.
pub(crate) fn set_cookie(
    response: &mut Response<Body>,
    request: &Incoming,
    name: &str,
    value: &str,
    seconds: u64,
) {
    // The service itself speaks plain HTTP; a proxy that speaks TLS for it says so.
    let secure = match request.header("x-forwarded-proto") {
        "https" => "; Secure",
        _ => "",
    };
    let text = format!("{name}={value}; Path=/console; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// What every answer has.
pub(crate) fn guard(response: &mut Response<Body>) {
    for (name, text) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        set(response, HeaderName::from_static(name), text);
    }
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        set(response, header::CACHE_CONTROL, "no-store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(headers: &[(&'static str, &'static str)]) -> Incoming {
        Incoming {
            is_post: true,
            path: String::new(),
            query: Fields::default(),
            form: Fields::default(),
            headers: headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
            source: None,
        }
    }

    #[test]
    fn forms_of_other_sites_are_known() {
        let cases: [(&[(&'static str, &'static str)], bool); 8] = [
            (&[], false),
            (&[("host", "h:1"), ("origin", "http://h:1")], false),
            (&[("host", "h:1"), ("origin", "http://h:2")], true),
            (&[("host", "h:1"), ("origin", "null")], true),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site"), ("host", "h")], true),
        ];
        for (headers, elsewhere) in cases {
            assert_eq!(incoming(headers).is_from_elsewhere(), elsewhere, "{headers:?}");
        }
    }

    #[test]
    fn only_our_own_places_are_gone_to() {
        for place in ["/console", "/console/disks?region=x", "/console?x=1"] {
            assert!(is_ours(place), "{place}");
        }
        for place in [
            "",
            "/",
            "//evil.example",
            "/console//evil.example",
            "https://evil.example/console",
            "/consolex",
            "/console/\\evil",
            "/console/a\r\nb: c",
        ] {
            assert!(!is_ours(place), "{place}");
        }
    }

    #[test]
    fn cookies_are_found_among_others() {
        let request = incoming(&[("cookie", "a=1; tidemark_console=abc; b=2")]);
        assert_eq!(request.cookie(SESSION_COOKIE), Some("abc"));
        assert_eq!(request.cookie("c"), None);
    }
}
