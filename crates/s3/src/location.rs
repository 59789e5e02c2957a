//! Where a bucket is: `s3://bucket/prefix?option=value`, and what the environment adds.
//!
//! What must stay true: a URL holds no secret, and if somebody wrote one into it, no message repeats it: only
//! the names of options and the parts before the mistake are quoted.

use std::path::PathBuf;
use std::time::Duration;
use tidemark_env::check_key;
use url::Url;

/// Requests under way at the same time, unless the URL says otherwise.
const PARALLEL: usize = 16;
/// How long an operation is tried again before the caller learns of the failure.
const RETRY: Duration = Duration::from_secs(15);
/// How long one request may take, besides the time that its bytes need.
const REQUEST: Duration = Duration::from_secs(30);

/// Who runs the service, as far as names in the environment and default endpoints go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `s3://`: AWS, or whoever is at `endpoint`.
    S3,
    /// `oss://`: Alibaba Cloud OSS through its S3-compatible interface.
    Oss,
}

/// Where the bucket's name stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// In the path: `https://host/bucket/key`.
    Path,
    /// In the host's name: `https://bucket.host/key`.
    Virtual,
}

/// What is sent with an object so that the store can check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// `x-amz-checksum-sha256`.
    Sha256,
    /// `x-amz-checksum-crc64nvme`.
    Crc64Nvme,
    /// Nothing besides the signed hash of the body.
    None,
}

/// A bucket's place and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Who runs it.
    pub scheme: Scheme,
    /// The bucket.
    pub bucket: String,
    /// What every key begins with; empty, or without `/` at either end.
    pub prefix: String,
    /// The service, without the bucket: `https://host[:port]`.
    pub endpoint: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Where the bucket's name stands.
    pub style: Style,
    /// A PEM file with the certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Most requests under way at the same time.
    pub parallel: usize,
    /// The checksum of puts.
    pub checksum: Checksum,
    /// How long an operation is tried again.
    pub retry: Duration,
    /// How long one request may take, besides the time that its bytes need.
    pub request: Duration,
}

/// A URL that is not usable; says which part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LocationError(String);

fn wrong<T>(why: impl Into<String>) -> Result<T, LocationError> {
    Err(LocationError(why.into()))
}

/// Whether a vault's place is an S3-compatible bucket, as opposed to a directory.
pub fn is_bucket_url(place: &str) -> bool {
    scheme_of(place).is_some()
}

fn scheme_of(place: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = place.split_once("://")?;
    match scheme {
        "s3" => Some((Scheme::S3, rest)),
        "oss" => Some((Scheme::Oss, rest)),
        _ => None,
    }
}

/// The options of a URL as they are written.
#[derive(Default)]
struct Options {
    endpoint: Option<String>,
    region: Option<String>,
    style: Option<Style>,
    ca_file: Option<PathBuf>,
    parallel: Option<usize>,
    checksum: Option<Checksum>,
    retry: Option<Duration>,
    request: Option<Duration>,
}

impl Options {
    fn parse(query: &str) -> Result<Self, LocationError> {
        let mut options = Self::default();
        let mut seen = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if seen.contains(&name) {
                return wrong(format!("the option {name} is there twice"));
            }
            options.set(&name, &value)?;
            seen.push(name);
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), LocationError> {
        match name {
            "endpoint" => self.endpoint = Some(value.to_owned()),
            "region" => self.region = Some(value.to_owned()),
            "ca" => self.ca_file = Some(PathBuf::from(value)),
            "style" => {
                self.style = Some(match value {
                    "path" => Style::Path,
                    "virtual" => Style::Virtual,
                    _ => return wrong("style is path or virtual"),
                })
            }
            "checksum" => {
                self.checksum = Some(match value {
                    "sha256" => Checksum::Sha256,
                    "crc64nvme" => Checksum::Crc64Nvme,
                    "none" => Checksum::None,
                    _ => return wrong("checksum is sha256, crc64nvme or none"),
                })
            }
            "parallel" => self.parallel = Some(number(name, value, 1..=1024)? as usize),
            "retry-seconds" => self.retry = Some(Duration::from_secs(number(name, value, 0..=3600)?)),
            "request-seconds" => self.request = Some(Duration::from_secs(number(name, value, 1..=3600)?)),
            // The value may be a key that somebody put in the wrong place.
            _ => {
                return wrong(format!(
                    "there is no option {name:?}; there are endpoint, region, style, ca, parallel, checksum, \
                     retry-seconds and request-seconds, and keys come from the environment"
                ));
            }
        }
        Ok(())
    }
}

fn number(name: &str, value: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, LocationError> {
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => wrong(format!(
            "{name} is a number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

impl Location {
    /// Reads a URL; what it leaves out comes from `env` (`AWS_REGION`, `AWS_ENDPOINT_URL`, for `oss://`
    /// `ALIBABA_CLOUD_REGION_ID`) or is a default.
    pub fn parse(place: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, LocationError> {
        let Some((scheme, rest)) = scheme_of(place) else {
            return wrong("a bucket's URL begins with s3:// or oss://");
        };
        if rest.contains('#') {
            return wrong("a bucket's URL has no part after a `#`");
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.contains('@') {
            return wrong("a bucket's URL holds no credentials: give them in the environment");
        }
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if !(3..=63).contains(&bucket.len())
            || !bucket.bytes().all(good)
            || !bucket.as_bytes()[0].is_ascii_alphanumeric()
        {
            return wrong(format!(
                "{bucket:?} is no bucket's name: 3 to 63 letters, digits, dashes and dots, a letter or digit first"
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty()
            && let Err(why) = check_key(prefix)
        {
            return wrong(format!("the prefix {prefix:?} is not usable: {why}"));
        }
        let options = Options::parse(query)?;
        let get = |name: &str| env(name).filter(|value| !value.is_empty());
        let region = options.region.or_else(|| region_of(scheme, &get));
        if let Some(region) = &region
            && !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return wrong(format!("{region:?} is no region's name"));
        }
        let named = options.endpoint.or_else(|| match scheme {
            Scheme::S3 => get("AWS_ENDPOINT_URL_S3").or_else(|| get("AWS_ENDPOINT_URL")),
            Scheme::Oss => None,
        });
        let (endpoint, region) = match (named, region, scheme) {
            // Most services at an address of their own do not care for the region.
            (Some(endpoint), region, _) => {
                (checked(&endpoint)?, region.unwrap_or_else(|| "us-east-1".into()))
            }
            (None, Some(region), Scheme::S3) => (aws_endpoint(&region), region),
            (None, Some(region), Scheme::Oss) => (format!("https://s3.oss-{region}.aliyuncs.com"), region),
            (None, None, Scheme::S3) => {
                return wrong(
                    "say where the bucket is: add ?region=... (AWS) or ?endpoint=https://..., or set AWS_REGION",
                );
            }
            (None, None, Scheme::Oss) => {
                return wrong("say where the bucket is: add ?region=..., for example ?region=cn-hangzhou");
            }
        };
        // A dot in the bucket's name would not match a certificate for `*.host`.
        let by_host = endpoint.ends_with(".aliyuncs.com")
            || (endpoint.contains(".amazonaws.com") && !bucket.contains('.'));
        if options.style == Some(Style::Virtual) && is_address(&endpoint) {
            return wrong(
                "style=virtual puts the bucket's name before the host's, but the endpoint is an address: give a name, or style=path",
            );
        }
        Ok(Self {
            scheme,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint,
            region,
            style: options
                .style
                .unwrap_or(if by_host { Style::Virtual } else { Style::Path }),
            ca_file: options.ca_file,
            parallel: options.parallel.unwrap_or(PARALLEL),
            checksum: options.checksum.unwrap_or(Checksum::Sha256),
            retry: options.retry.unwrap_or(RETRY),
            request: options.request.unwrap_or(REQUEST),
        })
    }

    /// Whether requests travel in the open.
    pub fn is_plain(&self) -> bool {
        self.endpoint.starts_with("http://")
    }

    /// The URL that requests to the bucket begin with, as the library wants it: with the bucket's name in
    /// the host for [`Style::Virtual`], without it otherwise.
    pub(crate) fn request_endpoint(&self) -> String {
        match (self.style, self.endpoint.split_once("://")) {
            (Style::Virtual, Some((protocol, host))) => format!("{protocol}://{}.{host}", self.bucket),
            _ => self.endpoint.clone(),
        }
    }
}

/// Whether an endpoint's host is an address and not a name.
fn is_address(endpoint: &str) -> bool {
    let host = Url::parse(endpoint)
        .ok()
        .and_then(|url| url.host().map(|host| host.to_owned()));
    matches!(host, Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)))
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.scheme {
            Scheme::S3 => "s3",
            Scheme::Oss => "oss",
        };
        write!(f, "{scheme}://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        write!(f, " at {}", self.endpoint)
    }
}

fn region_of(scheme: Scheme, get: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    match scheme {
        Scheme::S3 => get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")),
        Scheme::Oss => get("ALIBABA_CLOUD_REGION_ID"),
    }
}

fn aws_endpoint(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{suffix}")
}

/// An endpoint as `http[s]://host[:port]`.
fn checked(endpoint: &str) -> Result<String, LocationError> {
    let Ok(url) = Url::parse(endpoint) else {
        return wrong("the endpoint is no URL: write http://host:port or https://host");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("the endpoint holds no credentials: give them in the environment");
    }
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(host)) if bare => Ok(match url.port() {
            Some(port) => format!("{}://{host}:{port}", url.scheme()),
            None => format!("{}://{host}", url.scheme()),
        }),
        ("http" | "https", _) => {
            wrong("the endpoint is only a protocol, a host and a port; the bucket comes before the `?`")
        }
        _ => wrong("the endpoint begins with https://, or http:// where nobody else can listen"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_in(place: &str, env: &[(&str, &str)]) -> Result<Location, String> {
        let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Location::parse(place, &get).map_err(|e| e.to_string())
    }

    fn parse(place: &str) -> Location {
        parse_in(place, &[]).unwrap()
    }

    fn refused(place: &str) -> String {
        parse_in(place, &[]).unwrap_err()
    }

    #[test]
    fn each_service_has_its_defaults() {
        let aws = parse("s3://bucket/some/where/?region=eu-west-1");
        assert_eq!((aws.prefix.as_str(), aws.style), ("some/where", Style::Virtual));
        assert_eq!(
            aws.request_endpoint(),
            "https://bucket.s3.eu-west-1.amazonaws.com"
        );
        assert_eq!(
            aws.to_string(),
            "s3://bucket/some/where at https://s3.eu-west-1.amazonaws.com"
        );
        assert_eq!(parse("s3://a.bucket?region=eu-west-1").style, Style::Path);
        assert_eq!(
            parse("s3://bucket?region=cn-north-1").endpoint,
            "https://s3.cn-north-1.amazonaws.com.cn"
        );
        let own = parse("s3://bucket?endpoint=http://127.0.0.1:9000/");
        assert_eq!(
            (own.request_endpoint().as_str(), own.style),
            ("http://127.0.0.1:9000", Style::Path)
        );
        assert!(own.is_plain() && !aws.is_plain());
        let oss = parse("oss://bucket/p?region=cn-hangzhou");
        assert_eq!(
            oss.request_endpoint(),
            "https://bucket.s3.oss-cn-hangzhou.aliyuncs.com"
        );
    }

    #[test]
    fn the_url_wins_over_the_environment() {
        let env = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ENDPOINT_URL", "https://store.example:8443"),
        ];
        let found = parse_in("s3://bucket", &env).unwrap();
        assert_eq!(
            (found.endpoint.as_str(), found.region.as_str()),
            ("https://store.example:8443", "eu-west-1")
        );
        let found = parse_in(
            "s3://bucket?region=us-west-2&endpoint=https://other.example",
            &env,
        )
        .unwrap();
        assert_eq!(
            (found.endpoint.as_str(), found.region.as_str()),
            ("https://other.example", "us-west-2")
        );
        let env = [
            ("AWS_ENDPOINT_URL", "https://store.example"),
            ("ALIBABA_CLOUD_REGION_ID", "cn-beijing"),
        ];
        assert_eq!(
            parse_in("oss://bucket", &env).unwrap().endpoint,
            "https://s3.oss-cn-beijing.aliyuncs.com"
        );
    }

    #[test]
    fn options_are_read() {
        let found = parse(
            "s3://bucket?endpoint=https://h&style=virtual&ca=/etc/ca.pem&parallel=3&checksum=none&retry-seconds=0&request-seconds=7",
        );
        assert_eq!(found.request_endpoint(), "https://bucket.h");
        assert_eq!(
            (found.parallel, found.checksum, found.retry),
            (3, Checksum::None, Duration::ZERO)
        );
        assert_eq!(
            (found.ca_file, found.request),
            (Some("/etc/ca.pem".into()), Duration::from_secs(7))
        );
    }

    #[test]
    fn refusals_name_the_part_that_is_wrong() {
        for (place, part) in [
            ("http://bucket", "s3://"),
            ("s3://", "bucket"),
            ("s3://b?region=x", "\"b\""),
            ("s3://bucket/a//b?region=x", "a//b"),
            ("s3://bucket/.hidden?region=x", "dot"),
            ("s3://bucket", "region"),
            ("oss://bucket", "cn-hangzhou"),
            ("s3://bucket?region=x&region=y", "twice"),
            ("s3://bucket?region=x&style=both", "path or virtual"),
            ("s3://bucket?region=x&parallel=0", "from 1 to 1024"),
            ("s3://bucket?region=x&checksum=md5", "crc64nvme"),
            ("s3://bucket?region=a/b", "region"),
            ("s3://bucket?endpoint=ftp://h", "https://"),
            ("s3://bucket?endpoint=https://h/path", "host and a port"),
            ("s3://bucket?endpoint=nonsense", "no URL"),
            (
                "s3://bucket?endpoint=http://127.0.0.1:9000&style=virtual",
                "style=path",
            ),
            (
                "s3://bucket?endpoint=http://[::1]:9000&style=virtual",
                "style=path",
            ),
            ("s3://bucket?region=x#y", "#"),
        ] {
            let error = refused(place);
            assert!(error.contains(part), "{place}: {error}");
        }
    }

    #[test]
    fn no_refusal_repeats_a_secret() {
        for place in [
            "s3://KEY:hunter2@bucket?region=x",
            "s3://bucket?region=x&secret=hunter2",
            "s3://bucket?endpoint=https://KEY:hunter2@host",
        ] {
            let error = refused(place);
            assert!(
                !error.contains("hunter2") && error.contains("environment"),
                "{error}"
            );
        }
    }
}
