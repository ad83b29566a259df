//! Reads case files in the format of Prometheus' own PromQL tests and runs them against the engine:
//! ours in `cases/`, and Prometheus' where they are at hand. Those are not part of this repository:
//! `CAIRN_PROMQLTEST` names their folder, or they lie beside the clone (`../shared/promqltest`);
//! where they are not, the test says so on the terminal and in the file `CAIRN_SKIPPED`.
//!
//! A case passes or fails.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::{engine, instant, range};
use super::memory::{MemorySource, labels};
use super::notation::{Point, duration_ms, load, points, series_line};
use cairn::model::LabelSet;
use cairn::query::syntax::{ExprKind, ParseOptions, parse};
use cairn::query::{Engine, Error, FloatHistogram, QueryOutput, QueryValue, SampleValue, Severity};

#[derive(Default, Debug)]
struct Case {
    line: usize,
    query: String,
    /// Start, end and step in milliseconds; step 0: an instant.
    times: (i64, i64, i64),
    expects: Vec<String>,
    results: Vec<String>,
}

pub(crate) fn close(one: f64, other: f64) -> bool {
    one == other
        || one.is_nan() && other.is_nan()
        || (one - other).abs() <= 1e-6 * one.abs().max(other.abs())
}

/// A sample of a result.
#[derive(Clone, Debug)]
enum Got {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

type Points<T> = Vec<(LabelSet, Vec<(i64, T)>)>;

fn shown(output: &QueryOutput) -> Points<Got> {
    let got = |value: &SampleValue| match value {
        SampleValue::Float(value) => Got::Float(*value),
        SampleValue::Histogram(histogram) => Got::Histogram(Arc::clone(histogram)),
    };
    match &output.value {
        QueryValue::Scalar(at, value) => {
            vec![(LabelSet::empty(), vec![(at.0, Got::Float(*value))])]
        }
        QueryValue::Text(..) => Vec::new(),
        QueryValue::Vector(at, series) => series
            .iter()
            .map(|(labels, value)| (labels.clone(), vec![(at.0, got(value))]))
            .collect(),
        QueryValue::Matrix(series) => series
            .iter()
            .map(|one| {
                let floats = one.timestamps.iter().zip(&one.values);
                let floats = floats.map(|(at, value)| (*at, Got::Float(*value)));
                let histograms = one.histograms.iter();
                let histograms = histograms.map(|(at, one)| (*at, Got::Histogram(Arc::clone(one))));
                let mut points: Vec<(i64, Got)> = floats.chain(histograms).collect();
                points.sort_by_key(|point| point.0);
                (one.labels.clone(), points)
            })
            .collect(),
    }
}

fn expected(case: &Case, times: (i64, i64, i64)) -> Points<Point> {
    let (start, _, step) = times;
    let mut all = Points::new();
    for line in &case.results {
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
            .into_iter()
            .enumerate()
            .filter(|(_, point)| !matches!(point, Point::Nothing))
            .map(|(at, point)| (start + i64::try_from(at).unwrap() * step, point))
            .collect();
        all.push((series, points));
    }
    all
}

fn same(got: &Got, want: &Point) -> bool {
    match (got, want) {
        (Got::Float(got), Point::Float(want)) => close(*got, *want),
        (Got::Histogram(got), Point::Histogram(want)) => want.is(got),
        _ => false,
    }
}

fn compare(mut got: Points<Got>, mut want: Points<Point>, ordered: bool) -> Result<(), String> {
    if !ordered {
        got.sort_by(|a, b| a.0.cmp(&b.0));
        want.sort_by(|a, b| a.0.cmp(&b.0));
    }
    want.retain(|series| !series.1.is_empty());
    let equal = got.len() == want.len()
        && got.iter().zip(&want).all(|(got, want)| {
            got.0 == want.0
                && got.1.len() == want.1.len()
                && got
                    .1
                    .iter()
                    .zip(&want.1)
                    .all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
        });
    if equal {
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
        (Err(error), None) => return Err(format!("error {error}")),
        (Ok(output), Some(_)) => return Err(format!("no error but {:?}", output.value)),
        (Ok(output), None) => output,
    };
    judge_annotations(case, &output)?;
    if let Some(text) = case.expects.iter().find_map(|e| e.strip_prefix("string ")) {
        let QueryValue::Text(_, got) = &output.value else {
            return Err(format!("no text: {:?}", output.value));
        };
        // The files quote it as PromQL does.
        let wanted = instant_text(text.trim());
        return match *got == wanted {
            true => Ok(()),
            false => Err(format!("{got:?} instead of {wanted:?}")),
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
    let mut want = expected(case, grid);
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

/// What a text in quotes says.
fn instant_text(quoted: &str) -> String {
    match parse(quoted, &ParseOptions::ALL).unwrap().kind {
        ExprKind::String(text) => text,
        other => panic!("{quoted} is no text but {other:?}"),
    }
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

/// What became of a file's cases.
#[derive(Default)]
struct Tally {
    total: usize,
    passed: usize,
    failures: Vec<String>,
}

/// The lines that belong to the command at `at`, without it.
fn block<'a>(lines: &[&'a str], at: &mut usize) -> Vec<&'a str> {
    let begins = |line: &str| {
        line.is_empty()
            || line.starts_with('#')
            || line.starts_with("eval")
            || line.starts_with("load")
            || line == "clear"
    };
    let found: Vec<&str> = lines[*at..]
        .iter()
        .map(|line| line.trim())
        .take_while(|line| !begins(line))
        .collect();
    *at += found.len();
    found
}

fn run_file(path: &Path) -> Tally {
    let text = std::fs::read_to_string(path).unwrap();
    let engine = engine(&["all"]);
    let mut source = MemorySource::default();
    let mut tally = Tally::default();
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let (line, number) = (lines[at].trim(), at + 1);
        at += 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let block = block(&lines, &mut at);
        if line == "clear" {
            source = MemorySource::default();
        } else if let Some(step) = line.strip_prefix("load_with_nhcb ") {
            load(&mut source, duration_ms(step.trim()), &block, true);
        } else if let Some(step) = line.strip_prefix("load ") {
            load(&mut source, duration_ms(step.trim()), &block, false);
        } else if line.starts_with("eval") {
            let mut case = evaluation(line, number);
            if line.starts_with("eval_fail ") {
                case.expects.push("fail".to_owned());
            }
            for entry in block {
                match entry.strip_prefix("expect ") {
                    Some(expect) => case.expects.push(expect.trim().to_owned()),
                    None => case.results.push(entry.to_owned()),
                }
            }
            tally.add(&case, run_case(&engine, &source, &case));
        } else {
            panic!("{}:{number}: what is {line:?}?", path.display());
        }
    }
    tally
}

impl Tally {
    fn add(&mut self, case: &Case, ended: Result<(), String>) {
        self.total += 1;
        match ended {
            Ok(()) => self.passed += 1,
            Err(text) => {
                let failure = format!("  {}: {}: {text}", case.line, case.query);
                self.failures.push(failure);
            }
        }
    }
}

/// Runs a folder's files; gives how many cases passed.
fn run_folder(folder: &Path) -> usize {
    let only = std::env::var("CAIRN_PROMQLTEST_FILE").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .filter(|path| path.to_string_lossy().contains(&only))
        .collect();
    files.sort();
    let (mut passed, mut failed) = (0, 0);
    for path in &files {
        let tally = run_file(path);
        println!(
            "{}: {} of {} pass, {} fail",
            path.file_name().unwrap().to_string_lossy(),
            tally.passed,
            tally.total,
            tally.failures.len()
        );
        for case in &tally.failures {
            println!("  FAILED{case}");
        }
        passed += tally.passed;
        failed += tally.failures.len();
    }
    assert_eq!(failed, 0, "cases fail in {}", folder.display());
    passed
}

/// Says on the terminal and in the list of `scripts/test` what was not tested, and why.
pub(crate) fn skip(what: &str) {
    println!("skipped: {what}");
    if let Ok(path) = std::env::var("CAIRN_SKIPPED") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        writeln!(file, "skipped: {what}").unwrap();
    }
}

/// Would catch any change of what PromQL means that one of our own cases describes.
#[test]
fn own_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    assert!(run_folder(&folder) > 0);
}

/// How many cases the published files hold: none may go unread.
const CASES: usize = 1_830;

/// Would catch any difference from Prometheus that its own cases describe.
#[test]
fn published_cases() {
    let folder = std::env::var_os("CAIRN_PROMQLTEST").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/promqltest/testdata"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        skip(&format!(
            "conformance::published_cases: Prometheus' case files are not at {} \
             (CAIRN_PROMQLTEST names another folder)",
            folder.display()
        ));
        return;
    }
    let passed = run_folder(&folder);
    assert!(
        passed >= CASES || std::env::var_os("CAIRN_PROMQLTEST_FILE").is_some(),
        "{passed} cases pass, {CASES} are known"
    );
}
