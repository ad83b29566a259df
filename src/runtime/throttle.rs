//! So many bytes a second, for work that must leave room for other work.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::tasks::pause;

/// What was not used may be used later, up to so much.
const SAVED: Duration = Duration::from_millis(250);

/// Lets its users through at a rate, all together. It bounds threads, not tasks: it blocks.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: u64,
    /// When what was taken so far will have been used up.
    paid: Mutex<Instant>,
}

impl Throttle {
    /// So many bytes a second; 0: as many as there are.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "a rate is bound to the time that passes"
    )]
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            paid: Mutex::new(Instant::now()),
        }
    }

    /// Takes some bytes, and waits until they may be used.
    #[allow(
        clippy::disallowed_methods,
        reason = "a rate is bound to the time that passes"
    )]
    pub fn take(&self, bytes: u64) {
        if self.bytes_per_second == 0 {
            return;
        }
        #[cfg(test)]
        if super::turns::is_simulated() {
            // A rate is bound to the real time, which no seed knows.
            return;
        }
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let wait = {
            let mut paid = self.paid.lock();
            let now = Instant::now();
            let earliest = now.checked_sub(SAVED).unwrap_or(now);
            *paid = (*paid).max(earliest) + cost;
            paid.saturating_duration_since(now)
        };
        if !wait.is_zero() {
            pause(wait);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a rate is tested against time")]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_and_none_is_none() {
        let begun = Instant::now();
        let throttle = Throttle::new(1 << 20);
        (0..8).for_each(|_| throttle.take(64 << 10));
        // Half a mebibyte, of which a quarter was saved.
        assert!(begun.elapsed() >= Duration::from_millis(240));
        let begun = Instant::now();
        Throttle::new(0).take(u64::MAX);
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}
