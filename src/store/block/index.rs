//! Builds one tenant's label index: names, values, postings, series entries.
//!
//! All of it is held in memory while a tenant is written: about 4 bytes for each label of each
//! series, beside the label sets themselves.

use std::collections::{BTreeMap, HashMap};

use super::layout::{CHUNK, TenantKeys, unencodable};
use crate::codec::series_entry::{Place, SeriesEntries};
use crate::codec::varint::{put_bytes, put_len};
use crate::codec::{postings, symbols};
use crate::model::LabelSet;
use crate::store::engine::TableSink;
use crate::store::error::Error;

/// For each name its values, for each of these the ordinals that have it, rising.
pub(super) struct LabelIndex<'a> {
    names: BTreeMap<&'a str, BTreeMap<&'a str, Vec<u32>>>,
}

impl<'a> LabelIndex<'a> {
    /// The index of label sets that are sorted; their positions are the ordinals.
    pub(super) fn new(series: impl Iterator<Item = &'a LabelSet>) -> Self {
        let mut names: BTreeMap<&str, BTreeMap<&str, Vec<u32>>> = BTreeMap::new();
        for (ordinal, labels) in (0u32..).zip(series) {
            for (name, value) in labels.iter() {
                let values = names.entry(name).or_default();
                values.entry(value).or_default().push(ordinal);
            }
        }
        Self { names }
    }

    /// All names, with all values and the ordinals that have these, sorted.
    pub(super) const fn names(&self) -> &BTreeMap<&'a str, BTreeMap<&'a str, Vec<u32>>> {
        &self.names
    }

    /// Writes names, values and postings.
    pub(super) fn write(&self, keys: TenantKeys, sink: &mut dyn TableSink) -> Result<(), Error> {
        let names: Vec<&str> = self.names.keys().copied().collect();
        let mut out = Vec::new();
        symbols::encode(&names, &mut out).map_err(unencodable)?;
        let mut value = Vec::new();
        put_bytes(&mut value, &out);
        for values in self.names.values() {
            put_len(&mut value, values.len());
        }
        sink.put(&keys.names(), &value)?;
        for (number, values) in (0u32..).zip(self.names.values()) {
            let values: Vec<&str> = values.keys().copied().collect();
            for (chunk, values) in (0u32..).zip(values.chunks(CHUNK as usize)) {
                out.clear();
                symbols::encode(values, &mut out).map_err(unencodable)?;
                sink.put(&keys.values(number, chunk), &out)?;
            }
        }
        for (number, values) in (0u32..).zip(self.names.values()) {
            let lists: Vec<&[u32]> = values.values().map(Vec::as_slice).collect();
            for (chunk, lists) in (0u32..).zip(lists.chunks(CHUNK as usize)) {
                out.clear();
                postings::encode(lists, &mut out).map_err(unencodable)?;
                sink.put(&keys.postings(number, chunk), &out)?;
            }
        }
        Ok(())
    }

    /// Writes the series entries: all label sets again, in order, with where the samples lie.
    pub(super) fn write_series<'b>(
        &self,
        keys: TenantKeys,
        series: impl Iterator<Item = (&'b LabelSet, Option<Place>)>,
        sink: &mut dyn TableSink,
    ) -> Result<(), Error> {
        let numbers = self.numbers();
        let (mut entries, mut chunk) = (SeriesEntries::default(), 0u32);
        let mut series = series.peekable();
        while let Some((labels, place)) = series.next() {
            let mut refs = Vec::with_capacity(labels.len());
            for (name, value) in labels.iter() {
                let found = numbers
                    .get(name)
                    .and_then(|(number, values)| Some((*number, *values.get(value)?)));
                refs.push(found.ok_or_else(|| {
                    Error::Bug(format!("{name}={value:?} is missing in its own index"))
                })?);
            }
            entries.push(refs, place);
            if entries.len() == CHUNK as usize || series.peek().is_none() {
                let mut out = Vec::new();
                entries.encode(&mut out).map_err(unencodable)?;
                sink.put(&keys.series(chunk), &out)?;
                entries = SeriesEntries::default();
                chunk += 1;
            }
        }
        Ok(())
    }

    /// The numbers of all names, and of each name's values.
    fn numbers(&self) -> HashMap<&str, (u32, HashMap<&str, u32>)> {
        (0u32..)
            .zip(&self.names)
            .map(|(number, (name, values))| {
                let values = values.keys().copied().zip(0u32..).collect();
                (*name, (number, values))
            })
            .collect()
    }
}
