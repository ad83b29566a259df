//! The head: what this node holds that its applied blocks do not, of any window, in memory and
//! recoverable from the log.
//!
//! One per node, organised by scrape target so that timestamps are shared; the partition is an
//! attribute of the series, by which cuts and reads select. It knows nothing of blocks, epochs
//! or quorums.

mod append;
mod arcs;
mod core;
mod cut;
mod digests;
mod encoded;
mod exemplars;
mod extent;
mod fresh;
mod kept;
mod late;
mod layer;
mod pieces;
mod postings;
mod replay;
mod replay_common;
mod replay_cut;
mod replay_floats;
mod replay_queue;
mod replay_series;
mod replay_threads;
mod roster;
mod rows;
mod settings;
mod settle;
mod shard;
mod split;
mod strip;
mod symbols;
mod types;
mod view;
mod whole;
mod work;

#[cfg(test)]
mod tests;

pub(super) use cut::{Cut, not_here};
pub use encoded::EncodedSums;
pub(super) use extent::Extent;
pub use settings::HeadSettings;
pub(super) use types::HeadSeries;
pub use types::{AppendBatch, Appended, FloatSample, OtherSample, SeriesId};
pub(super) use view::HeadView;
pub use whole::{Head, HeadStats};
