//! The nodes of a plan.

use crate::model::{METRIC_NAME, MatchOp, Matcher};
use crate::query::function::{Evaluate, Function, Special};
use crate::query::syntax::{AggregateOp, BinaryOp, Cardinality, Edges, Matching, Span};
use crate::query::value::{Steps, ValueType};

/// A part of a plan and where its text stands.
#[derive(Clone, Debug)]
pub(in crate::query) struct Node {
    /// What it does.
    pub(in crate::query) kind: NodeKind,
    /// Where it stands in the query's text.
    pub(in crate::query) span: Span,
}

/// What a node does.
#[derive(Clone, Debug)]
pub(in crate::query) enum NodeKind {
    /// A number at every step.
    Number(f64),
    /// A text.
    Text(String),
    /// The newest sample of each series at each step.
    Instant(Selector),
    /// The samples of each series within a range.
    Range(RangeInput),
    /// Evaluated at the first step only, the same at all others.
    Once(Box<Node>),
    /// The sign changed.
    Negate(Box<Node>),
    /// A plus sign before something: it changes nothing, but what is remarked about an argument
    /// begins there, and `timestamp` no longer sees a selector.
    Plus(Box<Node>),
    /// Two operands.
    Binary(Box<BinaryNode>),
    /// Series gathered into groups.
    Aggregate(Box<AggregateNode>),
    /// A function.
    Call(CallNode),
}

/// Which moment a step looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::query) struct Moment {
    /// The time that `@` fixes.
    pub(in crate::query) at: Option<i64>,
    /// How much earlier.
    pub(in crate::query) offset_ms: i64,
}

impl Moment {
    /// The moment that the step at a time looks at.
    pub(in crate::query) fn of(self, step_time: i64) -> i64 {
        self.at.unwrap_or(step_time).saturating_sub(self.offset_ms)
    }
}

/// Series, and the moment at which they are looked at.
#[derive(Clone, Debug)]
pub(in crate::query) struct Selector {
    /// All must hold.
    pub(in crate::query) matchers: Vec<Matcher>,
    /// When.
    pub(in crate::query) moment: Moment,
    /// How the edges of a range are treated.
    pub(in crate::query) edges: Edges,
    /// Nobody looks at the buckets of native histograms.
    pub(in crate::query) no_buckets: bool,
}

impl Selector {
    /// Whether all its series carry one name.
    fn has_one_name(&self) -> bool {
        self.matchers.iter().any(|matcher| {
            matcher.name() == METRIC_NAME
                && matcher.op() == MatchOp::Equal
                && !matcher.value().is_empty()
        })
    }
}

/// What a range is taken of.
#[derive(Clone, Debug)]
pub(in crate::query) enum RangeInput {
    /// Stored samples.
    Stored {
        /// Which series, and the end of the range.
        selector: Selector,
        /// Its length.
        range_ms: i64,
    },
    /// An expression's values.
    Computed(Box<SubqueryNode>),
}

/// An expression that is evaluated at its own steps.
#[derive(Clone, Debug)]
pub(in crate::query) struct SubqueryNode {
    /// The expression.
    pub(in crate::query) expr: Node,
    /// The end of the range.
    pub(in crate::query) moment: Moment,
    /// Its length.
    pub(in crate::query) range_ms: i64,
    /// Its step.
    pub(in crate::query) step_ms: i64,
}

impl SubqueryNode {
    /// The steps at which the expression is evaluated for an outer query's steps: the multiples of
    /// its step that some outer step's range holds. `None`: there are none.
    pub(in crate::query) fn steps(&self, outer: &Steps) -> Option<Steps> {
        let first = self.moment.of(outer.start.0).saturating_sub(self.range_ms);
        let last = self.moment.of(outer.end().0);
        let start = (first.div_euclid(self.step_ms) + 1).saturating_mul(self.step_ms);
        Grid {
            start,
            end: last,
            step_ms: self.step_ms,
        }
        .steps()
    }
}

/// Times from a first to a last one.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) struct Grid {
    /// The first time.
    pub(in crate::query) start: i64,
    /// No time is after this one.
    pub(in crate::query) end: i64,
    /// Milliseconds between two; above 0.
    pub(in crate::query) step_ms: i64,
}

impl Grid {
    /// The steps, if there are any.
    pub(in crate::query) fn steps(self) -> Option<Steps> {
        let length = self.end.checked_sub(self.start)?;
        let count = usize::try_from(length.checked_div(self.step_ms)?).ok()?;
        (length >= 0).then_some(Steps {
            start: crate::model::TimestampMs(self.start),
            step_ms: self.step_ms,
            count: count.saturating_add(1),
            until: crate::model::TimestampMs(self.end),
        })
    }
}

/// Two operands.
#[derive(Clone, Debug)]
pub(in crate::query) struct BinaryNode {
    /// The operator.
    pub(in crate::query) op: BinaryOp,
    /// 0 or 1 instead of filtering.
    pub(in crate::query) return_bool: bool,
    /// The left operand.
    pub(in crate::query) left: Node,
    /// The right operand.
    pub(in crate::query) right: Node,
    /// How series find each other, between two vectors.
    pub(in crate::query) matching: Matching,
}

/// Series gathered into groups.
#[derive(Clone, Debug)]
pub(in crate::query) struct AggregateNode {
    /// The operator.
    pub(in crate::query) op: AggregateOp,
    /// What is gathered.
    pub(in crate::query) expr: Node,
    /// The parameter.
    pub(in crate::query) param: Option<Node>,
    /// The labels of `by` or `without`.
    pub(in crate::query) grouping: Vec<String>,
    /// It is `without`.
    pub(in crate::query) without: bool,
}

/// A function and its arguments.
#[derive(Clone, Debug)]
pub(in crate::query) struct CallNode {
    /// The function.
    pub(in crate::query) function: &'static Function,
    /// Its arguments.
    pub(in crate::query) args: Vec<Node>,
}

impl Node {
    /// The type of its value.
    pub(in crate::query) fn value_type(&self) -> ValueType {
        match &self.kind {
            NodeKind::Number(_) => ValueType::Scalar,
            NodeKind::Text(_) => ValueType::String,
            NodeKind::Instant(_) | NodeKind::Aggregate(_) => ValueType::Vector,
            NodeKind::Range(_) => ValueType::Matrix,
            NodeKind::Once(inner) | NodeKind::Negate(inner) | NodeKind::Plus(inner) => {
                inner.value_type()
            }
            NodeKind::Binary(binary) => {
                match (binary.left.value_type(), binary.right.value_type()) {
                    (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                    _ => ValueType::Vector,
                }
            }
            NodeKind::Call(call) => call.function.returns,
        }
    }

    /// The moment at which the first selector looks, those of subqueries around it included: the
    /// offsets add up until an `@` fixes the time.
    pub(in crate::query) fn first_moment(&self) -> Option<Moment> {
        match &self.kind {
            NodeKind::Number(_) | NodeKind::Text(_) => None,
            NodeKind::Instant(selector) => Some(selector.moment),
            NodeKind::Range(RangeInput::Stored { selector, .. }) => Some(selector.moment),
            NodeKind::Range(RangeInput::Computed(subquery)) => {
                let inner = subquery.expr.first_moment()?;
                Some(match inner.at {
                    Some(_) => inner,
                    None => Moment {
                        at: subquery.moment.at,
                        offset_ms: inner.offset_ms.saturating_add(subquery.moment.offset_ms),
                    },
                })
            }
            NodeKind::Once(inner) | NodeKind::Negate(inner) | NodeKind::Plus(inner) => {
                inner.first_moment()
            }
            NodeKind::Binary(binary) => {
                let left = binary.left.first_moment();
                left.or_else(|| binary.right.first_moment())
            }
            NodeKind::Aggregate(aggregate) => {
                let param = || aggregate.param.as_ref().and_then(Self::first_moment);
                aggregate.expr.first_moment().or_else(param)
            }
            NodeKind::Call(call) => call.args.iter().find_map(Self::first_moment),
        }
    }

    /// Whether series of different names may be among its results: names that are removed may
    /// leave equal label sets then.
    pub(in crate::query) fn may_mix_names(&self) -> bool {
        match &self.kind {
            NodeKind::Number(_) | NodeKind::Text(_) => false,
            NodeKind::Instant(selector) => !selector.has_one_name(),
            NodeKind::Range(RangeInput::Stored { selector, .. }) => !selector.has_one_name(),
            NodeKind::Range(RangeInput::Computed(subquery)) => subquery.expr.may_mix_names(),
            NodeKind::Once(inner) | NodeKind::Negate(inner) | NodeKind::Plus(inner) => {
                inner.may_mix_names()
            }
            NodeKind::Binary(_) => true,
            NodeKind::Aggregate(aggregate) => match aggregate.op {
                AggregateOp::Topk
                | AggregateOp::Bottomk
                | AggregateOp::Limitk
                | AggregateOp::LimitRatio => aggregate.expr.may_mix_names(),
                _ => {
                    !aggregate.without && aggregate.grouping.iter().any(|name| name == METRIC_NAME)
                }
            },
            NodeKind::Call(call) => match call.function.evaluate {
                Evaluate::Special(Special::LabelReplace | Special::LabelJoin) => true,
                _ => call.args.iter().any(Self::may_mix_names),
            },
        }
    }

    /// Whether one label set may come in several pieces, each with other steps.
    pub(in crate::query) fn may_split(&self) -> bool {
        match &self.kind {
            NodeKind::Number(_)
            | NodeKind::Text(_)
            | NodeKind::Instant(_)
            | NodeKind::Range(RangeInput::Stored { .. }) => false,
            NodeKind::Range(RangeInput::Computed(subquery)) => subquery.expr.may_split(),
            NodeKind::Once(inner) | NodeKind::Plus(inner) => inner.may_split(),
            NodeKind::Negate(inner) => inner.may_split() || inner.may_mix_names(),
            NodeKind::Binary(binary) => {
                let vectors = binary.left.value_type() == ValueType::Vector
                    && binary.right.value_type() == ValueType::Vector;
                vectors || binary.left.may_split() || binary.right.may_split()
            }
            NodeKind::Aggregate(aggregate) => match aggregate.op {
                AggregateOp::Topk
                | AggregateOp::Bottomk
                | AggregateOp::Limitk
                | AggregateOp::LimitRatio => aggregate.expr.may_split(),
                _ => false,
            },
            NodeKind::Call(call) => match call.function.evaluate {
                Evaluate::Special(_) => true,
                _ => call
                    .args
                    .iter()
                    .any(|arg| arg.may_split() || arg.may_mix_names()),
            },
        }
    }

    /// Whether an instant query shows its series in the order in which they come.
    pub(in crate::query) fn keeps_order(&self) -> bool {
        match &self.kind {
            NodeKind::Once(inner) | NodeKind::Negate(inner) | NodeKind::Plus(inner) => {
                inner.keeps_order()
            }
            NodeKind::Binary(binary) => match binary.matching.cardinality {
                Cardinality::OneToMany => binary.right.keeps_order(),
                _ => binary.left.keeps_order() || binary.right.keeps_order(),
            },
            NodeKind::Aggregate(aggregate) => {
                matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk)
            }
            NodeKind::Call(call) => match call.function.evaluate {
                Evaluate::Special(Special::Sort { .. } | Special::SortByLabel { .. }) => true,
                _ => call.args.iter().any(Self::keeps_order),
            },
            _ => false,
        }
    }
}
