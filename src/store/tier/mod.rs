//! Blocks whose files are no longer here: their home is elsewhere (the bucket), and what a read
//! needs of them is fetched by ranges.
//!
//! [`Remote`] is how bytes are had, given by whoever knows the bucket; nothing here knows where it
//! is or how objects are named. A read has a [`Reading`]: what it has fetched, charged to its
//! account. Reads are *planned*: they are tried on what is here, everything that was missing is
//! fetched together, in few ranges and several at a time, and they are tried again
//! ([`in_rounds`]). What was fetched is kept on the disk within a bound ([`cache`]), and the
//! indexes of blocks in memory.
//!
//! Nothing is believed before its checksum was compared, whether it comes from the bucket or from
//! the cache. Fetching by ranges does not compare the digest of the whole object: every data block
//! and the index have a checksum of their own.

mod cache;
mod check;
mod flights;
mod heads;
mod metrics;
mod opened;
mod ranges;
mod reading;
mod remote;
mod reread;
mod rounds;
mod table;
#[cfg(test)]
mod tests;
mod whole;

pub(super) use flights::Failures;
pub use metrics::TierMetrics;
pub(super) use reading::{Held, Pending, Reading};
pub use remote::{Fetching, Piece, Remote, RemoteBlock};
pub use reread::reread_object;
pub(super) use rounds::in_rounds;
pub(super) use whole::Tier;
pub use whole::TierParts;
