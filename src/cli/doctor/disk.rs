//! The data directory: whose it is, on what it lies, how much is free, how fast it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Finding, Patient};
use crate::cli::graph::bytes;
use crate::runtime::file_system;
use crate::store::{DiskProbe, free_bytes, probe_disk};

/// File systems that forget, or whose commits are no commits.
const FORGETTING: &[&str] = &["tmpfs", "ramfs", "rootfs"];
/// File systems whose commits depend on others: a server, a program.
const REMOTE: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "fuse",
    "fuseblk",
    "fuse.sshfs",
];
/// File systems without a journal or copies: a power cut may take more than the last write.
const FRAGILE: &[&str] = &["vfat", "exfat", "ext2"];

/// Free space beyond `disk.min_free` below which there is little time left: some days of a small board.
const FREE_SOON: u64 = 1 << 30;

/// A commit that takes longer is felt: senders wait for it.
const COMMIT_SLOW_MS: u128 = 50;
/// One that takes longer once in a while stops writes for a moment.
const COMMIT_STALL_MS: u128 = 1_000;
/// Fewer bytes a second make seals and moves slow.
const BYTES_PER_SECOND_MIN: u64 = 5 << 20;

pub(super) fn examine(patient: &Patient) -> Vec<Finding> {
    let directory = &patient.settings.main.data_dir;
    let there = match existing(directory) {
        Ok(there) => there,
        Err(finding) => return vec![*finding],
    };
    let mut findings = vec![whose(directory, &there)];
    if let Some(kind) = file_system(&there) {
        findings.push(on_what(&kind));
    }
    let min_free = patient.settings.disk.min_free.0;
    match free_bytes(&there) {
        Ok(free) => findings.push(space(free, min_free)),
        Err(error) => findings.push(unreadable("disk space", &there, &error)),
    }
    if !patient.measure_disk {
        return findings;
    }
    match probe_disk(&there, &*patient.clock) {
        Ok(probe) => findings.extend(speed(&probe)),
        Err(error) => findings.push(Finding::fail(
            "disk writes",
            format!("{} cannot be written: {error}", there.display()),
            "give the node's user write access to it (sudo -u cairn cairn doctor asks as that user), or choose another data_dir",
        )),
    }
    findings
}

/// The directory, or the nearest above it that exists.
fn existing(directory: &Path) -> Result<PathBuf, Box<Finding>> {
    let above = directory.ancestors().map(|path| {
        if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        }
    });
    for path in above {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Ok(path.to_owned()),
            Ok(_) => {
                return Err(Box::new(Finding::fail(
                    "data directory",
                    format!("{} is a file", path.display()),
                    "choose a directory for data_dir",
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Box::new(unreadable("data directory", path, &error))),
        }
    }
    Ok(PathBuf::from("/"))
}

fn unreadable(check: &'static str, path: &Path, error: &io::Error) -> Finding {
    Finding::fail(
        check,
        format!("{} cannot be looked at: {error}", path.display()),
        "ask as the node's user (sudo -u cairn cairn doctor), or give it access",
    )
}

/// Whether it is a node's already, a new one's, or somebody else's.
fn whose(directory: &Path, there: &Path) -> Finding {
    let shown = directory.display();
    if directory != there && !directory.exists() {
        return Finding::ok(
            "data directory",
            format!("{shown} is made at the first start"),
        );
    }
    if directory.join("identity").exists() {
        return Finding::ok("data directory", format!("{shown} is a node's"));
    }
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return unreadable("data directory", directory, &error),
    };
    let foreign = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let foreign = foreign
        .filter(|name| !crate::store::DataDir::is_harmless(name))
        .min();
    match foreign {
        None => Finding::ok("data directory", format!("{shown} is empty")),
        Some(name) => Finding::fail(
            "data directory",
            format!("{shown} is neither empty nor a node's: it holds {name:?}"),
            "choose an empty directory for data_dir; the file \"identity\" must be there if it was a node's",
        ),
    }
}

fn on_what(kind: &str) -> Finding {
    let said = format!("it lies on {kind}");
    if FORGETTING.contains(&kind) {
        return Finding::fail(
            "file system",
            format!("{said}, which is gone after a restart of the machine"),
            "choose a data_dir on a disk",
        );
    }
    if REMOTE.contains(&kind) {
        return Finding::warn(
            "file system",
            format!("{said}: what a commit promises there is up to another machine or program"),
            "use a local ext4, XFS, Btrfs or ZFS",
        );
    }
    if FRAGILE.contains(&kind) {
        return Finding::warn(
            "file system",
            format!("{said}, which a power cut may damage"),
            "use ext4, XFS, Btrfs or ZFS",
        );
    }
    Finding::ok("file system", said)
}

fn space(free: u64, min_free: u64) -> Finding {
    let said = format!("{} are free", bytes(free as f64));
    if free < min_free {
        return Finding::fail(
            "disk space",
            format!(
                "{said}, and below {} (disk.min_free) writes are refused",
                bytes(min_free as f64)
            ),
            "free some space, or set retention.local_size or retention.total",
        );
    }
    if free < min_free.saturating_add(FREE_SOON) {
        return Finding::warn(
            "disk space",
            format!(
                "{said}; below {} (disk.min_free) writes are refused",
                bytes(min_free as f64)
            ),
            "set retention.local_size so that blocks leave room",
        );
    }
    Finding::ok("disk space", said)
}

fn speed(probe: &DiskProbe) -> Vec<Finding> {
    let (median, worst) = (probe.commit.as_millis(), probe.commit_worst.as_millis());
    let said = format!(
        "{:.1} ms each (median), {worst} ms at worst",
        probe.commit.as_secs_f64() * 1000.0
    );
    let commits = if median > COMMIT_SLOW_MS || worst > COMMIT_STALL_MS {
        Finding::warn(
            "disk commits",
            said,
            "every write waits for one: use a better card or disk, or log.sync = \"interval\", which may lose what came in the last log.sync_interval when the power goes",
        )
    } else {
        Finding::ok("disk commits", said)
    };
    let said = format!("{}/s in a row", bytes(probe.bytes_per_second as f64));
    let row = if probe.bytes_per_second < BYTES_PER_SECOND_MIN {
        Finding::warn(
            "disk writes",
            said,
            "seals and moves will be slow: is something else writing, or is the card worn out?",
        )
    } else {
        Finding::ok("disk writes", said)
    };
    vec![commits, row]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::State;
    use super::*;

    #[test]
    fn file_systems_are_judged_by_what_a_commit_is_there() {
        for (kind, state) in [
            ("ext4", State::Ok),
            ("zfs", State::Ok),
            ("tmpfs", State::Fail),
            ("nfs4", State::Warn),
            ("vfat", State::Warn),
        ] {
            assert_eq!(on_what(kind).state, state, "{kind}");
        }
    }

    #[test]
    fn space_is_judged_by_the_bound_of_writes() {
        let (mib, gib) = (1u64 << 20, 1u64 << 30);
        for (free, state) in [
            (100 * mib, State::Fail),
            (600 * mib, State::Warn),
            (4 * gib, State::Ok),
        ] {
            let found = space(free, 256 * mib);
            assert_eq!(found.state, state, "{found:?}");
            assert_eq!(found.remedy.is_empty(), state == State::Ok);
        }
    }

    #[test]
    fn slow_commits_and_slow_writes_are_named() {
        let probe = |commit, worst, bytes_per_second| {
            let probe = DiskProbe {
                commit: Duration::from_millis(commit),
                commit_worst: Duration::from_millis(worst),
                bytes_per_second,
            };
            speed(&probe).iter().map(|f| f.state).collect::<Vec<_>>()
        };
        assert_eq!(probe(3, 20, 100 << 20), [State::Ok, State::Ok]);
        assert_eq!(probe(80, 90, 100 << 20), [State::Warn, State::Ok]);
        assert_eq!(probe(3, 1500, 100 << 20), [State::Warn, State::Ok]);
        assert_eq!(probe(3, 20, 1 << 20), [State::Ok, State::Warn]);
    }

    #[test]
    fn a_directory_is_new_a_nodes_or_somebodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let judge = |directory: &Path| whose(directory, &existing(directory).unwrap());
        assert!(judge(path).said.ends_with("is empty"));
        assert!(
            judge(&path.join("a/b"))
                .said
                .ends_with("at the first start")
        );
        fs::write(path.join("letters.txt"), "").unwrap();
        let foreign = judge(path);
        assert!(foreign.state == State::Fail && foreign.said.contains("letters.txt"));
        fs::write(path.join("identity"), "").unwrap();
        assert_eq!(judge(path).state, State::Ok);
        assert!(existing(&path.join("letters.txt/x")).is_err());
    }
}
