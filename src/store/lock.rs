//! The data directory: who may use it, and whose it is.
//!
//! A lock on the file `lock` keeps a second process out; the file holds the process id of the
//! holder, for people. The file `identity` is written once, with the directory, and carries the
//! incarnation: a node is its data directory. Files that are not Cairn's are never touched: a
//! directory that holds some and no identity is refused.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aside;
use super::error::Error;
use super::log::{DirDisk, LogDisk};
use crate::model::Incarnation;
use crate::runtime::Chance;

const LOCK_FILE: &str = "lock";
const IDENTITY_FILE: &str = "identity";
const IDENTITY_NEW: &str = "identity.new";

/// What may lie in a directory that nobody has used yet: what a file system puts there, and what
/// a first start that was killed leaves behind.
const HARMLESS: [&str; 5] = [
    "lost+found",
    LOCK_FILE,
    IDENTITY_NEW,
    ".snapshots",
    super::probe::FILE,
];

/// The first line of `identity`.
const IDENTITY_HEADER: &str = "cairn data directory 1";

/// An identity file is two short lines; more is not ours.
const IDENTITY_BYTES_MAX: u64 = 4096;

/// A locked data directory. The lock goes when this does, or when the process ends however it may.
pub struct DataDir {
    path: PathBuf,
    incarnation: Incarnation,
    new: bool,
    _lock: File,
    /// The disk of the log, in a simulation.
    #[cfg(test)]
    log: Option<Arc<dyn LogDisk>>,
}

impl fmt::Debug for DataDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataDir")
            .field("path", &self.path)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

impl DataDir {
    /// Makes, locks and identifies a data directory.
    ///
    /// # Errors
    /// When it cannot be written, is in use, or holds what is not Cairn's; the text says what to do.
    pub fn open(path: &Path, chance: &dyn Chance) -> Result<Self, Error> {
        if path.is_file() {
            return Err(Error::Unavailable(format!(
                "the data directory {} is a file: choose a directory with --data-dir",
                path.display()
            )));
        }
        fs::create_dir_all(path).map_err(|error| unusable(path, "cannot be made", &error))?;
        let lock = take_lock(path)?;
        let identity = path.join(IDENTITY_FILE);
        let (incarnation, new) = match fs::metadata(&identity) {
            Ok(_) => (read_identity(&identity)?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                aside::finish(path, &HARMLESS)?;
                refuse_foreign(path)?;
                let incarnation = Incarnation(chance.next_u128());
                write_identity(path, incarnation)?;
                (incarnation, true)
            }
            Err(error) => return Err(Error::io("read", &identity)(error)),
        };
        Ok(Self {
            path: path.to_owned(),
            incarnation,
            new,
            _lock: lock,
            #[cfg(test)]
            log: None,
        })
    }

    /// Sets everything in it aside, in the folder `old-<incarnation>`, and begins anew under
    /// another identity. Nothing in it may be open.
    ///
    /// # Errors
    /// When something cannot be moved; the next [`DataDir::open`] goes on then.
    pub fn set_aside(self, chance: &dyn Chance) -> Result<(Self, PathBuf), Error> {
        let aside = aside::set_aside(&self.path, self.incarnation, IDENTITY_FILE, &HARMLESS)?;
        let incarnation = Incarnation(chance.next_u128());
        write_identity(&self.path, incarnation)?;
        let anew = Self {
            incarnation,
            new: true,
            ..self
        };
        Ok((anew, aside))
    }

    /// Whether a directory is one already.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        path.join(IDENTITY_FILE).is_file()
    }

    /// Whether a file of this name may lie in a directory that is nobody's yet.
    #[must_use]
    pub fn is_harmless(name: &str) -> bool {
        HARMLESS.contains(&name) || aside::is_aside(name)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Makes a folder the data directory of the same node, but for what it holds.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn identify(&self, folder: &Path) -> Result<(), Error> {
        write_identity(folder, self.incarnation)
    }

    /// Where the log's files lie: in the folder `log`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn log_disk(&self) -> Result<Arc<dyn LogDisk>, Error> {
        #[cfg(test)]
        if let Some(disk) = &self.log {
            return Ok(Arc::clone(disk));
        }
        let path = self.path.join("log");
        let disk = DirDisk::new(&path).map_err(Error::io("open", &path))?;
        Ok(Arc::new(disk))
    }

    /// The same directory with another disk for the log.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_log_disk(mut self, disk: Arc<dyn LogDisk>) -> Self {
        self.log = Some(disk);
        self
    }

    /// Whether it was made by this very start.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.new
    }
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::Unavailable(format!(
        "the data directory {} {what}: {error}: give this user write access to it, or choose another with --data-dir",
        path.display()
    ))
}

fn take_lock(path: &Path) -> Result<File, Error> {
    let name = path.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(|error| unusable(path, "cannot be written", &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Unavailable(format!(
                "the data directory {} is in use by {}: stop that process, or choose another directory with --data-dir",
                path.display(),
                holder(&mut file)
            )));
        }
        Err(TryLockError::Error(error)) => {
            return Err(unusable(path, "cannot be locked", &error));
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|error| unusable(path, "cannot be written", &error))?;
    Ok(file)
}

/// Who holds the lock, as far as the file says.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = Read::by_ref(file).take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("the process {pid}"),
        _ => "another process".to_owned(),
    }
}

fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let listing = fs::read_dir(path).map_err(Error::io("list", path))?;
    let mut foreign = None;
    for entry in listing {
        let name = entry.map_err(Error::io("list", path))?.file_name();
        let name = name.to_string_lossy().into_owned();
        let earlier = foreign.as_ref().is_none_or(|other| name < *other);
        if !DataDir::is_harmless(&name) && earlier {
            foreign = Some(name);
        }
    }
    let Some(name) = foreign else {
        return Ok(());
    };
    Err(Error::Unavailable(format!(
        "the data directory {} is neither empty nor Cairn's (it holds {name:?}, but no file \"{IDENTITY_FILE}\"): choose an empty directory with --data-dir, or put back the file if it was lost",
        path.display()
    )))
}

/// Written whole or not at all, and durable before anything else is.
fn write_identity(path: &Path, incarnation: Incarnation) -> Result<(), Error> {
    let (new, name) = (path.join(IDENTITY_NEW), path.join(IDENTITY_FILE));
    let mut file =
        File::create(&new).map_err(|error| unusable(path, "cannot be written", &error))?;
    write!(file, "{IDENTITY_HEADER}\nincarnation {incarnation}\n")
        .and_then(|()| file.sync_all())
        .map_err(|error| unusable(path, "cannot be written", &error))?;
    fs::rename(&new, &name).map_err(Error::io("rename", &new))?;
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("sync", path))
}

fn read_identity(name: &Path) -> Result<Incarnation, Error> {
    let mut text = String::new();
    File::open(name)
        .and_then(|file| file.take(IDENTITY_BYTES_MAX).read_to_string(&mut text))
        .map_err(Error::io("read", name))?;
    let what = || format!("the identity file {}", name.display());
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    if header != IDENTITY_HEADER {
        return Err(Error::corrupt(
            what(),
            format!("it begins with {header:?} instead of {IDENTITY_HEADER:?}"),
        ));
    }
    lines
        .next()
        .and_then(|line| line.strip_prefix("incarnation "))
        .filter(|hex| hex.len() == 32)
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .map(Incarnation)
        .ok_or_else(|| Error::corrupt(what(), "its second line names no incarnation"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SeededChance;

    fn open(path: &Path, seed: u64) -> Result<DataDir, Error> {
        DataDir::open(path, &SeededChance::new(seed))
    }

    #[test]
    fn an_identity_is_a_data_directory() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("not/yet/there");
        let first = open(&path, 1).unwrap();
        assert!(first.is_new());
        let incarnation = first.incarnation();
        drop(first);
        let again = open(&path, 2).unwrap();
        assert_eq!((again.incarnation(), again.is_new()), (incarnation, false));
        let other = open(&root.path().join("other"), 3).unwrap();
        assert_ne!(other.incarnation(), incarnation);
    }

    #[test]
    fn a_directory_in_use_names_its_holder() {
        let root = tempfile::tempdir().unwrap();
        let _held = open(root.path(), 1).unwrap();
        let error = open(root.path(), 1).unwrap_err().to_string();
        let pid = std::process::id().to_string();
        assert!(error.contains(&pid) && error.contains("in use"), "{error}");
        assert!(
            error.contains(&root.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn foreign_files_are_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.tex"), "x").unwrap();
        let error = open(root.path(), 1).unwrap_err().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        fs::remove_file(root.path().join("thesis.tex")).unwrap();
        // What a first start that was killed at any point leaves is no obstacle.
        fs::write(root.path().join(IDENTITY_NEW), "cai").unwrap();
        fs::create_dir(root.path().join("lost+found")).unwrap();
        assert!(open(root.path(), 1).unwrap().is_new());
    }

    /// Would catch a directory that keeps its identity and loses what it acknowledged, and one
    /// that cannot be used any more after a crash in between.
    #[test]
    fn what_is_set_aside_is_whole_and_its_place_is_new_after_a_crash_at_any_step() {
        for crash_after in 0..4 {
            let root = tempfile::tempdir().unwrap();
            let first = open(root.path(), 1).unwrap();
            let old = first.incarnation();
            for folder in ["engine", "log"] {
                fs::create_dir(root.path().join(folder)).unwrap();
                fs::write(root.path().join(folder).join("it"), folder).unwrap();
            }
            let aside = root.path().join(format!("old-{old}"));
            let anew = if crash_after == 0 {
                let (anew, to) = first.set_aside(&SeededChance::new(2)).unwrap();
                assert_eq!(to, aside);
                anew
            } else {
                drop(first);
                // What is left when it ends after so many moves.
                fs::create_dir(&aside).unwrap();
                fs::write(aside.join("still moving"), "").unwrap();
                let moves = [IDENTITY_FILE, "engine", "log"];
                for name in moves.iter().take(crash_after) {
                    fs::rename(root.path().join(name), aside.join(name)).unwrap();
                }
                open(root.path(), 2).unwrap()
            };
            assert!(anew.is_new() && anew.incarnation() != old);
            let incarnation = anew.incarnation();
            drop(anew);
            for folder in ["engine", "log"] {
                assert!(!root.path().join(folder).exists());
                let there = fs::read_to_string(aside.join(folder).join("it")).unwrap();
                assert_eq!(there, folder);
            }
            assert_eq!(read_identity(&aside.join(IDENTITY_FILE)).unwrap(), old);
            assert!(!aside.join("still moving").exists());
            assert_eq!(open(root.path(), 3).unwrap().incarnation(), incarnation);
        }
    }

    #[test]
    fn a_damaged_identity_and_a_file_in_place_of_the_directory_are_named() {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path(), 1).unwrap());
        for damaged in [
            "",
            "cairn data directory 2\n",
            "cairn data directory 1\nincarnation 1\n",
        ] {
            fs::write(root.path().join(IDENTITY_FILE), damaged).unwrap();
            let error = open(root.path(), 1).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = open(&file, 1).unwrap_err().to_string();
        assert!(error.contains("is a file"), "{error}");
    }
}
