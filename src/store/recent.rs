//! Which blocks of a partition a start reads at once: those with the newest samples. The rest is read when somebody
//! first needs it (`older.rs`), so that a start does not take longer the more history there is.
//!
//! The note is written in the batch of every version (`applied.rs`) and holds for that version alone: a program that
//! does not know of it changes the version with the blocks, and all of them are read then.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | format: 1 |
//! | 8 | version of the partition (u64) |
//! | 8 | before this time all its other blocks end (i64); the least one: there are no others |
//! | 16 each | ids of the blocks that do not |

use crate::model::{BlockEntry, BlockId, TimestampMs};

const FORMAT: u8 = 1;

/// Blocks of a partition that a start reads: two days of windows that are sealed several times, and what they are merged
/// into in the year before. More only where so many end at the same time.
#[cfg(not(test))]
pub(super) const RECENT_BLOCKS: usize = 128;
/// Hardly any, so that every test that starts a store again goes the way of one with long history.
#[cfg(test)]
pub(super) const RECENT_BLOCKS: usize = 4;

/// The newest blocks of a partition at a version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Recent {
    pub(super) version: u64,
    /// All others end before it; [`TimestampMs::MIN`] where there are none.
    pub(super) from: TimestampMs,
    pub(super) ids: Vec<BlockId>,
}

impl Recent {
    /// Those of some blocks, which are all that a partition lists.
    pub(super) fn of<'a>(version: u64, blocks: impl Iterator<Item = &'a BlockEntry>) -> Self {
        let mut ends: Vec<(TimestampMs, BlockId)> =
            blocks.map(|entry| (entry.range.end, entry.id)).collect();
        ends.sort_unstable_by(|one, other| other.cmp(one));
        let least = ends.get(RECENT_BLOCKS - 1).map(|(end, _)| *end);
        let recent = |(end, _): &&(TimestampMs, BlockId)| least.is_none_or(|least| *end >= least);
        let ids: Vec<BlockId> = ends.iter().take_while(recent).map(|(_, id)| *id).collect();
        let from = match least {
            Some(least) if ids.len() < ends.len() => least,
            _ => TimestampMs::MIN,
        };
        Self { version, from, ids }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(17 + self.ids.len() * 16);
        out.push(FORMAT);
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.from.0.to_be_bytes());
        for id in &self.ids {
            out.extend_from_slice(&id.0.to_be_bytes());
        }
        out
    }

    /// `None`: it is damaged or of another format, and all blocks are read.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[FORMAT], rest) = bytes.split_first_chunk::<1>()? else {
            return None;
        };
        let (version, rest) = rest.split_first_chunk::<8>()?;
        let (from, rest) = rest.split_first_chunk::<8>()?;
        let (ids, left) = rest.as_chunks::<16>();
        left.is_empty().then(|| Self {
            version: u64::from_be_bytes(*version),
            from: TimestampMs(i64::from_be_bytes(*from)),
            ids: ids
                .iter()
                .map(|id| BlockId(u128::from_be_bytes(*id)))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{TimeRange, Window};

    proptest! {
        /// Would catch a block of the newest times that a start does not read, and one too many that it does.
        #[test]
        fn what_is_left_out_ends_before_what_is_read(
            ends in prop::collection::vec(0i64..400, 0..500)
        ) {
            let entry = |(id, end): (u128, &i64)| {
                BlockEntry::of(id, TimeRange::new(TimestampMs(-1), TimestampMs(*end)))
            };
            let blocks: Vec<BlockEntry> = (1u128..).zip(&ends).map(entry).collect();
            let recent = Recent::of(7, blocks.iter());
            prop_assert_eq!(Recent::decode(&recent.encode()), Some(recent.clone()));
            let is_recent = |entry: &&BlockEntry| recent.ids.contains(&entry.id);
            prop_assert_eq!(blocks.iter().filter(is_recent).count(), recent.ids.len());
            prop_assert!(recent.ids.len() >= blocks.len().min(RECENT_BLOCKS));
            let ends_after = blocks.iter().filter(|entry| entry.range.end > recent.from).count();
            prop_assert!(recent.from == TimestampMs::MIN || ends_after < RECENT_BLOCKS);
            for entry in blocks.iter().filter(|entry| !recent.ids.contains(&entry.id)) {
                prop_assert!(entry.range.end < recent.from);
            }
        }

        #[test]
        fn any_bytes_are_a_note_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(recent) = Recent::decode(&bytes) {
                prop_assert_eq!(recent.encode(), bytes);
            }
        }
    }

    /// The bytes of `docs/format.md`, which every later version must read.
    #[test]
    fn a_note_has_the_bytes_of_the_format() {
        let range = Window(3).range();
        let recent = Recent::of(5, [BlockEntry::of(0x0102, range)].iter());
        let hex: String = recent.encode().iter().map(|b| format!("{b:02x}")).collect();
        let want = "010000000000000005800000000000000000000000000000000000000000000102";
        assert_eq!((hex.as_str(), recent.from), (want, TimestampMs::MIN));
        let mut newer = recent.encode();
        newer[0] = 2;
        assert_eq!(Recent::decode(&newer), None);
    }
}
