//! What is left to do of replacements of damaged files: in memory, and after a crash.

use std::path::Path;
use std::sync::Arc;

use super::applied;
use super::applied_block::AppliedBlock;
use super::block::digest_of;
use super::engine::Engine;
use super::error::Error;
use super::files::{id_of, listed};
use crate::model::BlockEntry;

/// A block of which a good copy is read already.
pub(super) struct Replacing {
    pub(super) entry: BlockEntry,
    /// Who reads the damaged file.
    pub(super) old: Vec<Arc<AppliedBlock>>,
}

/// Ends what a crash interrupted between dropping a damaged file and taking in the good one.
pub(super) fn end_replacing(engine: &dyn Engine, staging: &Path) -> Result<(), Error> {
    let mut staged = listed(staging)?;
    staged.retain(|path| path.extension().is_some_and(|end| end == "sst"));
    if staged.is_empty() {
        return Ok(());
    }
    let arcs = applied::versions(engine)?;
    for path in staged {
        let Some(id) = id_of(&path).filter(|id| matches!(engine.table(*id), Ok(None))) else {
            continue;
        };
        for arc in arcs.keys() {
            let Some(entry) = applied::read_block(engine, *arc, id)? else {
                continue;
            };
            if digest_of(&path)? == (entry.digest, entry.size) {
                engine.ingest(&[(id, path)])?;
            }
            break;
        }
    }
    Ok(())
}
