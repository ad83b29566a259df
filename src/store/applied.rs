//! What this node has applied of the catalog, and up to where its log is given up: records in the
//! engine's meta space that are written in one batch.
//!
//! | key | value |
//! | --- | --- |
//! | `applied/` arc `v` | the partition's version that is applied here (u64) |
//! | `applied/` arc `b` block id | an applied block's entry |
//! | `recent/` arc | which of its blocks a start reads at once (`recent.rs`) |
//! | `mark/` arc window | the log position up to which the window's content of that arc is in an applied block, or given up (u64) |
//!
//! Numbers are most significant byte first; an arc is its prefix (u32) and depth (u8), a window
//! its number with the sign bit flipped (u64), so that keys sort as their numbers do.
//! `docs/format.md` has the entry byte by byte.

use std::collections::BTreeMap;

use super::engine::{Batch, Engine, Space, for_each};
use super::error::Error;
use super::recent::Recent;
use crate::model::Window;
use crate::model::{BlockEntry, BlockId, Digest, Level, RingArc, TimeRange, TimestampMs, Uploaded};

const APPLIED: &[u8] = b"applied/";
const RECENT: &[u8] = b"recent/";
const MARK: &[u8] = b"mark/";
const VERSION: u8 = b'v';
const BLOCK: u8 = b'b';

/// The version of an entry's bytes.
const ENTRY_FORMAT: u8 = 1;

/// One partition as it is applied here.
#[derive(Clone, Default, Debug, PartialEq)]
pub(super) struct Applied {
    pub(super) version: u64,
    pub(super) blocks: BTreeMap<BlockId, BlockEntry>,
}

/// Log positions up to which content is elsewhere.
pub(super) type Marks = BTreeMap<(RingArc, Window), u64>;

fn arc_bytes(arc: RingArc) -> [u8; 5] {
    let [a, b, c, d] = arc.prefix().to_be_bytes();
    [a, b, c, d, arc.depth()]
}

fn version_key(arc: RingArc) -> Vec<u8> {
    [APPLIED, &arc_bytes(arc), &[VERSION]].concat()
}

fn block_key(arc: RingArc, id: BlockId) -> Vec<u8> {
    [APPLIED, &arc_bytes(arc), &[BLOCK], &id.0.to_be_bytes()].concat()
}

fn mark_key(arc: RingArc, window: Window) -> Vec<u8> {
    let number = (window.0 ^ i64::MIN).to_be_bytes();
    [MARK, &arc_bytes(arc), &number].concat()
}

fn recent_key(arc: RingArc) -> Vec<u8> {
    [RECENT, &arc_bytes(arc)].concat()
}

/// After all that is noted of a partition's version and blocks.
fn end_of(arc: RingArc) -> Vec<u8> {
    [APPLIED, &arc_bytes(arc), &[u8::MAX]].concat()
}

/// Notes a partition's version, and which of the blocks that it lists from now on are recent.
pub(super) fn put_version<'a>(
    batch: &mut Batch,
    arc: RingArc,
    version: u64,
    blocks: impl Iterator<Item = &'a BlockEntry>,
) {
    batch.put(Space::Meta, &version_key(arc), &version.to_be_bytes());
    put_recent(batch, arc, &Recent::of(version, blocks));
}

/// Notes which blocks of a partition are recent.
pub(super) fn put_recent(batch: &mut Batch, arc: RingArc, recent: &Recent) {
    batch.put(Space::Meta, &recent_key(arc), &recent.encode());
}

/// Notes that nothing of a partition is applied any more.
pub(super) fn delete_version(batch: &mut Batch, arc: RingArc) {
    batch.delete(Space::Meta, &version_key(arc));
    batch.delete(Space::Meta, &recent_key(arc));
}

/// Notes a block as applied.
pub(super) fn put_block(batch: &mut Batch, arc: RingArc, entry: &BlockEntry) {
    batch.put(Space::Meta, &block_key(arc, entry.id), &encode(entry));
}

/// Notes a block as no longer applied.
pub(super) fn delete_block(batch: &mut Batch, arc: RingArc, id: BlockId) {
    batch.delete(Space::Meta, &block_key(arc, id));
}

/// Notes up to where a window's log is given up.
pub(super) fn put_mark(batch: &mut Batch, arc: RingArc, window: Window, position: u64) {
    let key = mark_key(arc, window);
    batch.put(Space::Meta, &key, &position.to_be_bytes());
}

/// Forgets a mark that no record of the log lies below any more.
pub(super) fn delete_mark(batch: &mut Batch, arc: RingArc, window: Window) {
    batch.delete(Space::Meta, &mark_key(arc, window));
}

/// Reads all partitions with all their blocks.
pub(super) fn read(engine: &dyn Engine) -> Result<BTreeMap<RingArc, Applied>, Error> {
    let mut all: BTreeMap<RingArc, Applied> = BTreeMap::new();
    for_each(
        |after| engine.scan(Space::Meta, APPLIED, after),
        |key, value| read_applied(&mut all, key, value),
    )?;
    Ok(all)
}

/// The partitions of which anything is noted, with their versions. It costs what there are
/// partitions, not what there are blocks.
pub(super) fn versions(engine: &dyn Engine) -> Result<BTreeMap<RingArc, u64>, Error> {
    let mut all = BTreeMap::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let first = engine.first(Space::Meta, APPLIED, after.as_deref())?;
        let Some((key, _)) = first else {
            return Ok(all);
        };
        let rest = key.get(APPLIED.len()..).unwrap_or_default();
        let (arc, _) = take_arc(rest).ok_or_else(|| damaged("the key of an applied block"))?;
        let version = engine.get(Space::Meta, &version_key(arc))?;
        let version = version.map_or(Ok(0), |bytes| take_u64(&bytes, "an applied version"))?;
        all.insert(arc, version);
        after = Some(end_of(arc));
    }
}

/// Which blocks of a partition are recent at a version. `None`: that is not noted, or of another version, as by a
/// program that did not note it yet.
pub(super) fn read_recent(
    engine: &dyn Engine,
    arc: RingArc,
    version: u64,
) -> Result<Option<Recent>, Error> {
    let bytes = engine.get(Space::Meta, &recent_key(arc))?;
    let recent = bytes.and_then(|bytes| Recent::decode(&bytes));
    Ok(recent.filter(|recent| recent.version == version))
}

/// One block of a partition, if it is applied there.
pub(super) fn read_block(
    engine: &dyn Engine,
    arc: RingArc,
    id: BlockId,
) -> Result<Option<BlockEntry>, Error> {
    let Some(bytes) = engine.get(Space::Meta, &block_key(arc, id))? else {
        return Ok(None);
    };
    let entry = decode(id, &bytes).ok_or_else(|| damaged("an applied block's entry"))?;
    Ok(Some(entry))
}

/// All blocks of a partition.
pub(super) fn read_blocks(engine: &dyn Engine, arc: RingArc) -> Result<Applied, Error> {
    let prefix = [APPLIED, &arc_bytes(arc)].concat();
    let mut all: BTreeMap<RingArc, Applied> = BTreeMap::new();
    for_each(
        |after| engine.scan(Space::Meta, &prefix, after),
        |key, value| read_applied(&mut all, key, value),
    )?;
    Ok(all.remove(&arc).unwrap_or_default())
}

/// Reads up to where the log is given up.
pub(super) fn read_marks(engine: &dyn Engine) -> Result<Marks, Error> {
    let mut marks = Marks::new();
    for_each(
        |after| engine.scan(Space::Meta, MARK, after),
        |key, value| {
            let rest = key.get(MARK.len()..).unwrap_or_default();
            let (arc, rest) = take_arc(rest).ok_or_else(|| damaged("a mark's key"))?;
            let window = <[u8; 8]>::try_from(rest).map_err(|_| damaged("a mark's key"))?;
            let window = Window(i64::from_be_bytes(window) ^ i64::MIN);
            marks.insert((arc, window), take_u64(value, "a mark")?);
            Ok(())
        },
    )?;
    Ok(marks)
}

fn read_applied(
    all: &mut BTreeMap<RingArc, Applied>,
    key: &[u8],
    value: &[u8],
) -> Result<(), Error> {
    let rest = key.get(APPLIED.len()..).unwrap_or_default();
    let what = "the key of an applied block";
    let (arc, rest) = take_arc(rest).ok_or_else(|| damaged(what))?;
    let applied = all.entry(arc).or_default();
    match rest.split_first() {
        Some((&VERSION, [])) => applied.version = take_u64(value, "an applied version")?,
        Some((&BLOCK, id)) => {
            let id = <[u8; 16]>::try_from(id).map_err(|_| damaged(what))?;
            let id = BlockId(u128::from_be_bytes(id));
            let entry = decode(id, value).ok_or_else(|| damaged("an applied block's entry"))?;
            applied.blocks.insert(id, entry);
        }
        _ => return Err(damaged(what)),
    }
    Ok(())
}

fn damaged(what: &str) -> Error {
    Error::corrupt(
        "the record of what is applied",
        format!("{what} cannot be read"),
    )
}

fn take_arc(bytes: &[u8]) -> Option<(RingArc, &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<4>()?;
    let (depth, rest) = rest.split_first()?;
    Some((RingArc::new(u32::from_be_bytes(*prefix), *depth)?, rest))
}

fn take_u64(bytes: &[u8], what: &str) -> Result<u64, Error> {
    let bytes = bytes.try_into().map_err(|_| damaged(what))?;
    Ok(u64::from_be_bytes(bytes))
}

fn encode(entry: &BlockEntry) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.push(ENTRY_FORMAT);
    out.extend_from_slice(&entry.range.start.0.to_be_bytes());
    out.extend_from_slice(&entry.range.end.0.to_be_bytes());
    out.push(entry.level.0);
    out.extend_from_slice(&entry.round.to_be_bytes());
    out.extend_from_slice(&entry.size.to_be_bytes());
    out.extend_from_slice(&entry.samples.to_be_bytes());
    out.extend_from_slice(&entry.content_sum.to_be_bytes());
    out.extend_from_slice(&entry.digest.0);
    match entry.uploaded {
        Uploaded::None => out.push(0),
        Uploaded::Object => out.push(1),
        Uploaded::Pack { pack, offset } => {
            out.push(2);
            out.extend_from_slice(&pack.0);
            out.extend_from_slice(&offset.to_be_bytes());
        }
    }
    out
}

/// Takes fixed pieces from the front of a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (piece, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*piece)
    }
}

fn decode(id: BlockId, bytes: &[u8]) -> Option<BlockEntry> {
    let mut fields = Fields(bytes);
    let [format] = fields.take()?;
    if format != ENTRY_FORMAT {
        return None;
    }
    let start = TimestampMs(i64::from_be_bytes(fields.take()?));
    let end = TimestampMs(i64::from_be_bytes(fields.take()?));
    let [level] = fields.take()?;
    let entry = BlockEntry {
        id,
        range: TimeRange::new(start, end),
        level: Level(level),
        round: u32::from_be_bytes(fields.take()?),
        size: u64::from_be_bytes(fields.take()?),
        samples: u64::from_be_bytes(fields.take()?),
        content_sum: u128::from_be_bytes(fields.take()?),
        digest: Digest(fields.take()?),
        uploaded: match fields.take()? {
            [0] => Uploaded::None,
            [1] => Uploaded::Object,
            [2] => Uploaded::Pack {
                pack: Digest(fields.take()?),
                offset: u64::from_be_bytes(fields.take()?),
            },
            _ => return None,
        },
    };
    fields.0.is_empty().then_some(entry)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::FOUNDING_DEPTH;
    use crate::store::engine::{Durability, MemoryEngine};

    fn entry(id: u128, uploaded: Uploaded) -> BlockEntry {
        BlockEntry {
            id: BlockId(id),
            range: Window(-3).range(),
            level: Level(2),
            round: 7,
            size: 1 << 40,
            samples: 99,
            content_sum: u128::MAX - 5,
            digest: Digest([4; 32]),
            uploaded,
        }
    }

    #[test]
    fn what_was_noted_is_read() {
        let engine = MemoryEngine::new(Path::new("unused"));
        let pack = Uploaded::Pack {
            pack: Digest([1; 32]),
            offset: 12,
        };
        let (mut batch, mut applied, mut marks) = (Batch::new(), BTreeMap::new(), Marks::new());
        for (number, arc) in RingArc::all(FOUNDING_DEPTH).enumerate() {
            let number = u64::try_from(number).unwrap();
            let places = [Uploaded::None, Uploaded::Object, pack];
            let mut here = Applied {
                version: number,
                blocks: BTreeMap::new(),
            };
            for (id, place) in (u128::from(number) * 10..).zip(places) {
                put_block(&mut batch, arc, &entry(id, place));
                here.blocks.insert(BlockId(id), entry(id, place));
            }
            put_version(&mut batch, arc, number, here.blocks.values());
            let gone = BlockId(u128::from(number) * 10 + 9);
            put_block(&mut batch, arc, &entry(gone.0, pack));
            delete_block(&mut batch, arc, gone);
            applied.insert(arc, here);
            for window in [Window(-1), Window(0), Window(5)] {
                put_mark(&mut batch, arc, window, number + 100);
                marks.insert((arc, window), number + 100);
            }
            put_mark(&mut batch, arc, Window(6), 1);
            delete_mark(&mut batch, arc, Window(6));
        }
        engine.write(batch, Durability::Synced).unwrap();
        assert_eq!(read(&engine).unwrap(), applied);
        assert_eq!(read_marks(&engine).unwrap(), marks);
        let versions = versions(&engine).unwrap();
        for (arc, here) in &applied {
            assert_eq!(versions.get(arc), Some(&here.version));
            assert_eq!(&read_blocks(&engine, *arc).unwrap(), here);
            for (id, entry) in &here.blocks {
                assert_eq!(
                    read_block(&engine, *arc, *id).unwrap().as_ref(),
                    Some(entry)
                );
            }
            assert_eq!(read_block(&engine, *arc, BlockId(9999)).unwrap(), None);
            let recent = read_recent(&engine, *arc, here.version).unwrap().unwrap();
            assert_eq!(recent, Recent::of(here.version, here.blocks.values()));
            assert_eq!(read_recent(&engine, *arc, here.version + 1).unwrap(), None);
        }
        assert_eq!(versions.len(), applied.len());
    }

    /// The bytes of `docs/format.md`, which every later version must read.
    #[test]
    fn an_entry_has_the_bytes_of_the_format() {
        let pack = Uploaded::Pack {
            pack: Digest([1; 32]),
            offset: 12,
        };
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let range = "fffffffffeb66900ffffffffff2445ff";
        let (level_and_round, size, samples) =
            ("0200000007", "0000010000000000", "0000000000000063");
        let (sum, digest) = ("fffffffffffffffffffffffffffffffa", "04".repeat(32));
        let place = format!("02{}000000000000000c", "01".repeat(32));
        let want = format!("01{range}{level_and_round}{size}{samples}{sum}{digest}{place}");
        assert_eq!(hex(&encode(&entry(1, pack))), want);
        let arc = RingArc::new(0x3000_0000, 4).unwrap();
        assert_eq!(version_key(arc), b"applied/\x30\0\0\0\x04v");
        let id = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
        let key = b"applied/\x30\0\0\0\x04b\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";
        assert_eq!(block_key(arc, BlockId(id)), key);
        let key = b"mark/\x30\0\0\0\x04\x7f\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(mark_key(arc, Window(-1)), key);
    }

    #[test]
    fn damage_is_named() {
        let bytes = encode(&entry(1, Uploaded::Object));
        for len in 0..bytes.len() {
            assert_eq!(decode(BlockId(1), &bytes[..len]), None);
        }
        let engine = MemoryEngine::new(Path::new("unused"));
        let mut batch = Batch::new();
        batch.put(Space::Meta, b"applied/xyz", b"");
        engine.write(batch, Durability::Synced).unwrap();
        assert!(matches!(read(&engine), Err(Error::Corrupt { .. })));
        assert!(matches!(versions(&engine), Err(Error::Corrupt { .. })));
    }
}
