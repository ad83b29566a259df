//! What a read will want of a block, said before it is read: tables whose bytes are elsewhere fetch
//! it together. For others it costs nothing. And what is decoded of an index before anybody asks.

use super::layout::CHUNK;
use super::reader::{Ordinal, TenantReader};
use crate::model::{METRIC_NAME, Matcher};
use crate::store::error::Error;

/// Values and postings of a label are wanted whole when they take no more than this: looking for
/// the right ones first would be a step more.
const LABEL_BYTES_MAX: u64 = 64 << 10;

/// All timestamp columns of a group, likewise: mostly there is one.
const COLUMNS_BYTES_MAX: u64 = 32 << 10;

impl TenantReader {
    /// A selection will be made.
    pub(in crate::store) fn will_select(&self, matchers: &[Matcher]) {
        for matcher in matchers {
            self.will_list(matcher.name());
        }
    }

    /// The values of a label and who has them will be listed.
    pub(in crate::store) fn will_list(&self, name: &str) {
        if let Some(name) = self.number_of(name) {
            let (values, postings) = self.keys.of_name(name);
            self.table.will_scan(&values, LABEL_BYTES_MAX);
            self.table.will_scan(&postings, LABEL_BYTES_MAX);
        }
    }

    /// Decodes the names of metrics and who has them, which nearly every selection looks at, for whoever asks next; for
    /// as long as it may go on. `false`: not all of it.
    ///
    /// # Errors
    /// When something is damaged or cannot be read.
    pub(in crate::store) fn decode_names(
        &mut self,
        go_on: &dyn Fn() -> bool,
    ) -> Result<bool, Error> {
        self.number_of(METRIC_NAME)
            .map_or(Ok(true), |name| self.decode_label(name, go_on))
    }

    /// The same of the whole index.
    ///
    /// # Errors
    /// As [`TenantReader::decode_names`].
    pub(in crate::store) fn decode_index(
        &mut self,
        go_on: &dyn Fn() -> bool,
    ) -> Result<bool, Error> {
        let names = u32::try_from(self.names().len()).unwrap_or(u32::MAX);
        for name in 0..names {
            if !self.decode_label(name, go_on)? {
                return Ok(false);
            }
        }
        for chunk in 0..self.series_len().div_ceil(CHUNK) {
            if !go_on() {
                return Ok(false);
            }
            self.entries(Ordinal(chunk * CHUNK))?;
        }
        Ok(true)
    }

    fn decode_label(&mut self, name: u32, go_on: &dyn Fn() -> bool) -> Result<bool, Error> {
        for chunk in 0..self.chunks_of(name) {
            if !go_on() {
                return Ok(false);
            }
            self.values(name, chunk)?;
            self.postings(name, chunk)?;
        }
        Ok(true)
    }

    /// Label sets will be read: all that is lacking is wanted before the first of them fails.
    ///
    /// # Errors
    /// When something is lacking, or damaged.
    pub(in crate::store) fn all_labels_here(&mut self, ordinals: &[Ordinal]) -> Result<(), Error> {
        let mut chunks: Vec<u32> = ordinals.iter().map(|ordinal| ordinal.0 / CHUNK).collect();
        chunks.dedup();
        for chunk in chunks {
            self.table.will_get(&self.keys.series(chunk));
        }
        let mut failure = None;
        for ordinal in ordinals {
            let numbers = match self.label_numbers(*ordinal) {
                Ok(numbers) => numbers,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            for (name, value) in numbers {
                if let Err(error) = self.values(name, value / CHUNK) {
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Samples will be read. Says how many pages were not spoken of before.
    ///
    /// # Errors
    /// When it is not known where they lie.
    pub(in crate::store) fn will_read(&mut self, ordinals: &[Ordinal]) -> Result<(), Error> {
        let mut last = None;
        for ordinal in ordinals {
            let Some(place) = self.place(*ordinal)? else {
                continue;
            };
            if last == Some((place.group, place.page)) {
                continue;
            }
            if last.is_none_or(|(group, _)| group != place.group) {
                let columns = self.keys.columns(place.group);
                self.table.will_scan(&columns, COLUMNS_BYTES_MAX);
            }
            self.table
                .will_get(&self.keys.page(place.group, place.page));
            last = Some((place.group, place.page));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::tests::{Given, build, properties};
    use super::super::{BlockReader, DecodedParts};
    use super::*;
    use crate::model::{LabelSet, MatchOp, Samples, TenantId, TimestampMs, Value};
    use crate::store::engine::{Pairs, SstTable, Table};

    /// A table that counts how often it is read.
    struct Counting {
        table: SstTable,
        reads: AtomicUsize,
    }

    impl Table for Counting {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.table.get(key)
        }

        fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.table.scan(prefix, after)
        }
    }

    fn content(tenant: &TenantId) -> Given {
        let mut given = Given::default();
        for number in 0..300 {
            let pairs = [
                ("__name__", format!("metric_{}", number % 150)),
                ("instance", format!("host-{number}")),
            ];
            let labels = LabelSet::from_pairs(&pairs).unwrap();
            let mut samples = Samples::default();
            samples.push(
                TimestampMs(1000),
                Value::Float(f64::from(number)),
                TimestampMs(0),
            );
            given.series.insert((tenant.clone(), labels), samples);
        }
        given
    }

    #[test]
    fn what_is_decoded_ahead_is_not_read_again() {
        let tenant = TenantId::new("anonymous").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let built = build(directory.path(), &mut content(&tenant)).unwrap();
        let bytes = std::fs::read(&built.path).unwrap();
        let table = Arc::new(Counting {
            table: SstTable::open(Box::new(bytes)).unwrap(),
            reads: AtomicUsize::new(0),
        });
        let reads = || table.reads.load(Ordering::Relaxed);
        let open = |parts: &Arc<DecodedParts>| {
            let table: Arc<dyn Table> = Arc::clone(&table) as Arc<dyn Table>;
            let reader = BlockReader::open(table, properties().id).unwrap();
            let reader = reader.sharing(Arc::clone(parts));
            reader.tenant(&tenant).unwrap().unwrap()
        };
        let parts = Arc::new(DecodedParts::new(8 << 20));

        let mut ahead = open(&parts);
        let opened = reads();
        assert!(!ahead.decode_index(&|| false).unwrap());
        assert!(!ahead.decode_names(&|| false).unwrap());
        assert_eq!(reads(), opened, "told to stop, it reads nothing");
        assert!(ahead.decode_names(&|| true).unwrap());
        let names = reads();
        // Values and postings of 150 names, in two chunks each.
        assert_eq!(names, opened + 4);
        assert!(ahead.decode_index(&|| true).unwrap());
        assert_eq!(
            reads(),
            names + 3 + 2 * 3,
            "three chunks of entries and of each of two"
        );

        let mut asking = open(&parts);
        let before = reads();
        let name = Matcher::new("__name__", MatchOp::Regex, "metric_1.*").unwrap();
        let instance = Matcher::new("instance", MatchOp::NotEqual, "host-10").unwrap();
        let found = asking.select(&[name, instance]).unwrap();
        assert_eq!(found.len(), 2 * 61 - 1);
        let (bytes, sets) = (parts.bytes(), found.len());
        for ordinal in found {
            asking.labels(ordinal).unwrap();
        }
        assert_eq!(reads(), before);
        assert!(parts.bytes() > bytes + sets * "__name__metric_1instancehost-1".len());
    }
}
