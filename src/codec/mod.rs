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
//! * [`histograms`]: single native histograms and columns of them;
//! * [`symbols`], [`postings`], [`series_entry`]: a block's label index.

mod error;
mod frame;
mod histogram;

pub mod bits;
pub mod histograms;
pub mod postings;
pub mod series_entry;
pub mod symbols;
pub mod varint;

pub use error::Error;
