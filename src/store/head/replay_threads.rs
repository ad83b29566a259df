//! The log read back into the head at open, by as many threads as there are cores.
//!
//! The log gives its records in order; each goes to the thread of its shard, so that a series'
//! records stay in order, and different shards' do not wait for each other. What a record is
//! about, and what is wrong with it, is known when the threads are done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::core::Core;
use super::replay::Replay;
use super::replay_queue::{Job, Queue, Taker};
use crate::model::TimestampMs;
use crate::runtime::{NamedThread, cores};
use crate::store::error::Error;
use crate::store::log::{Covered, Misread, Pin, RecordHeader, Replayed};

/// What a thread has found out.
type Outcome = Result<Vec<Pin>, Misread>;

/// Puts the log's records into a core that nobody reads yet.
pub(super) struct ReplayThreads {
    /// One for each thread.
    queues: Vec<Arc<Queue>>,
    threads: Vec<NamedThread>,
    outcomes: Receiver<Outcome>,
}

impl ReplayThreads {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has no more threads to give.
    pub(super) fn start(
        core: &Arc<Core>,
        covered: &Covered,
        now: TimestampMs,
    ) -> Result<Self, Error> {
        let count = cores().clamp(1, core.shards.len().max(1));
        let (tell, outcomes) = sync_channel(count);
        // As a whole from the beginning: where the second thread cannot be started, the first one is told to end.
        let mut started = Self {
            queues: Vec::new(),
            threads: Vec::new(),
            outcomes,
        };
        for _ in 0..count {
            let queue = Arc::new(Queue::default());
            let jobs = Taker(Arc::clone(&queue));
            let (core, covered, tell) = (Arc::clone(core), covered.clone(), tell.clone());
            let thread = NamedThread::spawn("replay", move || {
                // Nobody listens when opening was given up for another reason.
                let _ = tell.send(work(core, &covered, now, jobs));
            })
            .map_err(Error::io("start a thread for", Path::new("the replay")))?;
            started.queues.push(queue);
            started.threads.push(thread);
        }
        Ok(started)
    }
}

/// Takes jobs until there are no more, or one cannot be done.
fn work(core: Arc<Core>, covered: &Covered, now: TimestampMs, jobs: Taker) -> Outcome {
    let mut replay = Replay::new(core, now);
    // The last record of each segment that is about an arc keeps what the ones before it would.
    let (mut last, mut definitions) = (BTreeMap::new(), BTreeSet::new());
    let mut pins = Vec::new();
    for job in jobs {
        let header = &job.header;
        pins.clear();
        replay
            .record(header, &job.payload, covered, &mut pins)
            .map_err(|error| Misread {
                generation: header.generation,
                offset: job.offset,
                error,
            })?;
        for (arc, position) in &pins {
            if *position == header.position {
                last.insert((header.generation, header.window, *arc), *position);
            } else {
                definitions.insert((header.window, *arc, *position));
            }
        }
    }
    replay.finish().map_err(nowhere)?;
    let last = last.into_iter();
    let last = last.map(|((_, window, arc), position)| (window, arc, position));
    Ok(last.chain(definitions).map(Pin::from).collect())
}

impl ReplayThreads {
    fn end(&self) {
        self.queues.iter().for_each(|queue| queue.end());
    }
}

/// The threads end before they are waited for.
impl Drop for ReplayThreads {
    fn drop(&mut self) {
        self.end();
    }
}

/// An error that no record of the log is to blame for.
const fn nowhere(error: Error) -> Misread {
    Misread {
        generation: 0,
        offset: 0,
        error,
    }
}

impl Replayed for ReplayThreads {
    fn record(&mut self, header: &RecordHeader, offset: u64, payload: &[u8]) -> bool {
        let Some(at) = usize::from(header.shard).checked_rem(self.queues.len()) else {
            return false;
        };
        let job = Job {
            header: *header,
            offset,
            payload: payload.to_vec(),
        };
        self.queues.get(at).is_some_and(|queue| queue.push(job))
    }

    fn finish(&mut self) -> Result<Vec<Pin>, Misread> {
        self.end();
        let mut all = Vec::new();
        let mut misread: Option<Misread> = None;
        for thread in &mut self.threads {
            thread.join();
            match self.outcomes.try_recv() {
                Ok(Ok(pins)) => all.extend(pins),
                Ok(Err(error)) => {
                    let place = |one: &Misread| (one.generation, one.offset);
                    if misread
                        .as_ref()
                        .is_none_or(|known| place(&error) < place(known))
                    {
                        misread = Some(error);
                    }
                }
                Err(_) => {
                    let what = "a thread of the replay ended early";
                    return Err(nowhere(Error::Bug(what.to_owned())));
                }
            }
        }
        misread.map_or(Ok(all), Err)
    }
}
