//! What bounds reads across peers.

use std::time::Duration;

use crate::runtime::BudgetLimits;

/// Bounds of reads, on both sides. Not for users: the defaults follow from how a peer behaves.
#[derive(Clone, Debug)]
pub struct ReadSettings {
    /// Reads that peers may have open here at a time; one more is refused.
    pub open_max: usize,
    /// Of them so many are worked on at a time.
    pub running_max: usize,
    /// What one read of a peer may use here.
    pub limits: BudgetLimits,
    /// A member that was to give data and is silent for so long is left for another one; the
    /// next one has twice as long.
    pub hedge_after: Duration,
    /// A peer that is silent for so long while it is asked is taken for gone. One that works gives
    /// a sign of life every [`ReadSettings::sign_every`], and is waited for as long as the query
    /// may take.
    pub silence_max: Duration,
    /// How often a peer that has nothing to send yet gives a sign of life.
    pub sign_every: Duration,
    /// How often a read is begun anew, after moves, seals and failures, before it fails.
    pub rounds_max: u32,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self {
            open_max: 64,
            running_max: 8,
            limits: BudgetLimits {
                memory_bytes: 256 << 20,
                samples: 50_000_000,
            },
            hedge_after: Duration::from_millis(500),
            silence_max: Duration::from_secs(3),
            sign_every: Duration::from_millis(500),
            rounds_max: 6,
        }
    }
}
