//! Kept answers beside none, over a source that changes all the time: what is written late, sealed,
//! merged, deleted, shown again or dropped, also while a query runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::model::{LabelSet, MatchOp, Matcher, Samples, TenantId, TimeRange, TimestampMs, Value};
use crate::query::{Engine, QueryMetrics, QueryOutput, QuerySettings, QueryValue, RangeQuery};
use crate::runtime::{Chance, ManualClock, SeededChance};
use crate::source::{
    Contents, FamilyMetadata, LabelPairs, ReadContext, Selection, SeriesExemplars, SeriesStream,
    Source, SourceError,
};

const MINUTE: i64 = 60_000;
const WINDOW: i64 = 120 * MINUTE;
/// The windows that are written.
const WINDOWS: i64 = 9;

type Surprise = Box<dyn FnOnce(&mut State) + Send>;
type Points = BTreeMap<LabelSet, BTreeMap<i64, f64>>;

/// A store as simple as can be.
#[derive(Default)]
struct State {
    /// What is not sealed, by window.
    open: BTreeMap<i64, Points>,
    /// Range, name, content.
    blocks: Vec<(TimeRange, u128, Points)>,
    /// Name, whose samples, range.
    deleted: Vec<(u128, Matcher, TimeRange)>,
    names: u128,
    changes: u64,
    /// Changes that are made by the next reads: one before each and one after it.
    surprises: VecDeque<Surprise>,
}

#[derive(Default)]
struct Toy(Mutex<State>);

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange::new(TimestampMs(from), TimestampMs(to))
}

fn window_range(window: i64) -> TimeRange {
    range(window * WINDOW, (window + 1) * WINDOW - 1)
}

impl State {
    fn name(&mut self) -> u128 {
        self.names += 1;
        self.names
    }

    fn write(&mut self, dice: &dyn Chance, window: i64, count: u64) {
        for _ in 0..count {
            let x = dice.below(4).to_string();
            let pairs = [("__name__", "a"), ("x", x.as_str())];
            let labels = LabelSet::from_pairs(&pairs).unwrap();
            let minutes = i64::try_from(dice.below(120)).unwrap();
            let value = f64::from(u32::try_from(dice.below(1000)).unwrap());
            let at = window * WINDOW + minutes * MINUTE;
            // As in the store, of two values of a time the larger one is shown.
            let points = self
                .open
                .entry(window)
                .or_default()
                .entry(labels)
                .or_default();
            let shown = points.entry(at).or_insert(value);
            *shown = shown.max(value);
        }
    }

    fn seal(&mut self, window: i64) {
        self.changes += 1;
        if let Some(points) = self.open.remove(&window) {
            let name = self.name();
            self.blocks.push((window_range(window), name, points));
        }
    }

    /// Puts two blocks into one, without what is deleted from them.
    fn merge(&mut self) {
        if self.blocks.len() < 2 {
            return;
        }
        let (one, other) = (self.blocks.remove(0), self.blocks.remove(0));
        let name = self.name();
        let whole = range(
            one.0.start.0.min(other.0.start.0),
            one.0.end.0.max(other.0.end.0),
        );
        let mut points = Points::new();
        add(&mut points, &one.2);
        add(&mut points, &other.2);
        self.blocks.push((whole, name, points));
    }

    fn change(&mut self, dice: &dyn Chance) {
        let window = i64::try_from(dice.below(u64::try_from(WINDOWS).unwrap())).unwrap();
        match dice.below(12) {
            0..=2 => self.write(dice, window, 1 + dice.below(3)),
            3..=6 => self.seal(window),
            7 => self.merge(),
            8 => {
                let value = dice.below(4).to_string();
                let from = window * WINDOW + i64::try_from(dice.below(100)).unwrap() * MINUTE;
                let until = from + i64::try_from(dice.below(200)).unwrap() * MINUTE;
                let matcher = Matcher::new("x", MatchOp::Equal, &value).unwrap();
                let name = self.name();
                self.changes += 1;
                self.deleted.push((name, matcher, range(from, until)));
            }
            9 if !self.deleted.is_empty() => {
                self.changes += 1;
                self.deleted.remove(0);
            }
            10 if dice.below(4) == 0 && !self.blocks.is_empty() => {
                self.changes += 1;
                self.blocks.remove(0);
            }
            _ => {
                // Seen by whoever looks meanwhile, and gone again.
                self.write(dice, window, 1);
                self.changes += 1;
                self.open.remove(&window);
            }
        }
    }

    fn read(&self, selection: &Selection) -> Points {
        let mut all = Points::new();
        for points in self.open.values() {
            add(&mut all, points);
        }
        for (of, _, points) in &self.blocks {
            if of.overlaps(selection.range) {
                add(&mut all, points);
            }
        }
        let matches =
            |labels: &LabelSet, m: &Matcher| m.matches(labels.get(m.name()).unwrap_or_default());
        all.retain(|labels, points| {
            let about = |m: &Matcher| matches(labels, m);
            points.retain(|at, _| {
                let at = TimestampMs(*at);
                let hides = |(_, m, of): &(u128, Matcher, TimeRange)| of.contains(at) && about(m);
                selection.range.contains(at) && !self.deleted.iter().any(hides)
            });
            !points.is_empty() && selection.matchers.iter().all(about)
        });
        all
    }
}

fn add(all: &mut Points, more: &Points) {
    for (labels, points) in more {
        let own = all.entry(labels.clone()).or_default();
        for (at, value) in points {
            let shown = own.entry(*at).or_insert(*value);
            *shown = shown.max(*value);
        }
    }
}

struct Given(std::collections::btree_map::IntoIter<LabelSet, BTreeMap<i64, f64>>);

impl SeriesStream for Given {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        samples.clear();
        Ok(self.0.next().map(|(labels, points)| {
            for (at, value) in points {
                samples.push(TimestampMs(at), Value::Float(value), TimestampMs(0));
            }
            labels
        }))
    }
}

impl Source for Toy {
    fn select(
        &self,
        selection: &Selection,
        _: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        let mut state = self.0.lock();
        if let Some(surprise) = state.surprises.pop_front() {
            surprise(&mut state);
        }
        let found = state.read(selection);
        // What is open may change again before the read is over.
        if let Some(surprise) = state.surprises.pop_front() {
            surprise(&mut state);
        }
        Ok(Box::new(Given(found.into_iter())))
    }

    fn contents(&self, _: &TenantId, of: TimeRange) -> Option<Contents> {
        let state = self.0.lock();
        let mut contents = Contents::default();
        for (range, name, _) in &state.blocks {
            if range.overlaps(of) {
                contents.add_part(*range, *name);
            }
        }
        for (name, _, range) in &state.deleted {
            contents.add_part(*range, *name);
        }
        for window in state.open.keys() {
            contents.add_open(window_range(*window));
        }
        contents.add_changes(state.changes);
        Some(contents)
    }

    fn series(
        &self,
        _: &Selection,
        _: usize,
        _: &ReadContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(Vec::new())
    }

    fn label_names(
        &self,
        _: &Selection,
        _: usize,
        _: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &Selection,
        _: usize,
        _: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn metadata(
        &self,
        _: &TenantId,
        _: Option<&str>,
        _: &ReadContext,
    ) -> Result<Vec<FamilyMetadata>, SourceError> {
        Ok(Vec::new())
    }

    fn label_pairs(&self, _: &TenantId, _: &ReadContext) -> Result<LabelPairs, SourceError> {
        Ok(LabelPairs::default())
    }

    fn exemplars(
        &self,
        _: &Selection,
        _: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        Ok(Vec::new())
    }
}

/// An engine that keeps answers.
struct Keeping {
    engine: Engine,
    registry: Registry,
}

impl Keeping {
    fn new(settings: QuerySettings, bytes: u64) -> Self {
        let clock = Arc::new(ManualClock::at(TimestampMs(0)));
        let mut registry = Registry::default();
        let metrics = QueryMetrics::register(&mut registry);
        let engine = Engine::new(settings, clock, metrics).with_results(bytes);
        Self { engine, registry }
    }

    fn ask(&self, source: &dyn Source, query: &RangeQuery) -> QueryOutput {
        let context = self.engine.context(Some(Duration::from_secs(3600)));
        self.engine.range(source, query, &context).unwrap()
    }

    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .find(|(of, _)| *of == name)
            .unwrap()
            .1
            .parse()
            .unwrap()
    }
}

fn query(text: &str, start: i64, end: i64, step_ms: i64) -> RangeQuery {
    RangeQuery {
        tenant: TenantId::anonymous(),
        text: text.to_owned(),
        start: TimestampMs(start),
        end: TimestampMs(end),
        step_ms,
        lookback: None,
        limit: 0,
        fresh: false,
    }
}

/// All of it, to the bit.
fn bits(output: &QueryOutput) -> Vec<(String, Vec<(i64, u64)>)> {
    let QueryValue::Matrix(series) = &output.value else {
        panic!("{:?}", output.value);
    };
    let points = |at: &[i64], values: &[f64]| {
        let bits = values.iter().map(|value| value.to_bits());
        at.iter().copied().zip(bits).collect()
    };
    let one = |one: &crate::query::MatrixSeries| {
        (one.labels.to_string(), points(&one.timestamps, &one.values))
    };
    series.iter().map(one).collect()
}

/// Whole numbers throughout, so that no order of adding matters.
const TEXTS: &[&str] = &[
    "sum(count_over_time(a[30m]))",
    "max_over_time(a[40m])",
    "sum by (x) (sum_over_time(a[20m] offset 30m))",
    "sum(sum_over_time(a[1h] offset -30m))",
    "topk(1, sum by (x) (sum_over_time(a[1h])))",
    "changes(a[1h]) > 2",
    "max_over_time(sum(a)[1h:7m])",
    "sum_over_time(a[50m]) or vector(0)",
    "sum(sum_over_time(a[30m])) + count(a offset 2h)",
    "sum(sum_over_time(a[30m] @ end()))",
    "limitk(1, sum_over_time(a[30m]))",
];

fn any_query(dice: &dyn Chance) -> RangeQuery {
    let pick = |count: usize| usize::try_from(dice.below(count as u64)).unwrap();
    let step = [MINUTE, 5 * MINUTE, 17 * MINUTE][pick(3)];
    // Mostly on the step, as panels ask.
    let off = if dice.below(6) == 0 { MINUTE / 2 } else { 0 };
    let at = |window: u64| i64::try_from(dice.below(window)).unwrap() * MINUTE / step * step;
    let start = at(400) + off;
    query(
        TEXTS[pick(TEXTS.len())],
        start,
        start + WINDOW * 2 + at(500),
        step,
    )
}

/// Would catch an answer from before a late sample, a seal, a merge, a delete, an undo or the end
/// of a block, one of another step, phase, lookback or tenant, and one that saw what was there only
/// while it was asked.
#[test]
fn kept_answers_are_those_of_now() {
    let mut known = 0.0;
    for seed in 0..40 {
        let dice = SeededChance::new(seed);
        let toy = Toy::default();
        for window in 0..WINDOWS {
            let mut state = toy.0.lock();
            state.write(&dice, window, 60);
            state.seal(window);
        }
        let settings = QuerySettings {
            enable_feature: vec!["all".to_owned()],
            ..QuerySettings::default()
        };
        let off = QuerySettings {
            cache_results: false,
            ..settings.clone()
        };
        let bytes = 20_000 << dice.below(8);
        let (keeping, plain) = (Keeping::new(settings, bytes), Keeping::new(off, bytes));
        let queries: Vec<RangeQuery> = (0..4).map(|_| any_query(&dice)).collect();
        for step in 0..60 {
            if dice.below(3) == 0 {
                toy.0.lock().change(&dice);
            }
            let at = usize::try_from(dice.below(4)).unwrap();
            let mut asked = queries[at].clone();
            if dice.below(5) == 0 {
                // The panel moves on.
                asked.start.0 += asked.step_ms * 7;
                asked.end.0 += asked.step_ms * 7;
            }
            if dice.below(4) == 0 {
                let surprise = |seed| -> Surprise {
                    Box::new(move |state| state.change(&SeededChance::new(seed)))
                };
                let surprises = (0..4).map(|_| surprise(dice.next_u64())).collect();
                toy.0.lock().surprises = surprises;
                keeping.ask(&toy, &asked);
                toy.0.lock().surprises.clear();
            }
            let (got, want) = (keeping.ask(&toy, &asked), plain.ask(&toy, &asked));
            assert_eq!(
                bits(&got),
                bits(&want),
                "seed {seed}, step {step}: {asked:?}"
            );
            assert_eq!(want.stats.known_steps, 0);
            let mut fresh = asked.clone();
            fresh.fresh = true;
            assert_eq!(keeping.ask(&toy, &fresh).stats.known_steps, 0);
        }
        known += keeping.metric("cairn_query_cache_known_steps_total");
        assert!(keeping.metric("cairn_query_cache_bytes") <= bytes as f64);
    }
    assert!(known > 10_000.0, "{known} steps were known");
}

/// Would catch a sample that was written and given up again between the two looks at the contents.
#[test]
fn what_was_there_only_for_a_moment_is_not_kept() {
    let (toy, dice) = (Toy::default(), SeededChance::new(3));
    for window in 0..WINDOWS {
        let mut state = toy.0.lock();
        state.write(&dice, window, 100);
        state.seal(window);
    }
    let keeping = Keeping::new(QuerySettings::default(), 1 << 20);
    let asked = query("sum(sum_over_time(a[30m]))", 0, 6 * WINDOW, MINUTE);
    toy.0.lock().surprises = VecDeque::from([
        Box::new(|state: &mut State| state.write(&SeededChance::new(1), 2, 50)) as Surprise,
        Box::new(|state: &mut State| {
            state.changes += 1;
            state.open.remove(&2);
        }),
    ]);
    let ghost = keeping.ask(&toy, &asked);
    let (one, other) = (keeping.ask(&toy, &asked), keeping.ask(&toy, &asked));
    assert_ne!(bits(&ghost), bits(&one));
    assert_eq!(
        (one.stats.known_steps, other.stats.known_steps),
        (0, 6 * 120)
    );
    assert_eq!(bits(&one), bits(&other));
}

/// Would catch pieces that are kept though they are not whole, or used by another tenant, step or
/// lookback.
#[test]
fn whole_pieces_of_what_cannot_change_are_kept() {
    let (toy, dice) = (Toy::default(), SeededChance::new(9));
    for window in 0..WINDOWS {
        let mut state = toy.0.lock();
        state.write(&dice, window, 100);
        if window < 7 {
            state.seal(window);
        }
    }
    let keeping = Keeping::new(QuerySettings::default(), 1 << 20);
    let text = "sum(sum_over_time(a[30m]))";
    // From within the first window to within the last, of which two are open.
    let asked = query(text, 45 * MINUTE, 8 * WINDOW + 10 * MINUTE, MINUTE);
    let known = |asked: &RangeQuery| keeping.ask(&toy, asked).stats.known_steps;
    assert_eq!(known(&asked), 0);
    assert_eq!(known(&asked), 6 * 120);
    // Another who moves on, with another end; what is missing is filled in.
    let moved = query(text, 100 * MINUTE, 8 * WINDOW + 70 * MINUTE, MINUTE);
    assert_eq!(known(&moved), 6 * 120);
    let within = query(text, WINDOW + 7 * MINUTE, WINDOW + 27 * MINUTE, MINUTE);
    assert_eq!(known(&within), 21);
    for other in [
        RangeQuery {
            tenant: TenantId::new("b").unwrap(),
            ..asked.clone()
        },
        RangeQuery {
            lookback: Some(Duration::from_secs(60)),
            ..asked.clone()
        },
        RangeQuery {
            step_ms: 2 * MINUTE,
            ..asked.clone()
        },
        RangeQuery {
            start: TimestampMs(45 * MINUTE + 1),
            ..asked.clone()
        },
        RangeQuery {
            text: format!(" {text}"),
            ..asked.clone()
        },
        RangeQuery {
            fresh: true,
            ..asked.clone()
        },
    ] {
        assert_eq!(known(&other), 0, "{other:?}");
    }
    // A late sample takes the pieces that look at its window, and no others, until it is sealed.
    toy.0.lock().write(&dice, 3, 1);
    assert_eq!(known(&asked), 4 * 120);
    assert_eq!(keeping.metric("cairn_query_cache_outdated_total"), 2.0);
    toy.0.lock().seal(3);
    assert_eq!(known(&asked), 4 * 120);
    assert_eq!(known(&asked), 6 * 120);
    // What is remarked is not kept, nor what costs nothing.
    for text in ["rate(a[30m])", "a"] {
        let asked = query(text, 0, 6 * WINDOW, MINUTE);
        assert_eq!((known(&asked), known(&asked)), (0, 0), "{text}");
    }
}
