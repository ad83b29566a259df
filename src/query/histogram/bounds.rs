//! Where buckets begin and end.

use crate::model::SCHEMA_CUSTOM;

/// The upper bound of the bucket with an index; the lower one of the bucket after it.
pub(super) fn upper_bound(index: i32, schema: i32, custom_values: &[f64]) -> f64 {
    if schema == SCHEMA_CUSTOM {
        return match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(at) => custom_values.get(at).copied().unwrap_or(f64::INFINITY),
        };
    }
    exponential_bound(index, schema)
}

/// `2^(index / 2^schema)`, but for the last bucket with finite numbers: it ends at the largest of
/// them, and the bucket after it holds the infinite.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    if schema < 0 {
        let exponent = i64::from(index) << (-schema).clamp(0, 31);
        return match exponent {
            1024 => f64::MAX,
            _ => power_of_two(exponent),
        };
    }
    let schema = schema.min(30);
    let parts = 1_i32 << schema;
    let part = index & (parts - 1);
    let exponent = i64::from(index >> schema);
    match (part, exponent) {
        (0, 1024) => f64::MAX,
        (0, _) => power_of_two(exponent),
        _ => {
            let fraction = (f64::from(part) / f64::from(parts)).exp2();
            // Below 1 until the power is applied, so that only the end can overflow.
            fraction / 2.0 * power_of_two(exponent + 1)
        }
    }
}

fn power_of_two(exponent: i64) -> f64 {
    let exponent = i32::try_from(exponent.clamp(-1_100, 1_100)).unwrap_or(0);
    2f64.powi(exponent)
}

/// The index of the bucket of a coarser schema that holds a bucket.
pub(super) const fn coarser(index: i32, from: i32, to: i32) -> i32 {
    ((index - 1) >> (from - to)) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_schema() {
        for (index, schema, want) in [
            (0, 0, 1.0),
            (1, 0, 2.0),
            (-1, 0, 0.5),
            (1, 1, std::f64::consts::SQRT_2),
            (3, 2, 1.681_792_830_507_429),
            (1, -1, 4.0),
            (1, -4, 65_536.0),
            (1024, 0, f64::MAX),
            (1025, 0, f64::INFINITY),
            (64, -4, f64::MAX),
            (65, -4, f64::INFINITY),
            (-1073, 0, 2f64.powi(-1073)),
        ] {
            let got = exponential_bound(index, schema);
            assert!(
                got == want || (got - want).abs() <= 1e-15 * want,
                "{index} {schema}: {got} instead of {want}"
            );
        }
        let custom = [1.0, 5.0];
        let bound = |index| upper_bound(index, SCHEMA_CUSTOM, &custom);
        assert_eq!(
            [bound(-1), bound(0), bound(1), bound(2)],
            [f64::NEG_INFINITY, 1.0, 5.0, f64::INFINITY]
        );
    }

    #[test]
    fn two_buckets_of_a_schema_are_one_of_the_next() {
        let got: Vec<i32> = (-3..=4).map(|index| coarser(index, 1, 0)).collect();
        assert_eq!(got, [-1, -1, 0, 0, 1, 1, 2, 2]);
    }
}
