//! Retention: blocks past their time, or past the disk's share, leave the catalog.

use std::sync::Arc;

use super::clocks::DeletionClock;
use super::control::{Command, Control, Expired, Partition};
use super::error::Error;
use super::manifests::{Manifests, listed};
use super::seal::Sealer;
use crate::model::{RingArc, TimestampMs};
use crate::runtime::CancelToken;
use crate::store::{RetentionSettings, Store, expire_before};

/// The horizon moves in steps of ten minutes: a command a block and partition, not one a second.
const STEP_MS: i64 = 10 * 60 * 1000;

/// Lets go of what is past its retention.
pub(super) struct Retention {
    store: Arc<Store>,
    manifests: Arc<Manifests>,
    control: Arc<dyn Control>,
    clock: DeletionClock,
    settings: RetentionSettings,
}

impl Retention {
    pub(super) fn new(
        store: Arc<Store>,
        manifests: Arc<Manifests>,
        control: Arc<dyn Control>,
        clock: DeletionClock,
        settings: RetentionSettings,
    ) -> Self {
        // Where there is a bucket, what does not fit here is read there, and nothing is deleted.
        let local_size = settings.local_size.filter(|_| !store.has_tier());
        let settings = RetentionSettings {
            local_size,
            ..settings
        };
        Self {
            store,
            manifests,
            control,
            clock,
            settings,
        }
    }

    /// Proposes what has expired, and applies it.
    ///
    /// # Errors
    /// When the clock is not believed, or the control group cannot decide.
    pub(super) fn pass(&self, sealer: &Sealer) -> Result<usize, Error> {
        if !self.control.is_leader() || self.due(self.clock.clock.now()).is_none() {
            return Ok(0);
        }
        // Only where something would go, others are asked whether it may.
        let Some(confirmed) = self.control.confirmed() else {
            return Ok(0);
        };
        let now = self.clock.now(&confirmed.voters)?;
        let Some((before, arcs)) = self.due(now) else {
            return Ok(0);
        };
        for arc in &arcs {
            self.control
                .propose(&Command::Expired(Expired { arc: *arc, before }))?;
        }
        sealer.catch_up(&CancelToken::new())?;
        Ok(arcs.len())
    }

    /// What goes now: everything before a time, of some partitions. Those of which nothing goes are
    /// left alone: a command for each of them every few minutes would be the whole control log.
    fn due(&self, now: TimestampMs) -> Option<(TimestampMs, Vec<RingArc>)> {
        let before = expire_before(&self.store.block_sizes(), &self.settings, now)?;
        let before = TimestampMs(before.0.saturating_sub(before.0.rem_euclid(STEP_MS)));
        let held = self.store.held();
        let state = self.control.state();
        let goes = |end: TimestampMs| end < before;
        let partitions = state.partitions.iter().filter(|(arc, partition)| {
            let mut of_arc = held.iter().filter(|held| held.arc == **arc);
            let head_goes = of_arc.any(|held| goes(held.window.end()));
            let block_goes = || self.block_goes(**arc, partition, before);
            before > partition.expired_before && (head_goes || block_goes())
        });
        let arcs: Vec<RingArc> = partitions.map(|(arc, _)| *arc).collect();
        (!arcs.is_empty()).then_some((before, arcs))
    }

    /// Whether a block of a partition ends before a time. Of a manifest that is not here the state
    /// knows the earliest end; once that has expired, nothing until the next manifest.
    fn block_goes(&self, arc: RingArc, partition: &Partition, before: TimestampMs) -> bool {
        if let Ok(listed) = listed(&self.manifests, arc, partition) {
            let mut ends = listed.entries().map(|entry| entry.range.end);
            return ends.any(|end| end < before);
        }
        let kept = |end: &TimestampMs| *end >= partition.expired_before;
        let oldest = partition.history.map(|history| history.oldest_end);
        let recent = partition.recent.values().map(|entry| entry.range.end);
        let mut ends = recent.chain(oldest.filter(kept));
        ends.any(|end| end < before)
    }
}
