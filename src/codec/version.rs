//! Every encoding id ever written, and who reads it.
//!
//! An id is never used again for anything else, and its reader never goes: a node of today opens
//! every block ever written. A new encoding is one line here, a file, a golden file in
//! `tests/format` and a fuzz target. `docs/format.md` lists the same ids.

/// Timestamps on a grid with exceptions; read by `timestamps.rs`. Since version 1.
pub(super) const TIMESTAMPS_GRID: u8 = 1;
/// Timestamps as differences less the commonest one; read by `timestamps.rs`. Since version 1.
pub(super) const TIMESTAMPS_STEPS: u8 = 2;
/// Timestamps as differences of differences; read by `timestamps.rs`. Since version 1.
pub(super) const TIMESTAMPS_STEPS_OF_STEPS: u8 = 3;

/// A value page of varints under zstd; read by `page/reader.rs`. Since version 1.
pub(super) const PAGE_VARINT: u8 = 1;
/// A value page whose floats are coded by themselves; read by `page/reader.rs` with `entropy`. Since version 3.
pub(super) const PAGE_CODED: u8 = 2;

/// One start timestamp for a whole column; read by `starts.rs`. Since version 1.
pub(super) const STARTS_ONE: u8 = 1;
/// Start timestamps in runs; read by `starts.rs`. Since version 1.
pub(super) const STARTS_RUNS: u8 = 2;
/// Start timestamps as a timestamp column; read by `starts.rs`. Since version 1.
pub(super) const STARTS_COLUMN: u8 = 3;

/// Folds of downsampled samples; read by `folds.rs`. Since version 2.
pub(super) const FOLDS_COLUMNS: u8 = 1;

/// Sorted texts, each without what it shares with the one before; read by `symbols.rs`. Since
/// version 1.
pub(super) const SYMBOLS_FRONT: u8 = 1;
/// Ordinals in runs; read by `postings.rs`. Since version 1.
pub(super) const POSTINGS_RUNS: u8 = 1;
/// Series entries by the shape of their label sets; read by `series_entry.rs`. Since version 1.
pub(super) const SERIES_SHAPES: u8 = 1;
