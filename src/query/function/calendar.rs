//! Calendar functions: UTC, proleptic Gregorian, seconds since the epoch in.

const DAY_S: i128 = 86_400;
/// Go counts seconds from 292277022400 years before the March that begins the year 0, in 64 bits:
/// the few numbers before that wrap around, NaN's among them (`whole_seconds`), and Prometheus with
/// them. 719162 days are from the year 1 to 1970, 306 from March to the end of the year 0.
const GO_BEGINS_S: i128 = -(292_277_022_400 / 400 * 146_097 + 306 + 719_162) * DAY_S;

/// A time split into its parts.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    second_of_day: i64,
    weekday: i64,
}

/// Splits whole seconds since the epoch.
#[allow(
    clippy::cast_possible_truncation,
    reason = "an i64 of seconds is below 3e11 years; all parts of it fit into i64"
)]
fn civil(seconds: i64) -> Civil {
    let mut seconds = i128::from(seconds);
    if seconds < GO_BEGINS_S {
        seconds += 1 << 64;
    }
    let day = seconds.div_euclid(DAY_S);
    // Years begin in March here, so that the leap day is the last of its year: day 0 is
    // 0000-03-01, 719468 days before 1970-01-01. 400 years are 146097 days.
    let since_march = day + 719_468;
    let (era, in_era) = (
        since_march.div_euclid(146_097),
        since_march.rem_euclid(146_097),
    );
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let day_of_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, twice and a bit: 153 days each five.
    let month_of_year = (5 * day_of_year + 2) / 153;
    let month = if month_of_year < 10 {
        month_of_year + 3
    } else {
        month_of_year - 9
    };
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    let (month, year) = (month as i64, year as i64);
    let day_of_month = (day_of_year - (153 * month_of_year + 2) / 5 + 1) as i64;
    Civil {
        year,
        month,
        day: day_of_month,
        day_of_year: days_before(year, month) + day_of_month,
        second_of_day: seconds.rem_euclid(DAY_S) as i64,
        // 1970-01-01 was a Thursday; Sunday is 0.
        weekday: (day + 4).rem_euclid(7) as i64,
    }
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_before(year: i64, month: i64) -> i64 {
    (1..month).map(|month| month_length(year, month)).sum()
}

/// Whole seconds of a sample, towards zero. What does not fit (NaN too) becomes the lowest
/// number, as on the machines that Prometheus mostly runs on.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the cut is meant, and the bounds are checked"
)]
fn whole_seconds(value: f64) -> i64 {
    let limit = 9_223_372_036_854_775_808.0;
    if value >= -limit && value < limit {
        value as i64
    } else {
        i64::MIN
    }
}

pub(super) fn days_in_month(at: f64) -> f64 {
    let civil = civil(whole_seconds(at));
    month_length(civil.year, civil.month) as f64
}

pub(super) fn day_of_month(at: f64) -> f64 {
    civil(whole_seconds(at)).day as f64
}

pub(super) fn day_of_week(at: f64) -> f64 {
    civil(whole_seconds(at)).weekday as f64
}

pub(super) fn day_of_year(at: f64) -> f64 {
    civil(whole_seconds(at)).day_of_year as f64
}

pub(super) fn hour(at: f64) -> f64 {
    (civil(whole_seconds(at)).second_of_day / 3600) as f64
}

pub(super) fn minute(at: f64) -> f64 {
    (civil(whole_seconds(at)).second_of_day / 60 % 60) as f64
}

pub(super) fn month(at: f64) -> f64 {
    civil(whole_seconds(at)).month as f64
}

pub(super) fn year(at: f64) -> f64 {
    civil(whole_seconds(at)).year as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_split() {
        // seconds; year month day weekday day-of-year hour minute days-in-month
        for (at, want) in [
            (0.0, [1970, 1, 1, 4, 1, 0, 0, 31]),
            (-1.0, [1969, 12, 31, 3, 365, 23, 59, 31]),
            (1_456_704_000.0, [2016, 2, 29, 1, 60, 0, 0, 29]),
            (1_456_790_399.9, [2016, 2, 29, 1, 60, 23, 59, 29]),
            (1_672_531_199.0, [2022, 12, 31, 6, 365, 23, 59, 31]),
            (1_709_164_800.0 - 86_400.0, [2024, 2, 28, 3, 59, 0, 0, 29]),
            (951_825_600.0, [2000, 2, 29, 2, 60, 12, 0, 29]),
            (4_107_542_400.0, [2100, 3, 1, 1, 60, 0, 0, 31]),
            (-62_135_596_800.0, [1, 1, 1, 1, 1, 0, 0, 31]),
        ] {
            let got = [
                year(at),
                month(at),
                day_of_month(at),
                day_of_week(at),
                day_of_year(at),
                hour(at),
                minute(at),
                days_in_month(at),
            ];
            assert_eq!(got, want.map(f64::from), "{at}");
        }
    }

    #[test]
    fn what_is_no_time_is_one_far_away() {
        for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            let got = [
                year(none),
                month(none),
                day_of_month(none),
                hour(none),
                minute(none),
            ];
            assert_eq!(got, [292_277_026_596.0, 12.0, 4.0, 15.0, 30.0], "{none}");
        }
        // The first second that Go knows, and the one before it.
        let (first, before) = (-9_223_372_028_741_760_000, -9_223_372_028_741_760_001);
        assert_eq!(i128::from(first), GO_BEGINS_S);
        assert!(civil(first).year < 0 && civil(before).year > 0);
    }

    #[test]
    fn days_follow_each_other() {
        let mut before = civil(-800_000 * 86_400);
        for day in -799_999..800_000 {
            let now = civil(day * 86_400);
            let next = match (
                before.day == month_length(before.year, before.month),
                before.month == 12,
            ) {
                (false, _) => (before.year, before.month, before.day + 1),
                (true, false) => (before.year, before.month + 1, 1),
                (true, true) => (before.year + 1, 1, 1),
            };
            assert_eq!((now.year, now.month, now.day), next);
            before = now;
        }
    }
}
