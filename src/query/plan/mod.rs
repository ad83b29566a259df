//! From an expression's tree to what is executed: durations, `@` and context functions resolved,
//! parentheses gone, and what does not depend on the step marked to be evaluated once.
//!
//! Knows the query's times but no data.

mod build;
mod explain;
mod node;

pub(super) use build::plan;
pub(super) use explain::matchers_text;
pub(super) use node::{
    AggregateNode, BinaryNode, CallNode, Moment, Node, NodeKind, RangeInput, Selector, SubqueryNode,
};
