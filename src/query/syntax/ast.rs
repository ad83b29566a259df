//! The tree of a PromQL expression, with the place of every part in the text.
//!
//! It says what was written: parentheses stand as nodes, durations are expressions of their own
//! (`[5m + step()]`), and nothing is folded. What it means is `query/plan`'s business.

use std::fmt;

use crate::model::{Matcher, TimestampMs};
use crate::query::function::Function;

use super::duration::{DurationExpr, NumberLiteral};
use super::span::Span;

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands, as Prometheus counts it.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A number or a duration as a number of seconds, its sign included.
    Number(NumberLiteral),
    /// A text.
    String(String),
    /// `name{label="value"} @ time offset 5m`.
    Vector(VectorSelector),
    /// `selector[5m]`.
    Matrix(MatrixSelector),
    /// `expr[1h:5m]`.
    Subquery(Box<Subquery>),
    /// `(expr)`.
    Paren(Box<Expr>),
    /// `-expr`, `+expr`.
    Unary(Unary),
    /// `left op right`.
    Binary(Box<Binary>),
    /// `sum by (label) (expr)`.
    Aggregate(Box<Aggregate>),
    /// `function(arguments)`.
    Call(Call),
}

/// The time that `@` fixes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// `@ 1609746000`.
    Time(TimestampMs),
    /// `@ start()`: the first step of the query.
    Start,
    /// `@ end()`: the last step of the query.
    End,
}

/// How a selector treats the edges of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Edges {
    /// Only the samples within the range.
    #[default]
    Plain,
    /// `anchored`: the last sample before the range counts at its start.
    Anchored,
    /// `smoothed`: values at both edges are interpolated.
    Smoothed,
}

/// A selection of series.
#[derive(Clone, Debug)]
pub struct VectorSelector {
    /// The metric name that stood before the braces.
    pub name: Option<String>,
    /// All conditions; the one that `name` stands for comes last.
    pub matchers: Vec<Matcher>,
    /// `offset 5m`.
    pub offset: Option<DurationExpr>,
    /// `@ time`.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub edges: Edges,
    /// It stands as the second argument of `info`: matchers that match everything are allowed.
    pub info_labels: bool,
}

/// A selection of series with the samples of a range.
#[derive(Clone, Debug)]
pub struct MatrixSelector {
    /// The series; offset, `@` and edges of the whole stand here, too.
    pub vector: VectorSelector,
    /// Where the part before the bracket stands.
    pub vector_span: Span,
    /// How far back.
    pub range: DurationExpr,
}

/// An expression evaluated at several times.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How far back.
    pub range: DurationExpr,
    /// How often; the server's default if absent.
    pub step: Option<DurationExpr>,
    /// `offset 5m`.
    pub offset: Option<DurationExpr>,
    /// `@ time`.
    pub at: Option<At>,
}

/// `-expr` or `+expr`.
#[derive(Clone, Debug)]
pub struct Unary {
    /// It is `-`.
    pub negative: bool,
    /// The operand.
    pub expr: Box<Expr>,
}

/// `left op right`.
#[derive(Clone, Debug)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// `bool` stood after the operator: 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// The left operand.
    pub left: Expr,
    /// The right operand.
    pub right: Expr,
    /// How series find each other; absent unless both operands are instant vectors.
    pub matching: Option<Matching>,
}

/// A binary operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `>=`
    GreaterEqual,
    /// `<=`
    LessEqual,
    /// `</`: cuts a native histogram's observations above a value.
    TrimUpper,
    /// `>/`: cuts a native histogram's observations below a value.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// As it is written.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// `==`, `!=`, `>`, `<`, `>=`, `<=`: filters, or gives 0 and 1 with `bool`.
    #[must_use]
    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::Less
                | Self::GreaterEqual
                | Self::LessEqual
        )
    }

    /// `and`, `or`, `unless`: works on sets of series.
    #[must_use]
    pub const fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// How the series of two instant vectors find each other.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Matching {
    /// How many stand on which side.
    pub cardinality: Cardinality,
    /// `on`: only the labels count; otherwise all but the labels do (`ignoring`).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels that `group_left` or `group_right` takes over from the "one" side.
    pub include: Vec<String>,
    /// `fill`, `fill_left`: what stands for a series missing on the left.
    pub fill_left: Option<f64>,
    /// `fill`, `fill_right`: what stands for a series missing on the right.
    pub fill_right: Option<f64>,
}

/// How many series of each side belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cardinality {
    /// One and one.
    #[default]
    OneToOne,
    /// `group_left`.
    ManyToOne,
    /// `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

impl Cardinality {
    /// The words that Prometheus uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneToOne => "one-to-one",
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::ManyToMany => "many-to-many",
        }
    }
}

/// `op by (labels) (param, expr)`.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// The first argument of those that take two.
    pub param: Option<Expr>,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// It is `without`; `by` (or nothing, which is `by ()`) otherwise.
    pub without: bool,
}

/// An aggregation operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`, experimental.
    Limitk,
    /// `limit_ratio`, experimental.
    LimitRatio,
}

impl AggregateOp {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// It takes a parameter before the expression.
    #[must_use]
    pub const fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk
                | Self::Bottomk
                | Self::CountValues
                | Self::Quantile
                | Self::Limitk
                | Self::LimitRatio
        )
    }

    /// It has to be switched on.
    #[must_use]
    pub const fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// `name(args)`.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// The arguments.
    pub args: Vec<Expr>,
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

impl fmt::Display for AggregateOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Expr {
    /// The expression without the parentheses around it.
    #[must_use]
    pub fn unwrapped(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// The parts that are expressions, in the order in which Prometheus visits them.
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Vector(_)
            | ExprKind::Matrix(_) => Vec::new(),
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
            ExprKind::Paren(inner) => vec![inner],
            ExprKind::Unary(unary) => vec![&unary.expr],
            ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
            ExprKind::Aggregate(aggregate) => {
                let mut parts = vec![&aggregate.expr];
                parts.extend(&aggregate.param);
                parts
            }
            ExprKind::Call(call) => call.args.iter().collect(),
        }
    }
}
