//! How a configuration can be wrong.

use std::path::PathBuf;

use super::Origin;

/// A configuration that cannot be used; each text names the key, where it stands and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}; check the path and its permissions, or leave --config away", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{path}: is not valid TOML: {message}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Place and reason.
        message: String,
    },
    /// A key that nobody knows.
    #[error("{origin}: unknown key {key:?}{}", suggestion.as_ref().map_or_else(
        || "; docs/reference/configuration.md lists all keys".to_owned(),
        |name| format!(": did you mean {name:?}?")
    ))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The nearest one that there is.
        suggestion: Option<String>,
    },
    /// A key of something that this version does not do yet.
    #[error("{origin}: {key:?} belongs to {what}, which this version does not have yet: remove it")]
    NotYet {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// What will bring it.
        what: &'static str,
    },
    /// A key that earlier versions had.
    #[error("{origin}: {key:?} is not a key any more: {instead}: remove it")]
    Gone {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// What is in its place.
        instead: &'static str,
    },
    /// A value that cannot be read, or is out of bounds.
    #[error("{origin}: {key}: {message}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// What is wrong and what to write.
        message: String,
    },
}
