//! Native histograms as PromQL calculates with them: floats, whatever they were sent as.
//!
//! Pure: histograms in, histograms and numbers out. What each operation does is what Prometheus
//! 3.14 does (its specification of native histograms, and its behaviour). What this part does not
//! know: series, steps, and where histograms are stored.

mod bounds;
mod combine;
mod float;
mod kahan;
mod read;
mod reset;
mod sides;
mod stored;
mod text;
mod trim;

pub use float::{Bucket, FloatHistogram};

pub(super) use combine::{Incompatible, Outcome};
pub(super) use kahan::{HistogramMean, HistogramSum};
pub(super) use read::{NanRemark, fraction, quantile, variance};
pub(super) use stored::Reader;

#[cfg(test)]
mod tests;
