//! From the nodes of a plan to operators: which operator serves which node, at which steps.

use crate::model::TimestampMs;
use crate::query::error::Error;
use crate::query::function::{Evaluate, LabelJoin, LabelReplace, Reach, Special};
use crate::query::plan::{
    AggregateNode, BinaryNode, CallNode, Moment, Node, NodeKind, RangeInput, SubqueryNode,
};
use crate::query::syntax::AggregateOp;
use crate::query::value::{Steps, ValueType};

use super::absent::{Absent, AbsentOverTime, absent_labels};
use super::aggregate::Fold;
use super::arithmetic::{Pairing, Scalars, WithScalar};
use super::call::{Change, Labels, Map, Nameless, Only, Relabel, Swallow};
use super::constant::{Empty, Formula, Negate, Once, Scalar};
use super::histogram::{Asked, Histograms};
use super::info::Info;
use super::join::Join;
use super::labels::{Distinct, LabelKey};
use super::operator::{Habits, Input, Run};
use super::output::{Raw, collect};
use super::pick::Pick;
use super::range::{
    Computed, Nothing, OverWindow, Range, RangeCall, RangeSource, Stored, Windows, reach_of,
};
use super::scan::{Scan, Wanted};
use super::sets::Sets;
use super::sort::{Order, Sort};
use super::tally::{Gather, Tally};

/// Makes the operator of a node, at these steps.
///
/// # Errors
/// Refuses what this build lacks, and arguments that can be refused before any data are seen.
pub(in crate::query) fn assemble(
    node: &Node,
    steps: Steps,
    habits: Habits,
) -> Result<Input, Error> {
    Assembly { steps, habits }.input(node)
}

/// What all nodes at the same steps need.
#[derive(Clone, Copy)]
struct Assembly {
    steps: Steps,
    habits: Habits,
}

impl Assembly {
    fn input(self, node: &Node) -> Result<Input, Error> {
        Ok(match &node.kind {
            NodeKind::Number(number) => Box::new(Scalar::new(Formula::Number(*number), self.steps)),
            NodeKind::Text(_) => Box::new(Empty),
            NodeKind::Instant(selector) => {
                Box::new(Scan::new(selector.clone(), self.steps, Wanted::Value))
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
            NodeKind::Negate(inner) => Box::new(Negate {
                input: self.input(inner)?,
                distinct: self.distinct(inner),
            }),
            NodeKind::Binary(binary) => self.binary(binary, node.span.start)?,
            NodeKind::Aggregate(aggregate) => self.aggregate(aggregate)?,
            NodeKind::Call(call) => self.call(call, node.span.start)?,
        })
    }

    /// What sees to equal label sets where names are dropped from this node's series.
    fn distinct(self, node: &Node) -> Option<Distinct> {
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

    fn aggregate(self, aggregate: &AggregateNode) -> Result<Input, Error> {
        let input = self.input(&aggregate.expr)?;
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
            return Ok(Box::new(Gather::new(tally, input, key, self.steps.count)));
        }
        let key = grouping_key(&grouping, aggregate.without);
        Ok(match (aggregate.op, param) {
            (AggregateOp::Quantile, Some((node, param))) => {
                let tally = Tally::Quantile(param, node.span.start);
                Box::new(Gather::new(tally, input, key, self.steps.count))
            }
            (op, Some((node, param))) => {
                Box::new(Pick::new(op, input, param, node.span.start, key))
            }
            (op, None) => Box::new(Fold::new(op, input, key, self.steps.count)),
        })
    }

    fn call(self, call: &CallNode, position: usize) -> Result<Input, Error> {
        let function = call.function;
        Ok(match function.evaluate {
            Evaluate::Sample(sample) => self.map(call, Change::Sample(sample))?,
            Evaluate::Calendar(part) => match call.args.is_empty() {
                true => self.calendar_of_step(part),
                false => self.map(call, Change::Value(part))?,
            },
            Evaluate::Step(time) => Box::new(Scalar::new(Formula::Time(time), self.steps)),
            Evaluate::Scalar(scalar) => {
                let inputs: Result<Vec<Input>, Error> =
                    call.args.iter().map(|arg| self.input(arg)).collect();
                Box::new(Scalar::new(Formula::Scalars(scalar, inputs?), self.steps))
            }
            Evaluate::Range(evaluate) => self.range_call(call, evaluate)?,
            Evaluate::Special(special) => self.special(call, special, position)?,
        })
    }

    /// The argument at a position.
    fn arg(self, call: &CallNode, at: usize) -> Result<&Node, Error> {
        call.args.get(at).ok_or_else(|| {
            Error::Invalid(format!(
                "expected at least {} argument(s) in call to {:?}",
                at + 1,
                call.function.name
            ))
        })
    }

    fn arg_input(self, call: &CallNode, at: usize) -> Result<Input, Error> {
        self.input(self.arg(call, at)?)
    }

    /// The scalar arguments, and where they begin.
    fn scalars(self, call: &CallNode) -> Result<(Vec<Input>, Vec<usize>), Error> {
        let scalars = || {
            call.args
                .iter()
                .filter(|arg| arg.value_type() == ValueType::Scalar)
        };
        let inputs: Result<Vec<Input>, Error> = scalars().map(|arg| self.input(arg)).collect();
        Ok((inputs?, scalars().map(|arg| arg.span.start).collect()))
    }

    fn map(self, call: &CallNode, change: Change) -> Result<Input, Error> {
        let vector = self.arg(call, 0)?;
        Ok(Box::new(Map {
            change,
            vector: self.input(vector)?,
            scalars: self.scalars(call)?.0,
            steps: self.steps,
            distinct: self.distinct(vector),
            rows: None,
        }))
    }

    /// `hour()` and its like without argument: of the step's time.
    fn calendar_of_step(self, part: fn(f64) -> f64) -> Input {
        let seconds: fn(i64) -> f64 = |ms| super::scan::seconds(ms.div_euclid(1_000) * 1_000);
        let time = Box::new(Scalar::new(Formula::Time(seconds), self.steps));
        Box::new(Map {
            change: Change::Value(part),
            vector: time,
            scalars: Vec::new(),
            steps: self.steps,
            distinct: None,
            rows: None,
        })
    }

    fn special(self, call: &CallNode, special: Special, position: usize) -> Result<Input, Error> {
        Ok(match special {
            Special::Absent => Box::new(Absent {
                vector: self.arg_input(call, 0)?,
                labels: absent_labels(self.arg(call, 0)?),
                count: self.steps.count,
                done: false,
            }),
            Special::AbsentOverTime => {
                let arg = self.arg(call, 0)?;
                let (windows, source, _) = self.range(arg)?;
                Box::new(AbsentOverTime {
                    windows,
                    source,
                    labels: absent_labels(arg),
                    done: false,
                })
            }
            Special::Scalar => Box::new(Only {
                vector: self.arg_input(call, 0)?,
                count: self.steps.count,
                done: false,
            }),
            Special::Vector => self.arg_input(call, 0)?,
            Special::LabelReplace | Special::LabelJoin => self.relabel(call, special)?,
            Special::Sort { descending } => self.sort(call, Order::Value, descending, position)?,
            Special::SortByLabel { descending } => {
                let names = call.args.iter().skip(1).map(text).collect();
                self.sort(call, Order::Labels(names), descending, position)?
            }
            Special::HistogramQuantile
            | Special::HistogramQuantiles
            | Special::HistogramFraction => self.histograms(call, special)?,
            Special::NativeHistogramOnly => Box::new(Swallow {
                vector: self.arg_input(call, 0)?,
            }),
            Special::Timestamp => self.timestamp(call)?,
            Special::StartTimestamp => self.start_timestamp(call)?,
            Special::Info => self.info(call)?,
            Special::QueryContext(_) => Box::new(Empty),
        })
    }

    fn relabel(self, call: &CallNode, special: Special) -> Result<Input, Error> {
        let texts: Vec<String> = call.args.iter().skip(1).map(text).collect();
        let relabel = match (special, texts.as_slice()) {
            (Special::LabelReplace, [destination, replacement, source, regex]) => {
                LabelReplace::new(destination, replacement, source, regex).map(Relabel::Replace)
            }
            (_, [destination, separator, sources @ ..]) => {
                let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
                LabelJoin::new(destination, separator, &sources).map(Relabel::Join)
            }
            _ => Err("too few arguments".to_owned()),
        };
        Ok(Box::new(Labels {
            relabel: relabel.map_err(Error::Execution)?,
            vector: self.arg_input(call, 0)?,
            distinct: Distinct::default(),
        }))
    }

    fn sort(
        self,
        call: &CallNode,
        order: Order,
        descending: bool,
        position: usize,
    ) -> Result<Input, Error> {
        Ok(Box::new(Sort {
            order,
            descending,
            vector: self.arg_input(call, 0)?,
            instant: self.steps.is_instant(),
            position,
            sorted: None,
            held: None,
        }))
    }

    fn histograms(self, call: &CallNode, special: Special) -> Result<Input, Error> {
        let (asked, vector) = match special {
            Special::HistogramQuantile => (Asked::Quantile, 1),
            Special::HistogramQuantiles => (Asked::Quantiles(text(self.arg(call, 1)?)), 0),
            _ => (Asked::Fraction, 2),
        };
        let vector = self.arg(call, vector)?;
        let (scalars, scalar_positions) = self.scalars(call)?;
        Ok(Box::new(Histograms {
            asked,
            vector: self.input(vector)?,
            scalars,
            steps: self.steps,
            vector_position: vector.span.start,
            scalar_positions,
            done: None,
        }))
    }

    fn info(self, call: &CallNode) -> Result<Input, Error> {
        let base = self.arg(call, 0)?;
        let matchers = match call.args.get(1).map(|arg| &arg.kind) {
            Some(NodeKind::Instant(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let now = Moment {
            at: None,
            offset_ms: 0,
        };
        Ok(Box::new(Info {
            base: self.input(base)?,
            matchers,
            moment: base.first_moment().unwrap_or(now),
            steps: self.steps,
            done: None,
        }))
    }

    fn timestamp(self, call: &CallNode) -> Result<Input, Error> {
        let arg = self.arg(call, 0)?;
        let NodeKind::Instant(selector) = &arg.kind else {
            return self.map(call, Change::StepTime);
        };
        let scan = Scan::new(selector.clone(), self.steps, Wanted::Timestamp);
        Ok(Box::new(Nameless {
            vector: Box::new(scan),
            distinct: self.distinct(arg),
        }))
    }

    fn start_timestamp(self, call: &CallNode) -> Result<Input, Error> {
        let arg = self.arg(call, 0)?;
        let selector = match &arg.kind {
            NodeKind::Instant(selector) if self.habits.start_timestamps => selector,
            _ => {
                return Ok(Box::new(Swallow {
                    vector: self.input(arg)?,
                }));
            }
        };
        let scan = Scan::new(selector.clone(), self.steps, Wanted::Start);
        Ok(Box::new(Nameless {
            vector: Box::new(scan),
            distinct: self.distinct(arg),
        }))
    }

    fn range_call(self, call: &CallNode, evaluate: OverWindow) -> Result<Input, Error> {
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
        let (windows, source, stored) = self.range(range)?;
        if !call.function.reach.contains(&windows.reach) {
            return Err(Error::Execution(wrong_reach(
                windows.reach,
                call.function.name,
            )));
        }
        Ok(Box::new(Range::new(RangeCall {
            name: call.function.name,
            evaluate,
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
    fn range(self, node: &Node) -> Result<(Windows, Box<dyn RangeSource>, bool), Error> {
        match &node.kind {
            NodeKind::Range(RangeInput::Stored { selector, range_ms }) => {
                let windows = Windows {
                    moment: selector.moment,
                    range_ms: *range_ms,
                    reach: reach_of(selector.edges),
                    steps: self.steps,
                };
                let span = windows.span(self.habits.lookback_ms);
                Ok((windows, Box::new(Stored::new(selector.clone(), span)), true))
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

    fn computed(self, subquery: &SubqueryNode) -> Result<Box<dyn RangeSource>, Error> {
        let Some(steps) = subquery.steps(&self.steps) else {
            return Ok(Box::new(Nothing));
        };
        let input = assemble(&subquery.expr, steps, self.habits)?;
        let pieces = subquery.expr.may_split();
        Ok(Box::new(Computed::new(input, steps, pieces)))
    }
}

fn grouping_key(grouping: &[String], without: bool) -> LabelKey {
    if without {
        LabelKey::without(grouping)
    } else {
        LabelKey::only(grouping)
    }
}

/// The text that a node is.
fn text(node: &Node) -> String {
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
    };
    let (windows, source, stored) = assembly.range(node)?;
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
