//! A file that an image is made of: opened once, and told what it is by its bytes alone.
//!
//! What must stay true: only a regular file is read, under the name as it stands (no protocol, no `json:`, no option), and what was
//! checked is what is read: everything goes through the one descriptor. Formats that we do not take are named.

use super::qcow2::{self, Qcow2};
use super::{Format, STEP, interrupt::Interrupt, without_zeros};
use crate::size::human;
use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open file.
pub struct Source {
    path: PathBuf,
    file: File,
    length: u64,
}

/// What is in it.
pub struct Content {
    /// How to read it.
    pub format: Format,
    /// Bytes of the disk.
    pub disk_bytes: u64,
}

/// Bytes at a file's front that tell what it is, and what to call it.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (0, b"KDMV", "a VMDK image"),
    (0, b"COWD", "a VMDK image"),
    (0, b"# Disk DescriptorFile", "a VMDK image's description"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, b"conectix", "a VHD image"),
    (0x40, &[0x7f, 0x10, 0xda, 0xbe], "a VDI image"),
    (0, b"QED\0", "a QED image"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    (0, &[0x1f, 0x8b], "compressed with gzip"),
    (0, &[0xfd, b'7', b'z', b'X', b'Z', 0], "compressed with xz"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd"),
    (0, b"BZh", "compressed with bzip2"),
];
/// A VHD image of fixed size has its mark only here, so many bytes from the end.
const VHD_FOOTER_BYTES: u64 = 512;

impl Source {
    /// Opens a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        if path == Path::new("-") {
            bail!("an image cannot be read from standard input: write it to a file first");
        }
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) if has_protocol(path) => bail!(
                "there is no file {shown} ({error}); only files are read, and no protocol or description is followed"
            ),
            Err(error) => return Err(anyhow!("cannot read {shown}: {error}")),
        };
        if !meta.is_file() {
            bail!("{shown} is no regular file");
        }
        let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        // Of the file that was opened, whatever was put in its place meanwhile.
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() == 0 {
            bail!("{shown} is empty");
        }
        Ok(Self {
            path: path.into(),
            length: meta.len(),
            file,
        })
    }

    /// The descriptor that all was checked through.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file's name for people, without its directory.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// What is in it; `asked` is what the user says that it is. Fails when we would read something else than was meant.
    pub fn content(&self, asked: Option<Format>) -> Result<Content> {
        let shown = self.path.display();
        let mut front = Vec::new();
        (&self.file)
            .take(qcow2::HEADER_BYTES_MAX)
            .read_to_end(&mut front)?;
        let is_qcow2 = front.starts_with(&qcow2::MAGIC);
        let format = match asked {
            Some(format) => format,
            None if is_qcow2 => Format::Qcow2,
            None => match self.other(&front)? {
                Some(what) => bail!(
                    "{shown} is {what}, which is not taken; convert it (qemu-img convert -O raw) or unpack it first, \
                     or say --format raw if these bytes are the disk's own"
                ),
                None => Format::Raw,
            },
        };
        let disk_bytes = match format {
            Format::Raw => self.length,
            Format::Qcow2 => {
                let refused = |error| anyhow!("{shown} cannot be taken as qcow2: {error}");
                let image = Qcow2::parse(&front, self.length).map_err(refused)?;
                image
                    .check_tables(|at, buffer| self.file.read_exact_at(buffer, at))
                    .map_err(refused)?;
                image.disk_bytes()
            }
        };
        Ok(Content { format, disk_bytes })
    }

    /// The name of a format that is not taken.
    fn other(&self, front: &[u8]) -> Result<Option<&'static str>> {
        let is = |(at, magic, _): &&(usize, &[u8], &str)| {
            front.get(*at..).is_some_and(|rest| rest.starts_with(magic))
        };
        if let Some((_, _, what)) = OTHERS.iter().find(is) {
            return Ok(Some(*what));
        }
        let mut footer = [0; 8];
        if self.length >= VHD_FOOTER_BYTES {
            self.file
                .read_exact_at(&mut footer, self.length - VHD_FOOTER_BYTES)?;
        }
        Ok((&footer == b"conectix").then_some("a VHD image"))
    }

    /// Hands the file's bytes to `write`, but for holes and pieces of zeros; tells `shown` how far it is.
    pub fn copy(
        &self,
        interrupt: &Interrupt,
        mut write: impl FnMut(u64, &[u8]) -> Result<()>,
        mut shown: impl FnMut(u64),
    ) -> Result<()> {
        let mut buffer = vec![0; STEP];
        let mut at = 0;
        while let Some(data) = self.next_data(at)? {
            // From the start of a step on, so that pieces are the service's own.
            at = data / STEP as u64 * STEP as u64;
            let length = (self.length - at).min(STEP as u64) as usize;
            interrupt.check()?;
            self.file
                .read_exact_at(&mut buffer[..length], at)
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => anyhow!(
                        "{} became shorter while it was read, from {}",
                        self.path.display(),
                        human(self.length)
                    ),
                    _ => anyhow!("cannot read {}: {error}", self.path.display()),
                })?;
            without_zeros(at, &buffer[..length], &mut write)?;
            at += length as u64;
            shown(at);
        }
        Ok(())
    }

    /// Where the next data begins, if there is any from `at` on.
    fn next_data(&self, at: u64) -> Result<Option<u64>> {
        if at >= self.length {
            return Ok(None);
        }
        match seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) => Ok(Some(data).filter(|data| *data < self.length)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that cannot tell: all of it is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
            Err(error) => Err(anyhow!("cannot read {}: {error}", self.path.display())),
        }
    }
}

/// Whether other tools would read the name as something else than a file: `nbd://...`, `json:{...}`.
fn has_protocol(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.split_once(':')
        .is_some_and(|(before, _)| !before.is_empty() && !before.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(parts: &[(u64, &[u8])], length: u64) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        let file = File::create(&path).unwrap();
        file.set_len(length).unwrap();
        for (at, bytes) in parts {
            file.write_all_at(bytes, *at).unwrap();
        }
        (dir, path)
    }

    fn content(parts: &[(u64, &[u8])], length: u64, asked: Option<Format>) -> Result<Content, String> {
        let (_dir, path) = file(parts, length);
        let source = Source::open(&path).unwrap();
        source.content(asked).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_a_file_is_is_told_by_its_bytes() {
        let raw = content(&[(0, b"\xeb\x63\x90")], 1000, None).unwrap();
        assert_eq!((raw.format, raw.disk_bytes), (Format::Raw, 1000));
        for (at, magic, what) in OTHERS {
            let error = content(&[(*at as u64, *magic)], 4096, None).err().unwrap();
            assert!(error.contains(what), "{error}");
            assert!(content(&[(*at as u64, *magic)], 4096, Some(Format::Raw)).is_ok());
        }
        let error = content(&[(4096 - 512, b"conectix")], 4096, None).err().unwrap();
        assert!(error.contains("VHD"), "{error}");
        let error = content(&[(0, b"QFI\xfb\0\0\0\x09")], 4096, None).err().unwrap();
        assert!(error.contains("version"), "{error}");
        let error = content(&[], 4096, Some(Format::Qcow2)).err().unwrap();
        assert!(error.contains("magic"), "{error}");
    }

    #[test]
    fn only_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| format!("{:#}", Source::open(path).err().unwrap());
        assert!(refused(Path::new("-")).contains("standard input"));
        assert!(refused(dir.path()).contains("no regular file"));
        assert!(refused(Path::new("/dev/null")).contains("no regular file"));
        assert!(refused(Path::new("nbd+unix:///d-1")).contains("no protocol"));
        assert!(refused(Path::new("json:{}")).contains("no protocol"));
        assert!(!refused(&dir.path().join("gone:1")).contains("no protocol"));
        let empty = dir.path().join("empty");
        File::create(&empty).unwrap();
        assert!(refused(&empty).contains("empty"));
        // What looks like a protocol and is a file is a file.
        let odd = dir.path().join("json:{}");
        File::create(&odd).unwrap().write_all(b"x").unwrap();
        assert_eq!(Source::open(&odd).unwrap().name(), "json:{}");
    }

    #[test]
    fn holes_and_zeros_are_not_copied() {
        const MIB: u64 = 1 << 20;
        let length = 64 * MIB + 777;
        let tail = [9; 777];
        let parts: [(u64, &[u8]); 4] = [
            (10, b"front"),
            (5 * MIB, &[0; 1 << 20]),
            (7 * MIB + 70_000, b"middle"),
            (64 * MIB, &tail),
        ];
        let (_dir, path) = file(&parts, length);
        let source = Source::open(&path).unwrap();
        let mut copied = vec![0; length as usize];
        let mut written = 0;
        let write = |at: u64, bytes: &[u8]| {
            copied[at as usize..][..bytes.len()].copy_from_slice(bytes);
            written += bytes.len() as u64;
            Ok(())
        };
        source.copy(&Interrupt::listen().unwrap(), write, |_| ()).unwrap();
        assert!(copied == std::fs::read(&path).unwrap());
        assert_eq!(written, 2 * 65536 + 777);
    }
}
