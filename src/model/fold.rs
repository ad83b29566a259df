//! What is left of samples that downsampling took out: numbers about them, kept beside the sample
//! that follows them.
//!
//! Time is cut into intervals of a resolution, open at their start and closed at their end as PromQL's
//! ranges are. Of an interval the last sample stays; its *fold* says what the others were. So a fold never
//! counts its own sample, and what an interval came to is the sample and its fold together.
//!
//! ▲ What lies before a folded sample in its interval is *covered*: the fold stands for it. A sample that
//! comes in there later was counted already, as far as anybody can know (a member that was away brings
//! back what others have folded long ago), and goes (`Samples::merge`).

use std::fmt;

/// How far apart the samples are that stay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Resolution {
    /// As they were written.
    #[default]
    Raw,
    /// One in five minutes.
    FiveMinutes,
    /// One in an hour.
    Hour,
}

impl Resolution {
    /// Those that samples can be folded to, the finest first.
    pub const FOLDED: [Self; 2] = [Self::FiveMinutes, Self::Hour];

    /// The one with the longest intervals.
    pub const COARSEST: Self = Self::Hour;

    /// The length of an interval in milliseconds; 0 where there are none.
    #[must_use]
    pub const fn ms(self) -> i64 {
        match self {
            Self::Raw => 0,
            Self::FiveMinutes => 300_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The number that formats have for it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::FiveMinutes => 1,
            Self::Hour => 2,
        }
    }

    /// The one of a number.
    #[must_use]
    pub const fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::FiveMinutes),
            2 => Some(Self::Hour),
            _ => None,
        }
    }

    /// The last moment before the interval that a moment (in milliseconds) lies in.
    #[must_use]
    pub const fn before_interval(self, at: i64) -> i64 {
        let ms = self.ms();
        if ms == 0 {
            return at.saturating_sub(1);
        }
        at.saturating_sub(1).div_euclid(ms).saturating_mul(ms)
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        })
    }
}

/// The samples that a kept one stands for beside itself: those of its interval before it, at least one,
/// stale markers not counted.
#[derive(Clone, Copy, Debug)]
pub struct Fold {
    /// Of the interval; never [`Resolution::Raw`].
    pub resolution: Resolution,
    /// How many there are.
    pub count: u32,
    /// Their sum.
    pub sum: f64,
    /// The smallest; NaN only where all are.
    pub min: f64,
    /// The largest, likewise.
    pub max: f64,
    /// Of a series that looks like a counter.
    pub counter: Option<CounterFold>,
}

/// What rates need to know of folded samples.
#[derive(Clone, Copy, Debug)]
pub struct CounterFold {
    /// By so many milliseconds the first of them is older than the kept sample.
    pub first_before_ms: u32,
    /// The first of them.
    pub first: f64,
    /// The sum of the values before each fall, from the first of them to the kept sample.
    pub lost: f64,
}

impl Fold {
    /// Its fields in order, numbers big-endian and floats as their bits: what is hashed and compared.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        out.push(self.resolution.code());
        out.extend_from_slice(&self.count.to_be_bytes());
        for value in [self.sum, self.min, self.max] {
            out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        if let Some(counter) = &self.counter {
            out.extend_from_slice(&counter.first_before_ms.to_be_bytes());
            for value in [counter.first, counter.lost] {
                out.extend_from_slice(&value.to_bits().to_be_bytes());
            }
        }
    }

    /// Which of two folds of one sample is shown, the same on every node: the coarser, then the one of
    /// more samples, then the larger canonical form.
    #[must_use]
    pub fn settled(self, other: Self) -> Self {
        let key = |fold: &Self| {
            let mut bytes = Vec::new();
            fold.canonical(&mut bytes);
            (fold.resolution, fold.count, bytes)
        };
        if key(&self) >= key(&other) {
            self
        } else {
            other
        }
    }
}

/// Equal to the bit.
impl PartialEq for Fold {
    fn eq(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        self.canonical(&mut ours);
        other.canonical(&mut theirs);
        ours == theirs
    }
}

/// The smaller of two, or the larger: a NaN only stays until another value comes, as PromQL has it.
#[must_use]
pub fn extreme(best: f64, value: f64, beats: bool) -> f64 {
    if beats || best.is_nan() { value } else { best }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_open_at_their_start_and_closed_at_their_end() {
        let five = Resolution::FiveMinutes;
        for (at, before) in [
            (1, 0),
            (300_000, 0),
            (300_001, 300_000),
            (0, -300_000),
            (-299_999, -300_000),
        ] {
            assert_eq!(five.before_interval(at), before, "{at}");
        }
        assert_eq!(Resolution::Hour.before_interval(7_200_000), 3_600_000);
        assert!(five.before_interval(i64::MIN) <= i64::MIN + 300_000);
        for one in [Resolution::Raw, Resolution::FiveMinutes, Resolution::Hour] {
            assert_eq!(Resolution::of_code(one.code()), Some(one));
        }
        assert_eq!(Resolution::of_code(3), None);
    }
}
