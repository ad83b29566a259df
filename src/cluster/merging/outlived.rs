//! Blocks that hold samples of a tenant whose retention is over, while others keep theirs, are
//! rewritten without them: merges of one block each, as for what is deleted. What all tenants have outlived
//! goes as a whole, by the catalog (`retention`).
//!
//! A block is rewritten when a part of it has been outlived: an eighth of the tenant's retention, or
//! a quarter of the block where that is longer. So each is written at most four times for it, and nothing is
//! kept longer than its retention and such a part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::believed::is_believed;
use super::plan::Job;
use super::rewriting::rewrite;
use crate::cluster::clocks::DeletionClock;
use crate::cluster::control::{ControlState, Partition};
use crate::cluster::manifests::Listed;
use crate::model::{BlockEntry, BlockId, Deletion, RingArc, TimeRange, TimestampMs};
use crate::runtime::CancelToken;
use crate::store::{self, RetentionSettings, Store};

/// This part of its retention a tenant's samples may stay longer.
const RETENTION_PART: i64 = 8;
/// So often at most a block is rewritten for one tenant.
const PARTS_MAX: i64 = 4;

/// Finds what is to be rewritten.
pub(super) struct Outlived {
    store: Arc<Store>,
    settings: RetentionSettings,
    clock: DeletionClock,
    /// Blocks in which nothing is outlived before a time.
    quiet: Mutex<BTreeMap<(RingArc, BlockId), TimestampMs>>,
}

/// What a look into a block gives.
enum Found {
    /// This is to go.
    Some(Vec<Deletion>),
    /// Nothing, before a time.
    NoneBefore(TimestampMs),
    /// It is not applied here yet, or not any more.
    Unknown,
}

impl Outlived {
    pub(super) fn new(
        store: Arc<Store>,
        settings: RetentionSettings,
        clock: DeletionClock,
    ) -> Self {
        Self {
            store,
            settings,
            clock,
            quiet: Mutex::default(),
        }
    }

    /// The blocks that are to be rewritten, except those that other jobs are about. Only when there
    /// is one, other nodes are asked whether this one's clock can be believed.
    pub(super) fn due(
        &self,
        state: &ControlState,
        others: &[Job],
        list: impl for<'a> Fn(RingArc, &'a Partition) -> Option<Listed<'a>>,
        cancel: &CancelToken,
    ) -> Vec<Job> {
        let Some(shortest) = self.settings.total_shortest() else {
            return Vec::new();
        };
        let now = self.clock.clock.now();
        let inputs = others.iter().flat_map(|job| &job.order.inputs);
        let taken: BTreeSet<BlockId> = inputs.copied().collect();
        let (mut jobs, mut seen) = (Vec::new(), BTreeSet::new());
        for (arc, partition) in &state.partitions {
            let Some(listed) = list(*arc, partition).filter(|_| self.store.has_arc(*arc)) else {
                continue;
            };
            let kept = listed.entries();
            let kept = kept.filter(|entry| entry.range.end >= partition.expired_before);
            for entry in kept.filter(|entry| entry.range.start < before(now, shortest)) {
                let key = (*arc, entry.id);
                seen.insert(key);
                if taken.contains(&entry.id) || self.is_quiet(key, now) {
                    continue;
                }
                match self.look(*arc, entry, now, cancel) {
                    Ok(Found::Some(without)) => {
                        jobs.push(rewrite(*arc, partition, entry, without));
                    }
                    Ok(Found::NoneBefore(time)) => {
                        self.quiet.lock().insert(key, time);
                    }
                    Ok(Found::Unknown) => {}
                    Err(error) => tracing::warn!(
                        partition = %arc, block = %entry.id, %error,
                        "a block could not be searched for what is past its tenant's retention: it will be tried again"
                    ),
                }
            }
        }
        self.quiet.lock().retain(|key, _| seen.contains(key));
        if jobs.is_empty() || is_believed(&self.clock, state) {
            return jobs;
        }
        Vec::new()
    }

    fn is_quiet(&self, key: (RingArc, BlockId), now: TimestampMs) -> bool {
        let quiet = self.quiet.lock();
        quiet.get(&key).is_some_and(|until| now < *until)
    }

    fn look(
        &self,
        arc: RingArc,
        entry: &BlockEntry,
        now: TimestampMs,
        cancel: &CancelToken,
    ) -> Result<Found, store::Error> {
        let Some(tenants) = self.store.tenants_of_block(arc, entry.id)? else {
            return Ok(Found::Unknown);
        };
        let (mut without, mut next) = (Vec::new(), TimestampMs::MAX);
        for tenant in tenants {
            let total = self.settings.total_of(&tenant);
            let total = total.filter(|_| total != self.settings.total_longest());
            let Some(total) = total else {
                continue;
            };
            let steps = Steps::of(entry.range, total);
            let passed = steps.passed(before(now, total));
            if let Some(end) = steps.end_of(passed) {
                let deletion = Deletion {
                    tenant,
                    matchers: Vec::new(),
                    range: TimeRange::new(TimestampMs::MIN, end),
                };
                // At its end not even the tenant's name and metadata stay.
                let held = match passed == steps.count {
                    true => Some(true),
                    false => self.store.block_holds(arc, entry.id, &deletion, cancel)?,
                };
                match held {
                    None => return Ok(Found::Unknown),
                    Some(true) => {
                        without.push(deletion);
                        continue;
                    }
                    Some(false) => {}
                }
            }
            if let Some(end) = steps.end_of(passed + 1) {
                next = next.min(after(end, total));
            }
        }
        Ok(match without.is_empty() {
            true => Found::NoneBefore(next),
            false => Found::Some(without),
        })
    }
}

/// The parts of a block's time in which it is rewritten for one tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Steps {
    range: TimeRange,
    count: i64,
}

impl Steps {
    fn of(range: TimeRange, total: Duration) -> Self {
        let len = length(range);
        let part = (millis(total) / RETENTION_PART).max(1);
        Self {
            range,
            count: (len / part).clamp(1, PARTS_MAX),
        }
    }

    /// The last moment of the n-th part, from 1; `None`: there is none.
    fn end_of(self, part: i64) -> Option<TimestampMs> {
        if !(1..=self.count).contains(&part) {
            return None;
        }
        let len = i128::from(length(self.range)) * i128::from(part) / i128::from(self.count);
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        Some(self.range.start.plus_ms(len.saturating_sub(1)))
    }

    /// How many parts end before a time.
    fn passed(self, horizon: TimestampMs) -> i64 {
        let parts = (1..=self.count).rev();
        let passed = |part: &i64| self.end_of(*part).is_some_and(|end| end < horizon);
        parts.into_iter().find(passed).unwrap_or(0)
    }
}

const fn length(range: TimeRange) -> i64 {
    range.end.0.saturating_sub(range.start.0).saturating_add(1)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What is older than a retention has been outlived.
fn before(now: TimestampMs, total: Duration) -> TimestampMs {
    TimestampMs(now.0.saturating_sub(millis(total)))
}

/// When a moment will have been outlived.
fn after(end: TimestampMs, total: Duration) -> TimestampMs {
    TimestampMs(end.0.saturating_add(millis(total)).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    /// Would catch a block that is rewritten every few minutes, one that never is, and samples that go
    /// before their time.
    #[test]
    fn a_block_is_rewritten_a_few_times_and_nothing_goes_early() {
        let check = |block_days: i64, retention_days: u64, count: i64| {
            let range = TimeRange::new(TimestampMs(0), TimestampMs(block_days * DAY - 1));
            let total = Duration::from_secs(retention_days * 86_400);
            let steps = Steps::of(range, total);
            assert_eq!(steps.count, count, "{block_days} {retention_days}");
            assert_eq!(steps.end_of(count), Some(range.end));
            assert_eq!((steps.end_of(0), steps.end_of(count + 1)), (None, None));
            assert_eq!(steps.passed(range.start), 0);
            let mut last = 0;
            for hour in 0..=block_days * 24 {
                let horizon = TimestampMs(hour * DAY / 24);
                let passed = steps.passed(horizon);
                assert!((last..=last + 1).contains(&passed));
                if let Some(end) = steps.end_of(passed) {
                    assert!(end < horizon, "it has been outlived");
                    assert!(before(after(end, total), total) > end);
                }
                last = passed;
            }
            assert_eq!(last, count);
        };
        check(16, 7, 4);
        check(16, 30, 4);
        check(16, 60, 2);
        check(16, 365, 1);
        check(1, 7, 1);
        check(1, 2, 4);
    }
}
