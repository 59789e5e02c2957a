//! A guest agent that does what a test says.

use super::*;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;

/// Answers to commands, as JSON; none is silence.
type Answers = dyn Fn(&str, &Value) -> Option<String> + Send + Sync;

pub struct FakeAgent {
    pub dir: tempfile::TempDir,
    pub socket: PathBuf,
    /// Commands that came, `guest-sync-delimited` left out.
    pub heard: Arc<Mutex<Vec<String>>>,
}

impl FakeAgent {
    /// One that answers so, and stands at `<a directory>/<id>/agent.sock`.
    pub fn new(id: &str, answers: impl Fn(&str, &Value) -> Option<String> + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(id)).unwrap();
        let socket = dir.path().join(id).join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (answers, notes): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&heard));
        tokio::spawn(async move {
            // As QEMU's: one at a time.
            while let Ok((stream, _)) = listener.accept().await {
                talk(stream, &*answers, &notes).await;
            }
        });
        Self { dir, socket, heard }
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn talk(stream: UnixStream, answers: &Answers, notes: &Mutex<Vec<String>>) {
    let (reader, mut writer) = stream.into_split();
    // What an earlier talk left: half a line, and a whole one with another number.
    let _ = writer
        .write_all(b"{\"return\": {\"le\n\xff{\"return\": 1}\n")
        .await;
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|count| count > 0)
    {
        let synced = line.first() == Some(&SENTINEL);
        let asked: Value = serde_json::from_slice(&line[usize::from(synced)..]).unwrap();
        line.clear();
        let command = asked["execute"].as_str().unwrap();
        let said = if command == "guest-sync-delimited" {
            assert!(synced, "the agent's parser is not cleared");
            let mut said = vec![SENTINEL];
            said.extend(
                json!({ "return": asked["arguments"]["id"] })
                    .to_string()
                    .into_bytes(),
            );
            said
        } else {
            notes.lock().unwrap().push(command.to_owned());
            match answers(command, &asked["arguments"]) {
                Some(answer) => answer.into_bytes(),
                None => continue,
            }
        };
        if writer
            .write_all(&[said.as_slice(), b"\n"].concat())
            .await
            .is_err()
        {
            return;
        }
    }
}
