//! `tidemark vault check`: tries everything that a vault needs of a place, and says what works.
//!
//! What must stay true: only objects of the check's own making are written, and they are removed; every
//! check gets a line, also one that could not be tried because an earlier one failed; a place is called
//! usable only if all that is needed was seen to work.

use super::place::{VaultPlace, open_bucket};
use crate::volume::engine;
use anyhow::Result;
use bytes::Bytes;
use serde::Serialize;
use std::fmt::Display;
use std::time::{Duration, Instant};
use tidemark_env::{Bucket, BucketError, BucketErrorKind, Precondition};
use tidemark_s3::{CreateOnly, Failure, S3Bucket, Trouble};

/// Size of the object that is written and read, in bytes: about what a small pack has.
const OBJECT_BYTES: usize = 1 << 20;
/// Requests whose times give the latency.
const ROUNDS: usize = 5;
/// Difference of clocks that deserves a warning, in seconds. Stores refuse from 900 on.
const CLOCK_SECONDS_MAX: i64 = 60;

/// What single-writer mode means, wherever it is said.
pub const SINGLE_WRITER: &str = "single-writer mode: this store does not decide who creates an object first, so \
                                 nothing stops two services from overwriting each other's snapshots; never let more \
                                 than one write to this vault";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It works.
    Ok,
    /// Worth knowing; a vault works without.
    Warning,
    /// A vault needs it, and it does not work.
    Failed,
    /// Not tried, because of an earlier failure.
    Skipped,
}

/// One line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// What was tried.
    pub check: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen, and what to do.
    pub found: String,
}

/// All lines.
#[derive(Debug, Default)]
pub struct Report(Vec<Finding>);

/// Every check that tries something, in this order; a failure ends the trying.
const TRIED: &[&str] = &[
    "reach",
    "credentials",
    "write",
    "read back",
    "ranged read",
    "list",
    "create-only",
    "delete",
    "clock",
    "checksum",
    "latency",
];

impl Report {
    fn note(&mut self, check: &'static str, verdict: Verdict, found: impl Display) {
        self.0.push(Finding {
            check,
            verdict,
            found: found.to_string(),
        });
    }

    fn ok(&mut self, check: &'static str, found: impl Display) {
        self.note(check, Verdict::Ok, found);
    }

    /// Gives every check that has no line yet one.
    fn skip_the_rest(&mut self, checks: &[&'static str]) {
        for check in checks {
            if self.0.iter().all(|finding| finding.check != *check) {
                self.note(check, Verdict::Skipped, "not tried, because of the failure above");
            }
        }
    }

    /// Whether a vault can be there.
    pub fn is_usable(&self) -> bool {
        !self
            .0
            .iter()
            .any(|finding| matches!(finding.verdict, Verdict::Failed | Verdict::Skipped))
    }

    /// For people.
    pub fn text(&self, place: &VaultPlace) -> String {
        let mut text = format!("{place}\n");
        for finding in &self.0 {
            let verdict = match finding.verdict {
                Verdict::Ok => "OK",
                Verdict::Warning => "WARNING",
                Verdict::Failed => "FAILED",
                Verdict::Skipped => "SKIPPED",
            };
            text += &format!("{verdict:<8} {:<12} {}\n", finding.check, finding.found);
        }
        text += match self.is_usable() {
            true => "A vault can be here.",
            false => "A vault cannot be here.",
        };
        text
    }

    /// For programs.
    pub fn json(&self, place: &VaultPlace) -> Result<String> {
        let object = serde_json::json!({
            "Vault": place.to_string(),
            "Usable": self.is_usable(),
            "Checks": self.0,
        });
        Ok(serde_json::to_string_pretty(&object)?)
    }
}

/// Tries everything.
pub fn check(place: &VaultPlace) -> Result<Report> {
    engine(|real| async move {
        let mut report = Report::default();
        match place {
            VaultPlace::Directory(path) => {
                report.ok("reach", format!("directory {}", path.display()));
                report.ok("credentials", "none needed");
                let bucket = place.open(&real.env)?;
                let _ = common(&*bucket, None, &mut report).await;
            }
            VaultPlace::Bucket(location) => {
                if location.is_plain() {
                    let found = "the endpoint is http://: what is written and read can be seen and changed on the way";
                    report.note("encryption", Verdict::Warning, found);
                }
                let bucket = open_bucket(location)?;
                if reach(&bucket, &mut report).await.is_some() {
                    let _ = common(&bucket, Some(&bucket), &mut report).await;
                }
            }
        }
        report.skip_the_rest(TRIED);
        Ok(report)
    })
}

/// The first request, and what its failure says about the way there and about us.
async fn reach(bucket: &S3Bucket, report: &mut Report) -> Option<()> {
    // A list: its refusal says why, unlike that of a question about one object.
    let asked = bucket.list("check-nothing/").await;
    let failure = asked
        .as_ref()
        .err()
        .and_then(|error| error.cause.downcast_ref::<Failure>());
    let endpoint = &bucket.location().endpoint;
    let Some(failure) = failure else {
        report.ok("reach", format!("{endpoint} answers"));
        report.ok("credentials", "accepted");
        return Some(());
    };
    match failure.trouble {
        Trouble::Credentials | Trouble::ClockSkew | Trouble::Denied => {
            report.ok("reach", format!("{endpoint} answers"));
            report.note("credentials", Verdict::Failed, failure);
        }
        Trouble::NoBucket => {
            report.note("reach", Verdict::Failed, failure);
            report.ok("credentials", "accepted");
        }
        _ => report.note("reach", Verdict::Failed, failure),
    }
    None
}

/// Tries a step that a vault needs; its failure ends the trying.
async fn needed<T>(
    report: &mut Report,
    check: &'static str,
    step: impl Future<Output = Result<T, BucketError>>,
) -> Option<T> {
    match step.await {
        Ok(done) => Some(done),
        Err(error) => {
            report.note(check, Verdict::Failed, error);
            None
        }
    }
}

/// What every kind of place must do. `None`: something needed failed, and has its line.
async fn common(bucket: &dyn Bucket, s3: Option<&S3Bucket>, report: &mut Report) -> Option<()> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).ok()?;
    let prefix = format!("check-{:016x}/", u64::from_le_bytes(random));
    let done = steps(bucket, s3, &prefix, report).await;
    // Whatever failed, nothing of ours stays where it can be removed.
    let mut left = Vec::new();
    for name in ["object", "small", "created"] {
        let key = format!("{prefix}{name}");
        if let Err(error) = bucket.delete(&key).await {
            left.push(error.to_string());
        }
    }
    match (done, left.first()) {
        (Some(()), Some(error)) => report.note("delete", Verdict::Failed, error),
        (Some(()), None) => match bucket.list(&prefix).await {
            Ok(objects) if objects.is_empty() => report.ok("delete", "what was written is gone"),
            Ok(_) => report.note(
                "delete",
                Verdict::Failed,
                "objects were deleted, and are listed all the same",
            ),
            Err(error) => report.note("delete", Verdict::Failed, error),
        },
        _ => {}
    }
    done?;
    told(s3, report);
    latency(bucket, &prefix, report).await
}

async fn steps(bucket: &dyn Bucket, s3: Option<&S3Bucket>, prefix: &str, report: &mut Report) -> Option<()> {
    let key = format!("{prefix}object");
    let mut content = vec![0; OBJECT_BYTES];
    getrandom::fill(&mut content).ok()?;
    let content = Bytes::from(content);
    let started = Instant::now();
    let put = bucket.put(&key, vec![content.clone()], Precondition::None);
    needed(report, "write", put).await?;
    report.ok("write", format!("1 MiB in {}", millis(started.elapsed())));

    let started = Instant::now();
    let read = needed(report, "read back", bucket.get(&key)).await?;
    if read != content {
        report.note(
            "read back",
            Verdict::Failed,
            "other bytes came back than were written",
        );
        return None;
    }
    report.ok(
        "read back",
        format!("the same 1 MiB in {}", millis(started.elapsed())),
    );

    let (from, to) = (OBJECT_BYTES / 3, OBJECT_BYTES / 2);
    let part = needed(
        report,
        "ranged read",
        bucket.get_range(&key, from as u64..to as u64),
    )
    .await?;
    if part != content[from..to] {
        report.note(
            "ranged read",
            Verdict::Failed,
            "other bytes came back than were asked for",
        );
        return None;
    }
    report.ok("ranged read", "the part that was asked for");

    let listed = needed(report, "list", bucket.list(prefix)).await?;
    match listed.as_slice() {
        [only] if only.key == key && only.bytes == OBJECT_BYTES as u64 => {
            report.ok("list", "shows what was written")
        }
        other => {
            let found = format!("shows {} objects where one was written", other.len());
            report.note("list", Verdict::Failed, found);
            return None;
        }
    }
    create_only(bucket, s3, prefix, report).await
}

/// Whether two creators of one key are told apart.
async fn create_only(
    bucket: &dyn Bucket,
    s3: Option<&S3Bucket>,
    prefix: &str,
    report: &mut Report,
) -> Option<()> {
    let check = "create-only";
    if let Some(s3) = s3
        && let CreateOnly::Missing(how) = needed(report, check, s3.create_only()).await?
    {
        report.note(check, Verdict::Warning, format!("{how}; {SINGLE_WRITER}"));
        return Some(());
    }
    let key = format!("{prefix}created");
    let first = bucket.put(&key, vec![Bytes::from_static(b"first")], Precondition::Absent);
    needed(report, check, first).await?;
    let second = bucket.put(&key, vec![Bytes::from_static(b"second")], Precondition::Absent);
    match second.await {
        Err(error) if error.kind == BucketErrorKind::Exists => {
            report.ok(check, "honoured: of two creators one is refused");
            Some(())
        }
        Ok(()) => {
            report.note(check, Verdict::Failed, "a second creator was not refused");
            None
        }
        Err(error) => {
            report.note(check, Verdict::Failed, error);
            None
        }
    }
}

/// What the answers have told besides.
fn told(s3: Option<&S3Bucket>, report: &mut Report) {
    let Some(s3) = s3 else {
        report.ok("clock", "this machine's own");
        report.ok("checksum", "the vault's own hashes; a directory has none");
        return;
    };
    match s3.observed().clock_offset_seconds() {
        None => report.note(
            "clock",
            Verdict::Warning,
            "the store does not say what time it is",
        ),
        Some(offset) if offset.abs() > CLOCK_SECONDS_MAX => {
            let found =
                format!("the store's clock differs from ours by {offset} s; from 900 s on it refuses us");
            report.note("clock", Verdict::Warning, found);
        }
        Some(offset) => report.ok("clock", format!("the store's differs from ours by {offset} s")),
    }
    if s3.observed().checksum_kept() {
        report.ok(
            "checksum",
            "the store keeps checksums and gives them back; reads of objects are compared",
        );
    } else {
        let found = "the store gives no checksums back; the vault's own hashes tell what is damaged";
        report.note("checksum", Verdict::Warning, found);
    }
}

async fn latency(bucket: &dyn Bucket, prefix: &str, report: &mut Report) -> Option<()> {
    let key = format!("{prefix}small");
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    let small = Bytes::from_static(&[0; 4096]);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let put = bucket.put(&key, vec![small.clone()], Precondition::None);
        needed(report, "latency", put).await?;
        puts.push(started.elapsed());
        let started = Instant::now();
        needed(report, "latency", bucket.get_range(&key, 0..512)).await?;
        gets.push(started.elapsed());
    }
    needed(report, "latency", bucket.delete(&key)).await?;
    let found = format!(
        "a small write takes {}, a small read {} (middle of {ROUNDS})",
        millis(middle(puts)),
        millis(middle(gets))
    );
    report.ok("latency", found);
    Some(())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(place: &str) -> (Report, VaultPlace) {
        let place = VaultPlace::parse(place).unwrap();
        (check(&place).unwrap(), place)
    }

    #[test]
    fn a_directory_has_all_that_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let (report, place) = checked(dir.path().join("vault").to_str().unwrap());
        let text = report.text(&place);
        assert!(report.is_usable(), "{text}");
        for check in TRIED {
            assert!(text.contains(&format!("OK       {check}")), "{check}:\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&report.json(&place).unwrap()).unwrap();
        assert_eq!(
            (json["Usable"].as_bool(), json["Checks"].as_array().unwrap().len()),
            (Some(true), TRIED.len())
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_is_not_usable_and_every_check_has_a_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (report, place) = checked(file.path().to_str().unwrap());
        let text = report.text(&place);
        assert!(!report.is_usable() && text.contains("FAILED   write"), "{text}");
        assert!(
            text.contains("SKIPPED  latency") && text.contains("cannot be here"),
            "{text}"
        );
    }
}
