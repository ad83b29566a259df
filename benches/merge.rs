//! Merging: what two-hour blocks of sixteen arcs take and what one block of all of them takes, the
//! time a sample of merging costs, and the memory that merging takes beside what was there before.
//! On the recording of a real node (`CAIRN_RECORDING`, or `shared/data` beside the clone) and on a
//! synthetic day of 2,000 series every 15 s. Then what the same take downsampled, and what it costs.
//!
//! `cargo bench --bench merge`; what came out is in `docs/performance.md`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a bench program: a panic is how it fails, and it measures time"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn::codec::page::Density;
use cairn::model::{
    BlockId, LabelSet, Level, Resolution, RingArc, Samples, TenantId, TimeRange, TimestampMs,
    Value, WINDOW_MS, Window, fingerprint,
};
use cairn::runtime::{CancelToken, Chance, SeededChance, cpu_seconds};
use cairn::source::FamilyMetadata;
use cairn::store::{
    BlockContent, BlockProperties, BlockReader, ContentSeries, Error, MergedBlocks, SstTable,
    Table, block_prefix, build_block, for_each,
};
use criterion::{Criterion, Throughput};

struct Given(Vec<(ContentSeries, Samples)>);

impl BlockContent for Given {
    fn series_len(&self) -> usize {
        self.0.len()
    }

    fn series(&self, index: usize) -> Result<ContentSeries, Error> {
        Ok(self.0[index].0.clone())
    }

    fn read(&mut self, index: usize, samples: &mut Samples) -> Result<(), Error> {
        samples.clone_from(&self.0[index].1);
        Ok(())
    }

    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error> {
        Ok(Vec::new())
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    match recording() {
        Some(recording) => {
            measure("recording, 5 s", &recording, &mut criterion);
            for (name, every, step_ms) in [("15 s", 3, 15_000), ("1 min", 12, 60_000)] {
                let day = played(&recording, every, step_ms);
                coarser(&format!("recording over a day, {name}"), &day);
            }
        }
        None => println!("no recording: set CAIRN_RECORDING or put shared/data beside the clone"),
    }
    measure("synthetic day, 15 s", &synthetic(), &mut criterion);
    coarser("synthetic day, 15 s", &synthetic());
    criterion.final_summary();
}

/// A recording played again and again until a day is over; what only rises goes on rising.
fn played(set: &[(LabelSet, Samples)], every: usize, step_ms: i64) -> Vec<(LabelSet, Samples)> {
    let rows = 86_400_000 / step_ms;
    let play = |(labels, all): &(LabelSet, Samples)| {
        let values: Vec<f64> = all.values.iter().copied().step_by(every).collect();
        let rises = values.windows(2).all(|pair| pair[0] <= pair[1]);
        let gain = if rises {
            values[values.len() - 1] - values[0]
        } else {
            0.0
        };
        let mut samples = Samples::default();
        for row in 0..rows {
            let at = usize::try_from(row).unwrap();
            let (round, place) = (at / values.len(), at % values.len());
            let value = values[place] + gain * round as f64;
            let at = TimestampMs(1_699_920_000_000 + row * step_ms);
            samples.push(at, Value::Float(value), TimestampMs(0));
        }
        (labels.clone(), samples)
    };
    set.iter().map(play).collect()
}

/// What a set takes in one block, and at each resolution, for each sample that was written.
fn coarser(name: &str, set: &[(LabelSet, Samples)]) {
    let directory = tempfile::tempdir().unwrap();
    let arc = RingArc::new(0, 0).unwrap();
    let start = Window::of(TimestampMs(set[0].1.timestamps[0])).start();
    let range = TimeRange::new(start, start.plus_ms(2 * 86_400_000));
    let raw = directory.path().join("raw");
    let mut content = cut(set, arc, range);
    let built = build_block(
        &raw,
        &properties(1, arc, range, 1),
        &mut content,
        &CancelToken::new(),
    );
    let built = built.unwrap();
    drop(content);
    let written = built.totals.samples as f64;
    println!(
        "{name}: {} series, {written} samples, {} bytes, {:.4} B/sample",
        built.totals.series,
        built.entry.size,
        built.entry.size as f64 / written
    );
    let mut from = (BlockId(1), raw);
    for resolution in Resolution::FOLDED {
        let table = Arc::new(SstTable::open_file(&from.1).unwrap());
        let reader = Arc::new(BlockReader::open(table, from.0).unwrap());
        let mut content = MergedBlocks::open(&[reader], arc, range)
            .unwrap()
            .at(resolution, Density::Dense);
        let id = u128::from(resolution.code()) + 1;
        let mut properties = properties(id, arc, range, 1);
        properties.level = properties.level.at(resolution);
        let path = directory.path().join(resolution.to_string());
        let cpu = cpu_seconds();
        let built = build_block(&path, &properties, &mut content, &CancelToken::new()).unwrap();
        let (size, kept) = (built.entry.size as f64, built.totals.samples as f64);
        println!(
            "    {resolution}: {size} bytes, {:.4} B for each sample written, {:.1} % of them kept; {:.3} CPU-seconds a million",
            size / written,
            100.0 * kept / written,
            (cpu_seconds() - cpu) / written * 1e6
        );
        from = (BlockId(id), path);
    }
}

/// What blocks take.
#[derive(Default)]
struct Taken {
    bytes: u64,
    samples: u64,
    of_samples: u64,
}

impl Taken {
    fn add(&mut self, path: &Path, id: BlockId, samples: u64) {
        self.bytes += std::fs::metadata(path).unwrap().len();
        self.samples += samples;
        let table = SstTable::open_file(path).unwrap();
        for_each(
            |after| table.scan(&block_prefix(id), after),
            |key, value| {
                // Timestamp columns and value pages.
                if key[16] == 3 && key.get(21) == Some(&4) {
                    self.of_samples += (key.len() + value.len()) as u64;
                }
                Ok(())
            },
        )
        .unwrap();
    }

    fn say(&self, what: &str) {
        println!(
            "    {what}: {:.4} B/sample, of samples alone {:.4}",
            self.bytes as f64 / self.samples as f64,
            self.of_samples as f64 / self.samples as f64
        );
    }
}

fn properties(id: u128, arc: RingArc, range: TimeRange, level: u8) -> BlockProperties {
    BlockProperties {
        id: BlockId(id),
        cluster_id: 1,
        arc,
        range,
        level: Level(level),
        round: 1,
        pages: match level {
            0 => Density::Quick,
            _ => Density::Dense,
        },
    }
}

fn measure(name: &str, set: &[(LabelSet, Samples)], criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let first = set.iter().map(|(_, all)| all.timestamps[0]).min().unwrap();
    let last = set
        .iter()
        .filter_map(|(_, all)| all.timestamps.last())
        .max();
    let last = *last.unwrap();
    let windows: Vec<Window> = (first.div_euclid(WINDOW_MS)..=last.div_euclid(WINDOW_MS))
        .map(|number| Window::of(TimestampMs(number * WINDOW_MS)))
        .collect();
    let whole = TimeRange::new(windows[0].start(), windows[windows.len() - 1].end());
    let (mut before, mut by_arc) = (Taken::default(), Vec::new());
    for (number, arc) in RingArc::all(4).enumerate() {
        let mut blocks = Vec::new();
        for window in &windows {
            let content = cut(set, arc, window.range());
            if content.0.is_empty() {
                continue;
            }
            let id = (number * 1000 + blocks.len() + 1) as u128;
            let path = directory.path().join(id.to_string());
            let properties = properties(id, arc, window.range(), 0);
            let mut content = content;
            let built = build_block(&path, &properties, &mut content, &CancelToken::new()).unwrap();
            before.add(&path, BlockId(id), built.totals.samples);
            blocks.push((BlockId(id), path));
        }
        by_arc.push((arc, blocks));
    }
    println!("{name}: {} series, {} samples", set.len(), before.samples);
    before.say(&format!(
        "{} blocks of two hours",
        by_arc.iter().map(|a| a.1.len()).sum::<usize>()
    ));
    let mut after = Taken::default();
    let resident = resident_peak(true);
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    for (number, (arc, blocks)) in by_arc.iter().enumerate() {
        let path = directory.path().join("merged");
        let samples = merge(*arc, blocks, whole, &path);
        after.add(&path, BlockId(number as u128), samples);
    }
    let (took, cpu) = (begun.elapsed(), cpu_seconds() - cpu);
    let millions = after.samples as f64 / 1e6;
    assert_eq!(after.samples, before.samples);
    after.say("merged");
    println!(
        "    {:.3} CPU-seconds and {:.3} s a million samples; memory rose by {} KiB at most",
        cpu / millions,
        took.as_secs_f64() / millions,
        resident_peak(false).saturating_sub(resident)
    );
    let (arc, blocks) = by_arc.iter().max_by_key(|arc| arc.1.len()).unwrap();
    let path = directory.path().join("again");
    let samples = merge(*arc, blocks, whole, &path);
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Elements(samples));
    group.bench_function(name, |bench| {
        bench.iter(|| merge(*arc, blocks, whole, &path))
    });
    group.finish();
}

/// Merges one arc's blocks as the store does it.
fn merge(arc: RingArc, blocks: &[(BlockId, PathBuf)], range: TimeRange, path: &Path) -> u64 {
    let readers: Vec<Arc<BlockReader>> = blocks
        .iter()
        .map(|(id, path)| {
            let table = Arc::new(SstTable::open_file(path).unwrap());
            Arc::new(BlockReader::open(table, *id).unwrap())
        })
        .collect();
    let mut content = MergedBlocks::open(&readers, arc, range).unwrap();
    let number = u128::from(arc.prefix() >> 28);
    let properties = properties(number, arc, range, 1);
    let built = build_block(path, &properties, &mut content, &CancelToken::new()).unwrap();
    built.totals.samples
}

/// What a set has of an arc and a time.
fn cut(set: &[(LabelSet, Samples)], arc: RingArc, range: TimeRange) -> Given {
    let tenant = TenantId::anonymous();
    let mut content = Given(Vec::new());
    for (labels, all) in set {
        let fingerprint = fingerprint(&tenant, labels);
        let mut samples = all.clone();
        samples.clip(range);
        if arc.contains(fingerprint) && !samples.is_empty() {
            let series = ContentSeries {
                tenant: tenant.clone(),
                labels: labels.clone(),
                fingerprint,
            };
            content.0.push((series, samples));
        }
    }
    content
}

/// The most memory that was resident, in KiB, since it was last reset.
fn resident_peak(reset: bool) -> u64 {
    if reset {
        std::fs::write("/proc/self/clear_refs", "5").ok();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Constants, counters that rise unevenly, and gauges in hundredths, of ten targets.
fn synthetic() -> Vec<(LabelSet, Samples)> {
    let chance = SeededChance::new(1);
    let mut all = Vec::new();
    for number in 0..2000u64 {
        let labels = [
            (
                "__name__",
                format!("node_metric_{}_total", number / 10 % 100),
            ),
            ("device", format!("disk{}", number / 1000)),
            (
                "instance",
                format!("node-{:05}.lan.example:9100", number % 10),
            ),
            ("job", "node".to_owned()),
        ];
        let (mut samples, mut value) = (Samples::default(), chance.below(100_000) as f64);
        for row in 0..5760i64 {
            value = match number / 10 % 5 {
                0 | 1 => value,
                2 | 3 => value + (chance.below(40) * chance.below(2)) as f64,
                _ => (value * 100.0 + chance.below(21) as f64 - 10.0).round() / 100.0,
            };
            let at = TimestampMs(1_699_920_000_000 + row * 15_000);
            samples.push(at, Value::Float(value), TimestampMs(0));
        }
        all.push((LabelSet::from_pairs(&labels).unwrap(), samples));
    }
    all
}

#[derive(serde::Deserialize)]
struct Line {
    metric: BTreeMap<String, String>,
    values: Vec<(i64, String)>,
}

fn recording() -> Option<Vec<(LabelSet, Samples)>> {
    let beside = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/data/real-node-5s.jsonl.zst"
    );
    let path = std::env::var("CAIRN_RECORDING").unwrap_or_else(|_| beside.to_owned());
    let lines = zstd::stream::decode_all(std::fs::File::open(path).ok()?).unwrap();
    let lines = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let series = lines.map(|line| {
        let line: Line = serde_json::from_slice(line).unwrap();
        let pairs: Vec<(String, String)> = line.metric.into_iter().collect();
        let mut samples = Samples::default();
        for (at, value) in &line.values {
            let value = match value.as_str() {
                "+Inf" => f64::INFINITY,
                "-Inf" => f64::NEG_INFINITY,
                number => number.parse().unwrap(),
            };
            samples.push(TimestampMs(*at), Value::Float(value), TimestampMs(0));
        }
        (LabelSet::from_pairs(&pairs).unwrap(), samples)
    });
    Some(series.collect())
}
