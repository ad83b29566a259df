//! Threads that help with a query while processors are idle.
//!
//! What a query reads may come in pieces that are evaluated side by side (`exec/apart.rs`). Its own
//! thread takes part in that; helpers are hired for a moment, from as many as there are other
//! processors, by all queries together. They help those that are short: while writes want the
//! processors, and once a query has become long (`lanes.rs`), its own thread goes on alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::lanes::LONG_TIME;
use crate::runtime::{Clock, Rush};

/// The helpers of a node.
pub(super) struct Crew {
    clock: Arc<dyn Clock>,
    rush: Rush,
    idle: AtomicUsize,
}

/// What a query has of them.
#[derive(Clone, Copy)]
pub(super) struct Help<'a> {
    helpers: &'a Crew,
    /// When the query is long.
    until: Duration,
}

/// Helpers that are hired, let go when dropped.
pub(super) struct Hired<'a> {
    helpers: &'a Crew,
    count: usize,
}

impl Crew {
    /// On a machine with so many processors, on which there may be a rush.
    pub(super) fn new(clock: Arc<dyn Clock>, processors: usize, rush: Rush) -> Self {
        Self {
            clock,
            rush,
            idle: AtomicUsize::new(processors.saturating_sub(1)),
        }
    }

    /// A query begins.
    pub(super) fn begin(&self) -> Help<'_> {
        Help {
            helpers: self,
            until: self.clock.elapsed().saturating_add(LONG_TIME),
        }
    }
}

impl<'a> Help<'a> {
    /// Whether helpers may take one more piece.
    pub(super) fn is_welcome(&self) -> bool {
        !self.helpers.rush.is_on() && self.helpers.clock.elapsed() < self.until
    }

    /// As many helpers as are idle, at most so many.
    pub(super) fn hire(&self, most: usize) -> Hired<'a> {
        let helpers = self.helpers;
        let mut count = 0;
        if self.is_welcome() {
            let take = |idle: usize| {
                count = idle.min(most);
                Some(idle - count)
            };
            let _ = helpers
                .idle
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        }
        Hired { helpers, count }
    }
}

impl Hired<'_> {
    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Hired<'_> {
    fn drop(&mut self) {
        self.helpers.idle.fetch_add(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::runtime::ManualClock;

    #[test]
    fn idle_processors_help_short_queries_while_nobody_writes() {
        let clock = Arc::new(ManualClock::at(TimestampMs(0)));
        let rush = Rush::new(4);
        let helpers = Crew::new(clock.clone(), 4, rush.clone());
        let help = helpers.begin();
        let first = help.hire(2);
        let second = help.hire(2);
        assert_eq!(
            (first.count(), second.count(), help.hire(2).count()),
            (2, 1, 0)
        );
        drop(first);
        let writing = [rush.enter(), rush.enter()];
        assert_eq!(help.hire(2).count(), 0);
        drop(writing);
        assert_eq!(help.hire(1).count(), 1);
        clock.advance(LONG_TIME);
        assert_eq!(help.hire(2).count(), 0);
        drop(second);
        assert_eq!(helpers.begin().hire(9).count(), 3);
    }
}
