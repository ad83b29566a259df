//! VictoriaMetrics' JSON lines (`/api/v1/export`, `/api/v1/import`): one object a line with the
//! series' labels, its values and its timestamps.
//!
//! What the format cannot say: native histograms, and which of the values without a number are stale
//! markers. VictoriaMetrics itself keeps no other NaN than stale markers, so a `null` is one. Numbers
//! are read and written with all their bits; that is why no general JSON library reads them here.

use std::io::Write;
use std::path::Path;

use super::Error;
use super::history::{History, Item, Piece, Position, in_order};
use super::lines::Lines;
use super::sink::{Left, Sink};
use crate::model::{LabelSet, METRIC_NAME, TimestampMs, Value, is_stale, stale_nan};

/// Reads such a text.
pub struct VictoriaHistory {
    lines: Lines,
    line: Vec<u8>,
}

impl VictoriaHistory {
    /// Opens a file, or `-` for standard input, at a position.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(path: &Path, from: &Position) -> Result<Self, Error> {
        Ok(Self {
            lines: Lines::open(path, from.at)?,
            line: Vec::new(),
        })
    }
}

impl History for VictoriaHistory {
    fn next(&mut self) -> Result<Option<Item>, Error> {
        while self.lines.next(&mut self.line)? {
            if self.line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let piece = parse_line(&self.line).map_err(|problem| self.lines.wrong(&problem))?;
            return Ok(Some(Item::Piece(piece)));
        }
        Ok(None)
    }

    fn position(&self) -> Position {
        Position {
            at: self.lines.at(),
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

/// A place in a line.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Takes one character when it is there.
    fn accept(&mut self, wanted: u8) -> bool {
        self.skip_space();
        match self.0.split_first() {
            Some((first, rest)) if *first == wanted => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<(), String> {
        if self.accept(wanted) {
            return Ok(());
        }
        let found: String = String::from_utf8_lossy(self.0).chars().take(20).collect();
        Err(format!(
            "{:?} expected, found {found:?}: is this VictoriaMetrics' JSON lines?",
            char::from(wanted)
        ))
    }

    /// Takes a JSON text.
    fn text(&mut self) -> Result<String, String> {
        self.skip_space();
        let mut escaped = false;
        let end = self.0.iter().skip(1).position(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let end = end.ok_or("a text does not end")? + 2;
        let (text, rest) = self.0.split_at(end.min(self.0.len()));
        self.0 = rest;
        serde_json::from_slice(text).map_err(|error| format!("a text cannot be read: {error}"))
    }

    /// Takes what stands up to the next comma or bracket.
    fn token(&mut self) -> &'a str {
        self.skip_space();
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        let end = self.0.iter().position(ends).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        std::str::from_utf8(token).unwrap_or_default()
    }

    /// Takes a list, each element by `element`.
    fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut all = Vec::new();
        self.expect(b'[')?;
        if self.accept(b']') {
            return Ok(all);
        }
        loop {
            all.push(element(self)?);
            if self.accept(b']') {
                return Ok(all);
            }
            self.expect(b',')?;
        }
    }

    /// Takes an object, each member by `member`.
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, String) -> Result<(), String>,
    ) -> Result<(), String> {
        self.expect(b'{')?;
        if self.accept(b'}') {
            return Ok(());
        }
        loop {
            let name = self.text()?;
            self.expect(b':')?;
            member(self, name)?;
            if self.accept(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn value(&mut self) -> Result<f64, String> {
        self.skip_space();
        let text = match self.0.first() {
            Some(b'"') => self.text()?,
            _ => self.token().to_owned(),
        };
        match text.as_str() {
            "null" => Ok(stale_nan()),
            _ => text
                .parse()
                .map_err(|_| format!("{text:?} is no number, null, \"Infinity\" or \"-Infinity\"")),
        }
    }

    fn timestamp(&mut self) -> Result<i64, String> {
        let text = self.token();
        text.parse()
            .map_err(|_| format!("{text:?} is no timestamp in milliseconds"))
    }
}

/// Reads one line.
///
/// # Errors
/// What is wrong with it.
pub fn parse_line(line: &[u8]) -> Result<Piece, String> {
    let mut cursor = Cursor(line);
    let mut pairs: Vec<(String, String)> = Vec::new();
    let (mut values, mut timestamps) = (Vec::new(), Vec::new());
    cursor.object(|cursor, name| {
        match name.as_str() {
            "metric" => cursor.object(|cursor, label| {
                pairs.push((label, cursor.text()?));
                Ok(())
            })?,
            "values" => values = cursor.list(Cursor::value)?,
            "timestamps" => timestamps = cursor.list(Cursor::timestamp)?,
            other => {
                return Err(format!(
                    "the member {other:?} is not known: metric, values and timestamps are"
                ));
            }
        }
        Ok(())
    })?;
    cursor.skip_space();
    if !cursor.0.is_empty() {
        return Err("something stands behind the object".to_owned());
    }
    if values.len() != timestamps.len() {
        return Err(format!(
            "{} values have {} timestamps",
            values.len(),
            timestamps.len()
        ));
    }
    let labels = LabelSet::from_pairs(&pairs).map_err(|error| error.to_string())?;
    if labels.is_empty() {
        return Err("the series has no labels".to_owned());
    }
    let pairs = timestamps.into_iter().zip(values);
    let samples = in_order(pairs.map(|(at, value)| (TimestampMs(at), Value::Float(value))));
    Ok(Piece { labels, samples })
}

/// Writes such a text.
pub struct VictoriaSink<W: Write> {
    out: W,
    left: Left,
}

impl<W: Write> VictoriaSink<W> {
    /// Writes into `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            left: Left::default(),
        }
    }

    /// What it writes into.
    pub const fn out(&mut self) -> &mut W {
        &mut self.out
    }

    fn write(&mut self, piece: &Piece) -> std::io::Result<()> {
        let mut points = Vec::new();
        for (at, value, _) in piece.samples.iter() {
            match value {
                Value::Float(value) => points.push((at, value)),
                Value::Histogram(histogram) if histogram.is_stale() => {
                    points.push((at, stale_nan()));
                }
                Value::Histogram(_) => self.left.histograms += 1,
            }
        }
        if points.is_empty() {
            return Ok(());
        }
        let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let mut line = String::from("{\"metric\":{");
        // Where VictoriaMetrics puts it: in front.
        let name = piece.labels.metric_name().map(|name| (METRIC_NAME, name));
        let others = piece.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        for (at, (name, value)) in name.into_iter().chain(others).enumerate() {
            line.push_str(if at == 0 { "" } else { "," });
            line.push_str(&format!("{}:{}", text(name), text(value)));
        }
        line.push_str("},\"values\":[");
        for (at, (_, value)) in points.iter().enumerate() {
            line.push_str(if at == 0 { "" } else { "," });
            if value.is_nan() {
                self.left.nans += u64::from(!is_stale(*value));
                line.push_str("null");
            } else if value.is_infinite() {
                line.push_str(if *value > 0.0 {
                    "\"Infinity\""
                } else {
                    "\"-Infinity\""
                });
            } else {
                line.push_str(zmij::Buffer::new().format_finite(*value));
            }
        }
        line.push_str("],\"timestamps\":[");
        for (at, (time, _)) in points.iter().enumerate() {
            line.push_str(if at == 0 { "" } else { "," });
            line.push_str(&time.0.to_string());
        }
        line.push_str("]}\n");
        self.out.write_all(line.as_bytes())
    }
}

impl<W: Write> Sink for VictoriaSink<W> {
    fn put(&mut self, piece: &Piece) -> Result<(), Error> {
        self.write(piece)
            .map_err(Error::writing(Path::new("the output")))
    }

    fn finish(&mut self) -> Result<Left, Error> {
        self.out
            .flush()
            .map_err(Error::writing(Path::new("the output")))?;
        Ok(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Samples;

    #[test]
    fn lines_are_read_with_all_their_bits() {
        let line = r#" {"metric":{"__name__":"up","job":"a \"b\" \u00e9"},
            "values":[1,0.1,2.2250738585072014e-308,null,"Infinity","-Infinity",-0,1e300],
            "timestamps":[1,2,3,4,5,6,7,1700000000000]} "#;
        let piece = parse_line(line.as_bytes()).unwrap();
        assert_eq!(piece.labels.to_string(), r#"up{job="a \"b\" é"}"#);
        let want = [
            (1, 1.0),
            (2, 0.1),
            (3, f64::MIN_POSITIVE),
            (4, stale_nan()),
            (5, f64::INFINITY),
            (6, f64::NEG_INFINITY),
            (7, -0.0),
            (1_700_000_000_000, 1e300),
        ];
        assert_eq!(piece.samples, Samples::of_floats(&want));
        // And back to the same bits.
        let mut out = Vec::new();
        let mut sink = VictoriaSink::new(&mut out);
        sink.put(&piece).unwrap();
        assert_eq!(sink.finish().unwrap(), Left::default());
        assert_eq!(parse_line(&out), Ok(piece));
    }

    #[test]
    fn samples_out_of_order_and_twice_are_settled() {
        let line = r#"{"metric":{"a":"b"},"values":[3,1,2,9],"timestamps":[3,1,2,1]}"#;
        let samples = parse_line(line.as_bytes()).unwrap().samples;
        assert_eq!(samples, Samples::of_floats(&[(1, 9.0), (2, 2.0), (3, 3.0)]));
    }

    #[test]
    fn what_is_no_such_line_is_refused_with_a_reason() {
        let check = |line: &str, want: &str| {
            let error = parse_line(line.as_bytes()).unwrap_err();
            assert!(error.contains(want), "{line}: {error}");
        };
        check("up 1", "JSON lines");
        check(
            r#"{"metric":{"a":"b"},"values":[1],"timestamps":[]}"#,
            "1 values have 0",
        );
        check(
            r#"{"metric":{},"values":[1],"timestamps":[1]}"#,
            "no labels",
        );
        check(
            r#"{"metric":{"a":"b"},"values":[x],"timestamps":[1]}"#,
            "no number",
        );
        check(
            r#"{"metric":{"a":"b"},"values":[1],"timestamps":[1.5]}"#,
            "milliseconds",
        );
        check(
            r#"{"metric":{"a":"b"},"values":[1],"timestamps":[1]}x"#,
            "behind",
        );
        check(r#"{"metric":{"a":"b"},"more":1}"#, "\"more\"");
        check(r#"{"metric":{"a":"b"#, "does not end");
        check(
            r#"{"metric":{"a":"b","a":"c"},"values":[],"timestamps":[]}"#,
            "twice",
        );
    }
}
