//! How a disk behaves under the work that the log gives it: small commits, and bytes in a row. For
//! `cairn doctor`; a node measures itself while it works.
//!
//! Not a benchmark of the disk: it writes little, so as not to wear flash, and a cache in the device
//! answers for some of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::runtime::Clock;

/// The file that is written; it is taken away again.
pub(super) const FILE: &str = "doctor.probe";

/// Commits that are timed: enough for a median and a rough worst.
const COMMITS: usize = 32;
/// Bytes of each: about a request of a small scrape.
const COMMIT_BYTES: usize = 4 << 10;
/// Bytes in a row, and in one write.
const ROW_BYTES: usize = 16 << 20;
const WRITE_BYTES: usize = 1 << 20;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskProbe {
    /// The median time of a small write with `fdatasync`.
    pub commit: Duration,
    /// The worst one.
    pub commit_worst: Duration,
    /// Bytes a second, in a row, made durable at the end.
    pub bytes_per_second: u64,
}

/// Writes some 16 MiB below a directory and takes them away again.
///
/// # Errors
/// When nothing can be written there.
pub fn probe_disk(directory: &Path, clock: &dyn Clock) -> io::Result<DiskProbe> {
    let path = directory.join(FILE);
    let outcome = measure(&path, clock);
    let gone = fs::remove_file(&path);
    let probe = outcome?;
    gone?;
    Ok(probe)
}

fn measure(path: &Path, clock: &dyn Clock) -> io::Result<DiskProbe> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let begun = clock.elapsed();
    let piece = vec![0xa5; WRITE_BYTES];
    for _ in 0..ROW_BYTES / WRITE_BYTES {
        file.write_all(&piece)?;
    }
    file.sync_data()?;
    let took = clock.elapsed().saturating_sub(begun);
    let nanos = took.as_nanos().max(1);
    let bytes_per_second = ROW_BYTES as u128 * 1_000_000_000 / nanos;

    let mut commits = (0..COMMITS)
        .map(|_| commit(&mut file, clock))
        .collect::<io::Result<Vec<Duration>>>()?;
    commits.sort_unstable();
    Ok(DiskProbe {
        commit: commits.get(COMMITS / 2).copied().unwrap_or_default(),
        commit_worst: commits.last().copied().unwrap_or_default(),
        bytes_per_second: u64::try_from(bytes_per_second).unwrap_or(u64::MAX),
    })
}

/// One small write and its commit.
fn commit(file: &mut File, clock: &dyn Clock) -> io::Result<Duration> {
    let begun = clock.elapsed();
    file.write_all(&[0x5a; COMMIT_BYTES])?;
    file.sync_data()?;
    Ok(clock.elapsed().saturating_sub(begun))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SystemClock;

    #[test]
    fn a_disk_is_measured_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let probe = probe_disk(folder.path(), &SystemClock::new()).unwrap();
        assert!(probe.commit > Duration::ZERO && probe.commit <= probe.commit_worst);
        assert!(probe.bytes_per_second > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(probe_disk(&folder.path().join("nowhere"), &SystemClock::new()).is_err());
    }
}
