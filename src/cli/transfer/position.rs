//! The file that remembers how far a history was moved, so that the same command goes on there.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::TimestampMs;
use crate::transfer::Position;

/// The file is written so often at most.
const WRITE_EVERY_MS: i64 = 1000;

#[derive(Serialize, Deserialize)]
struct Kept {
    /// What was being moved.
    of: String,
    position: Position,
}

/// Such a file, or none.
pub(super) struct PositionFile {
    path: Option<PathBuf>,
    of: String,
    written: Option<TimestampMs>,
    begun: Position,
}

impl PositionFile {
    /// Reads the file, when there is one already. `of` says what is moved where.
    pub(super) fn open(path: Option<&Path>, of: String) -> Result<Self, String> {
        let mut begun = Position::default();
        if let Some(path) = path {
            match std::fs::read(path) {
                Ok(bytes) => {
                    let kept: Kept = serde_json::from_slice(&bytes)
                        .map_err(|error| format!("{}: no position: {error}", path.display()))?;
                    if kept.of != of {
                        return Err(format!(
                            "{}: it is the position of {}, this is {of}: give another file, or delete this one to begin anew",
                            path.display(),
                            kept.of
                        ));
                    }
                    begun = kept.position;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
        Ok(Self {
            path: path.map(Path::to_owned),
            of,
            written: None,
            begun,
        })
    }

    /// Where to begin.
    pub(super) fn begun(&self) -> Position {
        self.begun.clone()
    }

    /// Notes a position, now and then.
    pub(super) fn note(&mut self, position: Position, now: TimestampMs) -> Result<(), String> {
        if self
            .written
            .is_some_and(|written| now.0.saturating_sub(written.0) < WRITE_EVERY_MS)
        {
            return Ok(());
        }
        self.written = Some(now);
        self.keep(position)
    }

    /// Writes a position: all of it or nothing.
    pub(super) fn keep(&mut self, position: Position) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let kept = Kept {
            of: self.of.clone(),
            position,
        };
        let text = serde_json::to_vec(&kept).map_err(|error| error.to_string())?;
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, path))
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_found_again_and_belongs_to_one_history() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("position");
        let at = |at| Position {
            part: "block".to_owned(),
            slice: 2,
            at,
        };
        let mut file = PositionFile::open(Some(&path), "a to b".to_owned()).unwrap();
        assert_eq!(file.begun(), Position::default());
        file.note(at(7), TimestampMs(0)).unwrap();
        file.note(at(8), TimestampMs(999)).unwrap();
        let again = PositionFile::open(Some(&path), "a to b".to_owned()).unwrap();
        assert_eq!(again.begun(), at(7));
        file.note(at(9), TimestampMs(1000)).unwrap();
        let again = PositionFile::open(Some(&path), "a to b".to_owned()).unwrap();
        assert_eq!(again.begun(), at(9));
        let other = PositionFile::open(Some(&path), "c to b".to_owned());
        assert!(other.is_err_and(|error| error.contains("a to b")));
    }
}
