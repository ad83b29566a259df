//! Blocks of Prometheus: folders with `meta.json`, `index`, `chunks` and `tombstones`
//! (`tsdb/docs/format` of prometheus/prometheus).

mod blocks;
mod chunks;
mod index;
mod index_out;
mod tombstones;
mod write;

#[cfg(test)]
mod tests;

pub use blocks::{BlockHistory, BlockPlace, Wanted, find_blocks};
pub use write::BlockSink;

/// Whether a file of tombstones can be read.
pub fn parse_tombstones(bytes: &[u8]) -> bool {
    tombstones::Tombstones::decode(bytes).is_some()
}

/// Whether a table of symbols and a series that refers to it can be read.
pub fn parse_index(symbols: &[u8], entry: &[u8]) -> bool {
    index::parse(symbols, entry)
}
