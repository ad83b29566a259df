//! The head's growing chunk: the float values of one series in one window, appended one by one.
//!
//! A value stands at a row: the number of a timestamp in a table that the series of a scrape
//! target share and the chunk does not know. Bits are only ever appended, in 64-byte segments out
//! of slabs that belong to the chunk's owner and go as a whole. Every `f64` comes back bit for
//! bit. Chunks live in memory only: no file holds them, so the code may change at any time.
//!
//! What it codes (CODEC.md, Table 4): a run of unchanged values in consecutive rows is a counter
//! in the state. A change writes Elias-gamma(run + 1), then in decimal mode the zig-zag of the
//! mantissa's difference less its running mean in Rice code, whose width follows the running mean
//! of what is left; twelve ones escape to everything rare. Values that are no short decimals are
//! XORed with their predecessor. A chunk that never changed has no bits at all.

mod code;
mod grow;
mod reader;
mod slabs;

#[cfg(test)]
mod tests;

pub use grow::{Chunk, ROW_MAX};
pub use reader::Reader;
pub use slabs::Slabs;
