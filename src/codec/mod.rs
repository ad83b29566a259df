//! Bytes to values and back. No I/O; every length is checked before it is believed.
//!
//! What is encoded here is read for as long as blocks exist, so every encoding has an id that is
//! never used again (see the table in `docs/format.md`) and golden files in `tests/format`.
//! Decoders never panic and allocate no more than their input can fill, or a named bound.
//!
//! The modules are the door, because the same verbs mean the same everywhere:
//! `use crate::codec::timestamps;` and then `timestamps::encode`.
//!
//! * [`varint`], [`bits`]: primitives;
//! * [`timestamps`]: a column of timestamps, shared by many series;
//! * [`page`]: values, histograms and start timestamps of neighbouring series;
//! * [`steps`]: one value of a series against the one before;
//! * [`histograms`]: single native histograms;
//! * [`folds`]: what downsampled samples stand for;
//! * [`symbols`], [`postings`], [`series_entry`]: a block's label index.

mod choose;
mod crc;
mod decimal;
mod entropy;
mod error;
mod exceptions;
mod frame;
mod histogram;
mod histogram_column;
mod predict;
mod residuals;
mod shape;
mod some_rows;
mod starts;
#[cfg(test)]
mod strategies;
mod values;
mod version;

pub mod bits;
pub mod chunk;
pub mod folds;
pub mod histograms;
pub mod page;
pub mod postings;
pub mod prometheus;
pub mod protobuf;
pub mod series_entry;
pub mod steps;
pub mod symbols;
pub mod timestamps;
pub mod varint;

pub use crc::crc32c;
pub use error::Error;
pub use histogram_column::HISTOGRAM_NUMBERS_MAX;

/// Rows of one column: a sample every millisecond of a window fits. A column that repeats itself
/// takes no bytes a row, so this is also what bounds decoding: 64 MiB.
pub const ROWS_MAX: usize = 1 << 23;
