//! How the store fails, by what a caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::{BudgetError, Cancelled};
use crate::source::SourceError;

/// A failure of the store. Each names the thing it is about; [`Error::class`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {doing} {path}: {source}: check the disk, its space and its permissions", path = path.display())]
    Io {
        /// The verb: `open`, `read`, `write`, `sync`, ...
        doing: &'static str,
        /// Which file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The key-value engine refused something that is neither damage nor a wrong request.
    #[error("the storage engine cannot {doing}: {message}: check the disk and its space")]
    Engine {
        /// The verb and its object.
        doing: &'static str,
        /// What the engine says.
        message: String,
    },
    /// Bytes on disk are not what was written.
    #[error("{what} is damaged: {problem}: restore it from a replica, the bucket or a backup")]
    Corrupt {
        /// The file, block or record, with the place in it.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something was written by a later version of this program.
    #[error("{what} has format version {found}, this program reads up to {newest}: upgrade it")]
    Version {
        /// The file, block or record.
        what: String,
        /// Its version.
        found: u64,
        /// The latest version that can be read.
        newest: u64,
    },
    /// A bound was reached; `remedy` says which setting or habit moves it.
    #[error("{what} would be {value}, at most {limit} is allowed: {remedy}")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// What it would become.
        value: u64,
        /// The bound.
        limit: u64,
        /// What to try.
        remedy: &'static str,
    },
    /// It cannot be done now but may be later, or after a restart; the text says why.
    #[error("{0}")]
    Unavailable(String),
    /// Called off or out of time.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The query's account is used up.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// Only a mistake in this program leads here.
    #[error("{0}: this is a bug, please report it")]
    Bug(String),
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// Ask for less, or raise the named limit.
    Limit,
    /// Try again later.
    Unavailable,
    /// Take the data from elsewhere.
    Corrupt,
    /// Nobody waits for the answer any more, or it took too long.
    Cancelled,
    /// Report it.
    Bug,
}

impl Error {
    /// Wraps what the operating system said about a path; for `map_err`.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Damage at a named place.
    pub fn corrupt(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Corrupt {
            what: what.into(),
            problem: problem.into(),
        }
    }

    /// What a caller can do about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } | Self::Engine { .. } | Self::Unavailable(_) => ErrorClass::Unavailable,
            Self::Corrupt { .. } | Self::Version { .. } => ErrorClass::Corrupt,
            Self::Limit { .. } | Self::Budget(_) => ErrorClass::Limit,
            Self::Cancelled(_) => ErrorClass::Cancelled,
            Self::Bug(_) => ErrorClass::Bug,
        }
    }
}

/// A query sees of a failed read whether to try again, elsewhere, or with less.
impl From<Error> for SourceError {
    fn from(error: Error) -> Self {
        match error {
            Error::Cancelled(cancelled) => Self::Cancelled(cancelled),
            Error::Budget(budget) => Self::Budget(budget),
            Error::Corrupt { .. } | Error::Version { .. } => Self::Corrupt(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
