//! Seals: content of closed windows becomes blocks that the catalog names.

mod driver;
mod protocol;
mod schedule;

pub(super) use driver::{Busy, SealerParts};
pub use driver::{Pass, Sealer};
