//! From the nodes of a plan to operators: which operator serves which node, at which steps.

use crate::model::TimestampMs;
use crate::query::error::Error;
use crate::query::function::{Evaluate, OverFloats, OverMixed, Reach};
use crate::query::plan::{
    AggregateNode, BinaryNode, CallNode, Node, NodeKind, RangeInput, Selector, SubqueryNode,
};
use crate::query::syntax::AggregateOp;
use crate::query::value::{Steps, ValueType};

use super::aggregate::Fold;
use super::apart::Apart;
use super::arithmetic::{Pairing, Scalars, WithScalar};
use super::constant::{Empty, Formula, Negate, Once, Refuse, Scalar};
use super::join::Join;
use super::labels::{Distinct, LabelKey};
use super::measured::Measured;
use super::operator::{Habits, Input, Reads, Run};
use super::output::{Raw, collect};
use super::pick::Pick;
use super::range::{Computed, Nothing, Range, RangeCall, RangeSource, Stored};
use super::scan::{Scan, Wanted};
use super::sets::Sets;
use super::tally::{Gather, Tally};
use super::window::{Windows, reach_of};

/// Makes the operator of a node, at these steps.
///
/// # Errors
/// Refuses what this build lacks, and arguments that can be refused before any data are seen.
pub(in crate::query) fn assemble(
    node: &Node,
    steps: Steps,
    habits: Habits,
) -> Result<Input, Error> {
    Assembly {
        steps,
        habits,
        level: 0,
    }
    .input(node)
}

/// What all nodes at the same steps need.
#[derive(Clone, Copy)]
pub(super) struct Assembly {
    /// The steps.
    pub(super) steps: Steps,
    /// What is switched on.
    pub(super) habits: Habits,
    /// How many operators are above.
    pub(super) level: usize,
}

/// Operators below so many others are not watched: each is a call more on the stack.
const WATCHED_LEVELS: usize = 100;

impl Assembly {
    pub(super) fn input(self, node: &Node) -> Result<Input, Error> {
        let below = Self {
            level: self.level + 1,
            ..self
        };
        if self.habits.apart
            && let Some(apart) = below.apart(node)
        {
            return Ok(Box::new(apart));
        }
        let input = below.operator(node)?;
        if self.habits.profiled && self.level < WATCHED_LEVELS {
            return Ok(Box::new(Measured::new(input, node.describe())));
        }
        Ok(input)
    }

    /// What evaluates a node by several threads, if it reads one selector and nothing else.
    fn apart(self, node: &Node) -> Option<Apart> {
        let assembly = Self {
            habits: Habits {
                apart: false,
                ..self.habits
            },
            ..self
        };
        let lookback_ms = self.habits.lookback_ms;
        let (reads, distinct) = match &node.kind {
            NodeKind::Instant(selector) => {
                let scan = Scan::new(selector.clone(), self.steps, Wanted::Value);
                (scan.reads(lookback_ms), None)
            }
            NodeKind::Call(call) => {
                let (selector, range_ms) = stored_range(call)?;
                let drops = !call.function.keeps_name && !self.habits.delayed_names;
                let distinct = (drops && node.may_mix_names()).then(Distinct::strict);
                let reads = Reads {
                    matchers: selector.matchers.clone(),
                    range: self.windows(selector, range_ms).span(lookback_ms),
                    moments: None,
                };
                (reads, distinct)
            }
            _ => return None,
        };
        let node = node.clone();
        let make = move || assembly.operator(&node);
        Some(Apart::new(make, reads, distinct))
    }

    /// The operator of a node, evaluated by the thread that asks.
    fn operator(self, node: &Node) -> Result<Input, Error> {
        Ok(match &node.kind {
            NodeKind::Number(number) => Box::new(Scalar::new(Formula::Number(*number), self.steps)),
            NodeKind::Text(_) => Box::new(Empty),
            NodeKind::Instant(selector) => {
                let scan = Scan::new(selector.clone(), self.steps, Wanted::Value);
                Box::new(scan.at(node.span.start))
            }
            NodeKind::Range(_) => {
                return Err(Error::Execution(
                    "a range vector stands where no range can be evaluated".to_owned(),
                ));
            }
            NodeKind::Once(inner) => {
                let once = Self {
                    steps: Steps::instant(self.steps.start),
                    ..self
                };
                Box::new(Once {
                    input: once.input(inner)?,
                    count: self.steps.count,
                })
            }
            NodeKind::Plus(inner) => self.operator(inner)?,
            NodeKind::Negate(inner) => Box::new(Negate {
                input: self.input(inner)?,
                distinct: self.distinct(inner),
            }),
            NodeKind::Binary(binary) => self.binary(binary, node.span.start)?,
            NodeKind::Aggregate(aggregate) => self.aggregate(aggregate, node.span.start)?,
            NodeKind::Call(call) => self.call(call, node.span.start)?,
        })
    }

    /// What sees to equal label sets where names are dropped from this node's series.
    pub(super) fn distinct(self, node: &Node) -> Option<Distinct> {
        (!self.habits.delayed_names && node.may_mix_names()).then(Distinct::default)
    }

    fn binary(self, binary: &BinaryNode, position: usize) -> Result<Input, Error> {
        let left = self.input(&binary.left)?;
        let right = self.input(&binary.right)?;
        let pairing = Pairing {
            op: binary.op,
            return_bool: binary.return_bool,
            position,
        };
        let scalar = |node: &Node| node.value_type() == ValueType::Scalar;
        Ok(match (scalar(&binary.left), scalar(&binary.right)) {
            (true, true) => Box::new(Scalars {
                op: binary.op,
                left,
                right,
            }),
            (false, false) if binary.op.is_set() => {
                Box::new(Sets::new(binary.op, &binary.matching, left, right))
            }
            (false, false) => Box::new(Join::new(pairing, binary.matching.clone(), left, right)),
            (scalar_left, _) => {
                let (vector, scalar, node) = if scalar_left {
                    (right, left, &binary.right)
                } else {
                    (left, right, &binary.left)
                };
                Box::new(WithScalar {
                    pairing,
                    vector,
                    scalar,
                    scalar_left,
                    distinct: self.distinct(node),
                    scalars: None,
                })
            }
        })
    }

    fn aggregate(self, aggregate: &AggregateNode, position: usize) -> Result<Input, Error> {
        let input = self.input(&aggregate.expr)?;
        let from = aggregate.expr.span.start;
        let mut grouping = aggregate.grouping.clone();
        let param = match &aggregate.param {
            Some(param) => Some((param, self.input(param)?)),
            None => None,
        };
        if let (AggregateOp::CountValues, Some((param, _))) = (aggregate.op, &param) {
            let label = text(param);
            if label.is_empty() {
                return Err(Error::Execution(format!("invalid label name {label:?}")));
            }
            if !aggregate.without {
                grouping.push(label.clone());
            }
            let key = grouping_key(&grouping, aggregate.without);
            let tally = Tally::CountValues(label);
            return Ok(Box::new(Gather::new(
                tally,
                (input, from),
                key,
                self.steps.count,
            )));
        }
        let key = grouping_key(&grouping, aggregate.without);
        Ok(match (aggregate.op, param) {
            (AggregateOp::Quantile, Some((node, param))) => {
                let tally = Tally::Quantile(param, node.span.start);
                Box::new(Gather::new(tally, (input, from), key, self.steps.count))
            }
            (op, Some((node, param))) => Box::new(Pick::new(
                op,
                input,
                param,
                (position, node.span.start),
                key,
            )),
            (op, None) => Box::new(Fold::new(op, (input, from), key, self.steps.count)),
        })
    }

    /// A function of ranges.
    pub(super) fn range_call(
        self,
        call: &CallNode,
        evaluate: OverFloats,
        evaluate_mixed: OverMixed,
    ) -> Result<Input, Error> {
        let range = call
            .args
            .iter()
            .find(|arg| arg.value_type() == ValueType::Matrix);
        let Some(range) = range else {
            return Err(Error::Invalid(format!(
                "expected a range vector in call to function {:?}",
                call.function.name
            )));
        };
        // These remark upon hints that contradict each other.
        let hints = matches!(call.function.name, "sum_over_time" | "avg_over_time");
        let (windows, source, stored) = self.range_of(range, hints)?;
        if !call.function.reach.contains(&windows.reach) {
            // Not before it is its turn: what is evaluated earlier may fail as well.
            let message = wrong_reach(windows.reach, call.function.name);
            return Ok(Box::new(Refuse(message)));
        }
        Ok(Box::new(Range::new(RangeCall {
            name: call.function.name,
            evaluate,
            evaluate_mixed,
            evaluate_folded: call.function.folded,
            keeps_name: call.function.keeps_name,
            mixes_names: range.may_mix_names(),
            windows,
            source,
            stored,
            scalars: self.scalars(call)?.0,
            positions: call.args.iter().map(position).collect(),
        })))
    }

    /// Windows, the series that they slide over, and whether these come from storage.
    pub(super) fn range(self, node: &Node) -> Result<(Windows, Box<dyn RangeSource>, bool), Error> {
        self.range_of(node, false)
    }

    /// The same; with `neighbours` it matters what was before the first histogram.
    fn range_of(
        self,
        node: &Node,
        neighbours: bool,
    ) -> Result<(Windows, Box<dyn RangeSource>, bool), Error> {
        match &node.kind {
            NodeKind::Range(RangeInput::Stored { selector, range_ms }) => {
                let windows = self.windows(selector, *range_ms);
                let span = windows.span(self.habits.lookback_ms);
                let stored = Stored::new(selector.clone(), span, neighbours);
                let stored = stored.at(node.span.start);
                Ok((windows, Box::new(stored), true))
            }
            NodeKind::Range(RangeInput::Computed(subquery)) => {
                let windows = Windows {
                    moment: subquery.moment,
                    range_ms: subquery.range_ms,
                    reach: Reach::Within,
                    steps: self.steps,
                };
                Ok((windows, self.computed(subquery)?, false))
            }
            _ => Err(Error::Invalid("expected a range vector".to_owned())),
        }
    }

    const fn windows(self, selector: &Selector, range_ms: i64) -> Windows {
        Windows {
            moment: selector.moment,
            range_ms,
            reach: reach_of(selector.edges),
            steps: self.steps,
        }
    }

    fn computed(self, subquery: &SubqueryNode) -> Result<Box<dyn RangeSource>, Error> {
        let Some(steps) = subquery.steps(&self.steps) else {
            return Ok(Box::new(Nothing));
        };
        let input = Self { steps, ..self }.input(&subquery.expr)?;
        let pieces = subquery.expr.may_split();
        Ok(Box::new(Computed::new(input, steps, pieces)))
    }
}

/// The stored range that is all that a function of ranges reads.
fn stored_range(call: &CallNode) -> Option<(&Selector, i64)> {
    if !matches!(call.function.evaluate, Evaluate::Range(..)) {
        return None;
    }
    let mut stored = None;
    for arg in &call.args {
        match &arg.kind {
            NodeKind::Number(_) => {}
            NodeKind::Range(RangeInput::Stored { selector, range_ms }) if stored.is_none() => {
                stored = Some((selector, *range_ms));
            }
            _ => return None,
        }
    }
    stored
}

fn grouping_key(grouping: &[String], without: bool) -> LabelKey {
    if without {
        LabelKey::without(grouping)
    } else {
        LabelKey::only(grouping)
    }
}

/// The text that a node is.
pub(super) fn text(node: &Node) -> String {
    match &node.kind {
        NodeKind::Text(text) => text.clone(),
        _ => String::new(),
    }
}

/// Prometheus' words for a modifier that a function does not understand.
fn wrong_reach(reach: Reach, function: &str) -> String {
    let (modifier, functions) = match reach {
        Reach::Anchored => ("anchored", "changes, delta, increase, rate, resets"),
        Reach::Within | Reach::Smoothed => ("smoothed", "delta, increase, rate"),
    };
    format!("{modifier} modifier can only be used with: {functions} - not with {function}")
}

/// The samples that a range vector has at one time.
///
/// # Errors
/// As its evaluation.
pub(in crate::query) fn raw_samples(
    node: &Node,
    at: TimestampMs,
    run: &Run<'_>,
) -> Result<Vec<Raw>, Error> {
    let assembly = Assembly {
        steps: Steps::instant(at),
        habits: run.habits,
        level: 0,
    };
    let (windows, source, stored) = assembly.range_of(node, true)?;
    collect(windows, source, stored, run)
}

/// Where an argument stands, for what is remarked about it. Prometheus puts the samples of a
/// subquery in its place, and these stand nowhere.
fn position(arg: &Node) -> usize {
    match &arg.kind {
        NodeKind::Range(RangeInput::Computed(_)) => 0,
        _ => arg.span.start,
    }
}
