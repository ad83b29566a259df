//! What the program is made of: `deny.toml` against the dependencies as they are locked.

use std::process::Command;

use super::servers::{built, skip};
use super::tools::{root, succeed};

/// Would catch a library under a licence that nobody looked at, one of which there are two versions without
/// a reason, one from elsewhere than the registry, and a reason that stands there for nothing.
/// Advisories are not asked for: their database is not reached from here.
#[test]
fn licences_duplicates_and_sources_are_as_allowed() {
    let Some(program) = built("cargo-deny") else {
        skip(
            "deny::licences_duplicates_and_sources_are_as_allowed",
            "cargo-deny is not installed",
        );
        return;
    };
    succeed(
        Command::new(program)
            .current_dir(root())
            .args(["--locked", "--exclude-dev", "check"])
            .args(["--deny", "unmatched-skip"])
            .args(["licenses", "bans", "sources"]),
    );
}
