//! Blocks of Prometheus: folders with `meta.json`, `index`, `chunks` and `tombstones`
//! (`tsdb/docs/format` of prometheus/prometheus).

mod blocks;
mod chunks;
mod floats;
mod histograms;
mod index;
mod index_out;
mod layout;
mod tombstones;
mod varbit;
mod write;

#[cfg(test)]
mod tests;

pub use blocks::{BlockHistory, BlockPlace, Wanted, find_blocks};
pub(super) use chunks::read_chunk;
pub use write::BlockSink;

use crate::codec::Error;
use crate::model::Samples;

/// The samples of one chunk.
///
/// # Errors
/// For an unknown encoding, and for data that no writer writes.
pub fn parse_chunk(encoding: u8, data: &[u8]) -> Result<Samples, Error> {
    let mut samples = Samples::default();
    read_chunk(encoding, data, &mut samples)?;
    Ok(samples)
}

/// Whether a file of tombstones can be read.
pub fn parse_tombstones(bytes: &[u8]) -> bool {
    tombstones::Tombstones::decode(bytes).is_some()
}

/// Whether a table of symbols and a series that refers to it can be read.
pub fn parse_index(symbols: &[u8], entry: &[u8]) -> bool {
    index::parse(symbols, entry)
}
