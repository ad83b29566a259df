//! History: entries of the catalog that are old leave the control state for the partition's
//! manifest, so that the state grows with the ring and not with time (decision 15). `plan.rs`
//! decides which and when (pure); `driver.rs` stages the manifest and commits it.
//!
//! No block comes or goes by it: the catalog is what the state and the manifest list together
//! (`manifests`). Whoever wants to merge what the manifest lists has it brought back first.

mod driver;
mod metrics;
mod plan;

pub(super) use driver::{Historian, HistorianParts};
pub use metrics::{HistoryMetrics, ManifestResult};

#[cfg(test)]
mod tests;
