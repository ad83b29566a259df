//! The one trait through which a query sees samples.
//!
//! A local store, a whole cluster and a test's vector all implement [`Source`]. The query engine
//! knows nothing of blocks, heads, peers or replicas; a source knows nothing of PromQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::model::{
    Exemplar, LabelSet, Matcher, Metadata, Resolution, Samples, TenantId, TimeRange, TimestampMs,
};
use crate::runtime::{Budget, BudgetError, CancelToken, Cancelled};

/// What is asked of every endpoint: whose series, which, and of which times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Whose series.
    pub tenant: TenantId,
    /// All of these must hold. Empty: every series (the engine itself never asks so).
    pub matchers: Vec<Matcher>,
    /// Only samples in this range (both ends in it); series without any are left out of
    /// [`Source::select`], and may be left in where only names and labels are asked for.
    pub range: TimeRange,
}

/// What surrounds a read: who may stop it, and what it may use.
#[derive(Clone, Debug)]
pub struct ReadContext {
    /// To be checked between series.
    pub cancel: CancelToken,
    /// To be charged for what is held.
    pub budget: Budget,
    /// Where it is noted what an answer lacks, if it may lack anything; `None`: it must be whole.
    pub partial: Option<Partial>,
    /// Where it is noted what was met that has been downsampled.
    pub coarsest: Coarsest,
}

/// The coarsest resolution of what was read, also where nothing of it lies in the range: the sample that stands for
/// an interval may be behind it. Clones are the same note.
#[derive(Clone, Debug, Default)]
pub struct Coarsest {
    met: Arc<AtomicU8>,
    /// What it is a part of.
    whole: Option<Arc<Self>>,
}

impl Coarsest {
    /// A note of a part of the reads: what is noted there is noted here too.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            met: Arc::default(),
            whole: Some(Arc::new(self.clone())),
        }
    }

    /// Notes that something of a resolution was met.
    pub fn meets(&self, resolution: Resolution) {
        self.met.fetch_max(resolution.code(), Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.meets(resolution);
        }
    }

    /// The coarsest so far.
    #[must_use]
    pub fn met(&self) -> Resolution {
        Resolution::of_code(self.met.load(Ordering::Relaxed)).unwrap_or_default()
    }
}

/// Different lacks that are noted; a read names several partitions in one.
const LACKS_MAX: usize = 16;

/// What an answer lacks that may be partial: texts for a person. Clones are the same notes.
#[derive(Clone, Debug, Default)]
pub struct Partial(Arc<Mutex<BTreeSet<String>>>);

impl Partial {
    /// Notes what is lacking: which data, and where they are.
    pub fn lacks(&self, what: String) {
        let mut lacks = self.0.lock();
        if lacks.len() < LACKS_MAX {
            lacks.insert(what);
        }
    }

    /// What has been noted.
    #[must_use]
    pub fn noted(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Why a source cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Called off or out of time.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Too much.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// Data that should be there cannot be had now; the text names what and why.
    #[error("{0}")]
    Unavailable(String),
    /// Data on disk are damaged; the text names file and place.
    #[error("{0}")]
    Corrupt(String),
}

/// Selected series, one after the other, in no particular order, each label set once.
pub trait SeriesStream: Send {
    /// The next series: `samples` is cleared and filled with its samples in the range, stale
    /// markers included. `None` when there are no more.
    ///
    /// # Errors
    /// When the data cannot be had or the context says stop; the stream is over then.
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError>;

    /// Series that are still to come, as far as it is known: a hint for sizing.
    fn size_hint(&self) -> usize {
        0
    }
}

/// Metadata of one metric family: the newest few that differ, newest first.
pub type FamilyMetadata = (String, Vec<Metadata>);

/// Exemplars of one series, oldest first.
pub type SeriesExemplars = (LabelSet, Vec<Exemplar>);

/// How many series there are, and how many of them have each label pair.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LabelPairs {
    /// Series.
    pub series: u64,
    /// Series by name and value.
    pub pairs: BTreeMap<(Arc<str>, Arc<str>), u64>,
}

impl LabelPairs {
    /// Counts further series, none of which was counted before.
    pub fn add(&mut self, name: &Arc<str>, value: &Arc<str>, series: u64) {
        let pair = (Arc::clone(name), Arc::clone(value));
        *self.pairs.entry(pair).or_default() += series;
    }
}

/// Moments at which a reader looks at the newest sample of each series, and at no other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moments {
    /// The first.
    pub first: TimestampMs,
    /// Between two of them, in milliseconds; at least 1.
    pub step_ms: i64,
    /// How many there are; at least 1.
    pub count: usize,
}

impl Moments {
    /// The positions of those rising timestamps that are the newest at or before some moment;
    /// `out` is cleared first. What several lists of timestamps hold together is found in what is
    /// picked of each.
    pub fn newest(&self, timestamps: &[i64], out: &mut Vec<u32>) {
        out.clear();
        let mut passed = 0;
        while let Some(next) = timestamps.get(passed) {
            // The first moment that sees one more.
            let ahead = next.saturating_sub(self.first.0).max(0);
            let intervals = ahead / self.step_ms + i64::from(ahead % self.step_ms != 0);
            if usize::try_from(intervals).is_ok_and(|number| number >= self.count) {
                return;
            }
            let moment = self.step_ms.saturating_mul(intervals);
            let moment = self.first.0.saturating_add(moment).max(*next);
            let rest = timestamps.get(passed..).unwrap_or_default();
            passed += rest.partition_point(|at| *at <= moment);
            out.extend(passed.checked_sub(1).and_then(|at| u32::try_from(at).ok()));
        }
    }
}

/// What reads are made from at one moment, as far as it can be named: parts that never change, and
/// times of which something may still change. Says whether an answer of before would be the same now.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    parts: Vec<(TimeRange, u128)>,
    open: Vec<TimeRange>,
    changes: u128,
}

impl Contents {
    /// There is a part of some times whose name stands for what is in it, for ever.
    pub fn add_part(&mut self, range: TimeRange, name: u128) {
        self.parts.push((range, name));
    }

    /// What is held of some times may be another a moment later.
    pub fn add_open(&mut self, range: TimeRange) {
        self.open.push(range);
    }

    /// Counts something that changes whenever what reads are made from does, or may have done so
    /// and back.
    pub fn add_changes(&mut self, count: u64) {
        self.changes = mixed(self.changes, u128::from(count));
    }

    /// The name of what a read of a range is made from: what was read under one name is read under
    /// it whenever. `None`: it is of a moment only.
    #[must_use]
    pub fn name(&self, range: TimeRange) -> Option<u128> {
        if self.open.iter().any(|open| open.overlaps(range)) {
            return None;
        }
        let within = self.parts.iter().filter(|(of, _)| of.overlaps(range));
        let mut names: Vec<u128> = within.map(|(_, name)| *name).collect();
        names.sort_unstable();
        Some(names.into_iter().fold(0, mixed))
    }

    /// Whether nothing has changed from one moment to another, not even for a while.
    #[must_use]
    pub const fn has_stood_still(&self, later: &Self) -> bool {
        self.changes == later.changes
    }
}

fn mixed(so_far: u128, next: u128) -> u128 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(&so_far.to_le_bytes());
    hash.update(&next.to_le_bytes());
    hash.digest128()
}

/// Where samples come from.
pub trait Source: Send + Sync + 'static {
    /// The series that match, with their samples.
    ///
    /// # Errors
    /// As [`SourceError`] says; never a silent gap.
    fn select(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError>;

    /// The same for a reader who looks only at the newest sample at or before each of some
    /// moments: of series of floats, others may be left out. Of series with histograms, which
    /// say something about their neighbours, all are there. A sample that stands for others is seen for
    /// as long as its interval is, beyond what the reader looks back: such samples may be from before the
    /// range, by their resolution.
    ///
    /// # Errors
    /// As [`Source::select`].
    fn select_newest(
        &self,
        selection: &Selection,
        _moments: Moments,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        self.select(selection, context)
    }

    /// What [`Source::select`] gives, or with moments [`Source::select_newest`], in one or more streams
    /// that several threads may read at once. Read one after the other they give the same series in the
    /// same order whenever they are asked for.
    ///
    /// # Errors
    /// As [`Source::select`].
    fn select_apart(
        &self,
        selection: &Selection,
        moments: Option<Moments>,
        context: &ReadContext,
    ) -> Result<Vec<Box<dyn SeriesStream>>, SourceError> {
        let whole = match moments {
            Some(moments) => self.select_newest(selection, moments, context),
            None => self.select(selection, context),
        };
        Ok(vec![whole?])
    }

    /// What reads of a tenant's samples in a range are made from now. `None`: that cannot be said.
    fn contents(&self, _tenant: &TenantId, _range: TimeRange) -> Option<Contents> {
        None
    }

    /// The label sets of the series that match, sorted; at most `limit` of them (0: all).
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn series(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<LabelSet>, SourceError>;

    /// The label names of the series that match, sorted; at most `limit` (0: all).
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn label_names(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError>;

    /// The values of one label over the series that match, sorted; at most `limit` (0: all).
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn label_values(
        &self,
        name: &str,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError>;

    /// Metadata of one metric family, or of all, sorted by family.
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn metadata(
        &self,
        tenant: &TenantId,
        family: Option<&str>,
        context: &ReadContext,
    ) -> Result<Vec<FamilyMetadata>, SourceError>;

    /// The label pairs of the series that heads hold: of what is being written.
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn label_pairs(
        &self,
        tenant: &TenantId,
        context: &ReadContext,
    ) -> Result<LabelPairs, SourceError>;

    /// Exemplars of the series that match, sorted by label set.
    ///
    /// # Errors
    /// As [`SourceError`] says.
    fn exemplars(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SourceError>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_newest_of_each_moment_are_picked_and_no_others(
            times in prop::collection::btree_set(-50i64..50, 0..30),
            first in -60i64..60,
            step_ms in 1i64..20,
            count in 1usize..20,
        ) {
            let times: Vec<i64> = times.into_iter().collect();
            let moments = Moments { first: TimestampMs(first), step_ms, count };
            let mut found = vec![7];
            moments.newest(&times, &mut found);
            let mut want: Vec<u32> = (0..i64::try_from(count).unwrap())
                .filter_map(|k| {
                    let passed = times.iter().filter(|at| **at <= first + k * step_ms).count();
                    u32::try_from(passed).unwrap().checked_sub(1)
                })
                .collect();
            want.dedup();
            prop_assert_eq!(found, want);
        }
    }

    #[test]
    fn contents_have_a_name_where_nothing_is_open() {
        let range = |from, to| TimeRange::new(TimestampMs(from), TimestampMs(to));
        let mut contents = Contents::default();
        contents.add_part(range(0, 9), 1);
        contents.add_part(range(5, 19), 2);
        contents.add_open(range(15, 29));
        let name = contents.name(range(0, 14)).unwrap();
        assert_eq!(contents.name(range(9, 12)), Some(name));
        assert_ne!(contents.name(range(0, 4)), Some(name));
        assert_ne!(contents.name(range(0, 4)), contents.name(range(30, 40)));
        assert_eq!(contents.name(range(9, 15)), None);
        // In whatever order they come.
        let mut other = Contents::default();
        other.add_part(range(5, 19), 2);
        other.add_part(range(0, 9), 1);
        assert_eq!(other.name(range(0, 14)), Some(name));
        assert!(contents.has_stood_still(&other));
        other.add_changes(0);
        assert!(!contents.has_stood_still(&other));
    }

    #[test]
    fn the_ends_of_time_are_moments_like_others() {
        let moments = Moments {
            first: TimestampMs(i64::MIN),
            step_ms: i64::MAX,
            count: 3,
        };
        let mut found = Vec::new();
        moments.newest(&[i64::MIN, -5, -1, 0, i64::MAX], &mut found);
        assert!([0, 2, 3].iter().all(|at| found.contains(at)), "{found:?}");
    }
}
