//! Bytes that were written once are read for ever: golden files of every format.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a test program: a panic is how it fails, a table of cases is as long as it is"
)]

mod block;
mod bucket;
mod codec;
mod control;
mod hashes;
mod log;
