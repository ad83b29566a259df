//! A source of series held in memory.

use std::collections::BTreeMap;

use cairn::model::{
    LabelSet, Matcher, Resolution, Samples, TenantId, TimeRange, TimestampMs, Value, downsample,
};
use cairn::query::syntax::parse_selector;
use cairn::source::{
    FamilyMetadata, LabelPairs, Moments, ReadContext, Selection, SeriesExemplars, SeriesStream,
    Source, SourceError,
};

#[derive(Clone, Default)]
pub(crate) struct MemorySource {
    series: BTreeMap<LabelSet, Samples>,
    /// A series that cannot be read.
    pub(crate) broken: Option<LabelSet>,
    /// Series in one of several streams, less one.
    pub(crate) more_in_stream: usize,
}

/// The labels that a selector of equalities names.
pub(crate) fn labels(text: &str) -> LabelSet {
    let matchers = parse_selector(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let pairs: Vec<(&str, &str)> = matchers.iter().map(|m| (m.name(), m.value())).collect();
    LabelSet::from_pairs(&pairs).unwrap()
}

impl MemorySource {
    pub(crate) fn add(&mut self, series: &str, at_ms: i64, value: f64) {
        self.push(labels(series), at_ms, Value::Float(value), 0);
    }

    pub(crate) fn push(&mut self, labels: LabelSet, at_ms: i64, value: Value, start_ms: i64) {
        let samples = self.series.entry(labels).or_default();
        let mut one = Samples::default();
        one.push(TimestampMs(at_ms), value, TimestampMs(start_ms));
        if samples.timestamps.contains(&at_ms) {
            // As in Prometheus' own tests, the later of two values counts.
            let mut kept = samples.clone();
            kept.clip(TimeRange::new(TimestampMs::MIN, TimestampMs(at_ms - 1)));
            samples.clip(TimeRange::new(TimestampMs(at_ms + 1), TimestampMs::MAX));
            samples.merge(&kept);
        }
        samples.merge(&one);
    }

    /// Holds a series.
    pub(crate) fn put(&mut self, labels: LabelSet, samples: Samples) {
        self.series.insert(labels, samples);
    }

    /// Downsamples all series.
    pub(crate) fn downsample(&mut self, to: Resolution) {
        for samples in self.series.values_mut() {
            *samples = downsample(samples, to).unwrap();
        }
    }

    /// What a selection finds.
    fn found(&self, selection: &Selection, context: &ReadContext) -> Vec<(LabelSet, Samples)> {
        let range = selection.range;
        for (_, samples) in self.matching(&selection.matchers) {
            for (row, fold) in &samples.folds {
                let at = samples.timestamps[*row as usize];
                if at >= range.start.0 && fold.resolution.before_interval(at) < range.end.0 {
                    context.coarsest.meets(fold.resolution);
                }
            }
        }
        let clipped = |range: TimeRange, samples: &Samples| {
            let mut samples = samples.clone();
            samples.clip(range);
            samples
        };
        // Backwards: nobody may rely on an order.
        let mut found: Vec<(LabelSet, Samples)> = self
            .matching(&selection.matchers)
            .map(|(labels, samples)| (labels.clone(), clipped(selection.range, samples)))
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        found.reverse();
        found
    }

    /// The same with the newest samples at some moments only.
    fn newest(
        &self,
        selection: &Selection,
        moments: Moments,
        context: &ReadContext,
    ) -> Vec<(LabelSet, Samples)> {
        let back = match self
            .series
            .values()
            .any(|samples| !samples.folds.is_empty())
        {
            true => Resolution::Hour.ms(),
            false => 0,
        };
        let mut selection = selection.clone();
        selection.range.start = selection.range.start.plus_ms(-back);
        let mut found = self.found(&selection, context);
        let mut rows = Vec::new();
        for (_, samples) in &mut found {
            if samples.histograms.is_empty() && samples.folds.is_empty() {
                moments.newest(&samples.timestamps, &mut rows);
                let mut some = Samples::default();
                for row in &rows {
                    let (at, value, start) = samples.get(*row as usize).unwrap();
                    some.push(at, value, start);
                }
                *samples = some;
            }
        }
        found.retain(|(_, samples)| !samples.is_empty());
        found
    }

    fn stream(&self, found: Vec<(LabelSet, Samples)>) -> Box<dyn SeriesStream> {
        Box::new(Stream {
            found: found.into_iter(),
            broken: self.broken.clone(),
        })
    }

    fn matching<'a>(
        &'a self,
        matchers: &'a [Matcher],
    ) -> impl Iterator<Item = (&'a LabelSet, &'a Samples)> {
        self.series.iter().filter(|(labels, _)| {
            matchers
                .iter()
                .all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
        })
    }
}

struct Stream {
    found: std::vec::IntoIter<(LabelSet, Samples)>,
    broken: Option<LabelSet>,
}

impl SeriesStream for Stream {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        let Some((labels, found)) = self.found.next() else {
            return Ok(None);
        };
        if self.broken.as_ref() == Some(&labels) {
            return Err(SourceError::Corrupt(format!("{labels} is broken")));
        }
        samples.clone_from(&found);
        Ok(Some(labels))
    }
}

impl Source for MemorySource {
    fn select(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        Ok(self.stream(self.found(selection, context)))
    }

    /// Leaves out all that may be left out: whoever asks for the newest samples must not look at others.
    fn select_newest(
        &self,
        selection: &Selection,
        moments: Moments,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        Ok(self.stream(self.newest(selection, moments, context)))
    }

    /// Each series by itself, unless it is said otherwise: nobody may rely on seeing another one's.
    fn select_apart(
        &self,
        selection: &Selection,
        moments: Option<Moments>,
        context: &ReadContext,
    ) -> Result<Vec<Box<dyn SeriesStream>>, SourceError> {
        let found = match moments {
            Some(moments) => self.newest(selection, moments, context),
            None => self.found(selection, context),
        };
        let streams = found.chunks(self.more_in_stream + 1);
        Ok(streams.map(|some| self.stream(some.to_vec())).collect())
    }

    fn series(
        &self,
        selection: &Selection,
        _: usize,
        _: &ReadContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        let found = self.matching(&selection.matchers);
        Ok(found.map(|(labels, _)| labels.clone()).collect())
    }

    fn label_names(
        &self,
        _: &Selection,
        _: usize,
        _: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &Selection,
        _: usize,
        _: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn metadata(
        &self,
        _: &TenantId,
        _: Option<&str>,
        _: &ReadContext,
    ) -> Result<Vec<FamilyMetadata>, SourceError> {
        Ok(Vec::new())
    }

    fn label_pairs(&self, _: &TenantId, _: &ReadContext) -> Result<LabelPairs, SourceError> {
        Ok(LabelPairs::default())
    }

    fn exemplars(
        &self,
        _: &Selection,
        _: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        Ok(Vec::new())
    }
}
