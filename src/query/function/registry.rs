//! Every PromQL function: one row each. Parser, type check, evaluation, reference page and
//! completion all read this table. State: Prometheus 3.14 with what 3.15 adds.

use super::folded::{self, OverFolds};
use super::shape::{Evaluate, OverFloats, OverMixed, QueryContext, Reach, Special};
use super::{calendar, math, native, native_rate, over_time, rate};
use crate::query::histogram::FloatHistogram;
use crate::query::value::ValueType::{self, Matrix, Scalar, String, Vector};

/// What is known of a function.
#[derive(Debug)]
pub struct Function {
    /// As it is called.
    pub name: &'static str,
    /// Types of the arguments; the last one repeats where there may be more.
    pub args: &'static [ValueType],
    /// Prometheus' meaning: 0: exactly `args`; n > 0: the last argument may come 0 to n times;
    /// −1: any number of times.
    pub variadic: i8,
    /// The type of the result.
    pub returns: ValueType,
    /// Needs Prometheus' feature flag `promql-experimental-functions` there.
    pub experimental: bool,
    /// The result keeps the metric name.
    pub keeps_name: bool,
    /// The result depends on the step's time although the arguments do not.
    pub time_dependent: bool,
    /// Whether it knows what to do with `anchored` and `smoothed` ranges.
    pub reach: &'static [Reach],
    /// One sentence for a person.
    pub doc: &'static str,
    /// How it is evaluated.
    pub evaluate: Evaluate,
    /// How it is evaluated where samples stand for others; `None`: it sees those that are left.
    pub folded: Option<OverFolds>,
}

impl Function {
    /// The fewest arguments.
    #[must_use]
    pub fn args_min(&self) -> usize {
        self.args.len() - usize::from(self.variadic != 0)
    }

    /// The most arguments, if there is a bound.
    #[must_use]
    pub fn args_max(&self) -> Option<usize> {
        match self.variadic {
            0 => Some(self.args.len()),
            more => usize::try_from(more)
                .ok()
                .map(|more| self.args_min() + more),
        }
    }

    /// The type of the argument at a position.
    #[must_use]
    pub fn arg(&self, at: usize) -> Option<ValueType> {
        if self.args_max().is_some_and(|most| at >= most) {
            return None;
        }
        self.args.get(at).or(self.args.last()).copied()
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }

    const fn keeps_name(mut self) -> Self {
        self.keeps_name = true;
        self
    }

    const fn time_dependent(mut self) -> Self {
        self.time_dependent = true;
        self
    }

    const fn variadic(mut self, variadic: i8) -> Self {
        self.variadic = variadic;
        self
    }

    const fn with_args(mut self, args: &'static [ValueType]) -> Self {
        self.args = args;
        self
    }

    const fn returning(mut self, returns: ValueType) -> Self {
        self.returns = returns;
        self
    }

    const fn folded(mut self, folded: OverFolds) -> Self {
        self.folded = Some(folded);
        self
    }

    const fn reaching(mut self, reach: &'static [Reach]) -> Self {
        self.reach = reach;
        self
    }
}

const fn row(
    name: &'static str,
    args: &'static [ValueType],
    returns: ValueType,
    evaluate: Evaluate,
    doc: &'static str,
) -> Function {
    Function {
        name,
        args,
        variadic: 0,
        returns,
        experimental: false,
        keeps_name: false,
        time_dependent: false,
        reach: &[Reach::Within],
        doc,
        evaluate,
        folded: None,
    }
}

/// A number on every sample of a vector.
const fn sample(name: &'static str, f: fn(f64, &[f64]) -> f64, doc: &'static str) -> Function {
    row(name, &[Vector], Vector, Evaluate::Sample(f), doc)
}

/// A part of a date.
const fn date(name: &'static str, f: fn(f64) -> f64, doc: &'static str) -> Function {
    row(name, &[Vector], Vector, Evaluate::Calendar(f), doc)
        .variadic(1)
        .time_dependent()
}

/// A number for every window of a range vector; histograms in it are ignored.
const fn range(name: &'static str, f: OverFloats, doc: &'static str) -> Function {
    mixed(name, f, native::ignored, doc)
}

/// A sample for every window of a range vector.
const fn mixed(
    name: &'static str,
    floats: OverFloats,
    histograms: OverMixed,
    doc: &'static str,
) -> Function {
    let evaluate = Evaluate::Range(floats, histograms);
    row(name, &[Matrix], Vector, evaluate, doc)
}

/// A number of every histogram of a vector.
const fn histogram(
    name: &'static str,
    f: fn(&FloatHistogram) -> f64,
    doc: &'static str,
) -> Function {
    row(name, &[Vector], Vector, Evaluate::Histogram(f), doc)
}

/// Vector in, vector out, by an operator of its own.
const fn special(name: &'static str, special: Special, doc: &'static str) -> Function {
    row(name, &[Vector], Vector, Evaluate::Special(special), doc)
}

/// A number that the plan knows.
const fn context(name: &'static str, context: QueryContext, doc: &'static str) -> Function {
    let evaluate = Evaluate::Special(Special::QueryContext(context));
    row(name, &[], Scalar, evaluate, doc)
        .experimental()
        .time_dependent()
}

const ANY_REACH: &[Reach] = &[Reach::Within, Reach::Anchored, Reach::Smoothed];
const ANCHORED: &[Reach] = &[Reach::Within, Reach::Anchored];

/// All of them, sorted by name. A line or two each: a table that can be read at a glance.
#[rustfmt::skip]
static FUNCTIONS: &[Function] = &[
    sample("abs", math::abs, "Absolute values."),
    special("absent", Special::Absent, "1 where the vector is empty."),
    special("absent_over_time", Special::AbsentOverTime, "1 where no series has a sample in its range.")
        .with_args(&[Matrix]),
    sample("acos", math::acos, "Arc cosine, in radians."),
    sample("acosh", math::acosh, "Inverse hyperbolic cosine."),
    sample("asin", math::asin, "Arc sine, in radians."),
    sample("asinh", math::asinh, "Inverse hyperbolic sine."),
    sample("atan", math::atan, "Arc tangent, in radians."),
    sample("atanh", math::atanh, "Inverse hyperbolic tangent."),
    mixed("avg_over_time", over_time::avg, native::avg_over_time, "Mean of the samples in the range.")
        .folded(folded::avg),
    sample("ceil", math::ceil, "Values rounded up to whole numbers."),
    mixed("changes", rate::changes, native::changes, "How often the value changed in the range.").reaching(ANCHORED),
    sample("clamp", math::clamp, "Values limited to min and max.").with_args(&[Vector, Scalar, Scalar]),
    sample("clamp_max", math::clamp_max, "Values limited to max.").with_args(&[Vector, Scalar]),
    sample("clamp_min", math::clamp_min, "Values limited to min.").with_args(&[Vector, Scalar]),
    sample("cos", math::cos, "Cosine of radians."),
    sample("cosh", math::cosh, "Hyperbolic cosine."),
    mixed("count_over_time", over_time::count, native::count_over_time, "How many samples the range holds.")
        .folded(folded::count),
    date("day_of_month", calendar::day_of_month, "Day of the month, 1 to 31, in UTC."),
    date("day_of_week", calendar::day_of_week, "Day of the week, 0 (Sunday) to 6, in UTC."),
    date("day_of_year", calendar::day_of_year, "Day of the year, 1 to 366, in UTC."),
    date("days_in_month", calendar::days_in_month, "Days that the month has, in UTC."),
    sample("deg", math::deg, "Radians as degrees."),
    mixed("delta", rate::delta, native_rate::delta, "Difference over the range, extrapolated; for gauges.").reaching(ANY_REACH)
        .folded(folded::delta),
    range("deriv", rate::deriv, "Slope per second by linear regression; for gauges."),
    range("double_exponential_smoothing", over_time::double_exponential_smoothing,
        "Value smoothed by level (sf) and trend (tf); for gauges.")
        .with_args(&[Matrix, Scalar, Scalar]).experimental(),
    context("end", QueryContext::End, "Time of the last step, in seconds."),
    sample("exp", math::exp, "e to the power of the values."),
    mixed("first_over_time", over_time::first, native::first_over_time, "Oldest sample of the range.").keeps_name(),
    sample("floor", math::floor, "Values rounded down to whole numbers."),
    histogram("histogram_avg", native::mean, "Mean of the observations in native histograms."),
    histogram("histogram_count", native::count, "Number of observations in native histograms."),
    special("histogram_fraction", Special::HistogramFraction, "Share of observations between two values.")
        .with_args(&[Scalar, Scalar, Vector]),
    special("histogram_quantile", Special::HistogramQuantile, "Quantile of the observations in histograms.")
        .with_args(&[Scalar, Vector]),
    special("histogram_quantiles", Special::HistogramQuantiles,
        "Several quantiles of histograms, told apart by a label.")
        .with_args(&[Vector, String, Scalar, Scalar]).variadic(9).experimental(),
    histogram("histogram_stddev", native::stddev, "Standard deviation of the observations in native histograms."),
    histogram("histogram_stdvar", native::stdvar, "Variance of the observations in native histograms."),
    histogram("histogram_sum", native::sum, "Sum of the observations in native histograms."),
    date("hour", calendar::hour, "Hour of the day, 0 to 23, in UTC."),
    mixed("idelta", rate::idelta, native_rate::idelta, "Difference of the last two samples; for gauges."),
    mixed("increase", rate::increase, native_rate::increase, "Growth over the range, extrapolated; for counters.").reaching(ANY_REACH)
        .folded(folded::increase),
    special("info", Special::Info, "Adds labels of matching info series.")
        .with_args(&[Vector, Vector]).variadic(1).experimental().keeps_name(),
    mixed("irate", rate::irate, native_rate::irate, "Growth per second between the last two samples; for counters."),
    special("label_join", Special::LabelJoin, "Sets a label to the values of others, joined.")
        .with_args(&[Vector, String, String, String]).variadic(-1).keeps_name(),
    special("label_replace", Special::LabelReplace, "Sets a label from another one by a regular expression.")
        .with_args(&[Vector, String, String, String, String]).keeps_name(),
    mixed("last_over_time", over_time::last, native::last_over_time, "Newest sample of the range.").keeps_name()
        .folded(folded::last),
    sample("ln", math::ln, "Natural logarithm."),
    sample("log10", math::log10, "Decimal logarithm."),
    sample("log2", math::log2, "Binary logarithm."),
    range("mad_over_time", over_time::mad, "Median absolute deviation in the range.").experimental(),
    row("max_of", &[Scalar, Scalar], Scalar, Evaluate::Scalar(math::max_of), "Larger of two scalars.")
        .experimental(),
    range("max_over_time", over_time::max, "Largest sample of the range.")
        .folded(folded::max),
    row("min_of", &[Scalar, Scalar], Scalar, Evaluate::Scalar(math::min_of), "Smaller of two scalars.")
        .experimental(),
    range("min_over_time", over_time::min, "Smallest sample of the range.")
        .folded(folded::min),
    date("minute", calendar::minute, "Minute of the hour, 0 to 59, in UTC."),
    date("month", calendar::month, "Month of the year, 1 to 12, in UTC."),
    row("pi", &[], Scalar, Evaluate::Scalar(math::pi), "The number pi."),
    range("predict_linear", rate::predict_linear, "Value in t seconds by linear regression; for gauges.")
        .with_args(&[Matrix, Scalar]).time_dependent(),
    mixed("present_over_time", over_time::present, native::present_over_time, "1 where the range holds a sample.")
        .folded(folded::present),
    range("quantile_over_time", over_time::quantile_over_time, "Quantile of the samples in the range.")
        .with_args(&[Scalar, Matrix]),
    sample("rad", math::rad, "Degrees as radians."),
    context("range", QueryContext::Range, "Time from the first step to the last, in seconds."),
    mixed("rate", rate::rate, native_rate::rate, "Growth per second, extrapolated; for counters.").reaching(ANY_REACH)
        .folded(folded::rate),
    mixed("resets", rate::resets, native::resets, "How often the counter fell in the range.").reaching(ANCHORED),
    sample("round", math::round, "Values rounded to the nearest multiple of a number (1).")
        .with_args(&[Vector, Scalar]).variadic(1),
    special("scalar", Special::Scalar, "The value of a vector's only series, else NaN.").returning(Scalar),
    sample("sgn", math::sgn, "Signs: −1, 0 or 1."),
    sample("sin", math::sin, "Sine of radians."),
    sample("sinh", math::sinh, "Hyperbolic sine."),
    special("sort", Special::Sort { descending: false }, "Series by value, smallest first.").keeps_name(),
    special("sort_by_label", Special::SortByLabel { descending: false }, "Series by label values, in natural order.")
        .with_args(&[Vector, String]).variadic(-1).experimental().keeps_name(),
    special("sort_by_label_desc", Special::SortByLabel { descending: true },
        "Series by label values, in reverse natural order.")
        .with_args(&[Vector, String]).variadic(-1).experimental().keeps_name(),
    special("sort_desc", Special::Sort { descending: true }, "Series by value, largest first.").keeps_name(),
    sample("sqrt", math::sqrt, "Square root."),
    context("start", QueryContext::Start, "Time of the first step, in seconds."),
    special("start_timestamp", Special::StartTimestamp, "When the counter of each sample began, in seconds.")
        .experimental(),
    range("stddev_over_time", over_time::stddev, "Standard deviation of the samples in the range."),
    range("stdvar_over_time", over_time::stdvar, "Variance of the samples in the range."),
    context("step", QueryContext::Step, "Time between two steps, in seconds."),
    mixed("sum_over_time", over_time::sum, native::sum_over_time, "Sum of the samples in the range.")
        .folded(folded::sum),
    sample("tan", math::tan, "Tangent of radians."),
    sample("tanh", math::tanh, "Hyperbolic tangent."),
    row("time", &[], Scalar, Evaluate::Step(math::time), "The step's time, in seconds.").time_dependent(),
    special("timestamp", Special::Timestamp, "When each sample was taken, in seconds.").time_dependent(),
    mixed("ts_of_first_over_time", over_time::ts_of_first, native::ts_of_first, "When the oldest sample of the range was taken.")
        .experimental(),
    mixed("ts_of_last_over_time", over_time::ts_of_last, native::ts_of_last, "When the newest sample of the range was taken.")
        .experimental(),
    range("ts_of_max_over_time", over_time::ts_of_max, "When the largest sample of the range was last taken.")
        .experimental(),
    range("ts_of_min_over_time", over_time::ts_of_min, "When the smallest sample of the range was last taken.")
        .experimental(),
    special("vector", Special::Vector, "A scalar as a vector without labels.").with_args(&[Scalar]),
    date("year", calendar::year, "Year, in UTC."),
];

/// The name that Prometheus 2 had for `double_exponential_smoothing`; dashboards still use it.
const HOLT_WINTERS: &str = "holt_winters";

/// The function of a name.
#[must_use]
pub fn lookup(name: &str) -> Option<&'static Function> {
    let name = if name == HOLT_WINTERS {
        "double_exponential_smoothing"
    } else {
        name
    };
    let at = FUNCTIONS
        .binary_search_by(|function| function.name.cmp(name))
        .ok()?;
    FUNCTIONS.get(at)
}

/// All functions, sorted by name.
#[must_use]
pub fn all() -> &'static [Function] {
    FUNCTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        for function in all() {
            assert!(std::ptr::eq(lookup(function.name).unwrap(), function));
            assert!(function.doc.ends_with('.'), "{}", function.name);
        }
        assert_eq!(
            lookup("holt_winters").unwrap().name,
            "double_exponential_smoothing"
        );
        assert!(lookup("no_such").is_none());
        assert_eq!(all().len(), 90);
    }

    #[test]
    fn argument_counts_follow_prometheus() {
        for (name, least, most) in [
            ("abs", 1, Some(1)),
            ("pi", 0, Some(0)),
            ("hour", 0, Some(1)),
            ("round", 1, Some(2)),
            ("info", 1, Some(2)),
            ("label_join", 3, None),
            ("sort_by_label", 1, None),
            ("histogram_quantiles", 3, Some(12)),
        ] {
            let function = lookup(name).unwrap();
            assert_eq!(
                (function.args_min(), function.args_max()),
                (least, most),
                "{name}"
            );
        }
        let join = lookup("label_join").unwrap();
        assert_eq!(join.arg(7), Some(String));
        assert_eq!(lookup("abs").unwrap().arg(1), None);
    }

    #[test]
    fn shapes_fit_argument_types() {
        for function in all() {
            let count = |kind| function.args.iter().filter(|arg| **arg == kind).count();
            let fits = match function.evaluate {
                Evaluate::Sample(_) | Evaluate::Calendar(_) | Evaluate::Histogram(_) => {
                    count(Vector) == 1
                }
                Evaluate::Range(..) => count(Matrix) == 1,
                Evaluate::Scalar(_) | Evaluate::Step(_) => function.returns == Scalar,
                Evaluate::Special(_) => true,
            };
            assert!(fits, "{}", function.name);
        }
    }
}
