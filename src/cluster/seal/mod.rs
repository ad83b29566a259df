//! Seals: content of closed windows becomes blocks that the catalog names.

mod protocol;
mod schedule;
