//! PromQL as text: parsing, type check, formatting. Knows nothing of data or of evaluation.
//!
//! The grammar is Prometheus 3.14's, its error messages included. Source: `promql/parser` and
//! `docs/querying` of prometheus/prometheus.

mod ast;
mod check;
mod cursor;
mod duration;
mod error;
mod format;
mod lexer;
mod literal;
mod options;
mod parse;
mod parse_duration;
mod parse_expr;
mod parse_labels;
mod parse_selector;
mod quote;
mod span;
mod token;
mod tree;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Edges, Expr, ExprKind,
    Matching, MatrixSelector, Subquery, Unary, VectorSelector,
};
pub use cursor::{LEVELS_MAX, NESTING_MAX, QUERY_BYTES_MAX};
pub use duration::{DurationError, DurationExpr, DurationKind, DurationOp, NumberLiteral};
pub use error::ParseError;
pub use format::prettify;
pub use options::ParseOptions;
pub use parse::{parse, parse_selector};
pub use span::Span;
pub use token::{aggregations, keywords};
pub use tree::tree;

#[cfg(test)]
mod tests;
