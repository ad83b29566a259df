//! OpenMetrics text, written: `promtool tsdb create-blocks-from openmetrics` reads it.
//!
//! The text groups samples by family; as the type of a family is not asked for here, every series is
//! of the type `unknown`, for which no rule ties names to types. A family that comes again after
//! another is not told again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use super::Error;
use super::history::Piece;
use super::sink::{Left, Sink};
use crate::model::{LabelSet, METRIC_NAME, TimestampMs, Value, is_stale};

/// Writes such a text.
pub struct OpenMetricsSink<W: Write> {
    out: W,
    left: Left,
    told: BTreeSet<String>,
}

impl<W: Write> OpenMetricsSink<W> {
    /// Writes into `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            left: Left::default(),
            told: BTreeSet::new(),
        }
    }

    /// What it writes into.
    pub const fn out(&mut self) -> &mut W {
        &mut self.out
    }

    fn text_of(&mut self, piece: &Piece) -> String {
        let mut text = String::new();
        let series = series_text(&piece.labels);
        for (at, value, _) in piece.samples.iter() {
            match value {
                Value::Histogram(histogram) => {
                    if histogram.is_stale() {
                        self.left.stale += 1;
                    } else {
                        self.left.histograms += 1;
                    }
                }
                Value::Float(value) if is_stale(value) => self.left.stale += 1,
                Value::Float(value) => {
                    let _ = writeln!(text, "{series} {} {}", number(value), seconds(at));
                }
            }
        }
        if let Some(name) = piece.labels.metric_name()
            && !text.is_empty()
            && !self.told.contains(name)
        {
            self.told.insert(name.to_owned());
            text.insert_str(0, &format!("# TYPE {} unknown\n", name_text(name)));
        }
        text
    }
}

impl<W: Write> Sink for OpenMetricsSink<W> {
    fn put(&mut self, piece: &Piece) -> Result<(), Error> {
        let text = self.text_of(piece);
        self.out
            .write_all(text.as_bytes())
            .map_err(Error::writing(Path::new("the output")))
    }

    fn finish(&mut self) -> Result<Left, Error> {
        self.out
            .write_all(b"# EOF\n")
            .and_then(|()| self.out.flush())
            .map_err(Error::writing(Path::new("the output")))?;
        Ok(self.left)
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        zmij::Buffer::new().format_finite(value).to_owned()
    }
}

fn seconds(at: TimestampMs) -> String {
    let (whole, ms) = (at.0.unsigned_abs() / 1000, at.0.unsigned_abs() % 1000);
    let sign = if at.0 < 0 { "-" } else { "" };
    format!("{sign}{whole}.{ms:03}")
}

fn is_plain(name: &str, colon: bool) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colon && byte == b':');
    name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit())
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n"))
}

fn name_text(name: &str) -> String {
    if is_plain(name, true) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn series_text(labels: &LabelSet) -> String {
    let name = labels.metric_name().unwrap_or_default();
    let mut inside: Vec<String> = Vec::new();
    if !is_plain(name, true) {
        inside.push(quoted(name));
    }
    for (label, value) in labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        let label = if is_plain(label, false) {
            label.to_owned()
        } else {
            quoted(label)
        };
        inside.push(format!("{label}={}", quoted(value)));
    }
    let outside = if is_plain(name, true) { name } else { "" };
    if inside.is_empty() {
        return outside.to_owned();
    }
    format!("{outside}{{{}}}", inside.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Samples, stale_nan};
    use crate::transfer::{Item, parse_openmetrics};

    #[test]
    fn what_is_written_is_read_again() {
        let mut pieces = Vec::new();
        for labels in [
            &[("__name__", "up"), ("job", "a\\b\n\"c\"}")][..],
            &[("__name__", "with.dots"), ("also.dots", "x")],
            &[("__name__", "rule:sum")],
        ] {
            let labels = LabelSet::from_pairs(labels).unwrap();
            let mut samples = Samples::default();
            for (at, value) in [(-1500, 0.1), (0, f64::INFINITY), (1_700_000_000_123, -0.0)] {
                samples.push(TimestampMs(at), Value::Float(value), TimestampMs(0));
            }
            pieces.push(Piece { labels, samples });
        }
        let mut out = Vec::new();
        let mut sink = OpenMetricsSink::new(&mut out);
        for piece in &pieces {
            sink.put(piece).unwrap();
        }
        let mut stale = pieces[0].clone();
        stale.samples.clear();
        stale
            .samples
            .push(TimestampMs(5), Value::Float(stale_nan()), TimestampMs(0));
        sink.put(&stale).unwrap();
        assert_eq!(sink.finish().unwrap().stale, 1);
        let items = parse_openmetrics(&out).unwrap();
        let back: Vec<Piece> = items
            .into_iter()
            .filter_map(|item| match item {
                Item::Piece(piece) => Some(piece),
                Item::Family(..) => None,
            })
            .collect();
        assert_eq!(back, pieces);
    }
}
