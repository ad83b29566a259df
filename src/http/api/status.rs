//! What this node is and holds: `status/*`, `targets`, `scrape_pools`.

use std::time::Duration;

use crate::cluster::ReadOnlyStatus;
use crate::model::{BlockEntry, RingArc, TimestampMs};
use crate::runtime::show_duration;

use super::super::answer::{Remarks, Sink};
use super::super::json::{self, Fields};
use super::super::reply::ApiError;
use super::super::state::TargetStatus;
use super::call::{Answered, Call};

/// The Prometheus whose API this is: Grafana and others switch features by it.
const PROMETHEUS_VERSION: &str = "3.14.0";

/// `status/buildinfo`.
pub(in super::super) fn build(call: &Call, sink: &mut Sink) -> Answered {
    let runtime = call.state.status.runtime();
    let mut fields = Fields::new(sink.out());
    fields.text("version", PROMETHEUS_VERSION);
    fields.text("revision", &runtime.revision);
    fields.text("branch", "");
    fields.text("buildUser", "");
    fields.text("buildDate", "");
    fields.text("goVersion", "");
    fields.text("cairnVersion", env!("CARGO_PKG_VERSION"));
    fields.end();
    Ok(Remarks::default())
}

/// `status/runtimeinfo`.
pub(in super::super) fn runtime(call: &Call, sink: &mut Sink) -> Answered {
    let runtime = call.state.status.runtime();
    let mut fields = Fields::new(sink.out());
    json::rfc3339(fields.field("startTime"), runtime.started.0);
    fields.text("CWD", &runtime.directory);
    fields.text("hostname", &runtime.host);
    json::rfc3339(fields.field("serverTime"), call.state.clock.now().0);
    fields.flag("reloadConfigSuccess", runtime.reload_succeeded);
    json::rfc3339(fields.field("lastConfigTime"), runtime.configured.0);
    fields.number("timeSeriesCount", runtime.series);
    fields.number("corruptionCount", runtime.corruptions);
    fields.number("goroutineCount", runtime.threads);
    fields.number("GOMAXPROCS", runtime.processors);
    fields.number("GOMEMLIMIT", runtime.memory_limit_bytes);
    fields.text("GOGC", "");
    fields.text("GODEBUG", "");
    fields.text("storageRetention", &runtime.retention);
    if let Some(reason) = &runtime.refusing_writes {
        fields.text("refusingWrites", reason);
    }
    if let Some(read_only) = &runtime.read_only {
        let now = call.state.clock.now();
        write_read_only(fields.field("readOnly"), read_only, now);
    }
    fields.end();
    Ok(Remarks::default())
}

/// What a node that only looks at a bucket shows, and how old that is.
fn write_read_only(out: &mut Vec<u8>, shown: &ReadOnlyStatus, now: TimestampMs) {
    let mut fields = Fields::new(out);
    fields.text("place", &shown.place);
    fields.text("cluster", &shown.cluster);
    json::rfc3339(fields.field("catalogRead"), shown.read.0);
    let age_ms = now.0.saturating_sub(shown.read.0).max(0).unsigned_abs();
    fields.number("catalogAgeSeconds", age_ms / 1000);
    for (name, time) in [("catalogPut", shown.put), ("newest", shown.newest)] {
        if let Some(time) = time {
            json::rfc3339(fields.field(name), time.0);
        }
    }
    fields.number("blocks", shown.blocks);
    fields.number("bytes", shown.bytes);
    let trouble = shown.trouble.iter().map(String::as_str);
    json::texts(fields.field("trouble"), trouble);
    fields.end();
}

/// `status/flags`: the settings, all as texts.
pub(in super::super) fn flags(call: &Call, sink: &mut Sink) -> Answered {
    let mut fields = Fields::new(sink.out());
    for (name, value) in call.state.status.flags() {
        fields.text(&name, &value);
    }
    fields.end();
    Ok(Remarks::default())
}

/// `status/config`: the configuration under the key that Prometheus has for it.
pub(in super::super) fn config(call: &Call, sink: &mut Sink) -> Answered {
    let mut fields = Fields::new(sink.out());
    fields.text("yaml", &call.state.status.config());
    fields.end();
    Ok(Remarks::default())
}

/// The most entries a list of `status/tsdb` may have.
const TSDB_LIMIT_MAX: i64 = 10_000;

/// `status/tsdb`: what the heads of all nodes hold.
pub(in super::super) fn tsdb(call: &Call, sink: &mut Sink) -> Answered {
    const COMPLAINT: &str = "limit must be a positive number";
    let limit = call.params.whole("limit", COMPLAINT)?.unwrap_or(10);
    if limit < 1 {
        return Err(ApiError::bad_data(COMPLAINT));
    }
    if limit > TSDB_LIMIT_MAX {
        return Err(ApiError::bad_data(format!(
            "limit must not exceed {TSDB_LIMIT_MAX}"
        )));
    }
    let limit = usize::try_from(limit).unwrap_or(1);
    let context = call.context();
    let head = call.state.status.head(&call.tenant, limit, &context)?;
    let mut fields = Fields::new(sink.out());
    let mut stats = Fields::new(fields.field("headStats"));
    stats.number("numSeries", head.series);
    stats.number("numLabelPairs", head.label_pairs);
    stats.number("chunkCount", head.chunks);
    json::whole(stats.field("minTime"), head.time_min.0);
    json::whole(stats.field("maxTime"), head.time_max.0);
    stats.end();
    for (name, entries) in [
        ("seriesCountByMetricName", &head.series_by_metric),
        ("labelValueCountByLabelName", &head.values_by_label),
        ("memoryInBytesByLabelName", &head.bytes_by_label),
        ("seriesCountByLabelValuePair", &head.series_by_pair),
    ] {
        let out = fields.field(name);
        json::list(out, entries.iter().take(limit), |out, (name, value)| {
            let mut entry = Fields::new(out);
            entry.text("name", name);
            entry.number("value", *value);
            entry.end();
        });
    }
    fields.end();
    Ok(Remarks::default())
}

/// `status/tsdb/blocks`: the blocks held.
pub(in super::super) fn blocks(call: &Call, sink: &mut Sink) -> Answered {
    let mut fields = Fields::new(sink.out());
    let blocks = call.state.status.blocks();
    json::list(fields.field("blocks"), blocks, write_block);
    fields.end();
    Ok(Remarks::default())
}

fn write_block(out: &mut Vec<u8>, (arc, block): (RingArc, BlockEntry)) {
    let mut fields = Fields::new(out);
    fields.text("ulid", &block.id.to_string());
    json::whole(fields.field("minTime"), block.range.start.0);
    // Prometheus' ends are exclusive.
    json::whole(fields.field("maxTime"), block.range.end.plus_ms(1).0);
    let mut stats = Fields::new(fields.field("stats"));
    stats.number("numSamples", block.samples);
    stats.number("numBytes", block.size);
    stats.end();
    let mut compaction = Fields::new(fields.field("compaction"));
    // Prometheus counts from 1.
    compaction.number("level", u64::from(block.level.merges()) + 1);
    compaction.end();
    fields.number("version", 1);
    fields.text("arc", &arc.to_string());
    fields.number("round", u64::from(block.round));
    fields.text("digest", &block.digest.to_string());
    fields.end();
}

/// `status/walreplay`: how far the log is read; answers before anything else does.
pub(in super::super) fn replay(call: &Call, sink: &mut Sink) -> Answered {
    let replay = call.state.status.replay();
    let mut fields = Fields::new(sink.out());
    fields.number("min", replay.first);
    fields.number("max", replay.last);
    fields.number("current", replay.current);
    let state = match (replay.done, replay.current) {
        (true, _) => "done",
        (false, 0) => "waiting",
        (false, _) => "in progress",
    };
    fields.text("state", state);
    fields.end();
    Ok(Remarks::default())
}

/// `scrape_pools`: the jobs that this node scrapes itself.
pub(in super::super) fn scrape_pools(call: &Call, sink: &mut Sink) -> Answered {
    let targets = call.state.status.targets();
    let mut pools: Vec<String> = targets.into_iter().map(|target| target.pool).collect();
    pools.sort_unstable();
    pools.dedup();
    let mut fields = Fields::new(sink.out());
    let out = fields.field("scrapePools");
    json::texts(out, pools.iter().map(String::as_str));
    fields.end();
    Ok(Remarks::default())
}

/// `targets`: what this node scrapes itself; it drops none.
pub(in super::super) fn targets(call: &Call, sink: &mut Sink) -> Answered {
    let params = &call.params;
    let (state, pool) = (params.get("state"), params.get("scrapePool"));
    let mut targets = call.state.status.targets();
    targets.retain(|target| pool.is_empty() || target.pool == pool);
    if state.eq_ignore_ascii_case("dropped") {
        targets.clear();
    }
    let mut fields = Fields::new(sink.out());
    json::list(fields.field("activeTargets"), &targets, write_target);
    fields.field("droppedTargets").extend_from_slice(b"[]");
    let mut counts = Fields::new(fields.field("droppedTargetCounts"));
    for target in &targets {
        counts.number(&target.pool, 0);
    }
    counts.end();
    fields.end();
    Ok(Remarks::default())
}

fn write_target(out: &mut Vec<u8>, target: &TargetStatus) {
    let mut fields = Fields::new(out);
    json::labels(fields.field("discoveredLabels"), &target.labels);
    json::labels(fields.field("labels"), &target.labels);
    fields.text("scrapePool", &target.pool);
    fields.text("scrapeUrl", &target.url);
    fields.text("globalUrl", &target.url);
    fields.text("lastError", &target.error);
    json::rfc3339(fields.field("lastScrape"), target.scraped.0);
    let took = format!("{:.6}", target.took_s.max(0.0));
    let out = fields.field("lastScrapeDuration");
    out.extend_from_slice(took.as_bytes());
    let health = match (target.scraped.0, target.error.is_empty()) {
        (0, _) => "unknown",
        (_, true) => "up",
        (_, false) => "down",
    };
    fields.text("health", health);
    let interval = Duration::from_millis(target.interval_ms.unsigned_abs());
    fields.text("scrapeInterval", &show_duration(interval));
    fields.text("scrapeTimeout", &show_duration(interval));
    fields.end();
}
