//! PromQL as text: parsing, type check, formatting. Knows nothing of data or of evaluation.
//!
//! The grammar is Prometheus 3.14's, its error messages included. Source: `promql/parser` and
//! `docs/querying` of prometheus/prometheus.

mod ast;
mod duration;
mod error;
mod span;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Edges, Expr, ExprKind,
    Matching, MatrixSelector, Subquery, Unary, VectorSelector,
};
pub use duration::{DurationError, DurationExpr, DurationKind, DurationOp, NumberLiteral};
pub use error::ParseError;
pub use span::Span;
