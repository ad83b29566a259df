//! What is left of some content when what blocks hold is taken away from it.
//!
//! Seals build their block from it (cuts of several windows, less the applied blocks), and
//! applying a block writes it to the current log (a cut, less the new block too). A sample is
//! taken away only if a block holds *that sample or one that wins over it*: content is never
//! dropped because its window has a block.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::applied_block::AppliedBlock;
use super::block::{BlockContent, BlockReader, ContentSeries, Ordinal, TenantReader};
use super::error::Error;
use super::head::Cut;
use super::tier::Reading;
use crate::model::{LabelSet, Metadata, Samples, TenantId, TimeRange, settle};
use crate::source::FamilyMetadata;

/// The union of some contents, less what some blocks hold.
pub(super) struct Remainder<'a> {
    parts: Vec<Box<dyn BlockContent + 'a>>,
    blocks: Vec<TenantReader>,
    range: TimeRange,
    series: Vec<Arc<Series>>,
    metadata: Vec<(TenantId, FamilyMetadata)>,
    scratch: Samples,
    /// Keeps the blocks' files while they are read.
    _pins: Vec<Arc<AppliedBlock>>,
}

struct Series {
    key: ContentSeries,
    /// Which series of which part.
    parts: Vec<(usize, usize)>,
    /// Which series of which block holds some of it.
    blocks: Vec<(usize, Ordinal)>,
}

type Key = (TenantId, LabelSet);

impl<'a> Remainder<'a> {
    /// What is left of `parts` in a range, less what `blocks` hold.
    pub(super) fn of(
        parts: Vec<Box<dyn BlockContent + 'a>>,
        blocks: &[Arc<AppliedBlock>],
        range: TimeRange,
    ) -> Result<Self, Error> {
        let mut united: BTreeMap<Key, Series> = BTreeMap::new();
        for (number, part) in parts.iter().enumerate() {
            for index in 0..part.series_len() {
                let key = part.series(index)?;
                let series = united
                    .entry((key.tenant.clone(), key.labels.clone()))
                    .or_insert_with(|| Series {
                        key,
                        parts: Vec::new(),
                        blocks: Vec::new(),
                    });
                series.parts.push((number, index));
            }
        }
        let mut families = families(&parts)?;
        let mut readers = Vec::new();
        let reading = Reading::background();
        for block in blocks {
            if block.entry().range.overlaps(range) {
                let reader = block.reader(&reading)?;
                meet(&reader, &mut united, &mut families, &mut readers)?;
            }
        }
        let metadata = families.into_iter().filter(|(_, list)| !list.is_empty());
        let mut remainder = Self {
            parts,
            blocks: readers,
            range,
            series: united.into_values().map(Arc::new).collect(),
            metadata: metadata
                .map(|((tenant, family), list)| (tenant, (family, list)))
                .collect(),
            scratch: Samples::default(),
            _pins: blocks.to_vec(),
        };
        remainder.drop_empty()?;
        Ok(remainder)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.series.is_empty() && self.metadata.is_empty()
    }

    /// Leaves out the series of which nothing is left. Only those that a block meets are decoded.
    fn drop_empty(&mut self) -> Result<(), Error> {
        let mut samples = Samples::default();
        let mut kept = Vec::with_capacity(self.series.len());
        for series in std::mem::take(&mut self.series) {
            if !series.blocks.is_empty() {
                self.read_series(&series, &mut samples)?;
                if samples.is_empty() {
                    continue;
                }
            }
            kept.push(series);
        }
        self.series = kept;
        Ok(())
    }

    fn read_series(&mut self, series: &Series, samples: &mut Samples) -> Result<(), Error> {
        samples.clear();
        for (part, index) in &series.parts {
            let part = self.parts.get_mut(*part).ok_or_else(lost)?;
            part.read(*index, &mut self.scratch)?;
            samples.merge(&self.scratch);
        }
        for (block, ordinal) in &series.blocks {
            let block = self.blocks.get_mut(*block).ok_or_else(lost)?;
            block.read(*ordinal, self.range, &mut self.scratch)?;
            subtract(samples, &self.scratch);
        }
        Ok(())
    }
}

fn lost() -> Error {
    Error::Bug("a remainder names a part that it does not have".to_owned())
}

/// Metadata of all parts, each value once, newest first.
fn families(
    parts: &[Box<dyn BlockContent + '_>],
) -> Result<BTreeMap<(TenantId, String), Vec<Metadata>>, Error> {
    let mut all: BTreeMap<(TenantId, String), Vec<Metadata>> = BTreeMap::new();
    for part in parts {
        for (tenant, (family, list)) in part.metadata()? {
            let known = all.entry((tenant, family)).or_default();
            for metadata in list {
                if !known.contains(&metadata) {
                    known.push(metadata);
                }
            }
        }
    }
    Ok(all)
}

/// Notes for every series where a block holds some of it, and takes away the metadata it holds.
fn meet(
    reader: &BlockReader,
    united: &mut BTreeMap<Key, Series>,
    families: &mut BTreeMap<(TenantId, String), Vec<Metadata>>,
    readers: &mut Vec<TenantReader>,
) -> Result<(), Error> {
    for tenant in reader.tenants()? {
        let Some(mut data) = reader.tenant(&tenant)? else {
            continue;
        };
        let number = readers.len();
        let mut meets = false;
        let first = (tenant.clone(), LabelSet::empty());
        let of_tenant = united.range_mut(first..);
        for ((_, labels), series) in of_tenant.take_while(|((owner, _), _)| *owner == tenant) {
            if let Some(ordinal) = data.find(labels)? {
                series.blocks.push((number, ordinal));
                meets = true;
            }
        }
        let first = (tenant.clone(), String::new());
        let of_tenant = families.range_mut(first..);
        for ((_, family), list) in of_tenant.take_while(|((owner, _), _)| *owner == tenant) {
            for (_, held) in data.metadata(Some(family))? {
                list.retain(|metadata| !held.contains(metadata));
            }
        }
        if meets {
            readers.push(data);
        }
    }
    Ok(())
}

/// Takes from `samples` those that `held` has, or stands for, and those that something in `held` wins over.
fn subtract(samples: &mut Samples, held: &Samples) {
    if held.is_empty() || samples.is_empty() {
        return;
    }
    if !held.folds.is_empty() {
        subtract_covered(samples, held);
    }
    let mut left = Samples::default();
    let mut others = held.iter().peekable();
    for (at, value, start) in samples.iter() {
        while others.peek().is_some_and(|(other, _, _)| *other < at) {
            others.next();
        }
        let lost = others.peek().is_some_and(|(other, held, held_start)| {
            *other == at && settle((held, *held_start), (&value, start)) != Ordering::Less
        });
        if !lost {
            left.push(at, value, start);
        }
    }
    if left.len() < samples.len() {
        *samples = left;
    }
}

/// Takes those that downsampling has counted already.
fn subtract_covered(samples: &mut Samples, held: &Samples) {
    let covered = held.folds.iter().filter_map(|(row, fold)| {
        let at = *held.timestamps.get(*row as usize)?;
        Some((fold.resolution.before_interval(at), at))
    });
    let covered: Vec<(i64, i64)> = covered.collect();
    let is_covered = |at: i64| {
        let next = covered.partition_point(|(_, kept)| *kept <= at);
        covered.get(next).is_some_and(|(before, _)| *before < at)
    };
    let keep = samples.timestamps.iter().map(|at| !is_covered(*at));
    let keep: Vec<bool> = keep.collect();
    samples.retain(&keep);
}

impl BlockContent for Remainder<'_> {
    fn series_len(&self) -> usize {
        self.series.len()
    }

    fn series(&self, index: usize) -> Result<ContentSeries, Error> {
        let series = self.series.get(index).ok_or_else(lost)?;
        Ok(series.key.clone())
    }

    fn read(&mut self, index: usize, samples: &mut Samples) -> Result<(), Error> {
        let series = Arc::clone(self.series.get(index).ok_or_else(lost)?);
        self.read_series(&series, samples)
    }

    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error> {
        Ok(self.metadata.clone())
    }
}

/// Cuts, as contents to be united.
pub(super) fn contents(cuts: &[Cut]) -> Vec<Box<dyn BlockContent + '_>> {
    cuts.iter()
        .map(|cut| Box::new(cut.content()) as Box<dyn BlockContent + '_>)
        .collect()
}

/// The same without their samples.
pub(super) fn metadata_of(cuts: &[Cut]) -> Vec<Box<dyn BlockContent + '_>> {
    let one = |cut| Box::new(MetadataOf(cut)) as Box<dyn BlockContent + '_>;
    cuts.iter().map(one).collect()
}

/// A cut without its samples.
struct MetadataOf<'a>(&'a Cut);

impl BlockContent for MetadataOf<'_> {
    fn series_len(&self) -> usize {
        0
    }

    fn series(&self, index: usize) -> Result<ContentSeries, Error> {
        self.0.content().series(index)
    }

    fn read(&mut self, _index: usize, samples: &mut Samples) -> Result<(), Error> {
        samples.clear();
        Ok(())
    }

    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error> {
        self.0.content().metadata()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Resolution, TimestampMs, Value, downsample, stale_nan};

    #[test]
    fn only_what_is_held_or_has_lost_is_taken_away() {
        let check = |of: &[(i64, f64)], held: &[(i64, f64)], want: &[(i64, f64)]| {
            let mut samples = Samples::of_floats(of);
            subtract(&mut samples, &Samples::of_floats(held));
            assert_eq!(samples, Samples::of_floats(want));
        };
        check(&[(1, 1.0), (2, 2.0)], &[], &[(1, 1.0), (2, 2.0)]);
        check(&[(1, 1.0), (2, 2.0)], &[(2, 2.0)], &[(1, 1.0)]);
        check(&[(1, 1.0), (2, 2.0)], &[(0, 0.0), (1, 1.0), (2, 2.0)], &[]);
        // The block's value wins: ours will never show, so it may go.
        check(&[(1, 1.0)], &[(1, 2.0)], &[]);
        // Ours wins: it must stay.
        check(&[(1, 2.0)], &[(1, 1.0)], &[(1, 2.0)]);
        check(&[(1, 1.0)], &[(1, stale_nan())], &[(1, 1.0)]);
        check(&[(1, stale_nan())], &[(1, 1.0)], &[]);
    }

    /// Would catch samples of a member that was away, which are written again and again beside what others
    /// have made of them.
    #[test]
    fn what_a_block_has_downsampled_is_held_by_it() {
        let raw = Samples::of_floats(&[(1_000, 1.0), (61_000, 2.0), (301_000, 9.0)]);
        let held = downsample(&raw, Resolution::FiveMinutes).unwrap();
        let mut samples = raw;
        samples.merge(&Samples::of_floats(&[(1_500, 7.0), (90_000, 3.0)]));
        subtract(&mut samples, &held);
        assert_eq!(samples, Samples::of_floats(&[(90_000, 3.0)]));
    }

    #[test]
    fn a_start_timestamp_decides_between_equal_values() {
        let with_start = |start: i64| {
            let mut samples = Samples::default();
            samples.push(TimestampMs(5), Value::Float(1.0), TimestampMs(start));
            samples
        };
        let mut samples = with_start(3);
        subtract(&mut samples, &with_start(0));
        assert_eq!(samples, with_start(3));
        subtract(&mut samples, &with_start(4));
        assert!(samples.is_empty());
    }
}
