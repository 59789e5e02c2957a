//! Repositories on a real catalogue file.

use super::disks::{DiskKind, DiskRow};
use super::jobs::{self, JobKind};
use super::snapshots::{self, SnapshotRow, SnapshotType};
use super::tags::{self, ResourceType};
use super::tokens::{self, Known, TokenKey};
use super::*;
use crate::states::{DiskCause, DiskStatus, SnapshotCause, SnapshotStatus};
use crate::store::Store;
use tidemark_ecs::model::Tag;
use tidemark_ecs::page::{PageRequest, Start};
use tidemark_ecs::rules::TagFilter;

/// Runs `work` as one committed transaction on a fresh catalogue.
async fn on_fresh<T: Send + 'static>(
    work: impl FnOnce(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
) -> T {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = Store::open(&dir.path().join("catalogue.db")).expect("opens");
    store.write(work).await.expect("the transaction commits")
}

fn disk(t: &mut dyn Transaction, id: &str) -> Result<DiskRow, StoreError> {
    let row = DiskRow {
        id: id.into(),
        ordinal: DiskRow::next_ordinal(t)?,
        account: "1".into(),
        name: "name".into(),
        description: String::new(),
        kind: DiskKind::Data,
        status: DiskStatus::Available,
        status_before: String::new(),
        category: "cloud_essd".into(),
        performance_level: "PL1".into(),
        size_gib: 20,
        region: "r".into(),
        zone: "z".into(),
        resource_group: "rg".into(),
        instance_id: None,
        device: String::new(),
        ever_attached: false,
        delete_with_instance: false,
        delete_auto_snapshot: true,
        enable_auto_snapshot: true,
        bursting_enabled: false,
        provisioned_iops: 0,
        multi_attach: "Disabled".into(),
        source_snapshot_id: String::new(),
        image_id: String::new(),
        origin_instance_id: String::new(),
        created_ms: 5,
        attached_ms: None,
        detached_ms: Some(7),
        encrypted: true,
    };
    row.insert(t)?;
    Ok(row)
}

fn snapshot(t: &mut dyn Transaction, id: &str, disk: &str) -> Result<SnapshotRow, StoreError> {
    let row = SnapshotRow {
        id: id.into(),
        ordinal: SnapshotRow::next_ordinal(t)?,
        account: "1".into(),
        name: String::new(),
        description: String::new(),
        status: SnapshotStatus::Progressing,
        marked: true,
        percent: 0,
        failure: String::new(),
        link_id: snapshots::link(t, disk, "r", &format!("sl-of-{id}"))?,
        source_disk_id: disk.into(),
        source_disk_kind: DiskKind::Data,
        source_disk_size_gib: 20,
        snapshot_type: SnapshotType::User,
        category: "standard".into(),
        resource_group: "rg".into(),
        retention_days: None,
        instant_access: false,
        instant_access_days: None,
        full_bytes: 0,
        stored_bytes: 0,
        created_ms: 1,
        modified_ms: 1,
        expires_ms: None,
        encrypted: true,
        region: "r".into(),
        source_snapshot_id: String::new(),
        source_region_id: String::new(),
    };
    row.insert(t)?;
    Ok(row)
}

#[tokio::test]
async fn a_row_is_read_back_as_it_was_written() {
    on_fresh(|t| {
        let row = disk(t, "d-1")?;
        assert_eq!(DiskRow::get(t, "d-1")?, Some(row.clone()));
        assert_eq!(DiskRow::get(t, "d-2")?, None);
        let changed = DiskRow {
            name: "Ω".into(),
            attached_ms: Some(1),
            detached_ms: None,
            ..row
        };
        changed.save(t)?;
        assert_eq!(DiskRow::get(t, "d-1")?, Some(changed));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_step_that_the_table_forbids_changes_nothing() {
    on_fresh(|t| {
        let mut row = disk(t, "d-1")?;
        assert!(row.step(t, DiskCause::DetachDisk).is_err());
        assert_eq!(
            DiskRow::get(t, "d-1")?.map(|d| d.status),
            Some(DiskStatus::Available)
        );
        assert!(row.step(t, DiskCause::DeleteDisk)?);
        assert!(!row.step(t, DiskCause::Deleted)?, "the last step removes the row");
        assert_eq!(DiskRow::get(t, "d-1")?, None);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_disk_cannot_be_on_an_instance_that_does_not_exist() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = Store::open(&dir.path().join("catalogue.db")).expect("opens");
    let result = store
        .write(|t| {
            let row = disk(t, "d-1")?;
            DiskRow {
                instance_id: Some("i-none".into()),
                ..row
            }
            .save(t)
        })
        .await;
    assert_eq!(
        result.map_err(|e: StoreError| e.kind),
        Err(StoreErrorKind::Constraint)
    );
}

#[tokio::test]
async fn numbers_of_a_counter_are_never_given_twice() {
    on_fresh(|t| {
        let first = disk(t, "d-1")?;
        first.remove(t)?;
        assert!(disk(t, "d-2")?.ordinal > first.ordinal);
        Ok(())
    })
    .await;
}

/// Ids of one page of disks.
fn page(
    t: &mut dyn Transaction,
    size: usize,
    start: Start,
    filter: impl FnOnce(&mut Conditions),
) -> Result<(Vec<String>, String, usize), StoreError> {
    let mut all = Conditions::of_account(DiskRow::TABLE, "1");
    filter(&mut all);
    let request = PageRequest { size, start };
    let (rows, info) = all.page(t, &request, DiskRow::select, |row| (row.ordinal, &row.id))?;
    Ok((
        rows.into_iter().map(|row| row.id).collect(),
        info.next_token,
        info.total_count,
    ))
}

#[tokio::test]
async fn pages_are_newest_first_and_tokens_survive_changes() {
    on_fresh(|t| {
        for n in 1..=5 {
            disk(t, &format!("d-{n}"))?;
        }
        let (ids, token, total) = page(t, 2, Start::Number(1), |_| {})?;
        assert_eq!((ids, total), (vec!["d-5".into(), "d-4".into()], 5));
        let (ids, _, total) = page(t, 2, Start::Number(9), |_| {})?;
        assert_eq!(
            (ids.len(), total),
            (0, 5),
            "past the end: empty, with the true total"
        );

        // The row that the token names goes, and a newer one comes: the next page stays the same.
        if let Some(row) = DiskRow::get(t, "d-4")? {
            row.remove(t)?;
        }
        disk(t, "d-6")?;
        let after = |token: &str| {
            tidemark_ecs::page::Cursor::decode(token)
                .map(Start::After)
                .expect("own token")
        };
        let (ids, token, _) = page(t, 2, after(&token), |_| {})?;
        assert_eq!(ids, ["d-3", "d-2"]);
        let (ids, token, _) = page(t, 2, after(&token), |_| {})?;
        assert_eq!((ids, token), (vec!["d-1".into()], String::new()));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn filters_combine() {
    on_fresh(|t| {
        for n in 1..=3 {
            let id = format!("d-{n}");
            disk(t, &id)?;
            let tag = |key: &str, value: &str| Tag {
                key: key.into(),
                value: value.into(),
            };
            tags::set(
                t,
                "1",
                ResourceType::Disk,
                &id,
                &[tag("n", &n.to_string()), tag("all", "")],
            )?;
        }
        // The same id as another kind of resource must not leak its tags.
        tags::set(
            t,
            "1",
            ResourceType::Snapshot,
            "d-1",
            &[Tag {
                key: "n".into(),
                value: "2".into(),
            }],
        )?;
        let filter = |key: &str, value: Option<&str>| TagFilter {
            key: key.into(),
            value: value.map(Into::into),
        };
        let ids = |t: &mut dyn Transaction, f: &dyn Fn(&mut Conditions)| {
            page(t, 10, Start::Number(1), |c| f(c)).map(|p| p.0)
        };
        assert_eq!(
            ids(t, &|c| c.tagged(ResourceType::Disk, &[filter("all", None)]))?.len(),
            3
        );
        let both = [filter("all", Some("")), filter("n", Some("2"))];
        assert_eq!(ids(t, &|c| c.tagged(ResourceType::Disk, &both))?, ["d-2"]);
        assert_eq!(
            ids(t, &|c| c
                .one_of("id", &["d-1".into(), "d-3".into(), "d-9".into()]))?,
            ["d-3", "d-1"]
        );
        assert!(
            ids(t, &|c| c.one_of("id", &[]))?.is_empty(),
            "an empty list matches nothing"
        );
        assert!(ids(t, &|c| c.equals("name", "name' OR '1'='1"))?.is_empty());
        assert_eq!(ids(t, &|c| c.equals_if("name", None::<&str>))?.len(), 3);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn other_accounts_are_invisible() {
    on_fresh(|t| {
        let row = disk(t, "d-1")?;
        DiskRow {
            account: "2".into(),
            ..row
        }
        .save(t)?;
        assert_eq!(page(t, 10, Start::Number(1), |_| {})?.2, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_nonce_is_new_once_per_key_until_it_expires() {
    on_fresh(|t| {
        assert!(nonces::remember(t, "k", "n", 0, 100)?);
        assert!(!nonces::remember(t, "k", "n", 99, 199)?);
        assert!(nonces::remember(t, "other", "n", 99, 199)?);
        assert!(
            nonces::remember(t, "k", "n", 100, 200)?,
            "expired, and not swept yet"
        );
        assert!(!nonces::sweep(t, 199)?, "that was all");
        assert_eq!(t.count("SELECT COUNT(*) FROM nonces", &[])?, 1);
        assert!(!nonces::remember(t, "k", "n", 199, 299)?);
        for n in 0..600 {
            nonces::remember(t, "many", &n.to_string(), 0, 100)?;
        }
        assert!(nonces::sweep(t, 199)?, "there are more");
        assert!(!nonces::sweep(t, 199)?);
        assert_eq!(t.count("SELECT COUNT(*) FROM nonces", &[])?, 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_client_token_answers_only_its_own_request() {
    on_fresh(|t| {
        let key = TokenKey {
            account: "1".into(),
            action: "CreateDisk",
            token: "T".into(),
        };
        assert_eq!(tokens::look_up(t, &key, "f", 0)?, Known::New);
        tokens::remember(t, &key, "f", "d-1", "answer", true, 100)?;
        assert_eq!(tokens::look_up(t, &key, "f", 99)?, Known::Processing);
        tokens::answered(t, "d-1")?;
        assert_eq!(
            tokens::look_up(t, &key, "f", 99)?,
            Known::Answered("answer".into())
        );
        assert_eq!(tokens::look_up(t, &key, "other", 99)?, Known::Mismatch);
        let small = TokenKey {
            token: "t".into(),
            ..key.clone()
        };
        assert_eq!(
            tokens::look_up(t, &small, "f", 99)?,
            Known::New,
            "tokens are case-sensitive"
        );
        let other = TokenKey {
            action: "CreateSnapshot",
            ..key.clone()
        };
        assert_eq!(tokens::look_up(t, &other, "f", 99)?, Known::New);
        assert_eq!(
            tokens::look_up(t, &key, "other", 100)?,
            Known::New,
            "forgotten after its time"
        );
        tokens::take_back(t, "d-1")?;
        assert_eq!(tokens::look_up(t, &key, "f", 99)?, Known::New);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_chain_lives_as_long_as_one_of_its_snapshots() {
    on_fresh(|t| {
        let mut first = snapshot(t, "s-1", "d-1")?;
        let mut second = snapshot(t, "s-2", "d-1")?;
        assert_eq!(first.link_id, second.link_id);
        assert_ne!(first.link_id, snapshot(t, "s-3", "d-2")?.link_id);
        for row in [&mut first, &mut second] {
            row.step(t, SnapshotCause::DeleteSnapshot)?;
        }
        assert_eq!(
            snapshots::count(t, "d-1", "r", SnapshotType::User)?,
            0,
            "what is going does not count"
        );
        first.step(t, SnapshotCause::Deleted)?;
        assert_eq!(snapshots::link(t, "d-1", "r", "sl-new")?, second.link_id);
        second.step(t, SnapshotCause::Deleted)?;
        assert_eq!(snapshots::link(t, "d-1", "r", "sl-new")?, "sl-new");
        Ok(())
    })
    .await;
}

/// A disk's snapshots may be in two regions: that of the disk, and one in which a catalogue was made again.
#[tokio::test]
async fn automatic_snapshots_give_way_in_their_own_region() {
    use crate::rules;
    on_fresh(|t| {
        for (id, region) in [("s-1", "q"), ("s-2", "r")] {
            let row = SnapshotRow {
                snapshot_type: SnapshotType::Timer,
                status: SnapshotStatus::Accomplished,
                region: region.into(),
                ..snapshot(t, id, "d-1")?
            };
            row.save(t)?;
        }
        assert_eq!(rules::automatic_count(t, "d-1", "r")?, 1);
        for (region, id) in [("r", "s-2"), ("q", "s-1")] {
            let oldest = rules::oldest_to_give_way(t, "d-1", region, 0)?;
            assert_eq!(oldest.map(|row| row.id), Some(id.to_owned()));
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn jobs_are_listed_oldest_first_until_finished() {
    on_fresh(|t| {
        let first = jobs::add(t, JobKind::CreateDisk, "d-1", "d-1", "", 0)?;
        let second = jobs::add(t, JobKind::ResetDisk, "d-1", "i-1", "s-1", 0)?;
        let third = jobs::add(t, JobKind::CompleteSnapshot, "s-1", "s-1", "", 0)?;
        jobs::note_failure(t, second, "no")?;
        jobs::finish(t, first)?;
        jobs::drop_kind(t, JobKind::CompleteSnapshot, "s-1")?;
        jobs::finish(t, third)?;
        let left = jobs::all(t)?;
        assert_eq!(left.len(), 1);
        assert_eq!(
            (left[0].id, left[0].attempts, left[0].last_error.as_str()),
            (second, 1, "no")
        );
        assert_eq!(
            (left[0].lane.as_str(), left[0].arguments.as_str()),
            ("i-1", "s-1")
        );
        Ok(())
    })
    .await;
}

/// What a snapshot takes over from one that goes counts from the next hour on, however new it is itself.
#[tokio::test]
async fn an_hour_is_metered_once_when_a_new_snapshot_takes_over() {
    use super::usage::{self, UsageRow};
    use crate::clock::{HOUR_MS, MINUTE_MS};
    on_fresh(|t| -> Result<(), StoreError> {
        let at = |minutes: i64| 10 * HOUR_MS + minutes * MINUTE_MS;
        let mut rows = Vec::new();
        for (id, bytes, minute) in [("s-1", 20, 10), ("s-2", 7, 30)] {
            let row = SnapshotRow {
                status: SnapshotStatus::Accomplished,
                stored_bytes: bytes,
                ..snapshot(t, id, "d-1")?
            };
            row.save(t)?;
            usage::begin(t, &row, at(minute))?;
            rows.push(row);
        }
        usage::end(t, &rows[0], at(30) + 1)?;
        let metered = |t: &mut dyn Transaction, hour: i64| -> Result<i64, StoreError> {
            let rows = UsageRow::select(t, "ORDER BY id", &[])?;
            let counted = rows.iter().filter(|row| row.hours(at(150)).contains(&hour));
            Ok(counted.map(|row| row.bytes).sum())
        };
        assert_eq!(metered(t, 10)?, 27, "each for itself");
        assert_eq!(metered(t, 11)?, 27, "the heir for both");
        // The vault's word on it corrects what was taken over, and no hour that has begun.
        let told = [(("r".to_owned(), "s-2".to_owned()), 25)].into();
        usage::correct(t, &told, true, at(30) + 2)?;
        assert_eq!((metered(t, 10)?, metered(t, 11)?), (27, 25));
        Ok(())
    })
    .await;
}

/// Two vaults may know a snapshot by the same id.
#[tokio::test]
async fn a_vaults_figures_are_for_its_own_region() {
    use super::usage;
    on_fresh(|t| -> Result<(), StoreError> {
        let row = SnapshotRow {
            status: SnapshotStatus::Accomplished,
            stored_bytes: 5,
            ..snapshot(t, "s-1", "d-1")?
        };
        row.save(t)?;
        usage::begin(t, &row, 0)?;
        for (region, expected) in [("q", 5), ("r", 9)] {
            let told = [((region.to_owned(), "s-1".to_owned()), 9)].into();
            usage::correct(t, &told, true, 1)?;
            let open = usage::open(t, "s-1")?;
            assert_eq!(open.map(|row| row.bytes), Some(expected), "{region}");
        }
        Ok(())
    })
    .await;
}

/// Every row type names columns that its table has.
#[tokio::test]
async fn row_types_are_as_their_tables() {
    use super::{
        events, groups, images, instances, key_pairs, keys, locks, policies, ram, regions, tasks, usage,
        webhooks,
    };
    on_fresh(|t| -> Result<(), StoreError> {
        macro_rules! readable {
            ($($row:ty),* $(,)?) => { $( <$row>::select(t, "LIMIT 0", &[])?; )* };
        }
        readable!(
            DiskRow,
            SnapshotRow,
            events::EventRow,
            groups::GroupRow,
            images::ImageDiskRow,
            images::ImageRow,
            instances::InstanceRow,
            jobs::JobRow,
            key_pairs::KeyPairRow,
            keys::KeyRow,
            keys::SessionRow,
            locks::LockRow,
            policies::AppliedRow,
            policies::PolicyRow,
            policies::RunRow,
            ram::PolicyRow,
            ram::RoleRow,
            ram::UserRow,
            regions::RegionRow,
            tasks::TaskRow,
            usage::UsageRow,
            webhooks::WebhookRow,
        );
        Ok(())
    })
    .await;
}
