//! The one trait through which a query sees samples.
//!
//! A local store, a whole cluster and a test's vector all implement [`Source`]. The query engine
//! knows nothing of blocks, heads, peers or replicas; a source knows nothing of PromQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{Exemplar, LabelSet, Matcher, Metadata, Samples, TenantId, TimeRange};
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
