//! Inputs to begin with: what the encoders write for columns of every kind.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::targets::appends;
use super::targets::logs::{self, Files};
use cairn::archive::{
    CatalogCopy, ClusterRecord, PackDirectory, block_name, catalog_name, pack_name,
};
use cairn::cluster::encode_envelope;
use cairn::cluster::{
    ContentWriter, CutAnswer, CutHeld, CutRequest, PullOf, PullRequest, Purpose, StageRequest,
};
use cairn::codec::series_entry::{Place, SeriesEntries};
use cairn::codec::{histograms, page, postings, symbols, timestamps, varint};
use cairn::model::{
    BlockEntry, BlockId, Buckets, Digest, Epoch, Exemplar, Histogram, LabelSet, Level, Metadata,
    ResetHint, RingArc, SCHEMA_CUSTOM, Samples, Span, TenantId, TimeRange, TimestampMs, Uploaded,
    Value, Window, fingerprint, stale_nan,
};
use cairn::runtime::CancelToken;
use cairn::source::FamilyMetadata;
use cairn::store::{
    AppendBatch, BlockContent, BlockProperties, ContentSeries, DigestTree, Error, FloatSample,
    Leaves, LogDisk, OtherSample, Pulled, PulledSeries, SstTable, Table, build_block, for_each,
};
use cairn::transfer::{BlockSink, Piece, Sink};

/// Writes the seeds of every target.
pub(super) fn write(corpus: &Path) {
    for (target, name, bytes) in all() {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
    }
}

fn all() -> Vec<(&'static str, String, Vec<u8>)> {
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
        let mut builder = page::Builder::new();
        for samples in &series {
            builder.push(samples.into()).unwrap();
        }
        let mut out = Vec::new();
        builder.finish(&mut out);
        all.push(("page", format!("{name}-open"), opened(&out, &series)));
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
fn imports() -> Vec<(&'static str, String, Vec<u8>)> {
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
fn objects() -> Vec<(&'static str, String, Vec<u8>)> {
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
    };
    let mut whole = copy.encode();
    whole.truncate(whole.len() - 32);
    (copy.history, copy.entries) = (None, Vec::new());
    let empty = copy.encode();
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
        seed(0, "catalog-empty", &empty),
        seed(1, "record", &record.encode()),
        seed(2, "block-name", name.as_bytes()),
        seed(2, "catalog-name", copied.as_bytes()),
        seed(2, "pack-name", packed.as_bytes()),
        seed(3, "pack", &directory[..directory.len() - 36]),
    ]
}

/// A saved message in every encoding, the number of the encoding before it.
fn bodies() -> Vec<(&'static str, String, Vec<u8>)> {
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

/// The golden commands, all in one input, and the golden state.
fn commands() -> Vec<(&'static str, String, Vec<u8>)> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/format/golden/control.txt"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let mut all = Vec::new();
    let mut commands = Vec::new();
    for (name, hex) in text.lines().filter_map(|line| line.split_once(' ')) {
        let digits = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        let Ok(bytes) = digits
            .map(|pair| u8::from_str_radix(pair, 16))
            .collect::<Result<Vec<u8>, _>>()
        else {
            continue;
        };
        if name == "manifest" {
            all.push(("manifest", name.to_owned(), bytes));
        } else if name == "state" {
            all.push(("command", name.to_owned(), bytes));
        } else {
            varint::put_bytes(&mut commands, &bytes);
        }
    }
    all.push(("command", "commands".to_owned(), commands));
    all
}

/// What seals and moves exchange, one message of each kind.
fn exchanges() -> Vec<(&'static str, String, Vec<u8>)> {
    let (arc, epoch) = (RingArc::new(0x3000_0000, 4).unwrap(), Epoch(7));
    let mut tree = DigestTree::default();
    tree.add(3, 5, 1 << 77);
    tree.add_metadata(9);
    let cut = CutRequest {
        arc,
        epoch,
        range: Some(Window(-1).range()),
        round: 2,
        remains: false,
    };
    let held = |held| CutAnswer::Held {
        epoch,
        version: 4,
        held,
    };
    let one = held(CutHeld::Cut {
        token: 11,
        tree: tree.clone(),
    });
    let windows = held(CutHeld::Windows(vec![(Window(-3), tree)]));
    let pull = PullRequest {
        arc,
        epoch,
        purpose: Purpose::Seal,
        of: PullOf::Cut(11),
        leaves: Leaves::new([1; 12], true),
    };
    let stage = StageRequest {
        arc,
        epoch,
        entry: BlockEntry {
            id: BlockId(5),
            range: Window(-1).range(),
            level: Level(0),
            round: 2,
            size: 1000,
            samples: 20,
            content_sum: 77,
            digest: Digest([4; 32]),
            uploaded: Uploaded::None,
        },
        release: vec![11],
    };
    [
        (0, "cut", cut.encode()),
        (1, "held", one.encode()),
        (2, "windows", windows.encode()),
        (3, "pull", pull.encode()),
        (4, "stage", stage.encode()),
        (5, "content", content()),
    ]
    .into_iter()
    .map(|(kind, name, body)| ("data", name.to_owned(), [&[kind], &body[..]].concat()))
    .collect()
}

/// A message of series and metadata.
fn content() -> bytes::Bytes {
    let mut writer = ContentWriter::default();
    let mut send = |_| Ok::<_, ()>(());
    for (at, series) in pages()
        .into_iter()
        .flat_map(|(_, series)| series)
        .take(6)
        .enumerate()
    {
        let labels = [("__name__", "up"), ("number", ["a", "b", "c"][at % 3])];
        let item = Pulled::Series(PulledSeries {
            tenant: TenantId::anonymous(),
            labels: LabelSet::from_pairs(&labels).unwrap(),
            samples: series,
        });
        writer.add(&item, &mut send).unwrap();
    }
    let metadata = Metadata {
        help: "Whether it is up.".to_owned(),
        ..Metadata::default()
    };
    let family = Pulled::Metadata(TenantId::anonymous(), "up".to_owned(), vec![metadata]);
    writer.add(&family, &mut send).unwrap();
    writer.finish()
}

/// Credentials of a member and of a stranger, and envelopes.
fn peers() -> Vec<(&'static str, String, Vec<u8>)> {
    let member = "1.0 0123456789abcdef0123456789abcdef 7 fedcba9876543210fedcba9876543210 3 00000000000000000000000000000001";
    let stranger =
        "1.1 - 0 fedcba9876543210fedcba9876543210 1 00000000000000000000000000000002 later";
    let named = |name: &str, bytes: &[u8]| ("peer", name.to_owned(), bytes.to_vec());
    vec![
        named("member", member.as_bytes()),
        named("stranger", stranger.as_bytes()),
        named("another-version", b"2.0 ?"),
        named("question", &encode_envelope(6, b"the body".to_vec().into())),
        named("answer", &encode_envelope(0, b"more".to_vec().into())),
        named(
            "unknown-method",
            &encode_envelope(u32::MAX, Vec::new().into()),
        ),
    ]
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

/// A table small enough for the replay to change each of its bytes: two series and metadata.
fn tiny_block() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny");
    let properties = BlockProperties {
        id: BlockId(1),
        cluster_id: 2,
        arc: RingArc::new(0, 0).unwrap(),
        range: TimeRange::ALL,
        level: Level(0),
        round: 1,
    };
    build_block(&path, &properties, &mut Tiny, &CancelToken::new()).unwrap();
    std::fs::read(path).unwrap()
}

struct Tiny;

impl BlockContent for Tiny {
    fn series_len(&self) -> usize {
        2
    }

    fn series(&self, index: usize) -> Result<ContentSeries, Error> {
        let tenant = TenantId::anonymous();
        let pairs = [("__name__", "m"), ("job", ["j", "k"][index])];
        let labels = LabelSet::from_pairs(&pairs).unwrap();
        Ok(ContentSeries {
            fingerprint: fingerprint(&tenant, &labels),
            tenant,
            labels,
        })
    }

    fn read(&mut self, index: usize, samples: &mut Samples) -> Result<(), Error> {
        samples.clear();
        for row in 0..5 - i64::try_from(index).unwrap() {
            let value = Value::Float(row as f64 * 1.5);
            samples.push(TimestampMs(row * 1000), value, TimestampMs(0));
        }
        Ok(())
    }

    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error> {
        let about = ("m".to_owned(), vec![Metadata::default()]);
        Ok(vec![(TenantId::anonymous(), about)])
    }
}

/// A block: as a file, as its first data block and index, as keys and values.
fn of_block(name: &str, file: Vec<u8>) -> Vec<(&'static str, String, Vec<u8>)> {
    let mut handles = &file[file.len() - 52..];
    let numbers: Vec<usize> = (0..4)
        .map(|_| varint::take_len(&mut handles, "seed", file.len()).unwrap())
        .collect();
    let index = &file[numbers[2]..numbers[2] + numbers[3]];
    // The first entry of the index: nothing shared, a key, then the first block's handle.
    let mut entry = &index[1..];
    varint::take_bytes(&mut entry, "seed").unwrap();
    assert_eq!(varint::take_len(&mut entry, "seed", 0).unwrap(), 0);
    let len = varint::take_len(&mut entry, "seed", file.len()).unwrap();
    let inner = [
        &u16::try_from(len).unwrap().to_le_bytes()[..],
        &file[..len],
        index,
    ];
    let table = SstTable::open(Box::new(file.clone())).unwrap();
    let mut pairs = Vec::new();
    for_each(
        |after| table.scan(&[], after),
        |key, value| {
            varint::put_bytes(&mut pairs, &key[16..]);
            varint::put_bytes(&mut pairs, value);
            Ok(())
        },
    )
    .unwrap();
    vec![
        ("sst", format!("{name}-inner"), inner.concat()),
        ("sst", format!("{name}-file"), file),
        ("block", name.to_owned(), pairs),
    ]
}

/// The page as the target takes it: rows, series, and what is behind the compression.
fn opened(page: &[u8], series: &[Samples]) -> Vec<u8> {
    let mut body = &page[2..page.len() - 4];
    let how = varint::take_u8(&mut body, "seed").unwrap();
    let len = varint::take_len(&mut body, "seed", 1 << 20).unwrap();
    let raw = match how {
        0 => body.to_vec(),
        _ => zstd::bulk::decompress(body, len).unwrap(),
    };
    let rows = u16::try_from(series[0].values.len()).unwrap();
    let series = u8::try_from(series.len()).unwrap();
    [&rows.to_le_bytes()[..], &[series], &raw].concat()
}

fn columns() -> Vec<(&'static str, Vec<i64>)> {
    let now = 1_760_000_000_000;
    let mut late: Vec<i64> = (0..40).map(|i| now + 15_000 * i).collect();
    late[7] += 3;
    late[20] -= 20;
    late.drain(30..33);
    let mut at = now;
    let jitter = (0..30)
        .map(|i| {
            at += 5000 + i * i * 7919 % 13;
            at
        })
        .collect();
    vec![
        ("empty", vec![]),
        ("grid", late),
        ("steps", jitter),
        (
            "steps-of-steps",
            (0..30).map(|i| now + 1000 * i * i).collect(),
        ),
        ("extremes", vec![i64::MIN, i64::MAX, 0, -1]),
    ]
}

fn native() -> Vec<(&'static str, Histogram)> {
    let span = |offset, length| Span { offset, length };
    let integer = Histogram {
        schema: 3,
        zero_threshold: 1e-9,
        sum: 18.4,
        buckets: Buckets::Integer {
            count: 12,
            zero_count: 2,
            positive: vec![1, 1, -1, 0],
            negative: vec![1, 3],
        },
        positive_spans: vec![span(-2, 2), span(1, 2)],
        negative_spans: vec![span(0, 2)],
        custom_values: vec![],
        reset_hint: ResetHint::No,
    };
    let float = Histogram {
        schema: SCHEMA_CUSTOM,
        sum: stale_nan(),
        buckets: Buckets::Float {
            count: 3.5,
            zero_count: 0.0,
            positive: vec![1.0, 2.5],
            negative: vec![],
        },
        positive_spans: vec![span(0, 2)],
        negative_spans: vec![],
        custom_values: vec![0.1, 1.0],
        reset_hint: ResetHint::Gauge,
        ..integer.clone()
    };
    vec![("integer", integer), ("float", float)]
}

fn pages() -> Vec<(&'static str, Vec<Samples>)> {
    let of = |values: Vec<f64>| Samples {
        values,
        ..Samples::default()
    };
    let rows = 0..24i32;
    let walk: Vec<f64> = rows
        .clone()
        .map(|i| f64::from(i * i * 7919 % 97 + i))
        .collect();
    let mut sum = 0.0;
    let sums = rows
        .clone()
        .map(|i| {
            sum += f64::from(i) * 0.000_001_237;
            sum
        })
        .collect();
    let mut marked = walk.clone();
    marked[0] = f64::NAN;
    marked[5] = f64::INFINITY;
    marked[7] = -0.0;
    marked[8] = f64::from_bits(0x7ff8_dead_beef_0000);
    marked[23] = stale_nan();
    let mut with_histograms = of(vec![0.0; 24]);
    for at in 0..20u32 {
        let (_, histogram) = &native()[usize::from(at > 12)];
        with_histograms
            .histograms
            .push((at, Arc::new(histogram.clone())));
    }
    let started = Samples {
        starts: (0..24).map(|i| 1_760_000_000_000 + i / 9).collect(),
        ..of(walk.clone())
    };
    let scaled = walk.iter().map(|v| 250.0 - 4.0 * v).collect();
    let thirds = rows.map(|i| 1.0 / f64::from(i + 1)).collect();
    vec![
        (
            "numbers",
            vec![
                of(vec![1.5; 24]),
                of(walk),
                of(scaled),
                of(sums),
                of(thirds),
            ],
        ),
        ("exceptions", vec![of(marked)]),
        ("histograms", vec![with_histograms, started]),
    ]
}
