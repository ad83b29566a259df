//! How long to wait before trying again.

use std::time::Duration;

use super::Chance;

/// Pauses that double from a first to a longest one, each drawn between its half and its whole,
/// so that many who failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The pause after one more failure.
    pub fn pause(&mut self, chance: &dyn Chance) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2);
        jittered(pause, chance)
    }

    /// It worked: the next failure is the first again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A duration between the half and the whole of `duration`.
pub fn jittered(duration: Duration, chance: &dyn Chance) -> Duration {
    let half = duration / 2;
    let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
    half + Duration::from_micros(chance.below(micros.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SeededChance;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again() {
        let chance = SeededChance::new(7);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for whole in [1, 2, 4, 5, 5] {
            let whole = Duration::from_secs(whole);
            let pause = backoff.pause(&chance);
            assert!(
                pause >= whole / 2 && pause <= whole,
                "{pause:?} of {whole:?}"
            );
        }
        backoff.reset();
        assert!(backoff.pause(&chance) <= Duration::from_secs(1));
    }
}
