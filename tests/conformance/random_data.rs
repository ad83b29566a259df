//! Series with everything that makes PromQL difficult: resets, gaps, stale markers, NaN and
//! infinities, jitter, series that begin late and end early, label sets that only partly match.
//! The same on every machine.

use cairn::model::stale_nan;

use super::random_query::Dice;

/// When the data begin; their samples lie 15 s apart.
pub const BEGIN_MS: i64 = 1_700_000_000_000;
/// How long they last.
pub const LENGTH_MS: i64 = 40 * 60_000;

/// A series: labels, and times with values.
pub type Series = (Vec<(String, String)>, Vec<(i64, f64)>);

fn labels(name: &str, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = pairs
        .iter()
        .chain([&("__name__", name)])
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    all.sort();
    all
}

/// Times 15 s apart, some a little off, with gaps and stale markers.
fn times(dice: &mut Dice, jitter: bool, gaps: bool) -> Vec<(i64, bool)> {
    let mut all = Vec::new();
    let first = if gaps { dice.below(40) } else { 0 };
    let last = if gaps { 161 - dice.below(40) } else { 161 };
    let mut quiet = 0;
    for at in first..last {
        if quiet > 0 {
            quiet -= 1;
            continue;
        }
        let off = if jitter { dice.below(400) as i64 } else { 0 };
        let time = BEGIN_MS + at as i64 * 15_000 + off;
        let stale = gaps && dice.one_in(30);
        if stale || gaps && dice.one_in(40) {
            quiet = 1 + dice.below(12);
        }
        all.push((time, stale));
    }
    all
}

fn series(
    dice: &mut Dice,
    labels: Vec<(String, String)>,
    habits: (bool, bool),
    mut value: impl FnMut(&mut Dice) -> f64,
) -> Series {
    let points = times(dice, habits.0, habits.1)
        .into_iter()
        .map(|(time, stale)| {
            let value = value(dice);
            (time, if stale { stale_nan() } else { value })
        })
        .collect();
    (labels, points)
}

fn counter(reset_one_in: usize, scale: f64, fraction: bool) -> impl FnMut(&mut Dice) -> f64 {
    let mut total = 0.0;
    move |dice| {
        if dice.one_in(reset_one_in) {
            total = 0.0;
        }
        let step = dice.unit() * scale;
        total += if fraction { step } else { step.floor() };
        total
    }
}

/// Makes a label set of a name and more labels.
type Of<'a> = dyn Fn(&str, &[(&str, &str)]) -> Vec<(String, String)> + 'a;

/// All series.
pub fn all() -> Vec<Series> {
    let mut dice = Dice(42);
    let dice = &mut dice;
    let mut all = Vec::new();
    for job in ["a", "b", "c"] {
        for instance in ["1", "2", "3"] {
            let of = |name: &str, more: &[(&str, &str)]| {
                let pairs: Vec<(&str, &str)> = [("job", job), ("instance", instance)]
                    .into_iter()
                    .chain(more.iter().copied())
                    .collect();
                labels(name, &pairs)
            };
            let habits = (instance == "2", instance == "3");
            for code in ["200", "404", "500"] {
                all.push(series(
                    dice,
                    of("requests_total", &[("code", code)]),
                    habits,
                    counter(50, 40.0, job == "b"),
                ));
            }
            let mut level = 1e9 * (1.0 + dice.unit());
            all.push(series(dice, of("memory_bytes", &[]), habits, move |dice| {
                level += (dice.unit() - 0.5) * 1e7;
                if dice.one_in(3) { level.floor() } else { level }
            }));
            for room in ["kitchen", "hall"] {
                all.push(series(
                    dice,
                    of("temperature", &[("room", room)]),
                    habits,
                    move |dice| match dice.below(60) {
                        0 => f64::NAN,
                        1 => f64::INFINITY,
                        2 => f64::NEG_INFINITY,
                        3 => 0.0,
                        _ if room == "hall" => (dice.unit() * 4.0).floor(),
                        _ => dice.unit() * 40.0 - 10.0,
                    },
                ));
            }
            all.push(series(dice, of("up", &[]), habits, |dice| {
                f64::from(u8::from(!dice.one_in(10)))
            }));
            all.push(series(
                dice,
                of("mixed", &[("zone", if job == "a" { "z" } else { "" })]),
                habits,
                |dice| [1e300, -1e300, 1e-300, 1e-200, 3.0, -7.25, 1e16, 1.0][dice.below(8)],
            ));
            if instance != "3" {
                histogram(dice, &mut all, &of);
            }
            let version = ["v1", "v2", "v1"][dice.below(3)];
            all.push(series(
                dice,
                of("build_info", &[("version", version)]),
                (false, false),
                |_| 1.0,
            ));
        }
        all.push(series(
            dice,
            labels("capacity", &[("job", job)]),
            (false, false),
            |dice| (dice.unit() * 50.0).round(),
        ));
    }
    all.push((
        labels("sparse", &[("job", "a")]),
        (0..9)
            .map(|at| (BEGIN_MS + at * 290_000, at as f64))
            .collect(),
    ));
    all.push(series(
        dice,
        labels("odd name", &[("odd label", "x"), ("job", "a")]),
        (false, false),
        Dice::unit,
    ));
    all.push(series(
        dice,
        labels("odd name", &[("odd label", "ü\"\\\n"), ("job", "b")]),
        (false, false),
        Dice::unit,
    ));
    all
}

fn histogram(dice: &mut Dice, all: &mut Vec<Series>, of: &Of<'_>) {
    let bounds = ["0.1", "0.5", "1", "2.5", "+Inf"];
    let mut counts = [0.0; 5];
    let mut rows: Vec<Vec<(i64, f64)>> = vec![Vec::new(); 5];
    let (mut sums, mut sum) = (Vec::new(), 0.0);
    for at in 0..161 {
        let time = BEGIN_MS + at * 15_000;
        for _ in 0..dice.below(20) {
            let took = dice.unit().powi(2) * 3.0;
            sum += took;
            for (count, bound) in counts.iter_mut().zip(bounds) {
                if took <= bound.parse().unwrap_or(f64::INFINITY) {
                    *count += 1.0;
                }
            }
        }
        for (row, count) in rows.iter_mut().zip(counts) {
            row.push((time, count));
        }
        sums.push((time, sum));
    }
    let count = rows[4].clone();
    for (bound, row) in bounds.iter().zip(rows) {
        all.push((of("latency_seconds_bucket", &[("le", bound)]), row));
    }
    all.push((of("latency_seconds_sum", &[]), sums));
    all.push((of("latency_seconds_count", &[]), count));
}
