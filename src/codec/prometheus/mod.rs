//! Samples as Prometheus has them: its protobuf messages (`messages.rs`), and the chunks of its
//! blocks, which it sends to remote readers, too: XOR-encoded floats, integer histograms, float
//! histograms.
//!
//! Our own blocks have nothing of them. Chunks are after the formats of
//! `tsdb/docs/format/chunks.md` and `tsdb/chunkenc` of prometheus/prometheus (2026-08); they are
//! written as Prometheus cuts them, and read from anybody (`read`).

mod cut;
mod floats;
mod histograms;
mod messages;
mod read;
#[cfg(test)]
mod tests;
mod varbit;

pub use cut::{Chunk, ChunkKind, chunks};
pub use messages::{put_client_histogram, put_float, put_histogram, put_labels};
pub use read::read_chunk;
