//! A bound on how often something is asked: so many at once, then one every so often.

use std::time::Duration;

/// In any stretch of time T at most `at_once` + T / `every` asks go out.
#[derive(Debug)]
pub(super) struct Allowance {
    every: Duration,
    /// How far the schedule may run ahead of the clock.
    ahead: Duration,
    /// When the next one would be due if they were spread evenly.
    due: Duration,
}

impl Allowance {
    pub(super) fn new(at_once: u32, every: Duration) -> Self {
        Self {
            every,
            ahead: every.saturating_mul(at_once.saturating_sub(1)),
            due: Duration::ZERO,
        }
    }

    /// Takes one place; gives how long to wait until its turn.
    pub(super) fn take(&mut self, now: Duration) -> Duration {
        let due = self.due.max(now);
        self.due = due.saturating_add(self.every);
        due.saturating_sub(now).saturating_sub(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_and_then_one_at_a_time() {
        let mut allowance = Allowance::new(3, Duration::from_secs(10));
        let mut now = Duration::from_secs(1000);
        let mut sent = Vec::new();
        for _ in 0..8 {
            now += allowance.take(now);
            sent.push(now.as_secs() - 1000);
        }
        assert_eq!(sent, [0, 0, 0, 10, 20, 30, 40, 50]);
        now += Duration::from_secs(25);
        let waits: Vec<u64> = (0..4).map(|_| allowance.take(now).as_secs()).collect();
        assert_eq!(
            waits,
            [0, 0, 5, 15],
            "unused turns come back, three at most"
        );
    }
}
