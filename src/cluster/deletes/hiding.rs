//! A source without what is deleted, in front of one that still holds it.
//!
//! While no tombstone concerns a read it is handed on as it is. Names and label sets are those of
//! series that have a sample that is not hidden: where hidden series match, they are looked at one by
//! one, sample by sample. Metadata, exemplars and the counts of heads are those of the source: a
//! delete is about samples, as in Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::control::{ControlState, Hidden};
use crate::model::{LabelSet, Matcher, Resolution, Samples, TenantId, TimeRange, TimestampMs};
use crate::source::{
    Contents, FamilyMetadata, LabelPairs, Moments, ReadContext, Selection, SeriesExemplars,
    SeriesStream, Source, SourceError,
};

/// Gives the control state that says what is deleted now.
pub(in crate::cluster) type SaysDeleted = Box<dyn Fn() -> Arc<ControlState> + Send + Sync>;

/// Hides what is deleted.
pub(in crate::cluster) struct Hiding {
    held: Arc<dyn Source>,
    state: SaysDeleted,
}

impl Hiding {
    pub(in crate::cluster) fn new(held: Arc<dyn Source>, state: SaysDeleted) -> Self {
        Self { held, state }
    }

    /// What concerns a selection. It is asked for before the data are looked at: a tombstone goes
    /// only when nobody holds any of it.
    fn hidden(&self, selection: &Selection) -> Hidden {
        Hidden::of(&(self.state)(), &selection.tenant, selection.range)
    }

    /// The series that match a selection and a deletion each.
    fn touched(
        &self,
        selection: &Selection,
        hidden: &Hidden,
        context: &ReadContext,
    ) -> Result<BTreeSet<LabelSet>, SourceError> {
        let mut touched = BTreeSet::new();
        for deletion in hidden.all() {
            let narrowed = narrowed(selection, &deletion.matchers, selection.range);
            touched.extend(self.held.series(&narrowed, 0, context)?);
        }
        Ok(touched)
    }

    /// Those of the touched series of which nothing is left in the selection's range.
    fn gone(
        &self,
        selection: &Selection,
        hidden: &Hidden,
        touched: BTreeSet<LabelSet>,
        context: &ReadContext,
    ) -> Result<BTreeSet<LabelSet>, SourceError> {
        // Series that the same deletions are about have the same gaps.
        let mut alike: BTreeMap<Vec<(i64, i64)>, BTreeSet<LabelSet>> = BTreeMap::new();
        for labels in touched {
            let gaps = hidden.of_series(&labels).gaps(selection.range);
            let gaps = gaps.iter().map(|gap| (gap.start.0, gap.end.0)).collect();
            alike.entry(gaps).or_default().insert(labels);
        }
        let mut gone = BTreeSet::new();
        for (gaps, mut series) in alike {
            for (start, end) in gaps {
                let gap = TimeRange::new(TimestampMs(start), TimestampMs(end));
                self.strike(&mut series, selection, hidden, gap, context)?;
            }
            gone.extend(series);
        }
        Ok(gone)
    }

    /// Strikes those of some hidden series off that have a sample in a range.
    fn strike(
        &self,
        series: &mut BTreeSet<LabelSet>,
        selection: &Selection,
        hidden: &Hidden,
        range: TimeRange,
        context: &ReadContext,
    ) -> Result<(), SourceError> {
        let mut samples = Samples::default();
        for deletion in hidden.all() {
            if series.is_empty() {
                return Ok(());
            }
            let narrowed = narrowed(selection, &deletion.matchers, range);
            let mut left = self.held.select(&narrowed, context)?;
            while let Some(labels) = left.next(&mut samples)? {
                if !samples.is_empty() {
                    series.remove(&labels);
                }
            }
        }
        Ok(())
    }

    /// The series of a selection of which something is left; `None`: all that the source has.
    fn left(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Option<Vec<LabelSet>>, SourceError> {
        let hidden = self.hidden(selection);
        if hidden.is_empty() {
            return Ok(None);
        }
        let touched = self.touched(selection, &hidden, context)?;
        if touched.is_empty() {
            return Ok(None);
        }
        let gone = self.gone(selection, &hidden, touched, context)?;
        if gone.is_empty() {
            return Ok(None);
        }
        let mut all = self.held.series(selection, 0, context)?;
        all.retain(|labels| !gone.contains(labels));
        Ok(Some(all))
    }
}

/// Leaves out what is before a moment, up to the last sample there that stands for others: that one may be seen.
fn leave_from(from: TimestampMs, samples: &mut Samples) {
    let place = samples.timestamps.partition_point(|at| *at < from.0);
    let mut before = samples.folds.iter().rev();
    let last = before.find(|(row, _)| (*row as usize) < place);
    let first = last.and_then(|(row, _)| samples.timestamps.get(*row as usize));
    let first = first.map_or(from, |at| TimestampMs(*at));
    samples.clip(TimeRange::new(first, TimestampMs::MAX));
}

/// The same and what downsampled samples from before it may be seen in it.
fn far_back(selection: &Selection) -> Selection {
    let longest = Resolution::FOLDED.iter().map(|one| one.ms()).max();
    let start = selection.range.start.plus_ms(-longest.unwrap_or(0));
    narrowed(selection, &[], TimeRange::new(start, selection.range.end))
}

fn narrowed(selection: &Selection, matchers: &[Matcher], range: TimeRange) -> Selection {
    let all = selection.matchers.iter().chain(matchers);
    Selection {
        tenant: selection.tenant.clone(),
        matchers: all.cloned().collect(),
        range,
    }
}

fn limited<T>(mut items: Vec<T>, limit: usize) -> Vec<T> {
    if limit > 0 {
        items.truncate(limit);
    }
    items
}

/// A stream without what is deleted.
struct HidingStream {
    held: Box<dyn SeriesStream>,
    hidden: Hidden,
    /// What is wanted begins there, and what was read before.
    from: TimestampMs,
}

impl SeriesStream for HidingStream {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        while let Some(labels) = self.held.next(samples)? {
            self.hidden.apply(&labels, samples);
            leave_from(self.from, samples);
            if !samples.is_empty() {
                return Ok(Some(labels));
            }
        }
        Ok(None)
    }

    fn size_hint(&self) -> usize {
        self.held.size_hint()
    }
}

impl Source for Hiding {
    fn select(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        let hidden = self.hidden(selection);
        let held = self.held.select(selection, context)?;
        if hidden.is_empty() {
            return Ok(held);
        }
        let from = selection.range.start;
        Ok(Box::new(HidingStream { held, hidden, from }))
    }

    /// Where something is hidden, another sample may be the newest that is left: then all are read.
    fn select_newest(
        &self,
        selection: &Selection,
        moments: Moments,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        let far = far_back(selection);
        let hidden = self.hidden(&far);
        if hidden.is_empty() {
            return self.held.select_newest(selection, moments, context);
        }
        let held = self.held.select(&far, context)?;
        let from = selection.range.start;
        Ok(Box::new(HidingStream { held, hidden, from }))
    }

    fn select_apart(
        &self,
        selection: &Selection,
        moments: Option<Moments>,
        context: &ReadContext,
    ) -> Result<Vec<Box<dyn SeriesStream>>, SourceError> {
        let far = match moments {
            Some(_) => far_back(selection),
            None => selection.clone(),
        };
        let hidden = self.hidden(&far);
        if hidden.is_empty() {
            return self.held.select_apart(selection, moments, context);
        }
        // Another sample may be the newest that is left.
        let held = self.held.select_apart(&far, None, context)?;
        let hiding = |held| -> Box<dyn SeriesStream> {
            let hidden = hidden.clone();
            let from = selection.range.start;
            Box::new(HidingStream { held, hidden, from })
        };
        Ok(held.into_iter().map(hiding).collect())
    }

    /// Deletions are parts of what reads are made from. They are looked at first, as in a read; that
    /// one came and was taken back meanwhile shows in the control log's position.
    fn contents(&self, tenant: &TenantId, range: TimeRange) -> Option<Contents> {
        let state = (self.state)();
        let mut contents = self.held.contents(tenant, range)?;
        let standing = state.tombstones.iter();
        for (id, one) in standing {
            let deletion = &one.tombstone.deletion;
            if deletion.concerns(tenant, range) {
                contents.add_part(deletion.range, id.0);
            }
        }
        contents.add_changes(state.generation);
        contents.add_changes(state.applied);
        Some(contents)
    }

    fn series(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        match self.left(selection, context)? {
            None => self.held.series(selection, limit, context),
            Some(left) => Ok(limited(left, limit)),
        }
    }

    fn label_names(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        let Some(left) = self.left(selection, context)? else {
            return self.held.label_names(selection, limit, context);
        };
        let names = left.iter().flat_map(LabelSet::iter);
        let names: BTreeSet<String> = names.map(|(name, _)| name.to_owned()).collect();
        Ok(limited(names.into_iter().collect(), limit))
    }

    fn label_values(
        &self,
        name: &str,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        let Some(left) = self.left(selection, context)? else {
            return self.held.label_values(name, selection, limit, context);
        };
        let values = left.iter().filter_map(|labels| labels.get(name));
        let values: BTreeSet<String> = values.map(str::to_owned).collect();
        Ok(limited(values.into_iter().collect(), limit))
    }

    fn metadata(
        &self,
        tenant: &TenantId,
        family: Option<&str>,
        context: &ReadContext,
    ) -> Result<Vec<FamilyMetadata>, SourceError> {
        self.held.metadata(tenant, family, context)
    }

    fn label_pairs(
        &self,
        tenant: &TenantId,
        context: &ReadContext,
    ) -> Result<LabelPairs, SourceError> {
        self.held.label_pairs(tenant, context)
    }

    fn exemplars(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        self.held.exemplars(selection, context)
    }
}
