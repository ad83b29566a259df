//! What a copy of a catalog says of the seals before it: so that whoever finds a sealed block that the copy
//! does not name knows whether it came later, or was replaced before.
//!
//! A block that has left the catalog never comes back, and of each range the rounds of its seals only rise. So a
//! block of a round that has passed, which the copy neither names nor calls waiting, was merged,
//! rewritten or deleted before the copy was made: what it held is in what the copy names.

use std::collections::BTreeSet;

use super::fields::Fields;
use super::name::NamedBlock;
use crate::model::{Digest, Level, RingArc, TimeRange, TimestampMs};

/// Bytes of a run, and of a block that waits.
const RUN_BYTES: usize = 8 + 8 + 4 + 4;
const WAITING_BYTES: usize = 32;

/// The seals that a copy knows of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passed {
    cluster: u128,
    arc: RingArc,
    /// In order of their lengths, then of their times.
    runs: Vec<Run>,
    /// Ranges that end before this and are in no run have the round beside it.
    floor: (TimestampMs, u32),
    /// Sealed, in the catalog, and not in the bucket when the copy was made.
    waiting: BTreeSet<Digest>,
}

/// Ranges of one length, end to end, that were sealed equally often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    /// The last millisecond of the first, less its first.
    last_ms: i64,
    start: i64,
    round: u32,
    count: u32,
}

impl Run {
    /// The first time behind it.
    fn end(&self) -> Option<i64> {
        let each = self.last_ms.checked_add(1)?;
        self.start
            .checked_add(each.checked_mul(i64::from(self.count))?)
    }

    fn has(&self, range: TimeRange) -> bool {
        let (first, each) = (range.start.0, self.last_ms.saturating_add(1));
        let fits = range.end.0.checked_sub(first) == Some(self.last_ms);
        let inside = first >= self.start && self.end().is_some_and(|end| first < end);
        fits && inside && first.saturating_sub(self.start) % each == 0
    }
}

impl Passed {
    /// Of a partition: how often each range was sealed, what is known of all others that end before a time, and the
    /// blocks that the bucket does not have.
    #[must_use]
    pub fn new(
        (cluster, arc): (u128, RingArc),
        rounds: impl Iterator<Item = (TimeRange, u32)>,
        floor: (TimestampMs, u32),
        waiting: BTreeSet<Digest>,
    ) -> Self {
        let each = rounds.filter_map(|(range, round)| {
            let last_ms = range.end.0.checked_sub(range.start.0)?;
            Some((last_ms, range.start.0, round))
        });
        let sorted: BTreeSet<(i64, i64, u32)> = each.collect();
        let mut runs: Vec<Run> = Vec::new();
        for (last_ms, start, round) in sorted {
            match runs.last_mut() {
                Some(run) if goes_on(run, last_ms, start, round) => run.count += 1,
                _ => runs.push(Run {
                    last_ms,
                    start,
                    round,
                    count: 1,
                }),
            }
        }
        Self {
            cluster,
            arc,
            runs,
            floor,
            waiting,
        }
    }

    /// Whether a sealed block that the copy does not name was in the catalog before it and had left it.
    #[must_use]
    pub fn had_left(&self, block: &NamedBlock) -> bool {
        // Rounds are counted by each cluster, and by each half of a partition that was split, anew; halves go on
        // from what the whole had.
        let ours = block.cluster == self.cluster && block.level == Level(0);
        let of_whole = block.arc.depth() < self.arc.depth() && block.arc.meets(self.arc);
        let passed = block.arc == self.arc && block.round <= self.round_of(block.range);
        ours && (of_whole || passed) && !self.waiting.contains(&block.digest)
    }

    /// How often a range was sealed.
    fn round_of(&self, range: TimeRange) -> u32 {
        let key = (range.end.0.saturating_sub(range.start.0), range.start.0);
        let behind = self
            .runs
            .partition_point(|run| (run.last_ms, run.start) <= key);
        let run = behind.checked_sub(1).and_then(|at| self.runs.get(at));
        match run.filter(|run| run.has(range)) {
            Some(run) => run.round,
            None if range.end < self.floor.0 => self.floor.1,
            None => 0,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.floor.0.0.to_be_bytes());
        out.extend_from_slice(&self.floor.1.to_be_bytes());
        put_count(out, self.runs.len());
        for run in &self.runs {
            out.extend_from_slice(&run.last_ms.to_be_bytes());
            out.extend_from_slice(&run.start.to_be_bytes());
            out.extend_from_slice(&run.round.to_be_bytes());
            out.extend_from_slice(&run.count.to_be_bytes());
        }
        put_count(out, self.waiting.len());
        self.waiting
            .iter()
            .for_each(|digest| out.extend_from_slice(&digest.0));
    }

    /// What stands in a copy of an arc's catalog. What no writer makes is refused.
    pub(super) fn decode(
        fields: &mut Fields<'_>,
        (cluster, arc): (u128, RingArc),
    ) -> Result<Self, String> {
        let before = TimestampMs(i64::from_be_bytes(fields.take()?));
        let floor = (before, u32::from_be_bytes(fields.take()?));
        let mut runs: Vec<Run> = Vec::new();
        for _ in 0..take_count(fields, RUN_BYTES)? {
            let run = Run {
                last_ms: i64::from_be_bytes(fields.take()?),
                start: i64::from_be_bytes(fields.take()?),
                round: u32::from_be_bytes(fields.take()?),
                count: u32::from_be_bytes(fields.take()?),
            };
            let real = run.count > 0 && run.last_ms >= 0 && run.end().is_some();
            let in_order = runs.last().is_none_or(|before| follows(before, &run));
            if !real || !in_order {
                return Err("its rounds are not in order".to_owned());
            }
            runs.push(run);
        }
        let mut waiting: BTreeSet<Digest> = BTreeSet::new();
        for _ in 0..take_count(fields, WAITING_BYTES)? {
            let digest = Digest(fields.take()?);
            if waiting.last().is_some_and(|last| *last >= digest) {
                return Err("what waits is not in order".to_owned());
            }
            waiting.insert(digest);
        }
        Ok(Self {
            cluster,
            arc,
            runs,
            floor,
            waiting,
        })
    }
}

/// Whether a range is the next one of a run.
fn goes_on(run: &Run, last_ms: i64, start: i64, round: u32) -> bool {
    let next = run.end() == Some(start) && run.count < u32::MAX;
    next && (run.last_ms, run.round) == (last_ms, round)
}

/// Whether a writer puts one run behind another.
fn follows(before: &Run, run: &Run) -> bool {
    let longer = run.last_ms > before.last_ms;
    let later = run.last_ms == before.last_ms && before.end().is_some_and(|end| end <= run.start);
    longer || (later && !goes_on(before, run.last_ms, run.start, run.round))
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
}

/// A count of things that take so many bytes each.
fn take_count(fields: &mut Fields<'_>, bytes: usize) -> Result<u32, String> {
    let count = u32::from_be_bytes(fields.take()?);
    let room = fields.0.len() / bytes;
    if usize::try_from(count).is_ok_and(|count| count <= room) {
        return Ok(count);
    }
    Err(format!("it has no room for {count} rounds"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Window;

    fn arc(prefix: u32, depth: u8) -> RingArc {
        RingArc::new(prefix << 28, depth).unwrap()
    }

    fn block(window: i64, round: u32, digest: u8) -> NamedBlock {
        NamedBlock {
            cluster: 1,
            arc: arc(3, 4),
            level: Level(0),
            range: Window(window).range(),
            round,
            digest: Digest([digest; 32]),
        }
    }

    fn day(of: i64) -> TimeRange {
        let ms = 24 * 60 * 60 * 1000;
        TimeRange::new(TimestampMs(of * ms), TimestampMs((of + 1) * ms - 1))
    }

    /// Windows 1 to 4 once, but 3 twice; 7 once; a day; everything before window -10 three times.
    fn passed() -> Passed {
        let mut rounds: Vec<(TimeRange, u32)> = Vec::new();
        rounds.push((day(2), 1));
        let windows = [(1, 1), (2, 1), (3, 2), (4, 1), (7, 1)];
        rounds.extend(windows.map(|(window, round)| (Window(window).range(), round)));
        let floor = (Window(-10).range().start, 3);
        let waiting = [Digest([9; 32])].into();
        Passed::new((1, arc(3, 4)), rounds.into_iter(), floor, waiting)
    }

    /// Would catch a block that is taken for replaced and came later, and one that is taken twice.
    #[test]
    fn what_had_left_is_told_from_what_came_later() {
        let passed = passed();
        assert_eq!(passed.runs.len(), 5);
        let left = |window, round| passed.had_left(&block(window, round, 1));
        for window in [1, 2, 3, 4, 7] {
            assert!(left(window, 1), "{window}");
            assert_eq!(left(window, 2), window == 3, "{window}");
        }
        // Never sealed, or long ago.
        assert!(![0, 5, 6, 8, -10].iter().any(|window| left(*window, 1)));
        assert!(left(-11, 3) && !left(-11, 4));
        assert!(
            !passed.had_left(&block(1, 1, 9)),
            "it waited for the bucket"
        );
        let of = |change: fn(&mut NamedBlock)| {
            let mut block = block(1, 1, 1);
            change(&mut block);
            passed.had_left(&block)
        };
        assert!(of(|block| block.range = day(2)));
        assert!(!of(|block| block.range = day(3)));
        assert!(!of(|block| block.cluster = 2));
        assert!(!of(|block| block.level = Level(1)));
        // A half of it, which is newer; the whole that it came from, which is older; another.
        assert!(!of(|block| block.arc = arc(6, 5)));
        assert!(of(|block| block.arc = arc(2, 3)));
        assert!(!of(|block| block.arc = arc(4, 4)));
        assert!(!of(|block| block.arc = arc(4, 3)));
        // As long as a window, and none.
        assert!(!of(|block| {
            block.range.start.0 += 1;
            block.range.end.0 += 1;
        }));
    }

    #[test]
    fn what_no_writer_makes_is_refused() {
        let passed = passed();
        let mut bytes = Vec::new();
        passed.encode(&mut bytes);
        let decode = |bytes: &[u8]| Passed::decode(&mut Fields(bytes), (1, arc(3, 4)));
        assert_eq!(decode(&bytes), Ok(passed.clone()));
        let with = |change: fn(&mut Vec<Run>)| {
            let mut other = passed.clone();
            change(&mut other.runs);
            let mut bytes = Vec::new();
            other.encode(&mut bytes);
            decode(&bytes)
        };
        assert!(with(|runs| runs.swap(0, 1)).is_err());
        assert!(with(|runs| runs[0].count = 0).is_err());
        assert!(with(|runs| runs[0].count = 1).is_ok());
        assert!(with(|runs| runs[0].count = 3).is_err(), "they overlap");
        assert!(with(|runs| runs[1].round = 1).is_err(), "it is one run");
        assert!(with(|runs| runs[4].start = i64::MAX).is_err());
        assert!(with(|runs| runs[0].last_ms = -1).is_err());
        let twice = [&bytes[bytes.len() - 32..], &bytes[bytes.len() - 32..]].concat();
        let mut other = bytes.clone();
        other.truncate(bytes.len() - 36);
        other.extend_from_slice(&2u32.to_be_bytes());
        other.extend_from_slice(&twice);
        assert!(decode(&other).unwrap_err().contains("order"));
        let count = 12;
        let mut other = bytes;
        other[count] = 0xff;
        assert!(decode(&other).unwrap_err().contains("no room"));
    }
}
