//! The words that random queries are made of: metrics, labels, matchers, numbers, functions. What
//! stands several times comes more often.

pub(super) const METRICS: &[&str] = &[
    "requests_total",
    "requests_total",
    "requests_total",
    "memory_bytes",
    "memory_bytes",
    "temperature",
    "temperature",
    "latency_seconds_bucket",
    "latency_seconds_sum",
    "latency_seconds_count",
    "build_info",
    "up",
    "capacity",
    "mixed",
    "sparse",
    "nothing",
];
pub(super) const NATIVE_METRICS: &[&str] =
    &["sizes", "sizes", "levels", "bounded", "bounded", "both"];
/// What makes numbers of histograms: a text before them, and one after.
pub(super) const NATIVE: &[(&str, &str)] = &[
    ("histogram_count(", ")"),
    ("histogram_sum(", ")"),
    ("histogram_avg(", ")"),
    ("histogram_stddev(", ")"),
    ("histogram_stdvar(", ")"),
    ("histogram_quantile(0.9, ", ")"),
    ("histogram_quantile(0.2, ", ")"),
    ("histogram_fraction(0, 0.7, ", ")"),
    ("histogram_fraction(-Inf, 1, ", ")"),
    ("histogram_quantiles(", ", \"q\", 0.1, 0.5, 0.99)"),
];
pub(super) const LABELS: &[&str] = &[
    "job", "instance", "code", "room", "le", "version", "__name__", "zone",
];
pub(super) const MATCHERS: &[&str] = &[
    "job=\"a\"",
    "job=\"b\"",
    "job!=\"a\"",
    "job=~\"a|c\"",
    "job!~\"b.*\"",
    "instance=\"1\"",
    "instance=~\"[12]\"",
    "instance!=\"3\"",
    "code=\"200\"",
    "code=~\"5..\"",
    "code!=\"\"",
    "code=\"\"",
    "room=~\".+\"",
    "room!~\"k.*\"",
    "le=\"+Inf\"",
    "version=~\"v.*\"",
    "zone=\"\"",
    "job=~\".*\"",
];
pub(super) const NUMBERS: &[&str] = &[
    "0", "1", "2", "-1", "0.5", "3.7", "10", "100", "1e3", "-2.5", "NaN", "Inf", "-Inf", "1e-3",
    "0x1f", "5m", "1h30m", "300", "1e100", ".5",
];
pub(super) const QUANTILES: &[&str] = &[
    "0", "0.1", "0.5", "0.9", "0.99", "1", "-0.5", "1.5", "NaN", "0.333",
];
pub(super) const DURATIONS: &[&str] = &[
    "15s", "30s", "1m", "1m", "90s", "2m", "5m", "5m", "10m", "17s", "100ms", "14999ms", "60",
];

/// Functions of a vector and, after it, scalars.
pub(super) const SAMPLE: &[(&str, usize)] = &[
    ("abs", 0),
    ("acos", 0),
    ("acosh", 0),
    ("asin", 0),
    ("asinh", 0),
    ("atan", 0),
    ("atanh", 0),
    ("ceil", 0),
    ("clamp", 2),
    ("clamp_max", 1),
    ("clamp_min", 1),
    ("cos", 0),
    ("cosh", 0),
    ("deg", 0),
    ("exp", 0),
    ("floor", 0),
    ("ln", 0),
    ("log10", 0),
    ("log2", 0),
    ("rad", 0),
    ("round", 0),
    ("round", 1),
    ("sgn", 0),
    ("sin", 0),
    ("sinh", 0),
    ("sqrt", 0),
    ("tan", 0),
    ("tanh", 0),
    ("timestamp", 0),
    ("sort", 0),
    ("sort_desc", 0),
    ("absent", 0),
    ("day_of_month", 0),
    ("day_of_week", 0),
    ("day_of_year", 0),
    ("days_in_month", 0),
    ("hour", 0),
    ("minute", 0),
    ("month", 0),
    ("year", 0),
];
pub(super) const OVER_TIME: &[&str] = &[
    "absent_over_time",
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "deriv",
    "first_over_time",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "mad_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "rate",
    "rate",
    "increase",
    "resets",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];
pub(super) const EXTENDED: &[&str] = &["rate", "increase", "delta", "changes", "resets"];
pub(super) const FOLDS: &[&str] = &[
    "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar",
];
