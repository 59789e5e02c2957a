//! What snapshots take: every action says the same, and the same as the vault; what was metered does not forget an hour.

use crate::guest::Guest;
use crate::world::{REGION, World, call, code};
use tidemark_ecs::actions::describe_snapshot_metering::MeterItem;
use tidemark_node::{SpaceOptions, SpaceReport};

const HOUR_MS: i64 = 3600 * 1000;
const GIB: u128 = 1 << 30;

/// Bytes that do not compress, different for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    words.flat_map(u64::to_le_bytes).take(len).collect()
}

fn write(world: &World, disk: &str, at: u64, seed: u64) {
    let mut guest = Guest::connect(world, disk).expect("exported");
    guest.write(at, &noise(seed, 1 << 20));
    guest.flush();
}

/// What the vault says, disks in the order of their making.
async fn vault(world: &World, disks: &[&str]) -> SpaceReport {
    let options = SpaceOptions {
        first: disks.iter().map(|disk| disk.parse().expect("an id")).collect(),
        ..SpaceOptions::default()
    };
    world.node.space(options).await.expect("reckoned")
}

/// Until nothing is left to do or to ask.
async fn settle(world: &World) {
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    let asked = async || world.control.reckon_space().await.expect("reckoned").to_string();
    world.eventually(asked, "a question left", "false").await;
}

async fn metered(world: &World, query: &str) -> Vec<MeterItem> {
    let answer = call!(world, describe_snapshot_metering, "{query}&PageSize=100");
    answer.expect("listed").meter_items
}

fn byte_hours(item: &MeterItem) -> u128 {
    item.byte_hours.parse().expect("a number")
}

fn at(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).expect("a time");
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Compares everything that says how much there is.
async fn agree(world: &World, disks: &[&str]) -> u64 {
    let report = vault(world, disks).await;
    let usage = call!(world, describe_snapshots_usage, "").expect("answered");
    let links = call!(world, describe_snapshot_links, "PageSize=100")
        .expect("listed")
        .snapshot_links;
    let now = world.now_ms();
    let curve = call!(
        world,
        describe_snapshot_monitor_data,
        "StartTime={}&EndTime={}",
        at(now - 120_000),
        at(now + 120_000)
    );
    // The curve's points are full minutes: what is stored now shows in the next one.
    assert!(!curve.expect("answered").monitor_data.is_empty());
    assert_eq!(usage.snapshot_size, report.packs.all().live_bytes, "the region");
    assert_eq!(usage.snapshot_count, report.snapshots.len() as u64);
    assert_eq!(
        usage.snapshot_size,
        links.iter().map(|link| link.total_size).sum::<u64>()
    );
    for link in &links {
        let of_vault = report
            .disks
            .iter()
            .find(|disk| disk.disk.as_str() == link.source_disk_id)
            .expect("there");
        assert_eq!(
            (link.total_size, link.total_count),
            (of_vault.counted_bytes, of_vault.snapshots)
        );
    }
    let items = metered(world, "").await;
    for one in &report.snapshots {
        let item = items
            .iter()
            .find(|item| item.snapshot_id == one.snapshot.as_str())
            .expect("metered");
        assert_eq!(item.size, one.counted_bytes, "{}", one.snapshot);
    }
    let region = metered(world, "GroupBy=Region").await;
    assert_eq!(
        region.iter().map(|item| item.size).sum::<u64>(),
        usage.snapshot_size
    );
    usage.snapshot_size
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_figures_are_the_vaults_and_each_byte_counts_once() {
    let world = World::with(|config| config.accounting = std::time::Duration::ZERO).await;
    let (instance, disk) = world.attached_disk().await;
    write(&world, &disk, 0, 1);
    write(&world, &disk, 1 << 20, 2);
    let first = world.snapshot(&disk).await;
    // What the capture stored is what it takes, before anybody has asked.
    let usage = call!(world, describe_snapshots_usage, "").expect("answered");
    assert!(usage.snapshot_size > 2 << 20, "{usage:?}");
    settle(&world).await;
    agree(&world, &[&disk]).await;

    write(&world, &disk, 0, 3);
    let second = world.snapshot(&disk).await;
    settle(&world).await;
    let two = agree(&world, &[&disk]).await;

    // A disk made from a snapshot shares its content: that is counted for the disk that had it first.
    let copy = world.disk_from(&format!("SnapshotId={first}")).await;
    world.attach(&instance, &copy).await;
    write(&world, &copy, 4 << 20, 4);
    let of_copy = world.snapshot(&copy).await;
    settle(&world).await;
    let three = agree(&world, &[&disk, &copy]).await;
    assert!(three < two + (3 << 20), "{two} {three}");

    // Deleting the first frees what only it held; the next takes over the rest.
    call!(world, delete_snapshot, "SnapshotId={first}&Force=true").expect("deleted");
    let between = call!(world, describe_snapshots_usage, "").expect("answered");
    assert_eq!(
        between.snapshot_size, three,
        "until the vault is asked nothing is taken for free"
    );
    settle(&world).await;
    agree(&world, &[&disk, &copy]).await;
    for id in [&second, &of_copy] {
        call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    }
    settle(&world).await;
    let usage = call!(world, describe_snapshots_usage, "").expect("answered");
    assert_eq!((usage.snapshot_count, usage.snapshot_size), (0, 0));
    assert!(
        call!(world, describe_snapshot_links, "")
            .expect("listed")
            .snapshot_links
            .is_empty()
    );
}

/// One region is away: the other's figures are the vault's all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_does_not_answer_costs_no_other_region_its_figures() {
    let world =
        World::two_regions_with(None, None, |config| config.accounting = std::time::Duration::ZERO).await;
    let (_, disk) = world.attached_disk().await;
    write(&world, &disk, 0, 1);
    world.snapshot(&disk).await;
    let left = async || world.count("jobs").to_string();
    world.eventually(left, "jobs left", "0").await;
    world.far.as_ref().expect("a second node").shutdown().await;
    world.control.reckon_space().await.expect_err("one is away");
    assert_eq!(world.number("SELECT exact FROM snapshot_usage"), 1);
}

/// A month in a second: two snapshots, one of them for ten days; ten days of the month no service runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_is_metered_with_the_hours_in_which_nobody_was_there() {
    let world = World::with(|config| config.accounting = std::time::Duration::ZERO).await;
    // Ten minutes past an hour.
    let into = world.now_ms().rem_euclid(HOUR_MS);
    world.advance_ms(HOUR_MS - into + HOUR_MS / 6);
    let begin = world.now_ms() / HOUR_MS;
    let (_, disk) = world.attached_disk().await;
    write(&world, &disk, 0, 1);
    let kept = world.snapshot(&disk).await;
    write(&world, &disk, 1 << 20, 2);
    let gone = world.snapshot(&disk).await;
    settle(&world).await;
    let size = async |id: &str| {
        let items = metered(
            &world,
            &format!("SnapshotId={id}&StartTime={}", at(begin * HOUR_MS)),
        )
        .await;
        u128::from(items[0].size)
    };
    let (kept_bytes, gone_bytes) = (size(&kept).await, size(&gone).await);
    assert!(gone_bytes > 1 << 20 && kept_bytes > 1 << 20);

    world.advance_days(10);
    call!(world, delete_snapshot, "SnapshotId={gone}").expect("deleted");
    settle(&world).await;
    world.advance_days(5);
    world.control.keep_house().await.expect("done");
    let world = world.restart_later(10 * 24 * HOUR_MS).await;
    settle(&world).await;
    world.advance_days(5);
    world.control.keep_house().await.expect("done");

    let window = format!(
        "StartTime={}&EndTime={}",
        at(begin * HOUR_MS),
        at((begin + 720) * HOUR_MS)
    );
    let items = metered(&world, &window).await;
    let of = |id: &str| items.iter().find(|item| item.snapshot_id == id).expect("metered");
    // Thirty days are 720 hours. The other was there for ten, and ten minutes into another hour.
    assert_eq!((of(&kept).hours, byte_hours(of(&kept))), (720, kept_bytes * 720));
    assert_eq!((of(&gone).hours, byte_hours(of(&gone))), (241, gone_bytes * 241));
    assert_eq!((of(&gone).size, u128::from(of(&kept).size)), (0, kept_bytes));
    let all = kept_bytes * 720 + gone_bytes * 241;
    for group_by in ["Link", "Region"] {
        let items = metered(&world, &format!("{window}&GroupBy={group_by}")).await;
        assert_eq!(items.len(), 1);
        assert_eq!((items[0].hours, byte_hours(&items[0])), (720, all), "{group_by}");
        assert_eq!(items[0].region_id, REGION);
        assert_eq!(
            items[0].cost, None,
            "nothing costs anything unless somebody says so"
        );
    }
    // Parts of a month add up to it.
    let half = format!(
        "StartTime={}&EndTime={}&GroupBy=Region",
        at(begin * HOUR_MS),
        at((begin + 100) * HOUR_MS)
    );
    let rest = format!(
        "StartTime={}&EndTime={}&GroupBy=Region",
        at((begin + 100) * HOUR_MS),
        at((begin + 720) * HOUR_MS)
    );
    let parts = byte_hours(&metered(&world, &half).await[0]) + byte_hours(&metered(&world, &rest).await[0]);
    assert_eq!(parts, all);

    // The curve has the same story: two, then one, also where nobody looked.
    let curve = async |day: i64| {
        let from = (begin + day * 24) * HOUR_MS + HOUR_MS;
        let answer = call!(
            world,
            describe_snapshot_monitor_data,
            "StartTime={}&EndTime={}&Period=3600",
            at(from),
            at(from + 2 * HOUR_MS)
        );
        let points = answer.expect("answered").monitor_data;
        assert_eq!(points.len(), 3);
        u128::from(points[2].size)
    };
    assert_eq!(curve(2).await, kept_bytes + gone_bytes);
    assert_eq!(curve(12).await, kept_bytes);
    assert_eq!(curve(20).await, kept_bytes);
    let early = code(call!(
        world,
        describe_snapshot_monitor_data,
        "StartTime={}&EndTime={}&Period=3600",
        at((begin - 240) * HOUR_MS),
        at((begin - 239) * HOUR_MS)
    ));
    assert_eq!(early, (400, "InvalidStartTime.TooEarly".into()));

    // After so long that is forgotten; what is stored now is not.
    world.advance_days(500);
    world.control.keep_house().await.expect("done");
    assert_eq!(world.count("snapshot_usage"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_makes_it_money() {
    let world = World::with(|config| config.price = Some("0.12 CNY".parse().expect("a price"))).await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    world
        .sql(&format!(
            "UPDATE snapshot_usage SET bytes = {} WHERE snapshot_id = '{id}'",
            310 * GIB
        ))
        .await;
    let start = world.now_ms() / HOUR_MS * HOUR_MS;
    world.advance_ms(12 * HOUR_MS);
    let window = format!("StartTime={}&EndTime={}", at(start), at(start + 13 * HOUR_MS));
    let answer = call!(world, describe_snapshot_metering, "{window}").expect("listed");
    assert_eq!(answer.price.as_deref(), Some("0.120000 CNY"));
    let item = &answer.meter_items[0];
    assert_eq!(
        (item.hours, item.gib_hours.as_str(), item.cost.as_deref()),
        (13, "4030.000000", Some("0.671667"))
    );
}

#[tokio::test]
async fn chains_are_listed_with_what_they_are_of() {
    let world = World::new().await;
    let (instance, disk) = world.attached_disk().await;
    let other = world.disk().await;
    world.attach(&instance, &other).await;
    let (first, _) = (world.snapshot(&disk).await, world.snapshot(&disk).await);
    world.snapshot(&other).await;
    let listed = async |filter: &str| {
        let answer = call!(world, describe_snapshot_links, "{filter}").expect("listed");
        (answer.snapshot_links, answer.page)
    };
    let (links, page) = listed("").await;
    assert_eq!(page.total_count, 2);
    let link = &links[1];
    let row = world.find_snapshot(&first).await.expect("listed");
    assert_eq!(
        (&link.snapshot_link_id, &link.source_disk_id),
        (&row.snapshot_link_id, &disk)
    );
    assert_eq!(
        (
            link.total_count,
            link.source_disk_size,
            link.source_disk_type.as_str()
        ),
        (2, 20, "data")
    );
    assert_eq!(
        (link.instance_id.as_str(), link.category.as_str()),
        (instance.as_str(), "standard")
    );
    let id = &link.snapshot_link_id;
    for (filter, found) in [
        (format!("DiskIds=[\"{disk}\"]"), 1),
        (format!("SnapshotLinkIds=[\"{id}\"]"), 1),
        (format!("InstanceId={instance}"), 2),
        ("DiskIds=[]".to_owned(), 0),
        (format!("DiskIds=[\"{other}\"]&SnapshotLinkIds=[\"{id}\"]"), 0),
    ] {
        assert_eq!(listed(&filter).await.1.total_count, found, "{filter}");
    }
    // Page after page, by token.
    let (one, page) = listed("PageSize=1").await;
    let (two, _) = listed(&format!("PageSize=1&NextToken={}", page.next_token)).await;
    assert_eq!([one, two].concat(), links);
    // A chain outlives its disk.
    world.detach(&instance, &disk).await;
    call!(world, delete_disk, "DiskId={disk}").expect("deleted");
    world.disk_is(&disk, "").await;
    let (links, _) = listed(&format!("DiskIds=[\"{disk}\"]")).await;
    assert_eq!(
        (
            links[0].total_count,
            links[0].source_disk_size,
            links[0].instance_id.as_str()
        ),
        (2, 20, "")
    );

    let parse = |query: &str| {
        tidemark_ecs::Params::from_pairs(query.split('&').map(|pair| pair.split_once('=').expect("a pair")))
    };
    let elsewhere = parse("RegionId=cn-nowhere").expect("a query");
    let request = tidemark_ecs::actions::describe_snapshot_links::Request::parse(&elsewhere).expect("valid");
    let refused = code(
        world
            .control
            .describe_snapshot_links(&world.caller, request)
            .await,
    );
    assert_eq!(refused, (400, "InvalidRegionId".into()));
    let request = tidemark_ecs::actions::describe_snapshots_usage::Request::parse(&elsewhere).expect("valid");
    let refused = code(
        world
            .control
            .describe_snapshots_usage(&world.caller, request)
            .await,
    );
    assert_eq!(refused, (403, "InvalidParam.RegionId".into()));
    let refused = code(call!(world, describe_snapshot_links, "InstanceId=i-none"));
    assert_eq!(refused, (400, "InvalidInstanceId.NotFound".into()));
    call!(world, open_snapshot_service, "").expect("open");
    let plans = call!(world, describe_snapshot_package, "").expect("listed");
    assert_eq!((plans.snapshot_packages.len(), plans.page.total_count), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_metered_is_added_up_by_the_value_of_a_tag() {
    let world = World::with(|config| config.accounting = std::time::Duration::ZERO).await;
    let (_, disk) = world.attached_disk().await;
    let mut ids = Vec::new();
    for seed in 0..4 {
        write(&world, &disk, seed << 20, seed);
        ids.push(world.snapshot(&disk).await);
    }
    settle(&world).await;
    for (id, team) in [(&ids[0], "red"), (&ids[1], "blue"), (&ids[2], "red")] {
        let tag = format!("ResourceType=snapshot&ResourceId.1={id}&Tag.1.Key=team&Tag.1.Value={team}");
        call!(world, tag_resources, "{tag}").expect("tagged");
    }
    let each = metered(&world, "").await;
    let of = |wanted: &[&String]| -> u128 {
        let items = each.iter().filter(|item| wanted.contains(&&item.snapshot_id));
        items.map(byte_hours).sum()
    };
    let mut expected = vec![
        (String::new(), of(&[&ids[3]])),
        ("blue".to_owned(), of(&[&ids[1]])),
        ("red".to_owned(), of(&[&ids[0], &ids[2]])),
    ];
    let by_team = async |more: &str| {
        let items = metered(&world, &format!("GroupBy=Tag&TagKey=team{more}")).await;
        assert!(
            items
                .iter()
                .all(|item| item.tag_key == "team" && item.snapshot_id.is_empty())
        );
        let mut found: Vec<_> = items
            .iter()
            .map(|item| (item.tag_value.clone(), byte_hours(item)))
            .collect();
        found.sort();
        found
    };
    assert_eq!(by_team("").await, expected);
    // A snapshot that is gone has no tags: the hours that it had are still there.
    call!(world, delete_snapshot, "SnapshotId={}", ids[1]).expect("deleted");
    settle(&world).await;
    let blue = expected.remove(1).1;
    expected[0].1 += blue;
    let sum = |found: &[(String, u128)]| found.iter().map(|(_, hours)| hours).sum::<u128>();
    let found = by_team("").await;
    assert_eq!(
        found.iter().map(|(team, _)| team.as_str()).collect::<Vec<_>>(),
        ["", "red"]
    );
    assert!(sum(&found) >= sum(&expected));
}

/// An old kind of snapshot that is kept like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_figure_counts_a_flash_snapshot_as_a_standard_one() {
    let world = World::new().await;
    let (_, disk) = world.attached_disk().await;
    write(&world, &disk, 0, 1);
    let id = call!(world, create_snapshot, "DiskId={disk}&Category=flash")
        .expect("begun")
        .snapshot_id;
    world.snapshot_is(&id, "accomplished").await;
    settle(&world).await;
    world.advance_ms(120_000);
    let usage = call!(world, describe_snapshots_usage, "")
        .expect("answered")
        .snapshot_size;
    assert!(usage > 1 << 20);
    let now = world.now_ms();
    for (category, expected) in [("standard", usage), ("flash", usage), ("archive", 0)] {
        let window = format!("StartTime={}&EndTime={}", at(now - 60_000), at(now));
        let answer = call!(
            world,
            describe_snapshot_monitor_data,
            "{window}&Category={category}"
        );
        let points = answer.expect("answered").monitor_data;
        assert_eq!(
            points.last().map(|point| point.size),
            Some(expected),
            "{category}"
        );
    }
}
