//! Builds a block file from content.
//!
//! A tenant at a time: its label index from its sorted label sets, then its samples in page order,
//! then its series entries, which say where the samples went. Held in memory: the label sets of
//! all series, one tenant's index, one page's samples.
//!
//! The file is complete and on disk when [`build_block`] returns, and gone when it fails.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::content::BlockContent;
use super::groups::GroupWriter;
use super::index::LabelIndex;
use super::layout::{BlockProperties, BlockTotals, Keys, SERIES_MAX, TenantEntry, encode_metadata};
use crate::model::{
    BlockEntry, Digest, Fingerprint, LabelSet, METRIC_NAME, Samples, TenantId, TimeRange,
    TimestampMs, Uploaded,
};
use crate::runtime::CancelToken;
use crate::source::FamilyMetadata;
use crate::store::digest::{ContentHasher, ContentSum};
use crate::store::engine::{TableSink, build_table};
use crate::store::error::Error;

/// A block file that has been built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuiltBlock {
    /// What the catalog is to say of it; not uploaded.
    pub entry: BlockEntry,
    /// What it holds.
    pub totals: BlockTotals,
    /// Where the file lies.
    pub path: PathBuf,
}

/// Writes a block to a new file at `path`; its directory must exist. File and directory are
/// synced. `cancel` is asked between series.
///
/// # Errors
/// When content cannot be read, the file not be written, or the work is called off; also for
/// content that breaks its promises (a series twice, samples out of order, outside of the range or
/// the arc). No file stays then.
pub fn build_block(
    path: &Path,
    properties: &BlockProperties,
    content: &mut dyn BlockContent,
    cancel: &CancelToken,
) -> Result<BuiltBlock, Error> {
    build(path, properties, content, cancel).inspect_err(|_| {
        // The error that led here says more than one of cleaning up.
        let _ = std::fs::remove_file(path);
    })
}

fn build(
    path: &Path,
    properties: &BlockProperties,
    content: &mut dyn BlockContent,
    cancel: &CancelToken,
) -> Result<BuiltBlock, Error> {
    let mut builder = Builder {
        keys: Keys(properties.id),
        properties,
        content,
        cancel,
        hasher: ContentHasher::new(properties.cluster_id),
        sum: ContentSum::default(),
        totals: BlockTotals {
            series: 0,
            samples: 0,
            times: TimeRange::new(TimestampMs::MAX, TimestampMs::MIN),
            content_sum: 0,
        },
    };
    let totals = build_table(path, |sink| builder.write(sink))?;
    sync_parent(path)?;
    let (digest, size) = digest_of(path)?;
    let entry = BlockEntry {
        id: properties.id,
        range: properties.range,
        level: properties.level,
        round: properties.round,
        size,
        samples: totals.samples,
        content_sum: totals.content_sum,
        digest,
        uploaded: Uploaded::None,
    };
    Ok(BuiltBlock {
        entry,
        totals,
        path: path.to_owned(),
    })
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    for place in [path, parent] {
        File::open(place)
            .and_then(|file| file.sync_all())
            .map_err(Error::io("sync", place))?;
    }
    Ok(())
}

/// The BLAKE3 digest and the length of a file.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of(path: &Path) -> Result<(Digest, u64), Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if len == 0 {
            break;
        }
        hasher.update(buffer.get(..len).unwrap_or_default());
    }
    Ok((Digest(*hasher.finalize().as_bytes()), hasher.count()))
}

/// A series of the content, and how to ask for its samples.
struct Item {
    tenant: TenantId,
    labels: LabelSet,
    fingerprint: Fingerprint,
    index: usize,
}

struct Builder<'a> {
    keys: Keys,
    properties: &'a BlockProperties,
    content: &'a mut dyn BlockContent,
    cancel: &'a CancelToken,
    hasher: ContentHasher,
    sum: ContentSum,
    totals: BlockTotals,
}

impl Builder<'_> {
    fn write(&mut self, sink: &mut dyn TableSink) -> Result<BlockTotals, Error> {
        let items = self.items()?;
        let mut metadata = self.content.metadata()?;
        metadata.sort_unstable_by(|a, b| (&a.0, &a.1.0).cmp(&(&b.0, &b.1.0)));
        let tenants: BTreeSet<&TenantId> = items
            .iter()
            .map(|item| &item.tenant)
            .chain(metadata.iter().map(|(tenant, _)| tenant))
            .collect();
        sink.put(&self.keys.properties(), &self.properties.encode())?;
        let of = |tenant: &TenantId| {
            let from = items.partition_point(|item| item.tenant < *tenant);
            let to = items.partition_point(|item| item.tenant <= *tenant);
            items.get(from..to).unwrap_or_default()
        };
        for (number, tenant) in (0u32..).zip(&tenants) {
            let series = series_of(of(tenant).len())?;
            let entry = TenantEntry { number, series };
            sink.put(&self.keys.tenant(tenant), &entry.encode())?;
        }
        for (number, tenant) in (0u32..).zip(&tenants) {
            self.write_tenant(number, of(tenant), sink)?;
            let from = metadata.partition_point(|(of, _)| of < *tenant);
            let to = metadata.partition_point(|(of, _)| of <= *tenant);
            let families = metadata.get(from..to).unwrap_or_default();
            self.write_metadata(number, families, sink)?;
        }
        self.totals.content_sum = self.sum.0;
        sink.put(&self.keys.totals(), &self.totals.encode())?;
        Ok(self.totals)
    }

    /// The series, sorted by tenant and label set.
    fn items(&self) -> Result<Vec<Item>, Error> {
        let mut items = Vec::with_capacity(self.content.series_len());
        for index in 0..self.content.series_len() {
            let series = self.content.series(index)?;
            if !self.properties.arc.contains(series.fingerprint) {
                return Err(Error::Bug(format!(
                    "{} does not lie in arc {}",
                    series.labels, self.properties.arc
                )));
            }
            items.push(Item {
                tenant: series.tenant,
                labels: series.labels,
                fingerprint: series.fingerprint,
                index,
            });
        }
        items.sort_unstable_by(|a, b| (&a.tenant, &a.labels).cmp(&(&b.tenant, &b.labels)));
        let twice = items.windows(2).find_map(|pair| match pair {
            [a, b] if a.tenant == b.tenant && a.labels == b.labels => Some(&a.labels),
            _ => None,
        });
        match twice {
            Some(labels) => Err(Error::Bug(format!("{labels} is to be written twice"))),
            None => Ok(items),
        }
    }

    fn write_tenant(
        &mut self,
        number: u32,
        items: &[Item],
        sink: &mut dyn TableSink,
    ) -> Result<(), Error> {
        if items.is_empty() {
            return Ok(());
        }
        let keys = self.keys.of_tenant(number);
        let index = LabelIndex::new(items.iter().map(|item| &item.labels));
        index.write(keys, sink)?;
        let mut groups = GroupWriter::new(keys, items.len(), self.properties.pages);
        let mut target = None;
        for ordinal in page_order(items) {
            self.cancel.check()?;
            let Some(item) = items.get(ordinal) else {
                continue;
            };
            let samples = self.samples_of(item)?;
            if samples.is_empty() {
                continue;
            }
            let this = Some(target_of(&item.labels));
            if target != this {
                groups.target_ends(sink)?;
                target = this;
            }
            groups.push(ordinal, &samples, sink)?;
        }
        let places = groups.finish(sink)?;
        index.write_series(
            keys,
            items.iter().map(|item| &item.labels).zip(places),
            sink,
        )
    }

    /// Reads, checks and counts a series' samples.
    fn samples_of(&mut self, item: &Item) -> Result<Samples, Error> {
        let mut samples = Samples::default();
        self.content.read(item.index, &mut samples)?;
        let (Some(first), Some(last)) = (samples.timestamps.first(), samples.timestamps.last())
        else {
            return Ok(samples);
        };
        let times = TimeRange::new(TimestampMs(*first), TimestampMs(*last));
        let range = self.properties.range;
        let rises = samples.timestamps.is_sorted_by(|a, b| a < b);
        if !rises || !range.contains(times.start) || !range.contains(times.end) {
            return Err(Error::Bug(format!(
                "{} has samples out of order or outside of {} to {}",
                item.labels, range.start, range.end
            )));
        }
        self.sum
            .add(self.hasher.samples(item.fingerprint, &samples).0);
        self.totals.series += 1;
        self.totals.samples += samples.len() as u64;
        self.totals.times = TimeRange::new(
            self.totals.times.start.min(times.start),
            self.totals.times.end.max(times.end),
        );
        Ok(samples)
    }

    fn write_metadata(
        &self,
        number: u32,
        families: &[(TenantId, FamilyMetadata)],
        sink: &mut dyn TableSink,
    ) -> Result<(), Error> {
        let keys = self.keys.of_tenant(number);
        for (_, (family, list)) in families {
            sink.put(&keys.metadata(family), &encode_metadata(list))?;
        }
        Ok(())
    }
}

/// The number of a tenant's series, if a block can hold so many.
fn series_of(len: usize) -> Result<u32, Error> {
    u32::try_from(len)
        .ok()
        .filter(|series| *series <= SERIES_MAX)
        .ok_or(Error::Limit {
            what: "the number of one tenant's series in one block",
            value: len as u64,
            limit: u64::from(SERIES_MAX),
            remedy: "split the partition",
        })
}

/// Who was scraped: job and instance.
fn target_of(labels: &LabelSet) -> (&str, &str) {
    let text = |name| labels.get(name).unwrap_or_default();
    (text("job"), text("instance"))
}

/// Ordinals by target, metric name, labels; those of one histogram by the number in `le`.
fn page_order(items: &[Item]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    let labels = |at: usize| items.get(at).map(|item| &item.labels);
    order.sort_by(|a, b| match (labels(*a), labels(*b)) {
        (Some(a), Some(b)) => compare_for_pages(a, b),
        _ => Ordering::Equal,
    });
    order
}

fn compare_for_pages(a: &LabelSet, b: &LabelSet) -> Ordering {
    target_of(a)
        .cmp(&target_of(b))
        .then_with(|| a.metric_name().cmp(&b.metric_name()))
        .then_with(|| {
            let other = |name: &str| name != "le" && name != METRIC_NAME;
            let left = a.iter().filter(|(name, _)| other(name));
            left.cmp(b.iter().filter(|(name, _)| other(name)))
        })
        .then_with(|| bound_of(a).total_cmp(&bound_of(b)))
        .then_with(|| a.cmp(b))
}

/// The number in `le`; what is none sorts last.
fn bound_of(labels: &LabelSet) -> f64 {
    let text = labels.get("le").unwrap_or("NaN");
    text.parse().unwrap_or(f64::NAN)
}
