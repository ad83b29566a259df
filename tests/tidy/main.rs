//! The house in order: import directions, doors, circles, homes of third-party crates, sizes,
//! and introductions. What a rule is for stands in `CONTRIBUTING.md`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test program: a panic is how it fails"
)]

mod directions;
mod files;
mod homes;
mod reference;
mod sources;

/// Fails with all complaints at once, each on its own line.
fn report(rule: &str, complaints: Vec<String>) {
    assert!(
        complaints.is_empty(),
        "{rule}:\n  {}",
        complaints.join("\n  ")
    );
}
