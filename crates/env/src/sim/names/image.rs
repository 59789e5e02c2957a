//! The tree seen from outside: all files of it, and an image of a directory's medium and its restore.

use super::{Change, Content, Dir, Ino, Node, ROOT, Tree, apply};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What the medium holds of a directory or a file, with all below it.
pub(in crate::sim) enum Image {
    Dir(BTreeMap<String, Image>),
    File(Content),
}

impl Tree {
    /// Every file that programs see, with its path, sorted by path. One with two names comes twice.
    pub(in crate::sim) fn files(&self) -> Vec<(PathBuf, Ino)> {
        let mut files = Vec::new();
        let mut waiting = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, ino)) = waiting.pop() {
            match self.nodes.get(&ino) {
                Some(Node::Dir(dir)) => {
                    waiting.extend(dir.seen.iter().map(|(name, below)| (path.join(name), *below)));
                }
                Some(Node::File(_)) => files.push((path, ino)),
                None => {}
            }
        }
        files.sort();
        files
    }

    /// What a power cut that keeps nothing would leave of `path`.
    pub(in crate::sim) fn image(&self, path: &Path) -> io::Result<Image> {
        let dir =
            super::names_of(path)?
                .into_iter()
                .try_fold(ROOT, |dir, name| match self.nodes.get(&dir) {
                    Some(Node::Dir(dir)) => dir.durable.get(name).copied().ok_or_else(|| Errno::NOENT.into()),
                    _ => super::failed(Errno::NOTDIR),
                })?;
        Ok(self.image_of(dir))
    }

    /// Puts `image` at `path`, where nothing may be, with the directories above it; all of it durable.
    pub(in crate::sim) fn restore(&mut self, path: &Path, image: Image) -> io::Result<()> {
        if self.find(path).is_ok() {
            return super::failed(Errno::EXIST);
        }
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        if let Some(parent) = above.first() {
            self.create_dir_all(parent)?;
        }
        let (dir, name) = self.parent(path)?;
        self.put(dir, name, image);
        for dir in above {
            self.sync_dir(self.find(dir)?)?;
        }
        Ok(())
    }

    fn image_of(&self, ino: Ino) -> Image {
        match self.nodes.get(&ino) {
            Some(Node::File(content)) => Image::File(content.durable_copy()),
            Some(Node::Dir(dir)) => {
                let below = dir.durable.iter();
                Image::Dir(
                    below
                        .map(|(name, ino)| (name.clone(), self.image_of(*ino)))
                        .collect(),
                )
            }
            None => Image::Dir(BTreeMap::new()),
        }
    }

    /// Adds `image` under a free name of `dir`, at once on the medium.
    fn put(&mut self, dir: Ino, name: String, image: Image) {
        let ino = self.next;
        self.next += 1;
        let (node, below) = match image {
            Image::File(content) => (Node::File(content), BTreeMap::new()),
            Image::Dir(below) => (Node::Dir(Dir::default()), below),
        };
        self.nodes.insert(ino, node);
        let change = Change {
            dir,
            name,
            to: Some(ino),
        };
        if let Some(Node::Dir(dir)) = self.nodes.get_mut(&dir) {
            apply(&mut dir.seen, &change);
            apply(&mut dir.durable, &change);
        }
        for (name, image) in below {
            self.put(ino, name, image);
        }
    }
}
