//! What the parts of a block take: for people who want to know where the bytes are.

use std::collections::BTreeMap;
use std::path::Path;

use super::layout::section_of;
use crate::model::BlockId;
use crate::store::engine::{SstTable, Table, block_prefix, for_each};
use crate::store::error::Error;

/// One kind of content of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Section {
    /// What it is.
    pub name: &'static str,
    /// How many keys it has.
    pub keys: u64,
    /// Bytes of its values.
    pub bytes: u64,
}

/// The sections of a block's file, in order of their names.
///
/// # Errors
/// When it cannot be read or is damaged.
pub(in crate::store) fn sections(path: &Path, id: BlockId) -> Result<Vec<Section>, Error> {
    let table = SstTable::open_file(path)?;
    let mut found: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    for_each(
        |after| table.scan(&block_prefix(id), after),
        |key, value| {
            let (keys, bytes) = found.entry(section_of(key)).or_default();
            *keys += 1;
            *bytes += value.len() as u64;
            Ok(())
        },
    )?;
    let each = found.into_iter();
    Ok(each
        .map(|(name, (keys, bytes))| Section { name, keys, bytes })
        .collect())
}
