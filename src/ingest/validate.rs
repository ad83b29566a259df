//! Which labels make a series that is stored: rules, limits, and what a sender is told.
//!
//! Labels may come unsorted (they are sorted) and with empty values (those are dropped, as
//! Prometheus takes them for absent). Refused are: empty and repeated names, text that is not
//! UTF-8, a missing metric name, and whatever is beyond a limit. Native histograms have a file of
//! their own.

use std::fmt::Write as _;

use crate::model::{LabelError, LabelSet, METRIC_NAME};

use super::settings::IngestSettings;

/// All names and values of one series together: what one log record and one index entry are
/// made for. Far above what any exporter sends.
const SERIES_TEXT_MAX: usize = 64 << 10;
/// All names and values of one exemplar's labels, in characters: OpenMetrics' bound, which
/// Prometheus enforces.
const EXEMPLAR_CHARS_MAX: usize = 128;
/// How much of a series is shown in a message.
const SHOWN_BYTES_MAX: usize = 300;

/// A label as it stands in a request: nothing is known of it yet.
pub(super) type RawLabel<'a> = (&'a [u8], &'a [u8]);

/// Why labels are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LabelRefusal {
    #[error("a label {part} is not valid UTF-8: fix the sender, names and values must be text")]
    NotUtf8 { part: &'static str },
    #[error("the metric name is missing: every series needs a label __name__ with a value")]
    NoName,
    #[error("{0}: names must be distinct and not empty")]
    Set(LabelError),
    #[error(
        "it has {count} labels, at most {limit} are allowed: drop labels at the sender, or raise ingest.max_label_names_per_series"
    )]
    TooMany { count: usize, limit: usize },
    #[error(
        "the label name {shown:?} is {bytes} bytes long, at most {limit} are allowed: shorten it at the sender, or raise ingest.max_label_name_length"
    )]
    NameTooLong {
        shown: String,
        bytes: usize,
        limit: usize,
    },
    #[error(
        "the value of the label {name:?} is {bytes} bytes long, at most {limit} are allowed: shorten it at the sender, or raise ingest.max_label_value_length"
    )]
    ValueTooLong {
        name: String,
        bytes: usize,
        limit: usize,
    },
    #[error(
        "its labels are {bytes} bytes long in all, at most {SERIES_TEXT_MAX} are allowed: drop or shorten labels at the sender"
    )]
    TooLong { bytes: usize },
    #[error(
        "the labels of an exemplar have {chars} characters, at most {EXEMPLAR_CHARS_MAX} are allowed: drop or shorten them at the sender"
    )]
    ExemplarTooLong { chars: usize },
}

impl LabelRefusal {
    /// The word that metrics count it under.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } => "invalid_utf8",
            Self::NoName => "missing_metric_name",
            Self::Set(LabelError::Repeated { .. }) => "duplicate_label_names",
            Self::Set(LabelError::EmptyName { .. }) => "empty_label_name",
            Self::Set(LabelError::TooLong { .. }) | Self::TooLong { .. } => "series_too_long",
            Self::TooMany { .. } => "max_label_names_per_series",
            Self::NameTooLong { .. } => "label_name_too_long",
            Self::ValueTooLong { .. } => "label_value_too_long",
            Self::ExemplarTooLong { .. } => "exemplar_labels_too_long",
        }
    }
}

/// Makes the label set of a series.
pub(super) fn series_labels(
    raw: &[RawLabel<'_>],
    limits: &IngestSettings,
) -> Result<LabelSet, LabelRefusal> {
    let pairs = texts(raw)?;
    let present = pairs.iter().filter(|(_, value)| !value.is_empty());
    let (mut count, mut bytes, mut named) = (0usize, 0usize, false);
    for (name, value) in present {
        count += 1;
        bytes += name.len() + value.len();
        named |= *name == METRIC_NAME;
        if name.len() > limits.max_label_name_length {
            return Err(LabelRefusal::NameTooLong {
                shown: cut(name, SHOWN_BYTES_MAX / 4),
                bytes: name.len(),
                limit: limits.max_label_name_length,
            });
        }
        if value.len() > limits.max_label_value_length {
            return Err(LabelRefusal::ValueTooLong {
                name: cut(name, SHOWN_BYTES_MAX / 4),
                bytes: value.len(),
                limit: limits.max_label_value_length,
            });
        }
    }
    if count > limits.max_label_names_per_series {
        let limit = limits.max_label_names_per_series;
        return Err(LabelRefusal::TooMany { count, limit });
    }
    if bytes > SERIES_TEXT_MAX {
        return Err(LabelRefusal::TooLong { bytes });
    }
    let labels = LabelSet::from_pairs(&pairs).map_err(|error| LabelRefusal::Set(shorten(error)))?;
    if !named {
        return Err(LabelRefusal::NoName);
    }
    Ok(labels)
}

/// Makes the label set of an exemplar: no metric name is wanted, and it must be short.
pub(super) fn exemplar_labels(raw: &[RawLabel<'_>]) -> Result<LabelSet, LabelRefusal> {
    let pairs = texts(raw)?;
    let chars = |text: &str| text.chars().count();
    let chars: usize = pairs.iter().map(|(n, v)| chars(n) + chars(v)).sum();
    if chars > EXEMPLAR_CHARS_MAX {
        return Err(LabelRefusal::ExemplarTooLong { chars });
    }
    LabelSet::from_pairs(&pairs).map_err(|error| LabelRefusal::Set(shorten(error)))
}

fn texts<'a>(raw: &[RawLabel<'a>]) -> Result<Vec<(&'a str, &'a str)>, LabelRefusal> {
    raw.iter()
        .map(|(name, value)| {
            let text = |bytes, part| {
                std::str::from_utf8(bytes).map_err(|_| LabelRefusal::NotUtf8 { part })
            };
            Ok((text(name, "name")?, text(value, "value")?))
        })
        .collect()
}

/// The set's own errors show names and values whole; a hostile one may be long.
fn shorten(error: LabelError) -> LabelError {
    match error {
        LabelError::EmptyName { value } => LabelError::EmptyName {
            value: cut(&value, SHOWN_BYTES_MAX / 4),
        },
        LabelError::Repeated { name } => LabelError::Repeated {
            name: cut(&name, SHOWN_BYTES_MAX / 4),
        },
        other => other,
    }
}

/// At most so many bytes of a text, ending at a whole character, with dots where it was cut.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at));
    format!("{}...", text.get(..end.unwrap_or(0)).unwrap_or_default())
}

/// Shows labels that may be no label set, for messages: bounded, printable, recognisable.
pub(super) fn show_labels(raw: &[RawLabel<'_>]) -> String {
    let name = raw.iter().find(|(name, _)| *name == METRIC_NAME.as_bytes());
    let mut shown = name.map_or_else(String::new, |(_, value)| {
        String::from_utf8_lossy(value).escape_debug().to_string()
    });
    let others = raw
        .iter()
        .filter(|(name, _)| *name != METRIC_NAME.as_bytes());
    for (at, (name, value)) in others.enumerate() {
        if shown.len() > SHOWN_BYTES_MAX {
            break;
        }
        // Writing to a String cannot fail.
        let _ = write!(
            shown,
            "{}{}={:?}",
            if at == 0 { "{" } else { ", " },
            cut(&String::from_utf8_lossy(name), SHOWN_BYTES_MAX).escape_debug(),
            cut(&String::from_utf8_lossy(value), SHOWN_BYTES_MAX),
        );
    }
    let mut shown = cut(&shown, SHOWN_BYTES_MAX);
    if raw.len() > 1 || shown.is_empty() {
        shown.push_str(if shown.is_empty() { "{}" } else { "}" });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[(&str, &str)]) -> Result<String, String> {
        let raw: Vec<RawLabel<'_>> = raw
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        series_labels(&raw, &IngestSettings::default())
            .map(|labels| labels.to_string())
            .map_err(|refusal| refusal.reason().to_owned())
    }

    #[test]
    fn what_can_be_mended_is_and_the_rest_is_refused_by_name() {
        let long_name = "n".repeat(1025);
        let long_value = "v".repeat(8193);
        let value = "v".repeat(8192);
        let names: Vec<String> = (0..128).map(|i| format!("l{i}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "x")).collect();
        let mut too_many = many.clone();
        too_many.push(("__name__", "up"));
        let big: Vec<(&str, &str)> = names
            .iter()
            .take(9)
            .map(|n| (n.as_str(), &*value))
            .collect();
        type Case<'c> = (&'c [(&'c str, &'c str)], Result<&'c str, &'c str>);
        let cases: &[Case<'_>] = &[
            (
                &[("b", "2"), ("__name__", "up"), ("a", ""), ("a1", "é")],
                Ok("up{a1=\"é\", b=\"2\"}"),
            ),
            (&[("__name__", "a metric.näme")], Ok("{\"a metric.näme\"}")),
            (&[("a", "1")], Err("missing_metric_name")),
            (&[("__name__", "")], Err("missing_metric_name")),
            (&[], Err("missing_metric_name")),
            (
                &[("__name__", "up"), ("a", "1"), ("a", "1")],
                Err("duplicate_label_names"),
            ),
            (
                &[("__name__", "up"), ("a", "1"), ("a", "")],
                Err("duplicate_label_names"),
            ),
            (&[("__name__", "up"), ("", "1")], Err("empty_label_name")),
            (
                &[("__name__", "up"), (&long_name, "1")],
                Err("label_name_too_long"),
            ),
            (
                &[("__name__", "up"), ("a", &long_value)],
                Err("label_value_too_long"),
            ),
            (&too_many, Err("max_label_names_per_series")),
            (&big, Err("series_too_long")),
        ];
        for (raw, want) in cases {
            let got = check(raw);
            let got = got.as_deref().map_err(String::as_str);
            assert_eq!(got, *want);
        }
        let broken: &[RawLabel<'_>] = &[(b"__name__", b"up"), (b"a", b"\xff")];
        let refusal = series_labels(broken, &IngestSettings::default()).unwrap_err();
        assert_eq!(refusal.reason(), "invalid_utf8");
    }

    #[test]
    fn messages_show_series_within_bounds() {
        let long = "x".repeat(10_000);
        let show = |raw: &[RawLabel<'_>]| show_labels(raw);
        assert_eq!(show(&[]), "{}");
        assert_eq!(show(&[(b"__name__", b"up")]), "up");
        assert_eq!(
            show(&[(b"__name__", b"up"), (b"a", b"1"), (b"b", b"\xff\n")]),
            "up{a=\"1\", b=\"\u{fffd}\\n\"}"
        );
        assert!(show(&[(b"a", long.as_bytes())]).len() < 320);
        assert!(show(&[(b"__name__", long.as_bytes()), (b"a", b"1")]).len() < 320);
    }

    #[test]
    fn exemplars_have_short_labels() {
        let labels = |len: usize| {
            let value = "v".repeat(len);
            exemplar_labels(&[(b"trace_id", value.as_bytes())])
        };
        assert!(labels(120).is_ok());
        assert_eq!(
            labels(121).unwrap_err().reason(),
            "exemplar_labels_too_long"
        );
    }
}
