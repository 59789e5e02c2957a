//! The oracle: what a disk may hold, given what its guests were told.
//!
//! A disk is an array of 512-byte sectors. Each has its history: the values written to it, when each write was issued and
//! when it was acknowledged, on one clock for all disks ([`Tick`]). What may be read follows from it:
//! - now: the newest acknowledged value, or a newer one that was issued;
//! - after a crash: nothing older than what a flush or a FUA write covers;
//! - in a snapshot: nothing older than what was acknowledged when the mark was asked for, nothing issued after its answer.
//!
//! And a state that a crash or a mark leaves must be a *cut* of history: if it holds a write, it holds every write that
//! was acknowledged before that one was issued. That is what "crash-consistent" means to a file system or a database in
//! the guest, and it is more than each sector being right by itself. What was read after a crash is the truth from then on.

use bytes::Bytes;
use std::rc::Rc;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// A moment on the clock of a history: counts what guests do.
pub type Tick = u64;

/// Not yet.
const NEVER: Tick = Tick::MAX;

/// A whole disk's values.
pub type Image = Rc<Vec<u64>>;

/// A value of a sector.
#[derive(Clone, Debug)]
pub struct Entry {
    value: u64,
    issued: Tick,
    acked: Tick,
    /// Acknowledged with FUA.
    durable: bool,
    /// Refused: it must never be seen.
    refused: bool,
}

/// The content of a sector that holds `value`; 0 is zeros.
pub fn sector(value: u64) -> [u8; SECTOR] {
    let mut out = [0; SECTOR];
    for at in out.chunks_exact_mut(8) {
        at.copy_from_slice(&value.to_le_bytes());
    }
    out
}

/// Values as bytes.
pub fn bytes_of(values: &[u64]) -> Bytes {
    values.iter().flat_map(|v| sector(*v)).collect::<Vec<u8>>().into()
}

/// Bytes as values; a sector that holds anything but one value is damage.
pub fn values_of(bytes: &[u8]) -> Result<Vec<u64>, String> {
    let one = |(n, bytes): (usize, &[u8])| {
        let value = u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default());
        match bytes == sector(value) {
            true => Ok(value),
            false => Err(format!("sector {n} of what was read holds a mixture of values")),
        }
    };
    bytes.chunks_exact(SECTOR).enumerate().map(one).collect()
}

/// The histories that a state may show: per sector, from the oldest value that is allowed on.
#[derive(Clone, Debug)]
pub struct Window(Vec<Vec<Entry>>);

impl Window {
    /// Whether `values` is a cut of this history; the tick of its newest write.
    pub fn check(&self, values: &[u64], skip: impl Fn(usize) -> bool) -> Result<Tick, String> {
        if values.len() != self.0.len() {
            return Err(format!(
                "{} sectors where there are {}",
                values.len(),
                self.0.len()
            ));
        }
        let mut newest = 0;
        for (n, (allowed, value)) in self.0.iter().zip(values).enumerate() {
            if skip(n) {
                continue;
            }
            let Some(entry) = found(allowed, *value) else {
                let (refused, allowed): (Vec<&Entry>, Vec<&Entry>) = allowed.iter().partition(|e| e.refused);
                let values = |of: Vec<&Entry>| of.into_iter().map(|e| e.value).collect::<Vec<u64>>();
                let (allowed, refused) = (values(allowed), values(refused));
                return Err(format!(
                    "sector {n} holds {value:x}, allowed {allowed:x?}, refused {refused:x?}"
                ));
            };
            if *value != 0 {
                newest = newest.max(entry.issued);
            }
        }
        self.check_cut(values, newest, skip)?;
        Ok(newest)
    }

    /// Whether `values` has everything that was acknowledged before `moment`.
    pub fn check_cut(
        &self,
        values: &[u64],
        moment: Tick,
        skip: impl Fn(usize) -> bool,
    ) -> Result<(), String> {
        for (n, (allowed, value)) in self.0.iter().zip(values).enumerate() {
            let needed = allowed.iter().rposition(|e| e.acked < moment && !e.refused);
            let Some(needed) = needed.filter(|_| !skip(n)) else {
                continue;
            };
            if found(&allowed[needed..], *value).is_none() {
                return Err(format!(
                    "not a point in time: sector {n} holds {value:x}, but {:x} was acknowledged before a write that is there was issued",
                    allowed[needed].value
                ));
            }
        }
        Ok(())
    }
}

fn found(entries: &[Entry], value: u64) -> Option<&Entry> {
    entries.iter().rev().find(|e| e.value == value && !e.refused)
}

/// What a disk may hold.
pub struct Model {
    sectors: Vec<Vec<Entry>>,
    /// A flush that was issued here has been answered.
    flushed: Tick,
}

/// A write that was issued: where its entries are.
pub struct Issued {
    from: usize,
    at: Vec<usize>,
    /// The values, one per sector.
    pub values: Vec<u64>,
}

impl Model {
    /// A disk that holds exactly `values`.
    pub fn holding(values: &[u64]) -> Self {
        let entry = |value: &u64| Entry {
            value: *value,
            issued: 0,
            acked: 0,
            durable: true,
            refused: false,
        };
        Self {
            sectors: values.iter().map(|v| vec![entry(v)]).collect(),
            flushed: 0,
        }
    }

    /// How many sectors there are.
    pub fn sectors(&self) -> usize {
        self.sectors.len()
    }

    /// A write of `values` from sector `from` on is issued at `now`.
    pub fn issue(&mut self, from: usize, values: Vec<u64>, now: Tick) -> Issued {
        let mut at = Vec::with_capacity(values.len());
        for (n, value) in values.iter().enumerate() {
            let entries = &mut self.sectors[from + n];
            at.push(entries.len());
            entries.push(Entry {
                value: *value,
                issued: now,
                acked: NEVER,
                durable: false,
                refused: false,
            });
        }
        Issued { from, at, values }
    }

    fn each(&mut self, issued: &Issued, change: impl Fn(&mut Entry)) {
        for (n, at) in issued.at.iter().enumerate() {
            change(&mut self.sectors[issued.from + n][*at]);
        }
    }

    /// It was acknowledged at `now`.
    pub fn acked(&mut self, issued: &Issued, now: Tick, fua: bool) {
        self.each(issued, |e| {
            e.acked = now;
            e.durable = fua;
        });
    }

    /// It was refused, which means that nothing of it may become visible.
    pub fn refused(&mut self, issued: &Issued) {
        self.each(issued, |e| e.refused = true);
    }

    /// A flush that was issued at `issued` has been answered.
    pub fn flushed(&mut self, issued: Tick) {
        self.flushed = self.flushed.max(issued);
    }

    fn newest(entries: &[Entry], counts: impl Fn(&Entry) -> bool) -> usize {
        entries.iter().rposition(counts).unwrap_or(0)
    }

    /// Where the window of a mark that is asked for now begins.
    pub fn mark_begins(&self) -> Vec<usize> {
        let acked = |entries: &Vec<Entry>| Self::newest(entries, |e| e.acked != NEVER);
        self.sectors.iter().map(acked).collect()
    }

    /// The window of a mark that was asked for then and answered now.
    pub fn mark_ends(&self, begun: &[usize]) -> Window {
        let window = |(entries, from): (&Vec<Entry>, &usize)| entries[*from..].to_vec();
        Window(self.sectors.iter().zip(begun).map(window).collect())
    }

    /// What may be read now.
    pub fn now(&self) -> Window {
        self.mark_ends(&self.mark_begins())
    }

    /// What may be found after a power cut; after a kill (`kept`: nothing that was written is lost), what is acknowledged.
    pub fn after_crash(&self, kept: bool) -> Window {
        let flushed = self.flushed;
        let from = |entries: &Vec<Entry>| {
            let first = Self::newest(entries, |e| match kept {
                true => e.acked != NEVER,
                false => e.durable || e.acked < flushed,
            });
            entries[first..].to_vec()
        };
        Window(self.sectors.iter().map(from).collect())
    }

    /// Any state that the disk had since the last crash: for media that have lost what they had promised to keep.
    pub fn ever(&self) -> Window {
        Window(self.sectors.clone())
    }

    /// What a range of sectors holds must be allowed now.
    pub fn check_read(&self, from: usize, values: &[u64], begun: &[usize]) -> Result<(), String> {
        for (n, value) in values.iter().enumerate() {
            let allowed = &self.sectors[from + n][begun[n]..];
            if found(allowed, *value).is_none() {
                let allowed: Vec<u64> = allowed.iter().map(|e| e.value).collect();
                return Err(format!(
                    "sector {} holds {value:x}, allowed {allowed:x?}",
                    from + n
                ));
            }
        }
        Ok(())
    }

    /// The oldest entries that a read of `count` sectors that is issued now may give.
    pub fn read_begins(&self, from: usize, count: usize) -> Vec<usize> {
        let acked = |entries: &Vec<Entry>| Self::newest(entries, |e| e.acked != NEVER);
        self.sectors[from..from + count].iter().map(acked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_without_an_older_acknowledged_write_is_no_cut() {
        let mut model = Model::holding(&[0, 0]);
        let first = model.issue(0, vec![7], 1);
        model.acked(&first, 2, false);
        let second = model.issue(1, vec![8], 3);
        model.acked(&second, 4, false);
        let window = model.after_crash(false);
        assert!(window.check(&[0, 0], |_| false).is_ok());
        assert!(window.check(&[7, 0], |_| false).is_ok());
        assert!(window.check(&[7, 8], |_| false).is_ok());
        assert!(window.check(&[0, 8], |_| false).is_err());
        assert!(model.after_crash(true).check(&[7, 0], |_| false).is_err());
    }

    #[test]
    fn flushes_and_fua_raise_the_floor() {
        let mut model = Model::holding(&[0, 0]);
        let first = model.issue(0, vec![7], 1);
        model.acked(&first, 2, true);
        let second = model.issue(1, vec![8], 3);
        model.acked(&second, 4, false);
        assert!(model.after_crash(false).check(&[0, 0], |_| false).is_err());
        model.flushed(5);
        assert!(model.after_crash(false).check(&[7, 0], |_| false).is_err());
        assert!(model.after_crash(false).check(&[7, 8], |_| false).is_ok());
    }

    #[test]
    fn what_was_refused_is_never_seen() {
        let mut model = Model::holding(&[0]);
        let write = model.issue(0, vec![7], 1);
        model.refused(&write);
        assert!(model.now().check(&[7], |_| false).is_err());
        assert!(model.now().check(&[0], |_| false).is_ok());
    }
}
