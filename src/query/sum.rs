//! Summing without losing the small ones.

/// Kahan's sum with Neumaier's improvement, step by step as Prometheus' `kahansum`: an infinite
/// sum forgets the compensation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Neumaier {
    /// The sum so far, rounded at each step.
    pub sum: f64,
    /// What rounding has lost of it.
    pub lost: f64,
}

impl Neumaier {
    /// Starts from a value.
    #[must_use]
    pub const fn from_value(value: f64) -> Self {
        Self {
            sum: value,
            lost: 0.0,
        }
    }

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// The sum with what was lost, also where it is infinite.
    #[must_use]
    pub fn plain_total(&self) -> f64 {
        self.sum + self.lost
    }

    /// The sum with what was lost; an infinite sum alone.
    #[must_use]
    pub fn total(&self) -> f64 {
        if self.sum.is_infinite() {
            self.sum
        } else {
            self.plain_total()
        }
    }
}

/// The mean as Prometheus 3 has it (`avg` and `avg_over_time`): the compensated sum divided at
/// the end, and a running mean from the value on at which the sum would overflow.
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    count: f64,
    running: bool,
    sum: Neumaier,
}

impl Mean {
    /// The mean of one value.
    #[must_use]
    pub const fn from_value(value: f64) -> Self {
        Self {
            count: 1.0,
            running: false,
            sum: Neumaier::from_value(value),
        }
    }

    /// Takes another value in.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.running {
            let mut sum = self.sum;
            sum.add(value);
            if !sum.sum.is_infinite() {
                self.sum = sum;
                return;
            }
            self.running = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.lost /= self.count - 1.0;
        }
        let keep = (self.count - 1.0) / self.count;
        let mut mean = Neumaier {
            sum: keep * self.sum.sum,
            lost: keep * self.sum.lost,
        };
        mean.add(value / self.count);
        self.sum = mean;
    }

    /// The mean of all values.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.running {
            self.sum.plain_total()
        } else {
            self.sum.sum / self.count + self.sum.lost / self.count
        }
    }
}

/// The variance as Prometheus has it (`stdvar` and `stdvar_over_time`): Welford's with both sums
/// compensated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variance {
    count: f64,
    mean: Neumaier,
    squares: Neumaier,
}

impl Variance {
    /// Takes a value in.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        let distance = value - self.mean.plain_total();
        self.mean.add(distance / self.count);
        self.squares
            .add(distance * (value - self.mean.plain_total()));
    }

    /// The population variance of all values; NaN for none.
    #[must_use]
    pub fn variance(&self) -> f64 {
        self.squares.plain_total() / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_are_not_lost() {
        let mut sum = Neumaier::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
        let mut sum = Neumaier::default();
        for value in [f64::INFINITY, 1.0] {
            sum.add(value);
        }
        assert_eq!(sum.total(), f64::INFINITY);
    }

    #[test]
    fn a_mean_does_not_overflow() {
        let mut mean = Mean::from_value(9.988_465_674_311_5e307);
        mean.add(9.988_465_674_311_5e307);
        mean.add(9.988_465_674_311_5e307);
        assert_eq!(mean.mean(), 9.988_465_674_311_5e307);
        let mut mean = Mean::from_value(-5e-324);
        mean.add(5e-324);
        assert_eq!(mean.mean(), 0.0);
    }

    #[test]
    fn the_variance_survives_large_offsets() {
        let mut variance = Variance::default();
        for value in [1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0] {
            variance.add(value);
        }
        assert!((variance.variance() - 2.0 / 3.0).abs() < 1e-12);
    }
}
