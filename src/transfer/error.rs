//! How moving history fails: each says where in the foreign data, and what to try.

use std::io;
use std::path::{Path, PathBuf};

/// Why history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refuses.
    #[error("{}: cannot be {doing}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// "read" or "written".
        doing: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// The bytes are not what the format says.
    #[error("{place}: {problem}")]
    Malformed {
        /// Where: file, and line or position.
        place: String,
        /// What is wrong, and what to try.
        problem: String,
    },
}

impl Error {
    pub(super) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::File {
            path: path.to_owned(),
            doing: "read",
            source,
        }
    }

    pub(super) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::File {
            path: path.to_owned(),
            doing: "written",
            source,
        }
    }

    pub(super) fn malformed(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed {
            place: place.into(),
            problem: problem.into(),
        }
    }
}
