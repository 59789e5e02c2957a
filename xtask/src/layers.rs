//! What the standard library would let slip past `deps`: pure code that opens files or asks the
//! clock, and engine code that goes around `env`, so that the simulator would not see it.
//!
//! A reader of words, not of Rust: it looks at each line outside comments and tests. That is enough
//! to stop an accident, which is all it is for.

use crate::process;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Words that must not occur in a part of the tree.
struct Ban {
    /// Directory below the workspace root.
    dir: &'static str,
    words: &'static [&'static str],
    because: &'static str,
}

// Addresses as values (`std::net::IpAddr`) are fine; sockets are not.
const IO: &[&str] = &[
    "std::fs",
    "std::process::",
    "std::thread",
    "std::os::unix::net",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "tokio::net",
];
const AMBIENT: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "getrandom::",
    "rand::",
];
const SOCKETS: &[&str] = &["tidemark_env", "tokio", "rustix", "io_uring", "libc"];

const BANS: &[Ban] = &[
    Ban {
        dir: "crates/units/src",
        words: IO,
        because: "units is pure",
    },
    Ban {
        dir: "crates/units/src",
        words: AMBIENT,
        because: "units is pure",
    },
    Ban {
        dir: "crates/ecs/src",
        words: IO,
        because: "ecs is pure: time and randomness are arguments",
    },
    Ban {
        dir: "crates/ecs/src",
        words: AMBIENT,
        because: "ecs is pure: time and randomness are arguments",
    },
    Ban {
        dir: "crates/nbd/src/proto",
        words: IO,
        because: "nbd::proto does no I/O",
    },
    Ban {
        dir: "crates/nbd/src/proto",
        words: SOCKETS,
        because: "nbd::proto does no I/O",
    },
    Ban {
        dir: "crates/volume/src",
        words: IO,
        because: "the engine sees the world through env",
    },
    Ban {
        dir: "crates/volume/src",
        words: AMBIENT,
        because: "the engine sees the world through env",
    },
    Ban {
        dir: "crates/vault/src",
        words: IO,
        because: "the engine sees the world through env",
    },
    Ban {
        dir: "crates/vault/src",
        words: AMBIENT,
        because: "the engine sees the world through env",
    },
];

/// One sentence per banned word found; none when all is well.
pub fn check() -> Result<Vec<String>> {
    let root = process::root()?;
    let mut found = Vec::new();
    for ban in BANS {
        let dir = root.join(ban.dir);
        if !dir.is_dir() {
            continue;
        }
        for file in sources(&dir)? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let shown = file.strip_prefix(&root).unwrap_or(&file).display();
            for (line, word) in banned_words(&text, ban.words) {
                found.push(format!("{shown}:{line}: {word} ({})", ban.because));
            }
        }
    }
    Ok(found)
}

/// Every Rust file below `dir` that is not a test.
fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "tests" {
            files.extend(sources(&path)?);
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Line numbers (from 1) and words, up to the file's test module.
fn banned_words<'a>(text: &str, words: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        // A test module written out in the file ends the search; one that lives elsewhere does not.
        if line.trim() == "#[cfg(test)]"
            && lines
                .get(at + 1)
                .is_some_and(|next| next.trim_end().ends_with('{'))
        {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        found.extend(
            words
                .iter()
                .filter(|word| code.contains(**word))
                .map(|word| (at + 1, *word)),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::banned_words;

    #[test]
    fn code_is_read_and_comments_are_not() {
        let text = "// std::fs is for others\nuse std::fs::File;\n";
        assert_eq!(banned_words(text, &["std::fs"]), [(2, "std::fs")]);
    }

    #[test]
    fn the_test_module_is_not_read() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(banned_words(text, &["std::fs"]), []);
        let elsewhere = "#[cfg(test)]\nmod tests;\nuse std::fs;\n";
        assert_eq!(banned_words(elsewhere, &["std::fs"]), [(3, "std::fs")]);
    }
}
