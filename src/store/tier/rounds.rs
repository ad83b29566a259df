//! Reads of many blocks, tried again and again on what is here, with everything that was missing
//! fetched together between: as many rounds as a read of one block has steps that depend on each
//! other, not as many as there are blocks.

use std::sync::Arc;

use super::reading::{Held, Reading};
use crate::model::BlockId;
use crate::store::error::Error;

/// Blocks that are read side by side: what is fetched for them is held until all are done.
const BLOCKS: usize = 64;

/// A read of a block has a handful of steps, and a few more where there are many labels.
const ROUNDS_MAX: usize = 64;

/// Does something with each of some blocks, `id` of which says which it is. Where it cannot be
/// done the error is handed on; what `done` says then decides.
///
/// # Errors
/// When called off, when the account is used up, and what `done` says.
pub(in crate::store) fn in_rounds<B, T, E: From<Error>>(
    reading: &Arc<Reading>,
    blocks: &[B],
    id: impl Fn(&B) -> BlockId,
    mut work: impl FnMut(&B) -> Result<T, Error>,
    mut done: impl FnMut(&B, Result<T, Error>) -> Result<(), E>,
) -> Result<(), E> {
    for some in blocks.chunks(BLOCKS) {
        let mut results: Vec<Option<Result<T, Error>>> = some.iter().map(|_| None).collect();
        let mut held: Vec<Held> = Vec::new();
        for round in 0.. {
            let mut waiting = false;
            for (block, result) in some.iter().zip(&mut results) {
                if result.is_some() {
                    continue;
                }
                let before = reading.wanted();
                match reading.planning(|| work(block)) {
                    Err(_) if reading.wanted() > before && round < ROUNDS_MAX => waiting = true,
                    outcome => *result = Some(outcome),
                }
            }
            if !waiting {
                break;
            }
            let Some(pending) = reading.start()? else {
                break;
            };
            let (parts, mut failures) = reading.finish(pending)?;
            held.push(parts);
            for (block, result) in some.iter().zip(&mut results) {
                if result.is_none() {
                    *result = failures.remove(&id(block)).map(Err);
                }
            }
        }
        for (block, result) in some.iter().zip(results) {
            done(block, result.unwrap_or_else(|| Err(unfinished(id(block)))))?;
        }
    }
    Ok(())
}

fn unfinished(id: BlockId) -> Error {
    Error::Bug(format!("the read of block {id} wants ever more"))
}
