//! What was fetched, kept on the disk: a file for each block, to which parts are added. Bounded;
//! the block that was used longest ago goes first, whole. It survives a restart, and nothing of it
//! has to: it is never synced, and whatever is not as it was written is fetched again.
//!
//! ```text
//! <block id>.parts    records, one after the other
//! record
//!     u64     where the part begins in the block's file, little-endian
//!     u32     its bytes
//!     u32     0x43414952
//!     u64     XXH3 over the block's id, the 16 bytes before and the part
//!             the part
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use super::metrics::TierMetrics;
use crate::model::BlockId;
use crate::store::error::Error;
use crate::store::watermark::free_bytes;

const MARK: u32 = 0x4341_4952;
const HEADER_LEN: usize = 24;
const EXTENSION: &str = "parts";

/// Of one block at most this part (a half) of the cache is kept.
const BLOCK_PART: u64 = 2;

/// Where a part begins in the block's file, and its bytes.
pub(super) type Part = (u64, u64);

struct BlockParts {
    bytes: u64,
    used: u64,
    /// Where each part's record lies; `None`: the file was not looked into yet.
    parts: Option<HashMap<Part, u64>>,
}

#[derive(Default)]
struct Known {
    blocks: HashMap<BlockId, BlockParts>,
    bytes: u64,
    clock: u64,
}

/// The cache in its directory.
pub(super) struct DiskCache {
    directory: PathBuf,
    bytes_max: u64,
    free_min: u64,
    known: Mutex<Known>,
    /// Held by who adds to files.
    adding: Mutex<()>,
    metrics: TierMetrics,
}

impl DiskCache {
    /// Looks at what an earlier start has left: names and sizes, no content.
    pub(super) fn open(
        directory: &Path,
        bytes_max: u64,
        free_min: u64,
        metrics: TierMetrics,
    ) -> Result<Self, Error> {
        if bytes_max > 0 {
            fs::create_dir_all(directory).map_err(Error::io("make", directory))?;
        }
        let mut known = Known::default();
        for (_, id, bytes) in left_here(directory)? {
            known.clock += 1;
            known.bytes += bytes;
            let used = known.clock;
            let parts = None;
            known.blocks.insert(id, BlockParts { bytes, used, parts });
        }
        let cache = Self {
            directory: directory.to_owned(),
            bytes_max,
            free_min,
            known: Mutex::new(known),
            adding: Mutex::default(),
            metrics,
        };
        cache.make_room(0);
        Ok(cache)
    }

    fn path(&self, id: BlockId) -> PathBuf {
        self.directory.join(format!("{id}.{EXTENSION}"))
    }

    /// Where a part's record lies.
    fn find(&self, id: BlockId, part: Part) -> Option<u64> {
        let mut known = self.known.lock();
        known.clock += 1;
        let now = known.clock;
        let block = known.blocks.get_mut(&id)?;
        block.used = now;
        if block.parts.is_none() {
            let (parts, end) = read_records(&self.path(id))?;
            block.parts = Some(parts);
            // What is torn is cut off, or what is added behind it could not be found.
            if end < block.bytes {
                let cut = OpenOptions::new().write(true).open(self.path(id));
                cut.and_then(|file| file.set_len(end)).ok()?;
                let lost = block.bytes - end;
                block.bytes = end;
                known.bytes -= lost;
                return known.blocks.get(&id)?.parts.as_ref()?.get(&part).copied();
            }
        }
        block.parts.as_ref()?.get(&part).copied()
    }

    /// Whether a part is here, as far as is known without reading it.
    pub(super) fn has(&self, id: BlockId, part: Part) -> bool {
        self.find(id, part).is_some()
    }

    /// A part, if it is here and as it was written.
    pub(super) fn get(&self, id: BlockId, part: Part) -> Option<Vec<u8>> {
        let found = self.find(id, part).and_then(|at| {
            let whole = self.read(id, part, at);
            if whole.is_none() {
                self.metrics.damaged();
                self.lose(id, part);
            }
            whole
        });
        self.metrics.looked_up(found.is_some());
        found
    }

    fn read(&self, id: BlockId, part: Part, at: u64) -> Option<Vec<u8>> {
        let len = usize::try_from(part.1).ok()?;
        let mut bytes = vec![0; HEADER_LEN.checked_add(len)?];
        let file = File::open(self.path(id)).ok()?;
        file.read_exact_at(&mut bytes, at).ok()?;
        let content = bytes.split_off(HEADER_LEN);
        (bytes == header(id, part, &content)?).then_some(content)
    }

    fn lose(&self, id: BlockId, part: Part) {
        let mut known = self.known.lock();
        let block = known.blocks.get_mut(&id);
        if let Some(parts) = block.and_then(|block| block.parts.as_mut()) {
            parts.remove(&part);
        }
    }

    /// Adds parts of a block. What cannot be written is not kept, and nobody has to know.
    pub(super) fn put(&self, id: BlockId, parts: &[(u64, &[u8])]) {
        let _one = self.adding.lock();
        let mut records = Vec::new();
        let mut at = Vec::with_capacity(parts.len());
        for (offset, bytes) in parts {
            let part = (*offset, bytes.len() as u64);
            if self.has(id, part) {
                continue;
            }
            let Some(header) = header(id, part, bytes) else {
                continue;
            };
            at.push((part, records.len() as u64));
            records.extend_from_slice(&header);
            records.extend_from_slice(bytes);
        }
        let more = records.len() as u64;
        if at.is_empty() || more > self.bytes_max / BLOCK_PART || !self.has_room(more) {
            return;
        }
        let held = self.known.lock().blocks.get(&id).map(|block| block.bytes);
        if held.unwrap_or(0).saturating_add(more) > self.bytes_max / BLOCK_PART {
            self.drop_block(id);
        }
        self.make_room(more);
        let path = self.path(id);
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let written = file.and_then(|mut file| {
            let from = file.metadata()?.len();
            file.write_all(&records)?;
            Ok(from)
        });
        match written {
            Ok(from) => self.note(id, from, &at, more),
            Err(_) => self.drop_block(id),
        }
    }

    fn note(&self, id: BlockId, from: u64, at: &[(Part, u64)], more: u64) {
        let mut known = self.known.lock();
        known.clock += 1;
        known.bytes += more;
        let used = known.clock;
        let block = known.blocks.entry(id).or_insert_with(|| BlockParts {
            bytes: 0,
            used,
            parts: Some(HashMap::new()),
        });
        block.used = used;
        block.bytes += more;
        for (part, position) in at {
            let parts = block.parts.get_or_insert_with(HashMap::new);
            parts.insert(*part, from + position);
        }
        self.metrics.cached(known.bytes);
    }

    fn has_room(&self, more: u64) -> bool {
        let free = free_bytes(&self.directory).unwrap_or(0);
        if free >= self.free_min.saturating_add(more) {
            return true;
        }
        // Others need the disk more.
        let half = self.known.lock().bytes / 2;
        self.make_room(self.bytes_max.saturating_sub(half));
        false
    }

    /// Lets blocks go until so many bytes more fit, those first that were used longest ago.
    fn make_room(&self, more: u64) {
        let mut known = self.known.lock();
        while known.bytes.saturating_add(more) > self.bytes_max {
            let oldest = known.blocks.iter().min_by_key(|(_, block)| block.used);
            let Some(id) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.forget(&mut known, id);
        }
        self.metrics.cached(known.bytes);
    }

    fn drop_block(&self, id: BlockId) {
        let mut known = self.known.lock();
        self.forget(&mut known, id);
    }

    fn forget(&self, known: &mut Known, id: BlockId) {
        if let Some(block) = known.blocks.remove(&id) {
            known.bytes = known.bytes.saturating_sub(block.bytes);
        }
        if let Err(error) = fs::remove_file(self.path(id))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(block = %id, %error, "a part of the cache could not be removed");
        }
    }

    /// Lets go of what is kept of blocks that nobody names.
    pub(super) fn retain(&self, named: &dyn Fn(BlockId) -> bool) {
        let _one = self.adding.lock();
        let blocks: Vec<BlockId> = self.known.lock().blocks.keys().copied().collect();
        for id in blocks.into_iter().filter(|id| !named(*id)) {
            self.drop_block(id);
        }
        self.metrics.cached(self.known.lock().bytes);
    }
}

/// What an earlier start has left, the oldest first. Files of other names are removed.
fn left_here(directory: &Path) -> Result<Vec<(SystemTime, BlockId, u64)>, Error> {
    let mut found = Vec::new();
    if !directory.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        let meta = fs::metadata(&path).map_err(Error::io("measure", &path))?;
        match block_of(&path) {
            Some(id) => {
                let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((modified, id, meta.len()));
            }
            None => fs::remove_file(&path).map_err(Error::io("remove", &path))?,
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn block_of(path: &Path) -> Option<BlockId> {
    let ours = path.extension()?.to_str()? == EXTENSION;
    let id = u128::from_str_radix(path.file_stem()?.to_str()?, 16).ok()?;
    ours.then_some(BlockId(id))
}

fn header(id: BlockId, part: Part, content: &[u8]) -> Option<[u8; HEADER_LEN]> {
    let len = u32::try_from(part.1).ok()?;
    let mut bytes = [0; HEADER_LEN];
    let (place, sum) = bytes.split_at_mut(16);
    let (offset, rest) = place.split_at_mut(8);
    let (length, mark) = rest.split_at_mut(4);
    offset.copy_from_slice(&part.0.to_le_bytes());
    length.copy_from_slice(&len.to_le_bytes());
    mark.copy_from_slice(&MARK.to_le_bytes());
    let mut hasher = Xxh3::new();
    hasher.update(&id.0.to_le_bytes());
    hasher.update(place);
    hasher.update(content);
    sum.copy_from_slice(&hasher.digest().to_le_bytes());
    Some(bytes)
}

/// All records of a file by what is in them, and where the last whole one ends.
fn read_records(path: &Path) -> Option<(HashMap<Part, u64>, u64)> {
    let file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    let (mut parts, mut at) = (HashMap::new(), 0u64);
    let mut bytes = [0; HEADER_LEN];
    while file.read_exact_at(&mut bytes, at).is_ok() {
        let (offset, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (mark, _) = rest.split_first_chunk::<4>()?;
        let size = u64::from(u32::from_le_bytes(*length));
        let end = at + HEADER_LEN as u64 + size;
        if u32::from_le_bytes(*mark) != MARK || end > len {
            break;
        }
        parts.insert((u64::from_le_bytes(*offset), size), at);
        at = end;
    }
    Some((parts, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path, max: u64) -> DiskCache {
        DiskCache::open(directory, max, 0, TierMetrics::default()).unwrap()
    }

    fn part(number: u64, len: usize) -> (u64, Vec<u8>) {
        (
            number * 10_000,
            vec![u8::try_from(number % 251).unwrap(); len],
        )
    }

    #[test]
    fn what_was_put_is_there_after_a_restart_and_within_the_bound() {
        let directory = tempfile::tempdir().unwrap();
        let max = 100_000;
        for start in 0..3u128 {
            let cache = open(directory.path(), max);
            for block in 0..30u128 {
                let id = BlockId(start * 100 + block);
                for number in 0..5 {
                    let (at, bytes) = part(number, 1000);
                    cache.put(id, &[(at, &bytes), (at, &bytes)]);
                    assert_eq!(cache.get(id, (at, 1000)), Some(bytes));
                    assert!(cache.get(id, (at, 999)).is_none());
                }
                let known = cache.known.lock();
                let on_disk: u64 = fs::read_dir(directory.path())
                    .unwrap()
                    .map(|entry| entry.unwrap().metadata().unwrap().len())
                    .sum();
                assert!(known.bytes <= max && known.bytes == on_disk);
            }
            let again = open(directory.path(), max);
            let (at, bytes) = part(3, 1000);
            assert_eq!(
                again.get(BlockId(start * 100 + 29), (at, 1000)),
                Some(bytes)
            );
            assert!(!again.has(BlockId(start * 100), (at, 1000)));
            again.retain(&|id| id.0 % 2 == 1);
            assert!(again.known.lock().blocks.keys().all(|id| id.0 % 2 == 1));
            assert!(again.has(BlockId(start * 100 + 29), (at, 1000)));
        }
    }

    /// Flipped and torn files give nothing or what was put, and what is added later is found.
    #[test]
    fn damage_is_never_given_out() {
        let directory = tempfile::tempdir().unwrap();
        let id = BlockId(7);
        let parts: Vec<(u64, Vec<u8>)> = (0..4).map(|number| part(number, 50)).collect();
        let slices: Vec<(u64, &[u8])> = parts.iter().map(|(at, b)| (*at, b.as_slice())).collect();
        open(directory.path(), 1 << 20).put(id, &slices);
        let path = directory.path().join(format!("{id}.parts"));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            for cut in [false, true] {
                let mut bad = good.clone();
                bad[at] ^= 0x20;
                if cut {
                    bad = good[..at].to_vec();
                }
                fs::write(&path, bad).unwrap();
                let cache = open(directory.path(), 1 << 20);
                for (offset, bytes) in &parts {
                    let got = cache.get(id, (*offset, 50));
                    assert!(got.is_none() || got.as_ref() == Some(bytes), "{at}");
                }
                cache.put(id, &slices);
                let again = open(directory.path(), 1 << 20);
                for (offset, bytes) in &parts {
                    let got = cache.get(id, (*offset, 50));
                    assert_eq!(got.as_ref(), Some(bytes), "{at} {cut}");
                    let got = again.get(id, (*offset, 50));
                    assert!(got.is_none() || got.as_ref() == Some(bytes), "{at}");
                }
            }
        }
    }
}
