//! Decoded parts of a block, and how one is had: from what other readers have decoded, or from the
//! table. Which parts there are, and how each is decoded, is in `lookup.rs`.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use super::cache::{DecodedParts, PartKey};
use super::layout::{PageRows, damaged};
use crate::codec::series_entry::SeriesEntries;
use crate::codec::{self, page};
use crate::model::{BlockId, LabelSet};
use crate::store::engine::Table;
use crate::store::error::Error;

/// What a label set takes in memory beside its text and two numbers of four bytes for each label, about.
const LABELS_BYTES: usize = 96;

/// A run of series entries, and those of their label sets that were asked for.
pub(super) struct Entries {
    pub(super) run: SeriesEntries,
    pub(super) labels: Vec<OnceLock<LabelSet>>,
}

impl Entries {
    /// Bytes that they take in memory without label sets, about.
    pub(super) fn memory_bytes(&self) -> usize {
        self.run.memory_bytes() + size_of_val(self.labels.as_slice())
    }
}

/// Bytes that a label set takes in memory, about.
pub(super) fn memory_of(labels: &LabelSet) -> usize {
    LABELS_BYTES + labels.text_len() + 2 * size_of::<u32>() * labels.len()
}

/// A page and which rows each of its series has.
pub(super) struct Page {
    pub(super) rows: PageRows,
    pub(super) values: page::Reader,
}

/// A part of a block: shared by another reader, or read and decoded.
pub(super) fn decoded<T: Any + Send + Sync>(
    table: &Arc<dyn Table>,
    shared: &Option<Arc<DecodedParts>>,
    key: PartKey,
    stored: Vec<u8>,
    part: impl Fn() -> String,
    decode: impl Fn(&[u8]) -> Result<T, codec::Error>,
    size: impl Fn(&T) -> usize,
) -> Result<Arc<T>, Error> {
    let known = shared.as_ref().and_then(|shared| shared.get::<T>(&key));
    if let Some(known) = known {
        return Ok(known);
    }
    let bytes = must_get(table, key.block, &stored, &part())?;
    let made = decode(&bytes).map_err(|error| damaged(key.block, &part(), &error))?;
    let made = Arc::new(made);
    if let Some(shared) = shared {
        shared.put(key, &made, size(&made));
    }
    Ok(made)
}

pub(super) fn must_get(
    table: &Arc<dyn Table>,
    id: BlockId,
    key: &[u8],
    part: &str,
) -> Result<Vec<u8>, Error> {
    table
        .get(key)?
        .ok_or_else(|| damaged(id, part, &"its key is missing"))
}
