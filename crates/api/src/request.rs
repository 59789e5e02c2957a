//! One HTTP request, taken apart but not yet trusted.
//!
//! Query and form body are one set of parameters. Sizes and counts are bounded before anything is
//! decoded, because all of this happens before authentication.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Uri, header, request::Parts};
use std::time::Duration;
use tidemark_ecs::render::Format;
use tidemark_ecs::sign::{decode_form, v3::Authorization};
use tidemark_ecs::{ApiError, Params};

/// Largest form body: far above any documented request (32 KiB of user data, encoded).
const BODY_MOST_BYTES: usize = 256 * 1024;
/// Most parameters of one request: far above RunInstances with everything in it.
const PARAMETERS_MOST: usize = 4096;
/// How long a caller may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A request with its parameters decoded.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// `GET` or `POST`.
    pub(crate) method: &'static str,
    /// As in the `Host` header, with its port.
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    /// Query parameters alone, as V3 signs them.
    pub(crate) query: Vec<(String, String)>,
    /// Raw, as V3 hashes it.
    pub(crate) body: Bytes,
    /// Query and form.
    pub(crate) params: Params,
}

/// The host that the client called; what error answers name as HostId.
pub(crate) fn host(headers: &HeaderMap, uri: &Uri) -> String {
    let named = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    named
        .or(uri.authority().map(|authority| authority.as_str()))
        .unwrap_or_default()
        .to_owned()
}

/// JSON or XML, from what can be known before anything else: V3 callers say it in `Accept`, V1
/// callers in `Format`, wherever that parameter is.
pub(crate) fn format(headers: &HeaderMap, query: &str, body: &[u8]) -> Format {
    if is_v3(headers) {
        let accept = text(headers, header::ACCEPT.as_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        return if accept.contains("xml") && !accept.contains("json") {
            Format::Xml
        } else {
            Format::Json
        };
    }
    let wanted = |pair: &str| match pair.split_once('=') {
        Some(("Format" | "format", format)) if format.eq_ignore_ascii_case("json") => Some(Format::Json),
        Some(("Format" | "format", _)) => Some(Format::Xml),
        _ => None,
    };
    let body = if is_form(headers) {
        std::str::from_utf8(body).unwrap_or_default()
    } else {
        ""
    };
    query
        .split('&')
        .chain(body.split('&'))
        .find_map(wanted)
        .unwrap_or(Format::Xml)
}

/// Whether the caller signs with headers.
pub(crate) fn is_v3(headers: &HeaderMap) -> bool {
    text(headers, header::AUTHORIZATION.as_str()).is_some_and(|value| Authorization::is_v3(&value))
}

/// A header's value; several of one name joined as HTTP says. Bytes that are no UTF-8 are replaced,
/// so that no signature fits them.
pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Clients that set no type send forms; any other type holds no parameters.
fn is_form(headers: &HeaderMap) -> bool {
    text(headers, header::CONTENT_TYPE.as_str())
        .is_none_or(|kind| kind.is_empty() || kind.to_ascii_lowercase().contains("x-www-form-urlencoded"))
}

/// The body, whole.
pub(crate) async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_MOST_BYTES));
    let refuse = |status, why: String| Err(ApiError::new(status, "InvalidParameter", why));
    match read.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => refuse(
            413,
            format!("The request body cannot be read, or is larger than {BODY_MOST_BYTES} bytes."),
        ),
        Err(_) => refuse(
            408,
            format!(
                "The request body did not arrive within {} s.",
                BODY_TIMEOUT.as_secs()
            ),
        ),
    }
}

impl Incoming {
    /// Decodes. A method other than GET and POST: 403 `UnsupportedHTTPMethod`.
    pub(crate) fn new(parts: &Parts, body: Bytes) -> Result<Self, ApiError> {
        let method = method(&parts.method)?;
        let query = parts.uri.query().unwrap_or_default();
        let form = if is_form(&parts.headers) {
            std::str::from_utf8(&body)
                .map_err(|_| ApiError::invalid_parameter("(body)", "it is not UTF-8"))?
        } else {
            ""
        };
        let count = [query, form]
            .iter()
            .map(|text| text.bytes().filter(|b| *b == b'&').count() + 1)
            .sum::<usize>();
        if count > PARAMETERS_MOST {
            return Err(ApiError::invalid_parameter(
                "(all)",
                format!("{count} parameters are given, where {PARAMETERS_MOST} are allowed"),
            ));
        }
        let query = decode_form(query)?;
        let form = decode_form(form)?;
        for (name, _) in query.iter().chain(&form) {
            check_name(name)?;
        }
        let params = Params::from_pairs(query.iter().cloned().chain(form))?;
        Ok(Self {
            method,
            host: host(&parts.headers, &parts.uri),
            headers: parts.headers.clone(),
            query,
            body,
            params,
        })
    }

    /// A header's value, for signatures.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        text(&self.headers, name)
    }
}

/// V3 signs names as they are: one with `=` or `&` in it would be signed like two parameters, and who sits between
/// could make parameters disappear from a request that is signed. No parameter has such a name.
fn check_name(name: &str) -> Result<(), ApiError> {
    if name.contains(['=', '&']) || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(40).collect();
        return Err(ApiError::invalid_parameter(
            &shown.escape_debug().to_string(),
            "its name holds characters that no parameter's name has",
        ));
    }
    Ok(())
}

fn method(method: &Method) -> Result<&'static str, ApiError> {
    match *method {
        Method::GET => Ok("GET"),
        Method::POST => Ok("POST"),
        _ => Err(ApiError::new(
            403,
            "UnsupportedHTTPMethod",
            format!("The HTTP method {method} is not supported; use GET or POST."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use proptest::prelude::*;

    fn incoming(method: &str, uri: &str, kind: Option<&str>, body: &[u8]) -> Result<Incoming, ApiError> {
        let mut request = Request::builder().method(method).uri(uri).header("host", "h:1");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let (parts, ()) = request.body(()).expect("a test's own request").into_parts();
        Incoming::new(&parts, Bytes::copy_from_slice(body))
    }

    #[test]
    fn query_and_form_are_one_set() {
        let form = Some("application/x-www-form-urlencoded;charset=utf-8");
        let request = incoming("POST", "/?A=1", form, b"B=a+b").expect("valid");
        assert_eq!(
            (request.params.get("A"), request.params.get("B")),
            (Some("1"), Some("a b"))
        );
        assert_eq!(request.query.len(), 1);
        assert_eq!(request.host, "h:1");
    }

    #[test]
    fn a_body_of_another_type_holds_no_parameters() {
        let request = incoming("POST", "/?A=1", Some("application/json"), b"B=2").expect("valid");
        assert_eq!(request.params.get("B"), None);
        assert_eq!(&request.body[..], b"B=2");
    }

    #[test]
    fn refusals() {
        let many = vec!["a"; 5000].join("&");
        for (result, status, code) in [
            (incoming("PUT", "/", None, b""), 403, "UnsupportedHTTPMethod"),
            (incoming("HEAD", "/", None, b""), 403, "UnsupportedHTTPMethod"),
            (incoming("POST", "/", None, b"\xff"), 400, "InvalidParameter"),
            (incoming("POST", "/?A=%ff", None, b""), 400, "InvalidParameter"),
            (incoming("POST", "/?A=1", None, b"A=2"), 400, "InvalidParameter"),
            (
                incoming("GET", "/?A%3D1%26DryRun=true", None, b""),
                400,
                "InvalidParameter",
            ),
            (incoming("POST", "/", None, b"A%00=1"), 400, "InvalidParameter"),
            (
                incoming("POST", "/", None, many.as_bytes()),
                400,
                "InvalidParameter",
            ),
        ] {
            let error = result.expect_err(code);
            assert_eq!((error.status, error.code.as_ref()), (status, code));
        }
    }

    #[test]
    fn values_that_cannot_be_used_are_not_shown() {
        let error = incoming("POST", "/", None, b"Password=hush%ff").expect_err("no UTF-8");
        assert!(error.message.contains("Password") && !error.message.contains("hush"));
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
            .collect()
    }

    #[test]
    fn the_format_is_known_before_all_else() {
        let v3 = "ACS3-HMAC-SHA256 Credential=a";
        for (given, query, body, expected) in [
            (headers(&[]), "", "", Format::Xml),
            (headers(&[]), "A=1&Format=JSON", "", Format::Json),
            (headers(&[]), "Format=json", "", Format::Json),
            (headers(&[]), "Format=xml", "", Format::Xml),
            (headers(&[]), "", "Format=JSON", Format::Json),
            (headers(&[("accept", "application/json")]), "", "", Format::Xml),
            (headers(&[("authorization", v3)]), "", "", Format::Json),
            (
                headers(&[("authorization", v3), ("accept", "text/xml")]),
                "",
                "",
                Format::Xml,
            ),
            (
                headers(&[("authorization", v3), ("accept", "application/json")]),
                "Format=XML",
                "",
                Format::Json,
            ),
        ] {
            assert_eq!(
                format(&given, query, body.as_bytes()),
                expected,
                "{given:?} {query} {body}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = incoming("POST", "/?Action=a", None, &body);
            let _ = format(&HeaderMap::new(), "", &body);
        }
    }
}
