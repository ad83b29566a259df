//! The pinned form of a block's file, as far as it is bytes: footer, index and data blocks, and how
//! a key is looked for in them. Where the bytes come from is the caller's business ([`DataBlocks`]):
//! a file, memory, or ranges of an object.
//!
//! Anything but the pinned form is refused, never guessed, and nothing is believed before its
//! checksum and its bounds have been checked. `docs/format.md`, "Block", has the bytes.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{Pairs, SCAN_BYTES_MAX, SCAN_PAIRS_MAX};
use crate::store::error::Error;

/// Bytes of the footer, which ends the file.
pub(in crate::store) const FOOTER_LEN: usize = 53;
/// The last eight bytes of the file, little-endian.
const MAGIC: u64 = 0x88e2_41b7_85f4_cff7;
/// The pinned format version.
const FORMAT_VERSION: u32 = 5;
/// The number of XXH3 in the footer.
const CHECKSUM_XXH3: u8 = 4;
/// After every block: a byte that says how it is compressed (0: not), and a checksum.
pub(in crate::store) const TRAILER_LEN: usize = 5;
/// What the eight bytes after a user key hold: sequence number 0 and "this is a value".
const KEY_TAIL: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
/// No block that is written comes near it: values are parts of some hundred KiB, and the index has
/// one entry for each. What claims more is damage, and nothing is allocated for it.
const BLOCK_BYTES_MAX: u64 = 64 << 20;

/// Where a block of the table lies, its trailer not counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(in crate::store) struct Handle {
    pub(in crate::store) offset: u64,
    pub(in crate::store) size: u64,
}

impl Handle {
    /// The first byte behind it and its trailer, if both lie within so many bytes and it may be as
    /// large as it is.
    pub(in crate::store) fn end_within(self, len: u64) -> Result<u64, String> {
        if self.size > BLOCK_BYTES_MAX {
            return Err(format!("it would have more than {BLOCK_BYTES_MAX} bytes"));
        }
        let end = self.offset.checked_add(self.size + TRAILER_LEN as u64);
        end.filter(|end| *end <= len)
            .ok_or_else(|| "it would end past the end of the file".to_owned())
    }
}

/// A data block: no key in it is greater than `bound`, all keys of later blocks are.
pub(super) struct IndexEntry {
    pub(super) bound: Vec<u8>,
    pub(super) handle: Handle,
}

/// The index of a file: which data block holds which keys.
#[derive(Default)]
pub(in crate::store) struct SstIndex(Vec<IndexEntry>);

/// What gives data blocks, each checked against its checksum.
pub(in crate::store) trait DataBlocks {
    /// The bytes of a block without its trailer.
    fn data_block(&self, at: Handle) -> Result<Arc<[u8]>, Error>;

    /// The error of a block whose bytes are not what they should be.
    fn damage(&self, at: Handle, problem: &str) -> Error;
}

impl SstIndex {
    /// The index in the bytes of an index block.
    pub(in crate::store) fn parse(block: &[u8]) -> Result<Self, String> {
        parse_index(block).map(Self)
    }

    /// All data blocks in order.
    pub(super) fn entries(&self) -> &[IndexEntry] {
        &self.0
    }

    /// Bytes of memory that it takes, about.
    pub(in crate::store) fn memory_bytes(&self) -> usize {
        let entries = self.0.iter();
        entries.map(|entry| entry.bound.len() + 64).sum()
    }

    /// The data blocks, each with the bound before it and its own: its keys lie behind the first, up to the second.
    pub(in crate::store) fn bounded(&self) -> impl Iterator<Item = (&[u8], &[u8], Handle)> {
        let before = std::iter::once(&[][..]).chain(self.0.iter().map(|one| one.bound.as_slice()));
        let blocks = before.zip(&self.0);
        blocks.map(|(before, one)| (before, one.bound.as_slice(), one.handle))
    }

    /// The data blocks that lie within some bytes of the file, trailer included.
    pub(in crate::store) fn within(&self, from: u64, to: u64) -> impl Iterator<Item = Handle> {
        let first = self.0.partition_point(|entry| entry.handle.offset < from);
        let rest = self.0.get(first..).unwrap_or_default().iter();
        let handles = rest.map(|entry| entry.handle);
        handles.take_while(move |handle| handle.end_within(to).is_ok())
    }

    /// The data block that holds a key if any does.
    pub(in crate::store) fn block_of(&self, key: &[u8]) -> Option<Handle> {
        self.blocks_from(key).first().map(|entry| entry.handle)
    }

    /// The data blocks that may hold keys with a prefix.
    pub(in crate::store) fn blocks_of_prefix(&self, prefix: &[u8]) -> impl Iterator<Item = Handle> {
        let mut over = false;
        let blocks = self.blocks_from(prefix).iter();
        let blocks = blocks.take_while(move |entry| {
            let wanted = !over;
            // The first bound past the prefix ends it: later blocks hold later keys.
            over = !entry.bound.starts_with(prefix) && entry.bound.as_slice() > prefix;
            wanted
        });
        blocks.map(|entry| entry.handle)
    }

    /// The blocks that can hold keys from `start` on.
    fn blocks_from(&self, start: &[u8]) -> &[IndexEntry] {
        let first = self
            .0
            .partition_point(|entry| entry.bound.as_slice() < start);
        self.0.get(first..).unwrap_or_default()
    }

    /// The value of a key.
    pub(in crate::store) fn get(
        &self,
        blocks: &dyn DataBlocks,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(at) = self.block_of(key) else {
            return Ok(None);
        };
        let block = blocks.data_block(at)?;
        let damage = |problem: String| blocks.damage(at, &problem);
        let mut walk = Walk::new(&block).map_err(damage)?;
        while let Some((found, value)) = walk.next().map_err(damage)? {
            if found == key {
                return Ok(Some(value.to_vec()));
            }
            if found > key {
                break;
            }
        }
        Ok(None)
    }

    /// The first key of all. `None`: there is none.
    pub(in crate::store) fn first_key(
        &self,
        blocks: &dyn DataBlocks,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(IndexEntry { handle, .. }) = self.0.first() else {
            return Ok(None);
        };
        let block = blocks.data_block(*handle)?;
        let damage = |problem: String| blocks.damage(*handle, &problem);
        let mut walk = Walk::new(&block).map_err(damage)?;
        let first = walk.next().map_err(damage)?;
        Ok(first.map(|(key, _)| key.to_vec()))
    }

    /// The next pairs with a prefix, as [`Table::scan`](super::Table::scan).
    pub(in crate::store) fn scan(
        &self,
        blocks: &dyn DataBlocks,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Pairs, Error> {
        let start = after.map_or(prefix, |after| after.max(prefix));
        let (mut pairs, mut bytes) = (Pairs::new(), 0);
        for entry in self.blocks_from(start) {
            let block = blocks.data_block(entry.handle)?;
            let damage = |problem: String| blocks.damage(entry.handle, &problem);
            let mut walk = Walk::new(&block).map_err(damage)?;
            while let Some((key, value)) = walk.next().map_err(damage)? {
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

/// A block's bytes without their trailer, after the checksum has been compared.
pub(in crate::store) fn without_trailer(bytes: &[u8]) -> Result<&[u8], String> {
    let (block, trailer) = bytes
        .split_last_chunk::<TRAILER_LEN>()
        .ok_or("it has no trailer")?;
    let [compression, checksum @ ..] = trailer;
    if *checksum != block_checksum(block, *compression).to_le_bytes() {
        return Err("its checksum does not match".to_owned());
    }
    if *compression != 0 {
        return Err("it is compressed".to_owned());
    }
    Ok(block)
}

/// The checksum of a block: the low half of XXH3-64 over its bytes, and the compression byte
/// times a constant folded in (which is nothing for "not compressed").
pub(super) fn block_checksum(block: &[u8], compression: u8) -> u32 {
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
pub(in crate::store) fn parse_footer(footer: &[u8]) -> Result<(Handle, Handle), String> {
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
            .and_then(|end| end.checked_add(TRAILER_LEN as u64))
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
pub(super) type Pair<'key, 'block> = (&'key [u8], &'block [u8]);

/// Goes through the pairs of a data block. An entry is three varints (bytes shared with the key
/// before, further bytes of the key, bytes of the value), then these bytes of key and value.
pub(super) struct Walk<'a> {
    rest: Cursor<'a>,
    key: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(block: &'a [u8]) -> Result<Self, String> {
        Ok(Self {
            rest: Cursor(entries_of(block)?),
            key: Vec::new(),
        })
    }

    /// The next pair, the key without the eight bytes that RocksDB adds.
    pub(super) fn next(&mut self) -> Result<Option<Pair<'_, 'a>>, String> {
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
