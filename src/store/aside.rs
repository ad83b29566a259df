//! A data directory that its cluster takes no more is set aside, and begun anew in its place.
//!
//! Everything in it moves into the folder `old-<incarnation>` beside what comes next, where it
//! stays until a person deletes it. The identity moves first: a crash in between leaves a directory
//! that is nobody's, and the next start moves the rest, instead of one that still says who it is
//! and has forgotten what it acknowledged.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::model::Incarnation;

/// How the folders begin that hold what was set aside.
const PREFIX: &str = "old-";
/// Is in such a folder until everything has moved there.
const UNFINISHED: &str = "still moving";

/// Whether something of this name was set aside.
pub(super) fn is_aside(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Moves what a directory holds, but for the files in `stays`, into a folder in it.
pub(super) fn set_aside(
    path: &Path,
    incarnation: Incarnation,
    identity: &str,
    stays: &[&str],
) -> Result<PathBuf, Error> {
    let aside = path.join(format!("{PREFIX}{incarnation}"));
    fs::create_dir_all(&aside).map_err(Error::io("make", &aside))?;
    let mark = aside.join(UNFINISHED);
    File::create(&mark)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("write", &mark))?;
    sync(&aside)?;
    sync(path)?;
    move_to(&path.join(identity), &aside)?;
    sync(&aside)?;
    sync(path)?;
    finish(path, stays)?;
    Ok(aside)
}

/// Goes on where [`set_aside`] was interrupted; for directories without identity only.
pub(super) fn finish(path: &Path, stays: &[&str]) -> Result<(), Error> {
    let Some(aside) = names(path)?
        .into_iter()
        .filter(|name| is_aside(name))
        .map(|name| path.join(name))
        .find(|folder| folder.join(UNFINISHED).exists())
    else {
        return Ok(());
    };
    for name in names(path)? {
        if !is_aside(&name) && !stays.contains(&name.as_str()) {
            move_to(&path.join(name), &aside)?;
        }
    }
    sync(&aside)?;
    sync(path)?;
    let mark = aside.join(UNFINISHED);
    fs::remove_file(&mark).map_err(Error::io("delete", &mark))?;
    sync(&aside)
}

fn names(path: &Path) -> Result<Vec<String>, Error> {
    let listing = fs::read_dir(path).map_err(Error::io("list", path))?;
    let name = |entry: io::Result<fs::DirEntry>| {
        let name = entry.map_err(Error::io("list", path))?.file_name();
        Ok(name.to_string_lossy().into_owned())
    };
    listing.map(name).collect()
}

fn move_to(what: &Path, folder: &Path) -> Result<(), Error> {
    let Some(name) = what.file_name() else {
        return Ok(());
    };
    fs::rename(what, folder.join(name)).map_err(|error| {
        Error::Unavailable(format!(
            "{} cannot be moved into {}, where what this node held is set aside: {error}; move everything in the data directory elsewhere yourself, and start again",
            what.display(),
            folder.display()
        ))
    })
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("sync", path))
}
