//! Against an agent that does what it is told to.

use super::fake::FakeAgent;
use super::*;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

fn deadline(limit: Duration) -> Instant {
    Instant::now() + limit
}

#[tokio::test]
async fn a_talk_begins_with_what_others_left() {
    let agent = FakeAgent::new("i-1", |command, _| Some(format!(r#"{{"return": "{command}"}}"#)));
    for _ in 0..2 {
        let mut session = Session::open(&agent.socket, LONG).await.unwrap();
        let said = session.call("guest-info", json!({}), LONG).await.unwrap();
        assert_eq!(said, "guest-info");
    }
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_no() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let error = Session::open(&socket, SHORT).await.err().unwrap();
    assert_eq!(error.about("i-1").kind, ComputeErrorKind::NoAgent);
    // QEMU listens, and nobody reads in the guest.
    let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let error = Session::open(&socket, SHORT).await.err().unwrap();
    assert_eq!(error.about("i-1").kind, ComputeErrorKind::NoAgent);

    let agent = FakeAgent::new("i-1", |_, _| Some(r#"{"error": {"desc": "not now"}}"#.to_owned()));
    let mut session = Session::open(&agent.socket, LONG).await.unwrap();
    let error = session.call("guest-exec", json!({}), LONG).await.unwrap_err();
    assert_eq!(error, AgentError::Refused("guest-exec: not now".to_owned()));
    assert_eq!(error.about("i-1").kind, ComputeErrorKind::Failed);
}

#[tokio::test]
async fn a_program_runs_until_it_has_ended() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let agent = FakeAgent::new("i-1", move |command, arguments| {
        Some(match command {
            "guest-exec" => {
                assert_eq!(
                    *arguments,
                    json!({ "path": "stat", "arg": ["-c", "%u"], "capture-output": true })
                );
                r#"{"return": {"pid": 77}}"#.to_owned()
            }
            _ if asked.fetch_add(1, Ordering::Relaxed) < 2 => r#"{"return": {"exited": false}}"#.to_owned(),
            _ => {
                assert_eq!(arguments["pid"], 77);
                r#"{"return": {"exited": true, "exitcode": 3, "out-data": "aGVsbG8K"}}"#.to_owned()
            }
        })
    });
    let done = execute(&agent.socket, "stat", &["-c", "%u"], deadline(LONG)).await;
    let Ok(Execution::Ended(executed)) = done else {
        panic!("{done:?}");
    };
    assert_eq!(executed.exit_code, Some(3));
    assert_eq!(
        (executed.output.as_slice(), executed.errors.as_slice()),
        (&b"hello\n"[..], &b""[..])
    );
}

#[tokio::test]
async fn a_program_that_does_not_end_is_given_up() {
    let agent = FakeAgent::new("i-1", |command, _| {
        Some(match command {
            "guest-exec" => r#"{"return": {"pid": 1}}"#.to_owned(),
            _ => r#"{"return": {"exited": false}}"#.to_owned(),
        })
    });
    let began = Instant::now();
    let done = execute(&agent.socket, "sleep", &["1000"], deadline(SHORT)).await;
    assert!(
        matches!(done, Ok(Execution::RunsOn(Some(1), AgentError::Silent(_)))),
        "{done:?}"
    );
    assert!(began.elapsed() < LONG);
    assert_eq!(has_ended(&agent.socket, 1).await, Ok(false));
}

#[tokio::test]
async fn what_was_begun_is_told_apart_from_what_was_not() {
    let refusing = FakeAgent::new("i-1", |_, _| Some(r#"{"error": {"desc": "not now"}}"#.to_owned()));
    let done = execute(&refusing.socket, "true", &[], deadline(LONG)).await;
    assert!(matches!(done, Err(AgentError::Refused(_))), "{done:?}");
    // It knows of no such program: that one has ended.
    assert_eq!(has_ended(&refusing.socket, 1).await, Ok(true));
    let silent = FakeAgent::new("i-1", |_, _| None);
    let done = execute(&silent.socket, "true", &[], deadline(SHORT)).await;
    assert!(
        matches!(done, Ok(Execution::RunsOn(None, AgentError::Silent(_)))),
        "{done:?}"
    );
    let dir = tempfile::tempdir().unwrap();
    let done = execute(&dir.path().join("agent.sock"), "true", &[], deadline(SHORT)).await;
    assert!(matches!(done, Err(AgentError::Absent(_))), "{done:?}");
}
