//! An export in memory, for tests and measurements: sparse, with everything that the protocol offers.

use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidemark_env::{LocalFuture, Piece};
use tidemark_nbd::proto::{BASE_ALLOCATION, Errno, ExportInfo, Extent};
use tidemark_nbd::server::{Export, ExportError};
use tokio::sync::Semaphore;

const PAGE: u64 = 64 << 10;

/// What a test watches and turns from its own thread.
pub struct Knobs {
    /// Reads, and writes, that have been started.
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    /// Flushes, and changes with FUA.
    pub synced: AtomicU64,
    /// Bytes from here on fail with EIO.
    pub damaged_from: AtomicU64,
    /// Every write takes a permit, for good; there are plenty unless a test takes them away.
    pub write_gate: Semaphore,
}

impl Default for Knobs {
    fn default() -> Self {
        Knobs {
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            damaged_from: AtomicU64::new(u64::MAX),
            write_gate: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }
}

/// See the file's head. Served on any number of connections of one thread.
pub struct RamExport {
    info: ExportInfo,
    pages: RefCell<BTreeMap<u64, Box<[u8]>>>,
    knobs: Arc<Knobs>,
}

/// What [`RamExport`] tells of itself.
pub fn ram_info(name: &str, size_bytes: u64) -> ExportInfo {
    ExportInfo {
        name: name.into(),
        description: "a disk in memory".into(),
        size_bytes,
        read_only: false,
        trim: true,
        fast_zero: true,
        multi_conn: true,
        contexts: vec![BASE_ALLOCATION.into()],
    }
}

impl RamExport {
    pub fn new(info: ExportInfo, knobs: Arc<Knobs>) -> RamExport {
        RamExport {
            info,
            pages: RefCell::default(),
            knobs,
        }
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), ExportError> {
        assert!(
            len > 0 && offset + len <= self.info.size_bytes,
            "the server lets {len} bytes at {offset} through"
        );
        let damaged = self.knobs.damaged_from.load(Ordering::SeqCst);
        if offset + len > damaged {
            let at = Some(damaged.max(offset));
            return Err(ExportError {
                at,
                ..ExportError::new(Errno::Io, "this part of the disk is damaged")
            });
        }
        Ok(())
    }

    fn change(&self, offset: u64, len: u64, fua: bool) -> Result<(), ExportError> {
        assert!(
            !self.info.read_only,
            "the server lets a change of a read-only export through"
        );
        self.check(offset, len)?;
        self.knobs.synced.fetch_add(fua.into(), Ordering::SeqCst);
        Ok(())
    }

    fn get(&self, offset: u64, len: u32) -> Vec<u8> {
        let pages = self.pages.borrow();
        let mut data = Vec::with_capacity(len as usize);
        let (mut at, mut left) = (offset, u64::from(len));
        while left > 0 {
            let part = left.min(PAGE - at % PAGE);
            let start = (at % PAGE) as usize;
            match pages.get(&(at / PAGE)) {
                Some(page) => data.extend_from_slice(&page[start..start + part as usize]),
                None => data.resize(data.len() + part as usize, 0),
            }
            at += part;
            left -= part;
        }
        data
    }

    fn put(&self, offset: u64, mut data: &[u8]) {
        let mut pages = self.pages.borrow_mut();
        let mut at = offset;
        while !data.is_empty() {
            let start = (at % PAGE) as usize;
            let (head, rest) = data.split_at(data.len().min(PAGE as usize - start));
            let page = pages
                .entry(at / PAGE)
                .or_insert_with(|| vec![0; PAGE as usize].into());
            page[start..start + head.len()].copy_from_slice(head);
            data = rest;
            at += head.len() as u64;
        }
    }

    fn clear(&self, offset: u64, len: u64) {
        let mut pages = self.pages.borrow_mut();
        let end = offset + len;
        let touched: Vec<u64> = pages
            .range(offset / PAGE..end.div_ceil(PAGE))
            .map(|(page, _)| *page)
            .collect();
        for page in touched {
            let (first, last) = (offset.max(page * PAGE), end.min((page + 1) * PAGE));
            if last - first == PAGE {
                pages.remove(&page);
            } else if let Some(data) = pages.get_mut(&page) {
                data[(first - page * PAGE) as usize..(last - page * PAGE) as usize].fill(0);
            }
        }
    }

    fn status(&self, offset: u64, len: u64) -> Vec<Extent> {
        let pages = self.pages.borrow();
        let (mut at, end) = (offset, offset + len);
        let mut extents = Vec::new();
        while at < end {
            let hole = !pages.contains_key(&(at / PAGE));
            // Holes end at the next page there is; asking a whole empty disk takes one step.
            let next = if hole {
                pages
                    .range(at / PAGE..)
                    .next()
                    .map_or(end, |(page, _)| page * PAGE)
            } else {
                (at / PAGE + 1) * PAGE
            };
            extents.push(Extent::allocation(next.min(end) - at, hole, hole));
            at = next.min(end);
        }
        extents
    }
}

fn ready<'a, T: 'a>(result: T) -> LocalFuture<'a, T> {
    Box::pin(std::future::ready(result))
}

impl Export for RamExport {
    fn info(&self) -> ExportInfo {
        self.info.clone()
    }

    fn read(&self, offset: u64, len: u32) -> LocalFuture<'_, Result<Vec<Piece>, ExportError>> {
        self.knobs.reads.fetch_add(1, Ordering::SeqCst);
        let read = self
            .check(offset, len.into())
            .map(|()| vec![Bytes::from(self.get(offset, len)).into()]);
        ready(read)
    }

    fn write(&self, offset: u64, data: Vec<Bytes>, fua: bool) -> LocalFuture<'_, Result<(), ExportError>> {
        self.knobs.writes.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.knobs
                .write_gate
                .acquire()
                .await
                .expect("the gate is never closed")
                .forget();
            let len = data.iter().map(|piece| piece.len() as u64).sum();
            self.change(offset, len, fua)?;
            let mut at = offset;
            for piece in data {
                self.put(at, &piece);
                at += piece.len() as u64;
            }
            Ok(())
        })
    }

    fn zero(
        &self,
        offset: u64,
        len: u64,
        may_punch: bool,
        fua: bool,
    ) -> LocalFuture<'_, Result<(), ExportError>> {
        let changed = self.change(offset, len, fua);
        if changed.is_ok() {
            self.clear(offset, len);
            if !may_punch {
                let mut pages = self.pages.borrow_mut();
                for page in offset / PAGE..(offset + len).div_ceil(PAGE) {
                    pages.entry(page).or_insert_with(|| vec![0; PAGE as usize].into());
                }
            }
        }
        ready(changed)
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> LocalFuture<'_, Result<(), ExportError>> {
        self.zero(offset, len, true, fua)
    }

    fn flush(&self) -> LocalFuture<'_, Result<(), ExportError>> {
        self.knobs.synced.fetch_add(1, Ordering::SeqCst);
        ready(Ok(()))
    }

    fn block_status<'a>(
        &'a self,
        offset: u64,
        len: u64,
        context: &'a str,
    ) -> LocalFuture<'a, Result<Vec<Extent>, ExportError>> {
        assert_eq!(
            context, BASE_ALLOCATION,
            "the server asks for a context that nobody offered"
        );
        ready(self.check(offset, len).map(|()| self.status(offset, len)))
    }

    fn cache(&self, offset: u64, len: u64) -> LocalFuture<'_, Result<(), ExportError>> {
        ready(self.check(offset, len))
    }
}
