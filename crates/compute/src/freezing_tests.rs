//! Against an agent that does what it is told to.

use super::*;
use crate::agent::fake::FakeAgent;
use crate::process::Process;
use std::process::{Child, Command};
use std::sync::Mutex;

const LONG: Duration = Duration::from_secs(20);

/// File systems as an agent has them.
#[derive(Default)]
struct State {
    frozen: bool,
    /// Freezing has no answer.
    silent: bool,
    /// Nothing to freeze.
    bare: bool,
}

struct Setting {
    agent: FakeAgent,
    state: Arc<Mutex<State>>,
    guest: Arc<Guest>,
    process: Child,
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Setting {
    fn new(state: State) -> Self {
        let state = Arc::new(Mutex::new(state));
        let kept = Arc::clone(&state);
        let agent = FakeAgent::new("i-1", move |command, _| {
            let mut state = kept.lock().unwrap();
            let was = state.frozen;
            match command {
                "guest-fsfreeze-freeze" => {
                    state.frozen = !state.bare;
                    (!state.silent).then(|| format!(r#"{{"return": {}}}"#, u8::from(!state.bare) * 2))
                }
                "guest-fsfreeze-thaw" => {
                    state.frozen = false;
                    Some(format!(r#"{{"return": {}}}"#, u8::from(was) * 2))
                }
                "guest-fsfreeze-status" if was => Some(r#"{"return": "frozen"}"#.to_owned()),
                "guest-fsfreeze-status" => Some(r#"{"return": "thawed"}"#.to_owned()),
                _ => Some(r#"{"error": {"desc": "unknown"}}"#.to_owned()),
            }
        });
        // A process that stands for the guest's.
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        let dir = GuestDir::new(agent.dir.path(), "i-1");
        let guest = Guest::new(
            "i-1",
            1,
            crate::command_line::Transport::Nbd,
            dir,
            Process::of(process.id()).unwrap().unwrap(),
        );
        Self {
            agent,
            state,
            guest,
            process,
        }
    }

    fn is_frozen(&self) -> bool {
        self.state.lock().unwrap().frozen
    }

    fn is_marked(&self) -> bool {
        self.guest.dir.frozen().exists()
    }

    async fn thawed(&self) {
        let waited = async {
            while self.is_frozen() || self.is_marked() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, waited).await.expect("the guest stays frozen");
    }
}

#[tokio::test]
async fn a_guest_stands_still_until_it_is_thawed() {
    let setting = Setting::new(State::default());
    let frozen = setting.guest.freeze(LONG).await.unwrap();
    assert_eq!(frozen.filesystems, 2);
    assert!(setting.is_frozen() && setting.is_marked());
    frozen.thaw().await.unwrap();
    assert!(!setting.is_frozen() && !setting.is_marked());
    // And again.
    setting.guest.freeze(LONG).await.unwrap().thaw().await.unwrap();
}

#[tokio::test]
async fn the_limit_thaws_and_is_told() {
    let setting = Setting::new(State::default());
    let frozen = setting.guest.freeze(Duration::from_millis(100)).await.unwrap();
    setting.thawed().await;
    let error = frozen.thaw().await.unwrap_err();
    assert!(error.message.contains("limit"), "{error}");
}

#[tokio::test]
async fn a_caller_who_goes_leaves_nothing_frozen() {
    let setting = Setting::new(State::default());
    drop(setting.guest.freeze(LONG).await.unwrap());
    setting.thawed().await;
    // Also one who goes before it is frozen.
    let guest = Arc::clone(&setting.guest);
    let waiting = tokio::spawn(async move { guest.freeze(LONG).await.map(drop) });
    while !setting.is_marked() {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    setting.thawed().await;
}

#[tokio::test]
async fn a_guest_that_thawed_itself_did_not_stand_still() {
    let setting = Setting::new(State::default());
    let frozen = setting.guest.freeze(LONG).await.unwrap();
    setting.state.lock().unwrap().frozen = false;
    let error = frozen.thaw().await.unwrap_err();
    assert!(error.message.contains("did not stand still"), "{error}");
}

#[tokio::test]
async fn freezing_without_an_answer_is_undone() {
    let setting = Setting::new(State {
        silent: true,
        ..State::default()
    });
    let error = setting
        .guest
        .freeze(Duration::from_millis(100))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::Failed);
    setting.thawed().await;
    assert!(setting.agent.heard().contains(&"guest-fsfreeze-thaw".to_owned()));
}

#[tokio::test]
async fn a_guest_without_file_systems_is_not_consistent() {
    let setting = Setting::new(State {
        bare: true,
        ..State::default()
    });
    let error = setting.guest.freeze(LONG).await.unwrap_err();
    assert!(error.message.contains("no file system"), "{error}");
    setting.thawed().await;
}

#[tokio::test]
async fn what_another_life_left_frozen_is_thawed() {
    let setting = Setting::new(State {
        frozen: true,
        ..State::default()
    });
    fs::write(setting.guest.dir.frozen(), "").unwrap();
    setting.guest.thaw_what_was_left();
    setting.thawed().await;
}

#[tokio::test]
async fn no_agent_is_no_freeze() {
    let setting = Setting::new(State::default());
    fs::remove_file(&setting.agent.socket).unwrap();
    let error = setting.guest.freeze(LONG).await.unwrap_err();
    assert_eq!(error.kind, ComputeErrorKind::NoAgent);
    assert!(!setting.is_marked());
}
