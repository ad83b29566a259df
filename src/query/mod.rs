//! PromQL: text in, series out. Synchronous; sees data only through [`crate::source::Source`].

pub mod value;
