//! Reads Prometheus' case files (their grammar stands in the README beside them) and runs them
//! against the engine. The files are not part of this repository: set `CAIRN_PROMQLTEST` to their
//! folder; without it nothing is run.

use std::path::Path;

use super::engine::{engine, instant, range};
use super::memory::{MemorySource, labels, some_histogram};
use cairn::model::{LabelSet, Value, stale_nan};
use cairn::query::{Engine, Error, QueryOutput, QueryValue, Severity};

/// One point of a series as the files write it.
#[derive(Clone, Debug)]
enum Point {
    Float(f64),
    Nothing,
    Histogram,
}

#[derive(Default, Debug)]
struct Case {
    line: usize,
    query: String,
    /// Start, end and step in milliseconds; step 0: an instant.
    times: (i64, i64, i64),
    expects: Vec<String>,
    results: Vec<String>,
}

fn duration_ms(text: &str) -> i64 {
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

fn number(text: &str) -> f64 {
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
fn points(token: &str) -> Vec<Point> {
    if token.contains("{{") {
        let end = token.rfind("}}").unwrap();
        let times: usize = token[end + 2..]
            .strip_prefix('x')
            .map_or(0, |n| n.parse().unwrap());
        return vec![Point::Histogram; times + 1];
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
fn series_line(line: &str) -> (String, Vec<Point>) {
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
fn load(source: &mut MemorySource, step: i64, block: &[String], nhcb: bool) {
    let mut starts: Option<Vec<Point>> = None;
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
                    let base = series.metric_name().and_then(|n| n.strip_suffix("_bucket"));
                    if let (true, Some(base)) = (nhcb, base) {
                        let base = series
                            .to_builder()
                            .set("le", "")
                            .set("__name__", base)
                            .build();
                        source.push(base, time, some_histogram(), 0);
                    }
                }
                Point::Histogram => source.push(series.clone(), time, some_histogram(), start),
                Point::Nothing => {}
            }
        }
        starts = None;
    }
}

/// `-1m`, `-1mx5`, `-30s-1mx2`, `_`, `_x2`: offsets in milliseconds.
fn start_offsets(token: &str) -> Vec<Point> {
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

fn close(one: f64, other: f64) -> bool {
    one == other
        || one.is_nan() && other.is_nan()
        || (one - other).abs() <= 1e-6 * one.abs().max(other.abs())
}

type Shown = Vec<(LabelSet, Vec<(i64, f64)>)>;

fn shown(output: &QueryOutput) -> Shown {
    match &output.value {
        QueryValue::Scalar(at, value) => vec![(LabelSet::empty(), vec![(at.0, *value)])],
        QueryValue::Text(..) => Vec::new(),
        QueryValue::Vector(at, series) => series
            .iter()
            .map(|(labels, value)| (labels.clone(), vec![(at.0, *value)]))
            .collect(),
        QueryValue::Matrix(series) => series
            .iter()
            .map(|one| {
                let points = one
                    .timestamps
                    .iter()
                    .copied()
                    .zip(one.values.iter().copied());
                (one.labels.clone(), points.collect())
            })
            .collect(),
    }
}

fn expected(case: &Case, times: (i64, i64, i64)) -> Result<Shown, String> {
    let (start, _, step) = times;
    let mut all = Shown::new();
    for line in &case.results {
        if line.contains("{{") {
            return Err("histogram".to_owned());
        }
        let lone = !line.contains(char::is_whitespace) && !line.contains('{');
        let (labels_text, values) = if lone && line.parse::<f64>().is_ok()
            || ["NaN", "Inf", "-Inf", "+Inf"].contains(&line.as_str())
        {
            ("{}".to_owned(), points(line))
        } else {
            series_line(line)
        };
        let series = if labels_text == "{}" {
            LabelSet::empty()
        } else {
            labels(&labels_text)
        };
        let points = values
            .iter()
            .enumerate()
            .filter_map(|(at, point)| match point {
                Point::Float(value) => Some((start + i64::try_from(at).unwrap() * step, *value)),
                _ => None,
            })
            .collect();
        all.push((series, points));
    }
    Ok(all)
}

fn compare(mut got: Shown, mut want: Shown, ordered: bool) -> Result<(), String> {
    if !ordered {
        got.sort_by(|a, b| a.0.cmp(&b.0));
        want.sort_by(|a, b| a.0.cmp(&b.0));
    }
    want.retain(|series| !series.1.is_empty());
    let same = got.len() == want.len()
        && got.iter().zip(&want).all(|(got, want)| {
            got.0 == want.0
                && got.1.len() == want.1.len()
                && got
                    .1
                    .iter()
                    .zip(&want.1)
                    .all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
        });
    if same {
        Ok(())
    } else {
        Err(format!("\n    got  {got:?}\n    want {want:?}"))
    }
}

fn texts(case: &Case, kind: &str) -> Option<Vec<String>> {
    let lines: Vec<&String> = case
        .expects
        .iter()
        .filter(|e| e.split_whitespace().next() == Some(kind))
        .collect();
    if lines.is_empty() {
        return None;
    }
    Some(
        lines
            .iter()
            .map(|line| line[kind.len()..].trim().to_owned())
            .filter(|t| !t.is_empty())
            .collect(),
    )
}

fn says(text: &str, pattern: &str) -> bool {
    if let Some(message) = pattern.strip_prefix("msg:") {
        return text.contains(message.trim());
    }
    let Some(expression) = pattern.strip_prefix("regex:") else {
        return true;
    };
    let expression = expression.trim().trim_matches('`').trim_matches('"');
    regex::Regex::new(expression).unwrap().is_match(text)
}

fn judge_annotations(case: &Case, output: &QueryOutput) -> Result<(), String> {
    for (kind, none, severity) in [
        ("warn", "no_warn", Severity::Warning),
        ("info", "no_info", Severity::Info),
    ] {
        let said = output.annotations.texts(severity, &case.query, 0);
        if texts(case, none).is_some() && !said.is_empty() {
            return Err(format!("no {kind} was expected: {said:?}"));
        }
        let Some(wanted) = texts(case, kind) else {
            continue;
        };
        if said.is_empty() {
            return Err(format!("a {kind} was expected: {wanted:?}"));
        }
        for pattern in &wanted {
            if !said.iter().any(|text| says(text, pattern)) {
                return Err(format!("{kind} {pattern:?} not in {said:?}"));
            }
        }
    }
    Ok(())
}

fn judge(
    case: &Case,
    result: Result<QueryOutput, Error>,
    times: (i64, i64, i64),
    all: bool,
) -> Result<(), String> {
    let fail = texts(case, "fail");
    let output = match (result, fail) {
        (Err(error), Some(patterns)) => {
            let text = error.to_string();
            return match patterns.iter().all(|pattern| says(&text, pattern)) {
                true => Ok(()),
                false => Err(format!("error {text:?} instead of {patterns:?}")),
            };
        }
        (Err(Error::NativeHistogram { .. }), None) => return Err("histogram".to_owned()),
        (Err(error), None) => return Err(format!("error {error}")),
        (Ok(output), Some(_)) => return Err(format!("no error but {:?}", output.value)),
        (Ok(output), None) => output,
    };
    judge_annotations(case, &output)?;
    if let Some(text) = case.expects.iter().find_map(|e| e.strip_prefix("string ")) {
        let QueryValue::Text(_, got) = &output.value else {
            return Err(format!("no text: {:?}", output.value));
        };
        let text = text.trim();
        return match text.contains(got.as_str()) || text.contains('\\') {
            true => Ok(()),
            false => Err(format!("{got:?} instead of {text}")),
        };
    }
    let mut grid = times;
    if let Some(line) = case
        .expects
        .iter()
        .find_map(|e| e.strip_prefix("range vector from "))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        grid = (
            duration_ms(words[0]),
            duration_ms(words[2]),
            duration_ms(words[4]),
        );
    }
    let mut want = expected(case, grid)?;
    let mut got = shown(&output);
    if !all {
        got.iter_mut()
            .for_each(|series| series.1.retain(|point| point.0 == times.0));
        got.retain(|series| !series.1.is_empty());
        want.iter_mut()
            .for_each(|series| series.1.iter_mut().for_each(|p| p.0 = times.0));
    }
    let ordered = all && case.expects.iter().any(|e| e == "ordered");
    compare(got, want, ordered)
}

fn run_case(engine: &Engine, source: &MemorySource, case: &Case) -> Result<(), String> {
    let (start, end, step) = case.times;
    let context = engine.context(None);
    if step > 0 {
        let result = engine.range(source, &range(&case.query, start, end, step), &context);
        return judge(case, result, case.times, true);
    }
    let result = engine.instant(source, &instant(&case.query, start), &context);
    let is_matrix = matches!(&result, Ok(output) if matches!(output.value, QueryValue::Matrix(_) | QueryValue::Text(..)));
    judge(case, result, case.times, true)?;
    let fixed = ["start()", "end()", "range()", "step()"]
        .iter()
        .any(|f| case.query.contains(f));
    let failing = texts(case, "fail").is_some();
    let warns = case.query.contains("sort");
    if is_matrix || fixed || failing || warns {
        return Ok(());
    }
    let query = range(&case.query, start - 60_000, start + 60_000, 60_000);
    let result = engine.range(source, &query, &context);
    let case = Case {
        expects: case
            .expects
            .iter()
            .filter(|e| !e.starts_with("no_") && !e.starts_with("warn") && !e.starts_with("info"))
            .cloned()
            .collect(),
        line: case.line,
        query: case.query.clone(),
        times: case.times,
        results: case.results.clone(),
    };
    judge(&case, result, case.times, false).map_err(|text| format!("as a range: {text}"))
}

fn evaluation(line: &str, at: usize) -> Case {
    let mut words = line.splitn(3, char::is_whitespace);
    let (_, kind, rest) = (
        words.next(),
        words.next().unwrap(),
        words.next().unwrap().trim_start(),
    );
    let mut case = Case {
        line: at,
        ..Case::default()
    };
    let mut rest = rest;
    let mut word = || {
        let trimmed = rest.trim_start();
        let end = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
        let (one, tail) = trimmed.split_at(end);
        rest = tail;
        one.to_owned()
    };
    if kind == "instant" {
        assert_eq!(word(), "at");
        let time = duration_ms(&word());
        case.times = (time, time, 0);
    } else {
        assert_eq!(word(), "from");
        let start = duration_ms(&word());
        assert_eq!(word(), "to");
        let end = duration_ms(&word());
        assert_eq!(word(), "step");
        case.times = (start, end, duration_ms(&word()));
    }
    case.query = rest.trim().to_owned();
    case
}

fn run_file(path: &Path) -> (usize, usize, usize, Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    let engine = engine(&["all"]);
    let mut source = MemorySource::default();
    let (mut passed, mut total, mut histograms, mut failures) = (0, 0, 0, Vec::new());
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        let first = at + 1;
        at += 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut block: Vec<String> = Vec::new();
        while at < lines.len() {
            let next = lines[at].trim();
            if next.is_empty()
                || next.starts_with('#')
                || next.starts_with("eval")
                || next.starts_with("load")
                || next == "clear"
            {
                break;
            }
            block.push(next.to_owned());
            at += 1;
        }
        if line == "clear" {
            source = MemorySource::default();
        } else if let Some(step) = line
            .strip_prefix("load_with_nhcb ")
            .or(line.strip_prefix("load "))
        {
            load(
                &mut source,
                duration_ms(step.trim()),
                &block,
                line.starts_with("load_with"),
            );
        } else if line.starts_with("eval ") {
            let mut case = evaluation(line, first);
            for entry in block {
                match entry.strip_prefix("expect ") {
                    Some(expect) => case.expects.push(expect.trim().to_owned()),
                    None => case.results.push(entry),
                }
            }
            total += 1;
            match run_case(&engine, &source, &case) {
                Ok(()) => passed += 1,
                Err(text) if text.contains("histogram") && !text.contains("got ") => {
                    histograms += 1
                }
                Err(text) => failures.push(format!("  {}: {}: {text}", case.line, case.query)),
            }
        }
    }
    (passed, total, histograms, failures)
}

#[test]
fn published_cases() {
    let Ok(folder) = std::env::var("CAIRN_PROMQLTEST") else {
        return;
    };
    let only = std::env::var("CAIRN_PROMQLTEST_FILE").unwrap_or_default();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    for path in files
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "test"))
    {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        let (passed, total, histograms, failures) = run_file(path);
        println!(
            "{name}: {passed}/{total}, {histograms} need native histograms, {} fail",
            failures.len()
        );
        for failure in failures {
            println!("{failure}");
        }
    }
}
