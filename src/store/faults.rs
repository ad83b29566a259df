//! For tests: the process "dies" at the n-th of its steps, or finds another file than it wrote.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;

use super::error::Error;

/// Counts steps, and fails at one of them and at all that follow.
#[derive(Default)]
pub(crate) struct Faults {
    /// 0: never; n: the n-th step from now fails; negative: everything fails.
    left: AtomicI64,
    died_at: Mutex<Option<&'static str>>,
    /// Whether the next block that is read back is another one by then.
    tampers: AtomicBool,
}

impl Faults {
    /// Lets the n-th step from now be the last (1: the next).
    pub(crate) fn die_at(&self, step: i64) {
        self.left.store(step, Ordering::SeqCst);
    }

    /// At which step it died.
    pub(crate) fn died_at(&self) -> Option<&'static str> {
        *self.died_at.lock()
    }

    /// Lets the next block that is read back be another one.
    pub(crate) fn tamper_next(&self) {
        self.tampers.store(true, Ordering::SeqCst);
    }

    /// Whether no block was read back since.
    pub(crate) fn tampers(&self) -> bool {
        self.tampers.load(Ordering::SeqCst)
    }

    pub(super) fn tamper(&self, path: &Path) -> Result<(), Error> {
        if self.tampers.swap(false, Ordering::SeqCst) {
            let mut bytes = fs::read(path).map_err(Error::io("read", path))?;
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 4;
            }
            fs::write(path, bytes).map_err(Error::io("write", path))?;
        }
        Ok(())
    }

    pub(super) fn reach(&self, step: &'static str) -> Result<(), Error> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(());
        }
        if left == 1 {
            self.died_at.lock().get_or_insert(step);
            self.left.store(-1, Ordering::SeqCst);
        } else if left > 1 {
            self.left.store(left - 1, Ordering::SeqCst);
            return Ok(());
        }
        Err(Error::Unavailable(format!("dead at {step:?}, for a test")))
    }
}
