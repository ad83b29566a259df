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

    /// Decodes the names of metrics and who has them, which nearly every selection looks at, for whoever asks next.
    ///
    /// # Errors
    /// When something is damaged or cannot be read.
    pub(in crate::store) fn decode_names(&mut self) -> Result<(), Error> {
        self.number_of(METRIC_NAME)
            .map_or(Ok(()), |name| self.decode_label(name))
    }

    /// Decodes the whole index, for as long as it may go on.
    ///
    /// # Errors
    /// As [`TenantReader::decode_names`].
    pub(in crate::store) fn decode_index(&mut self, go_on: &dyn Fn() -> bool) -> Result<(), Error> {
        for chunk in 0..self.series_len().div_ceil(CHUNK) {
            if !go_on() {
                return Ok(());
            }
            self.entries(Ordinal(chunk * CHUNK))?;
        }
        let names = u32::try_from(self.names().len()).unwrap_or(u32::MAX);
        for name in (0..names).take_while(|_| go_on()) {
            self.decode_label(name)?;
        }
        Ok(())
    }

    fn decode_label(&mut self, name: u32) -> Result<(), Error> {
        for chunk in 0..self.chunks_of(name) {
            self.values(name, chunk)?;
            self.postings(name, chunk)?;
        }
        Ok(())
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
