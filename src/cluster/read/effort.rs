//! What a read for a peer has cost so far: a long one stands back while writes want the processors.

use std::sync::Arc;
use std::time::Duration;

use crate::runtime::{CancelToken, Clock, Pace, Rush};

/// What has taken longer is no panel's.
const LONG_TIME: Duration = Duration::from_millis(100);

/// One read, which works in pieces; between them it waits for its reader.
pub(super) struct Effort {
    pace: Pace,
    clock: Arc<dyn Clock>,
    resumed: Duration,
    spent: Duration,
}

impl Effort {
    /// Nothing yet.
    pub(super) fn new(rush: &Rush, clock: &Arc<dyn Clock>) -> Self {
        Self {
            pace: Pace::begin(rush, clock),
            clock: Arc::clone(clock),
            resumed: Duration::ZERO,
            spent: Duration::ZERO,
        }
    }

    /// A piece begins.
    pub(super) fn resume(&mut self) {
        self.resumed = self.clock.elapsed();
        self.pace.resume();
    }

    /// A piece has ended.
    pub(super) fn pause(&mut self) {
        self.spent += self.clock.elapsed().saturating_sub(self.resumed);
    }

    /// To be asked between series.
    pub(super) fn look(&self, cancel: &CancelToken) {
        if self.spent >= LONG_TIME && self.pace.is_pressed() {
            self.pace.rest(cancel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::runtime::ManualClock;

    #[test]
    fn only_long_reads_stand_back() {
        let manual = Arc::new(ManualClock::at(TimestampMs(0)));
        let clock: Arc<dyn Clock> = manual.clone();
        let (rush, cancel) = (Rush::new(2), CancelToken::new());
        let _writing = rush.enter();
        let mut effort = Effort::new(&rush, &clock);
        effort.resume();
        manual.advance(LONG_TIME);
        effort.look(&cancel);
        assert!(effort.pace.rested().is_zero());
        effort.pause();
        // Its reader takes its time.
        manual.advance(LONG_TIME);
        effort.resume();
        effort.look(&cancel);
        assert!(effort.pace.rested().is_zero());
        manual.advance(LONG_TIME / 10);
        effort.look(&cancel);
        assert!(!effort.pace.rested().is_zero());
    }
}
