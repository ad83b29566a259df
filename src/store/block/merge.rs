//! Several blocks of one partition as the content of a new one: longer in time, or narrower in arc.
//!
//! Nothing is held but the label sets and where the samples lie: samples are read when the writer
//! asks for them, page by page from each block, since all blocks order their pages alike. Where two
//! blocks have a value for one timestamp, the one that wins is kept (`model::settle`).
//!
//! They may be downsampled on the way: each series by itself, and only where that takes less room.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{BlockContent, ContentSeries};
use super::reader::{BlockReader, Ordinal, TenantReader};
use crate::codec::page::{self, Density};
use crate::codec::series_entry::Place;
use crate::model::{
    Deletion, Fingerprint, LabelSet, Metadata, Resolution, RingArc, Samples, TenantId, TimeRange,
    downsample, fingerprint, fingerprint_of_family, is_stale, weight,
};
use crate::source::FamilyMetadata;
use crate::store::error::Error;

/// How many different metadata of one family are kept, the newest first.
const METADATA_KEPT: usize = 4;

/// Where samples of a series lie: in which reader, and where there.
type Part = (u32, Place);

/// A series and where its samples lie, the oldest block first.
struct Merged {
    tenant: TenantId,
    labels: LabelSet,
    fingerprint: Fingerprint,
    parts: Box<[Part]>,
}

/// So many bytes more a folded series may take than a raw one, each in a page of its own: series that stand still
/// take next to nothing either way beside their like, and are read faster.
const FOLD_BYTES: usize = 96;

/// The union of blocks.
pub struct MergedBlocks {
    readers: Vec<TenantReader>,
    series: Vec<Merged>,
    arc: RingArc,
    range: TimeRange,
    scratch: Samples,
    settled: u64,
    without: Vec<Deletion>,
    deleted: u64,
    resolution: Resolution,
    pages: Density,
    folded: u64,
}

impl MergedBlocks {
    /// The union of what blocks hold in an arc and a time range; give the oldest block first.
    ///
    /// # Errors
    /// When a block cannot be read or is damaged.
    pub fn open(
        blocks: &[Arc<BlockReader>],
        arc: RingArc,
        range: TimeRange,
    ) -> Result<Self, Error> {
        let mut readers = Vec::new();
        let mut found = Found::new();
        for block in blocks {
            for tenant in block.tenants()? {
                if let Some(mut reader) = block.tenant(&tenant)? {
                    let number = u32::try_from(readers.len())
                        .map_err(|_| Error::Bug("too many blocks are merged at once".to_owned()))?;
                    list(&mut reader, number, &mut found)?;
                    readers.push(reader);
                }
            }
        }
        let series = found
            .into_iter()
            .map(|((tenant, labels), parts)| Merged {
                fingerprint: fingerprint(&tenant, &labels),
                tenant,
                labels,
                parts: parts.into_boxed_slice(),
            })
            .filter(|merged| arc.contains(merged.fingerprint))
            .collect();
        Ok(Self {
            readers,
            series,
            arc,
            range,
            scratch: Samples::default(),
            settled: 0,
            without: Vec::new(),
            deleted: 0,
            resolution: Resolution::Raw,
            pages: Density::Quick,
            folded: 0,
        })
    }

    /// The same at a resolution, where that is smaller in pages of this kind.
    #[must_use]
    pub const fn at(mut self, resolution: Resolution, pages: Density) -> Self {
        self.resolution = resolution;
        self.pages = pages;
        self
    }

    /// The same without some samples. Of a tenant that loses everything nothing is left, not even its
    /// name; what it had is read here, so that it is counted.
    ///
    /// # Errors
    /// When a block cannot be read or is damaged.
    pub fn without(mut self, deletions: &[Deletion]) -> Result<Self, Error> {
        self.without = deletions.to_vec();
        let mut samples = Samples::default();
        for index in 0..self.series.len() {
            if self
                .series
                .get(index)
                .is_some_and(|one| self.is_gone(&one.tenant))
            {
                self.read(index, &mut samples)?;
            }
        }
        let mut series = std::mem::take(&mut self.series);
        series.retain(|one| !self.is_gone(&one.tenant));
        self.series = series;
        Ok(self)
    }

    /// Whether everything of a tenant is left out.
    fn is_gone(&self, tenant: &TenantId) -> bool {
        let all = |range: TimeRange| range.start <= self.range.start && range.end >= self.range.end;
        let mut of_all = self.without.iter().filter(|one| one.matchers.is_empty());
        of_all.any(|one| one.tenant == *tenant && all(one.range))
    }

    /// How many samples were left out of what was read so far because they are deleted.
    #[must_use]
    pub const fn deleted(&self) -> u64 {
        self.deleted
    }

    /// How many samples of what was read so far others stand for now, or are stale markers before them.
    #[must_use]
    pub const fn folded(&self) -> u64 {
        self.folded
    }

    /// How many samples were left out of what was read so far because another block has one of the
    /// same time, or stands for it.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.settled
    }
}

/// Series, and where their samples lie.
type Found = BTreeMap<(TenantId, LabelSet), Vec<Part>>;

/// Adds a reader's series. In order of the labels each run of entries is decoded once; in order of
/// the pages it would be once for each series.
fn list(reader: &mut TenantReader, number: u32, found: &mut Found) -> Result<(), Error> {
    for ordinal in (0..reader.series_len()).map(Ordinal) {
        if let Some(place) = reader.place(ordinal)? {
            let key = (reader.tenant().clone(), reader.labels(ordinal)?);
            found.entry(key).or_default().push((number, place));
        }
    }
    Ok(())
}

impl BlockContent for MergedBlocks {
    fn series_len(&self) -> usize {
        self.series.len()
    }

    fn series(&self, index: usize) -> Result<ContentSeries, Error> {
        let merged = self.series.get(index).ok_or_else(|| no_series(index))?;
        Ok(ContentSeries {
            tenant: merged.tenant.clone(),
            labels: merged.labels.clone(),
            fingerprint: merged.fingerprint,
        })
    }

    fn read(&mut self, index: usize, samples: &mut Samples) -> Result<(), Error> {
        samples.clear();
        let merged = self.series.get(index).ok_or_else(|| no_series(index))?;
        let mut read = 0;
        for (reader, place) in &merged.parts {
            let reader = self.readers.get_mut(*reader as usize);
            let reader = reader.ok_or_else(|| no_series(index))?;
            reader.read_at(*place, self.range, &mut self.scratch)?;
            read += self.scratch.len();
            samples.merge(&self.scratch);
        }
        self.settled += read.saturating_sub(samples.len()) as u64;
        for deletion in &self.without {
            if deletion.tenant == merged.tenant {
                self.deleted += deletion.apply(&merged.labels, samples) as u64;
            }
        }
        if let Some(thin) = worth_folding(samples, (self.resolution, self.pages), &merged.labels)? {
            self.folded += samples.len().saturating_sub(thin.len()) as u64;
            *samples = thin;
        }
        Ok(())
    }

    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error> {
        let mut all: BTreeMap<(TenantId, String), Vec<Metadata>> = BTreeMap::new();
        for reader in self.readers.iter().rev() {
            if self.is_gone(reader.tenant()) {
                continue;
            }
            for (family, list) in reader.metadata(None)? {
                let place = fingerprint_of_family(reader.tenant(), &family);
                if !self.arc.contains(place) {
                    continue;
                }
                let kept = all.entry((reader.tenant().clone(), family)).or_default();
                kept.extend(list);
            }
        }
        let newest = |list: Vec<Metadata>| {
            let mut kept: Vec<Metadata> = Vec::new();
            for one in list {
                if kept.len() < METADATA_KEPT && !kept.contains(&one) {
                    kept.push(one);
                }
            }
            kept
        };
        Ok(all
            .into_iter()
            .map(|((tenant, family), list)| (tenant, (family, newest(list))))
            .collect())
    }
}

/// A series downsampled, where that is worth it. What comes out must stand for all that went in.
fn worth_folding(
    samples: &Samples,
    (to, pages): (Resolution, Density),
    labels: &LabelSet,
) -> Result<Option<Samples>, Error> {
    let Some(thin) = downsample(samples, to) else {
        return Ok(None);
    };
    let real_last = |samples: &Samples| {
        let pairs = samples.timestamps.iter().zip(&samples.values);
        let real = pairs.rev().find(|(_, value)| !is_stale(**value));
        real.map(|(at, value)| (*at, value.to_bits()))
    };
    if weight(&thin) != weight(samples) || real_last(&thin) != real_last(samples) {
        return Err(Error::Bug(format!(
            "{labels} came out of downsampling with {} samples of {}",
            weight(&thin),
            weight(samples)
        )));
    }
    let is_worth = !samples.folds.is_empty()
        || bytes_of(&thin, pages)? <= bytes_of(samples, pages)?.saturating_add(FOLD_BYTES);
    Ok(is_worth.then_some(thin))
}

/// What a series takes in a page of its own.
fn bytes_of(samples: &Samples, pages: Density) -> Result<usize, Error> {
    let mut page = page::Builder::new(pages);
    let pushed = page.push(page::Columns::from(samples));
    pushed.map_err(|error| Error::Bug(format!("a series cannot be written: {error}")))?;
    let mut bytes = Vec::new();
    page.finish(&mut bytes);
    Ok(bytes.len())
}

fn no_series(index: usize) -> Error {
    Error::Bug(format!("there is no series {index} to be merged"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Given, properties, usual};
    use super::super::{build_block, verify_block};
    use super::*;
    use crate::model::{BlockId, Level, TimestampMs};
    use crate::runtime::CancelToken;
    use crate::store::engine::SstTable;

    fn part(
        directory: &std::path::Path,
        content: &Given,
        range: TimeRange,
        id: u128,
    ) -> Arc<BlockReader> {
        let mut content = content.clone();
        content.series.values_mut().for_each(|s| s.clip(range));
        let properties = super::super::BlockProperties {
            id: BlockId(id),
            ..properties()
        };
        let path = directory.join(id.to_string());
        build_block(&path, &properties, &mut content, &CancelToken::new()).unwrap();
        let table = Arc::new(SstTable::open_file(&path).unwrap());
        Arc::new(BlockReader::open(table, BlockId(id)).unwrap())
    }

    /// Halves that overlap, merged, have the content sum of the whole.
    #[test]
    fn what_was_cut_in_two_merges_to_the_whole() {
        let directory = tempfile::tempdir().unwrap();
        let content = usual();
        let range = |from, to| TimeRange::new(TimestampMs(from), TimestampMs(to));
        let first = part(directory.path(), &content, range(0, 1_000_000), 1);
        let second = part(directory.path(), &content, range(900_000, 7_199_999), 2);
        let whole = part(directory.path(), &content, TimeRange::ALL, 3);
        let blocks = [first, second];
        let arc = properties().arc;
        let mut merged = MergedBlocks::open(&blocks, arc, TimeRange::ALL).unwrap();
        let mut target = properties();
        target.level = Level(1);
        let path = directory.path().join("merged");
        let built = build_block(&path, &target, &mut merged, &CancelToken::new()).unwrap();
        assert_eq!(&built.totals, whole.totals());
        let verified =
            verify_block(&path, target.id, Some(&built.entry), &CancelToken::new()).unwrap();
        assert_eq!(verified.faults, []);
        let table = Arc::new(SstTable::open_file(&path).unwrap());
        let block = BlockReader::open(table, target.id).unwrap();
        let tenant = TenantId::new("other").unwrap();
        let reader = block.tenant(&tenant).unwrap().unwrap();
        let families = reader.metadata(None).unwrap();
        assert_eq!(families.len(), 2);
        assert_eq!(
            families[0].1,
            content.metadata[&(tenant, families[0].0.clone())]
        );
    }

    #[test]
    fn a_wide_block_splits_by_arc() {
        let directory = tempfile::tempdir().unwrap();
        let whole = part(directory.path(), &usual(), TimeRange::ALL, 3);
        let mut sum = 0u128;
        for (number, arc) in RingArc::all(1).enumerate() {
            let blocks = [Arc::clone(&whole)];
            let mut half = MergedBlocks::open(&blocks, arc, TimeRange::ALL).unwrap();
            let target = super::super::BlockProperties {
                arc,
                ..properties()
            };
            let path = directory.path().join(format!("half-{number}"));
            let built = build_block(&path, &target, &mut half, &CancelToken::new()).unwrap();
            sum = sum.wrapping_add(built.totals.content_sum);
        }
        assert_eq!(sum, whole.totals().content_sum);
    }
}
