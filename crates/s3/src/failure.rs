//! One failed request: what the trouble is, whether the store may have acted on it, and words for a person.
//!
//! What must stay true: a request counts as *certainly without effect* only where the store itself refused it
//! with a code that says so, or where it never left. Everything else (no answer, half an answer, a 5xx that
//! some machine on the way may have written) may have happened. Texts say what to do and hold no secret: of
//! an answer only the error's code and message are repeated, and of a request nothing.

use http::{HeaderMap, StatusCode};
use tidemark_env::BucketErrorKind;

/// Longest message of a store that is repeated.
const MESSAGE_CHARS_MAX: usize = 300;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection.
    Unreachable,
    /// A connection, but no secure one.
    Tls,
    /// The answer did not come in time.
    TimedOut,
    /// The connection ended before the answer did.
    Broken,
    /// The key is not known, or signs wrongly, or has ended.
    Credentials,
    /// Our clock and the store's are too far apart.
    ClockSkew,
    /// The key is not allowed to do this.
    Denied,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region, or at another address.
    Elsewhere,
    /// There is no such object.
    NoObject,
    /// There is an object already.
    Exists,
    /// Somebody else is changing the same key.
    Conflict,
    /// The store asks for fewer requests.
    SlowDown,
    /// The store failed.
    Server,
    /// No room.
    Full,
    /// The store does not know this kind of request.
    Unsupported,
    /// The range is not within the object.
    Range,
    /// The answer is not what it must be: cut, changed, or no answer of an S3 store.
    Garbled,
    /// Anything else that the store refused.
    Refused,
}

/// See the module.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// What is wrong.
    pub trouble: Trouble,
    /// For people.
    pub text: String,
}

/// What a text may name.
#[derive(Clone, Debug)]
pub(crate) struct Where {
    pub(crate) bucket: String,
    pub(crate) endpoint: String,
    pub(crate) region: String,
}

impl Trouble {
    /// Whether the request may have had its effect all the same.
    pub fn may_have_happened(self) -> bool {
        matches!(self, Self::TimedOut | Self::Broken | Self::Server | Self::Garbled)
    }

    /// Whether the same request may succeed a moment later.
    pub fn passes(self) -> bool {
        self.may_have_happened() || matches!(self, Self::Unreachable | Self::SlowDown | Self::Conflict)
    }

    /// What the caller of a request that changes nothing can do.
    pub(crate) fn kind_of_read(self) -> BucketErrorKind {
        match self {
            Self::NoObject => BucketErrorKind::Missing,
            Self::Exists => BucketErrorKind::Exists,
            Self::Credentials | Self::ClockSkew | Self::Denied => BucketErrorKind::Denied,
            Self::Full => BucketErrorKind::Full,
            Self::Unreachable
            | Self::TimedOut
            | Self::Broken
            | Self::Conflict
            | Self::SlowDown
            | Self::Server => BucketErrorKind::Busy,
            Self::Tls
            | Self::NoBucket
            | Self::Elsewhere
            | Self::Unsupported
            | Self::Range
            | Self::Garbled
            | Self::Refused => BucketErrorKind::Other,
        }
    }
}

impl Failure {
    pub(crate) fn new(trouble: Trouble, text: impl Into<String>) -> Self {
        Self {
            trouble,
            text: text.into(),
        }
    }

    /// What an answer that is no success means. One to HEAD (`bare`) never has a body.
    pub(crate) fn of_answer(
        place: &Where,
        bare: bool,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let answer = Answer::read(body);
        if status == StatusCode::NOT_FOUND && answer.code.is_empty() && !bare {
            // Believed, it would make objects missing that are there.
            let text = format!(
                "what answers at {} is no S3 store (HTTP {status}); correct the URL",
                place.endpoint
            );
            return Self::new(Trouble::Refused, text);
        }
        let trouble = trouble_of(status, &answer.code);
        let said = answer.said(status);
        let Where {
            bucket,
            endpoint,
            region,
        } = place;
        let text = match trouble {
            Trouble::Credentials => format!(
                "the store does not accept the credentials ({said}); check the key in the environment, and that it \
                 belongs to {endpoint}"
            ),
            Trouble::ClockSkew => {
                let theirs = headers.get("date").and_then(|date| date.to_str().ok());
                format!(
                    "this machine's clock is too far from the store's, which says {}; set the clock ({said})",
                    theirs.unwrap_or("no time")
                )
            }
            Trouble::Denied => format!(
                "the store refuses this to our key ({said}); the key needs to read, write, list and delete in bucket \
                 {bucket}, and the bucket has to be yours"
            ),
            Trouble::NoBucket => format!(
                "there is no bucket {bucket} at {endpoint} ({said}); make it first, or correct the URL"
            ),
            Trouble::Elsewhere => match answer.region.or_else(|| header(headers, "x-amz-bucket-region")) {
                Some(actual) => format!(
                    "bucket {bucket} is in region {actual}, and the request went to {region}; write ?region={actual}"
                ),
                None => format!(
                    "bucket {bucket} is not at {endpoint} in region {region} ({said}); correct ?region= or ?endpoint="
                ),
            },
            Trouble::Full => format!("the store has no room for us ({said}); free space or raise the quota"),
            Trouble::Unsupported => format!("the store does not know this kind of request ({said})"),
            Trouble::NoObject => format!("there is no such object ({said})"),
            Trouble::Exists => format!("there is such an object already ({said})"),
            Trouble::SlowDown => format!("the store asks for fewer requests ({said})"),
            _ => format!("the store answered: {said}"),
        };
        Self { trouble, text }
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(clean)
}

/// By code where there is one (answers to HEAD have none), else by status.
fn trouble_of(status: StatusCode, code: &str) -> Trouble {
    match code {
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "InvalidSecurity"
        | "MissingSecurityHeader"
        | "InvalidClientTokenId"
        | "NotSignedUp" => Trouble::Credentials,
        "RequestTimeTooSkewed" | "RequestExpired" => Trouble::ClockSkew,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "InvalidPayer" => Trouble::Denied,
        "NoSuchBucket" | "InvalidBucketName" => Trouble::NoBucket,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "Redirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "AuthorizationQueryParametersError" => Trouble::Elsewhere,
        "NoSuchKey" => Trouble::NoObject,
        "PreconditionFailed" | "FileAlreadyExists" | "ObjectAlreadyExists" => Trouble::Exists,
        "ConditionalRequestConflict" | "OperationAborted" => Trouble::Conflict,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "QpsLimitExceeded"
        | "TotalQpsLimitExceeded" => Trouble::SlowDown,
        "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage" => {
            Trouble::Full
        }
        "NotImplemented" | "MethodNotAllowed" => Trouble::Unsupported,
        "InvalidRange" => Trouble::Range,
        // The store could not check what it got: sent again, it may be right.
        "BadDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "InvalidDigest"
        | "IncompleteBody"
        | "RequestTimeout" => Trouble::Broken,
        _ => match status.as_u16() {
            301 | 302 | 307 | 308 => Trouble::Elsewhere,
            401 => Trouble::Credentials,
            403 => Trouble::Denied,
            404 => Trouble::NoObject,
            408 => Trouble::TimedOut,
            409 => Trouble::Conflict,
            412 => Trouble::Exists,
            416 => Trouble::Range,
            429 => Trouble::SlowDown,
            501 => Trouble::Unsupported,
            507 => Trouble::Full,
            500..=599 => Trouble::Server,
            _ => Trouble::Refused,
        },
    }
}

/// The fields of an error document that we use.
#[derive(Default)]
struct Answer {
    code: String,
    message: String,
    region: Option<String>,
}

impl Answer {
    /// Reads `<Error>`; what is no such document has no fields.
    fn read(body: &[u8]) -> Self {
        use quick_xml::escape::resolve_predefined_entity;
        use quick_xml::events::Event;
        let mut answer = Self::default();
        let Ok(text) = std::str::from_utf8(body) else {
            return answer;
        };
        let mut reader = quick_xml::Reader::from_str(text);
        let mut inside: Vec<String> = Vec::new();
        while let Ok(event) = reader.read_event() {
            let text = match event {
                Event::Start(tag) => {
                    inside.push(tag.local_name().as_ref().to_owned());
                    continue;
                }
                Event::End(_) => {
                    inside.pop();
                    continue;
                }
                Event::Text(text) => text.into_inner(),
                Event::GeneralRef(name) => resolve_predefined_entity(&name.into_inner())
                    .unwrap_or("?")
                    .into(),
                Event::Eof => break,
                _ => continue,
            };
            let field = match inside.as_slice() {
                [_, field] => field.as_str(),
                _ => continue,
            };
            match field {
                "Code" => answer.code += &text,
                "Message" => answer.message += &text,
                "Region" => *answer.region.get_or_insert_default() += &text,
                _ => {}
            }
        }
        answer.code = clean(&answer.code);
        answer.message = clean(&answer.message);
        answer.region = answer.region.as_deref().map(clean);
        answer
    }

    fn said(&self, status: StatusCode) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", _) => format!("HTTP {status}"),
            (code, "") => format!("HTTP {}, {code}", status.as_u16()),
            (code, message) => format!("HTTP {}, {code}: {message}", status.as_u16()),
        }
    }
}

/// Text of somebody else's, fit for a line of a log.
pub(crate) fn clean(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible
        .take(MESSAGE_CHARS_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Failure {
        let place = Where {
            bucket: "my-bucket".into(),
            endpoint: "https://store.example".into(),
            region: "eu-west-1".into(),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let bare = body.is_empty();
        Failure::of_answer(
            &place,
            bare,
            StatusCode::from_u16(status).unwrap(),
            &map,
            body.as_bytes(),
        )
    }

    fn document(code: &str, more: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>in words</Message>{more}\
             <RequestId>4442587FB7D0A2F9</RequestId></Error>"
        )
    }

    #[test]
    fn each_trouble_says_what_to_do() {
        for (status, code, trouble, words) in [
            (403, "InvalidAccessKeyId", Trouble::Credentials, "check the key"),
            (
                403,
                "SignatureDoesNotMatch",
                Trouble::Credentials,
                "check the key",
            ),
            (400, "ExpiredToken", Trouble::Credentials, "check the key"),
            (
                403,
                "AccessDenied",
                Trouble::Denied,
                "read, write, list and delete",
            ),
            (404, "NoSuchBucket", Trouble::NoBucket, "make it first"),
            (503, "SlowDown", Trouble::SlowDown, "fewer requests"),
            (507, "XMinioStorageFull", Trouble::Full, "free space"),
            (403, "QuotaExceeded", Trouble::Full, "quota"),
            (501, "NotImplemented", Trouble::Unsupported, "does not know"),
        ] {
            let found = failure(status, &[], &document(code, ""));
            assert_eq!(found.trouble, trouble, "{code}");
            assert!(found.text.contains(words) && found.text.contains(code), "{found}");
        }
    }

    #[test]
    fn another_region_is_named() {
        let of_aws = failure(301, &[("x-amz-bucket-region", "us-west-2")], "");
        assert_eq!(of_aws.trouble, Trouble::Elsewhere);
        assert!(of_aws.text.contains("?region=us-west-2"), "{of_aws}");
        let signed = failure(
            400,
            &[],
            &document("AuthorizationHeaderMalformed", "<Region>us-west-2</Region>"),
        );
        assert!(signed.text.contains("?region=us-west-2"), "{signed}");
        let silent = failure(307, &[], "");
        assert!(
            silent.text.contains("eu-west-1") && silent.text.contains("?endpoint="),
            "{silent}"
        );
    }

    #[test]
    fn a_wrong_clock_is_called_so() {
        let date = "Mon, 02 Mar 2026 10:00:00 GMT";
        let found = failure(403, &[("date", date)], &document("RequestTimeTooSkewed", ""));
        assert_eq!(found.trouble, Trouble::ClockSkew);
        assert!(
            found.text.contains(date) && found.text.contains("set the clock"),
            "{found}"
        );
    }

    #[test]
    fn only_a_refusal_of_the_store_itself_proves_that_nothing_happened() {
        let gateway = failure(503, &[], "<html>upstream timed out</html>");
        assert!(gateway.trouble.may_have_happened());
        assert!(
            failure(500, &[], &document("InternalError", ""))
                .trouble
                .may_have_happened()
        );
        assert!(failure(504, &[], "").trouble.may_have_happened());
        assert!(
            !failure(503, &[], &document("SlowDown", ""))
                .trouble
                .may_have_happened()
        );
        assert!(!failure(412, &[], "").trouble.may_have_happened());
        assert!(!Trouble::Unreachable.may_have_happened());
    }

    #[test]
    fn answers_without_a_body_go_by_their_status() {
        assert_eq!(failure(404, &[], "").trouble, Trouble::NoObject);
        assert_eq!(failure(403, &[], "").trouble, Trouble::Denied);
        assert_eq!(failure(416, &[], "").trouble, Trouble::Range);
        assert_eq!(failure(409, &[], "").trouble, Trouble::Conflict);
    }

    #[test]
    fn hostile_answers_are_short_and_visible() {
        let long = "x\u{1b}[31m".repeat(1000);
        let found = failure(
            418,
            &[],
            &format!("<Error><Code>Odd</Code><Message>{long}</Message></Error>"),
        );
        assert!(
            found.text.len() < 600 && !found.text.contains('\u{1b}'),
            "{found}"
        );
        for body in ["<Error><Code>", "<<<<", "<Error></Code></Error>", "\u{0}"] {
            assert_eq!(failure(418, &[], body).trouble, Trouble::Refused);
        }
    }
}
