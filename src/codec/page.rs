//! A value page: the values of up to [`SERIES_MAX`] neighbouring series of one scrape target.
//!
//! Timestamps are not in it (`timestamps.rs` has them, once for many series), nor how many rows a
//! series has: the series' entry says both. A series whose path is that of an earlier one of the
//! page, in any size and place, stores none of its own.
//!
//! ```text
//! u8      encoding: 1 varints, 2 coded
//! varint  series
//! 2:      varint bytes of what is compressed
//! compressed (1: up to the end):
//!     of each series: u8 flags (bits 0-3: `values.rs`; bit 4: histograms, bit 5: starts, bit 6: folds),
//!                     the column's header, varint bytes of histograms, of starts, of folds
//!     of each series: exceptions, 1: path and errors as varints, histograms, starts, folds
//! 2:      of each series: path, errors as `entropy` codes them
//! u32     checksum
//! ```
//! Reading one series decodes its own column and at most the one it refers to; a column that is
//! referred to has a path of its own.
//!
//! What is new is asked for most, so that its pages are quick to read; what is merged, or was old when it came, is kept
//! for long and its pages are dense ([`Density`]).

mod builder;
mod reader;

use std::sync::Arc;

pub use builder::Builder;
pub use reader::{Reader, Rows, Scratch};

use crate::model::{Fold, Histogram, Samples};

/// Series in one page. More share little, and reading one decompresses all.
pub const SERIES_MAX: usize = 64;

/// A page that holds so many bytes before compression takes no further series, so that reading
/// one series never costs much more than itself.
pub const RAW_TARGET: usize = 256 << 10;

/// Bytes of a page before compression: one series of [`ROWS_MAX`](super::ROWS_MAX) random values fits. Decoding
/// allocates no more than this.
pub const RAW_MAX: usize = 256 << 20;

const WHAT: &str = "a value page";
const HAS_HISTOGRAMS: u8 = 1 << 4;
const HAS_STARTS: u8 = 1 << 5;
const HAS_FOLDS: u8 = 1 << 6;
const ALL_FLAGS: u8 = 0x7f;

/// What a page is good at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Density {
    /// It is quick to read.
    Quick,
    /// It is as small as it can be, and takes longer to read where that makes it smaller.
    Dense,
}

/// The columns of one series but for the timestamps, as [`Samples`] has them.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// One for each row; any number where a histogram stands.
    pub values: &'a [f64],
    /// Histograms and their rows, rising.
    pub histograms: &'a [(u32, Arc<Histogram>)],
    /// Start timestamps (0: none); empty when no row has one, else at most as long as `values`.
    pub starts: &'a [i64],
    /// Folds and their rows, rising; empty but for what was downsampled.
    pub folds: &'a [(u32, Fold)],
}

impl<'a> From<&'a Samples> for Columns<'a> {
    fn from(samples: &'a Samples) -> Self {
        Self {
            values: &samples.values,
            histograms: &samples.histograms,
            starts: &samples.starts,
            folds: &samples.folds,
        }
    }
}

#[cfg(test)]
mod tests;
