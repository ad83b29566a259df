//! A source of series held in memory.

use std::collections::BTreeMap;

use cairn::model::{LabelSet, Matcher, Samples, TenantId, TimeRange, TimestampMs, Value};
use cairn::query::syntax::parse_selector;
use cairn::source::{
    FamilyMetadata, LabelPairs, Moments, ReadContext, Selection, SeriesExemplars, SeriesStream,
    Source, SourceError,
};

#[derive(Clone, Default)]
pub(crate) struct MemorySource {
    series: BTreeMap<LabelSet, Samples>,
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

    /// What a selection finds.
    fn found(&self, selection: &Selection) -> Vec<(LabelSet, Samples)> {
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

struct Stream(std::vec::IntoIter<(LabelSet, Samples)>);

impl SeriesStream for Stream {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        Ok(self.0.next().map(|(labels, found)| {
            samples.clone_from(&found);
            labels
        }))
    }
}

impl Source for MemorySource {
    fn select(
        &self,
        selection: &Selection,
        _: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        Ok(Box::new(Stream(self.found(selection).into_iter())))
    }

    /// Leaves out all that may be left out: whoever asks for the newest samples must not look at others.
    fn select_newest(
        &self,
        selection: &Selection,
        moments: Moments,
        _: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        let mut found = self.found(selection);
        let mut rows = Vec::new();
        for (_, samples) in &mut found {
            if samples.histograms.is_empty() {
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
        Ok(Box::new(Stream(found.into_iter())))
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
