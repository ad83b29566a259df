//! Long queries take turns, so that short ones and writes find a processor free.
//!
//! A query that has run for a while goes on in one of a few lanes: half as many as there are
//! processors. Where more are long than there are lanes, each gets a slice of time after the other;
//! and while writes want the other half, whoever is in a lane rests most of its time ([`Pace`]).
//! What a query holds in memory it keeps meanwhile; that is bounded for all queries together.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::error::Error;
use crate::runtime::{CancelToken, Clock, Pace, Rush};

/// What takes longer than this is no panel of a dashboard that is usable.
pub(super) const LONG_TIME: Duration = Duration::from_millis(500);

/// The same while writes want the processors: most panels take some ten milliseconds.
const LONG_TIME_PRESSED: Duration = Duration::from_millis(50);

/// A turn in a lane: long against what changing over costs, short against a person's patience.
const SLICE: Duration = Duration::from_millis(200);

/// The clock is read at every so manyth look: there is one for each series.
const LOOKS: u32 = 16;

/// How long one that waits goes without looking whether it was cancelled.
const GLANCE: Duration = Duration::from_millis(50);

/// The lanes of a node.
pub(super) struct Lanes {
    clock: Arc<dyn Clock>,
    rush: Rush,
    most: usize,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    next: u64,
    waiting: VecDeque<u64>,
}

/// One query on its way.
pub(super) struct Turn<'a> {
    lanes: &'a Lanes,
    pace: Pace,
    /// When it began, or its slice.
    since: Cell<Duration>,
    looks: Cell<u32>,
    in_lane: Cell<bool>,
}

impl Lanes {
    /// For a machine with so many processors, on which there may be a rush.
    pub(super) fn new(clock: Arc<dyn Clock>, processors: usize, rush: Rush) -> Self {
        Self {
            clock,
            rush,
            most: (processors / 2).max(1),
            state: Mutex::default(),
            left: Condvar::new(),
        }
    }

    /// A query begins.
    pub(super) fn begin(&self) -> Turn<'_> {
        Turn {
            lanes: self,
            pace: Pace::begin(&self.rush, &self.clock),
            since: Cell::new(self.clock.elapsed()),
            looks: Cell::new(0),
            in_lane: Cell::new(false),
        }
    }

    fn enter(&self, cancel: &CancelToken) -> Result<(), Error> {
        let mut state = self.state.lock();
        let mine = state.next;
        state.next += 1;
        state.waiting.push_back(mine);
        while state.running >= self.most || state.waiting.front() != Some(&mine) {
            if let Err(why) = cancel.check() {
                state.waiting.retain(|one| *one != mine);
                self.left.notify_all();
                return Err(Error::stopped(why, "expression evaluation"));
            }
            self.left.wait_for(&mut state, GLANCE);
        }
        state.waiting.pop_front();
        state.running += 1;
        self.left.notify_all();
        Ok(())
    }

    fn leave(&self) {
        self.state.lock().running -= 1;
        self.left.notify_all();
    }

    fn is_wanted(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }
}

impl Turn<'_> {
    /// To be asked often: waits when it is another's turn, or the writes'.
    pub(super) fn look(&self, cancel: &CancelToken) -> Result<(), Error> {
        let pressed = self.pace.is_pressed();
        let looks = self.looks.get() + 1;
        if looks < LOOKS && !pressed {
            self.looks.set(looks);
            return Ok(());
        }
        self.looks.set(0);
        let now = self.lanes.clock.elapsed();
        let spent = now.saturating_sub(self.since.get());
        if !self.in_lane.get() {
            let allowed = if pressed {
                LONG_TIME_PRESSED
            } else {
                LONG_TIME
            };
            if spent < allowed {
                return Ok(());
            }
            self.enter(cancel)?;
        } else if spent >= SLICE {
            if self.lanes.is_wanted() {
                self.in_lane.set(false);
                self.lanes.leave();
                self.enter(cancel)?;
            } else {
                self.since.set(now);
            }
        }
        if pressed {
            self.pace.rest(cancel);
        }
        Ok(())
    }

    /// How long it has stood back for writes.
    pub(super) fn rested(&self) -> Duration {
        self.pace.rested()
    }

    fn enter(&self, cancel: &CancelToken) -> Result<(), Error> {
        self.lanes.enter(cancel)?;
        self.in_lane.set(true);
        self.since.set(self.lanes.clock.elapsed());
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.in_lane.get() {
            self.lanes.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::model::TimestampMs;
    use crate::runtime::ManualClock;

    fn looks(turn: &Turn<'_>, cancel: &CancelToken) -> Result<(), Error> {
        (0..LOOKS).try_for_each(|_| turn.look(cancel))
    }

    #[test]
    fn long_queries_take_turns_and_short_ones_never_wait() {
        let clock = Arc::new(ManualClock::at(TimestampMs(0)));
        let lanes = Lanes::new(clock.clone(), 3, Rush::new(3));
        let cancel = CancelToken::new();
        let first = lanes.begin();
        looks(&first, &cancel).unwrap();
        assert!(!first.in_lane.get());
        clock.advance(LONG_TIME);
        looks(&first, &cancel).unwrap();
        assert!(first.in_lane.get());
        // Nobody else: it stays, however long it takes.
        clock.advance(SLICE * 3);
        looks(&first, &cancel).unwrap();
        assert!(first.in_lane.get());
        let (inside, done) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let second = lanes.begin();
                clock.advance(LONG_TIME);
                looks(&second, &cancel).unwrap();
                inside.store(true, Ordering::Release);
                while !done.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
            });
            while !lanes.is_wanted() {
                std::thread::yield_now();
            }
            assert!(!inside.load(Ordering::Acquire));
            // A short one passes by.
            looks(&lanes.begin(), &cancel).unwrap();
            // Its slice is over, the other's begins; it waits until that one has ended.
            clock.advance(SLICE);
            scope.spawn(|| {
                while !inside.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                done.store(true, Ordering::Release);
            });
            looks(&first, &cancel).unwrap();
            assert!(inside.load(Ordering::Acquire) && first.in_lane.get());
        });
        // One that waits can be called off, and holds nothing then.
        let called_off = CancelToken::new();
        called_off.cancel();
        let third = lanes.begin();
        clock.advance(LONG_TIME);
        assert!(looks(&third, &called_off).is_err() && !lanes.is_wanted());
        drop((first, third));
        assert_eq!(lanes.state.lock().running, 0);
    }

    #[test]
    fn while_writes_want_the_processors_long_queries_rest_and_short_ones_do_not() {
        let clock = Arc::new(ManualClock::at(TimestampMs(0)));
        let rush = Rush::new(2);
        let lanes = Lanes::new(clock.clone(), 2, rush.clone());
        let cancel = CancelToken::new();
        let long = lanes.begin();
        let writing = rush.enter();
        clock.advance(LONG_TIME_PRESSED / 2);
        long.look(&cancel).unwrap();
        assert!(!long.in_lane.get() && long.rested().is_zero());
        clock.advance(LONG_TIME_PRESSED / 2);
        long.look(&cancel).unwrap();
        assert!(long.in_lane.get() && !long.rested().is_zero());
        // One that is called off meanwhile hears of it at its next check.
        let rested = long.rested();
        clock.advance(SLICE / 4);
        cancel.cancel();
        long.look(&cancel).unwrap();
        assert_eq!(long.rested(), rested);
        // Without writes it is only long after a while.
        drop((long, writing));
        let cancel = CancelToken::new();
        let late = lanes.begin();
        clock.advance(LONG_TIME_PRESSED);
        looks(&late, &cancel).unwrap();
        assert!(!late.in_lane.get());
    }
}
