//! How far the storage's clock is from this node's, by the `Date` of its answers. Requests are
//! signed with the time and refused when it is more than a quarter of an hour off, and what the
//! storage says then does not always say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use object_store::client::HttpResponse;

use crate::runtime::Clock;

/// Storages refuse requests beyond this.
pub(super) const OFF_S_MAX: i64 = 15 * 60;

/// How far this node's clock was ahead of the storage's at its last answer. Clones are the same.
#[derive(Clone)]
pub(super) struct ClockWatch {
    clock: Arc<dyn Clock>,
    off_s: Arc<AtomicI64>,
}

impl ClockWatch {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            off_s: Arc::default(),
        }
    }

    /// In seconds; negative: behind.
    pub(super) fn seconds(&self) -> i64 {
        self.off_s.load(Ordering::Relaxed)
    }

    /// Takes notice of an answer.
    pub(super) fn look(&self, response: &HttpResponse) {
        let date = response.headers().get("date");
        let theirs = date.and_then(|date| date.to_str().ok()).and_then(unix_s);
        if let Some(theirs) = theirs {
            let mine = self.clock.now().0.div_euclid(1000);
            self.off_s.store(mine - theirs, Ordering::Relaxed);
        }
    }
}

/// The time of a `Date` header.
fn unix_s(date: &str) -> Option<i64> {
    let at = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(at.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_time() {
        assert_eq!(unix_s("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_s("yesterday"), None);
    }
}
