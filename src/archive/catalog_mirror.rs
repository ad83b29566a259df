//! A partition's catalog as an object: what a restore begins with.
//!
//! It names only what is in the bucket. All numbers are most significant byte first:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `CAIRNCAT` |
//! | 1 | the format: 1, or 2 with what is said of seals |
//! | 16 | the cluster |
//! | 5 | the arc: prefix (u32), depth (u8) |
//! | 8 | the partition's version |
//! | 8 | everything before this time has expired (i64; the least there is: nothing has) |
//! | 1, 32 | 1 and the digest of the manifest of older blocks; or 0 alone |
//! | 4, 4 | two counts that are 0 in this version (`open`, `given_up`) |
//! | 4 | how many blocks follow, in order of their ids |
//! | each | id (16), start (i64), end (i64), level (u8), round (u32), size (u64), samples (u64), content sum (16), digest (32), then 1 for an object of its own, or 2, the pack's digest (32) and the offset in it (u64) |
//! | 8, 4 | in format 2: ranges that end before this time (i64) and are named nowhere below were sealed at most so often |
//! | 4 | how many runs of ranges follow, in order of their lengths, then of their times |
//! | each | the length of each range, less a millisecond (i64); the first time (i64); how often each was sealed; how many there are, end to end |
//! | 4 | how many sealed blocks are in the catalog and not in the bucket: their digests follow, in order (32 each) |
//! | 32 | BLAKE3 of all that stands before |

use std::collections::BTreeSet;

use super::fields::{Fields, Opening, seal};
use super::passed::Passed;
use crate::model::{BlockEntry, BlockId, Digest, Level, RingArc, TimeRange, TimestampMs, Uploaded};

const OPENING: Opening = Opening {
    magic: b"CAIRNCAT",
    format: WITH_PASSED,
    what: "catalog",
};
/// The format of a copy that says nothing of seals, and of one that does.
const PLAIN: u8 = 1;
const WITH_PASSED: u8 = 2;
/// The least that an entry takes.
const ENTRY_BYTES_MIN: usize = 102;
/// The largest catalog that is read: 500,000 blocks of one partition.
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// A partition's catalog as the bucket has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogCopy {
    /// Whose.
    pub cluster: u128,
    /// The partition.
    pub arc: RingArc,
    /// Its version.
    pub version: u64,
    /// Everything before this has expired.
    pub expired_before: TimestampMs,
    /// The manifest of older blocks.
    pub history: Option<Digest>,
    /// The blocks that are in the bucket.
    pub entries: Vec<BlockEntry>,
    /// The seals that it knows of; clusters in which older programs read it do not write that.
    pub passed: Option<Passed>,
}

impl CatalogCopy {
    /// As bytes. What is not in the bucket is left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut entries: Vec<&BlockEntry> = self.entries.iter().collect();
        entries.retain(|entry| entry.uploaded != Uploaded::None);
        entries.sort_by_key(|entry| entry.id);
        let mut out = Vec::with_capacity(128 + 144 * entries.len());
        let format = if self.passed.is_some() {
            WITH_PASSED
        } else {
            PLAIN
        };
        OPENING.write_format(format, &mut out);
        out.extend_from_slice(&self.cluster.to_be_bytes());
        out.extend_from_slice(&self.arc.prefix().to_be_bytes());
        out.push(self.arc.depth());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.expired_before.0.to_be_bytes());
        match self.history {
            None => out.push(0),
            Some(digest) => {
                out.push(1);
                out.extend_from_slice(&digest.0);
            }
        }
        out.extend_from_slice(&[0; 8]);
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for entry in entries {
            put_entry(&mut out, entry);
        }
        if let Some(passed) = &self.passed {
            passed.encode(&mut out);
        }
        seal(&mut out);
        out
    }

    /// From bytes; the text says what is wrong with them.
    ///
    /// # Errors
    /// When they are damaged, or from a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (format, mut fields) = OPENING.read_since(PLAIN, bytes)?;
        let cluster = u128::from_be_bytes(fields.take()?);
        let prefix = u32::from_be_bytes(fields.take()?);
        let [depth] = fields.take()?;
        let arc = RingArc::new(prefix, depth).ok_or("its arc is none")?;
        let version = u64::from_be_bytes(fields.take()?);
        let expired_before = TimestampMs(i64::from_be_bytes(fields.take()?));
        let history = match fields.take()? {
            [0] => None,
            [1] => Some(Digest(fields.take()?)),
            _ => return Err("its manifest is none".to_owned()),
        };
        if fields.take::<8>()? != [0; 8] {
            return Err(
                "it has open ensembles, which this version does not know: use a newer one"
                    .to_owned(),
            );
        }
        let entries = take_entries(&mut fields)?;
        let passed = match format {
            PLAIN => None,
            _ => Some(Passed::decode(&mut fields, (cluster, arc))?),
        };
        if !fields.0.is_empty() {
            return Err(format!("{} bytes follow it", fields.0.len()));
        }
        Ok(Self {
            cluster,
            arc,
            version,
            expired_before,
            history,
            entries,
            passed,
        })
    }
}

fn put_entry(out: &mut Vec<u8>, entry: &BlockEntry) {
    out.extend_from_slice(&entry.id.0.to_be_bytes());
    out.extend_from_slice(&entry.range.start.0.to_be_bytes());
    out.extend_from_slice(&entry.range.end.0.to_be_bytes());
    out.push(entry.level.0);
    out.extend_from_slice(&entry.round.to_be_bytes());
    out.extend_from_slice(&entry.size.to_be_bytes());
    out.extend_from_slice(&entry.samples.to_be_bytes());
    out.extend_from_slice(&entry.content_sum.to_be_bytes());
    out.extend_from_slice(&entry.digest.0);
    match entry.uploaded {
        Uploaded::None | Uploaded::Object => out.push(1),
        Uploaded::Pack { pack, offset } => {
            out.push(2);
            out.extend_from_slice(&pack.0);
            out.extend_from_slice(&offset.to_be_bytes());
        }
    }
}

fn take_entries(fields: &mut Fields<'_>) -> Result<Vec<BlockEntry>, String> {
    let count = u32::from_be_bytes(fields.take()?);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > fields.0.len() / ENTRY_BYTES_MIN {
        return Err(format!("it has no room for {count} blocks"));
    }
    let mut entries = Vec::with_capacity(count);
    let mut digests = BTreeSet::new();
    let mut last = None;
    for _ in 0..count {
        let entry = take_entry(fields)?;
        if last.is_some_and(|last| last >= entry.id) || !digests.insert(entry.digest) {
            return Err("its blocks are not in order".to_owned());
        }
        last = Some(entry.id);
        entries.push(entry);
    }
    Ok(entries)
}

fn take_entry(fields: &mut Fields<'_>) -> Result<BlockEntry, String> {
    let id = BlockId(u128::from_be_bytes(fields.take()?));
    let start = TimestampMs(i64::from_be_bytes(fields.take()?));
    let end = TimestampMs(i64::from_be_bytes(fields.take()?));
    let [level] = fields.take()?;
    if start > end {
        return Err(format!("block {id} ends before it begins"));
    }
    Ok(BlockEntry {
        id,
        range: TimeRange::new(start, end),
        level: Level(level),
        round: u32::from_be_bytes(fields.take()?),
        size: u64::from_be_bytes(fields.take()?),
        samples: u64::from_be_bytes(fields.take()?),
        content_sum: u128::from_be_bytes(fields.take()?),
        digest: Digest(fields.take()?),
        uploaded: match fields.take()? {
            [1] => Uploaded::Object,
            [2] => Uploaded::Pack {
                pack: Digest(fields.take()?),
                offset: u64::from_be_bytes(fields.take()?),
            },
            [other] => return Err(format!("block {id} lies in a place of kind {other}")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Window;

    fn copy() -> CatalogCopy {
        let entry = |id: u8, uploaded| BlockEntry {
            id: BlockId(u128::from(id)),
            range: Window(i64::from(id) - 2).range(),
            level: Level(id),
            round: u32::from(id),
            size: 1 << 33,
            samples: 99,
            content_sum: u128::MAX - 5,
            digest: Digest([id; 32]),
            uploaded,
        };
        CatalogCopy {
            cluster: 0xc0,
            arc: RingArc::new(0x3000_0000, 4).unwrap(),
            version: 12,
            expired_before: TimestampMs(-5),
            history: Some(Digest([9; 32])),
            entries: vec![
                entry(1, Uploaded::Object),
                entry(
                    2,
                    Uploaded::Pack {
                        pack: Digest([7; 32]),
                        offset: 12,
                    },
                ),
            ],
            passed: Some(passed()),
        }
    }

    fn passed() -> Passed {
        let rounds = [(Window(3).range(), 2), (Window(4).range(), 2)];
        let arc = RingArc::new(0x3000_0000, 4).unwrap();
        let waiting = [Digest([8; 32])].into();
        Passed::new(
            (0xc0, arc),
            rounds.into_iter(),
            (TimestampMs(4), 1),
            waiting,
        )
    }

    #[test]
    fn a_catalog_is_read_as_it_was_written() {
        let mut copy = copy();
        assert_eq!(CatalogCopy::decode(&copy.encode()), Ok(copy.clone()));
        copy.history = None;
        assert_eq!(CatalogCopy::decode(&copy.encode()), Ok(copy.clone()));
        let mut plain = copy.clone();
        plain.passed = None;
        assert_eq!(plain.encode()[8], 1, "older programs read it");
        assert_eq!(CatalogCopy::decode(&plain.encode()), Ok(plain));
        // What is not in the bucket is not named, and order is no content.
        let mut more = copy.clone();
        let mut absent = more.entries[0].clone();
        (absent.id, absent.uploaded) = (BlockId(3), Uploaded::None);
        more.entries.insert(0, absent);
        more.entries.reverse();
        assert_eq!(more.encode(), copy.encode());
    }

    /// Would catch a field that is believed before the digest has been compared.
    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let bytes = copy().encode();
        for len in 0..bytes.len() {
            assert!(CatalogCopy::decode(&bytes[..len]).is_err(), "{len}");
        }
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(CatalogCopy::decode(&flipped).is_err(), "{bit}");
        }
    }

    fn sealed_again(mut body: Vec<u8>) -> Vec<u8> {
        body.truncate(body.len() - 32);
        seal(&mut body);
        body
    }

    /// A digest proves nothing about who wrote the bytes.
    #[test]
    fn a_hostile_catalog_is_refused() {
        let bytes = copy().encode();
        let count_at = 8 + 1 + 16 + 5 + 8 + 8 + 33 + 8;
        let mut many = bytes.clone();
        many[count_at..count_at + 4].fill(0xff);
        let error = CatalogCopy::decode(&sealed_again(many)).unwrap_err();
        assert!(error.contains("no room"), "{error}");
        let mut open = bytes.clone();
        open[count_at - 1] = 1;
        let error = CatalogCopy::decode(&sealed_again(open)).unwrap_err();
        assert!(error.contains("newer"), "{error}");
        let mut format = bytes.clone();
        format[8] = 3;
        let error = CatalogCopy::decode(&sealed_again(format)).unwrap_err();
        assert!(error.contains("format 3"), "{error}");
        let mut longer = bytes.clone();
        longer[8] = 1;
        let error = CatalogCopy::decode(&sealed_again(longer)).unwrap_err();
        assert!(error.contains("follow"), "{error}");
        let mut twice = copy();
        twice.entries[1].digest = twice.entries[0].digest;
        assert!(CatalogCopy::decode(&twice.encode()).is_err());
        let mut backwards = copy();
        backwards.entries[0].range.end = TimestampMs(i64::MIN);
        let error = CatalogCopy::decode(&backwards.encode()).unwrap_err();
        assert!(error.contains("ends before"), "{error}");
    }
}
