//! Blocks: sealed, immutable content of one partition and time range, as one table file.
//!
//! [`build_block`] writes one from [`BlockContent`]; [`BlockReader`] opens one with nothing but its
//! [`Table`](super::engine::Table), whether the engine has taken it in, it lies staged as a plain
//! file, or it is an object read by ranges. `layout.rs` says where things lie, `docs/format.md`
//! has every byte.
//!
//! Not here: which blocks exist and which of them a reader may see (catalog and views), and what
//! the columns' bytes are (`codec`).
//!
//! A block never changes. All its samples lie in its range, all its series in its arc, each
//! series once; its totals say the sum of the content hashes, so what was read can be proved whole.

mod cache;
mod content;
mod few;
mod groups;
mod index;
mod layout;
mod lookup;
mod merge;
mod parts;
mod picked;
mod reader;
mod samples;
mod sections;
mod select;
mod verify;
mod will;
mod writer;

pub(in crate::store) use cache::{DecodedParts, PartKey};
pub use content::{BlockContent, ContentSeries};
pub(in crate::store) use layout::is_of_samples;
pub use layout::{BlockProperties, BlockTotals};
pub use merge::MergedBlocks;
pub(in crate::store) use reader::Known;
pub use reader::{BlockReader, Ordinal, TenantReader};
pub(in crate::store) use samples::SamplesWanted;
pub use sections::Section;
pub(in crate::store) use sections::sections;
pub use verify::{Fault, Verified, verify_block};
pub use writer::{BuiltBlock, build_block, digest_of};

#[cfg(test)]
mod tests;
