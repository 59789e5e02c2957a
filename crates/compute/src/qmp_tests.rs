//! Against a QEMU that says what it is told to.

use super::*;
use std::path::PathBuf;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}"#;
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(10);

/// For each line that comes, what to say; `ID` stands for the request's number.
fn server(
    greeting: &'static str,
    script: impl Fn(&Value) -> Vec<String> + Send + 'static,
) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer
                .write_all(format!("{greeting}\r\n").as_bytes())
                .await
                .unwrap();
            'connection: while let Ok(Some(line)) = lines.next_line().await {
                let asked: Value = serde_json::from_str(&line).unwrap();
                let answers = match asked["execute"].as_str().unwrap() {
                    "qmp_capabilities" => vec![r#"{"return": {}, "id": ID}"#.to_owned()],
                    _ => script(&asked),
                };
                for answer in answers {
                    if answer == "HANG UP" {
                        break 'connection;
                    }
                    let answer = answer.replace("ID", &asked["id"].to_string());
                    // In two pieces, with time between them.
                    let (one, two) = answer.split_at(answer.len() / 2);
                    writer.write_all(one.as_bytes()).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    writer.write_all(format!("{two}\r\n").as_bytes()).await.unwrap();
                }
            }
        }
    });
    (dir, path)
}

#[tokio::test]
async fn answers_find_who_asked_and_events_lie_between() {
    let (_dir, path) = server(GREETING, |asked| {
        vec![
            r#"{"event": "RTC_CHANGE", "data": {}}"#.to_owned(),
            r#"{"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}"#.to_owned(),
            r#"{"return": "of another time", "id": 99999}"#.to_owned(),
            format!(r#"{{"return": {}, "id": ID}}"#, asked["arguments"]),
        ]
    });
    let Connected { qmp, mut events } = Qmp::connect(&path, LONG).await.unwrap();
    assert_eq!(qmp.version, Version { major: 7, minor: 2 });
    let (one, two) = tokio::join!(
        qmp.execute("echo", json!({ "n": 1 }), LONG),
        qmp.execute("echo", json!({ "n": 2 }), LONG)
    );
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        (json!({ "n": 1 }), json!({ "n": 2 }))
    );
    let event = events.recv().await.unwrap();
    assert_eq!(
        (event.name.as_str(), event.text("reason")),
        ("RESET", "guest-reset")
    );
}

#[tokio::test]
async fn a_refusal_has_qemus_words() {
    let (_dir, path) = server(GREETING, |_| {
        vec![r#"{"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}, "id": ID}"#.to_owned()]
    });
    let qmp = Qmp::connect(&path, LONG).await.unwrap().qmp;
    let error = qmp
        .execute("device_del", json!({ "id": "x" }), LONG)
        .await
        .unwrap_err();
    assert!(matches!(&error, QmpError::Refused { class, .. } if class == "DeviceNotFound"));
    assert_eq!(error.to_string(), "Device 'x' not found");
}

#[tokio::test]
async fn silence_has_a_limit_and_spoils_nothing() {
    let (_dir, path) = server(GREETING, |asked| match asked["execute"].as_str() {
        Some("stuck") => vec![],
        _ => vec![r#"{"return": "well", "id": ID}"#.to_owned()],
    });
    let qmp = Qmp::connect(&path, LONG).await.unwrap().qmp;
    let error = qmp.execute("stuck", json!({}), SHORT).await.unwrap_err();
    assert!(matches!(error, QmpError::Slow { .. }), "{error}");
    assert_eq!(qmp.execute("other", json!({}), LONG).await.unwrap(), "well");
}

#[tokio::test]
async fn an_end_reaches_everybody_who_waits() {
    let (_dir, path) = server(GREETING, |_| vec!["HANG UP".to_owned()]);
    let Connected { qmp, mut events } = Qmp::connect(&path, LONG).await.unwrap();
    let error = qmp.execute("quit", json!({}), LONG).await.unwrap_err();
    assert!(matches!(error, QmpError::Lost(_)), "{error}");
    assert_eq!(events.recv().await, None);
    let error = qmp.execute("quit", json!({}), LONG).await.unwrap_err();
    assert!(matches!(error, QmpError::Lost(_)), "{error}");
}

#[tokio::test]
async fn what_is_not_qemu_is_refused() {
    for greeting in ["hello", "{}", r#"{"QMP": {}}"#] {
        let (_dir, path) = server(greeting, |_| vec![]);
        let error = Qmp::connect(&path, LONG).await.err().unwrap();
        assert!(matches!(error, QmpError::Lost(_)), "{greeting}: {error}");
    }
    // Nobody says anything.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = Qmp::connect(&path, SHORT).await.err().unwrap();
    assert!(matches!(error, QmpError::Slow { .. }), "{error}");
    // Nonsense in the middle ends the connection.
    let (_dir, path) = server(GREETING, |_| vec!["nonsense".to_owned()]);
    let qmp = Qmp::connect(&path, LONG).await.unwrap().qmp;
    let error = qmp.execute("x", json!({}), LONG).await.unwrap_err();
    assert!(
        matches!(&error, QmpError::Lost(text) if text.contains("nonsense")),
        "{error}"
    );
}
