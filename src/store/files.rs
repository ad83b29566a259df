//! Small things about files that several parts do alike.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::error::Error;

/// Removes a file; that it is not there is as good.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
