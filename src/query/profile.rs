//! What each operator of a query did: series, samples, bytes and time, in a tree. Kept only for
//! whoever asks for it.
//!
//! The tree is that of the calls: what an operator asks while it works hangs below it. Times are
//! whole: what lies below is in them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::{LabelSet, Samples};
use crate::runtime::Clock;
use crate::source::{SeriesStream, SourceError};

/// Operators that are told of; a plan has as many only if somebody wrote it to have them.
const SLOTS_MAX: usize = 1000;

/// One operator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OperatorStats {
    /// How many operators are above it.
    pub depth: usize,
    /// What it is.
    pub what: String,
    /// Series that came out of it.
    pub series: u64,
    /// Values in them.
    pub samples: u64,
    /// Their bytes in memory, labels included.
    pub bytes: u64,
    /// How long it took, with all that is below it.
    pub time: Duration,
    /// How long it took by itself.
    pub own_time: Duration,
}

/// What is kept while a query runs.
pub(super) struct Profile {
    clock: Arc<dyn Clock>,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    current: Option<usize>,
}

struct Slot {
    parent: Option<usize>,
    stats: OperatorStats,
}

/// An operator at work.
pub(super) struct Working {
    slot: Option<usize>,
    above: Option<usize>,
    since: Duration,
}

impl Profile {
    /// Nothing yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            slots: Mutex::default(),
        }
    }

    /// An operator's place, found when it is first asked for something. With `shared`, others that
    /// are called the same below the same one have the same place.
    pub(super) fn place(&self, what: &str, shared: bool) -> Option<usize> {
        let mut slots = self.slots.lock();
        let parent = slots.current;
        let same = |slot: &Slot| slot.parent == parent && slot.stats.what == what;
        let found = slots.all.iter().position(|slot| shared && same(slot));
        if found.is_some() || slots.all.len() >= SLOTS_MAX {
            return found;
        }
        let above = parent.and_then(|at| slots.all.get(at));
        let stats = OperatorStats {
            depth: above.map_or(0, |slot| slot.stats.depth + 1),
            what: what.to_owned(),
            ..OperatorStats::default()
        };
        slots.all.push(Slot { parent, stats });
        Some(slots.all.len() - 1)
    }

    /// An operator begins to work.
    pub(super) fn begin(&self, slot: Option<usize>) -> Working {
        let mut slots = self.slots.lock();
        let above = slots.current;
        if slot.is_some() {
            slots.current = slot;
        }
        Working {
            slot,
            above,
            since: self.clock.elapsed(),
        }
    }

    /// It has done so; what came of it in series, samples and bytes.
    pub(super) fn end(&self, working: &Working, came: Option<(usize, usize)>) {
        let took = self.clock.elapsed().saturating_sub(working.since);
        let mut slots = self.slots.lock();
        slots.current = working.above;
        let Some(slot) = working.slot.and_then(|at| slots.all.get_mut(at)) else {
            return;
        };
        slot.stats.time += took;
        if let Some((samples, bytes)) = came {
            slot.stats.series += 1;
            slot.stats.samples += samples as u64;
            slot.stats.bytes += bytes as u64;
        }
    }

    /// All operators, each after the one above it.
    pub(super) fn finish(&self) -> Vec<OperatorStats> {
        let slots = self.slots.lock();
        let mut own: Vec<Duration> = slots.all.iter().map(|slot| slot.stats.time).collect();
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); slots.all.len()];
        let mut waiting = Vec::new();
        for (at, slot) in slots.all.iter().enumerate() {
            match slot.parent {
                Some(parent) => {
                    if let (Some(own), Some(below)) = (own.get_mut(parent), below.get_mut(parent)) {
                        *own = own.saturating_sub(slot.stats.time);
                        below.push(at);
                    }
                }
                None => waiting.push(at),
            }
        }
        waiting.reverse();
        let mut all = Vec::with_capacity(slots.all.len());
        while let Some(at) = waiting.pop() {
            if let (Some(slot), Some(own)) = (slots.all.get(at), own.get(at)) {
                let mut stats = slot.stats.clone();
                stats.own_time = *own;
                all.push(stats);
            }
            waiting.extend(below.get(at).into_iter().flatten().rev());
        }
        all
    }
}

/// A stream whose series are counted.
pub(super) struct Counted {
    stream: Box<dyn SeriesStream>,
    profile: Arc<Profile>,
    slot: Option<usize>,
}

impl Counted {
    /// What is read by `what`, below the operator that is at work.
    pub(super) fn open(
        profile: &Arc<Profile>,
        what: &str,
        open: impl FnOnce() -> Result<Box<dyn SeriesStream>, SourceError>,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        let slot = profile.place(what, true);
        let working = profile.begin(slot);
        let opened = open();
        profile.end(&working, None);
        Ok(Box::new(Self {
            stream: opened?,
            profile: Arc::clone(profile),
            slot,
        }))
    }
}

impl SeriesStream for Counted {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        let working = self.profile.begin(self.slot);
        let next = self.stream.next(samples);
        let came = match &next {
            Ok(Some(labels)) => {
                let floats = (samples.len() + samples.starts.len()) * 16;
                let histograms = samples.histograms.len() * 200;
                Some((samples.len(), floats + histograms + labels.text_len()))
            }
            _ => None,
        };
        self.profile.end(&working, came);
        next
    }

    fn size_hint(&self) -> usize {
        self.stream.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::runtime::ManualClock;

    #[test]
    fn the_tree_is_that_of_the_calls() {
        let clock = Arc::new(ManualClock::at(TimestampMs(0)));
        let profile = Profile::new(clock.clone());
        let second = Duration::from_secs(1);
        let top = profile.place("top", false);
        for _ in 0..2 {
            let working = profile.begin(top);
            clock.advance(second);
            for what in ["left", "right", "left"] {
                let slot = profile.place(what, true);
                let below = profile.begin(slot);
                clock.advance(second);
                profile.end(&below, Some((10, 80)));
            }
            profile.end(&working, Some((1, 8)));
        }
        let want = |depth, what: &str, series, samples, time, own| OperatorStats {
            depth,
            what: what.to_owned(),
            series,
            samples,
            bytes: samples * 8,
            time: second * time,
            own_time: second * own,
        };
        assert_eq!(
            profile.finish(),
            [
                want(0, "top", 2, 2, 8, 2),
                want(1, "left", 4, 40, 4, 4),
                want(1, "right", 2, 20, 2, 2),
            ]
        );
    }
}
