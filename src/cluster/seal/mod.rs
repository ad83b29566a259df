//! Seals: content of closed windows becomes blocks that the catalog names.

mod driver;
mod protocol;
mod schedule;

pub use driver::{Pass, Sealer};
pub(super) use driver::SealerParts;
