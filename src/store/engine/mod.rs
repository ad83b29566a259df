//! The key-value engine under blocks, control state and local metadata.
//!
//! Two small ordered key spaces ([`Space`]) are written in atomic batches. Blocks are not written
//! through batches: each is one sorted-string-table file, built by [`build_table`], moved in whole
//! by [`Engine::ingest`], read as a [`Table`] and dropped whole. So the engine never rewrites a
//! block and never has anything to compact.
//!
//! [`RocksEngine`] is the real one; `rocks.rs` alone names the library. [`MemoryEngine`] is for
//! tests. [`SstTable`] reads a block file without either.
//!
//! Not here: what the keys of the two spaces mean (that is their writers' business), which blocks
//! exist (the catalog), and who still reads a block that is to be dropped (the views pin blocks).

mod form;
mod keys;
mod memory;
mod rocks;
mod sst;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use crate::model::BlockId;

pub(in crate::store) use form::{
    DataBlocks, FOOTER_LEN, Handle, SstIndex, TRAILER_LEN, parse_footer, without_trailer,
};
pub use keys::{block_key, block_of_key, block_prefix};
pub use memory::MemoryEngine;
pub use rocks::{RocksEngine, TableSink, build_table};
pub use sst::{FileAt, ReadAt, SstTable};

/// A key space that is written in batches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Space {
    /// This node's own: identity, applied versions, marks.
    Meta,
    /// The control state: commands and what they led to.
    Control,
}

/// When a batch has to be on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Before [`Engine::write`] returns.
    Synced,
    /// Some time later, in order: a crash of the machine may lose the last such batches, each
    /// whole, and a later synced batch brings all earlier ones to disk.
    Buffered,
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    changes: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> &mut Self {
        self.changes
            .push((space, key.to_vec(), Some(value.to_vec())));
        self
    }

    /// Removes a key; nothing happens if it is not there.
    pub fn delete(&mut self, space: Space, key: &[u8]) -> &mut Self {
        self.changes.push((space, key.to_vec(), None));
        self
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Moves another batch's changes behind these.
    pub fn append(&mut self, other: Self) {
        self.changes.extend(other.changes);
    }

    /// The changes in their order; `None` removes the key.
    fn changes(&self) -> impl Iterator<Item = (Space, &[u8], Option<&[u8]>)> {
        self.changes
            .iter()
            .map(|(space, key, value)| (*space, key.as_slice(), value.as_deref()))
    }
}

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Keys with their values, in order of the keys.
pub type Pairs = Vec<Pair>;

/// One scan returns at most this many pairs, so that nobody holds a whole space in memory.
pub const SCAN_PAIRS_MAX: usize = 256;

/// One scan stops after this many bytes of keys and values (it returns at least one pair).
pub const SCAN_BYTES_MAX: usize = 1 << 20;

/// One immutable sorted table of keys and values: a block, ingested or as a plain file.
pub trait Table: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The next pairs whose keys begin with `prefix` and lie after `after`, in order: at most
    /// [`SCAN_PAIRS_MAX`] of them or [`SCAN_BYTES_MAX`] bytes. Empty: there are no more.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error>;

    /// Says that a key will be read: who has its bytes elsewhere may fetch them with others.
    fn will_get(&self, _key: &[u8]) {}

    /// The same of all keys with a prefix, unless they take more bytes.
    fn will_scan(&self, _prefix: &[u8], _bytes_max: u64) {}
}

/// A block file that the engine holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockFile {
    /// Whose.
    pub id: BlockId,
    /// Where it lies; it is never changed, and goes away when the block is dropped.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
}

/// The key-value engine. All calls may block on the disk.
pub trait Engine: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// When the disk fails or holds damage.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Applies a batch, atomically.
    ///
    /// # Errors
    /// When the disk fails; whether the batch is there after a restart is then open.
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), Error>;

    /// The next pairs of a space, as [`Table::scan`].
    ///
    /// # Errors
    /// When the disk fails or holds damage.
    fn scan(&self, space: Space, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error>;

    /// The first of them.
    ///
    /// # Errors
    /// As [`Engine::scan`].
    fn first(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Option<Pair>, Error> {
        Ok(self.scan(space, prefix, after)?.into_iter().next())
    }

    /// Moves block files in, durably; the files at the given paths are gone afterwards. A block
    /// that is there already stays as it is and its file is removed. The paths must be on the
    /// file system of the engine's directory, else they are copied.
    ///
    /// # Errors
    /// When a file cannot be moved or is no table; nothing of it is visible then.
    fn ingest(&self, files: &[(BlockId, PathBuf)]) -> Result<(), Error>;

    /// Removes a block and its file; nothing happens if it is not there. Reads of the block that
    /// are under way may find it gone: its views have to be closed first.
    ///
    /// # Errors
    /// When the disk fails.
    fn drop_block(&self, id: BlockId) -> Result<(), Error>;

    /// The block as a table, or `None` if it is not there.
    ///
    /// # Errors
    /// When the disk fails or holds damage.
    fn table(&self, id: BlockId) -> Result<Option<Arc<dyn Table>>, Error>;

    /// Puts everything that is there now into a new directory, from which an engine can be opened;
    /// files that never change are shared with it as links.
    ///
    /// # Errors
    /// When the directory is there already, the disk fails, or the engine has no disk.
    fn checkpoint(&self, to: &Path) -> Result<(), Error>;

    /// The files of all blocks that are there, in order of their ids.
    ///
    /// # Errors
    /// When the engine cannot list them.
    fn block_files(&self) -> Result<Vec<BlockFile>, Error>;
}

/// Calls `visit` for every pair of a scan, batch by batch. `scan` is [`Table::scan`] or
/// [`Engine::scan`] with the prefix filled in.
///
/// # Errors
/// The first error of either.
pub fn for_each(
    mut scan: impl FnMut(Option<&[u8]>) -> Result<Pairs, Error>,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let mut pairs = scan(after.as_deref())?;
        for (key, value) in &pairs {
            visit(key, value)?;
        }
        match pairs.pop() {
            Some((last, _)) => after = Some(last),
            None => return Ok(()),
        }
    }
}
