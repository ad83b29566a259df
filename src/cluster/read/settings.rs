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
    /// What all of them together may hold here.
    pub together_bytes: u64,
    /// Members that were to say what they hold and have not after so long: the others are asked too.
    pub state_hedge_after: Duration,
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

/// One read of a peer may hold so much where there is plenty: the list of a million series.
const READ_BYTES_MAX: u64 = 256 << 20;
/// With less than this a read of a few ten thousand series is not answered.
const READ_BYTES_MIN: u64 = 16 << 20;

impl ReadSettings {
    /// What suits a node whose peers' reads may hold so much memory together: one of them half of it.
    #[must_use]
    pub fn within(together_bytes: u64) -> Self {
        let together_bytes = together_bytes.max(READ_BYTES_MIN);
        Self {
            limits: BudgetLimits {
                memory_bytes: (together_bytes / 2).clamp(READ_BYTES_MIN, READ_BYTES_MAX),
                samples: 50_000_000,
            },
            together_bytes,
            ..Self::default()
        }
    }
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self {
            open_max: 64,
            running_max: 8,
            limits: BudgetLimits {
                memory_bytes: READ_BYTES_MAX,
                samples: 50_000_000,
            },
            together_bytes: 2 * READ_BYTES_MAX,
            state_hedge_after: Duration::from_millis(150),
            hedge_after: Duration::from_millis(500),
            silence_max: Duration::from_secs(3),
            sign_every: Duration::from_millis(500),
            rounds_max: 6,
        }
    }
}
