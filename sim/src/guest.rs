//! Guests: connections to a disk, and the clients that read and write over them.
//!
//! A connection runs on the thread that owns the disk, through the same `Export` that the NBD server drives, with many
//! requests under way at once. Clients live outside of every simulated machine, as the remote end of a wire does: what
//! they were told stays told when the machine dies. Each client owns every so-many-th area of the disk, so that the
//! order of its writes is known; its choices come from the step that asked for them.

use crate::dice::Dice;
use crate::model::{SECTOR, bytes_of, values_of};
use crate::world::{Disk, World};
use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use tidemark_env::{Env, LocalFuture, Piece};
use tidemark_nbd::proto::Errno;
use tidemark_nbd::server::{Export, Stop};
use tidemark_node::VolumeExport;
use tokio::sync::{Notify, mpsc, oneshot};

/// Sectors of an area: 32 KiB.
pub const AREA: usize = 64;
/// Sectors of a block.
pub const BLOCK: usize = 8;

/// One request; offsets and lengths in bytes.
#[allow(missing_docs)]
pub enum Io {
    /// Bytes from an offset.
    Read { offset: u64, len: u32 },
    /// Store bytes at an offset.
    Write { offset: u64, data: Bytes, fua: bool },
    /// Zeros over a range, by a discard, or by writing zeros that may punch or not.
    Zero {
        offset: u64,
        len: u64,
        how: Zeroing,
        fua: bool,
    },
    /// Make durable.
    Flush,
}

/// How a range becomes zeros.
#[derive(Clone, Copy)]
pub enum Zeroing {
    /// NBD_CMD_TRIM.
    Trim,
    /// NBD_CMD_WRITE_ZEROES.
    Punch,
    /// NBD_CMD_WRITE_ZEROES with NO_HOLE.
    Keep,
}

/// A request and where its answer goes.
pub struct Request(pub Io, pub oneshot::Sender<Result<Bytes, Errno>>);

/// A client's end of a connection.
pub type Wire = mpsc::UnboundedSender<Request>;

/// Nothing is lent where files are simulated.
fn in_memory(pieces: Vec<Piece>) -> Vec<Bytes> {
    let bytes = pieces.into_iter().map(Piece::into_bytes);
    bytes
        .map(|bytes| bytes.expect("the simulated file system lends nothing"))
        .collect()
}

async fn perform(export: &VolumeExport, io: Io) -> Result<Bytes, Errno> {
    let done = match io {
        Io::Read { offset, len } => export
            .read(offset, len)
            .await
            .map(|pieces| in_memory(pieces).concat().into()),
        Io::Write { offset, data, fua } => export.write(offset, vec![data], fua).await.map(|()| Bytes::new()),
        Io::Zero {
            offset,
            len,
            how,
            fua,
        } => {
            let done = match how {
                Zeroing::Trim => export.trim(offset, len, fua).await,
                Zeroing::Punch => export.zero(offset, len, true, fua).await,
                Zeroing::Keep => export.zero(offset, len, false, fua).await,
            };
            done.map(|()| Bytes::new())
        }
        Io::Flush => export.flush().await.map(|()| Bytes::new()),
    };
    done.map_err(|e| e.errno)
}

/// Serves `requests` until the clients or the disk go away; what is under way is answered first.
pub async fn session(export: Rc<VolumeExport>, stop: Stop, mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut under_way: FuturesUnordered<LocalFuture<'_, ()>> = FuturesUnordered::new();
    let mut stopped = pin!(stop.stopped());
    let mut open = true;
    while open || !under_way.is_empty() {
        let listening = open;
        let next = async {
            if !listening {
                return std::future::pending().await;
            }
            match select(pin!(requests.recv()), &mut stopped).await {
                Either::Left((request, _)) => request,
                Either::Right(_) => None,
            }
        };
        let progress = async {
            if under_way.next().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        match select(pin!(next), pin!(progress)).await {
            Either::Left((Some(Request(io, reply)), _)) => {
                let export = &export;
                under_way.push(Box::pin(async move {
                    // A client that has gone does not care.
                    let _ = reply.send(perform(export, io).await);
                }));
            }
            Either::Left((None, _)) => open = false,
            Either::Right(_) => {}
        }
    }
}

/// What a client has still to do: so many operations, drawn from the sequence of a step.
#[derive(Default)]
pub struct Work {
    queue: RefCell<VecDeque<(Dice, u32)>>,
    more: Notify,
    busy: Cell<bool>,
}

impl Work {
    /// Adds operations.
    pub fn add(&self, dice: Dice, operations: u32) {
        self.queue.borrow_mut().push_back((dice, operations));
        self.more.notify_one();
    }

    /// Whether nothing is to be done or under way.
    pub fn is_done(&self) -> bool {
        !self.busy.get() && self.queue.borrow().is_empty()
    }

    /// Forgets what is left.
    pub fn clear(&self) {
        self.queue.borrow_mut().clear();
    }

    fn next(&self) -> Option<Dice> {
        let mut queue = self.queue.borrow_mut();
        let (dice, left) = queue.front_mut()?;
        let now = dice.clone();
        // The next operation draws from where this one may have got to: a jump ahead that no operation exceeds.
        *dice = Dice::new(dice.below(u64::MAX), 1);
        *left -= 1;
        if *left == 0 {
            queue.pop_front();
        }
        Some(now)
    }
}

/// Why a client stopped.
pub enum Gone {
    /// The connection is closed.
    Closed,
    /// A request failed: the disk may have to be opened again.
    Failed,
}

impl Gone {
    /// Notes at `disk` that it may have to be looked after.
    pub fn note(&self, disk: &Disk) {
        match self {
            // Nobody asked for that: the node refused the connection, or is dead.
            Gone::Closed if disk.wire.borrow().is_some() => disk.stopped.set(true),
            Gone::Closed => {}
            Gone::Failed => disk.stopped.set(true),
        }
    }
}

/// One client of a disk.
pub struct Client {
    /// The history that it belongs to.
    pub world: Rc<World>,
    /// Time.
    pub env: Env,
    /// The disk's place in the list.
    pub disk: usize,
    /// Which of how many clients it is.
    pub me: (usize, usize),
    /// Its end of the connection.
    pub wire: Wire,
    /// What to do.
    pub work: Rc<Work>,
}

impl Client {
    /// Works until the connection ends.
    pub async fn run(self) {
        loop {
            let Some(dice) = self.work.next() else {
                match select(pin!(self.work.more.notified()), pin!(self.wire.closed())).await {
                    Either::Left(_) => continue,
                    Either::Right(_) => return,
                }
            };
            self.work.busy.set(true);
            let done = self.operation(dice).await;
            self.work.busy.set(false);
            if let Err(gone) = done {
                return gone.note(&self.world.disk(self.disk));
            }
        }
    }

    async fn ask(&self, io: Io) -> Result<Result<Bytes, Errno>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.wire.send(Request(io, reply)).map_err(|_| Gone::Closed)?;
        answer.await.map_err(|_| Gone::Closed)
    }

    async fn operation(&self, mut dice: Dice) -> Result<(), Gone> {
        let disk = self.world.disk(self.disk);
        // The last one is for chains.
        let areas = disk.model.borrow().sectors() / AREA - 1;
        let (me, clients) = self.me;
        let area =
            (dice.below((areas / clients).max(1) as u64) as usize * clients + me).min(areas - 1) * AREA;
        let (from, count) = match dice.below(5) {
            // A whole area, any sectors, whole blocks.
            0 => (area, AREA),
            1 | 2 => {
                let at = dice.below(AREA as u64 - 3) as usize;
                (area + at, 1 + dice.below(3) as usize)
            }
            _ => (area + 8 * dice.below(7) as usize, 8),
        };
        match dice.below(12) {
            0 | 1 => self.flush().await?,
            2 | 3 => self.read(from, count).await?,
            4 | 5 => self.change(&mut dice, from, count, true).await?,
            6 => {
                // Two parts of one block at once: each is merged with what the other leaves.
                let first = from / BLOCK * BLOCK;
                let mut other = Dice::new(dice.below(u64::MAX), 2);
                let (a, b) = futures_util::future::join(
                    self.change(&mut dice, first, 3, false),
                    self.change(&mut other, first + 4, 3, false),
                )
                .await;
                a.and(b)?;
            }
            _ => self.change(&mut dice, from, count, false).await?,
        }
        let pause = if dice.one_in(8) {
            dice.below(20_000)
        } else {
            dice.below(300)
        };
        self.env
            .clock
            .sleep(std::time::Duration::from_micros(pause))
            .await;
        Ok(())
    }

    async fn flush(&self) -> Result<(), Gone> {
        let disk = self.world.disk(self.disk);
        let issued = self.world.tick();
        match self.ask(Io::Flush).await? {
            Ok(_) => disk.model.borrow_mut().flushed(issued),
            Err(_) => return Err(Gone::Failed),
        }
        self.world.tally.borrow_mut().flushes += 1;
        Ok(())
    }

    async fn read(&self, from: usize, count: usize) -> Result<(), Gone> {
        let disk = self.world.disk(self.disk);
        let begun = disk.model.borrow().read_begins(from, count);
        let io = Io::Read {
            offset: (from * SECTOR) as u64,
            len: (count * SECTOR) as u32,
        };
        let bytes = match self.ask(io).await? {
            Ok(bytes) => bytes,
            Err(_) => return Err(Gone::Failed),
        };
        self.world.tally.borrow_mut().reads += 1;
        if disk.tainted.borrow().is_empty() && self.world.reads_are_exact(&disk) {
            let checked =
                values_of(&bytes).and_then(|values| disk.model.borrow().check_read(from, &values, &begun));
            if let Err(why) = checked {
                self.world.fail(format!("{}: a read: {why}", disk.id));
            }
        }
        Ok(())
    }

    async fn change(&self, dice: &mut Dice, from: usize, count: usize, zero: bool) -> Result<(), Gone> {
        let fua = dice.one_in(8);
        let offset = (from * SECTOR) as u64;
        let how = [Zeroing::Trim, Zeroing::Punch, Zeroing::Keep][dice.below(3) as usize];
        // A discard is a hint, and may leave the parts of blocks at its ends as they are.
        let (first, end) = match (zero, how) {
            (true, Zeroing::Trim) => {
                let first = from.next_multiple_of(BLOCK);
                (first, ((from + count) / BLOCK * BLOCK).max(first))
            }
            _ => (from, from + count),
        };
        let value = || if zero { 0 } else { self.world.value() };
        let values: Vec<u64> = (first..end).map(|_| value()).collect();
        if !zero {
            return self.write(from, values, fua).await;
        }
        let io = Io::Zero {
            offset,
            len: (count * SECTOR) as u64,
            how,
            fua,
        };
        self.store(first, values, fua, io).await
    }

    /// Writes `values` from sector `from` on.
    pub async fn write(&self, from: usize, values: Vec<u64>, fua: bool) -> Result<(), Gone> {
        let io = Io::Write {
            offset: (from * SECTOR) as u64,
            data: bytes_of(&values),
            fua,
        };
        self.store(from, values, fua, io).await
    }

    /// Asks for `io`, which stores `values` from sector `first` on.
    async fn store(&self, first: usize, values: Vec<u64>, fua: bool, io: Io) -> Result<(), Gone> {
        let disk = self.world.disk(self.disk);
        let end = first + values.len();
        let issued = disk.model.borrow_mut().issue(first, values, self.world.tick());
        let value = issued.values.first().copied();
        let what = || {
            format!(
                "{} client {me}: {value:x?} at {first}..{end}",
                disk.id,
                me = self.me.0
            )
        };
        self.world.say(|| format!("{} issued", what()));
        let answer = self.ask(io).await?;
        let now = self.world.tick();
        self.world
            .say(|| format!("{} answered {:?}", what(), answer.as_ref().err()));
        let mut model = disk.model.borrow_mut();
        match answer {
            Ok(_) => {
                model.acked(&issued, now, fua);
                self.world.tally.borrow_mut().writes += 1;
            }
            Err(Errno::NoSpc) => {
                model.refused(&issued);
                self.world.tally.borrow_mut().refused += 1;
            }
            Err(_) => return Err(Gone::Failed),
        }
        Ok(())
    }
}
