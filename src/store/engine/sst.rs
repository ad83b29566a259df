//! Reads block files without RocksDB: from a plain file, from bytes, or by ranges of an object.
//!
//! Only the pinned form is read (`form.rs`; `rocks.rs` writes it; `docs/format.md`, "Block", has its bytes):
//! a block-based table of format version 5, XXH3 checksums, no compression, no filter, one index
//! block of whole user keys, every key written once with sequence number 0. Anything else is
//! refused, never guessed. The form is RocksDB's; its source of truth is `table/format.cc` and
//! `table/block_based/` of RocksDB 11.8.
//!
//! Not here: what the keys mean. Nothing is believed before its checksum and its bounds have been
//! checked, so a damaged file gives errors and never wrong pairs, short of a forged checksum.
//!
//! Memory: the index (one entry per 8 KiB of file) and the data block that was read last.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{Advice, fadvise};

use super::form::{
    DataBlocks, FOOTER_LEN, Handle, IndexEntry, SstIndex, Walk, parse_footer, without_trailer,
};
use super::{Pairs, Table};
use crate::store::error::Error;

/// Bytes that can be read by ranges.
pub trait ReadAt: Send + Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` bytes from `offset` on; the caller has checked that they exist.
    ///
    /// # Errors
    /// When they cannot be read, all of them.
    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error>;

    /// What to call it in a message.
    fn name(&self) -> String;
}

/// Linux reads no more ahead for one call than the device's readahead, 128 KiB unless somebody has set it.
const AHEAD_STEP: u64 = 128 << 10;

/// A file, opened for reading.
pub struct FileAt {
    file: File,
    path: PathBuf,
    len: u64,
}

impl FileAt {
    /// Opens a file.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let len = file.metadata().map_err(Error::io("measure", path))?.len();
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
        })
    }

    /// Asks the system to have it in its page cache soon, up to so many bytes; says of how many it was asked. Nobody waits
    /// for it, and a system that does not do it costs nothing but time later.
    pub(in crate::store) fn will_read(&self, at_most: u64) -> u64 {
        let (end, mut asked) = (self.len.min(at_most), 0);
        while let Some(length) = NonZeroU64::new((end - asked).min(AHEAD_STEP)) {
            if fadvise(&self.file, asked, Some(length), Advice::WillNeed).is_err() {
                break;
            }
            asked += length.get();
        }
        asked
    }
}

impl ReadAt for FileAt {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Bytes in memory.
impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        u64::try_from(self.as_slice().len()).unwrap_or(u64::MAX)
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        usize::try_from(offset)
            .ok()
            .and_then(|from| self.get(from..from.checked_add(len)?))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Error::Bug(format!("a read of {len} bytes at {offset} out of bounds")))
    }

    fn name(&self) -> String {
        "a block file in memory".to_owned()
    }
}

/// An opened table file.
pub struct SstTable {
    source: Box<dyn ReadAt>,
    index: SstIndex,
    metaindex: Handle,
    last: Mutex<Option<(Handle, Arc<[u8]>)>>,
}

impl SstTable {
    /// Reads footer and index.
    ///
    /// # Errors
    /// When they cannot be read, are damaged, or are of another form than the pinned one.
    pub fn open(source: Box<dyn ReadAt>) -> Result<Self, Error> {
        let len = source.len();
        let damaged =
            |problem: &str| Error::corrupt(format!("the end of {}", source.name()), problem);
        let offset = len
            .checked_sub(FOOTER_LEN as u64)
            .ok_or_else(|| damaged("it is too short to be a block file"))?;
        let footer = source.read_at(offset, FOOTER_LEN)?;
        let (metaindex, index) = parse_footer(&footer).map_err(|problem| damaged(&problem))?;
        let table = Self {
            source,
            index: SstIndex::default(),
            metaindex,
            last: Mutex::new(None),
        };
        let block = table.data_block(index)?;
        let entries = SstIndex::parse(&block).map_err(|problem| table.damage(index, &problem))?;
        Ok(Self {
            index: entries,
            ..table
        })
    }

    /// Opens a file.
    ///
    /// # Errors
    /// As [`SstTable::open`].
    pub fn open_file(path: &Path) -> Result<Self, Error> {
        Self::open(Box::new(FileAt::open(path)?))
    }

    /// Reads every block of the file, also what [`Table`] never needs, and goes through all pairs.
    /// Returns how many pairs there are and what is wrong, at most `faults_max` faults.
    #[must_use]
    pub fn check(&self, faults_max: usize) -> (u64, Vec<Error>) {
        let mut faults = Vec::new();
        faults.extend(self.data_block(self.metaindex).err());
        let (mut count, mut last) = (0, Vec::new());
        for entry in self.index.entries() {
            if faults.len() >= faults_max {
                break;
            }
            match self.check_block(entry, &mut last) {
                Ok(pairs) => count += pairs,
                Err(fault) => faults.push(fault),
            }
        }
        (count, faults)
    }

    /// Goes through a data block; `last` is the key before it, and then its last one.
    fn check_block(&self, entry: &IndexEntry, last: &mut Vec<u8>) -> Result<u64, Error> {
        let damage = |problem: String| self.damage(entry.handle, &problem);
        let block = self.data_block(entry.handle)?;
        let mut walk = Walk::new(&block).map_err(damage)?;
        let mut count = 0;
        while let Some((key, _)) = walk.next().map_err(damage)? {
            if key > entry.bound.as_slice() || key <= last.as_slice() {
                return Err(damage("its keys are out of order".to_owned()));
            }
            key.clone_into(last);
            count += 1;
        }
        Ok(count)
    }
}

impl DataBlocks for SstTable {
    fn data_block(&self, at: Handle) -> Result<Arc<[u8]>, Error> {
        if let Some((handle, block)) = self.last.lock().as_ref()
            && *handle == at
        {
            return Ok(Arc::clone(block));
        }
        let damage = |problem: String| self.damage(at, &problem);
        let end = at.end_within(self.source.len()).map_err(damage)?;
        let len = usize::try_from(end - at.offset)
            .map_err(|_| self.damage(at, "it does not fit into memory"))?;
        let bytes = self.source.read_at(at.offset, len)?;
        let block: Arc<[u8]> = without_trailer(&bytes).map_err(damage)?.into();
        *self.last.lock() = Some((at, Arc::clone(&block)));
        Ok(block)
    }

    fn damage(&self, at: Handle, problem: &str) -> Error {
        let (name, offset, size) = (self.source.name(), at.offset, at.size);
        Error::corrupt(format!("{name} at offset {offset}, {size} bytes"), problem)
    }
}

impl Table for SstTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.index.get(self, key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
        self.index.scan(self, prefix, after)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::engine::form::block_checksum;
    use crate::store::engine::{build_table, for_each};

    /// Would catch bytes that are asked for twice or beyond the bound, and a file that is asked for by its first step alone.
    #[test]
    fn a_file_is_asked_for_up_to_its_end_or_the_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for len in [0, 1, 3 * AHEAD_STEP + 7] {
            std::fs::write(&path, vec![1; usize::try_from(len).unwrap()]).unwrap();
            let file = FileAt::open(&path).unwrap();
            assert_eq!(file.will_read(u64::MAX), len);
            assert_eq!(file.will_read(AHEAD_STEP + 1), len.min(AHEAD_STEP + 1));
            assert_eq!(file.will_read(0), 0);
        }
    }

    fn build(pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.sst");
        build_table(&path, |sink| {
            pairs
                .iter()
                .try_for_each(|(key, value)| sink.put(key, value))
        })
        .unwrap();
        std::fs::read(&path).unwrap()
    }

    fn all(table: &SstTable, prefix: &[u8]) -> Result<Pairs, Error> {
        let mut found = Pairs::new();
        for_each(
            |after| table.scan(prefix, after),
            |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                Ok(())
            },
        )?;
        Ok(found)
    }

    fn many() -> BTreeMap<Vec<u8>, Vec<u8>> {
        (0..3000u32)
            .map(|i| {
                let size = if i % 500 == 0 {
                    40_000
                } else {
                    i as usize % 90
                };
                let key = [
                    &[1, u8::try_from(i % 7).unwrap()],
                    i.to_be_bytes().as_slice(),
                ]
                .concat();
                (key, vec![i.to_be_bytes()[3]; size])
            })
            .collect()
    }

    #[test]
    fn pairs_come_back_by_key_by_prefix_and_all() {
        let pairs = many();
        let table = SstTable::open(Box::new(build(&pairs))).unwrap();
        for (key, value) in &pairs {
            assert_eq!(table.get(key).unwrap().as_ref(), Some(value));
        }
        for absent in [
            &[][..],
            &[0],
            &[1, 3],
            &[1, 3, 0, 0, 0, 0, 0],
            &[2],
            &[0xff; 20],
        ] {
            assert_eq!(table.get(absent).unwrap(), None);
        }
        for prefix in [&[][..], &[1], &[1, 3], &[1, 6, 0], &[1, 7], &[2]] {
            let want: Pairs = pairs
                .iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            assert_eq!(all(&table, prefix).unwrap(), want);
        }
        let (count, faults) = table.check(10);
        assert!(count == 3000 && faults.is_empty(), "{count} {faults:?}");
    }

    /// Every single flipped byte of footer, index and data is noticed or harmless: never a panic,
    /// never a wrong pair.
    #[test]
    fn a_flipped_byte_is_an_error_or_nothing() {
        let pairs: BTreeMap<Vec<u8>, Vec<u8>> = (0..200u32)
            .map(|i| (i.to_be_bytes().to_vec(), vec![3; 20]))
            .collect();
        let want: Pairs = pairs.clone().into_iter().collect();
        let good = build(&pairs);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            let read = SstTable::open(Box::new(bad)).and_then(|table| all(&table, &[]));
            if let Ok(found) = read {
                assert_eq!(found, want, "byte {at}");
            }
        }
        for len in 0..good.len() {
            let cut = good[..len].to_vec();
            assert!(SstTable::open(Box::new(cut)).is_err(), "cut to {len}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_put_is_read(
            pairs in prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 1..40),
                prop::collection::vec(any::<u8>(), 0..3000),
                1..60,
            )
        ) {
            let table = SstTable::open(Box::new(build(&pairs))).unwrap();
            let want: Pairs = pairs.clone().into_iter().collect();
            prop_assert_eq!(all(&table, &[]).unwrap(), want);
            for (key, value) in &pairs {
                let found = table.get(key).unwrap();
                prop_assert_eq!(found.as_ref(), Some(value));
            }
        }

        /// With checksums made right again, as an attacker would: errors or pairs, never panics.
        #[test]
        fn damage_under_right_checksums_never_panics(
            at in any::<prop::sample::Index>(), with in any::<u8>(), in_index in any::<bool>()
        ) {
            let pairs: BTreeMap<Vec<u8>, Vec<u8>> = (0..900u32)
                .map(|i| (i.to_be_bytes().to_vec(), vec![3; 20]))
                .collect();
            let mut bytes = build(&pairs);
            let table = SstTable::open(Box::new(bytes.clone())).unwrap();
            let footer = bytes.len() - FOOTER_LEN;
            let handle = if in_index {
                parse_footer(&bytes[footer..]).unwrap().1
            } else {
                table.index.entries()[1].handle
            };
            let from = usize::try_from(handle.offset).unwrap();
            let size = usize::try_from(handle.size).unwrap();
            bytes[from + at.index(size)] = with;
            let sum = block_checksum(&bytes[from..from + size], 0).to_le_bytes();
            bytes[from + size + 1..from + size + 5].copy_from_slice(&sum);
            if let Ok(table) = SstTable::open(Box::new(bytes)) {
                let _ = all(&table, &[]);
                let _ = table.get(&500u32.to_be_bytes());
                let _ = table.check(3);
            }
        }
    }
}
