//! PromQL: text in, series out. Synchronous; sees data only through [`crate::source::Source`].

mod annotations;
pub mod function;
pub mod syntax;
pub mod value;

pub use annotations::{Annotations, Note, Notes, Severity, line_and_column};
