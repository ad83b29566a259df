//! Inputs to begin with: what the encoders write for columns of every kind.

mod blocks;
mod columns;
mod messages;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::targets::appends;
use super::targets::logs::{self, Files};
use blocks::{of_block, tiny_block};
use cairn::archive::{
    CatalogCopy, ClusterRecord, PackDirectory, Passed, block_name, catalog_name, pack_name,
};
use cairn::cluster::{DeletesCopy, Ended, Standing, Tombstone, TombstoneId};
use cairn::codec::series_entry::{Place, SeriesEntries};
use cairn::codec::{histograms, page, postings, symbols, timestamps, varint};
use cairn::model::{
    BlockEntry, BlockId, Deletion, Digest, Exemplar, LabelSet, Level, MatchOp, Matcher, Metadata,
    RingArc, Samples, TenantId, TimestampMs, Uploaded, Value, Window,
};
use cairn::store::{AppendBatch, FloatSample, LogDisk, OtherSample};
use cairn::transfer::{BlockSink, Piece, Sink};
use columns::{columns, dense_pages, native, opened, opened_coded, pages};
use messages::{commands, exchanges, peers};

/// Of which target, how it is called, its bytes.
type Seed = (&'static str, String, Vec<u8>);

/// Writes the seeds of every target.
pub(super) fn write(corpus: &Path) {
    for (target, name, bytes) in all() {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
    }
}

fn page_of(series: &[Samples], density: page::Density) -> Vec<u8> {
    let mut builder = page::Builder::new(density);
    for samples in series {
        builder.push(samples.into()).unwrap();
    }
    let mut out = Vec::new();
    builder.finish(&mut out);
    out
}

fn all() -> Vec<Seed> {
    let mut all = Vec::new();
    let mut numbers = Vec::new();
    for shift in 0..64 {
        varint::put_u64(&mut numbers, (1 << shift) - 1);
    }
    all.push(("varint", "powers".to_owned(), numbers));
    for (name, column) in columns() {
        let mut out = Vec::new();
        timestamps::encode(&column, &mut out).unwrap();
        out.truncate(out.len() - 4);
        all.push(("timestamps", name.to_owned(), out));
    }
    for (name, histogram) in native() {
        let mut out = Vec::new();
        histograms::encode_one(&histogram, &mut out);
        all.push(("histogram", name.to_owned(), out));
    }
    for (name, series) in pages() {
        let out = page_of(&series, page::Density::Quick);
        all.push(("page", format!("{name}-open"), opened(&out, &series)));
        all.push(("page", format!("{name}-closed"), out));
    }
    for (name, series) in dense_pages() {
        let out = page_of(&series, page::Density::Dense);
        all.push(("page", format!("{name}-open"), opened_coded(&out, &series)));
        all.push(("page", format!("{name}-closed"), out));
    }
    let mut out = Vec::new();
    symbols::encode(&["", "a", "abc", "node-1", "node-12", "üb"], &mut out).unwrap();
    all.push(("symbols", "six".to_owned(), out));
    let mut out = Vec::new();
    postings::encode(&[&[0, 1, 2, 9], &[], &[7], &[10, 20, 30, 31]], &mut out).unwrap();
    all.push(("postings", "four".to_owned(), out));
    let mut entries = SeriesEntries::default();
    for slot in 0..5 {
        let place = Place {
            group: 1,
            page: slot / 2,
            slot,
        };
        entries.push([(0, u32::from(slot)), (3, 7)], Some(place));
    }
    entries.push([], None);
    let mut out = Vec::new();
    entries.encode(&mut out).unwrap();
    all.push(("series_entry", "six".to_owned(), out));
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/format/golden/block-1.sst"
    );
    all.extend(of_block("golden", std::fs::read(golden).unwrap()));
    let golden = golden.replace("block-1", "block-2-downsampled");
    all.extend(of_block("downsampled", std::fs::read(golden).unwrap()));
    all.extend(of_block("tiny", tiny_block()));
    all.extend(bodies());
    all.push(("log", "one-of-each".to_owned(), one_of_each_record()));
    all.push(("append", "one-of-each".to_owned(), appends::sent()));
    all.extend(commands());
    all.extend(peers());
    all.extend(exchanges());
    all.extend(objects());
    all.extend(imports());
    for (at, query) in QUERIES.iter().enumerate() {
        all.push(("promql", at.to_string(), query.as_bytes().to_vec()));
    }
    all
}

/// What an import reads, with its kind before it.
fn imports() -> Vec<Seed> {
    let folder = tempfile::tempdir().unwrap();
    let labels = LabelSet::from_pairs(&[("__name__", "up"), ("job", "a")]).unwrap();
    let mut all = Vec::new();
    let mut seed = |kind: u8, name: &str, bytes: &[u8]| {
        all.push(("import", name.to_owned(), [&[kind], bytes].concat()));
    };
    let mut histograms = native();
    let mut columns: Vec<(String, Samples)> = Vec::new();
    let mut floats = Samples::default();
    for step in 0..9 {
        let value = Value::Float(step as f64 / 3.0);
        floats.push(TimestampMs(step * 15_000 + step % 2), value, TimestampMs(0));
    }
    columns.push(("chunk-floats".to_owned(), floats));
    for (name, histogram) in histograms.drain(..) {
        let mut samples = Samples::default();
        for at in 1..4 {
            let value = Value::Histogram(Arc::new(histogram.clone()));
            samples.push(TimestampMs(at * 15_000), value, TimestampMs(0));
        }
        columns.push((format!("chunk-{name}"), samples));
    }
    for (name, samples) in columns {
        let below = folder.path().join(&name);
        let mut sink = BlockSink::new(&below).unwrap();
        let labels = labels.clone();
        sink.put(&Piece { labels, samples }).unwrap();
        sink.finish().unwrap();
        let chunks = below.join(&sink.written()[0]).join("chunks/000001");
        let bytes = std::fs::read(chunks).unwrap();
        let mut rest = &bytes[8..];
        let len = varint::take_len(&mut rest, "a chunk", bytes.len()).unwrap();
        seed(rest[0], &name, &rest[1..=len]);
    }
    seed(4, "tombstones", &[7, 20, 40, 9, 1, 2]);
    let line = br#"{"metric":{"__name__":"up","job":"\u00e9\""},"values":[1,null,"Infinity",-2.5e3],"timestamps":[4,3,2,1]}"#;
    seed(5, "line", line);
    let frame = b"\x0a\x19\x0a\x07\x0a\x01a\x12\x02bc\x12\x0e\x08\x01\x18\x01\x22\x08\0\x01\x0a\0\0\0\0\0\x10\0";
    seed(6, "frame", frame);
    let symbols = b"\0\0\0\x02\x01a\x01b";
    seed(6, "index", &[&symbols[..], &[1, 0, 1, 1, 2, 8, 8]].concat());
    let text = b"# TYPE up gauge\n# HELP up \\\"x\\n\nup{a=\"b\\\"}\"} 1 1.5\nup{a=\"b\\\"}\"} +Inf 2 # {t=\"x\"} 1\n{\"d.d\",\"e.e\"=\"1\"} NaN -3\n# EOF\n";
    seed(7, "text", text);
    all
}

/// What lies in a bucket, with its kind before it.
fn objects() -> Vec<Seed> {
    let arc = RingArc::new(0x3000_0000, 4).unwrap();
    let entry = |id: u8, uploaded| BlockEntry {
        id: BlockId(u128::from(id)),
        range: Window(i64::from(id) - 2).range(),
        level: Level(0),
        round: 1,
        size: 1000,
        samples: 99,
        content_sum: 12,
        digest: Digest([id; 32]),
        uploaded,
    };
    let pack = Uploaded::Pack {
        pack: Digest([7; 32]),
        offset: 12,
    };
    let mut copy = CatalogCopy {
        cluster: 0xc0,
        arc,
        version: 12,
        expired_before: TimestampMs(-5),
        history: Some(Digest([9; 32])),
        entries: vec![entry(1, Uploaded::Object), entry(2, pack)],
        passed: None,
    };
    let mut whole = copy.encode();
    whole.truncate(whole.len() - 32);
    (copy.history, copy.entries) = (None, Vec::new());
    let empty = copy.encode();
    let rounds = [
        (Window(1).range(), 1),
        (Window(2).range(), 1),
        (Window(3).range(), 2),
    ];
    let waiting = [Digest([8; 32])].into();
    let passed = Passed::new(
        (0xc0, arc),
        rounds.into_iter(),
        (TimestampMs(5), 1),
        waiting,
    );
    copy.passed = Some(passed);
    let mut passed = copy.encode();
    passed.truncate(passed.len() - 32);
    let record = ClusterRecord {
        cluster: 0xc0,
        ancestors: vec![1, 2],
    };
    let blocks = [(arc, entry(1, pack)), (arc, entry(2, pack))];
    let directory = PackDirectory::of(0xc0, Window(-1).range(), &blocks).encode();
    let packed = pack_name(0xc0, Window(-1).range(), Digest([3; 32]));
    let name = block_name(0xc0, arc, &entry(1, Uploaded::None));
    let copied = catalog_name(0xc0, arc, 12, Digest([3; 32]));
    let seed =
        |kind: u8, name: &str, bytes: &[u8]| ("bucket", name.to_owned(), [&[kind], bytes].concat());
    vec![
        seed(0, "catalog", &whole),
        seed(0, "passed", &passed),
        seed(0, "catalog-empty", &empty),
        seed(1, "record", &record.encode()),
        seed(2, "block-name", name.as_bytes()),
        seed(2, "catalog-name", copied.as_bytes()),
        seed(2, "pack-name", packed.as_bytes()),
        seed(3, "pack", &directory[..directory.len() - 36]),
        seed(4, "deletes", &deletes()),
    ]
}

/// A copy of deletes, one that stands and one that has ended.
fn deletes() -> Vec<u8> {
    let tombstone = |id| Tombstone {
        id: TombstoneId(id),
        deletion: Deletion {
            tenant: TenantId::new("a").unwrap(),
            matchers: vec![Matcher::new("job", MatchOp::Regex, "a|b").unwrap()],
            range: Window(-1).range(),
        },
        at: TimestampMs(5),
    };
    let ended = Ended {
        tombstone: tombstone(2),
        at: TimestampMs(7),
        versions: [(RingArc::new(0, 1).unwrap(), 9)].into(),
    };
    let copy = DeletesCopy {
        cluster: 0xc0,
        position: (1, 8),
        open: [(TombstoneId(1), Standing::new(tombstone(1), true))].into(),
        ended: [(TombstoneId(2), ended)].into(),
    };
    copy.encode()
}

/// A saved message in every encoding, the number of the encoding before it.
fn bodies() -> Vec<Seed> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fuzz/corpus/write_v1/one-of-each"
    );
    let message = std::fs::read(path).unwrap();
    let snappy = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let zstd = zstd::bulk::compress(&message, 3).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&message).unwrap();
    let named = ["snappy", "zstd", "gzip"].into_iter();
    let coded = [snappy, zstd, gzip.finish().unwrap()];
    (0u8..)
        .zip(named.zip(coded))
        .map(|(number, (name, body))| {
            (
                "decompress",
                name.to_owned(),
                [&[number], &body[..]].concat(),
            )
        })
        .collect()
}

/// What a head writes for samples of every kind, metadata and an exemplar.
fn one_of_each_record() -> Vec<u8> {
    let files = Files::default();
    let head = logs::open(&files).unwrap();
    let tenant = TenantId::anonymous();
    let series: Vec<_> = ["a", "b"]
        .map(|name| LabelSet::from_pairs(&[("__name__", name), ("job", "j")]).unwrap())
        .iter()
        .map(|labels| head.register(&tenant, labels).unwrap())
        .collect();
    let at = |step: i64| TimestampMs(1_700_000_000_000 + 15_000 * step);
    let floats: Vec<FloatSample> = (0..12)
        .map(|step| FloatSample {
            series: series[usize::from(step % 3 == 0)],
            at: at(step),
            value: step as f64 * 0.5,
        })
        .collect();
    let others: Vec<OtherSample> = native()
        .into_iter()
        .map(|(_, histogram)| OtherSample {
            series: series[0],
            at: at(20),
            value: Value::Histogram(Arc::new(histogram)),
            start: at(1),
        })
        .collect();
    let exemplar = Exemplar {
        labels: LabelSet::from_pairs(&[("trace_id", "t")]).unwrap(),
        value: 1.0,
        timestamp: at(3),
    };
    let appended = head
        .append(&AppendBatch {
            floats: &floats,
            others: &others,
            metadata: &[(tenant, "a".to_owned(), Metadata::default())],
            exemplars: &[(series[1], exemplar)],
        })
        .unwrap();
    head.wait_durable(appended.position).unwrap();
    head.close().unwrap();
    let names = files.list().unwrap();
    logs::describe(&files.bytes(&names[0]))
}

/// A query for every part of the grammar.
#[rustfmt::skip]
const QUERIES: &[&str] = &[
    "up",
    "{__name__=~\"a.*\", job!=\"x\", 'quoted name'=`y`}",
    "sum by (job, instance) (rate(http_requests_total{code=~\"5..\"}[5m]))",
    "topk(3, a) without (b) / on (job) group_left (x) c",
    "a and ignoring (x) b or c unless on () d",
    "-a ^ -2 ^ 3 % 4 + 1e3 - 0x1F * .5 / Inf",
    "a[5m:30s] offset -1d @ end()",
    "max_over_time(rate(a[1m])[1h:] @ 1700000000.5 offset 5m)",
    "a > bool 1 == bool on (x) b",
    "histogram_quantile(0.9, sum by (le) (rate(a_bucket[5m])))",
    "label_replace(a, \"x\", \"$1\", \"y\", \"(.*)\")",
    "count_values(\"v\", a) # a comment",
    "quantile(0.5, a) + vector(time()) - scalar(b)",
    "a[5m] anchored",
    "increase(a[1m + 2 * step()] smoothed)",
    "a + fill (0) b",
    "\"text \\x41 \\u00fc \\n\"",
    "sum(a",
    "a[5m",
    "foo{bar=\"\u{fc}\"}",
    "absent_over_time(a{b=\"c\"}[5m])",
    "min_of(max(step(), range()), 5)",
    "a atan2 b",
    "limit_ratio(-0.5, a)",
];
