//! `cairn query`: one PromQL query, as a table, JSON or a graph.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::at::AtTenant;
use super::client::Node;
use super::compare::compare;
use super::explain::explain;
use super::{conclude, graph, table, time};
use crate::model::TimestampMs;
use crate::runtime::{Clock, SystemClock, parse_duration_ms};

const EXAMPLES: &str = "\
Examples:
  cairn query up
  cairn query --time 2026-11-21T12:00:00Z 'sum by (job) (up)'
  cairn query --last 1h --step 1m 'rate(cairn_ingest_stored_total[5m])'
  cairn query --last 6h --graph 'process_resident_memory_bytes'
  cairn query --explain 'sum by (job) (rate(node_cpu_seconds_total[5m]))'
  cairn query --last 1h --compare http://prometheus:9090 'sum(up)'
  cairn query --url http://board-1:9009 --json 'count({__name__=~\".+\"})'";

/// Steps of a range query when none is given: about what a terminal has columns for.
const STEPS_DEFAULT: i64 = 160;

/// Rows of a graph in characters.
const GRAPH_HEIGHT: usize = 16;

/// The first and the last moment.
type Range = (TimestampMs, TimestampMs);

/// An endpoint and a form.
type Question = (&'static str, Vec<(&'static str, String)>);

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Query {
    /// The expression.
    expression: String,
    #[command(flatten)]
    at: AtTenant,
    /// When, for an instant query: now-5m, Unix seconds or RFC 3339.
    #[arg(long, default_value = "now")]
    time: String,
    /// A range query over the last while, such as 1h.
    #[arg(long, value_name = "DURATION", conflicts_with = "start")]
    last: Option<String>,
    /// The beginning of a range query.
    #[arg(long)]
    start: Option<String>,
    /// The end of a range query.
    #[arg(long, default_value = "now")]
    end: String,
    /// Time between two steps of a range query.
    #[arg(long, value_name = "DURATION")]
    step: Option<String>,
    /// Draw the result of a range query.
    #[arg(long, conflicts_with = "json")]
    graph: bool,
    /// Show what the query is made of, and the series, samples, bytes and time of each part.
    #[arg(long, conflicts_with_all = ["json", "graph", "compare"])]
    explain: bool,
    /// Ask another server the same (Prometheus, Mimir, VictoriaMetrics), and show where the answers
    /// differ.
    #[arg(long, value_name = "URL", conflicts_with_all = ["json", "graph"])]
    compare: Option<String>,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    timeout: String,
}

impl Query {
    pub(super) fn run(&self) -> ExitCode {
        conclude(self.answer())
    }

    fn answer(&self) -> Result<String, String> {
        let now = SystemClock::new().now();
        let timeout = Duration::from_millis(parse_duration_ms(&self.timeout)?);
        let range = self.range(now)?;
        if self.graph && range.is_none() {
            return Err("a graph needs a range: add --last 1h, or --start and --end".to_owned());
        }
        let (endpoint, mut form) = self.question(now, range)?;
        if self.explain {
            form.push(("stats", "all".to_owned()));
        }
        let form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let ask = |url: &str| {
            let answer = Node::new(url, self.at.tenant(), timeout).post(endpoint, &form)?;
            answer.complain();
            Ok::<Value, String>(answer.data)
        };
        let data = ask(&self.at.node.url)?;
        if self.explain {
            return Ok(explain(&data));
        }
        if let Some(other) = &self.compare {
            return compare((&self.at.node.url, &data), (other, &ask(other)?));
        }
        Ok(match range {
            _ if self.at.node.json => data.to_string(),
            Some((start, end)) if self.graph => draw(&data, start, end),
            Some(_) => show_range(&data),
            None => show_instant(&data),
        })
    }

    /// The endpoint, and what it is asked.
    fn question(&self, now: TimestampMs, range: Option<Range>) -> Result<Question, String> {
        let mut form = vec![("query", self.expression.clone())];
        let Some((start, end)) = range else {
            form.push(("time", time::seconds(time::parse(&self.time, now)?)));
            return Ok(("query", form));
        };
        let step_ms = match &self.step {
            Some(step) => i64::try_from(parse_duration_ms(step)?)
                .map_err(|_| format!("--step {step} is too long"))?,
            None => ((end.0 - start.0) / STEPS_DEFAULT).max(1000),
        };
        form.push(("start", time::seconds(start)));
        form.push(("end", time::seconds(end)));
        form.push(("step", time::seconds(TimestampMs(step_ms))));
        Ok(("query_range", form))
    }

    fn range(&self, now: TimestampMs) -> Result<Option<Range>, String> {
        let end = time::parse(&self.end, now)?;
        let start = match (&self.last, &self.start) {
            (Some(last), _) => {
                let ms = i64::try_from(parse_duration_ms(last)?)
                    .map_err(|_| format!("--last {last} is too long"))?;
                end.plus_ms(-ms)
            }
            (None, Some(start)) => time::parse(start, now)?,
            (None, None) => return Ok(None),
        };
        if end < start {
            return Err("the end is before the start".to_owned());
        }
        Ok(Some((start, end)))
    }
}

fn result(data: &Value) -> &[Value] {
    data.get("result")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Labels in the usual notation.
fn labels(series: &Value) -> String {
    let metric = series.get("metric").and_then(Value::as_object);
    let pairs: Vec<(&str, &str)> = metric
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    crate::model::LabelSet::from_pairs(&pairs)
        .map(|set| set.to_string())
        .unwrap_or_default()
}

fn pair(point: &Value) -> Option<(f64, &str)> {
    let pair = point.as_array()?;
    Some((pair.first()?.as_f64()?, pair.get(1)?.as_str()?))
}

fn show_instant(data: &Value) -> String {
    let kind = data
        .get("resultType")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match kind {
        "scalar" | "string" => data
            .get("result")
            .and_then(pair)
            .map(|(_, value)| value.to_owned())
            .unwrap_or_default(),
        "matrix" => show_range(data),
        _ if result(data).is_empty() => "no series".to_owned(),
        _ => {
            let rows: Vec<Vec<String>> = result(data)
                .iter()
                .map(|series| {
                    let float = series.get("value").and_then(pair);
                    let value = match float {
                        Some((_, value)) => value.to_owned(),
                        None => histogram(series.get("histogram").and_then(|pair| pair.get(1))),
                    };
                    vec![value, labels(series)]
                })
                .collect();
            table::render(&["VALUE", "SERIES"], &rows)
        }
    }
}

/// A native histogram on a line, as Prometheus writes one: `{count:3, sum:4.5, (1,2]:3}`.
fn histogram(value: Option<&Value>) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("?").to_owned();
    let Some(value) = value else {
        return "?".to_owned();
    };
    let mut line = format!(
        "{{count:{}, sum:{}",
        text(value.get("count")),
        text(value.get("sum"))
    );
    let buckets = value.get("buckets").and_then(Value::as_array);
    for bucket in buckets.into_iter().flatten() {
        let bounds = bucket.get(0).and_then(Value::as_u64).unwrap_or(2);
        let begin = if matches!(bounds, 1 | 3) { '[' } else { '(' };
        let end = if matches!(bounds, 0 | 3) { ']' } else { ')' };
        let [lower, upper, count] = [1, 2, 3].map(|at| text(bucket.get(at)));
        line.push_str(&format!(", {begin}{lower},{upper}{end}:{count}"));
    }
    line.push('}');
    line
}

fn points(series: &Value) -> Vec<(f64, &str)> {
    series
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(pair)
        .collect()
}

fn show_range(data: &Value) -> String {
    if result(data).is_empty() {
        return "no series".to_owned();
    }
    let mut rows = Vec::new();
    for series in result(data) {
        let name = labels(series);
        let floats = points(series).into_iter();
        let floats = floats.map(|(at, value)| (at, value.to_owned()));
        let histograms = series.get("histograms").and_then(Value::as_array);
        let histograms = histograms
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair.get(0)?.as_f64()?, histogram(pair.get(1)))));
        let mut all: Vec<(f64, String)> = floats.chain(histograms).collect();
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (at, value) in all {
            #[allow(
                clippy::cast_possible_truncation,
                reason = "a float to integer cast saturates"
            )]
            let at = TimestampMs((at * 1000.0).round() as i64);
            rows.push(vec![time::show(at), value, name.clone()]);
        }
    }
    table::render(&["TIME", "VALUE", "SERIES"], &rows)
}

fn draw(data: &Value, start: TimestampMs, end: TimestampMs) -> String {
    let span = ((end.0 - start.0) as f64 / 1000.0).max(0.001);
    let first = start.0 as f64 / 1000.0;
    let lines: Vec<graph::Line> = result(data)
        .iter()
        .map(|series| graph::Line {
            name: labels(series),
            points: points(series)
                .into_iter()
                .filter_map(|(at, value)| Some(((at - first) / span, value.parse().ok()?)))
                .collect(),
        })
        .collect();
    let width = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok())
        .unwrap_or(100);
    graph::render(
        &lines,
        width,
        GRAPH_HEIGHT,
        &time::show(start),
        &time::show(end),
        std::io::stdout().is_terminal(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_become_tables() {
        let vector = serde_json::json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "value": [1.5, "1"]}]});
        assert_eq!(show_instant(&vector), "VALUE  SERIES\n1      up{job=\"a\"}");
        let scalar = serde_json::json!({"resultType": "scalar", "result": [1.5, "2"]});
        assert_eq!(show_instant(&scalar), "2");
        let matrix = serde_json::json!({"resultType": "matrix", "result": [
            {"metric": {}, "values": [[0, "1"], [60, "2"]]}]});
        assert!(
            show_range(&matrix).contains("1970-01-01T00:01:00Z  2      {}"),
            "{}",
            show_range(&matrix)
        );
    }

    #[test]
    fn native_histograms_are_a_line_each() {
        let one = serde_json::json!({"count": "3", "sum": "4.5",
            "buckets": [[3, "-1", "1", "2"], [0, "1", "2", "1"]]});
        let vector = serde_json::json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "sizes"}, "histogram": [1.5, one]}]});
        let line = "{count:3, sum:4.5, [-1,1]:2, (1,2]:1}";
        assert!(
            show_instant(&vector).contains(line),
            "{}",
            show_instant(&vector)
        );
        let matrix = serde_json::json!({"resultType": "matrix", "result": [
            {"metric": {}, "values": [[120, "1"]], "histograms": [[60, one]]}]});
        let table = show_range(&matrix);
        let (early, late) = (table.find(line), table.find("1970-01-01T00:02:00Z"));
        assert!(early.is_some() && early < late, "{table}");
    }
}
