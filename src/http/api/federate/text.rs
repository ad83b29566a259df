//! Families as text: Prometheus' format 0.0.4, its successor with names in quotes, OpenMetrics 1.0.

use std::io::Write;

use crate::model::{Histogram, METRIC_NAME, Value};

use super::family::{Family, Member, Shape, counts, cumulative};
use super::format::{Format, Kind, is_plain};

pub(super) fn write(out: &mut Vec<u8>, family: Family<'_>, format: Format) {
    let name = format.metric_name(family.name);
    out.extend_from_slice(b"# TYPE ");
    if is_plain(&name, true) {
        out.extend_from_slice(name.as_bytes());
    } else {
        quoted(out, &name);
    }
    out.extend_from_slice(match (family.shape, format.kind) {
        (Shape::Float, Kind::OpenMetrics) => b" unknown\n",
        (Shape::Float, _) => b" untyped\n",
        (Shape::Classic | Shape::Native, _) => b" histogram\n",
    });
    for member in family.members {
        let mut line = Line {
            out,
            member,
            format,
            name: &name,
        };
        match &member.value {
            Value::Float(value) => line.write("", None, *value),
            Value::Histogram(histogram) => line.write_classic(histogram),
        }
    }
}

struct Line<'a> {
    out: &'a mut Vec<u8>,
    member: &'a Member,
    format: Format,
    name: &'a str,
}

impl Line<'_> {
    fn write_classic(&mut self, histogram: &Histogram) {
        let (_, count) = counts(histogram);
        for (bound, below) in cumulative(histogram) {
            self.write("_bucket", Some(bound), below);
        }
        self.write("_bucket", Some(f64::INFINITY), count);
        self.write("_count", None, count);
        self.write("_sum", None, histogram.sum);
    }

    fn write(&mut self, suffix: &str, bound: Option<f64>, value: f64) {
        let name = format!("{}{suffix}", self.name);
        let plain = is_plain(&name, true);
        if plain {
            self.out.extend_from_slice(name.as_bytes());
        }
        self.out.push(b'{');
        if !plain {
            quoted(self.out, &name);
        }
        let mut first = plain;
        let labels = self.member.labels.iter();
        for (name, value) in labels.filter(|(name, _)| *name != METRIC_NAME) {
            self.label(&mut first, name, value);
        }
        if self.member.labels.get("instance").is_none() {
            self.label(&mut first, "instance", "");
        }
        if let Some(bound) = bound {
            let mut text = Vec::new();
            number(&mut text, bound);
            self.label(&mut first, "le", &String::from_utf8_lossy(&text));
        }
        self.out.extend_from_slice(b"} ");
        number(self.out, value);
        let at = self.member.at;
        if self.format.kind == Kind::OpenMetrics {
            let sign = if at < 0 { "-" } else { "" };
            let (whole, ms) = (at.unsigned_abs() / 1000, at.unsigned_abs() % 1000);
            put(self.out, format_args!(" {sign}{whole}.{ms:03}\n"));
        } else {
            put(self.out, format_args!(" {at}\n"));
        }
    }

    fn label(&mut self, first: &mut bool, name: &str, value: &str) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
        let name = self.format.label_name(name);
        if is_plain(&name, false) {
            self.out.extend_from_slice(name.as_bytes());
        } else {
            quoted(self.out, &name);
        }
        self.out.push(b'=');
        quoted(self.out, value);
    }
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A number as Go's parsers read it, every bit of it but those of NaN.
fn number(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if size == 0.0 || (1e-5..1e21).contains(&size) {
        put(out, format_args!("{value}"));
    } else {
        put(out, format_args!("{value:e}"));
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A vector takes everything.
    let _ = out.write_fmt(text);
}
