//! Reads block files without RocksDB: from a plain file, from bytes, or by ranges of an object.
//!
//! Only the pinned form is read (`rocks.rs` writes it; `docs/format.md`, "Block", has its bytes):
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
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::{Pairs, SCAN_BYTES_MAX, SCAN_PAIRS_MAX, Table};
use crate::store::error::Error;

/// Bytes of the footer, which ends the file.
const FOOTER_LEN: usize = 53;
/// The last eight bytes of the file, little-endian.
const MAGIC: u64 = 0x88e2_41b7_85f4_cff7;
/// The pinned format version.
const FORMAT_VERSION: u32 = 5;
/// The number of XXH3 in the footer.
const CHECKSUM_XXH3: u8 = 4;
/// After every block: a byte that says how it is compressed (0: not), and a checksum.
const TRAILER_LEN: usize = 5;
/// What the eight bytes after a user key hold: sequence number 0 and "this is a value".
const KEY_TAIL: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];

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

/// Where a block of the table lies, its trailer not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Handle {
    offset: u64,
    size: u64,
}

/// A data block: no key in it is greater than `bound`, all keys of later blocks are.
struct IndexEntry {
    bound: Vec<u8>,
    handle: Handle,
}

/// An opened table file.
pub struct SstTable {
    source: Box<dyn ReadAt>,
    index: Vec<IndexEntry>,
    metaindex: Handle,
    last: Mutex<Option<(u64, Arc<[u8]>)>>,
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
            index: Vec::new(),
            metaindex,
            last: Mutex::new(None),
        };
        let block = table.read_block(index)?;
        let entries = parse_index(&block).map_err(|problem| table.damage(index, &problem))?;
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
        faults.extend(self.read_block(self.metaindex).err());
        let (mut count, mut last) = (0, Vec::new());
        for entry in &self.index {
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
        let block = self.read_block(entry.handle)?;
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

    /// A block's bytes without trailer, after its checksum has been compared.
    fn read_block(&self, handle: Handle) -> Result<Arc<[u8]>, Error> {
        if let Some((offset, block)) = self.last.lock().as_ref()
            && *offset == handle.offset
        {
            return Ok(Arc::clone(block));
        }
        let end = handle
            .size
            .checked_add(TRAILER_LEN as u64)
            .and_then(|with_trailer| handle.offset.checked_add(with_trailer));
        let len = usize::try_from(handle.size).ok();
        let (Some(end), Some(len)) = (end, len) else {
            return Err(self.damage(handle, "it would end past the largest file"));
        };
        if end > self.source.len() {
            return Err(self.damage(handle, "it would end past the end of the file"));
        }
        let mut bytes = self.source.read_at(handle.offset, len + TRAILER_LEN)?;
        let trailer = bytes.split_off(len);
        let [compression, checksum @ ..] = trailer.as_slice() else {
            return Err(self.damage(handle, "it has no trailer"));
        };
        if checksum != block_checksum(&bytes, *compression).to_le_bytes() {
            return Err(self.damage(handle, "its checksum does not match"));
        }
        if *compression != 0 {
            return Err(self.damage(handle, "it is compressed"));
        }
        let block: Arc<[u8]> = bytes.into();
        *self.last.lock() = Some((handle.offset, Arc::clone(&block)));
        Ok(block)
    }

    fn damage(&self, handle: Handle, problem: &str) -> Error {
        let place = format!(
            "{} at offset {}, {} bytes",
            self.source.name(),
            handle.offset,
            handle.size
        );
        Error::corrupt(place, problem)
    }

    /// The blocks that can hold keys from `start` on.
    fn blocks_from(&self, start: &[u8]) -> &[IndexEntry] {
        let first = self
            .index
            .partition_point(|entry| entry.bound.as_slice() < start);
        self.index.get(first..).unwrap_or_default()
    }
}

impl Table for SstTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(entry) = self.blocks_from(key).first() else {
            return Ok(None);
        };
        let block = self.read_block(entry.handle)?;
        let mut walk = Walk::new(&block).map_err(|p| self.damage(entry.handle, &p))?;
        while let Some((at, value)) = walk.next().map_err(|p| self.damage(entry.handle, &p))? {
            if at == key {
                return Ok(Some(value.to_vec()));
            }
            if at > key {
                break;
            }
        }
        Ok(None)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
        let start = after.map_or(prefix, |after| after.max(prefix));
        let (mut pairs, mut bytes) = (Pairs::new(), 0);
        for entry in self.blocks_from(start) {
            let block = self.read_block(entry.handle)?;
            let mut walk = Walk::new(&block).map_err(|p| self.damage(entry.handle, &p))?;
            while let Some((key, value)) = walk.next().map_err(|p| self.damage(entry.handle, &p))? {
                if key < start || after == Some(key) {
                    continue;
                }
                if !key.starts_with(prefix) {
                    return Ok(pairs);
                }
                bytes += key.len() + value.len();
                pairs.push((key.to_vec(), value.to_vec()));
                if pairs.len() >= SCAN_PAIRS_MAX || bytes >= SCAN_BYTES_MAX {
                    return Ok(pairs);
                }
            }
        }
        Ok(pairs)
    }
}

/// The checksum of a block: the low half of XXH3-64 over its bytes, and the compression byte
/// times a constant folded in (which is nothing for "not compressed").
fn block_checksum(block: &[u8], compression: u8) -> u32 {
    const LAST_BYTE_PRIME: u32 = 0x6b90_83d9;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the low half is what is wanted"
    )]
    let low = xxh3_64(block) as u32;
    low ^ u32::from(compression).wrapping_mul(LAST_BYTE_PRIME)
}

/// Checksum type, then the handles of metaindex and index padded to 40 bytes, then the format
/// version and the magic number, both little-endian.
fn parse_footer(footer: &[u8]) -> Result<(Handle, Handle), String> {
    let mut from = Cursor(footer);
    let checksum = from.byte()?;
    let mut handles = Cursor(from.take(40)?);
    let version = u32::from_le_bytes(from.array()?);
    let magic = u64::from_le_bytes(from.array()?);
    if magic != MAGIC {
        return Err(format!(
            "its magic number is {magic:016x}, not {MAGIC:016x}"
        ));
    }
    if version != FORMAT_VERSION {
        return Err(format!(
            "its table format is {version}, not {FORMAT_VERSION}"
        ));
    }
    if checksum != CHECKSUM_XXH3 {
        return Err(format!(
            "its checksum type is {checksum}, not {CHECKSUM_XXH3}"
        ));
    }
    Ok((handles.handle()?, handles.handle()?))
}

/// The index: for every data block a key that bounds it and where it lies, in order.
fn parse_index(block: &[u8]) -> Result<Vec<IndexEntry>, String> {
    let mut from = Cursor(entries_of(block)?);
    let mut entries: Vec<IndexEntry> = Vec::new();
    let mut next_offset = 0;
    while !from.0.is_empty() {
        let shared = from.varint()?;
        let len = from.length()?;
        if shared != 0 {
            return Err("an index key is shortened".to_owned());
        }
        let bound = from.take(len)?.to_vec();
        let handle = from.handle()?;
        if entries.last().is_some_and(|last| last.bound >= bound) {
            return Err("its index is out of order".to_owned());
        }
        if handle.offset < next_offset {
            return Err("blocks in its index overlap".to_owned());
        }
        next_offset = handle
            .offset
            .checked_add(handle.size)
            .ok_or("a block in its index is too large")?;
        entries.push(IndexEntry { bound, handle });
    }
    Ok(entries)
}

/// A block less its end: restart points (`u32` each) and their number.
fn entries_of(block: &[u8]) -> Result<&[u8], String> {
    let (rest, count) = block
        .split_last_chunk()
        .ok_or("it is too short to be a block")?;
    let count = u32::from_le_bytes(*count);
    // The four highest bits announce forms that the pinned one does not have.
    if count >> 28 != 0 {
        return Err("it is of an unknown form".to_owned());
    }
    usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(4))
        .and_then(|restarts| rest.len().checked_sub(restarts))
        .and_then(|end| rest.get(..end))
        .ok_or_else(|| "it has more restart points than bytes".to_owned())
}

/// A key, which lives until the next one, and a value, which lives as long as its block.
type Pair<'key, 'block> = (&'key [u8], &'block [u8]);

/// Goes through the pairs of a data block. An entry is three varints (bytes shared with the key
/// before, further bytes of the key, bytes of the value), then these bytes of key and value.
struct Walk<'a> {
    rest: Cursor<'a>,
    key: Vec<u8>,
}

impl<'a> Walk<'a> {
    fn new(block: &'a [u8]) -> Result<Self, String> {
        Ok(Self {
            rest: Cursor(entries_of(block)?),
            key: Vec::new(),
        })
    }

    /// The next pair, the key without the eight bytes that RocksDB adds.
    fn next(&mut self) -> Result<Option<Pair<'_, 'a>>, String> {
        if self.rest.0.is_empty() {
            return Ok(None);
        }
        let shared = self.rest.length()?;
        let more = self.rest.length()?;
        let value_len = self.rest.length()?;
        if shared > self.key.len() {
            return Err("a key shares more than there is".to_owned());
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(self.rest.take(more)?);
        let value = self.rest.take(value_len)?;
        match self.key.strip_suffix(&KEY_TAIL) {
            Some(key) => Ok(Some((key, value))),
            None => Err("a key is not a plain value of sequence 0".to_owned()),
        }
    }
}

/// What is left to be read of some bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or("it ends in the middle of an entry")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "it is too short".to_owned())
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number in it is too long".to_owned())
    }

    fn length(&mut self) -> Result<usize, String> {
        usize::try_from(self.varint()?).map_err(|_| "a length in it is too large".to_owned())
    }

    fn handle(&mut self) -> Result<Handle, String> {
        Ok(Handle {
            offset: self.varint()?,
            size: self.varint()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::engine::{build_table, for_each};

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
                table.index[1].handle
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
