//! Guessing the next number of a column, so that only the residual has to be written.
//!
//! All arithmetic wraps: any number comes back. A path begins at 0 (its origin is stored apart),
//! so there is one residual less than rows. What a predictor does is part of the format.

/// How the next number is guessed. The ids are part of the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) enum Kind {
    /// 0: `centre`.
    Level,
    /// 1: the last number and `centre`.
    Delta,
    /// 2: the last number and the last difference (at first `centre`).
    Delta2,
    /// 3: a slow mean of the numbers, `centre` at first.
    MeanLevel,
    /// 4: the last number and a slow mean of the differences, `centre` at first.
    MeanDelta,
}

impl Kind {
    /// All of them, by id.
    pub(super) const ALL: [Self; 5] = [
        Self::Level,
        Self::Delta,
        Self::Delta2,
        Self::MeanLevel,
        Self::MeanDelta,
    ];

    /// The number in the format.
    pub(super) fn id(self) -> u8 {
        match self {
            Self::Level => 0,
            Self::Delta => 1,
            Self::Delta2 => 2,
            Self::MeanLevel => 3,
            Self::MeanDelta => 4,
        }
    }
}

/// A predictor with its one parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Predictor {
    pub(super) kind: Kind,
    pub(super) centre: i64,
}

/// A slow mean moves by this part (a shift) of the surprise: 1/16.
const SLOWNESS: u32 = 4;

trait Guess {
    fn guess(&self) -> i64;
    fn learn(&mut self, number: i64);
}

struct Level(i64);

impl Guess for Level {
    fn guess(&self) -> i64 {
        self.0
    }
    fn learn(&mut self, _: i64) {}
}

struct Delta {
    last: i64,
    centre: i64,
}

impl Guess for Delta {
    fn guess(&self) -> i64 {
        self.last.wrapping_add(self.centre)
    }
    fn learn(&mut self, number: i64) {
        self.last = number;
    }
}

struct Delta2 {
    last: i64,
    difference: i64,
}

impl Guess for Delta2 {
    fn guess(&self) -> i64 {
        self.last.wrapping_add(self.difference)
    }
    fn learn(&mut self, number: i64) {
        self.difference = number.wrapping_sub(self.last);
        self.last = number;
    }
}

/// The mean times 2^SLOWNESS.
struct Mean(i64);

impl Mean {
    fn new(value: i64) -> Self {
        Self(value.wrapping_shl(SLOWNESS))
    }
    fn get(&self) -> i64 {
        self.0.wrapping_add(1 << (SLOWNESS - 1)) >> SLOWNESS
    }
    fn learn(&mut self, value: i64) {
        self.0 = self.0.wrapping_add(value.wrapping_sub(self.get()));
    }
}

struct MeanLevel(Mean);

impl Guess for MeanLevel {
    fn guess(&self) -> i64 {
        self.0.get()
    }
    fn learn(&mut self, number: i64) {
        self.0.learn(number);
    }
}

struct MeanDelta {
    last: i64,
    mean: Mean,
}

impl Guess for MeanDelta {
    fn guess(&self) -> i64 {
        self.last.wrapping_add(self.mean.get())
    }
    fn learn(&mut self, number: i64) {
        self.mean.learn(number.wrapping_sub(self.last));
        self.last = number;
    }
}

/// What each guess missed by; `out` is cleared first.
pub(super) fn residuals(predictor: Predictor, path: &[i64], out: &mut Vec<i64>) {
    fn run(mut by: impl Guess, path: &[i64], out: &mut Vec<i64>) {
        out.clear();
        out.extend(path.iter().skip(1).map(|number| {
            let residual = number.wrapping_sub(by.guess());
            by.learn(*number);
            residual
        }));
    }
    let Predictor { kind, centre } = predictor;
    match kind {
        Kind::Level => run(Level(centre), path, out),
        Kind::Delta => run(Delta { last: 0, centre }, path, out),
        Kind::Delta2 => run(delta2(centre), path, out),
        Kind::MeanLevel => run(MeanLevel(Mean::new(centre)), path, out),
        Kind::MeanDelta => run(mean_delta(centre), path, out),
    }
}

/// The path again, in place: residuals become numbers. The 0 it begins with is not in it.
pub(super) fn restore(predictor: Predictor, residuals: &mut [i64]) {
    fn run(mut by: impl Guess, residuals: &mut [i64]) {
        for residual in residuals {
            *residual = residual.wrapping_add(by.guess());
            by.learn(*residual);
        }
    }
    let Predictor { kind, centre } = predictor;
    match kind {
        Kind::Level => run(Level(centre), residuals),
        Kind::Delta => run(Delta { last: 0, centre }, residuals),
        Kind::Delta2 => run(delta2(centre), residuals),
        Kind::MeanLevel => run(MeanLevel(Mean::new(centre)), residuals),
        Kind::MeanDelta => run(mean_delta(centre), residuals),
    }
}

fn delta2(centre: i64) -> Delta2 {
    Delta2 {
        last: 0,
        difference: centre,
    }
}

fn mean_delta(centre: i64) -> MeanDelta {
    MeanDelta {
        last: 0,
        mean: Mean::new(centre),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_foreseen_costs_nothing() {
        let check = |kind, centre, path: &[i64]| {
            let mut out = Vec::new();
            residuals(Predictor { kind, centre }, path, &mut out);
            assert!(
                out.iter().all(|residual| *residual == 0),
                "{kind:?} {out:?}"
            );
        };
        check(Kind::Level, 7, &[0, 7, 7, 7]);
        check(Kind::Delta, 3, &[0, 3, 6, 9]);
        check(Kind::Delta2, 5, &[0, 5, 10, 15]);
        check(Kind::MeanLevel, 4, &[0, 4, 4]);
        check(Kind::MeanDelta, -4, &[0, -4, -8]);
    }

    proptest! {
        #[test]
        fn any_path_comes_back(centre: i64, mut path: Vec<i64>) {
            path.insert(0, 0);
            for kind in Kind::ALL {
                let predictor = Predictor { kind, centre };
                let mut out = Vec::new();
                residuals(predictor, &path, &mut out);
                restore(predictor, &mut out);
                prop_assert_eq!(&out[..], &path[1..]);
            }
        }
    }
}
