//! Late samples: everything that does not go to chunks. Collected in a buffer, then compressed in
//! runs.

use std::sync::Arc;

use super::rows::time_in;
use super::strip;
use crate::model::{Buckets, Histogram, Samples, TimestampMs, Value, Window, settle};

/// A sample in the late buffer.
#[derive(Clone, Debug)]
pub(super) struct Late {
    pub local: u32,
    pub offset_ms: u32,
    pub start: TimestampMs,
    pub value: Value,
}

/// Strips up to here are of the first class of runs; those of the next have eight times as much.
/// Tests see several classes.
const CLASS_BYTES: usize = if cfg!(test) { 128 } else { 16 << 10 };
/// Runs of one class before they become one.
const RUNS_MAX: usize = 8;

/// Late samples, compressed: a strip per series.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Rising.
    series: Vec<OfSeries>,
    strips: Vec<u8>,
}

/// A series of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfSeries {
    pub local: u32,
    /// Where its strip begins.
    begin: u32,
    /// The offset of its first sample.
    first_ms: u32,
    /// The offset of its last sample.
    pub last_ms: u32,
}

impl Run {
    /// Adds a series, the next in order.
    pub(super) fn push(&mut self, window: Window, local: u32, samples: &Samples) {
        let (Some(first), Some(last)) = (samples.timestamps.first(), samples.timestamps.last())
        else {
            return;
        };
        // A layer's runs are megabytes at most.
        let Ok(begin) = u32::try_from(self.strips.len()) else {
            return;
        };
        let offset = |at: &i64| window.offset_of(TimestampMs(*at));
        self.series.push(OfSeries {
            local,
            begin,
            first_ms: offset(first).unwrap_or(0),
            last_ms: offset(last).unwrap_or(u32::MAX),
        });
        strip::encode(samples, &mut self.strips);
    }

    fn find(&self, local: u32) -> Option<&OfSeries> {
        let at = self
            .series
            .binary_search_by_key(&local, |entry| entry.local);
        self.series.get(at.ok()?)
    }

    fn decode(&self, entry: &OfSeries, samples: &mut Samples) {
        let strip = self.strips.get(entry.begin as usize..).unwrap_or_default();
        if let Err(error) = strip::decode(strip, samples) {
            tracing::error!(error = %error, "late samples in memory cannot be read: this is a bug");
        }
    }

    /// The samples of a series.
    pub(super) fn read(&self, local: u32) -> Samples {
        let mut samples = Samples::default();
        if let Some(entry) = self.find(local) {
            self.decode(entry, &mut samples);
        }
        samples
    }

    /// What it has of a series at the times of some samples.
    pub(super) fn read_at(&self, window: Window, local: u32, wanted: &Samples) -> Samples {
        let mut found = Samples::default();
        let offset = |at: Option<&i64>| at.and_then(|at| window.offset_of(TimestampMs(*at)));
        let first_ms = offset(wanted.timestamps.first()).unwrap_or(0);
        let last_ms = offset(wanted.timestamps.last()).unwrap_or(u32::MAX);
        let meets = |entry: &&OfSeries| entry.first_ms <= last_ms && first_ms <= entry.last_ms;
        let Some(entry) = self.find(local).filter(meets) else {
            return found;
        };
        let (mut own, mut passed) = (Samples::default(), 0);
        self.decode(entry, &mut own);
        for at in &wanted.timestamps {
            let rest = own.timestamps.get(passed..).unwrap_or_default();
            passed += rest.partition_point(|one| one < at);
            if let Some((at, value, start)) = own.get(passed).filter(|one| one.0.0 == *at) {
                found.push(at, value, start);
            }
        }
        found
    }

    /// Whether it has anything of a series.
    pub(super) fn has(&self, local: u32) -> bool {
        self.find(local).is_some()
    }

    /// Adds a run to others. Where there are many of about one size they become one: so a sample is
    /// coded again once in each class, and what is sent again and again is held a few times at most.
    pub(super) fn add_to(mut self, window: Window, runs: &mut Vec<Arc<Self>>) {
        loop {
            let class = self.class();
            if runs.iter().filter(|run| run.class() == class).count() < RUNS_MAX {
                break;
            }
            let (mut alike, others): (Vec<_>, Vec<_>) = std::mem::take(runs)
                .into_iter()
                .partition(|run| run.class() == class);
            alike.push(Arc::new(self));
            *runs = others;
            self = Self::merge(window, &alike);
        }
        self.shrink();
        runs.push(Arc::new(self));
    }

    fn class(&self) -> u32 {
        (self.strips.len() / CLASS_BYTES).max(1).ilog2() / 3
    }

    /// One run with all that these have.
    fn merge(window: Window, runs: &[Arc<Self>]) -> Self {
        let mut merged = Self::default();
        let room = runs.iter().map(|run| run.series.len()).max().unwrap_or(0);
        merged.series.reserve(room);
        let mut rest: Vec<(&Self, &[OfSeries])> = runs
            .iter()
            .map(|run| (run.as_ref(), run.series.as_slice()))
            .collect();
        let (mut all, mut own) = (Samples::default(), Samples::default());
        let mut strips: Vec<(&Self, OfSeries)> = Vec::new();
        while let Some(local) = rest
            .iter()
            .filter_map(|(_, left)| Some(left.first()?.local))
            .min()
        {
            for (run, left) in &mut rest {
                if let Some((entry, others)) = left.split_first()
                    && entry.local == local
                {
                    strips.push((run, *entry));
                    *left = others;
                }
            }
            // Mostly one ends before the next begins.
            strips.sort_unstable_by_key(|(_, entry)| entry.first_ms);
            all.clear();
            for (run, entry) in strips.drain(..) {
                own.clear();
                run.decode(&entry, &mut own);
                all.merge(&own);
            }
            merged.push(window, local, &all);
        }
        merged
    }

    pub(super) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    pub(super) fn series(&self) -> &[OfSeries] {
        &self.series
    }

    /// Gives back the room that growing took.
    pub(super) fn shrink(&mut self) {
        self.series.shrink_to_fit();
        self.strips.shrink_to_fit();
    }

    pub(super) fn bytes(&self) -> usize {
        self.series.capacity() * size_of::<OfSeries>() + self.strips.capacity()
    }
}

/// One series' late samples, sorted by time, as samples; and the number of conflicts settled.
pub(super) fn collect(window: Window, late: &[Late]) -> (Samples, u64) {
    let mut samples = Samples::default();
    let conflicts = collect_into(window, late, &mut samples);
    (samples, conflicts)
}

/// As [`collect`], into samples that are there already.
pub(super) fn collect_into(window: Window, late: &[Late], samples: &mut Samples) -> u64 {
    let mut conflicts = 0;
    samples.clear();
    for same in late.chunk_by(|a, b| a.offset_ms == b.offset_ms) {
        let mut best: Option<&Late> = None;
        for one in same {
            let Some(other) = best else {
                best = Some(one);
                continue;
            };
            match settle((&one.value, one.start), (&other.value, other.start)) {
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => {
                    conflicts += 1;
                    best = Some(one);
                }
                std::cmp::Ordering::Less => conflicts += 1,
            }
        }
        if let Some(best) = best {
            let at = time_in(window, best.offset_ms);
            samples.push(at, best.value.clone(), best.start);
        }
    }
    conflicts
}

/// Takes out of `samples` what `known` has bit for bit; returns how many timestamps they have in
/// common with different values, which stay.
pub(super) fn subtract(samples: &mut Samples, known: &Samples) -> u64 {
    let (mut left, mut conflicts) = (Samples::default(), 0);
    for (at, value, start) in samples.iter() {
        let found = known.timestamps.binary_search(&at.0).ok();
        let same = found.and_then(|place| known.get(place));
        match same.map(|(_, other, began)| settle((&value, start), (&other, began))) {
            Some(std::cmp::Ordering::Equal) => continue,
            Some(_) => conflicts += 1,
            None => {}
        }
        left.push(at, value, start);
    }
    *samples = left;
    conflicts
}

/// Bytes that a histogram takes.
pub(super) fn bytes_of(histogram: &Histogram) -> usize {
    let buckets = match &histogram.buckets {
        Buckets::Integer {
            positive, negative, ..
        } => positive.capacity() + negative.capacity(),
        Buckets::Float {
            positive, negative, ..
        } => positive.capacity() + negative.capacity(),
    };
    let spans = histogram.positive_spans.capacity() + histogram.negative_spans.capacity();
    size_of::<Histogram>()
        + (buckets + histogram.custom_values.capacity()) * 8
        + spans * size_of::<crate::model::Span>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Chance, SeededChance};

    const WINDOW: Window = Window(1000);

    fn run_of(of_series: &[(u32, Samples)]) -> Run {
        let mut run = Run::default();
        for (local, samples) in of_series {
            run.push(WINDOW, *local, samples);
        }
        run
    }

    /// A few samples, at times that come again.
    fn some(chance: &SeededChance) -> Samples {
        let mut samples = Samples::default();
        let mut offset_ms = u32::try_from(chance.below(1000)).unwrap();
        for _ in 0..chance.below(12) {
            offset_ms += 1 + u32::try_from(chance.below(300)).unwrap();
            let value = Value::Float(chance.below(4) as f64);
            let start = TimestampMs(i64::from(chance.below(9) == 0));
            samples.push(time_in(WINDOW, offset_ms), value, start);
        }
        samples
    }

    /// Would catch a sample that is lost or changed where runs become one, and runs that become ever
    /// more.
    #[test]
    fn runs_hold_what_was_added_and_stay_few() {
        let chance = SeededChance::new(7);
        let mut expected = vec![Samples::default(); 20];
        let mut runs = Vec::new();
        for _ in 0..400 {
            let own = (0..20u32).map(|local| (local, some(&chance)));
            let own: Vec<(u32, Samples)> = own.filter(|_| chance.below(3) > 0).collect();
            for (local, samples) in &own {
                expected[*local as usize].merge(samples);
            }
            run_of(&own).add_to(WINDOW, &mut runs);
            let classes = runs.iter().map(|run| run.class()).max().unwrap_or(0) as usize + 1;
            assert!(runs.len() <= classes * RUNS_MAX, "{}", runs.len());
        }
        for (local, expected) in (0u32..).zip(&expected) {
            let mut found = Samples::default();
            for run in &runs {
                found.merge(&run.read(local));
            }
            assert_eq!(found, *expected);
            assert_eq!(runs.iter().any(|run| run.has(local)), !expected.is_empty());
        }
        assert!(!runs.iter().any(|run| run.has(20)));
    }

    /// Would catch memory that grows when the same comes again and again.
    #[test]
    fn what_is_added_again_takes_no_more_room() {
        let chance = SeededChance::new(9);
        let own: Vec<(u32, Samples)> = (0..50).map(|local| (local, some(&chance))).collect();
        let once = run_of(&own).bytes();
        let mut runs = Vec::new();
        for _ in 0..500 {
            run_of(&own).add_to(WINDOW, &mut runs);
            let bytes: usize = runs.iter().map(|run| run.bytes()).sum();
            assert!(bytes <= once * RUNS_MAX, "{bytes} of {once}");
        }
    }

    /// Would catch samples that are passed over because a run seems to end before or begin after.
    #[test]
    fn a_run_says_what_it_has_at_some_times() {
        let at = |offsets: &[u32]| {
            let mut samples = Samples::default();
            for offset_ms in offsets {
                let value = Value::Float(f64::from(*offset_ms));
                samples.push(time_in(WINDOW, *offset_ms), value, TimestampMs(0));
            }
            samples
        };
        let run = run_of(&[(3, at(&[5, 7, 9]))]);
        let check = |wanted: &[u32], found: &[u32]| {
            assert_eq!(run.read_at(WINDOW, 3, &at(wanted)), at(found), "{wanted:?}");
        };
        check(&[4], &[]);
        check(&[4, 5, 6], &[5]);
        check(&[0, 5, 7, 8, 9, 11], &[5, 7, 9]);
        check(&[9], &[9]);
        check(&[10, 20], &[]);
        assert_eq!(run.read_at(WINDOW, 2, &at(&[5])), Samples::default());
    }
}
