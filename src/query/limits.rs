//! The gate that bounds how many queries run at a time.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::runtime::CancelToken;

use super::error::Error;

/// How often a waiting query looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(50);

/// Lets so many queries through at a time.
#[derive(Debug)]
pub(super) struct Gate {
    most: usize,
    running: Mutex<usize>,
    left: Condvar,
}

/// A place within the gate, given back when dropped.
#[derive(Debug)]
pub(super) struct Pass<'a>(&'a Gate);

impl Gate {
    /// For so many queries; at least one.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            running: Mutex::new(0),
            left: Condvar::new(),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// When the query is called off while it waits.
    pub(super) fn enter(&self, cancel: &CancelToken) -> Result<Pass<'_>, Error> {
        let mut running = self.running.lock();
        while *running >= self.most {
            cancel
                .check()
                .map_err(|why| Error::stopped(why, "query queue"))?;
            self.left.wait_for(&mut running, GLANCE);
        }
        *running += 1;
        Ok(Pass(self))
    }

    /// Queries within the gate.
    pub(super) fn running(&self) -> usize {
        *self.running.lock()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gate_keeps_the_next_one_out_until_it_gives_up() {
        let gate = Gate::new(1);
        let first = gate.enter(&CancelToken::new()).unwrap();
        let hurried = CancelToken::with_timeout(Duration::from_millis(1));
        let error = gate.enter(&hurried).unwrap_err();
        assert_eq!(error.to_string(), "query timed out in query queue");
        drop(first);
        gate.enter(&CancelToken::new()).unwrap();
        assert_eq!(gate.running(), 0);
    }
}
