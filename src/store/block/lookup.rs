//! The parts of a block that a reader asks for: their keys, how they are decoded, how large they are.

use std::sync::{Arc, OnceLock};

use super::cache::{PartKey, PartKind};
use super::layout::{CHUNK, PageRows, damaged};
use super::parts::{Entries, Page, decoded};
use super::reader::{Ordinal, TenantReader};
use crate::codec::postings::Lists;
use crate::codec::series_entry::{Place, SeriesEntries};
use crate::codec::symbols::{self, Symbols};
use crate::codec::{self, page, timestamps};
use crate::store::error::Error;

impl TenantReader {
    /// The names and values of a series' labels, as numbers.
    pub(super) fn label_numbers(&mut self, ordinal: Ordinal) -> Result<Vec<(u32, u32)>, Error> {
        let (entries, at) = self.entries(ordinal)?;
        Ok(entries.run.labels(at).unwrap_or_default().to_vec())
    }

    pub(super) fn place(&mut self, ordinal: Ordinal) -> Result<Option<Place>, Error> {
        let (entries, at) = self.entries(ordinal)?;
        Ok(entries.run.place(at))
    }

    /// The entries of a series' chunk and its position there.
    pub(super) fn entries(&mut self, ordinal: Ordinal) -> Result<(Arc<Entries>, usize), Error> {
        let (chunk, at) = (ordinal.0 / CHUNK, (ordinal.0 % CHUNK) as usize);
        let key = self.part(PartKind::Entries, chunk, 0);
        let (table, shared, id) = (&self.table, &self.shared, self.id);
        let found = self.entries.get_or(chunk, || {
            let decode = |bytes: &[u8]| {
                let run = SeriesEntries::decode(bytes)?;
                let labels = (0..run.len()).map(|_| OnceLock::new()).collect();
                Ok(Entries { run, labels })
            };
            let part = || "series entries".to_owned();
            decoded(
                table,
                shared,
                key,
                self.keys.series(chunk),
                part,
                decode,
                Entries::memory_bytes,
            )
        })?;
        if ordinal.0 >= self.opened.series || at >= found.run.len() {
            let problem = format!("there is no series {}", ordinal.0);
            return Err(damaged(id, "series entries", &problem));
        }
        Ok((found, at))
    }

    /// A chunk of a name's values.
    pub(super) fn values(&mut self, name: u32, chunk: u32) -> Result<Arc<Symbols>, Error> {
        let key = self.part(PartKind::Values, name, chunk);
        let (table, shared) = (&self.table, &self.shared);
        self.values.get_or((name, chunk), || {
            let part = || "label values".to_owned();
            let stored = self.keys.values(name, chunk);
            decoded(
                table,
                shared,
                key,
                stored,
                part,
                symbols::decode,
                Symbols::memory_bytes,
            )
        })
    }

    /// A chunk of a name's postings.
    pub(super) fn postings(&self, name: u32, chunk: u32) -> Result<Arc<Lists>, Error> {
        let key = self.part(PartKind::Postings, name, chunk);
        let stored = self.keys.postings(name, chunk);
        let part = || "postings".to_owned();
        decoded(
            &self.table,
            &self.shared,
            key,
            stored,
            part,
            Lists::open,
            Lists::memory_bytes,
        )
    }

    pub(super) fn page(&mut self, group: u32, number: u16) -> Result<Arc<Page>, Error> {
        let key = self.part(PartKind::Page, group, u32::from(number));
        let (table, shared) = (&self.table, &self.shared);
        self.pages.get_or((group, number), || {
            let decode = |bytes: &[u8]| {
                let input = &mut &*bytes;
                let rows = PageRows::take(input)?;
                let values = page::Reader::open(input)?;
                if rows.len() != values.len() {
                    return Err(codec::Error::Invalid {
                        what: "the rows of a page",
                        value: rows.len() as u64,
                    });
                }
                Ok(Page { rows, values })
            };
            let size = |page: &Page| page.values.memory_bytes();
            let part = || format!("page {number} of group {group}");
            let stored = self.keys.page(group, number);
            decoded(table, shared, key, stored, part, decode, size)
        })
    }

    pub(super) fn column(&mut self, group: u32, number: u16) -> Result<Arc<Vec<i64>>, Error> {
        let key = self.part(PartKind::Column, group, u32::from(number));
        let (table, shared) = (&self.table, &self.shared);
        self.columns.get_or((group, number), || {
            let decode = |bytes: &[u8]| {
                let column = timestamps::decode(bytes)?;
                if column.is_sorted_by(|a, b| a < b) {
                    return Ok(column);
                }
                Err(codec::Error::Invalid {
                    what: "the order of timestamps",
                    value: column.len() as u64,
                })
            };
            let size = |column: &Vec<i64>| size_of_val(column.as_slice());
            let part = || format!("column {number} of group {group}");
            let stored = self.keys.column(group, number);
            decoded(table, shared, key, stored, part, decode, size)
        })
    }

    pub(super) fn part(&self, kind: PartKind, major: u32, minor: u32) -> PartKey {
        PartKey {
            block: self.id,
            tenant: self.opened.number,
            kind,
            major,
            minor,
        }
    }
}
