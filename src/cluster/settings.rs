//! Settings of the cluster layer.

use std::time::Duration;

crate::settings! {
    /// When windows become blocks.
    pub struct SealSettings at "seal." {
        /// How long after its end a window waits for late samples before its first seal. What
        /// comes later is kept all the same and sealed in a further round.
        grace: Duration = Duration::from_secs(10 * 60),
    }
}
