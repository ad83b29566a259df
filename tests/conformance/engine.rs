//! The engine end to end, against series held in memory.

use std::sync::Arc;

use cairn::model::{TenantId, TimestampMs};
use cairn::query::{
    Engine, Error, ErrorClass, InstantQuery, QueryMetrics, QuerySettings, QueryValue, RangeQuery,
    SampleValue,
};
use cairn::runtime::ManualClock;

use super::memory::MemorySource;

/// An engine with these features.
pub(crate) fn engine(features: &[&str]) -> Engine {
    let settings = QuerySettings {
        enable_feature: features.iter().map(|name| (*name).to_owned()).collect(),
        ..QuerySettings::default()
    };
    Engine::new(
        settings,
        Arc::new(ManualClock::default()),
        QueryMetrics::default(),
    )
}

pub(crate) fn instant(text: &str, at_ms: i64) -> InstantQuery {
    InstantQuery {
        tenant: TenantId::anonymous(),
        text: text.to_owned(),
        time: TimestampMs(at_ms),
        lookback: None,
        limit: 0,
    }
}

pub(crate) fn range(text: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> RangeQuery {
    RangeQuery {
        fresh: false,
        tenant: TenantId::anonymous(),
        text: text.to_owned(),
        start: TimestampMs(start_ms),
        end: TimestampMs(end_ms),
        step_ms,
        lookback: None,
        limit: 0,
    }
}

fn source() -> MemorySource {
    let mut source = MemorySource::default();
    for (labels, step) in [
        ("http_requests_total{job=\"a\",instance=\"1\"}", 1.0),
        ("http_requests_total{job=\"a\",instance=\"2\"}", 2.0),
        ("http_requests_total{job=\"b\",instance=\"1\"}", 3.0),
    ] {
        for minute in 0..60 {
            source.add(
                labels,
                minute * 60_000,
                f64::from(i32::try_from(minute).unwrap()) * step * 60.0,
            );
        }
    }
    source
}

fn check(text: &str, want: &[(&str, f64)]) {
    let engine = engine(&[]);
    let output = engine
        .instant(
            &source(),
            &instant(text, 30 * 60_000),
            &engine.context(None),
        )
        .unwrap();
    let QueryValue::Vector(_, series) = output.value else {
        panic!("{text} gives {:?}", output.value);
    };
    let got: Vec<(String, f64)> = series
        .into_iter()
        .map(|(labels, value)| match value {
            SampleValue::Float(value) => (labels.to_string(), value),
            SampleValue::Histogram(histogram) => panic!("{text} gives {histogram}"),
        })
        .collect();
    let want: Vec<(String, f64)> = want
        .iter()
        .map(|(labels, value)| ((*labels).to_owned(), *value))
        .collect();
    assert_eq!(got, want, "{text}");
}

#[test]
fn selectors_rates_sums_and_joins_work_end_to_end() {
    check("sum(rate(http_requests_total[5m]))", &[("{}", 6.0)]);
    check(
        "sum by (job) (rate(http_requests_total[5m]))",
        &[("{job=\"a\"}", 3.0), ("{job=\"b\"}", 3.0)],
    );
    check(
        "rate(http_requests_total{job=\"a\"}[5m]) / on (instance) rate(http_requests_total{job=\"b\"}[5m])",
        &[("{instance=\"1\"}", 1.0 / 3.0)],
    );
    check(
        "max_over_time(sum(rate(http_requests_total[5m]))[10m:1m])",
        &[("{}", 6.0)],
    );
    check(
        "topk(1, rate(http_requests_total[5m]))",
        &[("{instance=\"1\", job=\"b\"}", 3.0)],
    );
    check("absent(nothing{job=\"a\"})", &[("{job=\"a\"}", 1.0)]);
}

#[test]
fn refusals_have_prometheus_words() {
    let engine = engine(&[]);
    let context = engine.context(None);
    let refused = |text: &str| {
        engine
            .instant(&source(), &instant(text, 30 * 60_000), &context)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused("http_requests_total / on (job) http_requests_total"),
        "found duplicate series for the match group {job=\"a\"} on the right hand-side of the \
         operation: [{__name__=\"http_requests_total\", instance=\"1\", job=\"a\"}, \
         {__name__=\"http_requests_total\", instance=\"2\", job=\"a\"}];many-to-many matching not \
         allowed: matching labels must be unique on one side"
    );
    let error = engine
        .range(&source(), &range("up", 0, 11_001_000, 1_000), &context)
        .unwrap_err();
    assert!(matches!(error, Error::TooManyPoints(11_000)), "{error}");
}

#[test]
fn too_many_samples_are_refused() {
    let settings = QuerySettings {
        max_samples: 50,
        ..QuerySettings::default()
    };
    let engine = Engine::new(
        settings,
        Arc::new(ManualClock::default()),
        QueryMetrics::default(),
    );
    let error = engine
        .instant(
            &source(),
            &instant("sum(rate(http_requests_total[1h]))", 60 * 60_000),
            &engine.context(None),
        )
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "query processing would load too many samples into memory in query execution"
    );
    assert_eq!(error.class(), ErrorClass::Execution);
}

/// Would catch an engine that holds histograms without accounting for them: a query over many may
/// not take more than its budget.
#[test]
fn native_histograms_count_for_as_many_samples_as_their_size() {
    let mut source = MemorySource::default();
    let native = super::native::Native::parse("count:3 sum:3 buckets:[1 1 1]");
    source.push(
        super::memory::labels("sizes{job=\"a\"}"),
        0,
        native.value(),
        0,
    );
    let output = engine(&[])
        .instant(&source, &instant("sizes", 0), &engine(&[]).context(None))
        .unwrap();
    // 168 bytes, one span and three buckets of 8, the time: in samples of 16 bytes.
    assert_eq!(output.stats.total_queryable_samples, 13);
}
