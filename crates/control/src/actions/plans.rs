//! How the catalogue is asked for lists: by an index and never by a walk through a whole table, so that a page takes the
//! same time among ten thousand rows as among ten. Plans are asserted, times are measured in `bench/api.py`.

use super::{describe_disks, describe_snapshots};
use crate::Caller;
use crate::catalogue::disks::DiskRow;
use crate::catalogue::policies;
use crate::catalogue::snapshots::{self, SnapshotRow};
use crate::housekeeping;
use crate::rules;
use crate::store::{Row, StoreError, Transaction, Value, migrations, sqlite};
use tidemark_ecs::Params;

/// Answers no rows, and keeps the plan of every query.
struct Explaining {
    connection: rusqlite::Connection,
    plans: Vec<String>,
}

impl Explaining {
    fn new() -> Self {
        let connection = rusqlite::Connection::open_in_memory().expect("a database");
        for migration in migrations::ALL {
            connection.execute_batch(migration.sql).expect("migrates");
        }
        connection.execute_batch(sqlite::SIZES).expect("sizes");
        Self {
            connection,
            plans: Vec::new(),
        }
    }
}

impl Transaction for Explaining {
    fn execute(&mut self, sql: &str, _: &[Value]) -> Result<u64, StoreError> {
        panic!("a list changes nothing: {sql}")
    }

    fn query(&mut self, sql: &str, _: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .expect("good SQL");
        // Parameters stay unbound: a plan is made without knowing them.
        let mut rows = statement.raw_query();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().expect("a plan") {
            lines.push(row.get::<_, String>(3).expect("a line"));
        }
        self.plans.push(lines.join("\n"));
        Ok(Vec::new())
    }
}

/// The plans of a list's count and of its page.
fn plans(list: &str, filter: &str) -> (String, String) {
    let pairs = filter
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .chain([("RegionId", "r")]);
    let params = Params::from_pairs(pairs).expect("each name once");
    let caller = Caller {
        account: "1".into(),
        access_key: "k".into(),
        identity: crate::Identity::Root,
        source: None,
        region: Some("r".into()),
        request_id: None,
    };
    let mut t = Explaining::new();
    match list {
        "snapshots" => {
            let request = tidemark_ecs::actions::describe_snapshots::Request::parse(&params).expect("parses");
            describe_snapshots::conditions(&caller, &request)
                .page(&mut t, &request.page, SnapshotRow::select, |row| {
                    (row.ordinal, &row.id)
                })
                .map(drop)
        }
        _ => {
            let request = tidemark_ecs::actions::describe_disks::Request::parse(&params).expect("parses");
            describe_disks::conditions(&caller, &request)
                .page(&mut t, &request.page, DiskRow::select, |row| {
                    (row.ordinal, &row.id)
                })
                .map(drop)
        }
    }
    .expect("explained");
    let [count, page] = t.plans.try_into().expect("a count and a page");
    (count, page)
}

const AFTER: &str = "NextToken=NTpzLTE";

#[test]
fn no_list_walks_through_a_table() {
    let filters = [
        ("snapshots", "SnapshotIds=[\"s-1\"]"),
        ("snapshots", "DiskId=d-1"),
        ("snapshots", "InstanceId=i-1"),
        ("snapshots", "SnapshotLinkId=sl-1"),
        ("snapshots", "SnapshotName=name"),
        ("snapshots", "Status=accomplished"),
        ("snapshots", "SnapshotType=user"),
        ("snapshots", "SourceDiskType=data"),
        ("snapshots", "Usage=none"),
        ("snapshots", "Category=standard"),
        ("snapshots", "Encrypted=true"),
        ("snapshots", "ResourceGroupId=rg"),
        ("snapshots", "Tag.1.Key=k&Tag.1.Value=v"),
        (
            "snapshots",
            "Filter.1.Key=CreationStartTime&Filter.1.Value=2030-01-01T00:00Z",
        ),
        ("disks", "DiskIds=[\"d-1\"]"),
        ("disks", "InstanceId=i-1"),
        ("disks", "SnapshotId=s-1"),
        ("disks", "DiskName=name"),
        ("disks", "Status=Available"),
        ("disks", "Category=cloud"),
        ("disks", "Tag.1.Key=k"),
        ("disks", "ZoneId=z"),
    ];
    for (list, filter) in filters {
        for more in ["", AFTER, "PageNumber=100&PageSize=100"] {
            let (count, page) = plans(list, &format!("{filter}&{more}"));
            for line in count.lines().chain(page.lines()) {
                assert!(
                    !line.contains("SCAN") || line.contains("INDEX"),
                    "{list} by {filter} {more}:\n{count}\n--\n{page}"
                );
            }
        }
    }
}

#[test]
fn what_names_a_few_rows_finds_them_and_does_not_look_through_an_accounts() {
    for (list, filter) in [
        ("snapshots", "SnapshotIds=[\"s-1\",\"s-2\"]"),
        ("snapshots", "DiskId=d-1"),
        ("snapshots", "InstanceId=i-1"),
        ("snapshots", "SnapshotLinkId=[\"sl-1\",\"sl-2\"]"),
        ("snapshots", "SnapshotName=name"),
        ("snapshots", "Tag.1.Key=k&Tag.1.Value=v"),
        ("disks", "DiskIds=[\"d-1\",\"d-2\"]"),
        ("disks", "InstanceId=i-1"),
        ("disks", "SnapshotId=s-1"),
        ("disks", "DiskName=name"),
    ] {
        let (count, page) = plans(list, filter);
        for plan in [&count, &page] {
            let all = ["(account=?)", "(account=? AND region=?)"];
            assert!(
                !all.iter().any(|all| plan.contains(all)),
                "{list} by {filter}:\n{plan}"
            );
        }
    }
}

#[test]
fn pages_are_read_in_their_order_and_those_before_are_stepped_over_in_the_index() {
    for (list, index, filter) in [
        ("snapshots", "snapshots_by_account", ""),
        ("snapshots", "snapshots_by_account", AFTER),
        ("snapshots", "snapshots_by_account_status", "Status=accomplished"),
        ("snapshots", "snapshots_by_name", "SnapshotName=name"),
        ("snapshots", "snapshots_by_disk", "DiskId=d-1"),
        ("snapshots", "snapshots_by_link", "SnapshotLinkId=sl-1"),
        ("disks", "disks_by_account", ""),
        ("disks", "disks_by_account", AFTER),
        ("disks", "disks_by_name", "DiskName=name"),
        ("disks", "disks_by_instance", "InstanceId=i-1"),
        ("disks", "disks_by_source", "SnapshotId=s-1"),
    ] {
        let (count, page) = plans(list, filter);
        assert!(
            page.contains(&format!("INDEX {index} (")),
            "{list} by {filter}:\n{page}"
        );
        assert!(
            !page.contains("TEMP B-TREE"),
            "{list} by {filter} is sorted:\n{page}"
        );
        assert!(
            !filter.is_empty() || count.contains("COVERING INDEX"),
            "{list}:\n{count}"
        );
    }
}

#[test]
fn what_is_asked_at_every_snapshot_and_round_does_not_grow_with_all_snapshots() {
    let explained = |ask: &dyn Fn(&mut Explaining) -> Result<(), StoreError>| {
        let mut t = Explaining::new();
        ask(&mut t).expect("explained");
        t.plans.join("\n")
    };
    let of_disk = [
        explained(&|t| rules::automatic_count(t, "d-1", "r").map(drop)),
        explained(&|t| rules::oldest_to_give_way(t, "d-1", "r", 0).map(drop)),
        explained(&|t| snapshots::progressing(t, "d-1").map(drop)),
    ];
    for plan in &of_disk {
        assert!(
            plan.contains("INDEX snapshots_by_disk (source_disk_id=?"),
            "{plan}"
        );
    }
    let copying = explained(&|t| snapshots::unfinished_copy(t, "s-1", "r").map(drop));
    assert!(copying.contains("INDEX snapshots_by_source ("), "{copying}");
    let of_one = explained(&|t| rules::in_transfer(t, "s-1").map(drop));
    for index in ["disks_by_source", "jobs_by_arguments", "snapshots_by_source"] {
        assert!(of_one.contains(&format!("INDEX {index} (")), "{of_one}");
    }
    for round in [
        explained(&|t| housekeeping::ids_over(t, 0).map(drop)),
        explained(&|t| policies::copies_due(t).map(drop)),
    ] {
        assert!(!round.contains("SCAN"), "{round}");
    }
}
