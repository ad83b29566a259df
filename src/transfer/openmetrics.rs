//! OpenMetrics text (version 1.0 of its specification) with a timestamp behind every sample: what
//! `promtool tsdb dump-openmetrics` writes and `promtool tsdb create-blocks-from openmetrics` reads.
//!
//! What the format cannot say: native histograms, and stale markers, which would become values.
//! Exemplars are passed over. Lines of one series that stand together are one piece.

use std::path::Path;

use super::Error;
use super::history::{History, Item, Piece, Position, in_order};
use super::lines::Lines;
use crate::model::{LabelSet, METRIC_NAME, Metadata, MetricKind, TimestampMs, Value};

/// Samples of a piece at most, so that a text of one series is not held whole.
const PIECE_SAMPLES_MAX: usize = 10_000;

/// Reads such a text.
pub struct OpenMetricsHistory {
    lines: Lines,
    line: Vec<u8>,
    /// A series that may go on: where its first line began, its text, its samples.
    begun: Option<Begun>,
    /// What was read while a series was open.
    waiting: Option<Item>,
    families: Families,
    ended: bool,
}

struct Begun {
    at: u64,
    text: Vec<u8>,
    labels: LabelSet,
    samples: Vec<(TimestampMs, Value)>,
}

/// What is told of the family that is being read.
#[derive(Default)]
struct Families {
    name: String,
    metadata: Metadata,
    told: bool,
}

impl OpenMetricsHistory {
    /// Opens a file, or `-` for standard input, at a position.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(path: &Path, from: &Position) -> Result<Self, Error> {
        let lines = Lines::open(path, from.at)?;
        // Nothing is left behind the end that was reached before.
        let ended = from.at > 0 && lines.total() == Some(from.at);
        Ok(Self {
            lines,
            line: Vec::new(),
            begun: None,
            waiting: None,
            families: Families::default(),
            ended,
        })
    }

    /// Gives the open series.
    fn close(&mut self) -> Option<Item> {
        let begun = self.begun.take()?;
        Some(Item::Piece(Piece {
            labels: begun.labels,
            samples: in_order(begun.samples.into_iter()),
        }))
    }

    /// Takes a line; what it completes is given.
    fn take(&mut self, at: u64, line: &[u8]) -> Result<Option<Item>, String> {
        if line.is_empty() {
            return Err("an empty line: OpenMetrics has none".to_owned());
        }
        if let Some(comment) = line.strip_prefix(b"# ") {
            if comment == b"EOF" {
                self.ended = true;
                return Ok(self.close());
            }
            let family = self.families.take(comment)?;
            if let Some(family) = family {
                let closed = self.close();
                return Ok(match closed {
                    None => Some(family),
                    closed => {
                        self.waiting = Some(family);
                        closed
                    }
                });
            }
            return Ok(None);
        }
        let sample = parse_sample(line)?;
        let family = self.families.tell();
        if let Some(begun) = &mut self.begun
            && begun.text == sample.series
            && begun.samples.len() < PIECE_SAMPLES_MAX
        {
            begun.samples.push((sample.at, sample.value));
            return Ok(None);
        }
        let labels = parse_labels(sample.series)?;
        let closed = self.close();
        self.begun = Some(Begun {
            at,
            text: sample.series.to_vec(),
            labels,
            samples: vec![(sample.at, sample.value)],
        });
        if closed.is_some() && family.is_some() {
            self.waiting = family;
            return Ok(closed);
        }
        Ok(closed.or(family))
    }
}

impl History for OpenMetricsHistory {
    fn next(&mut self) -> Result<Option<Item>, Error> {
        if let Some(item) = self.waiting.take() {
            return Ok(Some(item));
        }
        loop {
            let at = self.lines.at();
            if self.ended {
                return Ok(None);
            }
            if !self.lines.next(&mut self.line)? {
                // What there is was given before; now it is said that it is not all.
                if let Some(item) = self.close() {
                    return Ok(Some(item));
                }
                return Err(self.lines.wrong(
                    "the text ends without # EOF: it was cut off, what it had is imported",
                ));
            }
            let line = std::mem::take(&mut self.line);
            let taken = self.take(at, &line);
            self.line = line;
            let taken = taken.map_err(|problem| self.lines.wrong(&problem))?;
            if taken.is_some() {
                return Ok(taken);
            }
        }
    }

    fn position(&self) -> Position {
        let at = match &self.begun {
            Some(begun) => begun.at,
            None => self.lines.at(),
        };
        Position {
            at,
            ..Position::default()
        }
    }

    fn done(&self) -> u64 {
        self.lines.at()
    }

    fn total(&self) -> Option<u64> {
        self.lines.total()
    }
}

impl Families {
    /// Reads what stands behind `# `; a family that is complete because another begins is given.
    fn take(&mut self, comment: &[u8]) -> Result<Option<Item>, String> {
        let comment = std::str::from_utf8(comment).map_err(|_| "the line is not UTF-8")?;
        let Some((word, behind)) = comment.split_once(' ') else {
            return Err("a comment that is neither HELP, TYPE, UNIT nor EOF".to_owned());
        };
        let (name, rest) = if behind.starts_with('"') {
            let (name, rest) = quoted(behind)?;
            (name, rest.strip_prefix(' ').unwrap_or(rest))
        } else {
            let (name, rest) = behind.split_once(' ').unwrap_or((behind, ""));
            (name.to_owned(), rest)
        };
        let before = (self.name != name).then(|| self.tell()).flatten();
        if self.name != name {
            *self = Self {
                name,
                ..Self::default()
            };
        }
        match word {
            "HELP" => self.metadata.help = unescape(rest)?,
            "UNIT" => rest.clone_into(&mut self.metadata.unit),
            "TYPE" => self.metadata.kind = kind(rest)?,
            _ => return Err(format!("{word:?} is neither HELP, TYPE, UNIT nor EOF")),
        }
        Ok(before)
    }

    /// The family, once.
    fn tell(&mut self) -> Option<Item> {
        if self.name.is_empty() || std::mem::replace(&mut self.told, true) {
            return None;
        }
        Some(Item::Family(self.name.clone(), self.metadata.clone()))
    }
}

fn kind(word: &str) -> Result<MetricKind, String> {
    (0..=7)
        .map(MetricKind::from_number)
        .find(|kind| kind.name() == word)
        .ok_or_else(|| format!("the type {word:?} is not known"))
}

/// A sample's line: the series as it stands there, time and value.
struct SampleLine<'a> {
    series: &'a [u8],
    at: TimestampMs,
    value: Value,
}

fn parse_sample(line: &[u8]) -> Result<SampleLine<'_>, String> {
    let end = series_end(line)?;
    let (series, rest) = line.split_at(end);
    let rest = std::str::from_utf8(rest).map_err(|_| "the line is not UTF-8")?;
    // An exemplar follows behind " # ".
    let rest = rest.split(" # ").next().unwrap_or_default();
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("a sample has no value")?;
    let value: f64 = value
        .parse()
        .map_err(|_| format!("{value:?} is no value"))?;
    let at = words
        .next()
        .ok_or("a sample has no timestamp: history needs one behind every sample")?;
    if words.next().is_some() {
        return Err("something stands behind the timestamp".to_owned());
    }
    Ok(SampleLine {
        series,
        at: seconds(at)?,
        value: Value::Float(value),
    })
}

/// Seconds, as milliseconds.
fn seconds(text: &str) -> Result<TimestampMs, String> {
    let wrong = || format!("{text:?} is no timestamp in seconds");
    let ms = (text.parse::<f64>().map_err(|_| wrong())? * 1000.0).round();
    // 2^53: beyond it, milliseconds are not exact any more.
    if ms.is_nan() || ms.abs() >= 9_007_199_254_740_992.0 {
        return Err(format!(
            "{}: milliseconds were expected as seconds?",
            wrong()
        ));
    }
    #[allow(
        clippy::cast_possible_truncation,
        reason = "whole, and below 2^53 by the line above"
    )]
    Ok(TimestampMs(ms as i64))
}

/// Where the series ends: behind its closing brace, or behind its name.
fn series_end(line: &[u8]) -> Result<usize, String> {
    let brace = line.iter().position(|byte| matches!(byte, b'{' | b' '));
    match brace {
        None => Err("a sample has no value".to_owned()),
        Some(at) if line.get(at) == Some(&b' ') => Ok(at),
        Some(open) => {
            let (mut quoted, mut escaped) = (false, false);
            for (at, byte) in line.iter().enumerate().skip(open) {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    b'}' if !quoted => return Ok(at + 1),
                    _ => {}
                }
            }
            Err("the labels do not end".to_owned())
        }
    }
}

/// Reads `name{label="value",...}`, or `{"name",label="value",...}`.
///
/// # Errors
/// What is wrong with it.
fn parse_labels(series: &[u8]) -> Result<LabelSet, String> {
    let text = std::str::from_utf8(series).map_err(|_| "the series is not UTF-8")?;
    let (name, labels) = match text.split_once('{') {
        None => (text, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap_or(rest)),
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    let mut rest = labels.trim();
    while !rest.is_empty() {
        let (label, behind) = if rest.starts_with('"') {
            quoted(rest)?
        } else {
            let end = rest.find(['=', ',']).unwrap_or(rest.len());
            let (label, behind) = rest.split_at(end);
            (label.trim().to_owned(), behind)
        };
        match behind.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, behind) = quoted(value.trim_start())?;
                pairs.push((label, value));
                rest = behind.trim_start();
            }
            // A quoted text alone is the metric's name.
            None => {
                pairs.push((METRIC_NAME.to_owned(), label));
                rest = behind.trim_start();
            }
        }
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err(format!("a comma was expected before {rest:?}")),
        };
    }
    let labels = LabelSet::from_pairs(&pairs).map_err(|error| error.to_string())?;
    if labels.metric_name().is_none() {
        return Err("the series has no name".to_owned());
    }
    Ok(labels)
}

/// Takes a quoted text and gives what is behind it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let inside = text
        .strip_prefix('"')
        .ok_or_else(|| format!("a quoted text was expected before {text:?}"))?;
    let mut escaped = false;
    let end = inside.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    let (value, rest) = inside.split_at(end.ok_or("a text does not end")?);
    Ok((unescape(value)?, rest.strip_prefix('"').unwrap_or(rest)))
}

fn unescape(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some(other @ ('\\' | '"')) => plain.push(other),
            other => return Err(format!("\\{} is no escape", other.unwrap_or(' '))),
        }
    }
    Ok(plain)
}

/// Reads a whole text and gives its pieces: for tests and fuzzing.
///
/// # Errors
/// As [`History::next`].
pub fn parse_openmetrics(text: &[u8]) -> Result<Vec<Item>, Error> {
    let mut history = OpenMetricsHistory {
        lines: Lines::of(text.to_vec()),
        line: Vec::new(),
        begun: None,
        waiting: None,
        families: Families::default(),
        ended: false,
    };
    let mut all = Vec::new();
    while let Some(item) = history.next()? {
        all.push(item);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_with_everything_it_may_have() {
        let text = br#"# HELP http_requests Requests \"seen\"\nso far.
# TYPE http_requests counter
# UNIT http_requests requests
http_requests_total{code="200",path="/a \"b\"}\\",} 1027 1700000000.123
http_requests_total{code="200",path="/a \"b\"}\\",} 1028 1700000015.123 # {trace_id="x"} 0.5 1700000014
http_requests_total{code="400"} 3 1700000000
{"with.dots","also.dots"="1",plain="2"} +Inf -1.5
# TYPE "a \"b\" c" gauge
up NaN 0
# EOF
"#;
        let items = parse_openmetrics(text).unwrap();
        let Some(Item::Family(name, metadata)) = items.first() else {
            panic!("{items:?}");
        };
        assert_eq!(
            (name.as_str(), metadata.kind),
            ("http_requests", MetricKind::Counter)
        );
        assert_eq!(metadata.help, "Requests \"seen\"\nso far.");
        assert_eq!(metadata.unit, "requests");
        let shown: Vec<String> = items[1..]
            .iter()
            .map(|item| match item {
                Item::Piece(piece) => format!("{} {:?}", piece.labels, piece.samples.timestamps),
                Item::Family(name, metadata) => format!("{name}: {}", metadata.kind.name()),
            })
            .collect();
        let want = [
            r#"http_requests_total{code="200", path="/a \"b\"}\\"} [1700000000123, 1700000015123]"#,
            r#"http_requests_total{code="400"} [1700000000000]"#,
            r#"{"with.dots", "also.dots"="1", plain="2"} [-1500]"#,
            "a \"b\" c: gauge",
            "up [0]",
        ];
        assert_eq!(shown, want);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |text: &str, want: &str| {
            let error = parse_openmetrics(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{text:?}: {error}");
        };
        check("up 1 1\n", "without # EOF");
        check("up 1\n# EOF\n", "line 1");
        check("up 1\n# EOF\n", "no timestamp");
        check("up 1 1\nup x 1\n# EOF\n", "line 2");
        check("up{a=\"b 1 1\n# EOF\n", "do not end");
        check("up{a=b} 1 1\n# EOF\n", "quoted");
        check("up{a=\"\\x\"} 1 1\n# EOF\n", "no escape");
        check("up 1 1700000000000000\n# EOF\n", "seconds");
        check("up 1 1 1\n# EOF\n", "behind the timestamp");
        check("\n", "empty line");
        check("# TYPE up thing\n# EOF\n", "thing");
        check("{a=\"b\"} 1 1\n# EOF\n", "no name");
    }
}
