//! Records on their way from the reader of the log to the thread of their shard.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::store::log::RecordHeader;

/// Bytes of payloads that wait for a thread: enough that none runs dry while another one puts back what it has
/// collected. One record may be larger, and then waits alone.
const WAITING_BYTES: usize = 1 << 20;

/// A record on its way to a thread.
#[derive(Debug)]
pub(super) struct Job {
    pub header: RecordHeader,
    /// Where it stands in its segment.
    pub offset: u64,
    pub payload: Vec<u8>,
}

/// What waits for one thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Nothing more comes.
    is_over: bool,
    /// Nobody takes any more.
    is_left: bool,
}

impl Queue {
    /// Adds a record, and waits for room before; `false`: nobody takes any more.
    pub(super) fn push(&self, job: Job) -> bool {
        let mut waiting = self.waiting.lock();
        self.changed.wait_while(&mut waiting, |waiting| {
            let fits = waiting.bytes + job.payload.len() <= WAITING_BYTES;
            !waiting.is_left && !waiting.jobs.is_empty() && !fits
        });
        if waiting.is_left {
            return false;
        }
        waiting.bytes += job.payload.len();
        waiting.jobs.push_back(job);
        self.changed.notify_one();
        true
    }

    /// The next record, waited for; `None`: there are no more.
    fn take(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        self.changed.wait_while(&mut waiting, |waiting| {
            waiting.jobs.is_empty() && !waiting.is_over
        });
        let job = waiting.jobs.pop_front()?;
        waiting.bytes -= job.payload.len();
        self.changed.notify_one();
        Some(job)
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.waiting.lock().is_over = true;
        self.changed.notify_all();
    }

    /// Nobody takes any more; what waits is dropped.
    fn leave(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_left = true;
        waiting.jobs.clear();
        self.changed.notify_all();
    }
}

/// The thread that takes, until it is done or has failed in any way: then nobody waits for it.
#[derive(Debug)]
pub(super) struct Taker(pub Arc<Queue>);

impl Iterator for Taker {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        self.0.take()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::model::Window;
    use crate::store::log::RecordKind;

    fn job(number: u64, len: usize) -> Job {
        let header = RecordHeader {
            generation: 1,
            position: number,
            window: Window(0),
            shard: 0,
            kind: RecordKind::Floats,
        };
        Job {
            header,
            offset: 0,
            payload: vec![0; len],
        }
    }

    /// Would catch records that are lost, change places or pile up: more than the bound, but for one that is larger.
    #[test]
    fn records_come_in_order_and_wait_for_room() {
        let queue = Queue::default();
        let sizes = [
            10,
            WAITING_BYTES / 2,
            WAITING_BYTES / 2,
            3 * WAITING_BYTES,
            0,
            7,
        ];
        let (mut taken, mut ahead) = (Vec::new(), Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                for (number, len) in (0u64..).zip(sizes) {
                    assert!(queue.push(job(number, len)));
                }
                queue.end();
            });
            // Long enough for a third that does not wait for room.
            let has_two = || queue.waiting.lock().jobs.len() >= 2;
            while !has_two() {
                thread::yield_now();
            }
            (0..10_000).for_each(|_| thread::yield_now());
            while let Some(job) = queue.take() {
                taken.push((job.header.position, job.payload.len()));
                let waiting = queue.waiting.lock();
                ahead.push((waiting.jobs.len(), waiting.bytes));
            }
        });
        let want: Vec<(u64, usize)> = (0..).zip(sizes).collect();
        assert_eq!(taken, want);
        let bounded = |(jobs, bytes): &(usize, usize)| *bytes <= WAITING_BYTES || *jobs == 1;
        assert!(ahead.iter().all(bounded), "{ahead:?}");
        assert!(queue.take().is_none());
    }

    /// Would catch a reader that waits for ever for a thread that has given up.
    #[test]
    fn who_waits_for_room_is_told_that_nobody_takes() {
        let queue = Arc::new(Queue::default());
        let taker = Taker(Arc::clone(&queue));
        assert!(queue.push(job(0, WAITING_BYTES)));
        thread::scope(|scope| {
            let waits = scope.spawn(|| queue.push(job(1, 1)));
            drop(taker);
            assert!(!waits.join().unwrap());
        });
        assert!(!queue.push(job(2, 1)));
    }
}
