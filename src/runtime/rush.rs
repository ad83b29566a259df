//! Work that others wait for, and long work that steps aside for it.
//!
//! Whoever does the first kind says so for as long as it wants a processor, not while it waits for
//! a disk or a peer: [`Rush::enter`]. Whoever does the second kind has a [`Pace`], looks at it
//! between two pieces of work, and rests while there is a rush: five times as long as it has worked,
//! so that it takes at most a sixth of one processor. It goes on when the rush is over, and always
//! goes on.
//!
//! There is a rush where half of the processors are wanted: the other half is for everything else.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::cancel::CancelToken;
use super::clock::Clock;
use super::tasks::pause;

/// What is worked without a rest: changing over costs far less.
const PIECE: Duration = Duration::from_millis(5);
/// What a piece counts for at most, however long it was: bounds a rest.
const PIECE_MAX: Duration = Duration::from_millis(25);
/// Rest for each part of work.
const REST: u32 = 5;
/// How often one that rests looks.
const GLANCE: Duration = Duration::from_millis(1);
/// A rush is over when there was none for so many looks: requests of busy senders come a moment
/// after the last one was answered.
const QUIET_GLANCES: u32 = 5;

/// How much of the work that others wait for is under way. Clones are one.
#[derive(Clone, Debug)]
pub struct Rush(Arc<State>);

#[derive(Debug)]
struct State {
    /// So many make a rush.
    crowd: usize,
    under_way: AtomicUsize,
    /// How often one made it a rush: one that came and went is seen later.
    crowded: AtomicU64,
}

/// A piece of work that others wait for, until it is dropped.
#[derive(Debug)]
pub struct Hurrying(Arc<State>);

impl Rush {
    /// On a machine of so many processors.
    #[must_use]
    pub fn new(processors: usize) -> Self {
        Self(Arc::new(State {
            crowd: (processors / 2).max(1),
            under_way: AtomicUsize::new(0),
            crowded: AtomicU64::new(0),
        }))
    }

    /// Work begins that others wait for.
    #[must_use]
    pub fn enter(&self) -> Hurrying {
        let state = &self.0;
        if state.under_way.fetch_add(1, Ordering::Relaxed) + 1 >= state.crowd {
            state.crowded.fetch_add(1, Ordering::Relaxed);
        }
        Hurrying(Arc::clone(state))
    }

    /// Whether there is one now.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) >= self.0.crowd
    }
}

impl Drop for Hurrying {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Long work that steps aside.
pub struct Pace {
    rush: Rush,
    clock: Arc<dyn Clock>,
    /// How often there had been a rush when it was looked at last.
    seen: Cell<u64>,
    /// When it began to work, or has rested last.
    since: Cell<Duration>,
    rested: Cell<Duration>,
}

impl Pace {
    /// Work begins that can wait.
    #[must_use]
    pub fn begin(rush: &Rush, clock: &Arc<dyn Clock>) -> Self {
        Self {
            seen: Cell::new(rush.0.crowded.load(Ordering::Relaxed)),
            since: Cell::new(clock.elapsed()),
            rested: Cell::new(Duration::ZERO),
            rush: rush.clone(),
            clock: Arc::clone(clock),
        }
    }

    /// Whether there is a rush, or was one since this was asked last.
    pub fn is_pressed(&self) -> bool {
        let state = &self.rush.0;
        let crowded = state.crowded.load(Ordering::Relaxed);
        let is_new = self.seen.replace(crowded) != crowded;
        is_new || state.under_way.load(Ordering::Relaxed) >= state.crowd
    }

    /// Work goes on after something else: that was no work.
    pub fn resume(&self) {
        self.since.set(self.clock.elapsed());
    }

    /// Steps aside if it is time to. Whoever is called off is not kept waiting.
    pub fn rest(&self, cancel: &CancelToken) {
        let worked = self.clock.elapsed().saturating_sub(self.since.get());
        if worked < PIECE || is_simulated() {
            return;
        }
        let glances = worked.min(PIECE_MAX).as_millis() * u128::from(REST);
        let mut quiet = 0;
        for _ in 0..glances {
            if quiet >= QUIET_GLANCES || cancel.check().is_err() {
                break;
            }
            pause(GLANCE);
            self.rested.set(self.rested.get() + GLANCE);
            quiet = if self.is_pressed() { 0 } else { quiet + 1 };
        }
        self.resume();
    }

    /// How long it has rested in all.
    #[must_use]
    pub fn rested(&self) -> Duration {
        self.rested.get()
    }
}

/// A rest is bound to the real time, which no seed knows.
fn is_simulated() -> bool {
    #[cfg(test)]
    if super::turns::is_simulated() {
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::runtime::ManualClock;

    fn rested(pace: &Pace, cancel: &CancelToken) -> u128 {
        let before = pace.rested();
        pace.rest(cancel);
        (pace.rested() - before).as_millis()
    }

    #[test]
    fn who_can_wait_rests_while_there_is_a_rush_and_goes_on() {
        let manual = Arc::new(ManualClock::at(TimestampMs(0)));
        let clock: Arc<dyn Clock> = manual.clone();
        let (rush, cancel) = (Rush::new(4), CancelToken::new());
        let pace = Pace::begin(&rush, &clock);
        // One of four processors is no rush, two are.
        let one = rush.enter();
        assert!(!pace.is_pressed());
        let other = rush.enter();
        assert!(pace.is_pressed() && pace.is_pressed());
        // No rest before there was work; then a bounded one, however long that was.
        assert_eq!(rested(&pace, &cancel), 0);
        manual.advance(Duration::from_millis(10));
        assert_eq!(rested(&pace, &cancel), 50);
        assert_eq!(rested(&pace, &cancel), 0);
        manual.advance(Duration::from_secs(10));
        assert_eq!(rested(&pace, &cancel), 125);
        // What came and went is seen once.
        drop((one, other));
        assert!(!pace.is_pressed());
        let pair = (rush.enter(), rush.enter());
        drop(pair);
        assert!(pace.is_pressed() && !pace.is_pressed());
        // It ends early when the rush does, and at once for who is called off.
        manual.advance(Duration::from_secs(1));
        assert_eq!(rested(&pace, &cancel), u128::from(QUIET_GLANCES));
        manual.advance(Duration::from_secs(1));
        cancel.cancel();
        assert_eq!(rested(&pace, &cancel), 0);
    }
}
