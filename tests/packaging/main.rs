//! Is what we hand out of use? Unit, packages, modules, examples, dashboards and alerts: each is
//! checked with the tool that will read it, and run as far as this machine lets us.
//!
//! `CAIRN_BIN` names the program under test, as for the end-to-end tests. A tool that is not here
//! makes its test say so on the terminal and in the file `CAIRN_SKIPPED`, and pass.
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
    clippy::too_many_lines,
    reason = "a test program: it reads the clock, a panic is how it fails, and a story is told in order"
)]

mod collectors;
mod dashboards;
mod debian;
mod deny;
mod doctor;
mod homes;
mod nix;
#[path = "../e2e/remote_write.rs"]
#[allow(dead_code, reason = "the end-to-end tests' sender and their own tests")]
mod remote_write;
#[path = "../e2e/servers/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the end-to-end tests' servers, of which this program starts some"
)]
mod servers;
mod start;
mod tools;
mod unit;
