//! An archive in the kernel's format for initramfs, "newc": owned by root, of one time, in the order of its names.

use std::collections::BTreeMap;

/// Directories, files and symbolic links, by their paths without a slash in front.
#[derive(Default)]
pub struct Archive(BTreeMap<String, (u32, Vec<u8>)>);

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

impl Archive {
    /// An empty directory, with those that it is in.
    pub fn directory(&mut self, path: &str) {
        self.parents(path);
        self.0
            .entry(path.into())
            .or_insert((DIRECTORY | 0o755, Vec::new()));
    }

    /// A file, which may be run if `executable`.
    pub fn file(&mut self, path: &str, executable: bool, content: impl Into<Vec<u8>>) {
        self.parents(path);
        let mode = if executable { 0o755 } else { 0o644 };
        self.0.insert(path.into(), (FILE | mode, content.into()));
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.parents(path);
        self.0.insert(path.into(), (LINK | 0o777, to.into()));
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let parent = path[..at].to_owned();
            self.0.entry(parent).or_insert((DIRECTORY | 0o755, Vec::new()));
        }
    }

    /// The archive's bytes.
    pub fn bytes(&self, time: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let last = ("TRAILER!!!".to_owned(), (0, Vec::new()));
        for (number, (path, (mode, content))) in self.0.iter().chain([(&last.0, &last.1)]).enumerate() {
            let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
            let name = path.len() as u64 + 1;
            let length = content.len() as u64;
            let words = [
                number as u64 + 1,
                u64::from(*mode),
                0,
                0,
                links,
                time,
                length,
                0,
                0,
                0,
                0,
                name,
                0,
            ];
            out.extend(b"070701");
            for word in words {
                out.extend(format!("{word:08X}").bytes());
            }
            out.extend(path.bytes());
            out.push(0);
            pad(&mut out);
            out.extend(content);
            pad(&mut out);
        }
        out
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file("bin/tool", true, "x");
        archive.link("bin/sh", "tool");
        archive.directory("data");
        let bytes = archive.bytes(7);
        assert!(bytes.len().is_multiple_of(4));
        let text = String::from_utf8_lossy(&bytes);
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is missing"));
        assert!(at("bin\0") < at("bin/sh\0") && at("bin/sh\0") < at("bin/tool\0"));
        assert!(at("data\0") < at("TRAILER!!!\0"));
        // 070701, inode, mode, uid, gid, links, time, size ...
        assert!(
            text.starts_with("07070100000001000041ED0000000000000000000000020000000700000000"),
            "{text}"
        );
    }
}
