//! The time of day in a simulation: what all nodes share, and what one of them believes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::TimestampMs;
use crate::runtime::Clock;

/// Where the time of day begins: 2023-11-14, at the start of a window.
pub(super) const BEGIN: i64 = 1_699_999_200_000;

/// How time goes by for all nodes: with the runtime's, or so many times as fast from some moment on.
pub(super) struct Pace {
    since: tokio::time::Instant,
    before: Duration,
    times: u32,
}

impl Pace {
    pub(super) fn begin() -> Self {
        Self {
            since: tokio::time::Instant::now(),
            before: Duration::ZERO,
            times: 1,
        }
    }

    /// Since the beginning.
    pub(super) fn passed(&self) -> Duration {
        self.before + self.since.elapsed() * self.times
    }

    /// From now on it goes so many times as fast.
    pub(super) fn set(&mut self, times: u32) {
        *self = Self {
            before: self.passed(),
            since: tokio::time::Instant::now(),
            times,
        };
    }
}

/// The time of day that all nodes share, as far as their clocks are right, and one node's error.
pub(super) struct Day {
    pub(super) pace: Arc<Mutex<Pace>>,
    /// How far the day has been moved on.
    pub(super) moved_ms: Arc<AtomicI64>,
    pub(super) wrong_ms: AtomicI64,
}

impl Day {
    pub(super) fn of(pace: &Arc<Mutex<Pace>>, moved_ms: &Arc<AtomicI64>) -> Arc<Self> {
        Arc::new(Self {
            pace: Arc::clone(pace),
            moved_ms: Arc::clone(moved_ms),
            wrong_ms: AtomicI64::new(0),
        })
    }

    fn passed(&self) -> Duration {
        self.pace.lock().passed()
    }
}

/// A clock within the simulation.
pub(super) struct SimClock {
    day: Arc<Day>,
    opened: Duration,
}

impl SimClock {
    pub(super) fn new(day: &Arc<Day>) -> Self {
        Self {
            day: Arc::clone(day),
            opened: day.passed(),
        }
    }
}

impl Clock for SimClock {
    fn now(&self) -> TimestampMs {
        let passed = i64::try_from(self.day.passed().as_millis()).unwrap();
        let moved = self.day.moved_ms.load(Ordering::SeqCst);
        TimestampMs(BEGIN + passed + moved + self.day.wrong_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        self.day.passed() - self.opened
    }
}
