//! Annotations: what an answer wants to be read with. Warnings and infos, as Prometheus words them.
//!
//! Equal texts are one annotation: what differs only in its position in the query, or in the steps
//! at which it happened, is merged. Positions are byte offsets into the query's text and become
//! `line:column` only when the answer is written. Not here: errors, which end a query.

use std::collections::BTreeMap;

use crate::model::{Resolution, TimestampMs};

use super::histogram_note::HistogramNote;

/// How much it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The result is probably not what was meant.
    Warning,
    /// Worth knowing.
    Info,
}

/// What there is to say.
#[derive(Clone, PartialEq, Debug)]
pub enum Note {
    /// A quantile outside of 0 to 1, or NaN.
    InvalidQuantile(f64),
    /// A ratio outside of -1 to 1, and what it was taken for.
    InvalidRatio {
        /// The given ratio.
        got: f64,
        /// What it was capped to.
        capped: f64,
    },
    /// A classic histogram's series without a usable `le`.
    BadBucketLabel {
        /// The metric, empty if its name is gone.
        metric: String,
        /// The value of `le`.
        label: String,
    },
    /// Sorting in a range query does nothing.
    SortInRangeQuery,
    /// A counter function over a metric that is not named like a counter.
    PossibleNonCounter {
        /// The metric.
        metric: String,
    },
    /// A counter function over a metric whose `__type__` is not a counter's.
    PossibleNonCounterLabel {
        /// The metric.
        metric: String,
        /// The type that it has.
        kind: String,
    },
    /// Bucket counts of a classic histogram that fell where they can only rise.
    ForcedMonotonicity {
        /// The metric, empty if its name is gone.
        metric: String,
        /// The step at which it happened.
        at: TimestampMs,
        /// The lowest upper bound of a bucket that was corrected.
        bucket_min: f64,
        /// The highest one.
        bucket_max: f64,
        /// The largest correction.
        difference_max: f64,
    },
    /// An operator that does not exist for these two.
    IncompatibleTypes {
        /// `float` or `histogram`.
        left: &'static str,
        /// The operator as written.
        operator: &'static str,
        /// `float` or `histogram`.
        right: &'static str,
    },
    /// A sample that starts before its predecessor ends.
    StartTimeOverlap {
        /// The metric.
        metric: String,
    },
    /// Samples were downsampled, and stand for those that went.
    Downsampled(Resolution),
    /// A range of a function does not begin and end where intervals do.
    CutsIntervals {
        /// The function.
        function: &'static str,
        /// The length of the intervals.
        resolution: Resolution,
    },
    /// A function was given only the samples that downsampling has left.
    OfSamplesLeft {
        /// The function.
        function: &'static str,
        /// One sample is left in so long.
        resolution: Resolution,
    },
    /// An instant selector looks between the ends of intervals of samples that were downsampled.
    BetweenEnds(Resolution),
    /// About native histograms.
    Histogram(HistogramNote),
    /// Something else, in its own words.
    Other(Severity, String),
}

impl From<HistogramNote> for Note {
    fn from(note: HistogramNote) -> Self {
        Self::Histogram(note)
    }
}

impl Note {
    /// How much it matters.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::InvalidQuantile(_)
            | Self::InvalidRatio { .. }
            | Self::BadBucketLabel { .. }
            | Self::SortInRangeQuery
            | Self::StartTimeOverlap { .. } => Severity::Warning,
            Self::PossibleNonCounter { .. }
            | Self::PossibleNonCounterLabel { .. }
            | Self::ForcedMonotonicity { .. }
            | Self::IncompatibleTypes { .. }
            | Self::Downsampled(_)
            | Self::CutsIntervals { .. }
            | Self::OfSamplesLeft { .. }
            | Self::BetweenEnds(_) => Severity::Info,
            Self::Histogram(note) => match note.is_warning() {
                true => Severity::Warning,
                false => Severity::Info,
            },
            Self::Other(severity, _) => *severity,
        }
    }

    /// Whether it counts how often it is said. What is said of reads is said by as many threads as there were.
    const fn is_counted(&self) -> bool {
        !matches!(
            self,
            Self::CutsIntervals { .. } | Self::OfSamplesLeft { .. } | Self::BetweenEnds(_)
        )
    }

    /// The text without its prefix, position and counts: what makes two notes one.
    fn text(&self) -> String {
        match self {
            Self::InvalidQuantile(got) => format!(
                "quantile value should be between 0 and 1, got {}",
                short(*got)
            ),
            Self::InvalidRatio { got, capped } => format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                short(*got),
                short(*capped)
            ),
            Self::BadBucketLabel { metric, label } => of_metric(
                &format!("bucket label \"le\" is missing or has a malformed value of {label:?}"),
                metric,
            ),
            Self::SortInRangeQuery => {
                "sort is ineffective for range queries since results are always ordered by labels"
                    .to_owned()
            }
            Self::PossibleNonCounter { metric } => format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \
                 {metric:?}"
            ),
            Self::PossibleNonCounterLabel { metric, kind } => format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \
                 \"histogram\", got {kind:?}: {metric:?}"
            ),
            Self::ForcedMonotonicity { metric, .. } => of_metric(
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                metric,
            ),
            Self::IncompatibleTypes {
                left,
                operator,
                right,
            } => format!(
                "incompatible sample types encountered for binary operator {operator:?}: {left} \
                 {operator} {right}"
            ),
            Self::StartTimeOverlap { metric } => format!(
                "sample has start time that overlaps with previous sample timestamp for metric \
                 {metric:?}"
            ),
            Self::Downsampled(resolution) => {
                format!("samples were downsampled to {resolution}")
            }
            Self::CutsIntervals {
                function,
                resolution,
            } => format!(
                "{function} over this range cuts intervals of samples that were downsampled to {resolution}, and is \
                 that of those whole ones that end in it"
            ),
            Self::OfSamplesLeft {
                function,
                resolution,
            } => format!(
                "{function} over this range sees only the samples that downsampling to {resolution} has left"
            ),
            Self::BetweenEnds(resolution) => format!(
                "a selector at these times sees only the samples that downsampling to {resolution} has left"
            ),
            Self::Histogram(note) => note.to_string(),
            Self::Other(_, text) => text.clone(),
        }
    }
}

fn of_metric(text: &str, metric: &str) -> String {
    if metric.is_empty() {
        text.to_owned()
    } else {
        format!("{text} for metric name {metric:?}")
    }
}

/// What is merged when one note is made many times.
#[derive(Clone, Debug)]
struct Entry {
    note: Note,
    position: usize,
    times: u64,
    first: TimestampMs,
    last: TimestampMs,
}

/// The annotations of one query.
#[derive(Clone, Debug, Default)]
pub struct Annotations(BTreeMap<(Severity, String), Entry>);

impl Annotations {
    /// Adds a note about the expression that begins at `position` of the query's text.
    pub fn add(&mut self, note: Note, position: usize) {
        let at = match &note {
            Note::ForcedMonotonicity { at, .. } => *at,
            _ => TimestampMs(0),
        };
        let key = (note.severity(), note.text());
        match self.0.get_mut(&key) {
            None => {
                let entry = Entry {
                    note,
                    position,
                    times: 1,
                    first: at,
                    last: at,
                };
                self.0.insert(key, entry);
            }
            Some(entry) => {
                entry.times += u64::from(note.is_counted());
                entry.position = position;
                entry.first = entry.first.min(at);
                entry.last = entry.last.max(at);
                entry.widen(&note);
            }
        }
    }

    /// Adds those of another part of the query.
    pub fn merge(&mut self, other: Self) {
        for (key, entry) in other.0 {
            match self.0.get_mut(&key) {
                None => {
                    self.0.insert(key, entry);
                }
                Some(ours) => {
                    if entry.note.is_counted() {
                        ours.times += entry.times;
                    }
                    ours.position = entry.position;
                    ours.first = ours.first.min(entry.first);
                    ours.last = ours.last.max(entry.last);
                    ours.widen(&entry.note);
                }
            }
        }
    }

    /// Whether that was said, wherever.
    #[must_use]
    pub fn has(&self, note: &Note) -> bool {
        self.0.contains_key(&(note.severity(), note.text()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one severity as the answer shows them: prefix, text and position, at most `most`
    /// (0: all) and then how many were left out.
    #[must_use]
    pub fn texts(&self, severity: Severity, query: &str, most: usize) -> Vec<String> {
        let all = || self.0.iter().filter(|(key, _)| key.0 == severity);
        let shown = if most == 0 { usize::MAX } else { most };
        let (prefix, word) = match severity {
            Severity::Warning => ("PromQL warning: ", "warning"),
            Severity::Info => ("PromQL info: ", "info"),
        };
        let mut texts: Vec<String> = all()
            .take(shown)
            .map(|((_, text), entry)| {
                format!(
                    "{prefix}{text}{} ({})",
                    entry.details(),
                    line_and_column(query, entry.position)
                )
            })
            .collect();
        let left_out = all().count().saturating_sub(shown);
        if left_out > 0 {
            texts.push(format!("{left_out} more {word} annotations omitted"));
        }
        texts
    }
}

impl Entry {
    /// Takes the extremes of both.
    fn widen(&mut self, other: &Note) {
        if let (
            Note::ForcedMonotonicity {
                bucket_min,
                bucket_max,
                difference_max,
                ..
            },
            Note::ForcedMonotonicity {
                bucket_min: other_min,
                bucket_max: other_max,
                difference_max: other_difference,
                ..
            },
        ) = (&mut self.note, other)
        {
            *bucket_min = bucket_min.min(*other_min);
            *bucket_max = bucket_max.max(*other_max);
            *difference_max = difference_max.max(*other_difference);
        }
    }

    fn details(&self) -> String {
        match &self.note {
            Note::ForcedMonotonicity {
                bucket_min,
                bucket_max,
                difference_max,
                ..
            } => format!(
                ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                short(*bucket_min),
                short(*bucket_max),
                significant(*difference_max, 2),
                self.times,
                rfc3339_seconds(self.first),
                rfc3339_seconds(self.last)
            ),
            Note::StartTimeOverlap { .. } if self.times > 1 => {
                format!(" ({} occurrences)", self.times)
            }
            _ => String::new(),
        }
    }
}

/// Where functions leave their notes: they know which argument is at fault and the operator knows
/// where that stands and which series it is about.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    annotations: Annotations,
    arguments: Vec<usize>,
    metric: String,
}

impl Notes {
    /// For a call whose arguments begin at these positions of the query's text.
    #[must_use]
    pub fn new(arguments: Vec<usize>) -> Self {
        Self {
            annotations: Annotations::default(),
            arguments,
            metric: String::new(),
        }
    }

    /// Says what metric the next notes are about.
    pub fn about(&mut self, metric: &str) {
        if self.metric != metric {
            metric.clone_into(&mut self.metric);
        }
    }

    /// The metric at hand, empty if its name is gone.
    #[must_use]
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Adds a note about an argument, the first being 0.
    pub fn add(&mut self, argument: usize, note: Note) {
        let position = self.arguments.get(argument).copied().unwrap_or(0);
        self.annotations.add(note, position);
    }

    /// What was noted; nothing is left.
    #[must_use]
    pub fn take(&mut self) -> Annotations {
        std::mem::take(&mut self.annotations)
    }
}

/// A position of a text as `line:column`, both from 1, columns in bytes.
#[must_use]
pub fn line_and_column(text: &str, position: usize) -> String {
    let Some(before) = text.as_bytes().get(..position) else {
        return "invalid position".to_owned();
    };
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count()
        + 1;
    format!("{line}:{column}")
}

/// A float as Go's `%g` prints it: the shortest digits that are exactly this float.
fn short(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    layout(digits, exponent.parse().unwrap_or(0), 6, value)
}

/// A float as Go's `%.Ng` prints it.
fn significant(value: f64, digits: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let mantissa = if mantissa.contains('.') {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    let rounded = scientific.parse().unwrap_or(value);
    let precision = i32::try_from(digits).unwrap_or(i32::MAX);
    layout(mantissa, exponent.parse().unwrap_or(0), precision, rounded)
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Go's choice between plain and scientific notation, the exponent with at least two digits.
fn layout(mantissa: &str, exponent: i32, precision: i32, value: f64) -> String {
    if exponent < -4 || exponent >= precision {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else {
        format!("{value}")
    }
}

/// A time as RFC 3339 in UTC, whole seconds.
fn rfc3339_seconds(at: TimestampMs) -> String {
    jiff::Timestamp::from_second(at.0.div_euclid(1000))
        .map_or_else(|_| at.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_the_last_position_shows() {
        let mut all = Annotations::default();
        let note = || Note::PossibleNonCounter {
            metric: "x".to_owned(),
        };
        all.add(note(), 5);
        all.add(note(), 2);
        all.add(Note::InvalidQuantile(1.5), 0);
        assert_eq!(
            all.texts(Severity::Info, "a\nb", 10),
            [
                "PromQL info: metric might not be a counter, name does not end in \
              _total/_sum/_count/_bucket: \"x\" (2:1)"
            ]
        );
        assert_eq!(
            all.texts(Severity::Warning, "a", 10),
            ["PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:1)"]
        );
    }

    #[test]
    fn more_than_asked_for_are_counted() {
        let mut all = Annotations::default();
        for i in 0..13 {
            all.add(Note::Other(Severity::Info, format!("{i:02}")), 0);
        }
        let texts = all.texts(Severity::Info, "x", 10);
        assert_eq!(texts.len(), 11);
        assert_eq!(texts[10], "3 more info annotations omitted");
    }

    #[test]
    fn floats_print_as_in_go() {
        assert_eq!(short(0.5), "0.5");
        assert_eq!(short(100.0), "100");
        assert_eq!(short(1_234_567.0), "1.234567e+06");
        assert_eq!(short(f64::INFINITY), "+Inf");
        assert_eq!(short(1e-5), "1e-05");
        assert_eq!(significant(0.123, 2), "0.12");
        assert_eq!(significant(123.0, 2), "1.2e+02");
        assert_eq!(significant(10.0, 2), "10");
    }

    #[test]
    fn merged_monotonicity_has_its_extremes() {
        let mut all = Annotations::default();
        for (at, low, high) in [(2_000, 2.0, 5.0), (1_000, 1.0, 4.0)] {
            let note = Note::ForcedMonotonicity {
                metric: String::new(),
                at: TimestampMs(at),
                bucket_min: low,
                bucket_max: high,
                difference_max: 0.1,
            };
            all.add(note, 0);
        }
        let texts = all.texts(Severity::Info, "x", 10);
        assert!(
            texts[0].contains(
                "from buckets 1 to 5, with a max diff of 0.1, over 2 samples from \
                 1970-01-01T00:00:01Z to 1970-01-01T00:00:02Z (1:1)"
            ),
            "{texts:?}"
        );
    }
}
