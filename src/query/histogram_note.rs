//! What there is to say of native histograms, in Prometheus' words.

use std::fmt::{Display, Formatter, Result};

/// What was done with histograms when something was to be said of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Two were added.
    Addition,
    /// One was subtracted from another.
    Subtraction,
    /// Many were aggregated.
    Aggregation,
}

impl Display for Operation {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        out.write_str(match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        })
    }
}

/// A remark about native histograms. A metric without name is an empty text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HistogramNote {
    /// A range with floats and histograms, for a function that takes one kind.
    MixedRange(String),
    /// A group with floats and histograms.
    MixedAggregation,
    /// One histogram in both forms.
    MixedClassicNative(String),
    /// A function of counters over a gauge.
    NotCounter(String),
    /// A function of gauges over a counter.
    NotGauge(String),
    /// Exponential and custom buckets together.
    MixedSchemas(String),
    /// The same, for an operator between two vectors.
    IncompatibleLayout(&'static str),
    /// An aggregation that knows nothing of histograms.
    IgnoredInAggregation(&'static str),
    /// A function that knows nothing of histograms, over a range that has both.
    IgnoredInMixedRange(String),
    /// A quantile lies among observations that are no numbers.
    QuantileNan(String),
    /// Observations that are no numbers push a quantile up.
    QuantileSkew(String),
    /// Observations that are no numbers are in no fraction.
    FractionNan(String),
    /// A reset here, explicitly none there.
    ResetCollision(Operation),
    /// Custom bounds differed.
    Reconciled(Operation),
}

impl HistogramNote {
    /// Whether the result is probably not what was meant.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::MixedRange(_)
                | Self::MixedAggregation
                | Self::MixedClassicNative(_)
                | Self::NotCounter(_)
                | Self::NotGauge(_)
                | Self::MixedSchemas(_)
                | Self::IncompatibleLayout(_)
                | Self::ResetCollision(_)
        )
    }
}

impl Display for HistogramNote {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let mix = "encountered a mix of histograms and floats for";
        let named = |out: &mut Formatter<'_>, text: &str, metric: &str| match metric {
            "" => out.write_str(text),
            metric => write!(out, "{text} for metric name {metric:?}"),
        };
        match self {
            Self::MixedRange(metric) => write!(out, "{mix} metric name {metric:?}"),
            Self::MixedAggregation => write!(out, "{mix} aggregation"),
            Self::MixedClassicNative(metric) => named(
                out,
                "vector contains a mix of classic and native histograms",
                metric,
            ),
            Self::NotCounter(metric) => write!(
                out,
                "this native histogram metric is not a counter: {metric:?}"
            ),
            Self::NotGauge(metric) => {
                write!(
                    out,
                    "this native histogram metric is not a gauge: {metric:?}"
                )
            }
            Self::MixedSchemas(metric) => write!(
                out,
                "vector contains a mix of histograms with exponential and custom buckets schemas \
                 for metric name {metric:?}"
            ),
            Self::IncompatibleLayout(operator) => write!(
                out,
                "incompatible bucket layout encountered for binary operator {operator}"
            ),
            Self::IgnoredInAggregation(name) => {
                write!(out, "ignored histogram in {name} aggregation")
            }
            Self::IgnoredInMixedRange(metric) => write!(
                out,
                "ignored histograms in a range containing both floats and histograms for metric \
                 name {metric:?}"
            ),
            Self::QuantileNan(metric) => named(
                out,
                "input to histogram_quantile has NaN observations, result is NaN",
                metric,
            ),
            Self::QuantileSkew(metric) => named(
                out,
                "input to histogram_quantile has NaN observations, result is skewed higher",
                metric,
            ),
            Self::FractionNan(metric) => named(
                out,
                "input to histogram_fraction has NaN observations, which are excluded from all \
                 fractions",
                metric,
            ),
            Self::ResetCollision(operation) => {
                write!(
                    out,
                    "conflicting counter resets during histogram {operation}"
                )
            }
            Self::Reconciled(operation) => {
                write!(
                    out,
                    "mismatched custom buckets were reconciled during {operation}"
                )
            }
        }
    }
}
