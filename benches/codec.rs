//! The codecs: bytes and nanoseconds a sample, on a synthetic set and on the recording of a real
//! node where it is present (`CAIRN_RECORDING`, or `shared/data` beside the clone): JSON lines of
//! `{"metric": {..}, "values": [[ms, "value"], ..]}` under zstd.
//!
//! `cargo bench --bench codec`; what came out is in `docs/format.md`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench program: a panic is how it fails"
)]

use std::collections::{BTreeMap, BTreeSet};

use cairn::codec::chunk::{self, Chunk, Slabs};
use cairn::codec::page::{self, Density};
use cairn::codec::timestamps;
use cairn::model::Samples;
use criterion::{Criterion, Throughput};

/// The series of one scrape target, in the order of a block: by name, then labels.
type Target = Vec<Samples>;

struct Set {
    name: String,
    targets: Vec<Target>,
}

fn main() {
    let mut sets = vec![Set {
        name: "synthetic, 480 rows".to_owned(),
        targets: vec![synthetic(480)],
    }];
    if let Some(targets) = recording() {
        for (name, every, rows) in [
            ("recording, 5 s, 480 rows", 1, 480),
            ("recording, 5 s, 1018 rows", 1, 1018),
            ("recording, 15 s, 339 rows", 3, 339),
        ] {
            let targets = cut(&targets, every, rows);
            let name = name.to_owned();
            sets.push(Set { name, targets });
        }
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    for set in &sets {
        measure(&mut criterion, set);
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, set: &Set) {
    for (kind, density) in [("quick", Density::Quick), ("dense", Density::Dense)] {
        measure_pages(criterion, set, kind, density);
    }
    measure_chunks(criterion, set);
}

/// Values as the head holds them while they come.
fn measure_chunks(criterion: &mut Criterion, set: &Set) {
    let samples: usize = set.targets.iter().flatten().map(Samples::len).sum();
    let columns: Vec<Vec<u64>> = set
        .targets
        .iter()
        .flatten()
        .map(|samples| samples.values.iter().map(|value| value.to_bits()).collect())
        .collect();
    let mut group = criterion.benchmark_group(format!("{}, head", set.name));
    group.throughput(Throughput::Elements(samples as u64));
    group.bench_function("encode", |bench| bench.iter(|| chunks(&columns).len()));
    let chunks = chunks(&columns);
    let bytes: usize = chunks
        .iter()
        .map(|(_, words)| words.len() * 4 + size_of::<Chunk>())
        .sum();
    println!(
        "{}, head: {:.4} B/sample",
        set.name,
        bytes as f64 / samples as f64
    );
    group.bench_function("decode", |bench| {
        bench.iter(|| {
            let readers = chunks
                .iter()
                .map(|(chunk, words)| chunk::Reader::new(chunk, words));
            readers.flatten().fold(0, |sum, (_, bits)| sum ^ bits)
        })
    });
    group.finish();
}

/// The chunk of each column, and its bits.
fn chunks(columns: &[Vec<u64>]) -> Vec<(Chunk, Vec<u32>)> {
    let encode = |column: &Vec<u64>| {
        let (mut slabs, mut chunk, mut words) = (Slabs::new(), Chunk::EMPTY, Vec::new());
        chunk.append_run(&mut slabs, (0..).zip(column.iter().copied()));
        chunk.copy_bits(&slabs, &mut words);
        (chunk, words)
    };
    columns.iter().map(encode).collect()
}

fn measure_pages(criterion: &mut Criterion, set: &Set, kind: &str, density: Density) {
    let samples: usize = set.targets.iter().flatten().map(Samples::len).sum();
    let series: usize = set.targets.iter().map(Vec::len).sum();
    let pages = encode(&set.targets, density);
    let values: usize = pages.iter().map(|page| page.0.len()).sum();
    let times = timestamp_bytes(&set.targets);
    println!(
        "{}, {kind}: {series} series, {samples} samples, {} pages: values {:.4}, timestamps {:.5}, together {:.4} B/sample",
        set.name,
        pages.len(),
        values as f64 / samples as f64,
        times as f64 / samples as f64,
        (values + times) as f64 / samples as f64,
    );
    let mut group = criterion.benchmark_group(format!("{}, {kind}", set.name));
    group.throughput(Throughput::Elements(samples as u64));
    group.bench_function("encode", |bench| {
        bench.iter(|| encode(&set.targets, density).len())
    });
    group.bench_function("decode", |bench| bench.iter(|| decode(&pages)));
    group.finish();
}

/// Pages with the rows of their series.
fn encode(targets: &[Target], density: Density) -> Vec<(Vec<u8>, Vec<usize>)> {
    let mut pages = Vec::new();
    for target in targets {
        let mut builder = page::Builder::new(density);
        let mut rows = Vec::new();
        let mut finish = |builder: &mut page::Builder, rows: &mut Vec<usize>| {
            let mut out = Vec::new();
            builder.finish(&mut out);
            pages.push((out, std::mem::take(rows)));
        };
        for samples in target {
            builder.push(samples.into()).unwrap();
            rows.push(samples.len());
            if builder.is_full() {
                finish(&mut builder, &mut rows);
            }
        }
        if !builder.is_empty() {
            finish(&mut builder, &mut rows);
        }
    }
    pages
}

fn decode(pages: &[(Vec<u8>, Vec<usize>)]) -> f64 {
    let (mut sum, mut samples) = (0.0, Samples::default());
    for (bytes, rows) in pages {
        let page = page::Reader::open(bytes).unwrap();
        for (place, rows) in rows.iter().enumerate() {
            page.read(place, *rows, &mut samples).unwrap();
            sum += samples.values.last().copied().unwrap_or(0.0);
        }
    }
    sum
}

/// Each distinct column once; one that is a run of another is that one.
fn timestamp_bytes(targets: &[Target]) -> usize {
    let mut out = Vec::new();
    for target in targets {
        let columns: BTreeSet<&[i64]> = target.iter().map(|s| &s.timestamps[..]).collect();
        for column in &columns {
            let within = |other: &&[i64]| {
                other.len() > column.len() && other.windows(column.len()).any(|run| run == *column)
            };
            if !columns.iter().any(within) {
                timestamps::encode(column, &mut out).unwrap();
            }
        }
    }
    out.len()
}

/// Counters, gauges, fractions and idle series, drawn with a fixed generator.
fn synthetic(rows: usize) -> Target {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = move |below: u32| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f64::from(u32::try_from(state >> 33).unwrap() % below)
    };
    (0..512u32)
        .map(|series| {
            let mut samples = Samples::default();
            let (mut at, mut level) = (1_760_000_000_000i64, draw(1_000_000));
            for _ in 0..rows {
                level = match series % 8 {
                    0 => level + draw(50),
                    1 => level + draw(5000) * 4096.0,
                    2 => draw(1000) / 10.0,
                    3 => level + draw(3000) / 1000.0,
                    _ => level,
                };
                samples.timestamps.push(at);
                samples.values.push(level);
                at += 15_000;
            }
            samples
        })
        .collect()
}

#[derive(serde::Deserialize)]
struct Line {
    metric: BTreeMap<String, String>,
    values: Vec<(i64, String)>,
}

fn recording() -> Option<Vec<Target>> {
    let beside = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/data/real-node-5s.jsonl.zst"
    );
    let path = std::env::var("CAIRN_RECORDING").unwrap_or_else(|_| beside.to_owned());
    let lines = zstd::stream::decode_all(std::fs::File::open(path).ok()?).unwrap();
    let mut series: BTreeMap<[String; 2], Vec<(Vec<String>, Samples)>> = BTreeMap::new();
    for line in lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line: Line = serde_json::from_slice(line).unwrap();
        let get = |name: &str| line.metric.get(name).cloned().unwrap_or_default();
        let (target, mut order) = ([get("job"), get("instance")], vec![get("__name__")]);
        order.extend(
            line.metric
                .iter()
                .flat_map(|(name, value)| [name.clone(), value.clone()]),
        );
        let mut samples = Samples::default();
        for (at, value) in &line.values {
            samples.timestamps.push(*at);
            samples.values.push(match value.as_str() {
                "+Inf" => f64::INFINITY,
                "-Inf" => f64::NEG_INFINITY,
                number => number.parse().unwrap(),
            });
        }
        series.entry(target).or_default().push((order, samples));
    }
    let targets = series.into_values().map(|mut target| {
        target.sort_by(|a, b| a.0.cmp(&b.0));
        target.into_iter().map(|(_, samples)| samples).collect()
    });
    Some(targets.collect())
}

/// Every so many-th sample, in blocks of so many rows.
fn cut(targets: &[Target], every: usize, rows: usize) -> Vec<Target> {
    let mut out = Vec::new();
    for target in targets {
        let longest = target
            .iter()
            .map(Samples::len)
            .max()
            .unwrap_or(0)
            .div_ceil(every);
        for start in (0..longest).step_by(rows) {
            let part = |samples: &Samples| Samples {
                timestamps: pick(&samples.timestamps, every, start, rows),
                values: pick(&samples.values, every, start, rows),
                ..Samples::default()
            };
            out.push(target.iter().map(part).filter(|s| !s.is_empty()).collect());
        }
    }
    out
}

fn pick<T: Copy>(column: &[T], every: usize, start: usize, rows: usize) -> Vec<T> {
    column
        .iter()
        .step_by(every)
        .skip(start)
        .take(rows)
        .copied()
        .collect()
}
