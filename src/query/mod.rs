//! PromQL: text in, series out. Synchronous; sees data only through [`crate::source::Source`].

pub mod syntax;
pub mod value;
