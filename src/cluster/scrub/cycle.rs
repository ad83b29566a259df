//! One round over all blocks: how far it is, how far it should be, and how that is kept.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | the format: 1 |
//! | 8 | when the round began, in milliseconds (i64) |
//! | 8 | bytes that are looked at in it (u64) |
//! | 5, 16 | the last block: its partition (prefix, depth) and id; absent: none yet |
//!
//! Numbers are most significant byte first. What cannot be read is a round that begins.

use std::time::Duration;

use crate::model::{BlockEntry, BlockId, RingArc, TimestampMs};

/// A round takes so long: damage that nobody reads is found within it, and a year reads every byte
/// some fifty times, which disks are made for (a consumer's is rated for 55 TB a year and more).
pub(super) const ROUND: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const FORMAT: u8 = 1;

/// A block with its partition.
pub(super) type Located = (RingArc, BlockEntry);

/// A round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cycle {
    pub(super) begun: TimestampMs,
    pub(super) bytes: u64,
    pub(super) last: Option<(RingArc, BlockId)>,
}

impl Cycle {
    /// One that begins now.
    pub(super) const fn begin(now: TimestampMs) -> Self {
        Self {
            begun: now,
            bytes: 0,
            last: None,
        }
    }

    /// The blocks that are to be looked at next, in the order of partitions and ids; none: it is
    /// ahead of its time, or at its end.
    pub(super) fn next<'a>(&self, blocks: &'a [Located], now: TimestampMs) -> Option<&'a Located> {
        let total = blocks.iter().map(|(_, entry)| entry.size);
        let total: u64 = total.fold(0, u64::saturating_add);
        (self.bytes <= self.due(total, now)).then(|| self.after(blocks))?
    }

    /// The block after the last one, whatever the time.
    pub(super) fn after<'a>(&self, blocks: &'a [Located]) -> Option<&'a Located> {
        let key = |(arc, entry): &Located| (*arc, entry.id);
        let later = blocks.iter().filter(|block| Some(key(block)) > self.last);
        later.min_by_key(|block| key(block))
    }

    /// Notes a block.
    pub(super) const fn note(&mut self, (arc, entry): &Located) {
        self.bytes = self.bytes.saturating_add(entry.size);
        self.last = Some((*arc, entry.id));
    }

    /// Whether the time of the round is over. A clock that went back begins another.
    pub(super) fn is_over(&self, now: TimestampMs) -> bool {
        let since = now.0.saturating_sub(self.begun.0);
        !(0..round_ms()).contains(&since)
    }

    /// How many bytes should have been looked at.
    fn due(&self, total: u64, now: TimestampMs) -> u64 {
        let since = now.0.saturating_sub(self.begun.0).clamp(0, round_ms());
        let due =
            u128::from(total) * since.unsigned_abs() as u128 / round_ms().unsigned_abs() as u128;
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.begun.0.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        if let Some((arc, id)) = self.last {
            out.extend_from_slice(&arc.prefix().to_be_bytes());
            out.push(arc.depth());
            out.extend_from_slice(&id.0.to_be_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (begun, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_first_chunk()?;
        let last = match rest {
            [] => None,
            rest => {
                let (prefix, rest) = rest.split_first_chunk()?;
                let (depth, id) = rest.split_first()?;
                let arc = RingArc::new(u32::from_be_bytes(*prefix), *depth)?;
                Some((arc, BlockId(u128::from_be_bytes(id.try_into().ok()?))))
            }
        };
        (*format == FORMAT).then_some(Self {
            begun: TimestampMs(i64::from_be_bytes(*begun)),
            bytes: u64::from_be_bytes(*bytes),
            last,
        })
    }
}

fn round_ms() -> i64 {
    i64::try_from(ROUND.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FOUNDING_DEPTH, Window};

    fn blocks(count: u128) -> Vec<Located> {
        let entry = |id: u128| BlockEntry {
            size: 10,
            ..BlockEntry::of(id, Window(0).range())
        };
        let arcs = RingArc::all(FOUNDING_DEPTH);
        let of_arc = |arc| (0..count).map(move |id| (arc, entry(id)));
        arcs.flat_map(of_arc).collect()
    }

    /// Would catch a round that skips a block, looks twice, rushes at its begin, or forgets where it
    /// was.
    #[test]
    fn a_round_looks_at_every_block_once_and_takes_its_time() {
        let blocks = blocks(4);
        let hour = 3_600_000;
        let (mut cycle, mut seen) = (Cycle::begin(TimestampMs(5)), Vec::new());
        for step in 0..7 * 24 {
            let now = TimestampMs(5 + step * hour);
            assert!(!cycle.is_over(now));
            while let Some(block) = cycle.next(&blocks, now) {
                seen.push((block.0, block.1.id));
                cycle.note(block);
                cycle = Cycle::decode(&cycle.encode()).unwrap();
            }
            let share = seen.len() as f64 / blocks.len() as f64;
            let time = step as f64 / (7.0 * 24.0);
            assert!((share - time).abs() < 0.05, "{share} at {time}");
        }
        assert_eq!(seen.len(), blocks.len());
        seen.dedup();
        assert_eq!(seen.len(), blocks.len());
        assert!(cycle.is_over(TimestampMs(5 + 7 * 24 * hour)));
        assert!(cycle.is_over(TimestampMs(0)), "the clock went back");
    }

    #[test]
    fn what_is_damaged_is_no_round() {
        let blocks = blocks(1);
        let mut cycle = Cycle::begin(TimestampMs(-7));
        assert_eq!(Cycle::decode(&cycle.encode()), Some(cycle));
        cycle.note(&blocks[3]);
        let bytes = cycle.encode();
        assert_eq!(Cycle::decode(&bytes), Some(cycle));
        for len in (0..bytes.len()).filter(|len| *len != 17) {
            assert_eq!(Cycle::decode(&bytes[..len]), None, "{len}");
        }
        assert_eq!(Cycle::decode(&[&[2], &bytes[1..]].concat()), None);
    }
}
