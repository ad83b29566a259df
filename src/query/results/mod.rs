//! Answers that are kept: of range queries, in pieces of some hours, for as long as what they were
//! made from is the same (decision 25).
//!
//! A piece is the values of a question at the steps of two hours. It is kept only if every sample
//! that those may depend on lies in parts of the source that never change, and used only while the
//! source consists of the very same parts there: the source itself says so each time
//! ([`Source::contents`]). Nothing has to be invalidated, and no time makes a piece valid.
//!
//! Not kept: what came with a remark or lacks something, what native histograms had a part in (they
//! say something about their neighbours), and expressions whose steps are not of themselves alone
//! (`@`, `limitk`, `info`).

mod grid;
mod kept;
mod reach;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{LabelSet, TimeRange};
use crate::runtime::Reservation;
use crate::source::{Contents, ReadContext, Source};

use super::error::Error;
use super::metrics::QueryMetrics;
use super::plan::Node;
use super::question::Question;
use super::value::{ABSENT, StepSeries, Steps, is_absent};
use super::watch::Watch;
use grid::Grid;
use kept::{Kept, Piece, PieceSeries};
use reach::Reach;

/// Values are worth their place if so many samples were looked at for each: of a bare selector the
/// block itself has them, smaller.
const WORTH: u64 = 4;

/// So many gaps between pieces are filled one by one; more are filled as one.
const GAPS_MAX: usize = 4;

/// What is kept, of all queries of a node.
pub(super) struct Results {
    kept: Mutex<Kept>,
    metrics: QueryMetrics,
}

/// What surrounds a query whose answer may be kept.
pub(super) struct Asked<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) node: &'a Node,
    pub(super) source: &'a dyn Source,
    pub(super) context: &'a ReadContext,
    pub(super) lookback_ms: i64,
}

/// A query whose answer may be kept, in pieces.
pub(super) struct Plan<'a> {
    results: &'a Results,
    asked: Asked<'a>,
    grid: Grid,
    reach: Reach,
    key: Arc<kept::Question>,
    /// What the source holds, before anything is read.
    contents: Contents,
    found: BTreeMap<i64, Arc<Piece>>,
}

impl Results {
    /// May take so much memory.
    pub(super) fn new(bytes_max: usize, metrics: QueryMetrics) -> Self {
        Self {
            kept: Mutex::new(Kept::new(bytes_max)),
            metrics,
        }
    }

    /// What is known of an answer. `None`: nothing, and nothing of it will be kept.
    pub(super) fn plan<'a>(&'a self, asked: Asked<'a>) -> Option<Plan<'a>> {
        let steps = asked.question.steps;
        if !asked.question.range || steps.is_instant() {
            return None;
        }
        let reach = Reach::of(asked.node, asked.lookback_ms)?;
        let grid = Grid::of(steps);
        let key = Arc::new(kept::Question {
            tenant: asked.question.tenant.clone(),
            text: asked.question.text.to_owned(),
            plan: digest(asked.node),
            lookback_ms: asked.lookback_ms,
            step_ms: steps.step_ms,
            phase: grid.phase(),
        });
        let is_known = self.kept.lock().knows(&key);
        if !is_known && !grid.pieces().any(|piece| grid.is_whole(piece)) {
            return None;
        }
        let whole = TimeRange::new(
            steps.start.plus_ms(reach.back_ms.saturating_neg()),
            steps.end().plus_ms(reach.ahead_ms),
        );
        let contents = asked
            .source
            .contents(asked.question.tenant, wide(&grid, reach, whole))?;
        let mut plan = Plan {
            results: self,
            asked,
            grid,
            reach,
            key,
            contents,
            found: BTreeMap::new(),
        };
        plan.find();
        plan.close_gaps();
        Some(plan)
    }
}

/// Some of the steps, and the series there.
type Evaluated = (Range<usize>, Vec<StepSeries>);

/// The range of all pieces that a query touches, and of itself.
fn wide(grid: &Grid, reach: Reach, whole: TimeRange) -> TimeRange {
    let pieces = grid.pieces();
    let (first, _) = grid.times(pieces.start);
    let (_, last) = grid.times(pieces.end - 1);
    TimeRange::new(
        whole
            .start
            .min(first.plus_ms(reach.back_ms.saturating_neg())),
        whole.end.max(last.plus_ms(reach.ahead_ms)),
    )
}

/// All of a plan, times and matchers included.
fn digest(node: &Node) -> u128 {
    xxhash_rust::xxh3::xxh3_128(format!("{node:?}").as_bytes())
}

impl Plan<'_> {
    /// The times of the samples that a piece may depend on.
    fn range_of(&self, piece: i64) -> TimeRange {
        let (first, last) = self.grid.times(piece);
        TimeRange::new(
            first.plus_ms(self.reach.back_ms.saturating_neg()),
            last.plus_ms(self.reach.ahead_ms),
        )
    }

    fn find(&mut self) {
        let mut kept = self.results.kept.lock();
        for number in self.grid.pieces() {
            let Some(piece) = kept.get(&self.key, number) else {
                continue;
            };
            if self.contents.name(self.range_of(number)) == Some(piece.stamp) {
                self.found.insert(number, piece);
            } else {
                // What it was made from is no more; names do not come back.
                kept.remove(&self.key, number);
                self.results.metrics.outdated();
            }
        }
    }

    /// The steps that are to be evaluated, in order.
    fn gaps(&self) -> Vec<Range<usize>> {
        let mut gaps: Vec<Range<usize>> = Vec::new();
        for piece in self.grid.pieces() {
            if self.found.contains_key(&piece) {
                continue;
            }
            let (steps, _) = self.grid.shared(piece);
            match gaps.last_mut() {
                Some(last) if last.end == steps.start => last.end = steps.end,
                _ => gaps.push(steps),
            }
        }
        gaps
    }

    /// Where there are too many gaps, the pieces between them count as unknown.
    fn close_gaps(&mut self) {
        let gaps = self.gaps();
        if let (Some(first), Some(last)) = (gaps.first(), gaps.last())
            && gaps.len() > GAPS_MAX
        {
            let between = first.start..last.end;
            let grid = self.grid;
            let is_between = |piece: i64| between.contains(&grid.shared(piece).0.start);
            self.found.retain(|piece, _| !is_between(*piece));
        }
    }

    /// Steps that need not be evaluated.
    pub(super) fn known_steps(&self) -> usize {
        let known = self.found.keys();
        known.map(|piece| self.grid.shared(*piece).0.len()).sum()
    }

    /// The answer: what is known, and the rest evaluated, of which is kept what may be. `said` tells
    /// whether nothing was remarked so far, and how many samples were looked at.
    pub(super) fn answer(
        self,
        mut evaluate: impl FnMut(Steps) -> Result<Vec<StepSeries>, Error>,
        said: impl Fn() -> (bool, u64),
        watch: &Watch,
    ) -> Result<Vec<StepSeries>, Error> {
        let count = self.asked.question.steps.count;
        self.results.metrics.steps(self.known_steps(), count);
        let mut evaluated: Vec<Evaluated> = Vec::new();
        for gap in self.gaps() {
            let series = evaluate(self.grid.steps(&gap))?;
            evaluated.push((gap, series));
        }
        let (is_silent, touched) = said();
        if is_silent {
            self.keep(&evaluated, touched, watch);
        }
        if self.found.is_empty() && evaluated.len() == 1 {
            return Ok(evaluated
                .pop()
                .map(|(_, series)| series)
                .unwrap_or_default());
        }
        let mut joined = Joined::new(count, self.asked.context)?;
        for (number, piece) in &self.found {
            let (steps, skipped) = self.grid.shared(*number);
            for one in &piece.series {
                let values = one.values.get(skipped..).unwrap_or_default();
                let steps = steps.clone();
                joined.of(&one.labels)?.put(steps, values);
            }
        }
        for (gap, series) in evaluated {
            for one in series {
                let whole = joined.of(&one.labels)?;
                whole.put(gap.clone(), &one.values);
                whole.put_histograms(gap.start, &one);
            }
        }
        Ok(joined.series)
    }

    /// Keeps the whole pieces of what was evaluated.
    fn keep(&self, evaluated: &[Evaluated], touched: u64, watch: &Watch) {
        let values: usize = evaluated
            .iter()
            .flat_map(|(_, series)| series)
            .map(|one| one.values.len())
            .sum();
        let lacks = self.asked.context.partial.as_ref();
        let is_whole = lacks.is_none_or(|partial| partial.noted().is_empty());
        let is_worth = touched >= WORTH.saturating_mul(values as u64);
        if watch.met_histograms() || !is_whole || !is_worth || !self.is_within(evaluated, watch) {
            return;
        }
        let range = wide(
            &self.grid,
            self.reach,
            self.range_of(self.grid.pieces().start),
        );
        let tenant = &self.asked.question.tenant;
        let Some(later) = self.asked.source.contents(tenant, range) else {
            return;
        };
        if !self.contents.has_stood_still(&later) {
            return;
        }
        for number in self
            .grid
            .pieces()
            .filter(|piece| self.grid.is_whole(*piece))
        {
            let (steps, _) = self.grid.shared(number);
            let within = |gap: &Range<usize>| gap.start <= steps.start && steps.end <= gap.end;
            let Some((gap, series)) = evaluated.iter().find(|(gap, _)| within(gap)) else {
                continue;
            };
            let stamp = self.contents.name(self.range_of(number));
            if let Some(stamp) =
                stamp.filter(|stamp| later.name(self.range_of(number)) == Some(*stamp))
            {
                let piece = cut(
                    series,
                    &(steps.start - gap.start..steps.end - gap.start),
                    stamp,
                );
                let mut kept = self.results.kept.lock();
                let gone = kept.put(&self.key, number, piece);
                self.results.metrics.kept(kept.size(), gone);
            }
        }
    }

    /// Whether all that was read lies where the plan says: else the plan was not understood.
    fn is_within(&self, evaluated: &[Evaluated], watch: &Watch) -> bool {
        let (Some((first, _)), Some((last, _))) = (evaluated.first(), evaluated.last()) else {
            return false;
        };
        let from = self.grid.steps(first).start;
        let to = self.grid.steps(last).end();
        watch.range().is_some_and(|read| {
            from.plus_ms(self.reach.back_ms.saturating_neg()) <= read.start
                && read.end <= to.plus_ms(self.reach.ahead_ms)
        })
    }
}

/// A piece of what was evaluated.
fn cut(series: &[StepSeries], steps: &Range<usize>, stamp: u128) -> Piece {
    let of = |one: &StepSeries| {
        let values = one.values.get(steps.clone())?;
        values
            .iter()
            .any(|value| !is_absent(*value))
            .then(|| PieceSeries {
                labels: one.labels.clone(),
                values: values.into(),
            })
    };
    Piece {
        stamp,
        series: series.iter().filter_map(of).collect(),
    }
}

/// Pieces that become one answer.
struct Joined {
    count: usize,
    held: Reservation,
    at: HashMap<LabelSet, usize>,
    series: Vec<StepSeries>,
}

impl Joined {
    fn new(count: usize, context: &ReadContext) -> Result<Self, Error> {
        Ok(Self {
            count,
            held: context.budget.reserve(0, 0)?,
            at: HashMap::new(),
            series: Vec::new(),
        })
    }

    /// The whole series of a label set.
    fn of(&mut self, labels: &LabelSet) -> Result<&mut StepSeries, Error> {
        let at = match self.at.get(labels) {
            Some(at) => *at,
            None => {
                let bytes = self.count * size_of::<f64>() + labels.text_len() + SERIES_BYTES;
                self.held
                    .grow(u64::try_from(bytes).unwrap_or(u64::MAX), 0)?;
                let values = vec![ABSENT; self.count];
                self.at.insert(labels.clone(), self.series.len());
                self.series
                    .push(StepSeries::floats(labels.clone(), false, values));
                self.series.len() - 1
            }
        };
        let lost = || Error::Unavailable("a series of an answer is lost: a bug".to_owned());
        self.series.get_mut(at).ok_or_else(lost)
    }
}

/// What a series takes besides its values and labels, about.
const SERIES_BYTES: usize = 256;

impl StepSeries {
    fn put(&mut self, steps: Range<usize>, values: &[f64]) {
        let places = self.values.get_mut(steps).unwrap_or_default();
        places
            .iter_mut()
            .zip(values)
            .for_each(|(place, value)| *place = *value);
    }

    fn put_histograms(&mut self, from: usize, part: &Self) {
        let steps = self.values.len();
        for (step, histogram) in part.histograms.iter() {
            self.histograms
                .set(from + step, steps, Arc::clone(histogram));
        }
    }
}

#[cfg(test)]
mod tests;
