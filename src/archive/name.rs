//! The names of objects. They say whose an object is, where it belongs and what is in it:
//!
//! | name | object |
//! | --- | --- |
//! | `cluster.json` | which cluster lives below this prefix |
//! | `<cluster>/blocks/<arc>/<level>/<start>-<end>/<round>-<digest>` | a block |
//! | `<cluster>/catalog/<arc>/<version>-<digest>` | a partition's catalog at a version |
//! | `<cluster>/deletes/<generation>-<index>-<digest>` | what is deleted, as of a position of the control log |
//! | `<cluster>/leftovers.json` | what the sweeper will remove |
//! | `<cluster>/manifests/<arc>/<digest>` | the list of a partition's older blocks |
//! | `<cluster>/packs/<start>-<end>/<digest>` | small blocks of one range |
//!
//! Cluster and digests are hex digits, an arc is as it is shown (`3-4`), times are milliseconds,
//! versions have leading zeros so that names sort as they do.

use crate::model::{BlockEntry, Digest, Level, RingArc, TimeRange, TimestampMs, Uploaded};

/// The object that says which cluster lives below a prefix.
pub const RECORD_NAME: &str = "cluster.json";

/// What the list is called below a cluster.
const LEFTOVERS: &str = "leftovers.json";

/// What a name says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Named {
    /// The record of the cluster.
    Record,
    /// A block.
    Block(NamedBlock),
    /// What the sweeper of a cluster will remove.
    Leftovers(u128),
    /// A partition's catalog.
    Catalog {
        /// Whose.
        cluster: u128,
        /// The partition.
        arc: RingArc,
        /// Its version.
        version: u64,
        /// The digest of the object's bytes.
        digest: Digest,
    },
    /// What is deleted.
    Deletes(NamedDeletes),
    /// A partition's manifest of older blocks.
    Manifest {
        /// Whose.
        cluster: u128,
        /// The partition.
        arc: RingArc,
        /// The digest of the object's bytes.
        digest: Digest,
    },
    /// Small blocks of one range.
    Pack(NamedPack),
}

/// What the name of a copy of deletes says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedDeletes {
    /// Whose.
    pub cluster: u128,
    /// The generation of the control group and the index of its last command: the later, the newer.
    pub position: (u64, u64),
    /// The digest of the object's bytes.
    pub digest: Digest,
}

/// What a pack's name says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedPack {
    /// Whose.
    pub cluster: u128,
    /// The range of each of its blocks.
    pub range: TimeRange,
    /// The digest of its directory.
    pub digest: Digest,
}

/// What a block's name says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedBlock {
    /// Whose.
    pub cluster: u128,
    /// The partition.
    pub arc: RingArc,
    /// How often it was merged.
    pub level: Level,
    /// The times it was sealed for.
    pub range: TimeRange,
    /// The round of the seal.
    pub round: u32,
    /// The digest of its file.
    pub digest: Digest,
}

/// Below which all blocks of a cluster lie.
#[must_use]
pub fn blocks_prefix(cluster: u128) -> String {
    format!("{cluster:032x}/blocks")
}

/// Below which the catalogs of all partitions of a cluster lie.
#[must_use]
pub fn catalog_prefix(cluster: u128) -> String {
    format!("{cluster:032x}/catalog")
}

/// The name of a block.
#[must_use]
pub fn block_name(cluster: u128, arc: RingArc, entry: &BlockEntry) -> String {
    format!(
        "{}/{arc}/{}/{}-{}/{}-{}",
        blocks_prefix(cluster),
        entry.level.0,
        entry.range.start.0,
        entry.range.end.0,
        entry.round,
        entry.digest
    )
}

/// Below which all packs of a cluster lie.
#[must_use]
pub fn packs_prefix(cluster: u128) -> String {
    format!("{cluster:032x}/packs")
}

/// The name of a pack.
#[must_use]
pub fn pack_name(cluster: u128, range: TimeRange, digest: Digest) -> String {
    let prefix = packs_prefix(cluster);
    format!("{prefix}/{}-{}/{digest}", range.start.0, range.end.0)
}

/// Where a block lies: its object, and from which of its bytes on. One that is in the bucket nowhere
/// yet has the place of an object of its own.
#[must_use]
pub fn block_place(cluster: u128, arc: RingArc, entry: &BlockEntry) -> (String, u64) {
    match entry.uploaded {
        Uploaded::None | Uploaded::Object => (block_name(cluster, arc, entry), 0),
        Uploaded::Pack { pack, offset } => (pack_name(cluster, entry.range, pack), offset),
    }
}

/// The name of a partition's catalog.
#[must_use]
pub fn catalog_name(cluster: u128, arc: RingArc, version: u64, digest: Digest) -> String {
    format!("{}/{arc}/{version:020}-{digest}", catalog_prefix(cluster))
}

/// Below which all copies of a cluster's deletes lie.
#[must_use]
pub fn deletes_prefix(cluster: u128) -> String {
    format!("{cluster:032x}/deletes")
}

/// The name of a copy of a cluster's deletes.
#[must_use]
pub fn deletes_name(cluster: u128, (generation, index): (u64, u64), digest: Digest) -> String {
    let prefix = deletes_prefix(cluster);
    format!("{prefix}/{generation:020}-{index:020}-{digest}")
}

/// The name of the list of what the sweeper will remove.
#[must_use]
pub fn leftovers_name(cluster: u128) -> String {
    format!("{cluster:032x}/{LEFTOVERS}")
}

/// Below which the manifests of all partitions of a cluster lie.
#[must_use]
pub fn manifests_prefix(cluster: u128) -> String {
    format!("{cluster:032x}/manifests")
}

/// The name of a partition's manifest.
#[must_use]
pub fn manifest_name(cluster: u128, arc: RingArc, digest: Digest) -> String {
    format!("{}/{arc}/{digest}", manifests_prefix(cluster))
}

/// What a name says; `None`: it is not one of ours.
#[must_use]
pub fn parse_name(name: &str) -> Option<Named> {
    if name == RECORD_NAME {
        return Some(Named::Record);
    }
    let mut parts = name.split('/');
    let cluster = hex::<16>(parts.next()?).map(u128::from_be_bytes)?;
    let kind = parts.next()?;
    let Some(arc) = parts.next() else {
        let named = Named::Leftovers(cluster);
        return (kind == LEFTOVERS && spell(&named) == name).then_some(named);
    };
    let rest: Vec<&str> = parts.collect();
    if let ("deletes", []) = (kind, rest.as_slice()) {
        let named = Named::Deletes(deletes_of(cluster, arc)?);
        return (spell(&named) == name).then_some(named);
    }
    if let ("packs", [digest]) = (kind, rest.as_slice()) {
        let named = Named::Pack(NamedPack {
            cluster,
            range: range_of(arc)?,
            digest: Digest(hex(digest)?),
        });
        return (spell(&named) == name).then_some(named);
    }
    let arc = arc.parse().ok()?;
    let named = match (kind, rest.as_slice()) {
        ("blocks", [level, range, last]) => {
            let (round, digest) = last.split_once('-')?;
            Named::Block(NamedBlock {
                cluster,
                arc,
                level: Level(level.parse().ok()?),
                range: range_of(range)?,
                round: round.parse().ok()?,
                digest: Digest(hex(digest)?),
            })
        }
        ("catalog", [last]) => {
            let (version, digest) = last.split_once('-')?;
            Named::Catalog {
                cluster,
                arc,
                version: version.parse().ok()?,
                digest: Digest(hex(digest)?),
            }
        }
        ("manifests", [last]) => Named::Manifest {
            cluster,
            arc,
            digest: Digest(hex(last)?),
        },
        _ => return None,
    };
    // One spelling only: `+1` and `01` are numbers too.
    (spell(&named) == name).then_some(named)
}

fn deletes_of(cluster: u128, last: &str) -> Option<NamedDeletes> {
    let (generation, rest) = last.split_once('-')?;
    let (index, digest) = rest.split_once('-')?;
    Some(NamedDeletes {
        cluster,
        position: (generation.parse().ok()?, index.parse().ok()?),
        digest: Digest(hex(digest)?),
    })
}

fn spell(named: &Named) -> String {
    match named {
        Named::Record => RECORD_NAME.to_owned(),
        Named::Leftovers(cluster) => leftovers_name(*cluster),
        Named::Block(block) => format!(
            "{}/{}/{}/{}-{}/{}-{}",
            blocks_prefix(block.cluster),
            block.arc,
            block.level.0,
            block.range.start.0,
            block.range.end.0,
            block.round,
            block.digest
        ),
        Named::Catalog {
            cluster,
            arc,
            version,
            digest,
        } => catalog_name(*cluster, *arc, *version, *digest),
        Named::Deletes(one) => deletes_name(one.cluster, one.position, one.digest),
        Named::Manifest {
            cluster,
            arc,
            digest,
        } => manifest_name(*cluster, *arc, *digest),
        Named::Pack(pack) => pack_name(pack.cluster, pack.range, pack.digest),
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let digits = text.get(2 * at..2 * at + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

/// Times may be negative: the dash between them is the first one that begins none.
fn range_of(text: &str) -> Option<TimeRange> {
    let dash = text.get(1..)?.find('-')? + 1;
    let (start, end) = (text.get(..dash)?, text.get(dash + 1..)?);
    let at = |text: &str| text.parse().ok().map(TimestampMs);
    Some(TimeRange::new(at(start)?, at(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BlockId, FOUNDING_DEPTH, Uploaded, Window};

    fn entry(window: i64) -> BlockEntry {
        BlockEntry {
            id: BlockId(1),
            range: Window(window).range(),
            level: Level(2),
            round: 3,
            size: 10,
            samples: 5,
            content_sum: 7,
            digest: Digest([0xab; 32]),
            uploaded: Uploaded::Object,
        }
    }

    fn check(arc: RingArc, entry: &BlockEntry) {
        let name = block_name(0xc0, arc, entry);
        let block = NamedBlock {
            cluster: 0xc0,
            arc,
            level: entry.level,
            range: entry.range,
            round: 3,
            digest: entry.digest,
        };
        assert_eq!(parse_name(&name), Some(Named::Block(block)), "{name}");
        let name = catalog_name(0xc0, arc, 9, entry.digest);
        let catalog = Named::Catalog {
            cluster: 0xc0,
            arc,
            version: 9,
            digest: entry.digest,
        };
        assert_eq!(parse_name(&name), Some(catalog));
        let name = manifest_name(0xc0, arc, entry.digest);
        let manifest = Named::Manifest {
            cluster: 0xc0,
            arc,
            digest: entry.digest,
        };
        assert_eq!(parse_name(&name), Some(manifest));
        let deletes = NamedDeletes {
            cluster: 0xc0,
            position: (1, u64::MAX),
            digest: entry.digest,
        };
        let name = deletes_name(0xc0, (1, u64::MAX), entry.digest);
        assert_eq!(parse_name(&name), Some(Named::Deletes(deletes)));
        let pack = NamedPack {
            cluster: 0xc0,
            range: entry.range,
            digest: Digest([7; 32]),
        };
        let name = pack_name(0xc0, entry.range, pack.digest);
        assert_eq!(parse_name(&name), Some(Named::Pack(pack)), "{name}");
        let packed = BlockEntry {
            uploaded: Uploaded::Pack {
                pack: pack.digest,
                offset: 7,
            },
            ..entry.clone()
        };
        assert_eq!(block_place(0xc0, arc, &packed), (name, 7));
        let own = (block_name(0xc0, arc, entry), 0);
        assert_eq!(block_place(0xc0, arc, entry), own);
    }

    #[test]
    fn names_say_what_they_were_made_of() {
        for window in [-3, -1, 0, 1, 250_000] {
            for depth in [1, FOUNDING_DEPTH, 5, 13, 28] {
                let last = u32::MAX << (32 - u32::from(depth));
                check(RingArc::new(0, depth).unwrap(), &entry(window));
                check(RingArc::new(last, depth).unwrap(), &entry(window));
            }
            check(RingArc::new(0, 0).unwrap(), &entry(window));
        }
        assert_eq!(parse_name("cluster.json"), Some(Named::Record));
        let leftovers = parse_name(&leftovers_name(0xc0));
        assert_eq!(leftovers, Some(Named::Leftovers(0xc0)));
    }

    /// The names of `docs/format.md`, which every later version must read.
    #[test]
    fn names_are_those_of_the_format() {
        let arc = RingArc::new(0x3000_0000, 4).unwrap();
        let digest = "ab".repeat(32);
        assert_eq!(
            block_name(0xc0, arc, &entry(-1)),
            format!("000000000000000000000000000000c0/blocks/3-4/2/-7200000--1/3-{digest}")
        );
        assert_eq!(
            catalog_name(0xc0, arc, 12, Digest([0xab; 32])),
            format!("000000000000000000000000000000c0/catalog/3-4/00000000000000000012-{digest}")
        );
        assert_eq!(
            manifest_name(0xc0, arc, Digest([0xab; 32])),
            format!("000000000000000000000000000000c0/manifests/3-4/{digest}")
        );
        assert_eq!(
            pack_name(0xc0, Window(-1).range(), Digest([0xab; 32])),
            format!("000000000000000000000000000000c0/packs/-7200000--1/{digest}")
        );
    }

    #[test]
    fn what_is_not_ours_is_no_name() {
        let good = block_name(0xc0, RingArc::new(0, 4).unwrap(), &entry(5));
        for bad in [
            "",
            "/",
            "readme.txt",
            "cluster.json/x",
            &good[1..],
            &good[..good.len() - 1],
            &format!("{good}/x"),
            &good.replace("/2/", "/02/"),
            "000000000000000000000000000000c0/deletes/1-2",
            &deletes_name(0xc0, (1, 2), Digest([7; 32])).replace("/000", "/00"),
            "000000000000000000000000000000c0/packs/1-2",
            "000000000000000000000000000000c0/packs/1-2/ab",
            &good.replace("/2/", "/+2/"),
            &good.replace("/2/", "/256/"),
            &good.replace("/0-4/", "/1-0/"),
            &good.replace("/0-4/", "/zz-4/"),
            &good.to_uppercase(),
            "ééééééééééééééééééé/blocks/0-4/0/1-2/3-4",
        ] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
