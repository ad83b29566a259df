//! The systemd unit: correct, closed, and wide enough for what the program asks of the kernel.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use super::servers::{Cairn, skip};
use super::tools::{printed, program, read, replaced, succeed, write};

/// What `systemd-analyze security` may say of the exposure, in tenths: 10 is "OK", and the network is open.
const EXPOSURE_MAX: &str = "20";

/// A unit's assignments, in their order.
pub struct Unit(Vec<(String, String)>);

impl Unit {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
        Self(
            lines
                .map(|line| {
                    let (key, value) = line.split_once('=').expect(line);
                    (key.to_owned(), value.to_owned())
                })
                .collect(),
        )
    }

    pub fn ours() -> Self {
        Self::parse(&read("packaging/systemd/cairn.service"))
    }

    /// Every key, once for each line that it has.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    pub fn all(&self, key: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).collect()
    }

    pub fn one(&self, key: &str) -> &str {
        let all = self.all(key);
        assert_eq!(all.len(), 1, "{key}: {all:?}");
        all[0]
    }
}

/// Checks a unit's text with systemd's own tools. Its program and files are put where it says.
pub fn check_unit(text: &str, drop_ins: &[&str]) -> Result<(), &'static str> {
    let analyze = program("systemd-analyze").ok_or("there is no systemd-analyze")?;
    let folder = tempfile::tempdir().unwrap();
    let start = Unit::parse(text).one("ExecStart").to_owned();
    let told = start.split_whitespace().next().unwrap();
    let there = Cairn::program().display().to_string();
    let unit = write(
        folder.path(),
        "cairn.service",
        &replaced(text, told, &there),
    );
    for (at, drop_in) in drop_ins.iter().enumerate() {
        let name = format!("cairn.service.d/{at}.conf");
        write(folder.path(), &name, drop_in);
    }
    let output = Command::new(&analyze)
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&unit)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // What it has to say of other units of this machine is not about ours.
    let ours: Vec<String> = printed(&output)
        .lines()
        .filter(|line| line.contains("cairn.service"))
        .map(str::to_owned)
        .collect();
    assert!(
        output.status.success() && ours.is_empty(),
        "{}",
        printed(&output)
    );
    succeed(
        Command::new(&analyze)
            .args(["security", "--offline=yes", "--no-pager"])
            .arg(format!("--threshold={EXPOSURE_MAX}"))
            .arg(&unit),
    );
    Ok(())
}

#[test]
fn the_unit_is_correct_and_closed() {
    let text = read("packaging/systemd/cairn.service");
    let credentials = read("packaging/systemd/cairn.service.d/credentials.conf");
    let checked = check_unit(&text, &[]).and_then(|()| check_unit(&text, &[credentials.as_str()]));
    if let Err(reason) = checked {
        skip("unit::the_unit_is_correct_and_closed", reason);
    }
}

/// The system calls that a unit allows.
pub fn allowed_calls(unit: &Unit) -> Result<BTreeSet<String>, &'static str> {
    let analyze = program("systemd-analyze").ok_or("there is no systemd-analyze")?;
    let mut allowed = BTreeSet::new();
    for line in unit.all("SystemCallFilter") {
        let (removed, line) = match line.strip_prefix('~') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        // Whatever the filter, systemd adds what a program needs to begin and to end.
        for name in line
            .split_whitespace()
            .chain((!removed).then_some("@default"))
        {
            for call in members(&analyze, name) {
                if removed {
                    allowed.remove(&call);
                } else {
                    allowed.insert(call);
                }
            }
        }
    }
    Ok(allowed)
}

/// The calls of a set such as `@system-service`, those of sets in it too.
fn members(analyze: &Path, name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let text = succeed(Command::new(analyze).args(["syscall-filter", "--no-pager", name]));
    let lines = text.lines().filter(|line| line.starts_with(' '));
    lines
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| members(analyze, line))
        .collect()
}
