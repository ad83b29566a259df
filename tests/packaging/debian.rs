//! The Debian package: built by its script, installed in a throw-away root, its unit's commands run
//! there as the unit's user under the unit's restrictions, upgraded and removed.

use std::path::Path;
use std::process::{Command, Stdio};

use super::servers::{Cairn, free_port, skip};
use super::tools::{is_root, printed, program, read, root, succeed, write};
use super::unit::{Unit, allowed_calls};

/// The exit code of `in_overlay.sh` on a machine that allows no such thing.
const NOT_HERE: i32 = 77;

/// A text for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn build(folder: &Path) {
    let mut command = Command::new(root().join("scripts/package"));
    command
        .args(["--fast", "--out"])
        .arg(folder)
        .arg("--binary")
        .arg(Cairn::program());
    Cairn::hide_test_variables(&mut command);
    let printed = succeed(&mut command);
    std::fs::rename(printed.trim(), folder.join("cairn.deb")).unwrap();
}

fn story() -> Result<(), String> {
    for tool in [
        "dpkg-deb",
        "dpkg-shlibdeps",
        "strip",
        "strace",
        "setpriv",
        "unshare",
        "python3",
    ] {
        program(tool).ok_or(format!("there is no {tool}"))?;
    }
    if !is_root() {
        return Err("only root may install packages".to_owned());
    }
    let unit = Unit::ours();
    let allowed = allowed_calls(&unit)?;
    // Not below /tmp: the unit has one of its own.
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    build(folder.path());
    let packaged = folder.path().join("unpacked");
    succeed(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(folder.path().join("cairn.deb"))
            .arg(&packaged),
    );
    let installed = std::fs::read_to_string(packaged.join("lib/systemd/system/cairn.service"));
    assert_eq!(installed.unwrap(), read("packaging/systemd/cairn.service"));

    let lines = [
        ("user", "User"),
        ("group", "Group"),
        ("environment_file", "EnvironmentFile"),
        ("exec_start_pre", "ExecStartPre"),
        ("exec_start", "ExecStart"),
        ("exec_reload", "ExecReload"),
    ];
    let lines: String = lines
        .iter()
        .map(|(name, key)| format!("{name}={}\n", quoted(unit.one(key))))
        .collect();
    write(folder.path(), "unit.env", &lines);
    let script = folder.path().join("story.sh");
    std::fs::copy(root().join("tests/packaging/package_story.sh"), &script).unwrap();
    let mut command = Command::new(root().join("tests/packaging/in_overlay.sh"));
    command
        .arg(folder.path())
        .arg(&script)
        .arg(folder.path())
        .arg(free_port().to_string())
        .stdin(Stdio::null());
    Cairn::hide_test_variables(&mut command);
    let output = command.output().unwrap();
    let text = printed(&output);
    if output.status.code() == Some(NOT_HERE) {
        return Err(text.trim().to_owned());
    }
    assert!(output.status.success(), "{text}");

    let after = |word: &str| -> Vec<&str> {
        text.lines()
            .filter_map(|line| line.strip_prefix(word))
            .collect()
    };
    let calls = after("call ");
    assert!(calls.len() > 40, "a server asks for more than {calls:?}");
    // What strace and setpriv do before the program begins is systemd's part, or root's.
    let before = ["setgroups", "setresuid", "setresgid", "capset"];
    let forbidden: Vec<&&str> = calls
        .iter()
        .filter(|call| !allowed.contains(**call) && !before.contains(call))
        .collect();
    assert!(
        forbidden.is_empty(),
        "the unit's SystemCallFilter forbids {forbidden:?}"
    );
    let families = unit.one("RestrictAddressFamilies");
    for family in after("family ") {
        assert!(
            families.contains(family),
            "the unit does not allow {family}"
        );
    }
    Ok(())
}

/// Would catch a unit that forbids what the program needs, and a package that leaves something out.
#[test]
fn the_package_is_installed_run_upgraded_and_removed() {
    if let Err(reason) = story() {
        skip(
            "debian::the_package_is_installed_run_upgraded_and_removed",
            &reason,
        );
    }
}
