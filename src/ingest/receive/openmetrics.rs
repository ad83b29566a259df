//! The text format of metrics, as far as this program writes it: OpenMetrics 1.0
//! (prometheus/OpenMetrics, `specification/OpenMetrics.md`). Exemplars are passed over.

use crate::model::{Metadata, MetricKind};

/// What a text says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Exposition<'t> {
    /// Each series as it is spelt, and its value.
    pub(super) samples: Vec<(&'t str, f64)>,
    /// Families in the order of their names in the text.
    pub(super) families: Vec<(String, Metadata)>,
}

/// Reads a text; lines that it does not understand are left out.
pub(super) fn read(text: &str) -> Exposition<'_> {
    let mut exposition = Exposition::default();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            read_comment(comment, &mut exposition.families);
        } else if let Some(sample) = read_sample(line) {
            exposition.samples.push(sample);
        }
    }
    for (family, metadata) in &mut exposition.families {
        // The text names a counter's family without the ending that its series have; people look
        // a metric up by the name of the series.
        if metadata.kind == MetricKind::Counter {
            family.push_str("_total");
        }
    }
    exposition
}

fn read_comment(comment: &str, families: &mut Vec<(String, Metadata)>) {
    let mut words = comment.splitn(3, ' ');
    let (Some(keyword), Some(name)) = (words.next(), words.next()) else {
        return;
    };
    let rest = words.next().unwrap_or_default();
    if !matches!(keyword, "TYPE" | "HELP" | "UNIT") {
        return;
    }
    if families.last().is_none_or(|(family, _)| family != name) {
        families.push((name.to_owned(), Metadata::default()));
    }
    let Some((_, metadata)) = families.last_mut() else {
        return;
    };
    match keyword {
        "TYPE" => metadata.kind = kind(rest),
        "HELP" => metadata.help = unescape(rest),
        _ => rest.clone_into(&mut metadata.unit),
    }
}

fn kind(word: &str) -> MetricKind {
    (0..8)
        .map(MetricKind::from_number)
        .find(|kind| kind.name() == word)
        .unwrap_or_default()
}

/// `name{labels} value ...`: the series ends at the brace outside of quotes, or at the first blank.
fn read_sample(line: &str) -> Option<(&str, f64)> {
    let end = match line.find(['{', ' '])? {
        brace if line.as_bytes().get(brace) == Some(&b'{') => {
            brace + end_of_labels(line.get(brace..)?)?
        }
        blank => blank,
    };
    let (series, rest) = line.split_at_checked(end)?;
    let value = rest.trim_start().split(' ').next()?;
    Some((series, value.parse().ok()?))
}

/// The length of `{...}` at the start of a text.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The labels of a series as `read` gave it, the metric name among them.
pub(super) fn labels(series: &str) -> Option<Vec<(String, String)>> {
    let Some((name, rest)) = series.split_once('{') else {
        return Some(vec![(
            crate::model::METRIC_NAME.to_owned(),
            series.to_owned(),
        )]);
    };
    let mut labels = vec![(crate::model::METRIC_NAME.to_owned(), name.to_owned())];
    let mut rest = rest.strip_suffix('}')?;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"")?;
        let end = end_of_quoted(after)?;
        let (value, after) = after.split_at_checked(end)?;
        labels.push((name.trim_start_matches(',').to_owned(), unescape(value)));
        rest = after.strip_prefix('"')?;
    }
    Some(labels)
}

fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, char == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (other, false) => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn what_the_library_writes_is_read() {
        let mut registry = Registry::default();
        let requests: Family<Vec<(String, String)>, Counter> = Family::default();
        let odd = vec![("path".to_owned(), "/a} \"b\"\\\n, c=".to_owned())];
        requests.get_or_create(&odd).inc_by(3);
        registry.register("requests", "Requests. \"All\"", requests);
        let size: Gauge<f64, std::sync::atomic::AtomicU64> = Gauge::default();
        size.set(1.5e9);
        registry.register_with_unit("size", "Size", Unit::Bytes, size);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let read = read(&text);
        let values: Vec<f64> = read.samples.iter().map(|sample| sample.1).collect();
        assert_eq!(values, [3.0, 1.5e9], "{text}");
        let labels_of = |at: usize| labels(read.samples[at].0).unwrap();
        let name = |text: &str| ("__name__".to_owned(), text.to_owned());
        assert_eq!(labels_of(0), [vec![name("requests_total")], odd].concat());
        assert_eq!(labels_of(1), [name("size_bytes")]);
        let families: Vec<(&str, &str, &str)> = read
            .families
            .iter()
            .map(|(name, m)| (name.as_str(), m.kind.name(), m.unit.as_str()))
            .collect();
        assert_eq!(
            families,
            [
                ("requests_total", "counter", ""),
                ("size_bytes", "gauge", "bytes")
            ]
        );
    }

    #[test]
    fn lines_that_make_no_sense_are_left_out() {
        let text = "# EOF\n#\nx\nx{a=\"1\nok{a=\"}\"} +Inf # {} 1\nnan NaN 12\n\nx{} y\n";
        let samples = read(text).samples;
        assert_eq!(samples[0], ("ok{a=\"}\"}", f64::INFINITY));
        assert_eq!((samples[1].0, samples.len()), ("nan", 2));
        assert_eq!(labels("x{a}"), None);
        assert_eq!(labels("x{a=\"1}"), None);
    }
}
