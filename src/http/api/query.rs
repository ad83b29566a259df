//! `query` and `query_range`.

use std::time::Duration;

use crate::query::{
    Error, ErrorClass, FloatHistogram, InstantQuery, MatrixSeries, OperatorStats, QueryOutput,
    QueryStats, QueryValue, RangeQuery, SampleValue, Severity,
};

use super::super::answer::{Remarks, Sink};
use super::super::json::{self, Fields};
use super::super::params::parse_duration;
use super::super::reply::{ApiError, Kind};
use super::call::{Answered, Call, TRUNCATED};

/// Warnings, and as many infos, that are shown; then only their number.
const ANNOTATIONS_MAX: usize = 10;

/// `query`: the value at one time.
pub(in super::super) fn instant(call: &Call, sink: &mut Sink) -> Answered {
    let params = &call.params;
    let query = InstantQuery {
        tenant: call.tenant.clone(),
        limit: params.limit()?,
        time: params.time_or("time", call.state.clock.now())?,
        lookback: lookback(call)?,
        text: params.get("query").to_owned(),
    };
    let engine = &call.state.engine;
    let source = call.state.source.as_ref();
    let output = engine.instant_with(source, &query, &call.context(), profiled(call))?;
    respond(call, sink, output)
}

/// `query_range`: values at many times.
pub(in super::super) fn range(call: &Call, sink: &mut Sink) -> Answered {
    let params = &call.params;
    let limit = params.limit()?;
    let start = params.time("start")?;
    let end = params.time("end")?;
    if end < start {
        return Err(ApiError::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step_ms =
        parse_duration(params.get("step")).map_err(|reason| ApiError::parameter("step", reason))?;
    if step_ms <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    let query = RangeQuery {
        tenant: call.tenant.clone(),
        text: params.get("query").to_owned(),
        start,
        end,
        step_ms,
        lookback: lookback(call)?,
        limit,
        fresh: is_fresh(call),
    };
    let engine = &call.state.engine;
    let source = call.state.source.as_ref();
    let output = engine.range_with(source, &query, &call.context(), profiled(call))?;
    respond(call, sink, output)
}

/// Whether it is wanted what each operator does.
fn profiled(call: &Call) -> bool {
    call.params.get("stats") == "all"
}

/// Whether nothing that is kept may be used: as `VictoriaMetrics` is asked.
fn is_fresh(call: &Call) -> bool {
    matches!(call.params.get("nocache"), "1" | "true")
}

fn lookback(call: &Call) -> Result<Option<Duration>, ApiError> {
    match call.params.get("lookback_delta") {
        "" => Ok(None),
        text => {
            let ms = parse_duration(text).map_err(|reason| {
                ApiError::bad_data(format!("error parsing lookback delta duration: {reason}"))
            })?;
            // Prometheus takes its own for what is not above zero.
            Ok(u64::try_from(ms).ok().map(Duration::from_millis))
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let kind = match error.class() {
            ErrorClass::BadData => Kind::BadData,
            ErrorClass::Execution => Kind::Execution,
            ErrorClass::Cancelled => Kind::Canceled,
            ErrorClass::Timeout => Kind::Timeout,
            ErrorClass::Unavailable => Kind::Unavailable,
            ErrorClass::Internal => Kind::Internal,
        };
        match error {
            Error::Parse(_) | Error::Invalid(_) => Self::parameter("query", error),
            other => Self::new(kind, other),
        }
    }
}

fn respond(call: &Call, sink: &mut Sink, output: QueryOutput) -> Answered {
    let query = call.params.get("query");
    let annotations = &output.annotations;
    let mut remarks = Remarks {
        warnings: annotations.texts(Severity::Warning, query, ANNOTATIONS_MAX),
        infos: annotations.texts(Severity::Info, query, ANNOTATIONS_MAX),
    };
    if output.truncated {
        remarks.warnings.push(TRUNCATED.to_owned());
    }
    let stats = call.params.get("stats");
    if !matches!(stats, "" | "true" | "all") {
        remarks.warnings.push(format!(
            "value {stats:?} for parameter \"stats\" is deprecated and will be rejected in the \
             next major release, use \"true\" or \"all\""
        ));
    }
    let out = sink.out();
    out.push(b'{');
    json::text_field(out, "resultType", output.value.type_name());
    out.push(b',');
    json::key(out, "result");
    write_value(sink, output.value)?;
    let out = sink.out();
    if !stats.is_empty() {
        out.push(b',');
        json::key(out, "stats");
        write_stats(out, &output.stats, &output.operators);
    }
    out.push(b'}');
    Ok(remarks)
}

fn write_value(sink: &mut Sink, value: QueryValue) -> Result<(), ApiError> {
    match value {
        QueryValue::Scalar(at, value) => json::point(sink.out(), at.0, value),
        QueryValue::Text(at, text) => {
            let out = sink.out();
            out.push(b'[');
            json::timestamp(out, at.0);
            out.push(b',');
            json::text(out, &text);
            out.push(b']');
        }
        QueryValue::Vector(at, samples) => {
            sink.out().push(b'[');
            for (index, (labels, value)) in samples.into_iter().enumerate() {
                let out = sink.out();
                out.extend_from_slice(if index == 0 {
                    b"{\"metric\":"
                } else {
                    b",{\"metric\":"
                });
                json::labels(out, &labels);
                match value {
                    SampleValue::Float(value) => {
                        out.extend_from_slice(b",\"value\":");
                        json::point(out, at.0, value);
                    }
                    SampleValue::Histogram(histogram) => {
                        out.extend_from_slice(b",\"histogram\":");
                        write_histogram(out, at.0, &histogram);
                    }
                }
                out.push(b'}');
                sink.breathe()?;
            }
            sink.out().push(b']');
        }
        QueryValue::Matrix(series) => {
            sink.out().push(b'[');
            for (index, series) in series.into_iter().enumerate() {
                if index > 0 {
                    sink.out().push(b',');
                }
                write_series(sink.out(), &series);
                sink.breathe()?;
            }
            sink.out().push(b']');
        }
    }
    Ok(())
}

fn write_series(out: &mut Vec<u8>, series: &MatrixSeries) {
    out.extend_from_slice(b"{\"metric\":");
    json::labels(out, &series.labels);
    if !series.values.is_empty() {
        out.extend_from_slice(b",\"values\":");
        let points = series.timestamps.iter().zip(&series.values);
        json::list(out, points, |out, (at, value)| {
            json::point(out, *at, *value);
        });
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(b",\"histograms\":");
        json::list(out, &series.histograms, |out, (at, histogram)| {
            write_histogram(out, *at, histogram);
        });
    }
    out.push(b'}');
}

/// `[1435781451,{"count":"3","sum":"4.5","buckets":[[0,"1","2","3"]]}]`: filled buckets only, each
/// with which of its bounds belong to it, its bounds, and its observations.
fn write_histogram(out: &mut Vec<u8>, at: i64, histogram: &FloatHistogram) {
    out.push(b'[');
    json::timestamp(out, at);
    out.push(b',');
    let mut fields = Fields::new(out);
    json::float(fields.field("count"), histogram.count());
    json::float(fields.field("sum"), histogram.sum());
    let mut filled = histogram
        .buckets()
        .filter(|bucket| bucket.count != 0.0)
        .peekable();
    if filled.peek().is_some() {
        json::list(fields.field("buckets"), filled, |out, bucket| {
            let bounds = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => b"[0,",
                (true, false) => b"[1,",
                (false, false) => b"[2,",
                (true, true) => b"[3,",
            };
            out.extend_from_slice(bounds);
            json::float(out, bucket.lower);
            out.push(b',');
            json::float(out, bucket.upper);
            out.push(b',');
            json::float(out, bucket.count);
            out.push(b']');
        });
    }
    fields.end();
    out.push(b']');
}

fn write_stats(out: &mut Vec<u8>, stats: &QueryStats, operators: &[OperatorStats]) {
    let mut fields = Fields::new(out);
    let mut timings = Fields::new(fields.field("timings"));
    for (name, took) in [
        ("evalTotalTime", stats.prepare + stats.evaluate + stats.sort),
        ("resultSortTime", stats.sort),
        ("queryPreparationTime", stats.prepare),
        ("innerEvalTime", stats.evaluate),
        ("execQueueTime", stats.queue),
        ("execTotalTime", stats.total),
    ] {
        let seconds = format!("{:.9}", took.as_secs_f64());
        timings.field(name).extend_from_slice(seconds.as_bytes());
    }
    timings.end();
    let mut samples = Fields::new(fields.field("samples"));
    samples.number("totalQueryableSamples", stats.total_queryable_samples);
    samples.number("samplesRead", stats.samples_read);
    samples.number("peakSamples", stats.peak_samples);
    samples.end();
    let mut bucket = Fields::new(fields.field("bucket"));
    bucket.number("bytesRead", stats.bucket_bytes);
    bucket.end();
    let mut cache = Fields::new(fields.field("cache"));
    cache.number("knownSteps", stats.known_steps as u64);
    cache.end();
    if !operators.is_empty() {
        json::list(fields.field("operators"), operators, write_operator);
    }
    fields.end();
}

/// Not Prometheus': one operator, after the one above it.
fn write_operator(out: &mut Vec<u8>, operator: &OperatorStats) {
    let mut fields = Fields::new(out);
    fields.text("operator", &operator.what);
    fields.number("depth", operator.depth as u64);
    fields.number("series", operator.series);
    fields.number("samples", operator.samples);
    fields.number("bytes", operator.bytes);
    for (name, took) in [("time", operator.time), ("ownTime", operator.own_time)] {
        let seconds = format!("{:.9}", took.as_secs_f64());
        fields.field(name).extend_from_slice(seconds.as_bytes());
    }
    fields.end();
}
