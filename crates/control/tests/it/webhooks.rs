//! Who is told of events: a receiver of our own, on this machine.

use crate::world::{World, call, code};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What came, and with which headers (in lower case).
#[derive(Clone, Debug)]
struct Came {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Came {
    fn event(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// Answers each request with the next of `answers`, then for ever with the last.
struct Receiver {
    url: String,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Receiver {
    async fn new(answers: &'static [&'static str]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let came = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&came);
        tokio::spawn(async move {
            let mut count = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut headers = BTreeMap::new();
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|n| n > 2) {
                    if let Some((name, value)) = line.split_once(": ") {
                        headers.insert(name.to_lowercase(), value.trim().to_owned());
                    }
                    line.clear();
                }
                let length = headers
                    .get("content-length")
                    .map_or(0, |text| text.parse().expect("a length"));
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.expect("the body");
                let body = String::from_utf8(body).expect("text");
                let answer = answers[count.min(answers.len() - 1)];
                count += 1;
                noted.lock().expect("unbroken").push(Came { headers, body });
                let _ = stream.get_mut().write_all(answer.as_bytes()).await;
                let _ = stream.get_mut().shutdown().await;
            }
        });
        Receiver { url, came }
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().expect("unbroken").clone()
    }

    /// What the events are about, in the order of their coming.
    fn about(&self) -> Vec<String> {
        let of = |came: Came| {
            came.event()["resourceId"]
                .as_str()
                .expect("a resource")
                .to_owned()
        };
        self.came().into_iter().map(of).collect()
    }
}

const GOOD: &str = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
const BAD: &str = "HTTP/1.1 500 Bad\r\nContent-Length: 9\r\n\r\ninternals";
const AWAY: &str = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";

/// Users that were made, as resources.
fn users(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let arn = |n| format!("acs:ecs:cn-hangzhou:1000000000000001:user/u{n}");
    numbers.into_iter().map(arn).collect()
}

async fn make(world: &World, numbers: impl IntoIterator<Item = usize>) {
    for n in numbers {
        world.user(&format!("u{n}"), "").await;
    }
}

#[tokio::test]
async fn events_are_sent_signed_and_again_until_they_are_taken() {
    let world = World::new().await;
    make(&world, [0]).await;
    let receiver = Receiver::new(&[BAD, AWAY, "", GOOD]).await;
    let hook = call!(
        world,
        create_webhook,
        "Url={}&EventName.1=User:Created",
        receiver.url
    )
    .expect("made");
    make(&world, 1..4).await;
    let count = async || receiver.came().len().to_string();
    world.eventually(count, "requests", "6").await;
    // Three failures of the first, then each once, in order; none from before.
    assert_eq!(receiver.about(), users([1, 1, 1, 1, 2, 3]));
    let came = receiver.came();
    for one in &came {
        let text = format!("{}.{}", one.headers["x-tidemark-timestamp"], one.body);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, hook.secret.as_bytes());
        let tag = data_encoding::HEXLOWER.encode(ring::hmac::sign(&key, text.as_bytes()).as_ref());
        assert_eq!(one.headers["x-tidemark-signature"], format!("v1={tag}"));
        assert_eq!(
            one.headers["x-tidemark-event-id"],
            one.event()["id"].as_str().expect("an id")
        );
    }
    assert_eq!(
        came[0].headers["x-tidemark-event-id"],
        came[3].headers["x-tidemark-event-id"]
    );
    assert_ne!(
        came[3].headers["x-tidemark-event-id"],
        came[4].headers["x-tidemark-event-id"]
    );
    let event = came[3].event();
    assert_eq!(
        (event["name"].as_str(), event["level"].as_str()),
        (Some("User:Created"), Some("INFO"))
    );
    let time = event["eventTime"].as_str().expect("a time");
    assert!(
        time.ends_with("+0800") && time.len() == "20190409T121826.922+0800".len(),
        "{time}"
    );
    let look = async || {
        let hooks = call!(world, describe_webhooks, "").expect("listed").webhooks;
        format!(
            "{} {} {:?}",
            hooks[0].failures, hooks[0].behind, hooks[0].last_error
        )
    };
    world.eventually(look, "the webhook", "0 0 \"\"").await;
}

#[tokio::test]
async fn what_a_receiver_answers_is_told_to_nobody() {
    let world = World::new().await;
    let receiver = Receiver::new(&[BAD]).await;
    let hook = call!(world, create_webhook, "Url={}", receiver.url).expect("made");
    make(&world, [1]).await;
    let failed =
        async || (call!(world, describe_webhooks, "").expect("listed").webhooks[0].failures > 0).to_string();
    world.eventually(failed, "it failed", "true").await;
    let shown = format!("{:?}", call!(world, describe_webhooks, "").expect("listed"));
    assert!(
        !shown.contains("internals") && !shown.contains("500") && !shown.contains(&hook.secret),
        "{shown}"
    );
    assert!(
        !shown.contains("/hook"),
        "a receiver's path may be its secret: {shown}"
    );
    // Nor whether anybody is there at all.
    call!(world, create_webhook, "Url=http://127.0.0.1:1/").expect("made");
    make(&world, [2]).await;
    let errors = async || {
        let mut hooks = call!(world, describe_webhooks, "").expect("listed").webhooks;
        hooks.retain(|hook| !hook.last_error.is_empty());
        let same = hooks.iter().all(|hook| hook.last_error == hooks[0].last_error);
        format!("{} {same}", hooks.len())
    };
    world.eventually(errors, "both failed", "2 true").await;
}

#[tokio::test]
async fn a_restart_forgets_no_event() {
    let world = World::new().await;
    let receiver = Receiver::new(&[BAD, GOOD]).await;
    let url = receiver.url.clone();
    call!(world, create_webhook, "Url={url}&EventName.1=User:Created").expect("made");
    make(&world, 0..3).await;
    let world = world.restart().await;
    let told = async || {
        let mut about = receiver.about();
        about.dedup();
        (about == users(0..3)).to_string()
    };
    world.eventually(told, "all were told", "true").await;
}

#[tokio::test]
async fn who_is_away_for_too_long_misses_the_oldest_and_can_see_how_many() {
    let world = World::with(|config| config.limits.webhook_backlog = 3).await;
    let dead = call!(world, create_webhook, "Url=http://127.0.0.1:1/")
        .expect("made")
        .webhook_id;
    // Two events each: a user and a key.
    make(&world, 0..5).await;
    let behind = async || {
        let hook = call!(world, describe_webhooks, "")
            .expect("listed")
            .webhooks
            .remove(0);
        format!("{} of 10 left, {} dropped", hook.behind, hook.dropped)
    };
    world
        .eventually(behind, "the webhook", "3 of 10 left, 7 dropped")
        .await;
    call!(world, delete_webhook, "WebhookId={dead}").expect("deleted");
    world
        .eventually(async || world.count("jobs").to_string(), "jobs", "0")
        .await;
}

/// Makes some of the events behind `last` graver, and every webhook look at all of them again when the next event comes.
async fn make_grave(world: &World, last: i64, levels: &[(i64, &str)]) {
    let grave = |(at, level): &(i64, &str)| {
        let ordinal = last + at;
        format!("UPDATE events SET level = '{level}' WHERE ordinal = {ordinal};")
    };
    let all: String = levels.iter().map(grave).collect();
    let again = format!("UPDATE webhooks SET seen = {last}, dropped = 0;");
    world.sql(&(all + &again)).await;
}

#[tokio::test]
async fn who_wants_grave_events_is_sent_no_others() {
    let world = World::new().await;
    let receiver = Receiver::new(&[GOOD]).await;
    call!(world, create_webhook, "Url={}&Level=warn", receiver.url).expect("made");
    let last = world.number("SELECT COALESCE(MAX(ordinal), 0) FROM events");
    make(&world, 0..3).await;
    let job = async || world.count("jobs").to_string();
    world.eventually(job, "jobs", "0").await;
    assert_eq!(receiver.about(), Vec::<String>::new());
    // Two events each: a user and a key.
    make_grave(&world, last, &[(3, "WARN"), (5, "CRITICAL")]).await;
    make(&world, [3]).await;
    world.eventually(job, "jobs", "0").await;
    assert_eq!(receiver.about(), users([1, 2]));
}

/// What is not wanted is not missed.
#[tokio::test]
async fn who_is_away_misses_only_events_that_it_wanted() {
    let world = World::with(|config| config.limits.webhook_backlog = 3).await;
    let last = world.number("SELECT COALESCE(MAX(ordinal), 0) FROM events");
    make(&world, 0..5).await;
    // Who wants all comes last: it would be told of the others, and nobody is there to be told.
    for query in ["Level=CRITICAL", "Level=WARN", "EventName.1=User:Created", ""] {
        call!(world, create_webhook, "Url=http://127.0.0.1:1/&{query}").expect("made");
    }
    let shown = call!(world, describe_webhooks, "").expect("listed").webhooks;
    let levels: Vec<_> = shown.iter().map(|hook| hook.level.as_str()).collect();
    assert_eq!(levels, ["INFO", "INFO", "WARN", "CRITICAL"]);
    make_grave(&world, last, &[(1, "WARN"), (4, "CRITICAL"), (9, "WARN")]).await;
    // Ten events of users, four of webhooks and two more: all but the last three are too old.
    make(&world, [5]).await;
    let dropped = async || {
        let shown = call!(world, describe_webhooks, "").expect("listed").webhooks;
        let numbers: Vec<_> = shown.iter().map(|hook| hook.dropped.to_string()).collect();
        numbers.join(" ")
    };
    world
        .eventually(
            dropped,
            "missed of all, of users, of WARN, of CRITICAL",
            "13 5 3 1",
        )
        .await;
}

#[tokio::test]
async fn refusals() {
    let world = World::with(|config| config.limits.webhooks = 1).await;
    let url = "Url=https://hooks.example/";
    let unknown = call!(world, create_webhook, "{url}&EventName.1=Nothing");
    assert_eq!(code(unknown), (400, "InvalidParameter".into()));
    let hook = call!(world, create_webhook, "{url}").expect("made").webhook_id;
    assert_eq!(
        code(call!(world, create_webhook, "{url}")),
        (403, "QuotaExceed.Webhook".into())
    );
    let none = call!(world, delete_webhook, "WebhookId=wh-none");
    assert_eq!(code(none), (404, "InvalidWebhookId.NotFound".into()));
    call!(world, delete_webhook, "WebhookId={hook}").expect("deleted");
    call!(world, create_webhook, "{url}").expect("there is room again");
}

/// Who makes themselves be told of everything is seen by those who are told already.
#[tokio::test]
async fn who_is_told_is_an_event_for_the_others() {
    let world = World::new().await;
    let receiver = Receiver::new(&[GOOD]).await;
    call!(world, create_webhook, "Url={}", receiver.url).expect("made");
    let other = call!(
        world,
        create_webhook,
        "Url={}&EventName.1=User:Created",
        receiver.url
    )
    .expect("made")
    .webhook_id;
    call!(world, delete_webhook, "WebhookId={other}").expect("deleted");
    let names = async || {
        let of = |came: Came| came.event()["name"].as_str().expect("a name").to_owned();
        receiver.came().into_iter().map(of).collect::<Vec<_>>().join(" ")
    };
    world
        .eventually(names, "the events", "Webhook:Created Webhook:Deleted")
        .await;
    assert!(receiver.about()[0].ends_with(&format!(":webhook/{other}")));
}

/// What somebody does to a snapshot is sent without waiting for anything else to happen.
#[tokio::test]
async fn a_deletion_is_sent_too() {
    let world = World::with(|config| config.housekeeping = std::time::Duration::from_secs(24 * 3600)).await;
    let (_, disk) = world.attached_disk().await;
    let id = world.snapshot(&disk).await;
    let receiver = Receiver::new(&[GOOD]).await;
    call!(
        world,
        create_webhook,
        "Url={}&EventName.1=Snapshot:Deleted",
        receiver.url
    )
    .expect("made");
    call!(world, delete_snapshot, "SnapshotId={id}").expect("deleted");
    let count = async || receiver.came().len().to_string();
    world.eventually(count, "requests", "1").await;
    let event = receiver.came()[0].event();
    assert_eq!(event["name"], "Snapshot:Deleted");
    assert_eq!(event["content"]["by"], "acs:ram::1000000000000001:root");
}
