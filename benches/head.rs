//! The head and its log: append, reading back, replay. `cargo bench --bench head` prints time per
//! request of 5,000 samples (divide); `cargo bench --bench head -- --profile-time 1 report` is not
//! needed: bytes per series and per sample are printed once at the start.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a bench stops at the first surprise"
)]

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn::model::{FOUNDING_DEPTH, LabelSet, RingArc, Samples, TenantId, TimeRange, TimestampMs};
use cairn::runtime::{ByteSize, Chance, SeededChance, SystemClock};
use cairn::source::Selection;
use cairn::store::{
    AppendBatch, DirDisk, FloatSample, Head, HeadSettings, SeriesId, SyncMode, WriteLogSettings,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const BATCH: usize = 5000;
const TARGET_SERIES: usize = 1000;
const STEP_MS: i64 = 15_000;
/// Scrapes of a window.
const WINDOW_SCRAPES: i64 = 480;
const BEGIN_MS: i64 = 1_700_006_400_000;

/// Values of the kinds that scrapes have: constants, counters, gauges, and 8 % noise.
struct Fleet {
    series: Vec<SeriesId>,
    values: Vec<f64>,
    chance: SeededChance,
}

fn labels(number: usize) -> LabelSet {
    let (target, own) = (number / TARGET_SERIES, number % TARGET_SERIES);
    LabelSet::from_pairs(&[
        (
            "__name__",
            format!("metric_name_of_some_length_{}", own / 5),
        ),
        ("instance", format!("node-{target}.example.org:9100")),
        ("job", "node".to_owned()),
        ("cluster", "home".to_owned()),
        ("device", format!("device{}", own % 5)),
        ("mode", ["user", "system", "idle"][own % 3].to_owned()),
        ("zone", format!("shelf-{}", target % 4)),
    ])
    .unwrap()
}

impl Fleet {
    fn register(head: &Head, count: usize) -> Self {
        let tenant = TenantId::anonymous();
        let register = |number| head.register(&tenant, &labels(number)).unwrap();
        Self {
            series: (0..count).map(register).collect(),
            values: (0..count).map(|at| at as f64).collect(),
            chance: SeededChance::new(1),
        }
    }

    /// The values of the next scrape.
    fn advance(&mut self) {
        for (at, value) in self.values.iter_mut().enumerate() {
            match at % 25 {
                0..10 => {}
                10..18 => *value += self.chance.below(100) as f64,
                18..23 => *value = self.chance.below(100_000) as f64 / 100.0,
                _ => *value = f64::from_bits(self.chance.next_u64() >> 12 | 0x3ff0 << 48),
            }
        }
    }

    fn batches(&self, scrape: i64) -> Vec<Vec<FloatSample>> {
        self.batches_at(TimestampMs(BEGIN_MS + scrape * STEP_MS))
    }

    fn batches_at(&self, at: TimestampMs) -> Vec<Vec<FloatSample>> {
        let all: Vec<FloatSample> = self
            .series
            .iter()
            .zip(&self.values)
            .map(|(series, value)| FloatSample {
                series: *series,
                at,
                value: *value,
            })
            .collect();
        all.chunks(BATCH).map(<[FloatSample]>::to_vec).collect()
    }
}

fn open(dir: &std::path::Path, sync: SyncMode) -> Head {
    let log = WriteLogSettings {
        sync,
        segment_size: ByteSize::mib(64),
        ..WriteLogSettings::default()
    };
    let disk = Arc::new(DirDisk::new(dir).unwrap());
    let clock = Arc::new(SystemClock::new());
    Head::open(HeadSettings::default(), &log, disk, &[], clock).unwrap()
}

fn append(head: &Head, floats: &[FloatSample]) -> u64 {
    let batch = AppendBatch {
        floats,
        ..AppendBatch::default()
    };
    head.append(&batch).unwrap().position
}

/// Appends a scrape at each of some times, in that order; the CPU time of a sample.
fn append_at(head: &Head, fleet: &mut Fleet, times: impl Iterator<Item = i64>) -> Duration {
    let (mut samples, mut busy) = (0u32, Duration::ZERO);
    for at in times {
        fleet.advance();
        let batches = fleet.batches_at(TimestampMs(at));
        let began = cpu();
        for batch in batches {
            let position = append(head, &batch);
            head.wait_durable(position).unwrap();
            samples += batch.len() as u32;
        }
        busy += cpu() - began;
    }
    busy / samples
}

/// Late samples: a full window of them among samples that are there already, beside what the same
/// cost in order; once with digest trees kept.
fn report_late(series: usize) {
    for digests in [false, true] {
        let late = |name: &str, times: &mut dyn Iterator<Item = i64>| {
            let dir = tempfile::tempdir().unwrap();
            let head = open(dir.path(), SyncMode::Os);
            let mut fleet = Fleet::register(&head, series);
            let even = (0..WINDOW_SCRAPES / 2).map(|at| BEGIN_MS + at * 2 * STEP_MS);
            let first = fleet.batches_at(TimestampMs(BEGIN_MS));
            for batch in &first {
                append(&head, batch);
            }
            if digests {
                trees(&head);
            }
            let in_order = append_at(&head, &mut fleet, even.skip(1));
            let late = append_at(&head, &mut fleet, times);
            let clock = Instant::now();
            trees(&head);
            println!(
                "{series} series, {name}, digests {digests}: {late:?} a late sample, {in_order:?} one in order; layers {:.0} B/series; trees then {:?}",
                head.stats().layer_bytes as f64 / series as f64,
                clock.elapsed(),
            );
        };
        let odd = (0..WINDOW_SCRAPES / 2).map(|at| BEGIN_MS + (at * 2 + 1) * STEP_MS);
        late("rising", &mut odd.clone());
        late("falling", &mut odd.clone().rev());
        late(
            "scattered",
            &mut odd.map(|at| {
                let scrape = (at - BEGIN_MS) / STEP_MS;
                BEGIN_MS + ((scrape * 97 % WINDOW_SCRAPES) | 1) * STEP_MS
            }),
        );
        let again = (0..WINDOW_SCRAPES / 2 - 1).map(|at| BEGIN_MS + at * 2 * STEP_MS);
        late("other values", &mut again.into_iter());
    }
}

/// Asks for all digest trees, which are kept from then on; how many leaves they have.
fn trees(head: &Head) -> usize {
    let view = head.view();
    let of = |arc| view.trees(arc, TimeRange::ALL);
    let all = RingArc::all(FOUNDING_DEPTH).flat_map(of);
    all.map(|(_, tree)| tree.leaves().count()).sum()
}

fn cpu() -> Duration {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = usage
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// The figures that a mean time does not show, once.
fn report(series: usize, scrapes: i64) {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), SyncMode::Fsync);
    let mut fleet = Fleet::register(&head, series);
    let (mut samples, mut busy, mut wall) = (0u64, Duration::ZERO, Duration::ZERO);
    for scrape in 0..scrapes {
        fleet.advance();
        for batch in fleet.batches(scrape) {
            let (began, clock) = (cpu(), Instant::now());
            let position = append(&head, &batch);
            head.wait_durable(position).unwrap();
            busy += cpu() - began;
            wall += clock.elapsed();
            samples += batch.len() as u64;
        }
    }
    let stats = head.stats();
    println!(
        "{series} series x {scrapes}: {:.0} ns/sample CPU, {:.0} wall; head {:.0} B/series (layers {:.0}, registry {:.0}); log {:.2} B/sample",
        busy.as_nanos() as f64 / samples as f64,
        wall.as_nanos() as f64 / samples as f64,
        (stats.layer_bytes + stats.registry_bytes) as f64 / series as f64,
        stats.layer_bytes as f64 / series as f64,
        stats.registry_bytes as f64 / series as f64,
        stats.log.written_bytes as f64 / samples as f64,
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "{}",
        status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap()
    );
    drop(head);
    let clock = Instant::now();
    let head = open(dir.path(), SyncMode::Fsync);
    let took = clock.elapsed();
    println!(
        "replay: {:.0} ns/sample, {:.1} M samples/s",
        took.as_nanos() as f64 / samples as f64,
        samples as f64 / took.as_secs_f64() / 1e6
    );
    let view = head.view();
    let selection = Selection {
        tenant: TenantId::anonymous(),
        matchers: Vec::new(),
        range: TimeRange::ALL,
    };
    let clock = Instant::now();
    let found = view.select(&selection);
    let selected = clock.elapsed();
    let mut read = 0u64;
    let mut into = Samples::default();
    let clock = Instant::now();
    for one in &found {
        into.clear();
        view.read(one, TimeRange::ALL, &mut into);
        read += into.len() as u64;
    }
    println!(
        "select: {:.0} ns/series; read: {:.0} ns/sample of {read}",
        selected.as_nanos() as f64 / found.len() as f64,
        clock.elapsed().as_nanos() as f64 / read as f64
    );
    assert_eq!(read, samples);
    report_trees(&head);
}

/// What digests cost when they are asked for first, and once they are kept.
fn report_trees(head: &Head) {
    for (name, times) in [("begun", 1), ("kept", 100)] {
        let clock = Instant::now();
        let mut leaves = 0;
        for _ in 0..times {
            leaves = trees(head);
        }
        let took = clock.elapsed() / times;
        println!("digest trees, {name}: {took:?} for {leaves} leaves");
    }
}

fn benches(criterion: &mut Criterion) {
    let sizes = std::env::var("CAIRN_BENCH_HEAD").unwrap_or_else(|_| "20000x60".to_owned());
    let (series, scrapes) = sizes.split_once('x').unwrap();
    report(series.parse().unwrap(), scrapes.parse().unwrap());
    report_late(series.parse().unwrap());
    let mut group = criterion.benchmark_group("head");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.sample_size(20);
    for (name, sync, digests) in [
        ("append+fsync", SyncMode::Fsync, false),
        ("append", SyncMode::Os, false),
        ("append+digests", SyncMode::Os, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let head = open(dir.path(), sync);
        let mut fleet = Fleet::register(&head, BATCH);
        let (mut scrape, mut begun, asked) = (0, None, Cell::new(0));
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || {
                    fleet.advance();
                    scrape += 1;
                    asked.set(scrape);
                    fleet.batches(scrape).remove(0)
                },
                |batch| {
                    let position = append(&head, &batch);
                    head.wait_durable(position).unwrap();
                    // Each window's layers begin to keep theirs when they are asked.
                    if digests && begun != Some(asked.get() / WINDOW_SCRAPES) {
                        begun = Some(asked.get() / WINDOW_SCRAPES);
                        trees(&head);
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
