//! Binary operators between two vectors, the set operators aside: one-to-one, many-to-one and
//! one-to-many, with `fill`.
//!
//! The "one" side is held, the "many" side streams past it (of one-to-one, right and left). What
//! Prometheus checks step by step is checked here for all steps of two series at a time, with
//! sets of steps; the rules are those of `VectorBinop` in its `promql/engine.go`.

use std::collections::{HashMap, VecDeque};

use crate::model::LabelSet;
use crate::query::annotations::Annotations;
use crate::query::error::Error;
use crate::query::syntax::{Cardinality, Matching};
use crate::query::value::{StepHistograms, StepSeries};
use crate::runtime::Reservation;

use super::arithmetic::{Pairing, Partner, changes_quantity};
use super::labels::{KeyIndex, LabelKey, StepSet, braces, drop_metric};
use super::operator::{Input, Operator, Run, account, earlier_failure};

/// Joins two vectors.
pub(super) struct Join {
    pairing: Pairing,
    matching: Matching,
    many: Input,
    one: Input,
    index: KeyIndex,
    slots: Vec<Slot>,
    /// Steps at which the "one" side is not unique, and what to say then.
    doubt: Option<(StepSet, String)>,
    many_present: StepSet,
    ready: VecDeque<StepSeries>,
    stage: Stage,
    held: Option<Reservation>,
    /// What was said of the right operand, to be repeated after the left one.
    said: Option<Annotations>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The "one" side has not been read.
    New,
    /// The "many" side is being read.
    Streaming,
    /// All that is left stands in `ready`.
    Done,
}

/// What has one key.
#[derive(Default)]
struct Slot {
    /// On the "one" side.
    series: Vec<StepSeries>,
    /// Steps that have found a partner.
    matched: StepSet,
    /// The same by the labels of the result, where there may be many.
    results: HashMap<LabelSet, StepSet>,
}

/// The key by which two vectors' series find each other.
pub(super) fn matching_key(matching: &Matching) -> LabelKey {
    if matching.on {
        LabelKey::only(&matching.labels)
    } else {
        LabelKey::without(&matching.labels)
    }
}

impl Join {
    /// Of two operands.
    pub(super) fn new(pairing: Pairing, matching: Matching, left: Input, right: Input) -> Self {
        let index = KeyIndex::new(matching_key(&matching));
        let (many, one) = match matching.cardinality {
            Cardinality::OneToMany => (right, left),
            _ => (left, right),
        };
        Self {
            pairing,
            matching,
            many,
            one,
            index,
            slots: Vec::new(),
            doubt: None,
            many_present: StepSet::default(),
            ready: VecDeque::new(),
            stage: Stage::New,
            held: None,
            said: None,
        }
    }

    fn one_to_one(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToOne
    }

    /// The "many" side stands right.
    fn swapped(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToMany
    }

    fn fills(&self) -> bool {
        self.matching.fill_left.is_some() || self.matching.fill_right.is_some()
    }

    fn slot(&mut self, labels: &LabelSet) -> usize {
        let at = self.index.number(labels);
        if at == self.slots.len() {
            self.slots.push(Slot::default());
        }
        at
    }

    /// Reads the "one" side.
    fn hold(&mut self, run: &Run<'_>) -> Result<(), Error> {
        let mut held = run.reservation()?;
        while let Some(series) = self.one.next(run)? {
            account(&mut held, &series)?;
            let at = self.slot(&series.labels);
            let Some(slot) = self.slots.get_mut(at) else {
                continue;
            };
            for known in &slot.series {
                let both = StepSet::of_both(known, &series);
                if both.is_empty() {
                    continue;
                }
                let group = self.index.key().project(&series.labels);
                let text = not_unique(&group, &series.labels, &known.labels, &self.matching);
                match &mut self.doubt {
                    None => self.doubt = Some((both, text)),
                    Some((steps, _)) => {
                        steps.add(&both);
                    }
                }
            }
            slot.series.push(series);
        }
        self.held = Some(held);
        Ok(())
    }

    /// Refuses a "one" side that is not unique where there is something to join it with.
    fn judge(&self, anyway: bool) -> Result<(), Error> {
        match &self.doubt {
            Some((steps, text)) if anyway || steps.meets(&self.many_present) => {
                Err(Error::Execution(text.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Joins a series of the "many" side.
    fn join(&mut self, series: StepSeries, run: &Run<'_>) -> Result<(), Error> {
        if self.doubt.is_some() {
            self.many_present.add(&StepSet::of_series(&series));
            self.judge(false)?;
        }
        let fill = self.matching.fill_right;
        let at = if fill.is_some() {
            self.slot(&series.labels)
        } else {
            match self.index.find(&series.labels) {
                Some(at) => at,
                None => {
                    run.recycle(series.values);
                    return Ok(());
                }
            }
        };
        let Some(mut slot) = self.slots.get_mut(at).map(std::mem::take) else {
            return Ok(());
        };
        for partner in &slot.series {
            let labels = self.result_labels(&series.labels, &partner.labels, run);
            let both = StepSet::of_both(&series, partner);
            let mut values = run.values(series.values.len())?;
            values.copy_from_slice(&series.values);
            let joined = StepSeries {
                labels,
                drop_name: false,
                values,
                histograms: series.histograms.clone(),
            };
            let claimed = (&mut slot.matched, &mut slot.results, both);
            self.finish(joined, &of_series(partner), claimed, run)?;
        }
        if let Some(fill) = fill {
            self.fill_one(&series, &mut slot, fill, run)?;
        }
        run.recycle(series.values);
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot;
        }
        Ok(())
    }

    /// Joins those steps of a series of the "many" side that have no partner with a number.
    fn fill_one(
        &mut self,
        series: &StepSeries,
        slot: &mut Slot,
        fill: f64,
        run: &Run<'_>,
    ) -> Result<(), Error> {
        let mut values = run.values(series.values.len())?;
        let alone = |step| !slot.series.iter().any(|one| one.has(step));
        for (step, (slot_value, value)) in values.iter_mut().zip(&series.values).enumerate() {
            if alone(step) {
                *slot_value = *value;
            }
        }
        let mut histograms = series.histograms.clone();
        histograms.retain(alone);
        let group = self.index.key().project(&series.labels);
        let filled = StepSeries {
            labels: self.result_labels(&series.labels, &group, run),
            drop_name: false,
            values,
            histograms,
        };
        let steps = StepSet::of_series(&filled);
        let claimed = (&mut slot.matched, &mut slot.results, steps);
        self.finish(filled, &number(fill), claimed, run)
    }

    /// Joins what is left of the "one" side with a number.
    fn fill_many(&mut self, fill: f64, run: &Run<'_>) -> Result<(), Error> {
        for slot in std::mem::take(&mut self.slots) {
            for series in slot.series {
                let mut values = run.values(series.values.len())?;
                let steps = values.iter_mut().enumerate();
                let left = steps.filter(|(step, _)| series.has(*step) && !slot.matched.has(*step));
                left.for_each(|(_, value)| *value = fill);
                let group = self.index.key().project(&series.labels);
                let labels = self.result_labels(&group, &series.labels, run);
                let filled = StepSeries::floats(labels, false, values);
                self.calculate(filled, &of_series(&series), run);
            }
        }
        Ok(())
    }

    /// Takes steps for a result; each may be taken once.
    fn claim(
        &self,
        matched: &mut StepSet,
        results: &mut HashMap<LabelSet, StepSet>,
        labels: &LabelSet,
        steps: &StepSet,
    ) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::Execution(text.to_owned()));
        let again = matched.add(steps);
        if self.one_to_one() {
            if again {
                return refuse(
                    "multiple matches for labels: many-to-one matching must be explicit \
                     (group_left/group_right)",
                );
            }
            return Ok(());
        }
        if results.entry(labels.clone()).or_default().add(steps) {
            return refuse(
                "multiple matches for labels: grouping labels must ensure unique matches",
            );
        }
        Ok(())
    }

    /// Calculates, takes the steps for the result, and keeps what has a value at all. Where the
    /// operator knows nothing to do, there was no match.
    fn finish(
        &mut self,
        joined: StepSeries,
        partner: &Partner<'_>,
        (matched, results, mut steps): (&mut StepSet, &mut HashMap<LabelSet, StepSet>, StepSet),
        run: &Run<'_>,
    ) -> Result<(), Error> {
        let labels = joined.labels.clone();
        steps.remove(&self.calculate(joined, partner, run));
        self.claim(matched, results, &labels, &steps)
    }

    /// Calculates; gives the steps at which there was nothing to calculate.
    fn calculate(
        &mut self,
        mut joined: StepSeries,
        partner: &Partner<'_>,
        run: &Run<'_>,
    ) -> Vec<usize> {
        let sides = (self.swapped(), false);
        let failed = self.pairing.join(&mut joined, partner, sides, run);
        if joined.is_empty() {
            run.recycle(joined.values);
            return failed;
        }
        joined.drop_name = self.pairing.return_bool;
        self.ready.push_back(joined);
        failed
    }

    fn result_labels(&self, many: &LabelSet, one: &LabelSet, run: &Run<'_>) -> LabelSet {
        let now = self.pairing.return_bool && !run.habits.delayed_names;
        let mut labels = if changes_quantity(self.pairing.op) || now {
            drop_metric(many)
        } else {
            many.clone()
        };
        if self.one_to_one() {
            let named = |name: &str| self.matching.labels.iter().any(|label| label == name);
            labels = labels.filtered(|name| named(name) == self.matching.on);
        }
        if self.matching.include.is_empty() {
            return labels;
        }
        let mut builder = labels.to_builder();
        for name in &self.matching.include {
            builder.set(name, one.get(name).unwrap_or_default());
        }
        builder.build()
    }
}

/// A series as the other operand.
fn of_series(series: &StepSeries) -> Partner<'_> {
    Partner {
        values: Ok(&series.values),
        histograms: &series.histograms,
    }
}

/// A number as the other operand.
const fn number(value: f64) -> Partner<'static> {
    static NONE: StepHistograms = StepHistograms::none();
    Partner {
        values: Err(value),
        histograms: &NONE,
    }
}

fn not_unique(group: &LabelSet, one: &LabelSet, other: &LabelSet, matching: &Matching) -> String {
    let side = match matching.cardinality {
        Cardinality::OneToMany => "left",
        _ => "right",
    };
    let mut pair = [braces(one), braces(other)];
    pair.sort();
    format!(
        "found duplicate series for the match group {} on the {side} hand-side of the operation: \
         [{}];many-to-many matching not allowed: matching labels must be unique on one side",
        braces(group),
        pair.join(", ")
    )
}

impl Join {
    fn open(&mut self, run: &Run<'_>) -> Result<(), Error> {
        self.stage = Stage::Streaming;
        let (read, said) = run.early(|| self.hold(run));
        if self.swapped() {
            run.repeat(said);
        } else {
            self.said = Some(said);
        }
        if let (Err(_), true) = (&read, self.swapped()) {
            return read;
        }
        let read = read.and_then(|()| self.judge(self.fills()));
        read.map_err(|error| earlier_failure(error, &mut self.many, run))
    }
}

impl Operator for Join {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if self.stage == Stage::New {
            self.open(run)?;
        }
        loop {
            if let Some(series) = self.ready.pop_front() {
                return Ok(Some(series));
            }
            if self.stage == Stage::Done {
                return Ok(None);
            }
            match self.many.next(run)? {
                Some(series) => {
                    if let Err(error) = self.join(series, run) {
                        return Err(earlier_failure(error, &mut self.many, run));
                    }
                }
                None => {
                    self.stage = Stage::Done;
                    if let Some(said) = self.said.take() {
                        run.repeat(said);
                    }
                    self.judge(false)?;
                    if let Some(fill) = self.matching.fill_left {
                        self.fill_many(fill, run)?;
                    }
                }
            }
        }
    }
}
