//! What is left to do of replacements of damaged files: in memory, and after a crash.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::applied::Applied;
use super::block::digest_of;
use super::engine::Engine;
use super::error::Error;
use super::view::AppliedBlock;
use crate::model::{BlockEntry, RingArc};

/// A block of which a good copy is read already.
pub(super) struct Replacing {
    pub(super) entry: BlockEntry,
    /// Who reads the damaged file.
    pub(super) old: Vec<Arc<AppliedBlock>>,
}

/// Ends what a crash interrupted between dropping a damaged file and taking in the good one.
pub(super) fn end_replacing(
    engine: &dyn Engine,
    staging: &Path,
    applied: &BTreeMap<RingArc, Applied>,
) -> Result<(), Error> {
    for entry in applied.values().flat_map(|applied| applied.blocks.values()) {
        let path = staging.join(format!("{}.sst", entry.id));
        if !path.is_file() || !matches!(engine.table(entry.id), Ok(None)) {
            continue;
        }
        if digest_of(&path)? == (entry.digest, entry.size) {
            engine.ingest(&[(entry.id, path)])?;
        }
    }
    Ok(())
}
