//! Opens a block with nothing but its table: ingested, staged, or by ranges of an object.
//!
//! A [`BlockReader`] is small and shared; a [`TenantReader`] belongs to one reader of one tenant's
//! data and keeps what neighbours share: the last pages, columns, entries and values. Its memory
//! is bounded by [`PAGES_KEPT`] and its like, whatever the block's size.
//!
//! Selecting by matchers is in `select.rs`.

use std::sync::Arc;

use super::few::Few;
use super::layout::{
    BlockProperties, BlockTotals, CHUNK, Keys, PageRows, TenantEntry, TenantKeys, damaged,
    decode_metadata,
};
use crate::codec::series_entry::{Place, SeriesEntries};
use crate::codec::symbols::{self, Symbols};
use crate::codec::varint::{take_bytes, take_u32};
use crate::codec::{page, timestamps};
use crate::model::{
    BlockId, Fingerprint, LabelSet, Metadata, Samples, TenantId, TimeRange, fingerprint,
};
use crate::source::FamilyMetadata;
use crate::store::engine::{Table, for_each};
use crate::store::error::Error;

/// Pages a [`TenantReader`] keeps: reads in page order need one, in label order a few help.
const PAGES_KEPT: usize = 2;

/// Timestamp columns kept: a group has one or a few.
const COLUMNS_KEPT: usize = 4;

/// Chunks of series entries kept.
const ENTRIES_KEPT: usize = 4;

/// Chunks of label values kept: one for each label of a series and then some; a few KiB each.
const VALUES_KEPT: usize = 64;

/// The rank of a series among its tenant's in a block, by label set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ordinal(pub u32);

/// An opened block.
pub struct BlockReader {
    table: Arc<dyn Table>,
    keys: Keys,
    properties: BlockProperties,
    totals: BlockTotals,
}

impl BlockReader {
    /// Reads a block's properties and totals.
    ///
    /// # Errors
    /// When the table does not hold the block, is damaged or of a later version.
    pub fn open(table: Arc<dyn Table>, id: BlockId) -> Result<Self, Error> {
        let keys = Keys(id);
        let get = |key: &[u8], part| {
            table
                .get(key)?
                .ok_or_else(|| damaged(id, part, &"it is missing"))
        };
        let properties = BlockProperties::decode(id, &get(&keys.properties(), "the properties")?)?;
        let totals = BlockTotals::decode(id, &get(&keys.totals(), "the totals")?)?;
        Ok(Self {
            table,
            keys,
            properties,
            totals,
        })
    }

    /// What it is.
    #[must_use]
    pub const fn properties(&self) -> &BlockProperties {
        &self.properties
    }

    /// What it holds in sum.
    #[must_use]
    pub const fn totals(&self) -> &BlockTotals {
        &self.totals
    }

    /// Whether any of its samples can be in a range; if not it need not be read.
    #[must_use]
    pub const fn overlaps(&self, range: TimeRange) -> bool {
        self.totals.times.overlaps(range)
    }

    /// The tenants that have something in it, sorted.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn tenants(&self) -> Result<Vec<TenantId>, Error> {
        let prefix = self.keys.tenants();
        let mut tenants = Vec::new();
        for_each(
            |after| self.table.scan(&prefix, after),
            |key, _| {
                let name = key.get(prefix.len()..).unwrap_or_default();
                let tenant = std::str::from_utf8(name)
                    .map_err(|error| damaged(self.keys.0, "a tenant's name", &error))
                    .and_then(|name| {
                        TenantId::new(name)
                            .map_err(|error| damaged(self.keys.0, "a tenant's name", &error))
                    })?;
                tenants.push(tenant);
                Ok(())
            },
        )?;
        Ok(tenants)
    }

    /// Opens one tenant's data; `None` if the block has nothing of it.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn tenant(&self, tenant: &TenantId) -> Result<Option<TenantReader>, Error> {
        let id = self.keys.0;
        let Some(entry) = self.table.get(&self.keys.tenant(tenant))? else {
            return Ok(None);
        };
        let entry = TenantEntry::decode(id, &entry)?;
        let keys = self.keys.of_tenant(entry.number);
        let mut reader = TenantReader {
            table: Arc::clone(&self.table),
            id,
            keys,
            tenant: tenant.clone(),
            series: entry.series,
            names: Symbols::default(),
            value_counts: Vec::new(),
            entries: Few::new(ENTRIES_KEPT),
            values: Few::new(VALUES_KEPT),
            pages: Few::new(PAGES_KEPT),
            columns: Few::new(COLUMNS_KEPT),
        };
        if entry.series > 0 {
            reader.open_names()?;
        }
        Ok(Some(reader))
    }
}

/// A page and which rows each of its series has.
struct Page {
    rows: PageRows,
    values: page::Reader,
}

/// One tenant's data in a block, for one reader at a time.
pub struct TenantReader {
    table: Arc<dyn Table>,
    id: BlockId,
    keys: TenantKeys,
    tenant: TenantId,
    series: u32,
    /// Label names; their positions are their numbers.
    pub(super) names: Symbols,
    /// How many values each name has.
    pub(super) value_counts: Vec<u32>,
    entries: Few<u32, SeriesEntries>,
    values: Few<(u32, u32), Symbols>,
    pages: Few<(u32, u16), Page>,
    columns: Few<(u32, u16), Vec<i64>>,
}

impl TenantReader {
    /// Whose data this is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// How many series there are; their ordinals are the numbers below.
    #[must_use]
    pub const fn series_len(&self) -> u32 {
        self.series
    }

    /// The labels of a series.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, or there is no such series.
    pub fn labels(&mut self, ordinal: Ordinal) -> Result<LabelSet, Error> {
        let (entries, at) = self.entry(ordinal)?;
        let numbers = entries.labels(at).unwrap_or_default();
        let mut chunks = Vec::with_capacity(numbers.len());
        for (name, value) in numbers {
            chunks.push(self.values(*name, value / CHUNK)?);
        }
        let mut pairs = Vec::with_capacity(numbers.len());
        for ((name, value), chunk) in numbers.iter().zip(&chunks) {
            let name = self.names.get(*name as usize);
            let value = chunk.get((*value % CHUNK) as usize);
            let pair = name.zip(value);
            pairs.push(pair.ok_or_else(|| self.damaged("a series entry", &"it names no label"))?);
        }
        LabelSet::from_pairs(&pairs).map_err(|error| self.damaged("a series entry", &error))
    }

    /// The fingerprint of a series.
    ///
    /// # Errors
    /// As [`TenantReader::labels`].
    pub fn fingerprint(&mut self, ordinal: Ordinal) -> Result<Fingerprint, Error> {
        let labels = self.labels(ordinal)?;
        Ok(fingerprint(&self.tenant, &labels))
    }

    /// The ordinal of a label set, if the block has that series.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn find(&mut self, labels: &LabelSet) -> Result<Option<Ordinal>, Error> {
        let (mut low, mut high) = (0, self.series);
        while low < high {
            let middle = low.midpoint(high);
            match self.labels(Ordinal(middle))?.cmp(labels) {
                std::cmp::Ordering::Equal => return Ok(Some(Ordinal(middle))),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// Clears `samples` and fills in those of a series that are in a range.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, or there is no such series.
    pub fn read(
        &mut self,
        ordinal: Ordinal,
        range: TimeRange,
        samples: &mut Samples,
    ) -> Result<(), Error> {
        samples.clear();
        let (entries, at) = self.entry(ordinal)?;
        let Some(place) = entries.place(at) else {
            return Ok(());
        };
        let page = self.page(place.group, place.page)?;
        let part = || page_name(place);
        let rows = page
            .rows
            .get(usize::from(place.slot))
            .ok_or_else(|| self.damaged(&part(), &"it has no such series"))?;
        let column = self.column(place.group, rows.column)?;
        let times = rows
            .first
            .checked_add(rows.count)
            .and_then(|end| column.get(rows.first..end))
            .ok_or_else(|| self.damaged(&part(), &"its column has no such rows"))?;
        let ends = times.first().zip(times.last());
        if ends.is_none_or(|(from, to)| *to < range.start.0 || *from > range.end.0) {
            return Ok(());
        }
        page.values
            .read(usize::from(place.slot), times.len(), samples)
            .map_err(|error| self.damaged(&part(), &error))?;
        samples.timestamps.extend_from_slice(times);
        samples.clip(range);
        Ok(())
    }

    /// Sorts ordinals by where their samples lie, so that reading them in turn decodes each page
    /// once.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, or there is no such series.
    pub fn sort_by_place(&mut self, ordinals: &mut Vec<Ordinal>) -> Result<(), Error> {
        let mut placed = Vec::with_capacity(ordinals.len());
        for ordinal in ordinals.iter() {
            let (entries, at) = self.entry(*ordinal)?;
            placed.push((entries.place(at), *ordinal));
        }
        placed.sort_unstable();
        ordinals.clear();
        ordinals.extend(placed.into_iter().map(|(_, ordinal)| ordinal));
        Ok(())
    }

    /// All ordinals, in the order of [`TenantReader::sort_by_place`].
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn all_by_place(&mut self) -> Result<Vec<Ordinal>, Error> {
        let mut ordinals: Vec<Ordinal> = (0..self.series).map(Ordinal).collect();
        self.sort_by_place(&mut ordinals)?;
        Ok(ordinals)
    }

    /// Metadata of one family, or of all, sorted by family.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn metadata(&self, family: Option<&str>) -> Result<Vec<FamilyMetadata>, Error> {
        let decode = |bytes: &[u8]| decode_metadata(self.id, bytes);
        if let Some(family) = family {
            let found = self.table.get(&self.keys.metadata(family))?;
            let list = found.map(|bytes| decode(&bytes)).transpose()?;
            return Ok(list
                .map(|list: Vec<Metadata>| (family.to_owned(), list))
                .into_iter()
                .collect());
        }
        let prefix = self.keys.metadata("");
        let mut families = Vec::new();
        for_each(
            |after| self.table.scan(&prefix, after),
            |key, value| {
                let name = key.get(prefix.len()..).unwrap_or_default();
                let name = std::str::from_utf8(name)
                    .map_err(|error| self.damaged("a metric family's name", &error))?;
                families.push((name.to_owned(), decode(value)?));
                Ok(())
            },
        )?;
        Ok(families)
    }

    /// The entries of a series' chunk and its position there.
    pub(super) fn entry(&mut self, ordinal: Ordinal) -> Result<(Arc<SeriesEntries>, usize), Error> {
        let (chunk, at) = (ordinal.0 / CHUNK, (ordinal.0 % CHUNK) as usize);
        let (table, id, key) = (&self.table, self.id, self.keys.series(chunk));
        let entries = self.entries.get_or(chunk, || {
            let part = "series entries";
            let bytes = must_get(table, id, &key, part)?;
            SeriesEntries::decode(&bytes).map_err(|error| damaged(id, part, &error))
        })?;
        if ordinal.0 >= self.series || at >= entries.len() {
            let problem = format!("there is no series {}", ordinal.0);
            return Err(self.damaged("series entries", &problem));
        }
        Ok((entries, at))
    }

    /// A chunk of a name's values.
    pub(super) fn values(&mut self, name: u32, chunk: u32) -> Result<Arc<Symbols>, Error> {
        let (table, id, key) = (&self.table, self.id, self.keys.values(name, chunk));
        self.values.get_or((name, chunk), || {
            let part = "label values";
            let bytes = must_get(table, id, &key, part)?;
            symbols::decode(&bytes).map_err(|error| damaged(id, part, &error))
        })
    }

    /// The bytes of a chunk of a name's postings.
    pub(super) fn postings(&self, name: u32, chunk: u32) -> Result<Vec<u8>, Error> {
        must_get(
            &self.table,
            self.id,
            &self.keys.postings(name, chunk),
            "postings",
        )
    }

    fn page(&mut self, group: u32, number: u16) -> Result<Arc<Page>, Error> {
        let (table, id, key) = (&self.table, self.id, self.keys.page(group, number));
        self.pages.get_or((group, number), || {
            let part = format!("page {number} of group {group}");
            let bytes = must_get(table, id, &key, &part)?;
            let input = &mut &*bytes;
            let rows = PageRows::take(input).map_err(|error| damaged(id, &part, &error))?;
            let values = page::Reader::open(input).map_err(|error| damaged(id, &part, &error))?;
            if rows.len() != values.len() {
                return Err(damaged(id, &part, &"it has rows for other series"));
            }
            Ok(Page { rows, values })
        })
    }

    fn column(&mut self, group: u32, number: u16) -> Result<Arc<Vec<i64>>, Error> {
        let (table, id, key) = (&self.table, self.id, self.keys.column(group, number));
        self.columns.get_or((group, number), || {
            let part = format!("column {number} of group {group}");
            let bytes = must_get(table, id, &key, &part)?;
            let column = timestamps::decode(&bytes).map_err(|error| damaged(id, &part, &error))?;
            if column.is_sorted_by(|a, b| a < b) {
                return Ok(column);
            }
            Err(damaged(id, &part, &"its timestamps do not rise"))
        })
    }

    fn open_names(&mut self) -> Result<(), Error> {
        let part = "label names";
        let bytes = must_get(&self.table, self.id, &self.keys.names(), part)?;
        let input = &mut &*bytes;
        let mut read = || {
            let names = symbols::decode(take_bytes(input, part)?)?;
            let counts = (0..names.len())
                .map(|_| take_u32(input, part))
                .collect::<Result<Vec<u32>, crate::codec::Error>>()?;
            Ok((names, counts))
        };
        let (names, counts) =
            read().map_err(|error: crate::codec::Error| damaged(self.id, part, &error))?;
        self.names = names;
        self.value_counts = counts;
        Ok(())
    }

    pub(super) fn damaged(&self, part: &str, problem: &dyn std::fmt::Display) -> Error {
        damaged(self.id, part, problem)
    }
}

fn page_name(place: Place) -> String {
    let Place { group, page, slot } = place;
    format!("series {slot} of page {page} of group {group}")
}

fn must_get(table: &Arc<dyn Table>, id: BlockId, key: &[u8], part: &str) -> Result<Vec<u8>, Error> {
    table
        .get(key)?
        .ok_or_else(|| damaged(id, part, &"its key is missing"))
}
