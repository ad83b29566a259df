//! What seals and moves exchange of a partition, as bytes (`proto/data.proto`) and as plain types:
//! cuts, trees, raw content, block files.
//!
//! It knows what a message may be, not what is to be done with it. Whatever comes in is checked
//! before it is believed: lengths, counts, orders, the ranges of numbers.

mod ask;
mod content;
mod file;
mod manifest;
mod peers;
mod service;
mod tree;
mod wire;

#[cfg(test)]
mod tests;

pub use ask::{CutAnswer, CutHeld, CutRequest, PullOf, PullRequest, Purpose};
pub use content::{Content, ContentWriter, decode_content};
pub use file::{FetchAnswer, FetchRequest, StageAnswer, StageRequest};
pub use manifest::{ManifestAnswer, ManifestRequest};
pub(super) use peers::{CutReply, DataPeers, Heads};
pub(super) use service::DataService;
pub use tree::{LEAVES_LEN, decode_leaves, encode_leaves};
pub use wire::DataError;
