//! Running the real binary as a user would.

use std::path::Path;
use std::process::{Child, Command, Output};

/// What a run left.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("only text is printed");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// The binary, in a directory of its own and without the caller's settings.
pub fn tidemark(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    command.args(words).current_dir(dir);
    for (name, _) in std::env::vars() {
        if name.starts_with("TIDEMARK_") || name.starts_with("ALIBABA_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it to its end.
pub fn run(dir: &Path, words: &[&str]) -> Ran {
    tidemark(dir, words).output().expect("the binary runs").into()
}

/// Sends a signal to a process that this test started.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}
