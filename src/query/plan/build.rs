//! Makes a plan of an expression, for the times at which the query asks.
//!
//! The rules of what is evaluated once are those of `PreprocessExpr` in Prometheus'
//! `promql/engine.go`: a part with nothing but fixed times in it, wrapped as high in the tree as
//! possible; selectors of ranges and texts are never wrapped themselves.

use crate::query::error::Error;
use crate::query::function::{Evaluate, Function, QueryContext, Special};
use crate::query::syntax::{
    Aggregate, At, Binary, BinaryOp, Call, DurationExpr, Expr, ExprKind, LEVELS_MAX,
    MatrixSelector, Span, Subquery, VectorSelector,
};
use crate::query::value::Steps;

use super::node::{
    AggregateNode, BinaryNode, CallNode, Moment, Node, NodeKind, RangeInput, Selector, SubqueryNode,
};

/// What an expression's parts need to know.
struct Builder {
    start_ms: i64,
    end_ms: i64,
    /// 0 in an instant query.
    step_ms: i64,
    default_step_ms: i64,
    depth: usize,
    /// How many functions around this part look at counts and sums of histograms only.
    counting: usize,
    /// How many parts around this one need the buckets of histograms.
    in_buckets: usize,
}

/// A part of the plan in the making.
struct Part {
    node: Node,
    /// Its value is the same at every step.
    invariant: bool,
    /// It may be wrapped to be evaluated once.
    wrap: bool,
}

impl Part {
    const fn new(kind: NodeKind, span: Span, invariant: bool, wrap: bool) -> Self {
        Self {
            node: Node { kind, span },
            invariant,
            wrap,
        }
    }

    /// The node, wrapped if it may be.
    fn wrapped(self) -> Node {
        if self.wrap {
            once(self.node)
        } else {
            self.node
        }
    }
}

fn once(node: Node) -> Node {
    Node {
        span: node.span,
        kind: NodeKind::Once(Box::new(node)),
    }
}

/// Plans an expression.
///
/// # Errors
/// Refuses durations without value and trees that are too deep.
pub(in crate::query) fn plan(
    expr: &Expr,
    steps: &Steps,
    range_query: bool,
    default_step_ms: i64,
) -> Result<Node, Error> {
    let mut builder = Builder {
        start_ms: steps.start.0,
        end_ms: steps.until.0,
        step_ms: if range_query { steps.step_ms } else { 0 },
        default_step_ms,
        depth: 0,
        counting: 0,
        in_buckets: 0,
    };
    Ok(builder.part(expr)?.wrapped())
}

impl Builder {
    fn part(&mut self, expr: &Expr) -> Result<Part, Error> {
        self.depth += 1;
        if self.depth > LEVELS_MAX {
            return Err(Error::Invalid(format!(
                "the expression is nested more than {LEVELS_MAX} levels deep: split it"
            )));
        }
        let part = match &expr.kind {
            ExprKind::Number(number) => {
                Part::new(NodeKind::Number(number.value), expr.span, true, false)
            }
            ExprKind::String(text) => {
                Part::new(NodeKind::Text(text.clone()), expr.span, true, false)
            }
            ExprKind::Vector(selector) => {
                let selector = self.selector(selector)?;
                let fixed = selector.moment.at.is_some();
                Part::new(NodeKind::Instant(selector), expr.span, fixed, fixed)
            }
            ExprKind::Matrix(matrix) => self.matrix(matrix, expr.span)?,
            ExprKind::Subquery(subquery) => self.subquery(subquery, expr.span)?,
            ExprKind::Paren(inner) => self.part(inner)?,
            ExprKind::Unary(unary) => {
                let inner = self.part(&unary.expr)?;
                if unary.negative {
                    let (invariant, wrap) = (inner.invariant, inner.wrap);
                    let kind = NodeKind::Negate(Box::new(inner.node));
                    Part::new(kind, expr.span, invariant, wrap)
                } else {
                    let (invariant, wrap) = (inner.invariant, inner.wrap);
                    let kind = NodeKind::Plus(Box::new(inner.node));
                    Part::new(kind, expr.span, invariant, wrap)
                }
            }
            ExprKind::Binary(binary) => self.binary(binary, expr.span)?,
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span)?,
            ExprKind::Call(call) => self.call(call, expr.span)?,
        };
        self.depth -= 1;
        Ok(part)
    }

    fn positive(&self, duration: &DurationExpr) -> Result<i64, Error> {
        let range = self.end_ms.saturating_sub(self.start_ms);
        Ok(duration.positive_ms(self.step_ms, range)?)
    }

    fn moment(&self, at: Option<At>, offset: Option<&DurationExpr>) -> Result<Moment, Error> {
        let range = self.end_ms.saturating_sub(self.start_ms);
        let offset_ms = match offset {
            Some(offset) => offset.offset_ms(self.step_ms, range)?,
            None => 0,
        };
        let at = at.map(|at| match at {
            At::Time(time) => time.0,
            At::Start => self.start_ms,
            At::End => self.end_ms,
        });
        Ok(Moment { at, offset_ms })
    }

    fn selector(&self, selector: &VectorSelector) -> Result<Selector, Error> {
        Ok(Selector {
            matchers: selector.matchers.clone(),
            moment: self.moment(selector.at, selector.offset.as_ref())?,
            edges: selector.edges,
            no_buckets: self.counting > 0 && self.in_buckets == 0,
        })
    }

    fn matrix(&self, matrix: &MatrixSelector, span: Span) -> Result<Part, Error> {
        let selector = self.selector(&matrix.vector)?;
        let fixed = selector.moment.at.is_some();
        let input = RangeInput::Stored {
            selector,
            range_ms: self.positive(&matrix.range)?,
        };
        Ok(Part::new(NodeKind::Range(input), span, fixed, false))
    }

    fn subquery(&mut self, subquery: &Subquery, span: Span) -> Result<Part, Error> {
        let moment = self.moment(subquery.at, subquery.offset.as_ref())?;
        let range_ms = self.positive(&subquery.range)?;
        let step_ms = match &subquery.step {
            Some(step) => self.positive(step)?,
            None => self.default_step_ms,
        };
        // What a subquery leaves out may have been a reset.
        self.in_buckets += 1;
        let inner = self.part(&subquery.expr)?;
        self.in_buckets -= 1;
        let expr = if inner.invariant {
            once(inner.node)
        } else {
            inner.node
        };
        let input = RangeInput::Computed(Box::new(SubqueryNode {
            expr,
            moment,
            range_ms,
            step_ms: step_ms.max(1),
        }));
        let fixed = moment.at.is_some();
        Ok(Part::new(NodeKind::Range(input), span, fixed, false))
    }

    fn binary(&mut self, binary: &Binary, span: Span) -> Result<Part, Error> {
        let trims = matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        self.in_buckets += usize::from(trims);
        let left = self.part(&binary.left)?;
        let right = self.part(&binary.right)?;
        self.in_buckets -= usize::from(trims);
        let invariant = left.invariant && right.invariant;
        let (left, right) = if invariant {
            (left.node, right.node)
        } else {
            (left.wrapped(), right.wrapped())
        };
        let node = BinaryNode {
            op: binary.op,
            return_bool: binary.return_bool,
            left,
            right,
            matching: binary.matching.clone().unwrap_or_default(),
        };
        let kind = NodeKind::Binary(Box::new(node));
        Ok(Part::new(kind, span, invariant, invariant))
    }

    fn aggregate(&mut self, aggregate: &Aggregate, span: Span) -> Result<Part, Error> {
        let inner = self.part(&aggregate.expr)?;
        // As in Prometheus, only the expression decides whether the whole is evaluated once.
        let (invariant, wrap) = (inner.invariant, inner.wrap);
        let param = match &aggregate.param {
            Some(param) => Some(self.part(param)?.wrapped()),
            None => None,
        };
        let mut grouping = aggregate.grouping.clone();
        grouping.sort_unstable();
        grouping.dedup();
        let kind = NodeKind::Aggregate(Box::new(AggregateNode {
            op: aggregate.op,
            expr: inner.node,
            param,
            grouping,
            without: aggregate.without,
        }));
        Ok(Part::new(kind, span, invariant, wrap))
    }

    fn call(&mut self, call: &Call, span: Span) -> Result<Part, Error> {
        let function = call.function;
        if let Evaluate::Special(Special::QueryContext(context)) = function.evaluate {
            let kind = NodeKind::Number(self.context(context));
            return Ok(Part::new(kind, span, true, false));
        }
        let counts = matches!(
            function.name,
            "histogram_count" | "histogram_sum" | "histogram_avg"
        );
        let looks = matches!(
            function.evaluate,
            Evaluate::Special(
                Special::HistogramQuantile
                    | Special::HistogramQuantiles
                    | Special::HistogramFraction
            )
        ) || matches!(function.name, "histogram_stddev" | "histogram_stdvar");
        self.counting += usize::from(counts);
        self.in_buckets += usize::from(looks);
        let mut parts = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            parts.push(self.part(arg)?);
        }
        self.counting -= usize::from(counts);
        self.in_buckets -= usize::from(looks);
        let all_invariant = parts.iter().all(|part| part.invariant);
        let of_selector = is_timestamp(function)
            && parts
                .iter()
                .all(|part| matches!(part.node.kind, NodeKind::Instant(_)));
        let invariant = all_invariant && (!function.time_dependent || of_selector);
        let args = parts
            .into_iter()
            .map(|part| if invariant { part.node } else { part.wrapped() })
            .collect();
        let kind = NodeKind::Call(CallNode { function, args });
        Ok(Part::new(kind, span, invariant, invariant))
    }

    fn context(&self, context: QueryContext) -> f64 {
        match context {
            QueryContext::Start => seconds(self.start_ms),
            QueryContext::End => seconds(self.end_ms),
            QueryContext::Range => seconds(self.end_ms.saturating_sub(self.start_ms)),
            QueryContext::Step if self.start_ms == self.end_ms => 0.0,
            QueryContext::Step => seconds(self.step_ms),
        }
    }
}

fn is_timestamp(function: &Function) -> bool {
    matches!(function.evaluate, Evaluate::Special(Special::Timestamp))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a time in milliseconds is far below 2^53"
)]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
