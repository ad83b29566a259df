//! Chunks as Prometheus has them in its blocks and sends them to remote readers: XOR-encoded
//! floats, integer histograms, float histograms.
//!
//! Only written here: our own blocks have nothing of them. After the formats of
//! `tsdb/docs/format/chunks.md` and `tsdb/chunkenc` of prometheus/prometheus (2026-08).

mod cut;
mod floats;
mod histograms;
#[cfg(test)]
mod tests;
mod varbit;

pub use cut::{Chunk, ChunkKind, chunks};
