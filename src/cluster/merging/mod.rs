//! Merging: the blocks of a day become one, those of many days fewer still, so that a query opens
//! few files and what their indexes share is stored once. `plan.rs` decides what, when and by whom
//! (pure); `driver.rs` does it, on a thread of its own.
//!
//! A merge changes no content, only which blocks hold it, but for what is downsampled when it is old
//! (`downsampling.rs`). Its file is staged on W members before
//! the catalog names it in the place of its inputs, as a seal's; whoever applies that swaps all of
//! them at once, so that no read sees a sample twice or not at all.

mod believed;
mod downsampling;
mod driver;
mod metrics;
mod outlived;
mod plan;
mod repacking;
mod rewriting;

pub(super) use driver::MergerParts;
pub use driver::{Merger, Merges, Pace};
pub use metrics::{MergeMetrics, MergeResult};
