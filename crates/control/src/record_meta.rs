//! What the vault keeps of a snapshot beside its data: the `meta` of its record, from which a lost catalogue is made again.
//!
//! Written here at the mark ([`of_new`]) and after each change ([`fields`]); read here by a rebuild ([`Reading`]).
//! docs/format-vault.md (section 8) says what each field means. What must stay true: a field's name never gets another
//! meaning; what a reader does not find or understand costs that field, never the snapshot.
//!
//! Not here: what the record itself says (ids, size, time, content), which counts where both could say it.

use crate::catalogue::disks::{DiskKind, DiskRow};
use crate::catalogue::snapshots::{SnapshotRow, SnapshotType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidemark_ecs::model::Tag;

/// The version of these words.
const VERSION: u64 = 1;
/// The largest number in creation order that is believed. What is above was not counted.
const ORDINAL_MAX: i64 = 1 << 40;
/// Retention in days, as the API takes it.
const DAYS: std::ops::RangeInclusive<i64> = 1..=65_536;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// All of a new snapshot.
pub(crate) fn of_new(row: &SnapshotRow, tags: &[Tag], disk: &DiskRow) -> Value {
    let mut meta = fields(row, tags);
    let source = json!({
        "id": disk.id,
        "name": disk.name,
        "description": disk.description,
        "kind": disk.kind.word(),
        "category": disk.category,
        "performance_level": disk.performance_level,
        "size_gib": disk.size_gib,
        "zone": disk.zone,
        "instance_id": disk.instance_id,
        "device": disk.device,
        "image_id": disk.image_id,
        "source_snapshot_id": disk.source_snapshot_id,
        "created_ms": disk.created_ms,
        "encrypted": disk.encrypted,
    });
    meta.insert("source_disk".into(), source);
    Value::Object(meta)
}

/// What may change after the mark, and what belongs to it: all but the source disk as it was.
pub(crate) fn fields(row: &SnapshotRow, tags: &[Tag]) -> Map<String, Value> {
    object(json!({
        "version": VERSION,
        "account": row.account,
        "region": row.region,
        "snapshot_id": row.id,
        "ordinal": row.ordinal,
        "name": row.name,
        "description": row.description,
        "link_id": row.link_id,
        "type": row.snapshot_type.word(),
        "source_disk_kind": row.source_disk_kind.word(),
        "encrypted": row.encrypted,
        "category": row.category,
        "resource_group": row.resource_group,
        "retention_days": row.retention_days,
        "instant_access": row.instant_access,
        "instant_access_days": row.instant_access_days,
        "modified_ms": row.modified_ms,
        "copy_of": copy_of(row),
        "tags": tags,
    }))
}

/// Of a copy: what the record, which tells of the original, does not say.
fn copy_of(row: &SnapshotRow) -> Option<CopyOf> {
    row.is_copy().then(|| CopyOf {
        snapshot: row.source_snapshot_id.clone(),
        region: row.source_region_id.clone(),
        copied_ms: row.created_ms,
    })
}

/// What a snapshot is a copy of, and since when there is the copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CopyOf {
    pub(crate) snapshot: String,
    pub(crate) region: String,
    pub(crate) copied_ms: i64,
}

/// A record's `meta`, read field by field.
pub(crate) struct Reading<'a> {
    meta: Option<&'a Map<String, Value>>,
    /// What could not be understood, a sentence each.
    pub(crate) problems: Vec<String>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(meta: &'a Value) -> Self {
        let mut problems = Vec::new();
        let object = meta.as_object().filter(|meta| meta.contains_key("version"));
        if object.is_none() {
            problems
                .push("its record has no meta of a catalogue: without name, tags and the like".to_string());
        }
        let version = object.and_then(|meta| meta["version"].as_u64());
        if version.is_some_and(|version| version > VERSION) {
            problems.push(
                "a newer release wrote its meta: what is new there is not in the catalogue".to_string(),
            );
        }
        Self {
            meta: object,
            problems,
        }
    }

    /// The field, or `None` if it is not there, is null, or is something else.
    fn field<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.meta?.get(name).filter(|value| !value.is_null())?;
        let read = T::deserialize(value);
        read.map_err(|error| self.problems.push(format!("meta {name:?}: {error}")))
            .ok()
    }

    fn text(&mut self, name: &str) -> String {
        self.field(name).unwrap_or_default()
    }

    fn word<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        let word: String = self.field(name)?;
        let known = word.parse().ok();
        if known.is_none() {
            self.problems
                .push(format!("meta {name:?}: {word:?} is not known here"));
        }
        known
    }

    fn days(&mut self, name: &str) -> Option<i64> {
        let days: i64 = self.field(name)?;
        if !DAYS.contains(&days) {
            self.problems
                .push(format!("meta {name:?}: {days} days are not possible"));
            return None;
        }
        Some(days)
    }

    pub(crate) fn account(&mut self) -> Option<String> {
        self.field("account")
            .filter(|account: &String| !account.is_empty())
    }

    pub(crate) fn region(&mut self) -> Option<String> {
        self.field("region")
    }

    pub(crate) fn ordinal(&mut self) -> Option<i64> {
        self.field("ordinal")
            .filter(|ordinal| (1..=ORDINAL_MAX).contains(ordinal))
    }

    pub(crate) fn name(&mut self) -> String {
        self.text("name")
    }

    pub(crate) fn description(&mut self) -> String {
        self.text("description")
    }

    pub(crate) fn link_id(&mut self) -> Option<String> {
        self.field("link_id")
            .filter(|id: &String| tidemark_ecs::id::is_plausible(id))
    }

    pub(crate) fn snapshot_type(&mut self) -> SnapshotType {
        self.word("type").unwrap_or(SnapshotType::User)
    }

    pub(crate) fn source_disk_kind(&mut self) -> DiskKind {
        let own: Option<DiskKind> = self.word("source_disk_kind");
        // Records of the first release have it in one place only.
        let of_disk = || {
            let source = self.meta?.get("source_disk")?.get("kind")?;
            source.as_str()?.parse().ok()
        };
        own.or_else(of_disk).unwrap_or(DiskKind::Data)
    }

    /// Whether the source disk had a key of its own.
    pub(crate) fn encrypted(&mut self) -> bool {
        let own: Option<bool> = self.field("encrypted");
        let of_disk = || self.meta?.get("source_disk")?.get("encrypted")?.as_bool();
        own.or_else(of_disk).unwrap_or(false)
    }

    pub(crate) fn category(&mut self) -> String {
        self.field("category").unwrap_or_else(|| "standard".into())
    }

    pub(crate) fn resource_group(&mut self) -> Option<String> {
        self.field("resource_group")
    }

    pub(crate) fn retention_days(&mut self) -> Option<i64> {
        self.days("retention_days")
    }

    pub(crate) fn instant_access(&mut self) -> bool {
        self.field("instant_access").unwrap_or(false)
    }

    pub(crate) fn instant_access_days(&mut self) -> Option<i64> {
        self.days("instant_access_days")
    }

    pub(crate) fn modified_ms(&mut self) -> Option<i64> {
        self.field("modified_ms")
    }

    pub(crate) fn copy_of(&mut self) -> Option<CopyOf> {
        self.field("copy_of")
    }

    pub(crate) fn tags(&mut self) -> Vec<Tag> {
        self.field("tags").unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_costs_its_field_only() {
        let meta = json!({
            "version": 1, "name": "n", "tags": [{"TagKey": "k", "TagValue": "v"}], "description": 7, "type": "magic",
            "retention_days": -3, "ordinal": i64::MAX, "source_disk": {"kind": "system"}, "from_the_future": {},
        });
        let mut reading = Reading::new(&meta);
        assert_eq!(reading.name(), "n");
        assert_eq!(reading.tags().len(), 1);
        assert_eq!(reading.source_disk_kind(), DiskKind::System);
        assert!(reading.problems.is_empty());
        assert_eq!(
            (reading.description(), reading.snapshot_type()),
            (String::new(), SnapshotType::User)
        );
        assert_eq!((reading.retention_days(), reading.ordinal()), (None, None));
        assert_eq!(reading.problems.len(), 3, "{:?}", reading.problems);
    }

    #[test]
    fn any_json_is_survived() {
        for meta in [
            json!(null),
            json!(3),
            json!([]),
            json!({"name": "x"}),
            json!({"version": "one"}),
        ] {
            let mut reading = Reading::new(&meta);
            assert_eq!(reading.category(), "standard");
            assert_eq!(reading.source_disk_kind(), DiskKind::Data);
        }
        assert_eq!(Reading::new(&json!({"version": 2})).problems.len(), 1);
    }
}
