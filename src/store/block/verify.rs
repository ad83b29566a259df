//! Reads every byte of a block file and says what is wrong, with which series.
//!
//! Three ways of looking, because each sees what the others cannot: the digest of the whole file
//! (against the catalog), every data block of the table by its checksum, and every series by
//! decoding it; then the label index is built again and compared, and the content sum.
//!
//! Memory: the label sets of one tenant and its index, as when the block was written.

use std::path::Path;
use std::sync::Arc;

use super::index::LabelIndex;
use super::layout::{BlockTotals, CHUNK};
use super::reader::{BlockReader, Ordinal, TenantReader};
use super::writer::digest_of;
use crate::model::{BlockEntry, BlockId, LabelSet, Samples, TenantId, TimeRange, TimestampMs};
use crate::runtime::CancelToken;
use crate::store::digest::{ContentHasher, ContentSum};
use crate::store::engine::SstTable;
use crate::store::error::Error;

/// More faults than this are not listed: the file is lost, and its replica is needed.
const FAULTS_MAX: usize = 100;

/// Something wrong with a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Whose data it is about, if it is about one tenant's.
    pub tenant: Option<TenantId>,
    /// Which series, if it is about one.
    pub series: Option<LabelSet>,
    /// Samples of which times may be lost or wrong.
    pub range: TimeRange,
    /// What is wrong, and where.
    pub problem: String,
}

/// What a look at a whole block found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Bytes of the file.
    pub size: u64,
    /// Keys of the table that could be read.
    pub keys: u64,
    /// Series whose samples could be read.
    pub series: u64,
    /// Samples of these.
    pub samples: u64,
    /// What is wrong; empty: nothing.
    pub faults: Vec<Fault>,
}

/// Verifies a block file; `expected` is what the catalog says of it, if it is known.
///
/// # Errors
/// Only when the file cannot be read at all or the work is called off: damage is in the answer.
pub fn verify_block(
    path: &Path,
    id: BlockId,
    expected: Option<&BlockEntry>,
    cancel: &CancelToken,
) -> Result<Verified, Error> {
    let (digest, size) = digest_of(path)?;
    let mut found = Finder {
        range: expected.map_or(TimeRange::ALL, |entry| entry.range),
        verified: Verified {
            size,
            ..Verified::default()
        },
        sum: ContentSum::default(),
        times: TimeRange::new(TimestampMs::MAX, TimestampMs::MIN),
        cancel,
    };
    if let Some(entry) = expected {
        found.expect("the file's digest", digest, entry.digest);
        found.expect("the file's length", size, entry.size);
    }
    match SstTable::open_file(path) {
        Ok(table) => found.table(table, id, expected)?,
        Err(error) => found.fault(None, None, error)?,
    }
    Ok(found.verified)
}

struct Finder<'a> {
    range: TimeRange,
    verified: Verified,
    sum: ContentSum,
    times: TimeRange,
    cancel: &'a CancelToken,
}

impl Finder<'_> {
    fn note(&mut self, tenant: Option<&TenantId>, series: Option<&LabelSet>, problem: String) {
        if self.verified.faults.len() < FAULTS_MAX {
            self.verified.faults.push(Fault {
                tenant: tenant.cloned(),
                series: series.cloned(),
                range: self.range,
                problem,
            });
        }
    }

    /// Notes damage; passes on what is none.
    fn fault(
        &mut self,
        tenant: Option<&TenantId>,
        series: Option<&LabelSet>,
        error: Error,
    ) -> Result<(), Error> {
        match error {
            Error::Corrupt { .. } | Error::Version { .. } => {
                self.note(tenant, series, error.to_string());
                Ok(())
            }
            other => Err(other),
        }
    }

    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, wanted: T) {
        if found != wanted {
            self.note(None, None, format!("{what} is {found:?}, not {wanted:?}"));
        }
    }

    fn table(
        &mut self,
        table: SstTable,
        id: BlockId,
        expected: Option<&BlockEntry>,
    ) -> Result<(), Error> {
        let (keys, damage) = table.check(FAULTS_MAX);
        self.verified.keys = keys;
        for error in damage {
            self.fault(None, None, error)?;
        }
        let opened = BlockReader::open(Arc::new(table), id)
            .and_then(|block| block.tenants().map(|tenants| (block, tenants)));
        let (block, tenants) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.fault(None, None, error),
        };
        self.range = block.properties().range;
        let hasher = ContentHasher::new(block.properties().cluster_id);
        for tenant in &tenants {
            let looked = self.tenant(&block, tenant, &hasher);
            looked.or_else(|error| self.fault(Some(tenant), None, error))?;
        }
        if self.verified.faults.is_empty() {
            let counted = BlockTotals {
                series: self.verified.series,
                samples: self.verified.samples,
                times: self.times,
                content_sum: self.sum.0,
            };
            self.expect("what the block holds", counted, *block.totals());
        }
        if let Some(entry) = expected {
            let sum = block.totals().content_sum;
            self.expect("the content sum", sum, entry.content_sum);
        }
        Ok(())
    }

    fn tenant(
        &mut self,
        block: &BlockReader,
        tenant: &TenantId,
        hasher: &ContentHasher,
    ) -> Result<(), Error> {
        let Some(mut reader) = block.tenant(tenant)? else {
            return Ok(());
        };
        let sets = self.label_sets(&mut reader)?;
        let mut ordinals: Vec<Ordinal> = sets.iter().map(|(ordinal, _)| *ordinal).collect();
        reader.sort_by_place(&mut ordinals)?;
        for ordinal in ordinals {
            self.cancel.check()?;
            let at = sets.binary_search_by_key(&ordinal, |(at, _)| *at);
            let labels = at
                .ok()
                .and_then(|at| sets.get(at))
                .map(|(_, labels)| labels);
            self.series(&mut reader, ordinal, labels, block, hasher)?;
        }
        if sets.len() == reader.series_len() as usize {
            let labels: Vec<&LabelSet> = sets.iter().map(|(_, labels)| labels).collect();
            if !labels.is_sorted_by(|a, b| a < b) {
                let problem = "its series are not in label order".to_owned();
                self.note(Some(tenant), None, problem);
            }
            check_index(&mut reader, &labels)?;
        }
        reader.metadata(None)?;
        Ok(())
    }

    /// The label sets that can be read.
    fn label_sets(&mut self, reader: &mut TenantReader) -> Result<Vec<(Ordinal, LabelSet)>, Error> {
        let tenant = reader.tenant().clone();
        let mut sets = Vec::new();
        let mut next = 0;
        while next < reader.series_len() {
            self.cancel.check()?;
            let ordinal = Ordinal(next);
            match reader.labels(ordinal) {
                Ok(labels) => {
                    sets.push((ordinal, labels));
                    next += 1;
                }
                Err(error) => {
                    self.fault(Some(&tenant), None, error)?;
                    // What is wrong with one entry is mostly wrong with its whole chunk.
                    next = (next / CHUNK + 1).saturating_mul(CHUNK);
                }
            }
        }
        Ok(sets)
    }

    fn series(
        &mut self,
        reader: &mut TenantReader,
        ordinal: Ordinal,
        labels: Option<&LabelSet>,
        block: &BlockReader,
        hasher: &ContentHasher,
    ) -> Result<(), Error> {
        let tenant = reader.tenant().clone();
        let mut samples = Samples::default();
        if let Err(error) = reader.read(ordinal, TimeRange::ALL, &mut samples) {
            return self.fault(Some(&tenant), labels, error);
        }
        let fingerprint = reader.fingerprint(ordinal)?;
        if !block.properties().arc.contains(fingerprint) {
            let problem = format!("it does not lie in arc {}", block.properties().arc);
            self.note(Some(&tenant), labels, problem);
        }
        let (Some(first), Some(last)) = (samples.timestamps.first(), samples.timestamps.last())
        else {
            return Ok(());
        };
        let times = TimeRange::new(TimestampMs(*first), TimestampMs(*last));
        if times.start < self.range.start || times.end > self.range.end {
            let problem = format!("it has samples from {} to {}", times.start, times.end);
            self.note(Some(&tenant), labels, problem);
        }
        self.times.start = self.times.start.min(times.start);
        self.times.end = self.times.end.max(times.end);
        self.sum.add(hasher.samples(fingerprint, &samples).0);
        self.verified.series += 1;
        self.verified.samples += samples.len() as u64;
        Ok(())
    }
}

/// Compares names, values and postings with those of the label sets.
fn check_index(reader: &mut TenantReader, sets: &[&LabelSet]) -> Result<(), Error> {
    let index = LabelIndex::new(sets.iter().copied());
    let bound = reader.series_len();
    let wrong = |reader: &TenantReader, name: &str| {
        reader.damaged("the label index", &format!("it differs for {name:?}"))
    };
    if !reader.names().iter().eq(index.names().keys().copied()) {
        return Err(wrong(reader, "the names"));
    }
    for (number, (name, values)) in (0u32..).zip(index.names()) {
        let stored = reader.label_values(name, &[])?;
        if !stored.iter().eq(values.keys()) {
            return Err(wrong(reader, name));
        }
        let lists: Vec<&Vec<u32>> = values.values().collect();
        for (chunk, wanted) in (0u32..).zip(lists.chunks(CHUNK as usize)) {
            let found = reader.postings(number, chunk)?;
            for (at, ordinals) in wanted.iter().enumerate() {
                let list = found
                    .get(at, bound)
                    .map_err(|error| reader.damaged("postings", &error))?;
                if !list.iter().eq(ordinals.iter().copied()) {
                    return Err(wrong(reader, name));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, properties, usual};
    use super::*;

    fn verify(path: &Path, entry: Option<&BlockEntry>) -> Verified {
        verify_block(path, properties().id, entry, &CancelToken::new()).unwrap()
    }

    #[test]
    fn a_sound_block_has_no_faults() {
        let directory = tempfile::tempdir().unwrap();
        let built = build(directory.path(), &mut usual()).unwrap();
        let verified = verify(&built.path, Some(&built.entry));
        assert_eq!(verified.faults, []);
        assert_eq!(verified.series, built.totals.series);
        assert_eq!(verified.samples, built.totals.samples);
        let mut other = built.entry.clone();
        other.content_sum ^= 1;
        other.digest.0[0] ^= 1;
        assert_eq!(verify(&built.path, Some(&other)).faults.len(), 2);
    }

    /// Catches a byte that nobody looks at: each flip is found by the digest, and where it hits
    /// data, by the table's checksum too; the rest of the series is still read.
    #[test]
    fn every_flipped_byte_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let mut content = usual();
        for (number, samples) in (1u32..).zip(content.series.values_mut()) {
            let noise = |value: &mut f64| *value = (*value + f64::from(number)).sin();
            samples.values.iter_mut().take(60).for_each(noise);
        }
        let built = build(directory.path(), &mut content).unwrap();
        let good = std::fs::read(&built.path).unwrap();
        let mut named = 0;
        for at in (0..good.len()).step_by(1997) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&built.path, &bad).unwrap();
            let verified = verify(&built.path, Some(&built.entry));
            assert!(!verified.faults.is_empty(), "byte {at}");
            if verified.faults.iter().any(|fault| fault.series.is_some()) {
                named += 1;
                assert!(verified.series < built.totals.series);
            }
        }
        assert!(named > 0, "no fault names a series in {} bytes", good.len());
    }
}
