//! The log as its users have it: opened with a replay, pushed to, waited for, marked, closed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::commit::{Counters, Pending, Progress, Shared, Writer};
use super::disk::LogDisk;
use super::mark::{Mark, Marks};
use super::open::{Replayed, first_file, open};
use super::record::{self, PAYLOAD_MAX, RECORDS_AT, RecordHeader, RecordKind, SegmentHeader};
use super::segment::Segment;
use super::settings::WriteLogSettings;
use crate::model::{RingArc, Window};
use crate::runtime::{Clock, NamedThread};
use crate::store::error::Error;

/// A record to be pushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// Its window.
    pub window: Window,
    /// Its shard.
    pub shard: u8,
    /// What it holds.
    pub kind: RecordKind,
    /// Its body, at most [`PAYLOAD_MAX`] bytes.
    pub payload: &'a [u8],
    /// The arcs that it is about.
    pub arcs: &'a [RingArc],
}

/// What the log has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes written since it was opened.
    pub written_bytes: u64,
    /// Writes since it was opened.
    pub writes: u64,
    /// Syncs since it was opened.
    pub syncs: u64,
    /// Segments that hold something still needed, the one being written included.
    pub segments: u64,
    /// Records that were cut off at open, because their write had never finished.
    pub torn_records: u64,
    /// Records replayed at open.
    pub replayed_records: u64,
}

/// The log. Closed when dropped: what was pushed is written and synced first.
pub(crate) struct Log {
    shared: Arc<Shared>,
    committing: Committing,
    torn_records: u64,
    replayed_records: u64,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("stats", &self.stats()).finish()
    }
}

/// Who writes what was pushed.
enum Committing {
    /// A thread of its own.
    Thread(Mutex<NamedThread>),
    /// Whoever comes next, a while later: on threads that take turns.
    #[cfg(test)]
    ByTurns(Arc<Mutex<Option<Writer>>>),
}

impl Committing {
    fn start(writer: Writer) -> Result<Self, Error> {
        #[cfg(test)]
        if crate::runtime::is_simulated() {
            return Ok(Self::ByTurns(Arc::new(Mutex::new(Some(writer)))));
        }
        let thread = NamedThread::spawn("log", move || writer.run())
            .map_err(Error::io("start the thread of", Path::new("the log")))?;
        Ok(Self::Thread(Mutex::new(thread)))
    }

    /// Where nothing happens by itself, it happens now.
    fn now_if_by_turns(&self) {
        #[cfg(test)]
        if let Self::ByTurns(writer) = self {
            commit_once(writer);
        }
    }

    /// The same within a moment, as a disk would take.
    fn soon_if_by_turns(&self) {
        #[cfg(test)]
        if let Self::ByTurns(writer) = self {
            let writer = Arc::clone(writer);
            crate::runtime::soon(SYNC_MS_MAX, move || commit_once(&writer));
        }
    }

    /// Waits until the last commit is done; the log is closing.
    fn end(&self) {
        match self {
            Self::Thread(thread) => thread.lock().join(),
            #[cfg(test)]
            Self::ByTurns(writer) => commit_once(writer),
        }
    }
}

/// How long a simulated disk takes at most to make something durable.
#[cfg(test)]
const SYNC_MS_MAX: u64 = 20;

#[cfg(test)]
fn commit_once(writer: &Mutex<Option<Writer>>) {
    let mut writer = writer.lock();
    let goes_on = writer
        .as_mut()
        .is_some_and(|writer| writer.once(&mut Pending::default()));
    if !goes_on {
        *writer = None;
    }
}

impl Log {
    /// Opens the log in `disk`, gives everything in it to `replayed`, oldest first, and starts
    /// the thread that writes.
    ///
    /// # Errors
    /// When the disk fails, when records that were acknowledged are damaged (the error names file
    /// and offset), when the log was written by a later version.
    pub(crate) fn open(
        settings: &WriteLogSettings,
        disk: Arc<dyn LogDisk>,
        marks: &[Mark],
        clock: Arc<dyn Clock>,
        replayed: &mut dyn Replayed,
    ) -> Result<Self, Error> {
        let smallest = RECORDS_AT + 2 * PAYLOAD_MAX as u64;
        let segment_size = settings.segment_size.0.clamp(smallest, 1 << 30);
        let mut opened = open(&*disk, Marks::new(marks), segment_size, replayed)?;
        let covered = opened.segments.marks.highest_of_all();
        let fresh = match opened.last.take() {
            Some((file, generation, offset)) => (file, None, generation, offset),
            None => {
                let (file, name) = first_file(&disk, &mut opened, segment_size)?;
                (file, Some(name), 1, RECORDS_AT)
            }
        };
        let (file, new_name, generation, offset) = fresh;
        let acknowledged = opened.next_position - 1;
        let progress = Progress {
            acknowledged,
            failed: None,
        };
        let shared = Arc::new(Shared {
            pending: Mutex::new(Pending {
                next_position: opened.next_position,
                ..Pending::default()
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            progress: watch::Sender::new(progress),
            done: Condvar::new(),
            done_lock: Mutex::new(()),
            segments: Mutex::new(opened.segments),
            counters: Counters::default(),
        });
        let file_size = file
            .size()
            .map_err(Error::io("open", Path::new("a log file")))?;
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            synced_at: clock.elapsed(),
            disk,
            clock,
            file,
            generation,
            offset,
            file_size,
            segment_size,
            mode: settings.sync,
            sync_interval: settings.sync_interval,
            durable: acknowledged,
            written: acknowledged,
            unsynced: false,
            file_number: opened.file_number,
            oldest_named: (0, 0),
            oldest_durable: (0, 0),
        };
        if let Some(name) = new_name {
            writer.begin_segment(name)?;
        }
        let log = Self {
            shared,
            committing: Committing::start(writer)?,
            torn_records: opened.torn_records,
            replayed_records: opened.replayed_records,
        };
        // In the weaker modes a power cut may leave marks of what the log has lost.
        log.jump(covered)?;
        Ok(log)
    }

    /// Whether so much is waiting to be written that [`Log::wait_for_room`] might wait soon.
    pub(crate) fn is_pressed(&self) -> bool {
        self.shared.is_pressed()
    }

    /// Waits while too much is waiting to be written. To be called before locks are taken.
    ///
    /// # Errors
    /// When the log has failed.
    pub(crate) fn wait_for_room(&self) -> Result<(), Error> {
        self.shared.wait_for_room()
    }

    /// Puts records into the buffer, in this order, and returns the position of the last one.
    /// They are written with the next [`Log::kick`] at the latest.
    ///
    /// # Errors
    /// When the log has failed or is closing, or a record is too large; nothing is taken then.
    pub(crate) fn push(&self, records: &[Record<'_>]) -> Result<u64, Error> {
        if let Some(large) = records.iter().find(|r| r.payload.len() > PAYLOAD_MAX) {
            return Err(Error::Limit {
                what: "a log record",
                value: large.payload.len() as u64,
                limit: PAYLOAD_MAX as u64,
                remedy: "send shorter labels, smaller histograms or fewer of them at once",
            });
        }
        self.shared.check()?;
        let mut pending = self.shared.pending.lock();
        if pending.closing {
            return Err(Error::Unavailable("the log is closing".to_owned()));
        }
        let mut next = pending.next_position;
        for record in records {
            let position = next;
            let begin = pending.bytes.len();
            RecordHeader {
                generation: 0,
                position,
                window: record.window,
                shard: record.shard,
                kind: record.kind,
            }
            .put(&mut pending.bytes);
            pending.bytes.extend_from_slice(record.payload);
            let put = pending.bytes.get_mut(begin..).unwrap_or_default();
            record::set_length(put);
            next = record::position_after(put);
            for arc in record.arcs {
                pending.touched.push((record.window, *arc, position));
            }
        }
        pending.next_position = next;
        Ok(next - 1)
    }

    /// Goes on at a position behind `beyond`. A log may be shorter than it was: in the weaker modes
    /// after a power cut, in any when an old copy of it was put in its place. Positions that were
    /// given before and are given again would be taken for what marks cover, and for what peers
    /// remember.
    ///
    /// # Errors
    /// When the log has failed or is closing.
    pub(crate) fn jump(&self, beyond: u64) -> Result<(), Error> {
        if self.position() >= beyond {
            return Ok(());
        }
        let to = beyond + 1;
        self.push(&[Record {
            window: Window(0),
            shard: 0,
            kind: RecordKind::Jump,
            payload: &to.to_le_bytes(),
            arcs: &[],
        }])?;
        self.kick();
        Ok(())
    }

    /// Says that one writer has pushed all it has: the thread writes now.
    pub(crate) fn kick(&self) {
        self.shared.pending.lock().appends += 1;
        self.shared.work.notify_one();
        self.committing.soon_if_by_turns();
    }

    /// The position of the last record pushed.
    #[must_use]
    pub(crate) fn position(&self) -> u64 {
        self.shared.pending.lock().next_position - 1
    }

    /// Up to where everything may be acknowledged.
    #[must_use]
    pub(crate) fn durable_position(&self) -> u64 {
        self.shared.progress.borrow().acknowledged
    }

    /// Why nothing will be acknowledged any more, if it has failed.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.check().err().map(|error| error.to_string())
    }

    /// Waits until everything up to `position` may be acknowledged.
    ///
    /// # Errors
    /// When the log has failed: nothing will be acknowledged any more.
    pub(crate) async fn durable(&self, position: u64) -> Result<(), Error> {
        let mut progress = self.shared.progress.subscribe();
        let done =
            |progress: &Progress| progress.acknowledged >= position || progress.failed.is_some();
        let reached = progress
            .wait_for(done)
            .await
            .is_ok_and(|progress| progress.acknowledged >= position);
        if reached { Ok(()) } else { self.shared.check() }
    }

    /// As [`Log::durable`], for a thread that may block.
    ///
    /// # Errors
    /// When the log has failed.
    pub(crate) fn wait_durable(&self, position: u64) -> Result<(), Error> {
        self.committing.now_if_by_turns();
        let mut guard = self.shared.done_lock.lock();
        loop {
            if self.shared.progress.borrow().acknowledged >= position {
                return Ok(());
            }
            self.shared.check()?;
            self.shared
                .done
                .wait_for(&mut guard, Duration::from_millis(100));
        }
    }

    /// Takes a mark: what it covers is not needed any more, and segments that hold nothing else
    /// are used again, once the log's thread has noted that on the disk.
    pub(crate) fn mark(&self, mark: Mark) {
        if self.shared.segments.lock().mark(mark) {
            self.kick();
        }
    }

    /// The first position that a replay may still meet: marks that end before it can be
    /// forgotten.
    #[must_use]
    pub(crate) fn first_position(&self) -> u64 {
        self.shared.segments.lock().durable_first
    }

    /// The segments that hold something still needed, and the headers that they began with but for
    /// the oldest generation; the one being written last.
    pub(super) fn live(&self) -> Vec<(String, SegmentHeader)> {
        let segments = self.shared.segments.lock();
        let of = |segment: &Segment| {
            let header = SegmentHeader {
                generation: segment.generation,
                oldest: segment.generation,
                first_position: segment.first_position,
            };
            (segment.name.clone(), header)
        };
        segments.live.iter().map(of).collect()
    }

    /// What it has done and holds.
    #[must_use]
    pub(crate) fn stats(&self) -> LogStats {
        let counters = &self.shared.counters;
        LogStats {
            written_bytes: counters.written_bytes.load(Ordering::Relaxed),
            writes: counters.writes.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            segments: self.shared.segments.lock().live.len() as u64,
            torn_records: self.torn_records,
            replayed_records: self.replayed_records,
        }
    }

    /// Writes and syncs what was pushed and ends the thread; what is pushed afterwards is refused.
    ///
    /// # Errors
    /// When the log has failed.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.shared.pending.lock().closing = true;
        self.shared.work.notify_all();
        self.committing.end();
        self.shared.check()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(error = %error, "the log could not be closed");
        }
    }
}
