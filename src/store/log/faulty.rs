//! A disk for tests that fails at a chosen I/O and, when the power goes, keeps of unsynced writes
//! whichever sectors it likes.

#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths and offsets of files that a test holds in memory"
)]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{LogDisk, LogFile};
use crate::runtime::{Chance, SeededChance};

const SECTOR: usize = 512;

#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Sectors that were written since the last sync.
    dirty: std::collections::BTreeSet<usize>,
    /// Sectors that a failed sync has taken out of `dirty`: they may or may not have been written.
    forgotten: std::collections::BTreeSet<usize>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Content>,
    /// Writes, syncs, creations so far.
    operations: u64,
    /// The operation that fails, and all after it.
    fails_at: Option<u64>,
    /// Bytes of the failing write that still reach the file.
    torn_bytes: usize,
}

/// The disk. Clones are one disk.
#[derive(Clone, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

struct FaultyFile {
    disk: FaultyDisk,
    name: String,
}

impl FaultyDisk {
    /// Fails the n-th operation from now on (from 0) and every later one.
    pub(crate) fn fail_at(&self, operation: u64, torn_bytes: usize) {
        let mut state = self.0.lock();
        state.fails_at = Some(state.operations + operation);
        state.torn_bytes = torn_bytes;
    }

    /// The disk after the power came back: of each unsynced sector the old or the new content.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Self {
        let chance = SeededChance::new(seed);
        let state = self.0.lock();
        let mut files = BTreeMap::new();
        for (name, content) in &state.files {
            let mut bytes = content.durable.clone();
            bytes.resize(content.current.len(), 0);
            for sector in content.dirty.union(&content.forgotten) {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(bytes.len());
                if chance.below(2) == 1 {
                    bytes[range.clone()].copy_from_slice(&content.current[range]);
                }
            }
            files.insert(name.clone(), Self::content(bytes));
        }
        Self::of(files)
    }

    /// From now on nothing fails any more. The system's cache stays as it is.
    pub(crate) fn recover(&self) {
        self.0.lock().fails_at = None;
    }

    /// The disk after the process was killed: all writes are there.
    pub(crate) fn after_kill(&self) -> Self {
        let state = self.0.lock();
        let files = state.files.iter();
        Self::of(
            files
                .map(|(name, content)| (name.clone(), Self::content(content.current.clone())))
                .collect(),
        )
    }

    fn content(bytes: Vec<u8>) -> Content {
        Content {
            durable: bytes.clone(),
            current: bytes,
            dirty: std::collections::BTreeSet::new(),
            forgotten: std::collections::BTreeSet::new(),
        }
    }

    fn of(files: BTreeMap<String, Content>) -> Self {
        Self(Arc::new(Mutex::new(State {
            files,
            ..State::default()
        })))
    }

    /// Changes the bytes of a file, as damage would.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let content = state.files.get_mut(name).unwrap();
        change(&mut content.current);
        content.durable = content.current.clone();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().files.keys().cloned().collect()
    }

    /// Counts an operation; `Err` with how many bytes still get through when it fails.
    fn operate(state: &mut State) -> Result<(), usize> {
        let number = state.operations;
        state.operations += 1;
        match state.fails_at {
            Some(at) if number == at => Err(state.torn_bytes),
            Some(at) if number > at => Err(0),
            _ => Ok(()),
        }
    }
}

fn failure() -> io::Error {
    io::Error::other("injected")
}

impl LogDisk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        if !self.0.lock().files.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            name: name.to_owned(),
        }))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn LogFile>> {
        let mut state = self.0.lock();
        Self::operate(&mut state).map_err(|_| failure())?;
        let content = Self::content(vec![0; len as usize]);
        state.files.insert(name.to_owned(), content);
        drop(state);
        self.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        Self::operate(&mut state).map_err(|_| failure())?;
        state.files.remove(name);
        Ok(())
    }
}

impl LogFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[&self.name].current.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let content = &state.files[&self.name].current;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(bytes.len());
        bytes[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let result = FaultyDisk::operate(&mut state);
        let through = match result {
            Ok(()) => bytes,
            Err(torn) => &bytes[..torn.min(bytes.len())],
        };
        let content = state.files.get_mut(&self.name).unwrap();
        let begin = offset as usize;
        content.current[begin..begin + through.len()].copy_from_slice(through);
        if !through.is_empty() {
            let sectors = begin / SECTOR..=(begin + through.len() - 1) / SECTOR;
            content.dirty.extend(sectors);
        }
        result.map_err(|_| failure())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let result = FaultyDisk::operate(&mut state);
        let content = state.files.get_mut(&self.name).unwrap();
        if result.is_err() {
            // As Linux does: the pages stay in the cache and count as written.
            content.forgotten.append(&mut content.dirty);
            return Err(failure());
        }
        let Content {
            durable,
            current,
            dirty,
            forgotten,
        } = content;
        for sector in std::mem::take(dirty) {
            forgotten.remove(&sector);
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(current.len());
            durable[range.clone()].copy_from_slice(&current[range]);
        }
        Ok(())
    }
}
