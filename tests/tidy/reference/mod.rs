//! `docs/reference` and `nixos/options.nix` are written from the code, and are what it says today. With
//! `CAIRN_WRITE_REFERENCE` set (`scripts/check --write`) the pages are written instead of compared.

mod functions;
mod http;
mod log_fields;
mod metrics;
mod nixos;

use std::fs;
use std::path::Path;

use super::sources::root;

/// How every page begins.
fn opening(title: &str) -> String {
    format!(
        "# {title}\n\nWritten by `scripts/check --write` from the code; do not edit it by hand.\n\n"
    )
}

/// What stands in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn check(page: &str, text: &str) {
    check_at(&root().join("docs/reference").join(page), text);
}

fn check_at(path: &Path, text: &str) {
    if std::env::var_os("CAIRN_WRITE_REFERENCE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        return;
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == text,
        "{} is not what the code says: run scripts/check --write",
        path.display()
    );
}

#[test]
fn reference_of_the_configuration() {
    check("configuration.md", &cairn::config::reference_page());
}

#[test]
fn reference_of_the_command_line() {
    check("cli.md", &cairn::cli::reference_page());
}

#[test]
fn the_configuration_stays_small() {
    let keys = cairn::config::reference();
    // How other systems are reached (Consul, DNS, S3, certificates) is theirs to say, not ours.
    let foreign = ["discovery.", "peer.tls.", "archive.s3."];
    let own = keys.iter();
    let own = own.filter(|key| !foreign.iter().any(|prefix| key.key.starts_with(prefix)));
    let count = own.count();
    assert!(count < 50, "{count} keys: fewer than fifty are promised");
    for key in keys {
        assert!(!key.text.is_empty(), "{} has no text", key.key);
    }
}
