//! Blocks: bytes a sample of whole files and of their sections, and the time to write them, to
//! select and to read. On the recording of a real node (`CAIRN_RECORDING`, or `shared/data` beside
//! the clone: JSON lines of `{"metric": {..}, "values": [[ms, "value"], ..]}` under zstd), as one
//! arc and as the sixteen of a young cluster.
//!
//! `cargo bench --bench block`; what came out is in `docs/format.md`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench program: a panic is how it fails, and it measures time"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cairn::codec::page::Density;
use cairn::model::{
    BlockId, LabelSet, Level, MatchOp, Matcher, RingArc, Samples, TenantId, TimeRange, TimestampMs,
    Value, fingerprint,
};
use cairn::runtime::CancelToken;
use cairn::source::FamilyMetadata;
use cairn::store::{
    BlockContent, BlockProperties, BlockReader, ContentSeries, Engine, Error, RocksEngine,
    SstTable, Table, block_prefix, build_block, for_each,
};

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
    let Some(recording) = recording() else {
        println!("no recording: set CAIRN_RECORDING or put shared/data beside the clone");
        return;
    };
    for (name, every, rows) in [
        ("5 s, 1018 rows", 1, 1018),
        ("5 s, 480 rows", 1, 480),
        ("15 s, 339 rows", 3, 339),
    ] {
        for depth in [0, 4] {
            measure(
                &format!("{name}, {} arcs", 1 << depth),
                &recording,
                every,
                rows,
                depth,
            );
        }
    }
}

fn measure(name: &str, recording: &[(LabelSet, Samples)], every: usize, rows: usize, depth: u8) {
    let directory = tempfile::tempdir().unwrap();
    let tenant = TenantId::anonymous();
    let (mut sections, mut bytes) = (BTreeMap::<String, usize>::new(), 0);
    let (mut samples, mut series, mut built_s) = (0, 0, 0.0);
    let mut blocks = Vec::new();
    for (number, arc) in RingArc::all(depth).enumerate() {
        let mut content = Given(Vec::new());
        for (labels, all) in recording {
            let fingerprint = fingerprint(&tenant, labels);
            if arc.contains(fingerprint) {
                let series = ContentSeries {
                    tenant: tenant.clone(),
                    labels: labels.clone(),
                    fingerprint,
                };
                content.0.push((series, thin(all, every, rows)));
            }
        }
        let properties = BlockProperties {
            id: BlockId(number as u128),
            cluster_id: 1,
            arc,
            range: TimeRange::ALL,
            level: Level(0),
            round: 1,
            pages: Density::Quick,
        };
        let path = directory.path().join(number.to_string());
        let started = Instant::now();
        let built = build_block(&path, &properties, &mut content, &CancelToken::new()).unwrap();
        built_s += started.elapsed().as_secs_f64();
        bytes += built.entry.size;
        samples += built.totals.samples;
        series += built.totals.series;
        count_sections(&path, properties.id, &mut sections);
        blocks.push((properties.id, path));
    }
    let per = |bytes: f64| bytes / samples as f64;
    println!(
        "{name}: {series} series, {samples} samples: {:.4} B/sample, written at {:.0} ns/sample",
        per(bytes as f64),
        per(built_s * 1e9),
    );
    let keyed: usize = sections.values().sum();
    let rest = bytes as f64 - keyed as f64;
    for (section, bytes) in &sections {
        let of_series = *bytes as f64 / series as f64;
        println!(
            "    {section:<12} {:.4} B/sample, {of_series:.1} B/series",
            per(*bytes as f64)
        );
    }
    println!("    {:<12} {:.4} B/sample", "table", per(rest));
    let engine = RocksEngine::open(&directory.path().join("db"), 8 << 20, 64).unwrap();
    let plain: Vec<Arc<dyn Table>> = blocks
        .iter()
        .map(|(_, path)| Arc::new(SstTable::open_file(path).unwrap()) as Arc<dyn Table>)
        .collect();
    read("plain file", &plain, &blocks);
    drop(plain);
    engine.ingest(&blocks).unwrap();
    let taken: Vec<Arc<dyn Table>> = blocks
        .iter()
        .map(|(id, _)| engine.table(*id).unwrap().unwrap())
        .collect();
    read("RocksDB", &taken, &blocks);
}

fn read(name: &str, tables: &[Arc<dyn Table>], blocks: &[(BlockId, std::path::PathBuf)]) {
    let job = |op, value| Matcher::new("job", op, value).unwrap();
    let name_is = |op, value| Matcher::new("__name__", op, value).unwrap();
    let queries = [
        ("everything", vec![]),
        ("up", vec![name_is(MatchOp::Equal, "up")]),
        ("one job", vec![job(MatchOp::Equal, "node")]),
        (
            "by regex",
            vec![name_is(MatchOp::Regex, "node_.*_total|go_.*")],
        ),
    ];
    for (what, matchers) in queries {
        let started = Instant::now();
        let (mut series, mut samples, mut read) = (0, 0, Samples::default());
        for (table, (id, _)) in tables.iter().zip(blocks) {
            let block = BlockReader::open(Arc::clone(table), *id).unwrap();
            let Some(mut reader) = block.tenant(&TenantId::anonymous()).unwrap() else {
                continue;
            };
            let mut found = reader.select(&matchers).unwrap();
            reader.sort_by_place(&mut found).unwrap();
            for ordinal in found {
                reader.labels(ordinal).unwrap();
                reader.read(ordinal, TimeRange::ALL, &mut read).unwrap();
                series += 1;
                samples += read.len();
            }
        }
        let took = started.elapsed();
        println!(
            "    {name}, {what}: {series} series, {samples} samples in {:.2} ms, {:.0} ns/sample",
            took.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e9 / samples as f64,
        );
    }
}

fn count_sections(path: &Path, id: BlockId, sections: &mut BTreeMap<String, usize>) {
    let table = SstTable::open_file(path).unwrap();
    for_each(
        |after| table.scan(&block_prefix(id), after),
        |key, value| {
            let section = match (key[16], key.get(21)) {
                (1 | 2 | 4, _) => "properties",
                (_, Some(1)) => "names",
                (_, Some(2)) => "values",
                (_, Some(3)) => "postings",
                (_, Some(4)) if key[26] == 0 => "columns",
                (_, Some(4)) => "pages",
                (_, Some(5)) => "entries",
                _ => "metadata",
            };
            *sections.entry(section.to_owned()).or_default() += value.len();
            Ok(())
        },
    )
    .unwrap();
}

fn thin(all: &Samples, every: usize, rows: usize) -> Samples {
    let mut out = Samples::default();
    for (at, value, start) in all.iter().step_by(every).take(rows) {
        out.push(at, value, start);
    }
    out
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
