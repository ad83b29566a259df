//! Bytes that were written once are read for ever: golden files of every format.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test program"
)]

mod block;
mod codec;
mod control;
