//! How long a question took when it was last asked. A dashboard asks the same ones again and again, so that those are
//! known that are over before another thread would have been woken for them.
//!
//! What a processor that sleeps takes to wake is 20 us on a machine of one's own and 100 to 300 us on a virtual one; a
//! question that is handed to another thread pays for it twice.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Questions that are remembered, the latest of those that share a place: 32 KiB.
const PLACES: usize = 4096;

/// What takes longer gains nothing worth mentioning by being answered where it is asked: two wakes are some hundredths of it.
const SHORT: Duration = Duration::from_millis(8);

/// Bits of a place that hold microseconds, 16 s at most; those above say which question it is.
const MICROS_BITS: u32 = 24;
const MICROS_MAX: u64 = (1 << MICROS_BITS) - 1;

/// What questions took. Clones are the same.
#[derive(Clone, Debug)]
pub struct Durations {
    places: Arc<[AtomicU64]>,
    keys: RandomState,
}

/// One question, without the time at which it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(u64);

impl Default for Durations {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            keys: RandomState::new(),
        }
    }
}

impl Durations {
    /// Which question this is.
    pub(super) fn asked(&self, question: &impl Hash) -> Asked {
        Asked(self.keys.hash_one(question))
    }

    /// Whether it is known, and was short each of the last times.
    pub(super) fn is_short(&self, asked: Asked) -> bool {
        self.last(asked).is_some_and(|last| last <= SHORT)
    }

    /// It took so long. What was once long has to be short for a while before it counts as such.
    pub(super) fn note(&self, asked: Asked, took: Duration) {
        let before = self.last(asked).unwrap_or_default();
        let held = took.max(before / 2);
        let micros = u64::try_from(held.as_micros()).unwrap_or(MICROS_MAX);
        if let Some(place) = self.place(asked) {
            let tag = asked.0 >> MICROS_BITS << MICROS_BITS;
            place.store(tag | micros.clamp(1, MICROS_MAX), Ordering::Relaxed);
        }
    }

    fn last(&self, asked: Asked) -> Option<Duration> {
        let held = self.place(asked)?.load(Ordering::Relaxed);
        let is_it = held & MICROS_MAX > 0 && held >> MICROS_BITS == asked.0 >> MICROS_BITS;
        is_it.then(|| Duration::from_micros(held & MICROS_MAX))
    }

    fn place(&self, asked: Asked) -> Option<&AtomicU64> {
        let places = self.places.len() as u64;
        let at = asked.0.checked_rem(places)?;
        self.places.get(usize::try_from(at).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a question that was never asked and is taken for short, one that is taken for another, and a long
    /// one that was short once.
    #[test]
    fn what_was_short_each_of_the_last_times_is_short() {
        let durations = Durations::default();
        let [short, long] = ["up", "heavy"].map(|one| durations.asked(&one));
        assert!(!durations.is_short(short));
        durations.note(short, Duration::from_micros(300));
        assert!(durations.is_short(short));
        // The same place, another question.
        let other = Asked(short.0 ^ 1 << 60);
        assert!(!durations.is_short(other));
        durations.note(other, Duration::ZERO);
        assert!(durations.is_short(other) && !durations.is_short(short));

        durations.note(long, Duration::from_secs(60));
        assert_eq!(
            durations.last(long),
            Some(Duration::from_micros(MICROS_MAX))
        );
        durations.note(long, Duration::from_millis(1));
        assert!(!durations.is_short(long));
        for _ in 0..20 {
            durations.note(long, Duration::from_millis(1));
        }
        assert!(durations.is_short(long));
        durations.note(long, Duration::from_millis(9));
        assert!(!durations.is_short(long));
    }
}
