//! A pack: several small blocks of one range end to end, then a directory that says which they are.
//!
//! The catalog says where each block lies, so that nobody needs the directory to read one; it is for
//! a restore whose catalog does not know the pack yet, and for whoever removes it. A pack is named by
//! the digest that ends its directory, which names its blocks by theirs. All numbers are most
//! significant byte first:
//!
//! | bytes | what |
//! | --- | --- |
//! | ... | the blocks' files |
//! | 8 | `CAIRNPAK` |
//! | 1 | the format: 1 |
//! | 16 | the cluster |
//! | 8, 8 | the range of all blocks: first and last time (i64) |
//! | 4 | how many blocks follow, in the order in which they lie |
//! | each | arc: prefix (u32), depth (u8); offset (u64), id (16), level (u8), round (u32), size (u64), samples (u64), content sum (16), digest (32) |
//! | 32 | BLAKE3 of the directory up to here |
//! | 4 | bytes of the directory, from `CAIRNPAK` to its digest |

use bytes::Bytes;

use super::bucket::Bucket;
use super::error::Error;
use super::fields::{Fields, Opening, seal};
use super::name::{NamedBlock, NamedPack};
use crate::model::{BlockEntry, BlockId, Digest, Level, RingArc, TimeRange, TimestampMs, Uploaded};

const OPENING: Opening = Opening {
    magic: b"CAIRNPAK",
    format: 1,
    what: "pack",
};
/// What a directory has beside its blocks, and what each of them takes.
const BARE_BYTES: usize = Opening::BYTES + 16 + 16 + 4;
const ENTRY_BYTES: usize = 5 + 8 + 16 + 1 + 4 + 8 + 8 + 16 + 32;
/// The length behind it.
const TRAILER_BYTES: usize = 4;
/// Blocks of one pack, at most: 100 KB of directory.
pub const PACK_BLOCKS_MAX: usize = 1024;
const DIRECTORY_BYTES_MAX: usize = BARE_BYTES + PACK_BLOCKS_MAX * ENTRY_BYTES + TRAILER_BYTES;
/// Read at first: the directory of some hundred blocks.
const TAIL_BYTES: u64 = 16 << 10;

/// A block in a pack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedBlock {
    /// The arc that it was built for.
    pub arc: RingArc,
    /// The first of its bytes.
    pub offset: u64,
    /// What the catalog says of it; where it lies does not count.
    pub entry: BlockEntry,
}

/// What a pack holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackDirectory {
    /// Whose.
    pub cluster: u128,
    /// The range of each of its blocks.
    pub range: TimeRange,
    /// The blocks, in the order in which they lie.
    pub blocks: Vec<PackedBlock>,
}

impl PackDirectory {
    /// That of a pack of these blocks, end to end.
    #[must_use]
    pub fn of(cluster: u128, range: TimeRange, blocks: &[(RingArc, BlockEntry)]) -> Self {
        let mut offset = 0u64;
        let blocks = blocks.iter().map(|(arc, entry)| {
            let packed = PackedBlock {
                arc: *arc,
                offset,
                entry: BlockEntry {
                    uploaded: Uploaded::None,
                    ..entry.clone()
                },
            };
            offset = offset.saturating_add(entry.size);
            packed
        });
        Self {
            cluster,
            range,
            blocks: blocks.collect(),
        }
    }

    /// Whether it is that of a pack of this name. The digest is no part of that: a pack that was put
    /// again without blocks that nobody has any more keeps its name.
    #[must_use]
    pub fn is_of(&self, named: &NamedPack) -> bool {
        (self.cluster, self.range) == (named.cluster, named.range)
    }

    /// Its blocks as if each had an object of its own.
    pub fn named(&self) -> impl Iterator<Item = NamedBlock> {
        self.blocks.iter().map(|block| NamedBlock {
            cluster: self.cluster,
            arc: block.arc,
            level: block.entry.level,
            range: self.range,
            round: block.entry.round,
            digest: block.entry.digest,
        })
    }

    /// Where the last block ends, and the directory begins.
    #[must_use]
    pub fn end_of_blocks(&self) -> u64 {
        let end = |block: &PackedBlock| block.offset.saturating_add(block.entry.size);
        self.blocks.last().map_or(0, end)
    }

    /// The directory's digest: the name of the pack.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(*blake3::hash(&self.body()).as_bytes())
    }

    /// What follows the blocks.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        seal(&mut out);
        let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BARE_BYTES + ENTRY_BYTES * self.blocks.len() + 4);
        OPENING.write(&mut out);
        out.extend_from_slice(&self.cluster.to_be_bytes());
        out.extend_from_slice(&self.range.start.0.to_be_bytes());
        out.extend_from_slice(&self.range.end.0.to_be_bytes());
        let count = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for PackedBlock { arc, offset, entry } in &self.blocks {
            out.extend_from_slice(&arc.prefix().to_be_bytes());
            out.push(arc.depth());
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(&entry.id.0.to_be_bytes());
            out.push(entry.level.0);
            out.extend_from_slice(&entry.round.to_be_bytes());
            out.extend_from_slice(&entry.size.to_be_bytes());
            out.extend_from_slice(&entry.samples.to_be_bytes());
            out.extend_from_slice(&entry.content_sum.to_be_bytes());
            out.extend_from_slice(&entry.digest.0);
        }
        out
    }

    /// From what follows the blocks of a pack, which begins at a byte of it; the text says what is
    /// wrong.
    ///
    /// # Errors
    /// When it is damaged, from a newer version, or names bytes that are not the pack's blocks'.
    pub fn decode(bytes: &[u8], begins: u64) -> Result<Self, String> {
        let (directory, len) = bytes.split_last_chunk::<4>().ok_or("it is cut short")?;
        if u32::from_be_bytes(*len) as usize != directory.len() {
            return Err("its directory is not as long as it says".to_owned());
        }
        let mut fields = OPENING.read(directory)?;
        let cluster = u128::from_be_bytes(fields.take()?);
        let start = TimestampMs(i64::from_be_bytes(fields.take()?));
        let end = TimestampMs(i64::from_be_bytes(fields.take()?));
        if start > end {
            return Err("it ends before it begins".to_owned());
        }
        let range = TimeRange::new(start, end);
        let blocks = take_blocks(&mut fields, range, begins)?;
        Ok(Self {
            cluster,
            range,
            blocks,
        })
    }

    /// Reads the directory of a pack of so many bytes.
    ///
    /// # Errors
    /// When the bucket does not give it, or it is damaged.
    pub async fn read(bucket: &Bucket, name: &str, size: u64) -> Result<Self, Error> {
        let corrupt = |problem: String| bucket.corrupt(name, problem);
        let tail = size.saturating_sub(TAIL_BYTES);
        let mut bytes = read_from(bucket, name, tail, size).await?;
        let len = bytes.split_last_chunk::<4>().map_or(0, |(_, len)| {
            u64::from(u32::from_be_bytes(*len)) + TRAILER_BYTES as u64
        });
        let begins = size.checked_sub(len).filter(|_| len > 0);
        let begins = begins.ok_or_else(|| corrupt("it has no directory".to_owned()))?;
        if len > DIRECTORY_BYTES_MAX as u64 {
            let problem = format!("its directory has {len} bytes (bound {DIRECTORY_BYTES_MAX})");
            return Err(corrupt(problem));
        }
        if begins < tail {
            bytes = read_from(bucket, name, begins, size).await?;
        }
        let before = usize::try_from(begins.saturating_sub(tail)).unwrap_or(usize::MAX);
        let directory = bytes.get(before..).unwrap_or_default();
        Self::decode(directory, begins).map_err(corrupt)
    }
}

async fn read_from(bucket: &Bucket, name: &str, from: u64, end: u64) -> Result<Bytes, Error> {
    if from >= end {
        return Err(bucket.corrupt(name, "it is empty".to_owned()));
    }
    let bytes = bucket.read(name, from..end).await?;
    let bytes = bytes.ok_or_else(|| bucket.missing(name))?;
    if bytes.len() as u64 == end - from {
        return Ok(bytes);
    }
    Err(bucket.corrupt(name, "it is shorter than it was listed".to_owned()))
}

fn take_blocks(
    fields: &mut Fields<'_>,
    range: TimeRange,
    begins: u64,
) -> Result<Vec<PackedBlock>, String> {
    let count = u32::from_be_bytes(fields.take()?) as usize;
    if count > PACK_BLOCKS_MAX || count.checked_mul(ENTRY_BYTES) != Some(fields.0.len()) {
        return Err(format!("its directory does not have {count} blocks"));
    }
    let mut blocks = Vec::with_capacity(count);
    let mut free = 0u64;
    for _ in 0..count {
        let block = take_block(fields, range)?;
        let end = block.offset.checked_add(block.entry.size);
        match end {
            Some(end) if block.offset >= free && end <= begins => free = end,
            _ => {
                return Err(format!(
                    "block {} lies where another one or nothing is",
                    block.entry.id
                ));
            }
        }
        blocks.push(block);
    }
    Ok(blocks)
}

fn take_block(fields: &mut Fields<'_>, range: TimeRange) -> Result<PackedBlock, String> {
    let prefix = u32::from_be_bytes(fields.take()?);
    let [depth] = fields.take()?;
    Ok(PackedBlock {
        arc: RingArc::new(prefix, depth).ok_or("one of its arcs is none")?,
        offset: u64::from_be_bytes(fields.take()?),
        entry: BlockEntry {
            id: BlockId(u128::from_be_bytes(fields.take()?)),
            range,
            level: Level(u8::from_be_bytes(fields.take()?)),
            round: u32::from_be_bytes(fields.take()?),
            size: u64::from_be_bytes(fields.take()?),
            samples: u64::from_be_bytes(fields.take()?),
            content_sum: u128::from_be_bytes(fields.take()?),
            digest: Digest(fields.take()?),
            uploaded: Uploaded::None,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::archive::{ArchiveKind, ArchiveMetrics, ArchiveSettings};
    use crate::model::Window;
    use crate::runtime::{Clock, ManualClock};

    fn directory(blocks: u16) -> PackDirectory {
        let block = |number: u16| {
            let low = u8::try_from(number % 16).unwrap();
            let entry = BlockEntry {
                id: BlockId(u128::from(number)),
                range: Window(5).range(),
                level: Level(low % 2),
                round: 3,
                size: 10 + u64::from(number),
                samples: 9,
                content_sum: u128::MAX - 5,
                digest: Digest([low; 32]),
                uploaded: Uploaded::Object,
            };
            (RingArc::new(u32::from(low) << 28, 4).unwrap(), entry)
        };
        let blocks: Vec<_> = (0..blocks).map(block).collect();
        PackDirectory::of(0xc0, Window(5).range(), &blocks)
    }

    #[test]
    fn a_directory_is_read_as_it_was_written() {
        let most = u16::try_from(PACK_BLOCKS_MAX).unwrap();
        for blocks in [0, 1, 3, 16, most] {
            let directory = directory(blocks);
            let begins = directory.end_of_blocks();
            let bytes = directory.encode();
            let read = PackDirectory::decode(&bytes, begins);
            assert_eq!(read.as_ref(), Ok(&directory));
            // Blocks may have gone from before it.
            assert!(PackDirectory::decode(&bytes, begins + 1).is_ok());
            assert_eq!(bytes[bytes.len() - 36..][..32], directory.digest().0);
        }
        let offsets = directory(3).blocks.into_iter().map(|block| block.offset);
        assert_eq!(offsets.collect::<Vec<_>>(), [0, 10, 21]);
    }

    /// Would catch a field that is believed before the digest has been compared.
    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let bytes = directory(3).encode();
        for len in 0..bytes.len() {
            assert!(PackDirectory::decode(&bytes[..len], 1000).is_err(), "{len}");
        }
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(PackDirectory::decode(&flipped, 1000).is_err(), "{bit}");
        }
    }

    fn sealed_again(bytes: &[u8]) -> Vec<u8> {
        let mut body = bytes[..bytes.len() - 36].to_vec();
        seal(&mut body);
        let len = u32::try_from(body.len()).unwrap();
        body.extend_from_slice(&len.to_be_bytes());
        body
    }

    /// A digest proves nothing about who wrote the bytes.
    #[test]
    fn a_hostile_directory_is_refused() {
        let good = directory(3);
        let (bytes, begins) = (good.encode(), good.end_of_blocks());
        let check = |bytes: &[u8], want: &str| {
            let error = PackDirectory::decode(&sealed_again(bytes), begins).unwrap_err();
            assert!(error.contains(want), "{error}");
        };
        let count_at = 8 + 1 + 16 + 16;
        let mut many = bytes.clone();
        many[count_at..count_at + 4].fill(0xff);
        check(&many, "does not have");
        let mut few = bytes.clone();
        few[count_at + 3] = 2;
        check(&few, "does not have 2");
        let too_many = directory(u16::try_from(PACK_BLOCKS_MAX).unwrap() + 1);
        check(&too_many.encode(), "does not have 1025");
        let mut other = bytes.clone();
        other[..8].copy_from_slice(b"CAIRNCAT");
        check(&other, "no pack");
        let mut format = bytes.clone();
        format[8] = 2;
        check(&format, "format 2");
        let error = PackDirectory::decode(&bytes, begins - 1).unwrap_err();
        assert!(error.contains("lies where"), "{error}");
        let mut overlap = good.clone();
        overlap.blocks[2].offset -= 1;
        check(&overlap.encode(), "lies where");
        let mut huge = good.clone();
        huge.blocks[0].entry.size = u64::MAX;
        check(&huge.encode(), "lies where");
        let mut far = good.clone();
        far.blocks[1].offset = u64::MAX;
        check(&far.encode(), "lies where");
        let mut backwards = good;
        backwards.range.end = TimestampMs(backwards.range.start.0 - 1);
        check(&backwards.encode(), "ends before");
    }

    /// Would catch a directory that is taken for that of another cluster's or range's pack.
    #[test]
    fn a_directory_is_of_a_pack_of_its_cluster_and_range() {
        let directory = directory(3);
        let named = |cluster, range| NamedPack {
            cluster,
            range,
            digest: Digest([0; 32]),
        };
        assert!(directory.is_of(&named(0xc0, Window(5).range())));
        assert!(!directory.is_of(&named(0xc1, Window(5).range())));
        assert!(!directory.is_of(&named(0xc0, Window(6).range())));
    }

    /// Reads the directory of an object that a listing gives so many bytes.
    async fn read(object: &[u8], listed: usize) -> Result<PackDirectory, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = ArchiveSettings::default();
        settings.main.kind = ArchiveKind::Local;
        settings.local.path = Some(folder.path().to_owned());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let bucket = Bucket::open(&settings, &clock, ArchiveMetrics::default());
        let bucket = bucket.unwrap().unwrap();
        std::fs::write(folder.path().join("pack"), object).unwrap();
        let read = PackDirectory::read(&bucket, "pack", listed as u64).await;
        read.map_err(|error| error.to_string())
    }

    /// Would catch a long directory of which only the end is read, and an object that says how much
    /// memory it takes.
    #[tokio::test]
    async fn the_directory_is_found_behind_the_blocks_and_only_there() {
        for blocks in [1, 3, 500] {
            let directory = directory(blocks);
            let before = usize::try_from(directory.end_of_blocks()).unwrap();
            let object = [vec![7; before], directory.encode()].concat();
            let len = object.len();
            assert_eq!(read(&object, len).await, Ok(directory));
            assert!(read(&object, len - 1).await.is_err());
            assert!(read(&object, len + 1).await.is_err());
        }
        let check = async |object: &[u8], want: &str| {
            let error = read(object, object.len()).await.unwrap_err();
            assert!(error.contains(want), "{error}");
        };
        check(&[], "is empty").await;
        check(&[0; 3], "no directory").await;
        check(&[0xff; 300], "no directory").await;
        let mut greedy = vec![0; 2 * DIRECTORY_BYTES_MAX];
        let says = u32::try_from(DIRECTORY_BYTES_MAX).unwrap().to_be_bytes();
        greedy.extend_from_slice(&says);
        check(&greedy, "bound").await;
    }
}
