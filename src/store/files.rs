//! Small things about files that several parts do alike.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::model::BlockId;

/// Where snapshots lie in a data directory.
pub(super) const SNAPSHOTS: &str = "snapshots";

/// The end of the name of a folder that is not whole yet.
pub(super) const UNFINISHED: &str = ".new";

/// Removes a file; that it is not there is as good.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// What lies in a folder; nothing, when it is not there.
pub(super) fn listed(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    let path = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.map_err(Error::io("list", folder))?;
        Ok(entry.path())
    };
    entries.map(path).collect()
}

/// Removes the folders that a crash left half made in another.
pub(super) fn remove_unfinished(folder: &Path) -> Result<(), Error> {
    for path in listed(folder)? {
        let name = path.file_name().unwrap_or_default();
        if name.to_string_lossy().ends_with(UNFINISHED) {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("sync", folder))
}

/// The block that a file in the staging directory is named by.
pub(super) fn id_of(path: &Path) -> Option<BlockId> {
    let stem = path.file_stem()?.to_str()?;
    u128::from_str_radix(stem, 16).ok().map(BlockId)
}
