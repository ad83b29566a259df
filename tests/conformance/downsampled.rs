//! Downsampled samples against the raw ones that they stand for, over queries at random.
//!
//! An answer without a word on a function or a selector must be the raw one. What is said to cut intervals must be
//! that of the whole intervals that end in the range, counted here from the raw samples. All else must be what comes
//! of the samples that are left, and must name function and resolution. A seed that fails is printed.

use std::collections::{BTreeMap, BTreeSet};

use cairn::model::{
    Resolution, Samples, TimeRange, TimestampMs, Value, downsample, is_stale, stale_nan,
};
use cairn::query::{Engine, QueryValue};

use super::engine::{engine, range};
use super::memory::{MemorySource, labels};
use super::random_query::dice::Dice;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// The first moment of a day.
const BEGIN: i64 = 19_675 * 24 * HOUR;
const LEN: i64 = 10 * HOUR;
const LOOKBACK: i64 = 5 * MINUTE;
const SERIES: [&str; 6] = [
    "c{n=\"0\"}",
    "c{n=\"1\"}",
    "g{n=\"0\"}",
    "g{n=\"1\"}",
    "still{n=\"0\"}",
    "rare{n=\"0\"}",
];
/// Functions that know what kept samples stand for.
const KNOWING: [&str; 8] = [
    "avg_over_time",
    "count_over_time",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "sum_over_time",
    "absent_over_time",
];
const RATES: [&str; 3] = ["delta", "increase", "rate"];
/// Functions that do not.
const PLAIN: [&str; 8] = [
    "quantile_over_time(0.7, ",
    "stddev_over_time(",
    "stdvar_over_time(",
    "irate(",
    "idelta(",
    "resets(",
    "changes(",
    "deriv(",
];
const RANGES: [&str; 9] = ["1m", "5m", "7m", "10m", "30m", "1h", "90m", "2h", "3h"];
const STEPS: [i64; 7] = [37_000, 60_000, 150_000, 300_000, 420_000, 1_800_000, HOUR];

/// Counters that begin anew, gauges, what stands still and what is rarely seen: with gaps and stale markers. Whole
/// numbers, so that sums are exact.
fn series(name: &str, dice: &mut Dice) -> Samples {
    let scrape = [15_000, 30_000, 60_000][dice.below(3)];
    let mut samples = Samples::default();
    let (mut at, mut value) = (BEGIN + dice.below(90 * 60) as i64 * 1000, 1000.0);
    let end = BEGIN + LEN - dice.below(90 * 60) as i64 * 1000;
    while at < end {
        let more = dice.below(50) as f64;
        value = match name.as_bytes()[0] {
            b'g' => more - 25.0,
            b's' => 4096.0,
            _ if dice.one_in(400) => more,
            _ => value + more,
        };
        let marker = dice.one_in(150);
        let shown = if marker { stale_nan() } else { value };
        samples.push(TimestampMs(at), Value::Float(shown), TimestampMs(0));
        at += match () {
            () if name.starts_with("rare") => 4 * MINUTE + dice.below(4 * 60_000) as i64,
            () if dice.one_in(200) => dice.below(90 * 60) as i64 * 1000 + 1,
            () if dice.one_in(10) => scrape + dice.below(900) as i64,
            () => scrape,
        };
    }
    samples
}

/// Raw samples and what is left of them, by resolution until when.
struct Case {
    seed: u64,
    parts: Vec<(i64, Resolution)>,
    series: BTreeMap<&'static str, Samples>,
    raw: MemorySource,
    folded: MemorySource,
    /// The samples that are left, without what they stand for.
    kept: MemorySource,
    engine: Engine,
}

fn between(samples: &Samples, after: i64, until: i64) -> Samples {
    let mut part = samples.clone();
    part.clip(TimeRange::new(TimestampMs(after + 1), TimestampMs(until)));
    part
}

impl Case {
    fn new(seed: u64) -> Self {
        const FIVE: Resolution = Resolution::FiveMinutes;
        let mut dice = Dice(seed);
        let parts = match dice.below(4) {
            0 | 1 => vec![(i64::MAX - 1, Resolution::FOLDED[dice.below(2)])],
            2 => vec![(BEGIN + 6 * HOUR, FIVE)],
            _ => vec![
                (BEGIN + 4 * HOUR, Resolution::Hour),
                (BEGIN + 8 * HOUR, FIVE),
            ],
        };
        let mut case = Self {
            seed,
            parts,
            series: BTreeMap::new(),
            raw: MemorySource::default(),
            folded: MemorySource::default(),
            kept: MemorySource::default(),
            engine: engine(&["promql-extended-range-selectors"]),
        };
        for name in SERIES {
            let raw = series(name, &mut dice);
            let (mut folded, mut from) = (Samples::default(), i64::MIN + 1);
            for (until, to) in &case.parts {
                let part = between(&raw, from, *until);
                folded.merge(&downsample(&part, *to).unwrap_or(part));
                from = *until;
            }
            folded.merge(&between(&raw, from, i64::MAX));
            let mut kept = folded.clone();
            kept.folds.clear();
            case.raw.put(labels(name), raw.clone());
            case.folded.put(labels(name), folded);
            case.kept.put(labels(name), kept);
            case.series.insert(name, raw);
        }
        case
    }

    /// The only resolution, if there is one.
    fn only(&self) -> Option<Resolution> {
        self.parts
            .first()
            .filter(|part| part.0 == i64::MAX - 1)
            .map(|part| part.1)
    }

    fn ask(&self, source: &MemorySource, asked: &Asked) -> Answer {
        let query = range(
            &asked.text,
            asked.start,
            asked.start + asked.step * 12,
            asked.step,
        );
        let context = self.engine.context(None);
        let output = self.engine.range(source, &query, &context);
        let output = output.unwrap_or_else(|error| panic!("seed {} {asked:?}: {error}", self.seed));
        let QueryValue::Matrix(series) = output.value else {
            unreachable!()
        };
        let values = series.into_iter().flat_map(|one| {
            let name = one.labels.to_string();
            let points = one.timestamps.into_iter().zip(one.values);
            points
                .map(move |(at, value)| ((name.clone(), at), value))
                .collect::<Vec<_>>()
        });
        Answer {
            values: values.collect(),
            said: format!("{:?}", output.annotations),
        }
    }

    /// The same series at the same times, with the same values to rounding.
    fn same(&self, asked: &Asked, got: &Answer, want: &BTreeMap<(String, i64), f64>) {
        let seed = self.seed;
        let times =
            |values: &BTreeMap<(String, i64), f64>| values.keys().cloned().collect::<BTreeSet<_>>();
        let (ours, theirs) = (times(&got.values), times(want));
        let differ: Vec<_> = ours.symmetric_difference(&theirs).collect();
        assert!(
            differ.is_empty(),
            "seed {seed} {asked:?}: {differ:?} {}",
            got.said
        );
        for (key, want) in want {
            let got_value = got.values[key];
            let off = (got_value - want).abs() / want.abs().max(1e-9);
            let equal = off <= 1e-12 || (want.is_nan() && got_value.is_nan());
            assert!(
                equal,
                "seed {seed} {asked:?} {key:?}: {got_value}, not {want}: {}",
                got.said
            );
        }
    }
}

#[derive(Debug)]
struct Asked {
    text: String,
    start: i64,
    step: i64,
}

struct Answer {
    values: BTreeMap<(String, i64), f64>,
    said: String,
}

impl Answer {
    /// Whether it passes for the raw one.
    fn is_said_to_be_exact(&self) -> bool {
        !["OfSamplesLeft", "CutsIntervals", "BetweenEnds"]
            .iter()
            .any(|word| self.said.contains(word))
    }
}

fn asked(dice: &mut Dice, text: String) -> Asked {
    let at = BEGIN + dice.below(8 * 60) as i64 * MINUTE;
    let start = match dice.below(4) {
        0 => at + dice.below(60_000) as i64,
        1 => at - at % (5 * MINUTE),
        _ => at - at % HOUR,
    };
    let step = STEPS[dice.below(STEPS.len())];
    Asked { text, start, step }
}

/// `offset` and `@`, aligned or not.
fn moved(dice: &mut Dice) -> String {
    let seconds = BEGIN / 1000 + dice.below(9 * 12) as i64 * 300;
    match dice.below(10) {
        0 => " offset 1h".to_owned(),
        1 => " offset 10m".to_owned(),
        2 => " offset -30m".to_owned(),
        3 => " offset -1h".to_owned(),
        4 => " offset 47s".to_owned(),
        5 => format!(" @ {seconds}"),
        6 => format!(" @ {} offset 1h", seconds + 61),
        _ => String::new(),
    }
}

fn metric(dice: &mut Dice) -> String {
    ["c", "g", "still", "rare", "c{n=\"1\"}"][dice.below(5)].to_owned()
}

/// A function over a range; and whether values are whole numbers where samples are.
fn call(dice: &mut Dice) -> (String, bool) {
    let (metric, moved) = (metric(dice), moved(dice));
    let range = dice.of(&RANGES);
    match dice.below(8) {
        0 | 1 => {
            let plain = dice.of(&PLAIN);
            (format!("{plain}{metric}[{range}]{moved})"), false)
        }
        2 | 3 => {
            let rate = dice.of(&RATES);
            (format!("{rate}({metric}[{range}]{moved})"), false)
        }
        4 => {
            let edges = dice.of(&["anchored", "smoothed"]);
            let rate = dice.of(&RATES);
            (format!("{rate}({metric}[{range}] {edges}{moved})"), false)
        }
        _ => {
            let knowing = dice.of(&KNOWING);
            let whole = knowing != "avg_over_time";
            (format!("{knowing}({metric}[{range}]{moved})"), whole)
        }
    }
}

/// A selector, a call, one of them over a subquery, or some of them together.
fn any_query(dice: &mut Dice) -> String {
    let (inner, whole) = match dice.below(3) {
        0 => (format!("{}{}", metric(dice), moved(dice)), true),
        _ => call(dice),
    };
    match dice.below(6) {
        0 | 1 => {
            // Those that jump where values differ by rounding are for whole numbers only.
            let outer = match dice.below(if whole { 9 } else { 6 }) {
                0 => "max_over_time(",
                1 => "min_over_time(",
                2 => "avg_over_time(",
                3 => "count_over_time(",
                4 => "last_over_time(",
                5 => "quantile_over_time(0.3, ",
                6 => "changes(",
                7 => "resets(",
                _ => "increase(",
            };
            let steps = dice.of(&["1h:5m", "2h:10m", "3h:1h", "30m:1m", "1h:7m"]);
            format!("{outer}({inner})[{steps}]{})", moved(dice))
        }
        2 => format!("sum({inner}) + count({inner})"),
        3 => format!("{inner} + on() group_left() max({})", metric(dice)),
        _ => inner,
    }
}

/// Would catch an answer that passes for the raw one and is another.
#[test]
fn what_is_not_said_to_be_otherwise_is_as_if_nothing_had_gone() {
    let (mut exact, mut all) = (0, 0);
    let mut functions = BTreeSet::new();
    for seed in 0..60 {
        let case = Case::new(seed);
        let mut dice = Dice(seed ^ 0xd0);
        for _ in 0..60 {
            let text = any_query(&mut dice);
            let asked = asked(&mut dice, text);
            let got = case.ask(&case.folded, &asked);
            all += 1;
            if got.is_said_to_be_exact() {
                let want = case.ask(&case.raw, &asked);
                case.same(&asked, &got, &want.values);
                if got.said.contains("Downsampled") && !got.values.is_empty() {
                    exact += 1;
                    functions.insert(asked.text.split('(').next().unwrap_or_default().to_owned());
                }
            }
        }
    }
    assert!(exact * 8 > all, "{exact} of {all}");
    for name in KNOWING.iter().chain(&RATES) {
        assert!(
            functions.contains(*name),
            "{name} is never exact: {functions:?}"
        );
    }
}

/// Would catch a function that makes something else of the samples that are left than it would if they were all, and
/// one that does not say so.
#[test]
fn what_does_not_know_folds_is_that_of_the_samples_that_are_left_and_named() {
    let mut named = 0;
    for seed in 0..40 {
        let case = Case::new(seed);
        let mut dice = Dice(seed ^ 0xd1);
        for _ in 0..40 {
            let (metric, moved, range) = (metric(&mut dice), moved(&mut dice), dice.of(&RANGES));
            let (function, edges) = match dice.below(4) {
                0 => (
                    format!(
                        "{}(",
                        dice.of(&["rate", "increase", "delta", "resets", "changes"])
                    ),
                    " anchored",
                ),
                1 => (format!("{}(", dice.of(&RATES)), " smoothed"),
                _ => (dice.of(&PLAIN).to_owned(), ""),
            };
            let text = format!("{function}{metric}[{range}]{edges}{moved})");
            let asked = asked(&mut dice, text);
            let got = case.ask(&case.folded, &asked);
            case.same(&asked, &got, &case.ask(&case.kept, &asked).values);
            let name = function.split('(').next().unwrap_or_default();
            let said = format!("OfSamplesLeft {{ function: {name:?}, resolution: ");
            if !got.said.contains(&said) {
                case.same(&asked, &got, &case.ask(&case.raw, &asked).values);
                continue;
            }
            named += 1;
            if let Some(only) = case.only() {
                assert!(
                    got.said.contains(&format!("{said}{only:?}")),
                    "seed {seed}: {}",
                    got.said
                );
            }
        }
    }
    assert!(named > 400, "{named}");
}

/// The raw samples of the intervals whose last sample lies in a range, with the intervals' starts and how many are in each.
fn whole_intervals(
    samples: &Samples,
    of: Resolution,
    after: i64,
    until: i64,
) -> Vec<(i64, Vec<(i64, f64)>)> {
    let mut intervals: BTreeMap<i64, Vec<(i64, f64)>> = BTreeMap::new();
    for (at, value) in samples.timestamps.iter().zip(&samples.values) {
        if !is_stale(*value) {
            intervals
                .entry(of.before_interval(*at))
                .or_default()
                .push((*at, *value));
        }
    }
    intervals.retain(|_, rows| {
        rows.last()
            .is_some_and(|(at, _)| *at > after && *at <= until)
    });
    intervals.into_iter().collect()
}

fn over_time(name: &str, values: &[f64]) -> Option<f64> {
    let last = *values.last()?;
    let (sum, count) = (values.iter().sum::<f64>(), values.len() as f64);
    Some(match name {
        "avg_over_time" => sum / count,
        "count_over_time" => count,
        "last_over_time" => last,
        "max_over_time" => values.iter().copied().fold(f64::MIN, f64::max),
        "min_over_time" => values.iter().copied().fold(f64::MAX, f64::min),
        "present_over_time" => 1.0,
        "sum_over_time" => sum,
        _ => unreachable!(),
    })
}

impl Case {
    /// What a rate function makes of whole intervals: of the time that they cover where the range cuts theirs.
    fn rate_of(
        &self,
        name: &str,
        (after, until): (i64, i64),
        of: Resolution,
        whole: &[(i64, Vec<(i64, f64)>)],
    ) -> Option<f64> {
        let (first, last) = (whole.first()?, whole.last()?);
        let (mut from, mut to) = (after, until);
        if first.1.len() > 1 && first.1.first()?.0 <= after {
            from = first.0;
        }
        if last.1.len() > 1 && until % of.ms() != 0 && last.0 + of.ms() == until - until % of.ms() {
            to = last.0 + of.ms();
        }
        let mut source = MemorySource::default();
        let rows: Vec<&(i64, f64)> = whole.iter().flat_map(|(_, rows)| rows).collect();
        let mut samples = Samples::default();
        for (at, value) in rows {
            samples.push(TimestampMs(*at), Value::Float(*value), TimestampMs(0));
        }
        source.put(labels("m"), samples);
        let asked = Asked {
            text: format!("{name}(m[{}ms])", to - from),
            start: to,
            step: 100 * HOUR,
        };
        let found = self.ask(&source, &asked);
        let value = found.values.into_iter().find(|((_, at), _)| *at == to)?.1;
        Some(match name {
            "rate" => value,
            _ => value * (until - after) as f64 / (to - from) as f64,
        })
    }
}

/// Would catch a range that counts an interval in part, twice or not at all, and rates that fall short by what is cut.
#[test]
fn what_cuts_intervals_is_that_of_the_whole_ones_that_end_in_it() {
    let (mut cut, mut values) = (0, 0);
    for seed in 0..60 {
        let case = Case::new(seed);
        let Some(of) = case.only() else {
            continue;
        };
        let mut dice = Dice(seed ^ 0xd2);
        for _ in 0..60 {
            let number = dice.below(SERIES.len());
            let name = *[&KNOWING[..7], &RATES]
                .concat()
                .get(dice.below(10))
                .unwrap();
            let minutes = of.ms() / MINUTE + dice.below(150) as i64;
            let text = format!("{name}({}[{minutes}m])", SERIES[number]);
            let asked = asked(&mut dice, text);
            let got = case.ask(&case.folded, &asked);
            // What does not look like a counter has no rates.
            if got.said.contains("OfSamplesLeft") {
                assert!(RATES.contains(&name), "seed {seed} {asked:?}: {}", got.said);
                continue;
            }
            cut += usize::from(got.said.contains("CutsIntervals"));
            let mut want = BTreeMap::new();
            for step in 0..=12 {
                let until = asked.start + step * asked.step;
                let after = until - minutes * MINUTE;
                let whole = whole_intervals(&case.series[SERIES[number]], of, after, until);
                let rows: Vec<f64> = whole
                    .iter()
                    .flat_map(|(_, rows)| rows)
                    .map(|row| row.1)
                    .collect();
                let value = match RATES.contains(&name) {
                    true => case.rate_of(name, (after, until), of, &whole),
                    false => over_time(name, &rows),
                };
                want.extend(value.map(|value| (until, value)));
            }
            values += want.len();
            let labels = labels(SERIES[number]);
            let shown = match name {
                "last_over_time" => labels.to_string(),
                _ => labels
                    .to_string()
                    .split_once('{')
                    .map(|(_, rest)| format!("{{{rest}"))
                    .unwrap(),
            };
            let want = want
                .into_iter()
                .map(|(at, value)| ((shown.clone(), at), value));
            case.same(&asked, &got, &want.collect());
        }
    }
    assert!(cut > 300 && values > 5000, "{cut} {values}");
}

/// Would catch a series that a selector sees longer than it was there, and gaps between kept samples.
#[test]
fn a_selector_sees_what_it_saw_when_the_last_interval_ended_or_what_it_would_see() {
    let mut seen = 0;
    for seed in 0..60 {
        let case = Case::new(seed);
        let Some(of) = case.only() else {
            continue;
        };
        let mut dice = Dice(seed ^ 0xd3);
        for _ in 0..20 {
            let name = SERIES[dice.below(SERIES.len())];
            let asked = asked(&mut dice, name.to_owned());
            let samples = &case.series[name];
            let at_moment = |moment: i64| {
                let row = samples
                    .timestamps
                    .partition_point(|at| *at <= moment)
                    .checked_sub(1)?;
                let (at, value) = (samples.timestamps[row], samples.values[row]);
                (at > moment - LOOKBACK && !is_stale(value)).then_some((at, value))
            };
            let got = case.ask(&case.folded, &asked);
            let key = labels(name).to_string();
            for step in 0..=12 {
                let moment = asked.start + step * asked.step;
                let end = moment - moment % of.ms();
                let (now, before) = (at_moment(moment), at_moment(end));
                let got = got.values.get(&(key.clone(), moment)).copied();
                let is = |one: Option<(i64, f64)>| one.map(|(_, value)| value) == got;
                assert!(
                    is(now) || is(before) || got.is_none(),
                    "seed {seed} {asked:?} {moment}: {got:?}"
                );
                let stands = before.is_some_and(|(at, _)| {
                    let row = samples.timestamps.partition_point(|one| *one < at);
                    row.checked_sub(1).is_some_and(|row| {
                        samples.timestamps[row] > of.before_interval(at)
                            && !is_stale(samples.values[row])
                    })
                });
                if now.is_some() && stands {
                    seen += 1;
                    assert!(got.is_some(), "seed {seed} {asked:?} {moment}: a gap");
                }
            }
        }
    }
    assert!(seen > 2000, "{seen}");
}
