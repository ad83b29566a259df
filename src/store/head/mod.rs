//! The head: what this node holds that its applied blocks do not, of any window, in memory and
//! recoverable from the log.
//!
//! One per node, organised by scrape target so that timestamps are shared; the partition is an
//! attribute of the series, by which cuts and reads select. It knows nothing of blocks, epochs
//! or quorums.

mod types;

pub use types::{AppendBatch, Appended, FloatSample, OtherSample, SeriesId};
