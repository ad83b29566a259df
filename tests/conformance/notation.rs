//! How case files write durations, numbers and series; and what a `load` block puts into memory.

use super::memory::{MemorySource, labels};
use super::native::{Classics, Native};
use cairn::model::{Value, stale_nan};

/// One point of a series as the files write it.
#[derive(Clone, Debug)]
pub(super) enum Point {
    Float(f64),
    Nothing,
    Histogram(Native),
}

pub(super) fn duration_ms(text: &str) -> i64 {
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds * 1000.0).round() as i64;
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
        let number: i64 = rest[..digits].parse().unwrap();
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 7 * 86_400_000,
                "y" => 365 * 86_400_000,
                other => panic!("unit {other:?}"),
            };
        rest = &rest[unit..];
    }
    if negative { -total } else { total }
}

pub(super) fn number(text: &str) -> f64 {
    match text.trim_start_matches('+') {
        "Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        "stale" => stale_nan(),
        other => match other.strip_prefix("0x") {
            Some(hex) if !hex.is_empty() => i64::from_str_radix(hex, 16).unwrap() as f64,
            _ => other.parse().unwrap_or_else(|_| panic!("number {other:?}")),
        },
    }
}

/// `1+2x3`, `4x2`, `_x3`, `5`.
pub(super) fn points(token: &str) -> Vec<Point> {
    if token.contains("{{") {
        let all = Native::series(token).into_iter();
        return all.map(Point::Histogram).collect();
    }
    let (body, times) = match token.rfind('x') {
        Some(at) if token[at + 1..].parse::<usize>().is_ok() && at > 0 => (
            &token[..at],
            Some(token[at + 1..].parse::<usize>().unwrap()),
        ),
        _ => (token, None),
    };
    if body == "_" {
        return vec![Point::Nothing; times.unwrap_or(1)];
    }
    let sign = body
        .char_indices()
        .skip(1)
        .find(|(at, c)| matches!(c, '+' | '-') && !body[..*at].ends_with(['e', 'E']))
        .map(|(at, _)| at);
    let (start, step) = match (sign, times) {
        (Some(at), Some(_)) => {
            let step = number(&body[at + 1..]);
            let step = if body[at..].starts_with('-') {
                -step
            } else {
                step
            };
            (number(&body[..at]), step)
        }
        _ => (number(body), 0.0),
    };
    (0..=times.unwrap_or(0))
        .scan(start, |value, _| {
            let now = *value;
            *value += step;
            Some(Point::Float(now))
        })
        .collect()
}

/// A line's series and its values.
pub(super) fn series_line(line: &str) -> (String, Vec<Point>) {
    let (mut depth, mut quote, mut end) = (0, None, line.len());
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => depth -= 1,
            (None, c) if c.is_whitespace() && depth == 0 => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    // A space may stand between name and braces.
    let rest = &line[end..];
    let mut tail = rest.trim_start();
    let mut name = line[..end].to_owned();
    if tail.starts_with('{') && !tail.starts_with("{{") && !name.contains('{') {
        let close = tail.find('}').unwrap();
        name.push_str(&tail[..=close]);
        tail = &tail[close + 1..];
    }
    let mut tokens: Vec<String> = Vec::new();
    let mut open = false;
    for word in tail.split_whitespace() {
        match tokens.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(word);
            }
            _ => tokens.push(word.to_owned()),
        }
        if let Some(last) = tokens.last() {
            open = last.matches("{{").count() > last.matches("}}").count();
        }
    }
    (
        name,
        tokens.iter().flat_map(|token| points(token)).collect(),
    )
}

/// `nhcb`: classic histograms are there as native ones, too.
pub(super) fn load(source: &mut MemorySource, step: i64, block: &[&str], nhcb: bool) {
    let mut starts: Option<Vec<Point>> = None;
    let mut classics = Classics::default();
    for line in block {
        if let Some((series, offsets)) = line.split_once("@st") {
            let _ = series;
            starts = Some(offsets.split_whitespace().flat_map(start_offsets).collect());
            continue;
        }
        let (name, values) = series_line(line);
        let series = labels(&name);
        for (at, point) in values.into_iter().enumerate() {
            let time = i64::try_from(at).unwrap() * step;
            let start = match starts.as_ref().and_then(|starts| starts.get(at)) {
                Some(Point::Float(offset)) => time + *offset as i64,
                _ => 0,
            };
            match point {
                Point::Float(value) => {
                    source.push(series.clone(), time, Value::Float(value), start);
                    if nhcb {
                        classics.take(&series, time, value);
                    }
                }
                Point::Histogram(native) => {
                    source.push(series.clone(), time, native.value(), start);
                }
                Point::Nothing => {}
            }
        }
        starts = None;
    }
    for (series, at, native) in classics.natives() {
        source.push(series, at, native.value(), 0);
    }
}

/// `-1m`, `-1mx5`, `-30s-1mx2`, `_`, `_x2`: offsets in milliseconds.
pub(super) fn start_offsets(token: &str) -> Vec<Point> {
    let (body, times) = match token.rfind('x') {
        Some(at) => (
            &token[..at],
            Some(token[at + 1..].parse::<usize>().unwrap()),
        ),
        None => (token, None),
    };
    if body == "_" {
        return vec![Point::Nothing; times.unwrap_or(1)];
    }
    let second = body
        .char_indices()
        .skip(1)
        .find(|(_, c)| matches!(c, '+' | '-'));
    let (start, step) = match second {
        Some((at, sign)) => {
            let step = duration_ms(&body[at + 1..]);
            (&body[..at], if sign == '-' { -step } else { step })
        }
        None => (body, 0),
    };
    let start = duration_ms(start.trim_start_matches('+'));
    (0..=times.unwrap_or(0))
        .map(|at| Point::Float((start + i64::try_from(at).unwrap() * step) as f64))
        .collect()
}
