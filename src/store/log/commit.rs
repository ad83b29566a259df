//! Group commit: appends put records into a buffer, one thread writes and syncs whatever is in
//! it, and all who waited for those records go on together.
//!
//! A failed write or sync is final: the thread ends, and everything after it answers an error
//! until the process has started again and replayed. What is in memory may be ahead of the disk,
//! so nothing may be acknowledged any more.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::disk::{LogDisk, LogFile};
use super::record::{self, RECORD_HEADER_LEN, RECORDS_AT, RecordHeader, RecordKind, SegmentHeader};
use super::segment::{Segment, Segments};
use super::settings::SyncMode;
use crate::model::{RingArc, Window};
use crate::runtime::Clock;
use crate::store::error::Error;

/// Records that may wait for the log thread; beyond it appends wait.
const BUFFER_MAX: usize = 8 << 20;
/// The longest that the thread waits for more writers before it writes.
const LINGER_MAX: Duration = Duration::from_millis(2);

/// How far the log has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Everything up to here may be acknowledged.
    pub acknowledged: u64,
    /// Why it ended for good.
    pub failed: Option<Arc<str>>,
}

/// What the appends and the thread share.
pub(super) struct Shared {
    pub pending: Mutex<Pending>,
    /// Something is in `pending`, or the log closes.
    pub work: Condvar,
    /// `pending` was taken.
    pub room: Condvar,
    pub progress: watch::Sender<Progress>,
    /// For those who wait for progress and may block.
    pub done: Condvar,
    pub done_lock: Mutex<()>,
    pub segments: Mutex<Segments>,
    pub counters: Counters,
}

/// What the log has done since it was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub written_bytes: std::sync::atomic::AtomicU64,
    pub writes: std::sync::atomic::AtomicU64,
    pub syncs: std::sync::atomic::AtomicU64,
}

/// Records that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub bytes: Vec<u8>,
    pub next_position: u64,
    /// What the records are about: for the segment's contents.
    pub touched: Vec<(Window, RingArc, u64)>,
    /// Appends in the buffer: how many writers wait for this commit.
    pub appends: u32,
    pub closing: bool,
}

/// The thread's own state: the segment being written.
pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub disk: Arc<dyn LogDisk>,
    pub clock: Arc<dyn Clock>,
    pub file: Box<dyn LogFile>,
    pub generation: u32,
    pub offset: u64,
    /// The size of the file being written.
    pub file_size: u64,
    /// The size of files made from now on.
    pub segment_size: u64,
    pub mode: SyncMode,
    pub sync_interval: Duration,
    /// When the last sync was, on the clock that never goes back.
    pub synced_at: Duration,
    /// Everything up to here is known to be on the disk.
    pub durable: u64,
    /// Everything up to here was written.
    pub written: u64,
    pub unsynced: bool,
    pub file_number: u64,
    /// Generation and first position of the oldest segment that the header of the segment being
    /// written names.
    pub oldest_named: (u32, u64),
    /// The same, once that header was synced.
    pub oldest_durable: (u32, u64),
}

impl Writer {
    /// Commits until the log closes or fails.
    pub(super) fn run(mut self) {
        let mut before = Pending::default();
        loop {
            self.wait(before.appends);
            if !self.once(&mut before) {
                return;
            }
        }
    }

    /// One commit of whatever is there; `false`: it was the last one.
    pub(super) fn once(&mut self, before: &mut Pending) -> bool {
        before.bytes.clear();
        before.touched.clear();
        let closing = self.take(before);
        let mut result = self.commit(before);
        let renamed = result.is_ok() && self.names_too_old();
        if renamed {
            result = self.name_oldest();
        }
        let due = match self.mode {
            _ if renamed => true,
            SyncMode::Fsync => true,
            SyncMode::Os => false,
            SyncMode::Interval => self.clock.elapsed() - self.synced_at >= self.sync_interval,
        };
        if result.is_ok() && (due || closing) {
            result = self.sync();
            self.synced_at = self.clock.elapsed();
        }
        if let Err(error) = result {
            self.fail(&error);
            return false;
        }
        let acknowledged = match self.mode {
            SyncMode::Fsync => self.durable,
            SyncMode::Interval | SyncMode::Os => self.written,
        };
        self.shared.progress.send_if_modified(|progress| {
            let moved = progress.acknowledged != acknowledged;
            progress.acknowledged = acknowledged;
            moved
        });
        drop(self.shared.done_lock.lock());
        self.shared.done.notify_all();
        !closing
    }

    /// Waits for records. Lingers a moment only when the commit before had several writers and not
    /// as many are here yet.
    fn wait(&self, writers: u32) {
        let shared = &self.shared;
        let mut pending = shared.pending.lock();
        let idle = |pending: &mut Pending| pending.appends == 0 && !pending.closing;
        if self.mode == SyncMode::Interval && self.unsynced {
            shared
                .work
                .wait_while_for(&mut pending, idle, self.sync_interval);
        } else {
            shared.work.wait_while(&mut pending, idle);
        }
        if writers > 1 && pending.appends < writers {
            let few = |pending: &mut Pending| pending.appends < writers && !pending.closing;
            shared.work.wait_while_for(&mut pending, few, LINGER_MAX);
        }
    }

    /// Takes all records that are there.
    fn take(&self, into: &mut Pending) -> bool {
        let shared = &self.shared;
        let mut pending = shared.pending.lock();
        std::mem::swap(&mut pending.bytes, &mut into.bytes);
        std::mem::swap(&mut pending.touched, &mut into.touched);
        into.appends = std::mem::take(&mut pending.appends);
        into.next_position = pending.next_position;
        let closing = pending.closing;
        drop(pending);
        shared.room.notify_all();
        closing
    }

    /// Writes all records, to more than one segment where they do not fit into this one.
    fn commit(&mut self, taken: &mut Pending) -> Result<(), Error> {
        let mut rest = taken.bytes.as_mut_slice();
        let mut touched = taken.touched.as_slice();
        while !rest.is_empty() {
            let room = self
                .file_size
                .saturating_sub(self.offset + WRITE_LEN as u64);
            let (fit, next) = fitting(rest, room);
            if fit == 0 {
                self.next_segment()?;
                continue;
            }
            let (now, later) = rest.split_at_mut(fit);
            let last = next.saturating_sub(1);
            self.write(now, last)?;
            let split = touched.partition_point(|(_, _, position)| *position <= last);
            let (here, after) = touched.split_at(split);
            let mut segments = self.shared.segments.lock();
            for (window, arc, position) in here {
                segments.note(*window, *arc, *position);
            }
            (rest, touched) = (later, after);
        }
        Ok(())
    }

    /// One write: a record that says what is durable, and as many records as fit.
    fn write(&mut self, records: &mut [u8], last: u64) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(WRITE_LEN + records.len());
        RecordHeader {
            generation: self.generation,
            position: self.written + 1,
            window: Window(0),
            shard: 0,
            kind: RecordKind::Write,
        }
        .put(&mut bytes);
        bytes.extend_from_slice(&self.durable.to_le_bytes());
        record::set_length(&mut bytes);
        record::seal(&mut bytes, self.generation);
        let mut rest = records;
        while !rest.is_empty() {
            let (one, others) = rest.split_at_mut(record::whole_length(rest).min(rest.len()));
            record::seal(one, self.generation);
            bytes.extend_from_slice(one);
            rest = others;
        }
        self.file
            .write_at(self.offset, &bytes)
            .map_err(self.failed_to("write"))?;
        self.offset += bytes.len() as u64;
        self.written = last;
        self.unsynced = true;
        let counters = &self.shared.counters;
        add(&counters.written_bytes, bytes.len() as u64);
        add(&counters.writes, 1);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        if !self.unsynced {
            return Ok(());
        }
        self.file.sync().map_err(self.failed_to("sync"))?;
        add(&self.shared.counters.syncs, 1);
        self.durable = self.written;
        self.unsynced = false;
        if self.oldest_named != self.oldest_durable {
            self.oldest_durable = self.oldest_named;
            let too_many = self.shared.segments.lock().durable(self.oldest_durable);
            for name in too_many {
                if let Err(error) = self.disk.remove(&name) {
                    tracing::warn!(file = name, %error, "a log file that is not needed stays");
                }
            }
        }
        Ok(())
    }

    /// Whether files wait for a header on the disk that says that they are not needed.
    fn names_too_old(&self) -> bool {
        let segments = self.shared.segments.lock();
        !segments.freed.is_empty()
            && segments
                .oldest()
                .is_some_and(|oldest| oldest != self.oldest_named)
    }

    /// Says in the header of the segment being written which one is the oldest now. That is one
    /// sector, which reaches the disk as a whole or not at all.
    fn name_oldest(&mut self) -> Result<(), Error> {
        let (oldest, first_position) = {
            let segments = self.shared.segments.lock();
            let active = segments.live.back().map(|active| active.first_position);
            match segments.oldest().zip(active) {
                Some(both) => both,
                None => return Ok(()),
            }
        };
        self.oldest_named = oldest;
        let header = SegmentHeader {
            generation: self.generation,
            oldest: oldest.0,
            first_position,
        };
        self.file
            .write_at(0, &header.bytes())
            .map_err(self.failed_to("write"))?;
        self.unsynced = true;
        Ok(())
    }

    /// Goes over to a free file, or a new one. What the segment holds is durable before the next
    /// one begins, so that damage in it can be told from a torn write.
    fn next_segment(&mut self) -> Result<(), Error> {
        self.sync()?;
        let reused = self.shared.segments.lock().free.pop();
        let name = reused.clone().unwrap_or_else(|| {
            self.file_number += 1;
            file_name(self.file_number)
        });
        let file = match reused {
            Some(name) => self.disk.open(&name),
            None => self.disk.create(&name, self.segment_size),
        };
        self.file = file.map_err(self.failed_to("create the next segment of"))?;
        self.file_size = self.segment_size;
        self.generation += 1;
        self.begin_segment(name)
    }

    pub(super) fn begin_segment(&mut self, name: String) -> Result<(), Error> {
        let first_position = self.written + 1;
        self.oldest_named = self
            .shared
            .segments
            .lock()
            .oldest()
            .unwrap_or((self.generation, first_position));
        let header = SegmentHeader {
            generation: self.generation,
            oldest: self.oldest_named.0,
            first_position,
        };
        self.file
            .write_at(0, &header.bytes())
            .map_err(self.failed_to("write"))?;
        self.offset = RECORDS_AT;
        self.unsynced = true;
        let mut segments = self.shared.segments.lock();
        segments.live.push_back(Segment {
            name,
            generation: self.generation,
            first_position: header.first_position,
            contents: std::collections::BTreeMap::new(),
        });
        Ok(())
    }

    fn failed_to(&self, doing: &'static str) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let segments = self.shared.segments.lock();
        let name = segments.live.back().map(|segment| segment.name.clone());
        let path = std::path::PathBuf::from(name.unwrap_or_default());
        move |source| Error::Io {
            doing,
            path,
            source,
        }
    }

    fn fail(&self, error: &Error) {
        tracing::error!(error = %error, "the log failed: nothing is acknowledged until a restart");
        let text: Arc<str> = Arc::from(error.to_string());
        self.shared
            .progress
            .send_modify(|progress| progress.failed = Some(text));
        self.shared.room.notify_all();
        drop(self.shared.done_lock.lock());
        self.shared.done.notify_all();
    }
}

/// Bytes of the record that begins every write.
const WRITE_LEN: usize = RECORD_HEADER_LEN + 8;

/// How many bytes from the front of `records` are whole records within `room`, and the position of
/// the record after them.
fn fitting(records: &[u8], room: u64) -> (usize, u64) {
    let (mut fit, mut next, mut rest) = (0, 0, records);
    while !rest.is_empty() {
        let length = record::whole_length(rest);
        if (fit + length) as u64 > room {
            break;
        }
        fit += length;
        next = record::position_after(rest);
        rest = rest.get(length..).unwrap_or_default();
    }
    (fit, next)
}

fn add(counter: &std::sync::atomic::AtomicU64, amount: u64) {
    counter.fetch_add(amount, std::sync::atomic::Ordering::Relaxed);
}

/// The name of a segment file; its number only keeps names apart.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:010}.log")
}

impl Shared {
    /// The error of a log that failed, if it has.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &self.progress.borrow().failed {
            None => Ok(()),
            Some(reason) => Err(Error::Unavailable(format!(
                "the log failed ({reason}): nothing can be acknowledged until cairn is restarted"
            ))),
        }
    }

    /// Whether half of the buffer waits to be written: who may not block leaves it to others then.
    pub(super) fn is_pressed(&self) -> bool {
        self.pending.lock().bytes.len() >= BUFFER_MAX / 2
    }

    /// Waits while the buffer is full.
    pub(super) fn wait_for_room(&self) -> Result<(), Error> {
        let mut pending = self.pending.lock();
        while pending.bytes.len() >= BUFFER_MAX {
            self.check()?;
            pending.appends += 1;
            self.work.notify_one();
            self.room.wait_for(&mut pending, Duration::from_millis(100));
        }
        drop(pending);
        self.check()
    }
}
