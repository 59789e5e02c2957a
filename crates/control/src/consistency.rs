//! Snapshots that a guest is told of: its file systems stand still while the mark is made (product.md 2.7).
//!
//! Every snapshot is crash-consistent. Who asks for more gets it where the guest can: `FileSystem`, its file systems are synced and frozen
//! around the mark, by its agent; `Application`, before that the guest's own `/tmp/prescript.sh` has run, and after it
//! `/tmp/postscript.sh`. What must stay true: (1) the tags `FsConsistent` and `APPConsistent` say what was so while the mark was made,
//! which is known only after it: a guest that went on in between, or whose agent is gone, was not frozen; (2) a level that is not
//! reached is said in a tag, with why, and the snapshot is made all the same; (3) nothing here makes a guest stand still for
//! longer than [`FREEZE_LIMIT`].
//!
//! Not here: talking to the agent (`compute`).

use crate::Control;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::guests::is_guest;
use crate::rules;
use crate::states::{DiskStatus, InstanceStatus};
use crate::store::{StoreError, Transaction};
use futures_util::future::join_all;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidemark_compute::{Compute, ComputeError, ComputeErrorKind, Frozen, Script, ScriptOutcome};
use tidemark_ecs::model::Tag;
use tidemark_ecs::rules::consistency::Consistency;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

/// A mark takes milliseconds; an agent in a busy guest may take seconds to freeze.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);
/// For the turn at a guest that is busy with another snapshot.
const ALONE_LIMIT: Duration = Duration::from_secs(60);
/// For a script of the guest's.
const SCRIPT_LIMIT: Duration = Duration::from_secs(20);
/// How long a guest is gone on with whose script before runs on or whose script after cannot be begun, and how often it is asked.
const AFTER_LIMIT: Duration = Duration::from_secs(600);
const AFTER_PAUSE: Duration = Duration::from_secs(5);
/// Bytes of a tag's value (product.md 2.15).
const VALUE_MAX: usize = 128;

/// `True` or `False`: file systems were synced and frozen.
const FS: &str = "FsConsistent";
/// `True` or `False`: the applications' own script had run, too.
const APP: &str = "APPConsistent";
/// Why a level that was asked for was not reached.
const FALLBACK: &str = "ConsistencyFallback";

/// What stands still until [`Quiesced::release`].
pub(crate) struct Quiesced {
    wanted: Consistency,
    guests: Vec<Held>,
    compute: Option<Compute>,
    /// Why the application level is out of reach, and why any level is.
    no_application: Option<String>,
    no_file_system: Option<String>,
}

struct Held {
    instance: String,
    disks: Vec<String>,
    frozen: Option<Frozen>,
    /// What the script before may have done, the one after has to undo: it is owed.
    began: bool,
    /// A script that was not seen to end: its number in the guest. No other begins before it has.
    runs: Option<i64>,
    /// Two snapshots of a guest do not mix: the script after one would let the application go on before the other's mark.
    _alone: OwnedMutexGuard<()>,
}

/// What was so while the mark was made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    wanted: Consistency,
    no_application: Option<String>,
    no_file_system: Option<String>,
}

/// Held by who tells a guest of a snapshot, for each instance.
#[derive(Default)]
pub(crate) struct Quiescing(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Quiescing {
    async fn alone(&self, instance: &str) -> Option<OwnedMutexGuard<()>> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(instance.to_owned()).or_default())
        };
        timeout(ALONE_LIMIT, lock.lock_owned()).await.ok()
    }
}

impl Control {
    /// Has the guests that use the disks stand still, as far as was asked for and can be.
    pub(crate) async fn quiesce(&self, wanted: Consistency, disks: Vec<String>) -> Quiesced {
        let mut quiesced = Quiesced {
            wanted,
            guests: Vec::new(),
            compute: self.compute().cloned(),
            no_application: None,
            no_file_system: None,
        };
        if wanted == Consistency::Crash {
            return quiesced;
        }
        let read = move |t: &mut dyn Transaction| instances_of(t, &disks);
        let instances = match self.store().read::<_, StoreError, _>(read).await {
            Ok(Ok(instances)) => instances,
            Ok(Err(why)) => return quiesced.without(why),
            Err(error) => return quiesced.without(error.to_string()),
        };
        let Some(compute) = quiesced.compute.clone() else {
            return quiesced.without("no guests are run here".into());
        };
        // In the order of their ids, so that two of these do not wait for each other.
        for (instance, disks) in instances {
            let Some(alone) = self.quiescing().alone(&instance).await else {
                return quiesced.without(format!("{instance} is busy with another snapshot"));
            };
            quiesced.guests.push(Held {
                instance,
                disks,
                frozen: None,
                began: false,
                runs: None,
                _alone: alone,
            });
        }
        if wanted == Consistency::Application {
            quiesced.run_scripts(&compute).await;
        }
        quiesced.freeze(&compute).await;
        quiesced
    }

    /// Writes what was reached into the tags of the snapshots. A snapshot without them claims nothing.
    pub(crate) async fn label(&self, snapshots: Vec<String>, reached: Reached) {
        let tags = reached.tags();
        if tags.is_empty() {
            return;
        }
        if let Some(tag) = tags.iter().find(|tag| tag.key == FALLBACK) {
            tracing::warn!(
                ?snapshots,
                why = tag.value,
                "the guest's consistency that was asked for is not reached"
            );
        }
        let now = self.now_ms();
        let write = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
            for id in &snapshots {
                if let Some(row) = SnapshotRow::get(t, id.as_str())? {
                    tags::set(t, &row.account, ResourceType::Snapshot, id, &tags)?;
                    rules::update_record(t, id, now)?;
                }
            }
            Ok(())
        };
        if let Err(error) = self.store().write(write).await {
            tracing::error!(%error, "what a guest reached for its snapshot cannot be noted");
        }
        self.jobs().wake();
    }
}

/// The guests that the disks are attached to, each with its disks; or why one of the disks is in the hands of nobody who could be asked.
fn instances_of(
    t: &mut dyn Transaction,
    disks: &[String],
) -> Result<Result<BTreeMap<String, Vec<String>>, String>, StoreError> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in disks {
        let disk = DiskRow::get(t, id.as_str())?.filter(|disk| disk.status == DiskStatus::InUse);
        let instance = disk.and_then(|disk| disk.instance_id).unwrap_or_default();
        let Some(row) = InstanceRow::get(t, instance)? else {
            return Ok(Err(format!("{id} is not attached: nobody can be asked")));
        };
        if !is_guest(&row) {
            return Ok(Err(format!(
                "{} is not run here: its agent cannot be reached",
                row.id
            )));
        }
        if row.status != InstanceStatus::Running {
            return Ok(Err(format!(
                "{} is {}: its agent does not run",
                row.id, row.status
            )));
        }
        found.entry(row.id).or_default().push(id.clone());
    }
    Ok(Ok(found))
}

impl Quiesced {
    fn without(mut self, why: String) -> Self {
        self.no_file_system = Some(why);
        self
    }

    /// All scripts before any file system stands still.
    async fn run_scripts(&mut self, compute: &Compute) {
        for held in &mut self.guests {
            let outcome = compute.script(&held.instance, Script::Pre, SCRIPT_LIMIT).await;
            let why = held.note(Script::Pre, outcome);
            self.no_application = why.or(self.no_application.take());
        }
    }

    /// All at once: none stands still for another's sake.
    async fn freeze(&mut self, compute: &Compute) {
        let freezing = self.guests.iter_mut().map(|held| async {
            held.frozen = Some(compute.freeze(&held.instance, FREEZE_LIMIT).await?);
            for disk in &held.disks {
                if !compute.has_disk(&held.instance, disk).await? {
                    let message = format!("the guest {} does not have {disk} any more", held.instance);
                    let kind = ComputeErrorKind::Failed;
                    return Err(ComputeError { kind, message });
                }
            }
            Ok(())
        });
        for frozen in join_all(freezing).await {
            if let Err(error) = frozen {
                self.no_file_system = Some(error.message);
            }
        }
    }

    /// Lets all go on; what was so until now.
    pub(crate) async fn release(self) -> Reached {
        let Quiesced {
            wanted,
            mut guests,
            compute,
            mut no_application,
            mut no_file_system,
        } = self;
        let thaws = guests
            .iter_mut()
            .filter_map(|held| held.frozen.take())
            .map(Frozen::thaw);
        for thawed in join_all(thaws).await {
            if let Err(error) = thawed {
                no_file_system = Some(error.message);
            }
        }
        for mut held in guests.into_iter().filter(|held| held.began) {
            let Some(compute) = &compute else { continue };
            if held.go_on(compute).await {
                continue;
            }
            // The caller does not wait for it; the guest is held until then.
            let compute = compute.clone();
            drop(tokio::spawn(async move { held.go_on_until_done(&compute).await }));
        }
        if no_application.is_none() {
            no_application.clone_from(&no_file_system);
        }
        Reached {
            wanted,
            no_application,
            no_file_system,
        }
    }
}

impl Held {
    /// Keeps what came of a script, and answers why it did not do what it is for.
    fn note(&mut self, script: Script, outcome: Result<ScriptOutcome, ComputeError>) -> Option<String> {
        let (begun, runs, why) = match outcome {
            Ok(ScriptOutcome::Done) => (true, None, None),
            Ok(ScriptOutcome::Failed(why)) => (true, None, Some(why)),
            Ok(ScriptOutcome::RunsOn { number, why }) => (true, number, Some(why)),
            // There is nothing to begin, before or after.
            Ok(ScriptOutcome::Unfit(why)) => (script == Script::Post, None, Some(why)),
            Err(error) => (false, None, Some(error.message)),
        };
        self.runs = runs;
        if begun {
            self.began = script == Script::Pre;
        }
        why
    }

    /// Runs the script after, unless one still runs. Whether all is done that can be.
    async fn go_on(&mut self, compute: &Compute) -> bool {
        if let Some(number) = self.runs {
            match compute.script_has_ended(&self.instance, number).await {
                Ok(true) => self.runs = None,
                Ok(false) => return false,
                Err(error) => return does_not_run(&error),
            }
        }
        if self.began {
            let outcome = compute.script(&self.instance, Script::Post, SCRIPT_LIMIT).await;
            let is_gone = outcome.as_ref().is_err_and(does_not_run);
            // The mark is made: what comes after it changes nothing about it, but an administrator has to know.
            if let Some(why) = self.note(Script::Post, outcome) {
                tracing::warn!(instance = %self.instance, why, "the script after a snapshot");
            }
            return is_gone || !self.began && self.runs.is_none();
        }
        true
    }

    /// An application that is left paused is worse than one that goes on late.
    async fn go_on_until_done(mut self, compute: &Compute) {
        let began = Instant::now();
        while began.elapsed() < AFTER_LIMIT {
            tokio::time::sleep(AFTER_PAUSE).await;
            if self.go_on(compute).await {
                return;
            }
        }
        match self.began {
            true => {
                tracing::error!(instance = %self.instance, "the script after a snapshot could not be run: what the one before it paused may still stand");
            }
            false => tracing::error!(instance = %self.instance, "the script after a snapshot does not end"),
        }
    }
}

fn does_not_run(error: &ComputeError) -> bool {
    error.kind == ComputeErrorKind::NotRunning
}

impl Reached {
    /// Nothing where nothing was asked for.
    fn tags(&self) -> Vec<Tag> {
        let tag = |key: &str, value: &str| Tag {
            key: key.into(),
            value: value.into(),
        };
        let truth = |why: &Option<String>| if why.is_none() { "True" } else { "False" };
        let mut tags = Vec::new();
        if self.wanted >= Consistency::FileSystem {
            tags.push(tag(FS, truth(&self.no_file_system)));
        }
        if self.wanted >= Consistency::Application {
            tags.push(tag(APP, truth(&self.no_application)));
        }
        let why = match self.wanted {
            Consistency::Crash => None,
            Consistency::FileSystem => self.no_file_system.as_deref(),
            Consistency::Application => self.no_application.as_deref(),
        };
        tags.extend(why.map(|why| tag(FALLBACK, cut(why))));
        tags
    }
}

/// As much of the text as a tag's value holds.
fn cut(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    &line[..line.floor_char_boundary(VALUE_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(
        wanted: Consistency,
        no_application: Option<&str>,
        no_file_system: Option<&str>,
    ) -> Vec<(String, String)> {
        let reached = Reached {
            wanted,
            no_application: no_application.map(String::from),
            no_file_system: no_file_system.map(String::from),
        };
        reached
            .tags()
            .into_iter()
            .map(|tag| (tag.key, tag.value))
            .collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn tags_say_what_was_reached_and_why_not_more() {
        assert_eq!(tags(Consistency::Crash, None, Some("x")), []);
        assert_eq!(tags(Consistency::FileSystem, None, None), pairs(&[(FS, "True")]));
        assert_eq!(
            tags(Consistency::FileSystem, Some("no agent"), Some("no agent")),
            pairs(&[(FS, "False"), (FALLBACK, "no agent")])
        );
        assert_eq!(
            tags(Consistency::Application, None, None),
            pairs(&[(FS, "True"), (APP, "True")])
        );
        assert_eq!(
            tags(Consistency::Application, Some("no script"), None),
            pairs(&[(FS, "True"), (APP, "False"), (FALLBACK, "no script")])
        );
    }

    #[tokio::test]
    async fn the_script_after_is_owed_while_one_was_begun_and_it_was_not() {
        let alone = Arc::new(tokio::sync::Mutex::new(())).lock_owned().await;
        let mut held = Held {
            instance: "i-1".into(),
            disks: Vec::new(),
            frozen: None,
            began: false,
            runs: None,
            _alone: alone,
        };
        let not_begun = || {
            Err(ComputeError {
                kind: ComputeErrorKind::Failed,
                message: "the agent is busy".into(),
            })
        };
        let runs_on = || {
            Ok(ScriptOutcome::RunsOn {
                number: Some(7),
                why: "it takes long".into(),
            })
        };
        assert!(held.note(Script::Pre, not_begun()).is_some() && !held.began);
        let none = Ok(ScriptOutcome::Unfit("there is none".into()));
        assert!(held.note(Script::Pre, none).is_some() && !held.began);
        assert!(held.note(Script::Pre, runs_on()).is_some());
        assert_eq!((held.began, held.runs), (true, Some(7)));
        // It has ended, and the one after cannot be begun.
        assert!(held.note(Script::Post, not_begun()).is_some());
        assert_eq!((held.began, held.runs), (true, None));
        assert_eq!(held.note(Script::Post, Ok(ScriptOutcome::Done)), None);
        assert!(!held.began);
        assert!(held.note(Script::Pre, Ok(ScriptOutcome::Done)).is_none() && held.began);
        let gone = Ok(ScriptOutcome::Unfit("there is none any more".into()));
        assert!(held.note(Script::Post, gone).is_some() && !held.began);
    }

    #[test]
    fn a_reason_fits_a_tag() {
        assert_eq!(cut(&"ä".repeat(100)).len(), VALUE_MAX);
        assert_eq!(cut("one\ntwo"), "one");
    }
}
