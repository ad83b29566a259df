//! The disk watermark: writes stop, with a reason, before the disk is full, and go on by
//! themselves when there is room again.
//!
//! Two bounds apart from each other keep it from flapping. Below both lies a reserve file, given
//! up when somebody else fills the disk all the same.
//!
//! Not here: who asks, how often, and what is deleted to make room.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::settings::DiskSettings;
use crate::runtime::ByteSize;

/// Writes begin again when this share of the bound (an eighth) is free on top of it.
const HYSTERESIS_PART: u64 = 8;

/// Watches the disk under a directory.
#[derive(Debug)]
pub struct Watermark {
    directory: PathBuf,
    reserve: PathBuf,
    settings: DiskSettings,
    low: bool,
    reserve_held: bool,
}

/// What the disk's state asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskState {
    /// Bytes that may still be written.
    pub free: u64,
    /// Why writes must be refused, if they must.
    pub refuse: Option<String>,
}

impl Watermark {
    /// Begins to watch, and makes the reserve if there is room for it.
    #[must_use]
    pub fn new(directory: &Path, settings: DiskSettings) -> Self {
        let reserve = directory.join("reserve");
        let reserve_held = reserve.exists();
        Self {
            directory: directory.to_owned(),
            reserve,
            settings,
            low: false,
            reserve_held,
        }
    }

    /// Looks at the disk.
    ///
    /// # Errors
    /// When the system does not say how much is free.
    pub fn check(&mut self) -> Result<DiskState, Error> {
        let free = free_bytes(&self.directory).map_err(Error::io("measure", &self.directory))?;
        self.keep_reserve(free);
        Ok(self.judge(free))
    }

    /// Decides from the bytes that are free. At most one line of log a change.
    fn judge(&mut self, free: u64) -> DiskState {
        let min = self.settings.min_free.0;
        let enough = min.saturating_add(min / HYSTERESIS_PART);
        let was_low = self.low;
        self.low = if was_low { free < enough } else { free < min };
        if self.low && !was_low {
            tracing::warn!(
                free,
                min_free = min,
                "the disk is nearly full: writes are refused"
            );
        } else if was_low && !self.low {
            tracing::info!(free, "the disk has room again: writes are taken");
        }
        let refuse = self.low.then(|| {
            format!(
                "the disk of {} is nearly full: {} MiB are free, and writes begin again at {} MiB (disk.min_free is {}): free some space, lower retention.total or retention.local_size, or add a larger disk",
                self.directory.display(),
                free >> 20,
                enough.div_ceil(1 << 20),
                self.settings.min_free,
            )
        });
        DiskState { free, refuse }
    }

    /// Gives the reserve up when nearly nothing is free, and makes it again when there is room.
    fn keep_reserve(&mut self, free: u64) {
        let ByteSize(size) = self.settings.reserve;
        let scarce = free < size / 2;
        let plenty = free
            > self
                .settings
                .min_free
                .0
                .saturating_add(size.saturating_mul(2));
        if self.reserve_held && (scarce || size == 0) {
            match fs::remove_file(&self.reserve) {
                Ok(()) => self.reserve_held = false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.reserve_held = false,
                Err(error) => tracing::warn!(%error, "the disk reserve cannot be given up"),
            }
        } else if !self.reserve_held && size > 0 && plenty {
            match make_reserve(&self.reserve, size) {
                Ok(()) => self.reserve_held = true,
                // A file system without fallocate: then there is no reserve, only the bound.
                Err(error) => tracing::debug!(%error, "the disk reserve cannot be made"),
            }
        }
    }
}

fn make_reserve(path: &Path, size: u64) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let made = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size);
    if made.is_err() {
        fs::remove_file(path)?;
    }
    made.map_err(io::Error::from)
}

/// Bytes that this process may still write below a directory.
///
/// # Errors
/// When the system does not say.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(directory)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// All bytes of the disk under a directory.
///
/// # Errors
/// When the system does not say.
pub fn disk_bytes(directory: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(directory)?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn watermark(path: &Path) -> Watermark {
        let settings = DiskSettings {
            min_free: ByteSize::mib(80),
            reserve: ByteSize::mib(4),
        };
        Watermark::new(path, settings)
    }

    #[test]
    fn writes_stop_below_the_bound_and_begin_again_well_above_it() {
        let root = tempfile::tempdir().unwrap();
        let mut watermark = watermark(root.path());
        let mut refused = |mib: u64| watermark.judge(mib * MIB).refuse;
        assert_eq!(refused(80), None);
        let reason = refused(79).unwrap();
        for part in ["79 MiB", "90 MiB", "80MiB", "retention.total"] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        assert!(refused(89).is_some());
        assert_eq!(refused(90), None);
        assert_eq!(refused(80), None);
    }

    #[test]
    fn the_reserve_is_given_up_last_and_made_again() {
        let root = tempfile::tempdir().unwrap();
        let mut watermark = watermark(root.path());
        let size = || {
            fs::metadata(root.path().join("reserve"))
                .map(|m| m.len())
                .ok()
        };
        watermark.keep_reserve(200 * MIB);
        assert_eq!(size(), Some(4 * MIB));
        watermark.keep_reserve(3 * MIB);
        assert_eq!(size(), Some(4 * MIB));
        watermark.keep_reserve(MIB);
        assert_eq!(size(), None);
        watermark.keep_reserve(80 * MIB);
        assert_eq!(size(), None);
        watermark.keep_reserve(200 * MIB);
        assert_eq!(size(), Some(4 * MIB));
    }

    #[test]
    fn the_system_says_how_much_is_free() {
        let root = tempfile::tempdir().unwrap();
        assert!(watermark(root.path()).check().unwrap().free > 0);
    }
}
