//! Retention: blocks past their time, or past the disk's share, leave the catalog.

use std::sync::Arc;

use super::control::{Command, Control, Expired};
use super::error::Error;
use super::seal::Sealer;
use crate::model::TimestampMs;
use crate::runtime::{CancelToken, Clock};
use crate::store::{RetentionSettings, Store, expire_before};

/// The horizon moves in steps of ten minutes: a command a block and partition, not one a second.
const STEP_MS: i64 = 10 * 60 * 1000;

/// Lets go of what is past its retention.
pub(super) struct Retention {
    store: Arc<Store>,
    control: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    settings: RetentionSettings,
}

impl Retention {
    pub(super) fn new(
        store: Arc<Store>,
        control: Arc<dyn Control>,
        clock: Arc<dyn Clock>,
        settings: RetentionSettings,
    ) -> Self {
        Self {
            store,
            control,
            clock,
            settings,
        }
    }

    /// Proposes what has expired, and applies it. Partitions of which nothing goes are left alone:
    /// a command for each of them every few minutes would be the whole control log.
    pub(super) fn pass(&self, sealer: &Sealer) -> Result<usize, Error> {
        if !self.control.is_leader() {
            return Ok(0);
        }
        let blocks = self.store.block_sizes();
        let Some(before) = expire_before(&blocks, &self.settings, self.clock.now()) else {
            return Ok(0);
        };
        let before = TimestampMs(before.0.saturating_sub(before.0.rem_euclid(STEP_MS)));
        let held = self.store.held();
        let state = self.control.state();
        let mut expired = 0;
        for (arc, partition) in &state.partitions {
            let goes = |end: TimestampMs| end < before;
            let block_goes = partition.recent.values().any(|entry| goes(entry.range.end));
            let mut of_arc = held.iter().filter(|held| held.arc == *arc);
            let head_goes = of_arc.any(|held| goes(held.window.end()));
            if before > partition.expired_before && (block_goes || head_goes) {
                let command = Command::Expired(Expired {
                    arc: *arc,
                    before,
                    history: None,
                });
                self.control.propose(&command)?;
                expired += 1;
            }
        }
        if expired > 0 {
            sealer.catch_up(&CancelToken::new())?;
        }
        Ok(expired)
    }
}
