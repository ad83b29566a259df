//! How fast the group is. Not for users: what suits a Raspberry Pi with a slow card suits all.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The group's times. Tests make them short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timings {
    /// The leader says so often that it is there. A member that has not synced an entry within
    /// this time is asked again.
    pub heartbeat: Duration,
    /// A member that hears of no leader for longer than this, beyond the lease, tries to lead: a
    /// time drawn between the two. The longer one is also the lease.
    pub election: (Duration, Duration),
    /// A chunk of a snapshot has so long to arrive.
    pub snapshot_chunk: Duration,
    /// A proposal has so long to be committed.
    pub patience: Duration,
    /// Who has not answered the leader for so long is down.
    pub detection: Duration,
    /// A voter that is down for so long gives its place to another node.
    pub replace_voter_after: Duration,
}

impl Timings {
    /// Who has not answered the leader for so long is down.
    pub const DETECTION: Duration = Duration::from_secs(5);
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(400),
            election: (Duration::from_millis(1200), Duration::from_millis(2000)),
            snapshot_chunk: Duration::from_secs(10),
            patience: Duration::from_secs(10),
            detection: Self::DETECTION,
            replace_voter_after: Duration::from_secs(60),
        }
    }
}

/// Asked before a cluster is founded; the text says why not.
pub type FoundingLeave =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;
