//! Where things lie in a block: its keys, and the values that are not columns or pages.
//!
//! Every key begins with the block's id (16 bytes, most significant first). Then:
//!
//! | key after the id | value |
//! | --- | --- |
//! | `01` | properties: what was known before the first sample was read |
//! | `02` tenant's name | the tenant's number, how many series it has |
//! | `03` tenant number (u32) `01` | label names, with how many values each has |
//! | `03` tenant number `02` name (u32) chunk (u32) | up to 128 values of the name, sorted |
//! | `03` tenant number `03` name (u32) chunk (u32) | the ordinals that have these values |
//! | `03` tenant number `04` group (u32) `00` column (u16) | a timestamp column |
//! | `03` tenant number `04` group (u32) `01` page (u16) | a value page |
//! | `03` tenant number `05` chunk (u32) | up to 128 series entries: labels, page, place |
//! | `03` tenant number `06` metric family | metadata of the family |
//! | `04` | totals: what is known after the last sample was read |
//!
//! Numbers in keys are big-endian, so that keys sort as numbers do. A tenant's number is its rank
//! among the names, a label name's number its rank in `01`, a value's number its rank among the
//! values of its name, so all of them sort as their texts do. An ordinal is the rank of a series
//! among its tenant's, by label set.
//!
//! `docs/format.md`, "Block", has all of this byte by byte.

use crate::codec::ROWS_MAX;
use crate::codec::page::{self, Density};
use crate::codec::varint::{
    put_bytes, put_i64, put_len, put_u64, take_array, take_bytes, take_i64, take_len, take_u8,
    take_u32, take_u64,
};
use crate::model::{
    BlockId, Level, Metadata, MetricKind, Resolution, RingArc, TenantId, TimeRange, TimestampMs,
};
use crate::store::engine::block_key;
use crate::store::error::Error;

/// The version of everything described here; a reader refuses what is newer than it. Since version 2 a
/// page may hold folds, since version 3 it may be coded; a block has the least that describes it.
pub(super) const FORMAT_VERSION: u64 = VERSION_DENSE;
const VERSION_PLAIN: u64 = 1;
const VERSION_FOLDS: u64 = 2;
const VERSION_DENSE: u64 = 3;

/// Values of one name, and series entries, that share a key: enough to compress well, few enough
/// that looking one up decodes little.
pub(super) const CHUNK: u32 = 128;

/// The most series of one tenant in one block: ten times what a partition of the largest cluster
/// in REPLICATION.md's table would hold. A reader believes no larger number.
pub(super) const SERIES_MAX: u32 = 1 << 22;

const PROPERTIES: u8 = 1;
const TENANT: u8 = 2;
const DATA: u8 = 3;
const TOTALS: u8 = 4;

const NAMES: u8 = 1;
const VALUES: u8 = 2;
const POSTINGS: u8 = 3;
const GROUPS: u8 = 4;
const SERIES: u8 = 5;
const METADATA: u8 = 6;

/// What a key of a block stands for, in a word.
pub(super) fn section_of(key: &[u8]) -> &'static str {
    // The id, the kind, a tenant's number, what of the tenant's data, and a group's number.
    match (key.get(16), key.get(21), key.get(26)) {
        (Some(&DATA), Some(&NAMES), _) => "label names",
        (Some(&DATA), Some(&VALUES), _) => "label values",
        (Some(&DATA), Some(&POSTINGS), _) => "postings",
        (Some(&DATA), Some(&GROUPS), Some(0)) => "timestamp columns",
        (Some(&DATA), Some(&GROUPS), _) => "value pages",
        (Some(&DATA), Some(&SERIES), _) => "series entries",
        (Some(&DATA), Some(&METADATA), _) => "metadata",
        (Some(&TENANT), _, _) => "tenants",
        (Some(&PROPERTIES | &TOTALS), _, _) => "properties and totals",
        _ => "unknown",
    }
}

/// Whether a key is that of timestamps or values. What comes between two such keys are samples too, if it is of
/// the same tenant.
pub(in crate::store) fn is_of_samples(key: &[u8]) -> bool {
    (key.get(16), key.get(21)) == (Some(&DATA), Some(&GROUPS))
}

/// Makes the keys of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys(pub(super) BlockId);

impl Keys {
    pub(super) fn properties(self) -> Vec<u8> {
        block_key(self.0, &[PROPERTIES])
    }

    pub(super) fn totals(self) -> Vec<u8> {
        block_key(self.0, &[TOTALS])
    }

    /// The prefix of all tenants' entries.
    pub(super) fn tenants(self) -> Vec<u8> {
        block_key(self.0, &[TENANT])
    }

    pub(super) fn tenant(self, tenant: &TenantId) -> Vec<u8> {
        [self.tenants().as_slice(), tenant.as_str().as_bytes()].concat()
    }

    pub(super) const fn of_tenant(self, number: u32) -> TenantKeys {
        TenantKeys {
            block: self.0,
            number,
        }
    }
}

/// Makes the keys of one tenant's data in one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct TenantKeys {
    block: BlockId,
    number: u32,
}

impl TenantKeys {
    fn key(self, section: u8, rest: &[&[u8]]) -> Vec<u8> {
        let head: &[&[u8]] = &[&[DATA], &self.number.to_be_bytes(), &[section]];
        block_key(self.block, &[head.concat(), rest.concat()].concat())
    }

    pub(super) fn names(self) -> Vec<u8> {
        self.key(NAMES, &[])
    }

    pub(super) fn values(self, name: u32, chunk: u32) -> Vec<u8> {
        self.key(VALUES, &[&name.to_be_bytes(), &chunk.to_be_bytes()])
    }

    pub(super) fn postings(self, name: u32, chunk: u32) -> Vec<u8> {
        self.key(POSTINGS, &[&name.to_be_bytes(), &chunk.to_be_bytes()])
    }

    /// What the keys of all values of a name begin with, and those of their postings.
    pub(super) fn of_name(self, name: u32) -> (Vec<u8>, Vec<u8>) {
        let name = name.to_be_bytes();
        (self.key(VALUES, &[&name]), self.key(POSTINGS, &[&name]))
    }

    /// What the keys of all timestamp columns of a group begin with.
    pub(super) fn columns(self, group: u32) -> Vec<u8> {
        self.key(GROUPS, &[&group.to_be_bytes(), &[0]])
    }

    pub(super) fn column(self, group: u32, column: u16) -> Vec<u8> {
        self.key(GROUPS, &[&group.to_be_bytes(), &[0], &column.to_be_bytes()])
    }

    pub(super) fn page(self, group: u32, page: u16) -> Vec<u8> {
        self.key(GROUPS, &[&group.to_be_bytes(), &[1], &page.to_be_bytes()])
    }

    pub(super) fn series(self, chunk: u32) -> Vec<u8> {
        self.key(SERIES, &[&chunk.to_be_bytes()])
    }

    /// The key of one family, or with an empty text the prefix of all.
    pub(super) fn metadata(self, family: &str) -> Vec<u8> {
        self.key(METADATA, &[family.as_bytes()])
    }
}

/// What a block is, known before it is built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockProperties {
    /// Its name and key prefix.
    pub id: BlockId,
    /// The cluster whose content hashes its sum is made of.
    pub cluster_id: u128,
    /// The partition it was sealed for; all its series lie in it.
    pub arc: RingArc,
    /// The times it was sealed for; all its samples lie in it.
    pub range: TimeRange,
    /// How often its content has been merged.
    pub level: Level,
    /// The round of its range in which it was sealed.
    pub round: u32,
    /// What its pages are good at.
    pub pages: Density,
}

/// What a block holds in sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockTotals {
    /// Series of all tenants.
    pub series: u64,
    /// Samples of all series.
    pub samples: u64,
    /// From the first sample to the last; empty in a block without samples.
    pub times: TimeRange,
    /// Sum mod 2^128 of the content hashes of all samples.
    pub content_sum: u128,
}

impl BlockProperties {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let version = match (self.pages, self.level.resolution()) {
            (Density::Dense, _) => VERSION_DENSE,
            (Density::Quick, Resolution::Raw) => VERSION_PLAIN,
            (Density::Quick, Resolution::FiveMinutes | Resolution::Hour) => VERSION_FOLDS,
        };
        put_u64(&mut out, version);
        out.extend_from_slice(&self.cluster_id.to_be_bytes());
        out.extend_from_slice(&self.arc.prefix().to_be_bytes());
        out.push(self.arc.depth());
        put_range(&mut out, self.range);
        out.push(self.level.0);
        put_u64(&mut out, u64::from(self.round));
        out
    }

    pub(super) fn decode(id: BlockId, bytes: &[u8]) -> Result<Self, Error> {
        let input = &mut &*bytes;
        let what = "the properties";
        let version = take_u64(input).map_err(|error| damaged(id, what, &error))?;
        if version > FORMAT_VERSION {
            return Err(Error::Version {
                what: format!("block {id}"),
                found: version,
                newest: FORMAT_VERSION,
            });
        }
        let mut read = || {
            let cluster_id = u128::from_be_bytes(take_array(input, what)?);
            let prefix = u32::from_be_bytes(take_array(input, what)?);
            let depth = take_u8(input, what)?;
            let range = take_range(input)?;
            let level = Level(take_u8(input, what)?);
            let round = take_u32(input, what)?;
            Ok((cluster_id, prefix, depth, range, level, round))
        };
        let (cluster_id, prefix, depth, range, level, round) =
            read().map_err(|error: crate::codec::Error| damaged(id, what, &error))?;
        let arc = RingArc::new(prefix, depth)
            .ok_or_else(|| damaged(id, what, &format!("{prefix:08x}-{depth} is no arc")))?;
        Ok(Self {
            id,
            cluster_id,
            arc,
            range,
            level,
            round,
            pages: match version {
                VERSION_DENSE => Density::Dense,
                _ => Density::Quick,
            },
        })
    }
}

impl BlockTotals {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, self.series);
        put_u64(&mut out, self.samples);
        put_range(&mut out, self.times);
        out.extend_from_slice(&self.content_sum.to_be_bytes());
        out
    }

    pub(super) fn decode(id: BlockId, bytes: &[u8]) -> Result<Self, Error> {
        let input = &mut &*bytes;
        let mut read = || {
            Ok(Self {
                series: take_u64(input)?,
                samples: take_u64(input)?,
                times: take_range(input)?,
                content_sum: u128::from_be_bytes(take_array(input, "the totals")?),
            })
        };
        read().map_err(|error: crate::codec::Error| damaged(id, "the totals", &error))
    }
}

fn put_range(out: &mut Vec<u8>, range: TimeRange) {
    put_i64(out, range.start.0);
    put_i64(out, range.end.0);
}

fn take_range(input: &mut &[u8]) -> Result<TimeRange, crate::codec::Error> {
    let start = TimestampMs(take_i64(input)?);
    Ok(TimeRange::new(start, TimestampMs(take_i64(input)?)))
}

/// A tenant's number in the block and how many series it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TenantEntry {
    pub(super) number: u32,
    pub(super) series: u32,
}

impl TenantEntry {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, u64::from(self.number));
        put_u64(&mut out, u64::from(self.series));
        out
    }

    pub(super) fn decode(id: BlockId, bytes: &[u8]) -> Result<Self, Error> {
        let input = &mut &*bytes;
        let mut read = || {
            Ok(Self {
                number: take_u32(input, "a tenant's number")?,
                series: take_u32(input, "a tenant's series")?,
            })
        };
        let entry: Self =
            read().map_err(|error: crate::codec::Error| damaged(id, "a tenant", &error))?;
        if entry.series > SERIES_MAX {
            let problem = format!("it has {} series", entry.series);
            return Err(damaged(id, "a tenant", &problem));
        }
        Ok(entry)
    }
}

/// Metadata of one family: the newest few that differ, newest first.
pub(super) fn encode_metadata(list: &[Metadata]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len(&mut out, list.len());
    for one in list {
        out.push(one.kind as u8);
        put_bytes(&mut out, one.help.as_bytes());
        put_bytes(&mut out, one.unit.as_bytes());
    }
    out
}

pub(super) fn decode_metadata(id: BlockId, bytes: &[u8]) -> Result<Vec<Metadata>, Error> {
    let what = "metadata";
    let input = &mut &*bytes;
    let mut read = || {
        let count = take_u64(input)?;
        let mut list = Vec::new();
        for _ in 0..count {
            let kind = MetricKind::from_number(u64::from(take_u8(input, what)?));
            let help = take_bytes(input, what)?;
            let unit = take_bytes(input, what)?;
            list.push((kind, help, unit));
        }
        Ok(list)
    };
    let list = read().map_err(|error: crate::codec::Error| damaged(id, what, &error))?;
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|error| damaged(id, what, &error));
    list.into_iter()
        .map(|(kind, help, unit)| {
            Ok(Metadata {
                kind,
                help: text(help)?,
                unit: text(unit)?,
            })
        })
        .collect()
}

/// Which rows of which timestamp column of the group a series has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    pub(super) column: u16,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// The rows of each series of a page, in runs of equal ones: they stand before the page itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct PageRows {
    runs: Vec<(usize, Rows)>,
}

impl PageRows {
    pub(super) fn push(&mut self, rows: Rows) {
        match self.runs.last_mut() {
            Some((len, last)) if *last == rows => *len += 1,
            _ => self.runs.push((1, rows)),
        }
    }

    /// The rows of the series at a position.
    pub(super) fn get(&self, slot: usize) -> Option<Rows> {
        let mut left = slot;
        for (len, rows) in &self.runs {
            if left < *len {
                return Some(*rows);
            }
            left -= len;
        }
        None
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(|(len, _)| len).sum()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_len(out, self.runs.len());
        for (len, rows) in &self.runs {
            put_len(out, *len);
            put_u64(out, u64::from(rows.column));
            put_len(out, rows.first);
            put_len(out, rows.count);
        }
    }

    /// Takes the rows; what is left is the page.
    pub(super) fn take(input: &mut &[u8]) -> Result<Self, crate::codec::Error> {
        let what = "the rows of a page";
        let count = take_len(input, what, page::SERIES_MAX)?;
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            let len = take_len(input, what, page::SERIES_MAX)?;
            let column = take_len(input, what, usize::from(u16::MAX))?;
            let rows = Rows {
                column: u16::try_from(column).unwrap_or(u16::MAX),
                first: take_len(input, what, ROWS_MAX)?,
                count: take_len(input, what, ROWS_MAX)?,
            };
            runs.push((len, rows));
        }
        Ok(Self { runs })
    }
}

/// What an encoder refuses is past the bounds that ingest keeps, or unsorted: a mistake of ours.
#[allow(
    clippy::needless_pass_by_value,
    reason = "it is what map_err hands over"
)]
pub(super) fn unencodable(error: crate::codec::Error) -> Error {
    Error::Bug(format!("a block cannot be written: {error}"))
}

/// Damage in a named part of a block.
pub(super) fn damaged(id: BlockId, part: &str, problem: &dyn std::fmt::Display) -> Error {
    Error::corrupt(format!("{part} of block {id}"), problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_totals_and_metadata_come_back() {
        let properties = BlockProperties {
            id: BlockId(9),
            cluster_id: 7 << 100,
            arc: RingArc::new(0x3000_0000, 4).unwrap(),
            range: TimeRange::new(TimestampMs(-7_200_000), TimestampMs(-1)),
            level: Level(1),
            round: 3,
            pages: Density::Quick,
        };
        let bytes = properties.encode();
        let back = BlockProperties::decode(BlockId(9), &bytes).unwrap();
        assert_eq!(back, properties);
        assert_eq!(bytes[0], 1);
        let folded = BlockProperties {
            level: Level(1).at(Resolution::FiveMinutes),
            ..properties
        };
        let bytes = folded.encode();
        assert_eq!(bytes[0], 2);
        assert_eq!(BlockProperties::decode(BlockId(9), &bytes).unwrap(), folded);
        let dense = BlockProperties {
            pages: Density::Dense,
            ..folded
        };
        let mut newer = dense.encode();
        assert_eq!(newer[0], 3);
        assert_eq!(BlockProperties::decode(BlockId(9), &newer).unwrap(), dense);
        newer[0] = 4;
        assert!(matches!(
            BlockProperties::decode(BlockId(9), &newer),
            Err(Error::Version { found: 4, .. })
        ));
        let totals = BlockTotals {
            series: 1,
            samples: u64::MAX,
            times: TimeRange::new(TimestampMs(5), TimestampMs(6)),
            content_sum: u128::MAX - 5,
        };
        assert_eq!(
            BlockTotals::decode(BlockId(9), &totals.encode()).unwrap(),
            totals
        );
        let list = vec![
            Metadata {
                kind: MetricKind::Counter,
                help: "täglich".to_owned(),
                unit: String::new(),
            },
            Metadata::default(),
        ];
        let bytes = encode_metadata(&list);
        assert_eq!(decode_metadata(BlockId(9), &bytes).unwrap(), list);
        for cut in 0..bytes.len() {
            assert!(decode_metadata(BlockId(9), &bytes[..cut]).is_err());
        }
    }

    #[test]
    fn keys_sort_as_their_parts_do() {
        let keys = Keys(BlockId(1));
        let one = keys.of_tenant(1);
        let sorted = [
            keys.properties(),
            keys.tenants(),
            keys.tenant(&TenantId::anonymous()),
            keys.of_tenant(0).metadata("z"),
            one.names(),
            one.values(0, 300),
            one.values(1, 0),
            one.postings(0, 0),
            one.column(0, 1),
            one.page(0, 0),
            one.column(1, 0),
            one.series(2),
            one.series(256),
            one.metadata(""),
            keys.totals(),
        ];
        assert!(sorted.is_sorted());
    }
}
