//! What is merged, when, and by whom: a pure decision from the catalog and the time.
//!
//! * The blocks of a UTC day become one when the day is over and its seals have passed; those of
//!   sixteen days when these are over. Where the result would be larger than [`BYTES_MAX`], the
//!   halves are merged instead, down to four hours.
//! * Each arc has a delay of its own, by its place in the ring, so that the merges of a day are
//!   spread over nearly the whole next one.
//! * What is late is folded in when there is enough of it: a block is rewritten only together with
//!   others that make up a good part of it, so that every byte is written a few times, however many
//!   late samples trickle in.
//! * Of a partition's live members one merges, another one every day; the next one does it when that
//!   one has not in [`TURN`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::control::{ControlState, DAY_MS, Partition, utc_day};
use crate::cluster::manifests::Listed;
use crate::cluster::turns::live;
use crate::model::{
    BlockEntry, BlockId, Incarnation, Resolution, RingArc, TimeRange, TimestampMs, WINDOW_MS,
};
use crate::store::MergeOrder;

/// A merged block is at most so large: what a node reads, writes and sends at a stretch, and keeps
/// twice while it is exchanged.
const BYTES_MAX: u64 = 256 << 20;

/// The longest time one block covers, in days.
const DAYS_MAX: i64 = 16;

/// Parts of a day that are merged where the day is too large: of eight hours, then of four.
const PARTS_OF_DAY: [i64; 2] = [3, 2];

/// A block counts towards a merge when it is at most so many times as large as all smaller ones
/// together. Every byte that comes late then makes at most so many others be written again.
const OUTGROWN: u64 = 4;

/// So many blocks that are small beside the others are merged among themselves.
const FEW: usize = 8;

/// Blocks that one merge reads: each costs some buffers. What is left is merged next.
pub(super) const INPUTS_MAX: usize = 64;

/// After a day's end its last window is sealed within two hours and the grace; then it may begin.
const DAY_WAIT_MS: i64 = 3 * 60 * 60 * 1000;
/// Over so much of the next day the arcs' merges are spread.
const DAY_SPREAD_MS: i64 = 20 * 60 * 60 * 1000;
/// After the end of many days the last of them is merged by itself first.
const DAYS_WAIT_MS: i64 = 28 * 60 * 60 * 1000;
/// Over so much time the arcs' merges of many days are spread.
const DAYS_SPREAD_MS: i64 = 4 * DAY_MS;

/// A merged block covers at most this part of the total retention: it goes as a whole.
const RETENTION_PART: u32 = 8;

/// A member that is not the first to merge waits so long for each one before it.
const TURN: Duration = Duration::from_secs(2 * 60 * 60);

/// What the plan depends on beside the catalog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// How long a window waits for its first seal.
    pub(super) grace: Duration,
    /// How long anything is kept; `None`: for ever.
    pub(super) retention: Option<Duration>,
}

impl Limits {
    /// The longest time that one block may cover: a power of two of days, or one day.
    fn days_max(&self) -> i64 {
        let Some(retention) = self.retention else {
            return DAYS_MAX;
        };
        let part = i64::try_from((retention / RETENTION_PART).as_millis()).unwrap_or(i64::MAX);
        let mut days = DAYS_MAX;
        while days > 1 && days * DAY_MS > part {
            days /= 2;
        }
        days
    }
}

/// One merge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Job {
    pub(super) order: MergeOrder,
    /// Bytes of the inputs.
    pub(super) bytes: u64,
}

/// The merges that are due, the oldest times first. No block is in two of them.
///
/// `list` says what a partition's catalog is; a partition of which it does not say so is left out.
pub(super) fn due(
    state: &ControlState,
    list: impl for<'a> Fn(RingArc, &'a Partition) -> Option<Listed<'a>>,
    limits: &Limits,
    now: TimestampMs,
) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (arc, partition) in &state.partitions {
        if let Some(listed) = list(*arc, partition) {
            jobs.extend(due_in(*arc, partition, &listed, limits, now));
        }
    }
    jobs.sort_by_key(|job| (job.order.range.start, job.order.range.end, job.order.arc));
    jobs
}

fn due_in(
    arc: RingArc,
    partition: &Partition,
    listed: &Listed<'_>,
    limits: &Limits,
    now: TimestampMs,
) -> Vec<Job> {
    let kept = listed.entries();
    let kept = kept.filter(|entry| entry.range.end >= partition.expired_before);
    let days_max = limits.days_max();
    // Each span sees its own blocks alone: of history there may be centuries.
    let mut spans: BTreeMap<i64, Vec<&BlockEntry>> = BTreeMap::new();
    for entry in kept {
        let span = entry.range.start.0.div_euclid(days_max * DAY_MS);
        spans.entry(span).or_default().push(entry);
    }
    let mut jobs = Vec::new();
    for (span, blocks) in spans {
        let planning = Planning {
            arc,
            limits,
            now,
            keep_from: partition.expired_before,
            blocks,
        };
        planning.plan(
            &Span::of_days(span.saturating_mul(days_max), days_max),
            &mut jobs,
        );
    }
    jobs
}

/// A stretch of time whose blocks become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    start: i64,
    /// In windows: a power of two of days, or a part of one.
    windows: i64,
}

const DAY_WINDOWS: i64 = DAY_MS / WINDOW_MS;

impl Span {
    const fn of_days(first: i64, days: i64) -> Self {
        Self {
            start: first.saturating_mul(DAY_MS),
            windows: days.saturating_mul(DAY_WINDOWS),
        }
    }

    const fn range(self) -> TimeRange {
        let len = self.windows.saturating_mul(WINDOW_MS);
        let end = self.start.saturating_add(len.saturating_sub(1));
        TimeRange::new(TimestampMs(self.start), TimestampMs(end))
    }

    /// The shorter ones that it consists of; none at four hours.
    fn parts(self) -> Vec<Self> {
        let [thirds, halves] = PARTS_OF_DAY;
        let count = match self.windows {
            windows if windows > DAY_WINDOWS => 2,
            DAY_WINDOWS => thirds,
            windows if windows * thirds == DAY_WINDOWS => halves,
            _ => return Vec::new(),
        };
        let windows = self.windows / count;
        let part = |number| Self {
            start: self
                .start
                .saturating_add(windows.saturating_mul(WINDOW_MS * number)),
            windows,
        };
        (0..count).map(part).collect()
    }

    /// The days of a longer one; none of one day.
    fn days(self) -> impl Iterator<Item = Self> {
        let days = (self.windows - 1) / DAY_WINDOWS;
        let first = self.start.div_euclid(DAY_MS);
        let count = if days > 0 { days + 1 } else { 0 };
        (0..count).map(move |day| Self::of_days(first.saturating_add(day), 1))
    }

    /// When an arc's blocks of this time are merged.
    fn due_at(self, arc: RingArc, grace: Duration) -> TimestampMs {
        let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        // A part of a day is due with its day: it is merged instead of it.
        let (end, wait, spread) = if self.windows <= DAY_WINDOWS {
            (
                utc_day(TimestampMs(self.start)).end,
                DAY_WAIT_MS,
                DAY_SPREAD_MS,
            )
        } else {
            (self.range().end, DAYS_WAIT_MS, DAYS_SPREAD_MS)
        };
        let delay = (i128::from(arc.prefix()) * i128::from(spread)) >> 32;
        let delay = i64::try_from(delay).unwrap_or(spread);
        end.plus_ms(grace).plus_ms(wait).plus_ms(delay)
    }
}

struct Planning<'a> {
    arc: RingArc,
    limits: &'a Limits,
    now: TimestampMs,
    keep_from: TimestampMs,
    /// Those that begin in the span that is planned.
    blocks: Vec<&'a BlockEntry>,
}

impl Planning<'_> {
    /// Plans a span, or its parts where it is not due or would be too large.
    fn plan(&self, span: &Span, jobs: &mut Vec<Job>) {
        let range = span.range();
        let mut within: Vec<&BlockEntry> = self.blocks.clone();
        within.retain(|entry| contains(range, entry.range));
        if within.len() < 2 {
            return;
        }
        let is_due = self.now > span.due_at(self.arc, self.limits.grace);
        let bytes = within
            .iter()
            .fold(0u64, |sum, e| sum.saturating_add(e.size));
        if is_due && bytes <= BYTES_MAX {
            jobs.extend(self.enough(within));
            return;
        }
        if !is_due {
            // Nothing but whole days before many of them are over.
            for day in span.days() {
                self.plan(&day, jobs);
            }
            return;
        }
        let parts = span.parts();
        for part in &parts {
            self.plan(part, jobs);
        }
        // Late blocks cover a day each, and lie in no part of one.
        if span.windows == DAY_WINDOWS {
            within.retain(|entry| {
                parts
                    .iter()
                    .all(|part| !contains(part.range(), entry.range))
            });
            jobs.extend(self.enough(within));
        }
    }

    /// The blocks that are worth being merged: all up to the largest that the smaller ones make up
    /// a good part of.
    fn enough(&self, mut blocks: Vec<&BlockEntry>) -> Option<Job> {
        blocks.sort_by_key(|entry| (entry.size, entry.id));
        let all = blocks.len();
        let (mut bytes, mut smaller, mut count) = (0u64, 0u64, 0);
        for (at, entry) in blocks.iter().take(INPUTS_MAX).enumerate() {
            let with_it = smaller.saturating_add(entry.size);
            if with_it > BYTES_MAX {
                break;
            }
            if at > 0 && entry.size <= smaller.saturating_mul(OUTGROWN) {
                (bytes, count) = (with_it, at + 1);
            }
            smaller = with_it;
        }
        if count < 2 || (count < all && count < FEW) {
            return None;
        }
        blocks.truncate(count);
        let start = blocks.iter().map(|entry| entry.range.start).min()?;
        let end = blocks.iter().map(|entry| entry.range.end).max()?;
        let levels = blocks.iter().map(|entry| entry.level.at(Resolution::Raw));
        let level = levels.max()?;
        let mut inputs: Vec<BlockId> = blocks.iter().map(|entry| entry.id).collect();
        inputs.sort_unstable();
        Some(Job {
            order: MergeOrder {
                arc: self.arc,
                inputs,
                range: TimeRange::new(start, end),
                level: level.merged(),
                round: blocks.iter().map(|entry| entry.round).max()?,
                keep_from: self.keep_from,
                without: Vec::new(),
                resolution: Resolution::Raw,
            },
            bytes,
        })
    }
}

const fn contains(outer: TimeRange, inner: TimeRange) -> bool {
    outer.start.0 <= inner.start.0 && inner.end.0 <= outer.end.0
}

/// Whether a member is to merge something that it has seen due for so long.
pub(super) fn is_my_turn(
    order: &MergeOrder,
    state: &ControlState,
    me: Incarnation,
    waited: Duration,
) -> bool {
    let Some(partition) = state.partition(order.arc) else {
        return false;
    };
    let live: Vec<Incarnation> = live(state, (order.arc, partition), me).collect();
    let Some(place) = live.iter().position(|who| *who == me) else {
        return false;
    };
    let day = order.range.start.0.div_euclid(DAY_MS);
    let len = i64::try_from(live.len()).unwrap_or(i64::MAX);
    let first = usize::try_from(day.rem_euclid(len)).unwrap_or(0);
    let before = (place + live.len() - first) % live.len();
    let before = u32::try_from(before).unwrap_or(u32::MAX);
    waited >= TURN.saturating_mul(before)
}

#[cfg(test)]
mod tests;
