//! Does it work for a person? One file per story, with real servers on loopback, each ending in a
//! read-back.
//!
//! `CAIRN_BIN` names the program under test (`scripts/test` builds it in release); without it the
//! one that cargo built for this test run is taken. A server that is not on this machine makes its
//! test say so on the terminal and in the file `CAIRN_SKIPPED`, and pass.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test program: it reads the clock, and a panic is how it fails"
)]

mod bad_input;
mod browser;
mod bucket;
mod cluster;
mod compare;
mod crash;
mod damage;
mod deletes;
mod discovery;
mod downsampling;
mod flips;
mod history;
mod kept_answers;
mod operations;
mod peers;
mod prometheus;
mod published;
mod queries;
#[path = "../conformance/random_data.rs"]
#[allow(clippy::too_many_lines, reason = "a list of series")]
mod random_data;
#[path = "../conformance/random_native.rs"]
mod random_native;
#[path = "../conformance/random_query.rs"]
mod random_query;
mod read_only;
mod remote_write;
mod senders;
mod servers;
