//! The engine in memory, for tests: what is not synced can be lost, as in a crash.
//!
//! Block files still lie in a directory and are read by our own reader, so this engine needs no
//! RocksDB at run time and tests of the layers above see real files.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::sst::SstTable;
use super::{
    Batch, BlockFile, Durability, Engine, Pairs, SCAN_BYTES_MAX, SCAN_PAIRS_MAX, Space, Table,
};
use crate::model::BlockId;
use crate::store::error::Error;

type Keys = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

#[derive(Default)]
struct State {
    /// What readers see.
    now: Keys,
    /// What a crash leaves at least.
    synced: Keys,
    /// What came after, in order.
    buffered: Vec<Batch>,
    blocks: BTreeMap<BlockId, Arc<SstTable>>,
}

/// An engine without a disk under its spaces.
pub struct MemoryEngine {
    directory: PathBuf,
    state: Mutex<State>,
}

impl MemoryEngine {
    /// An empty engine that moves block files into `directory`.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            state: Mutex::new(State::default()),
        }
    }

    /// Buffered batches that a crash could lose now.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state.lock().buffered.len()
    }

    /// Loses the buffered batches but the first `kept`, as a crash of the machine would: batches
    /// are lost from the end, and whole (a torn batch fails its checksum when the log is replayed).
    pub fn crash(&self, kept: usize) {
        let mut state = self.state.lock();
        let mut keys = std::mem::take(&mut state.synced);
        for batch in state.buffered.drain(..).take(kept) {
            apply(&mut keys, &batch);
        }
        state.synced.clone_from(&keys);
        state.now = keys;
    }

    /// What a crash leaves of it, as [`MemoryEngine::crash`] does, as another engine: for a
    /// process that goes on although nobody hears it any more. The block files are copied to
    /// `directory`.
    ///
    /// # Errors
    /// When a block file cannot be copied.
    #[cfg(test)]
    pub(crate) fn after_crash(&self, kept: usize, directory: &Path) -> Result<Self, Error> {
        let state = self.state.lock();
        let mut keys = state.synced.clone();
        for batch in state.buffered.iter().take(kept) {
            apply(&mut keys, batch);
        }
        let next = Self::new(directory);
        let mut blocks = BTreeMap::new();
        for id in state.blocks.keys() {
            let (from, to) = (self.path(*id), next.path(*id));
            std::fs::copy(&from, &to).map_err(Error::io("copy", &from))?;
            blocks.insert(*id, Arc::new(SstTable::open_file(&to)?));
        }
        *next.state.lock() = State {
            now: keys.clone(),
            synced: keys,
            buffered: Vec::new(),
            blocks,
        };
        drop(state);
        Ok(next)
    }

    fn path(&self, id: BlockId) -> PathBuf {
        self.directory.join(format!("{id}.sst"))
    }
}

fn apply(keys: &mut Keys, batch: &Batch) {
    for (space, key, value) in batch.changes() {
        let key = (space, key.to_vec());
        match value {
            Some(value) => keys.insert(key, value.to_vec()),
            None => keys.remove(&key),
        };
    }
}

impl Engine for MemoryEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let state = self.state.lock();
        Ok(state.now.get(&(space, key.to_vec())).cloned())
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        let mut state = self.state.lock();
        apply(&mut state.now, &batch);
        state.buffered.push(batch);
        if durability == Durability::Synced {
            let State {
                synced, buffered, ..
            } = &mut *state;
            for batch in buffered.drain(..) {
                apply(synced, &batch);
            }
        }
        Ok(())
    }

    fn scan(&self, space: Space, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded((space, after.to_vec())),
            _ => Bound::Included((space, prefix.to_vec())),
        };
        let state = self.state.lock();
        let (mut pairs, mut bytes) = (Pairs::new(), 0);
        for ((at, key), value) in state.now.range((from, Bound::Unbounded)) {
            let full = pairs.len() >= SCAN_PAIRS_MAX || bytes >= SCAN_BYTES_MAX;
            if full || *at != space || !key.starts_with(prefix) {
                break;
            }
            bytes += key.len() + value.len();
            pairs.push((key.clone(), value.clone()));
        }
        Ok(pairs)
    }

    fn ingest(&self, files: &[(BlockId, PathBuf)]) -> Result<(), Error> {
        let mut state = self.state.lock();
        for (id, path) in files {
            if state.blocks.contains_key(id) {
                std::fs::remove_file(path).map_err(Error::io("remove", path))?;
                continue;
            }
            let table = SstTable::open_file(path)?;
            std::fs::rename(path, self.path(*id)).map_err(Error::io("move", path))?;
            state.blocks.insert(*id, Arc::new(table));
        }
        Ok(())
    }

    fn drop_block(&self, id: BlockId) -> Result<(), Error> {
        if self.state.lock().blocks.remove(&id).is_none() {
            return Ok(());
        }
        let path = self.path(id);
        std::fs::remove_file(&path).map_err(Error::io("remove", &path))
    }

    fn table(&self, id: BlockId) -> Result<Option<Arc<dyn Table>>, Error> {
        let state = self.state.lock();
        let table = state.blocks.get(&id).map(Arc::clone);
        Ok(table.map(|table| table as Arc<dyn Table>))
    }

    fn checkpoint(&self, _: &Path) -> Result<(), Error> {
        Err(Error::Unavailable(
            "an engine in memory has no files to be kept".to_owned(),
        ))
    }

    fn block_files(&self) -> Result<Vec<BlockFile>, Error> {
        let state = self.state.lock();
        state
            .blocks
            .keys()
            .map(|id| {
                let path = self.path(*id);
                let found = std::fs::metadata(&path).map_err(Error::io("measure", &path))?;
                Ok(BlockFile {
                    id: *id,
                    path,
                    size: found.len(),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loses_the_last_unsynced_batches_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let engine = MemoryEngine::new(directory.path());
        let put = |key: u8, durability| {
            let mut batch = Batch::new();
            batch.put(Space::Meta, &[key], &[key]);
            engine.write(batch, durability).unwrap();
        };
        put(1, Durability::Buffered);
        put(2, Durability::Synced);
        put(3, Durability::Buffered);
        put(4, Durability::Buffered);
        assert_eq!(engine.unsynced(), 2);
        engine.crash(1);
        let pairs = engine.scan(Space::Meta, &[], None).unwrap();
        let keys: Vec<u8> = pairs.iter().map(|(key, _)| key[0]).collect();
        assert_eq!(keys, [1, 2, 3]);
        engine.crash(0);
        assert_eq!(engine.scan(Space::Meta, &[], None).unwrap(), pairs);
        assert_eq!(engine.scan(Space::Control, &[], None).unwrap(), []);
    }
}
