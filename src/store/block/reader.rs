//! Opens a block with nothing but its table: ingested, staged, or by ranges of an object.
//!
//! A [`BlockReader`] is small and shared; a [`TenantReader`] belongs to one reader of one tenant's
//! data and keeps what neighbours share: the last pages, columns, entries and values. Its memory
//! is bounded by [`PAGES_KEPT`] and its like, whatever the block's size.
//!
//! Selecting by matchers is in `select.rs`.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::cache::{DecodedParts, PartKind};
use super::few::Few;
use super::layout::{
    BlockProperties, BlockTotals, CHUNK, Keys, TenantEntry, TenantKeys, damaged, decode_metadata,
};
use super::parts::{Entries, Page, memory_of, must_get};
use super::picked::Picked;
use crate::codec::page;
use crate::codec::symbols::{self, Symbols};
use crate::codec::varint::{take_bytes, take_u32};
use crate::model::{
    BlockId, Fingerprint, LabelSet, Metadata, RingArc, Samples, TenantId, TimeRange, fingerprint,
    fingerprint_of_family,
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
    known: Arc<Known>,
    /// Where decoded parts are kept for other readers.
    shared: Option<Arc<DecodedParts>>,
}

/// What was read of a block when it was opened.
pub(in crate::store) struct Known {
    keys: Keys,
    properties: BlockProperties,
    totals: BlockTotals,
    /// The tenant that was opened last.
    latest: Mutex<Option<(TenantId, Option<Arc<Opened>>)>>,
}

/// What is read of a tenant before anything is asked of it.
pub(super) struct Opened {
    pub(super) number: u32,
    pub(super) series: u32,
    /// Label names; their positions are their numbers.
    names: Symbols,
    /// How many values each name has.
    value_counts: Vec<u32>,
}

impl BlockReader {
    /// Reads a block's properties and totals.
    ///
    /// # Errors
    /// When the table does not hold the block, is damaged or of a later version.
    pub fn open(table: Arc<dyn Table>, id: BlockId) -> Result<Self, Error> {
        let keys = Keys(id);
        table.will_get(&keys.properties());
        table.will_get(&keys.totals());
        let get = |key: &[u8], part| {
            table
                .get(key)?
                .ok_or_else(|| damaged(id, part, &"it is missing"))
        };
        let properties = BlockProperties::decode(id, &get(&keys.properties(), "the properties")?)?;
        let totals = BlockTotals::decode(id, &get(&keys.totals(), "the totals")?)?;
        let known = Known {
            keys,
            properties,
            totals,
            latest: Mutex::new(None),
        };
        Ok(Self::over(table, Arc::new(known)))
    }

    /// A block that was opened before, over another table of the same bytes.
    pub(in crate::store) fn over(table: Arc<dyn Table>, known: Arc<Known>) -> Self {
        Self {
            table,
            known,
            shared: None,
        }
    }

    /// What was read of it.
    pub(in crate::store) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known)
    }

    /// Shares decoded parts with other readers, of this block and of others.
    #[must_use]
    pub(in crate::store) fn sharing(mut self, parts: Arc<DecodedParts>) -> Self {
        self.shared = Some(parts);
        self
    }

    /// What it is.
    #[must_use]
    pub fn properties(&self) -> &BlockProperties {
        &self.known.properties
    }

    /// What it holds in sum.
    #[must_use]
    pub fn totals(&self) -> &BlockTotals {
        &self.known.totals
    }

    /// Whether any of its samples can be in a range; if not it need not be read.
    #[must_use]
    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.known.totals.times.overlaps(range)
    }

    /// The tenants that have something in it, sorted.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn tenants(&self) -> Result<Vec<TenantId>, Error> {
        let prefix = self.known.keys.tenants();
        let mut tenants = Vec::new();
        for_each(
            |after| self.table.scan(&prefix, after),
            |key, _| {
                let name = key.get(prefix.len()..).unwrap_or_default();
                let tenant = std::str::from_utf8(name)
                    .map_err(|error| damaged(self.known.keys.0, "a tenant's name", &error))
                    .and_then(|name| {
                        TenantId::new(name)
                            .map_err(|error| damaged(self.known.keys.0, "a tenant's name", &error))
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
        let Some(opened) = self.opened(tenant)? else {
            return Ok(None);
        };
        Ok(Some(TenantReader {
            table: Arc::clone(&self.table),
            id: self.known.keys.0,
            keys: self.known.keys.of_tenant(opened.number),
            tenant: tenant.clone(),
            shared: self.shared.clone(),
            opened,
            entries: Few::new(ENTRIES_KEPT),
            values: Few::new(VALUES_KEPT),
            pages: Few::new(PAGES_KEPT),
            columns: Few::new(COLUMNS_KEPT),
            picked: None,
            scratch: page::Scratch::default(),
            only: Arc::default(),
        }))
    }

    fn opened(&self, tenant: &TenantId) -> Result<Option<Arc<Opened>>, Error> {
        if let Some((known, opened)) = &*self.known.latest.lock()
            && known == tenant
        {
            return Ok(opened.clone());
        }
        let opened = match self.table.get(&self.known.keys.tenant(tenant))? {
            Some(bytes) => Some(Arc::new(self.open_tenant(&bytes)?)),
            None => None,
        };
        *self.known.latest.lock() = Some((tenant.clone(), opened.clone()));
        Ok(opened)
    }

    fn open_tenant(&self, entry: &[u8]) -> Result<Opened, Error> {
        let id = self.known.keys.0;
        let entry = TenantEntry::decode(id, entry)?;
        let mut opened = Opened {
            number: entry.number,
            series: entry.series,
            names: Symbols::default(),
            value_counts: Vec::new(),
        };
        if entry.series == 0 {
            return Ok(opened);
        }
        let part = "label names";
        let bytes = must_get(
            &self.table,
            id,
            &self.known.keys.of_tenant(entry.number).names(),
            part,
        )?;
        let input = &mut &*bytes;
        let mut read = || {
            opened.names = symbols::decode(take_bytes(input, part)?)?;
            opened.value_counts = (0..opened.names.len())
                .map(|_| take_u32(input, part))
                .collect::<Result<Vec<u32>, crate::codec::Error>>()?;
            Ok(())
        };
        read().map_err(|error: crate::codec::Error| damaged(id, part, &error))?;
        Ok(opened)
    }
}

/// One tenant's data in a block, for one reader at a time.
pub struct TenantReader {
    pub(super) table: Arc<dyn Table>,
    pub(super) id: BlockId,
    pub(super) keys: TenantKeys,
    tenant: TenantId,
    pub(super) shared: Option<Arc<DecodedParts>>,
    pub(super) opened: Arc<Opened>,
    pub(super) entries: Few<u32, Entries>,
    pub(super) values: Few<(u32, u32), Symbols>,
    pub(super) pages: Few<(u32, u16), Page>,
    pub(super) columns: Few<(u32, u16), Vec<i64>>,
    pub(super) picked: Option<Picked>,
    pub(super) scratch: page::Scratch,
    /// What is shown lies in these arcs; empty: all of it is.
    only: Arc<[RingArc]>,
}

impl TenantReader {
    /// Whose data this is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Selects from now on only what lies in some arcs; none named: everything, as before.
    #[must_use]
    pub(in crate::store) fn only(mut self, arcs: &Arc<[RingArc]>) -> Self {
        self.only = Arc::clone(arcs);
        self
    }

    pub(super) fn shows_all(&self) -> bool {
        self.only.is_empty()
    }

    /// Whether something of a fingerprint is selected.
    pub(super) fn shows(&self, fingerprint: Fingerprint) -> bool {
        self.shows_all() || self.only.iter().any(|arc| arc.contains(fingerprint))
    }

    /// How many series there are; their ordinals are the numbers below.
    #[must_use]
    pub fn series_len(&self) -> u32 {
        self.opened.series
    }

    /// Label names; their positions are their numbers.
    pub(super) fn names(&self) -> &Symbols {
        &self.opened.names
    }

    /// How many values a name has.
    pub(super) fn value_count(&self, name: u32) -> u32 {
        let counts = &self.opened.value_counts;
        counts.get(name as usize).copied().unwrap_or(0)
    }

    /// The labels of a series.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, or there is no such series.
    pub fn labels(&mut self, ordinal: Ordinal) -> Result<LabelSet, Error> {
        let (entries, at) = self.entries(ordinal)?;
        if let Some(known) = entries.labels.get(at).and_then(OnceLock::get) {
            return Ok(known.clone());
        }
        let numbers = entries.run.labels(at).unwrap_or_default();
        let mut chunks = Vec::with_capacity(numbers.len());
        for (name, value) in numbers {
            chunks.push(self.values(*name, value / CHUNK)?);
        }
        let mut pairs = Vec::with_capacity(numbers.len());
        for ((name, value), chunk) in numbers.iter().zip(&chunks) {
            let name = self.opened.names.get(*name as usize);
            let value = chunk.get((*value % CHUNK) as usize);
            let pair = name.zip(value);
            pairs.push(pair.ok_or_else(|| self.damaged("a series entry", &"it names no label"))?);
        }
        let labels =
            LabelSet::from_pairs(&pairs).map_err(|error| self.damaged("a series entry", &error))?;
        self.keep(ordinal, at, &entries, labels.clone());
        Ok(labels)
    }

    /// Keeps a label set beside its entry, whose part takes so much more memory then.
    fn keep(&self, ordinal: Ordinal, at: usize, entries: &Arc<Entries>, labels: LabelSet) {
        let bytes = memory_of(&labels);
        let slot = entries.labels.get(at);
        let is_new = slot.is_some_and(|slot| slot.set(labels).is_ok());
        if let Some(shared) = self.shared.as_ref().filter(|_| is_new) {
            let part = self.part(PartKind::Entries, ordinal.0 / CHUNK, 0);
            shared.grew(&part, entries, bytes);
        }
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
        let (mut low, mut high) = (0, self.series_len());
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
        match self.place(ordinal)? {
            Some(place) => self.read_at(place, range, samples),
            None => Ok(()),
        }
    }

    /// Sorts ordinals by where their samples lie, so that reading them in turn decodes each page
    /// once.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, or there is no such series.
    pub fn sort_by_place(&mut self, ordinals: &mut Vec<Ordinal>) -> Result<(), Error> {
        let mut placed = Vec::with_capacity(ordinals.len());
        for ordinal in ordinals.iter() {
            placed.push((self.place(*ordinal)?, *ordinal));
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
        let mut ordinals: Vec<Ordinal> = (0..self.series_len()).map(Ordinal).collect();
        self.sort_by_place(&mut ordinals)?;
        Ok(ordinals)
    }

    /// Metadata of one family, or of all, sorted by family.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn metadata(&self, family: Option<&str>) -> Result<Vec<FamilyMetadata>, Error> {
        let decode = |bytes: &[u8]| decode_metadata(self.id, bytes);
        let shown = |family: &str| {
            self.shows_all() || self.shows(fingerprint_of_family(&self.tenant, family))
        };
        if let Some(family) = family {
            if !shown(family) {
                return Ok(Vec::new());
            }
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
                if shown(name) {
                    families.push((name.to_owned(), decode(value)?));
                }
                Ok(())
            },
        )?;
        Ok(families)
    }

    pub(super) fn damaged(&self, part: &str, problem: &dyn std::fmt::Display) -> Error {
        damaged(self.id, part, problem)
    }
}
