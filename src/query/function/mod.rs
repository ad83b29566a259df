//! PromQL's functions: one table, and the arithmetic behind it.
//!
//! Pure: numbers, times and label sets in, the same out. Knows no series, sources, plans or
//! operators. What each function does is what Prometheus 3.14 does, to 1e-12 relative: sums are
//! compensated in the same way and taken in the same order.
//!
//! A function is a row of [`all`] and a few lines in its family's file. Functions whose
//! [`Evaluate`] is `Special` have an operator in `exec` that drives the pure part found here.

mod calendar;
mod folded;
mod histogram;
mod label;
mod math;
mod native;
mod native_rate;
mod over_time;
mod rate;
mod registry;
mod shape;
mod sort;

pub use super::number::{format_general, format_open_metrics, parse_float};
pub use super::sum::{Mean, Neumaier, Variance};
pub(super) use native_rate::interpolated;

pub use folded::{FoldWindow, Folded, OverFolds};
pub use histogram::{
    BUCKET_LABEL, ClassicBucket, ForcedMonotonicity, bucket_bound, bucket_fraction, bucket_quantile,
};
pub use label::{LabelJoin, LabelReplace};
pub use over_time::quantile;
pub use registry::{Function, all, lookup};
pub use shape::{
    Evaluate, HistogramWindow, MixedResult, OverFloats, OverMixed, QueryContext, RangeWindow,
    Reach, Special, Workspace,
};
pub use sort::{compare_labels, compare_values};
