//! For tests: the process "dies" at the n-th of its steps.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use super::error::Error;

/// Counts steps, and fails at one of them and at all that follow.
#[derive(Default)]
pub(crate) struct Faults {
    /// 0: never; n: the n-th step from now fails; negative: everything fails.
    left: AtomicI64,
    died_at: Mutex<Option<&'static str>>,
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
