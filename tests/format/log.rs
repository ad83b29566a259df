//! A log that version 1 wrote: it is replayed to the same content for ever, whole and torn, and
//! damage in it is an error.
//!
//! `golden/log-1.log` is a segment file without the zeros at its end, `golden/log-1.txt` what it
//! must give; `log-1-steps` are those of today, with float samples as steps. A later version adds files under new names and never touches these;
//! `CAIRN_GOLDEN=add cargo test --test format log` writes the pair when it is not there yet.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn::model::{
    Buckets, Exemplar, Histogram, LabelSet, Metadata, MetricKind, ResetHint, RingArc, Samples,
    Span, TenantId, TimeRange, TimestampMs, Value, Window, stale_nan,
};
use cairn::runtime::{ByteSize, Clock, ManualClock};
use cairn::source::Selection;
use cairn::store::{
    AppendBatch, DirDisk, Error, FloatSample, Head, HeadSettings, Mark, OtherSample, SeriesId,
    WriteLogSettings,
};

const VERSION: &str = "log-1";
/// The same with a record of kind *jump*, which came later.
const JUMPS: &str = "log-1-jump";
/// What is written today: floats as steps.
const STEPS: &str = "log-1-steps";
/// The name of the first segment file of a directory.
const SEGMENT: &str = "0000000001.log";
const SEGMENT_LEN: u64 = 4096 + (8 << 20);
const NOW: i64 = 1_700_000_000_000;

fn golden_of(version: &str, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/format/golden")
        .join(version)
        .with_extension(extension)
}

fn open(directory: &Path) -> Result<Head, Error> {
    open_marked(directory, &[])
}

fn open_marked(directory: &Path, marks: &[Mark]) -> Result<Head, Error> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs(NOW)));
    let settings = HeadSettings {
        depth: 4,
        shards: 2,
        series_max: 1000,
        exemplars_max: 100,
        ..HeadSettings::default()
    };
    let log = WriteLogSettings {
        segment_size: ByteSize(SEGMENT_LEN),
        ..WriteLogSettings::default()
    };
    let disk = Arc::new(DirDisk::new(directory).unwrap());
    Head::open(settings, &log, disk, marks, clock)
}

/// A directory with a segment of these bytes.
fn directory(bytes: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SEGMENT);
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(SEGMENT_LEN).unwrap();
    directory
}

fn tenants() -> [TenantId; 2] {
    ["anonymous", "team-a"].map(|name| TenantId::new(name).unwrap())
}

/// Everything that a head holds, as text.
fn content(head: &Head) -> String {
    let mut lines = Vec::new();
    let view = head.view();
    for tenant in tenants() {
        let all = Selection {
            tenant: tenant.clone(),
            matchers: Vec::new(),
            range: TimeRange::ALL,
        };
        for series in view.select(&all) {
            let mut samples = Samples::default();
            view.read(&series, TimeRange::ALL, &mut samples);
            let mut line = format!("{tenant} {}:", series.labels);
            for (at, value, start) in samples.iter() {
                let mut bytes = Vec::new();
                value.canonical(&mut bytes);
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(line, " {at}={hex}", at = at.0).unwrap();
                if start.0 != 0 {
                    write!(line, "^{}", start.0).unwrap();
                }
            }
            lines.push(line);
        }
        for (family, metadata) in view.metadata(&tenant, None) {
            lines.push(format!("{tenant} metadata {family}: {metadata:?}"));
        }
        for (labels, exemplars) in view.exemplars(&all) {
            lines.push(format!("{tenant} exemplars {labels}: {exemplars:?}"));
        }
    }
    lines.sort();
    lines.join("\n") + "\n"
}

fn register(head: &Head, tenant: usize, pairs: &[(&str, &str)]) -> SeriesId {
    let labels = LabelSet::from_pairs(pairs).unwrap();
    head.register(&tenants()[tenant], &labels).unwrap()
}

fn append(head: &Head, batch: &AppendBatch<'_>) {
    let appended = head.append(batch).unwrap();
    assert!(appended.stale_floats.is_empty() && appended.stale_others.is_empty());
    head.wait_durable(appended.position).unwrap();
}

fn floats(head: &Head, samples: &[(SeriesId, i64, f64)]) {
    let floats: Vec<FloatSample> = samples
        .iter()
        .map(|(series, at, value)| FloatSample {
            series: *series,
            at: TimestampMs(*at),
            value: *value,
        })
        .collect();
    append(
        head,
        &AppendBatch {
            floats: &floats,
            ..AppendBatch::default()
        },
    );
}

fn histogram(float: bool) -> Value {
    let buckets = if float {
        Buckets::Float {
            count: 3.5,
            zero_count: 0.5,
            positive: vec![1.0],
            negative: vec![2.0],
        }
    } else {
        Buckets::Integer {
            count: 6,
            zero_count: 1,
            positive: vec![2, -1],
            negative: vec![2],
        }
    };
    let span = |length| vec![Span { offset: -2, length }];
    Value::Histogram(Arc::new(Histogram {
        schema: 3,
        zero_threshold: 0.001,
        sum: 7.25,
        buckets,
        positive_spans: span(if float { 1 } else { 2 }),
        negative_spans: span(1),
        custom_values: Vec::new(),
        reset_hint: ResetHint::No,
    }))
}

/// Writes a bit of everything, one write to the disk after the other.
fn fill(head: &Head) {
    // So many series and values alike that definitions and floats are compressed.
    let many: Vec<SeriesId> = (0..40)
        .map(|number| {
            let number = number.to_string();
            let labels = [
                ("__name__", "requests_total"),
                ("instance", "localhost:9090"),
                ("job", "node"),
                ("number", number.as_str()),
            ];
            register(head, 0, &labels)
        })
        .collect();
    for scrape in 0..3 {
        let all: Vec<(SeriesId, i64, f64)> = (0u32..)
            .zip(&many)
            .map(|(number, series)| (*series, NOW + scrape * 15_000, f64::from(number) + 0.5))
            .collect();
        floats(head, &all);
    }
    let odd = register(head, 1, &[("__name__", "odd"), ("ünï", "cödé")]);
    let quiet_nan = f64::from_bits(0x7ff8_0000_0000_0001);
    let other_nan = f64::from_bits(0xfff0_0000_dead_beef);
    floats(
        head,
        &[
            (odd, NOW, quiet_nan),
            (odd, NOW + 1, stale_nan()),
            (odd, NOW + 2, other_nan),
            (odd, NOW + 3, -0.0),
            // Other windows, one before 1970; then late, repeated, and another value.
            (odd, NOW + 7_200_000, f64::INFINITY),
            (odd, -1, 1.0),
            (odd, NOW - 5, 2.0),
            (odd, NOW + 3, -0.0),
            (odd, NOW - 5, 3.0),
        ],
    );
    let other = |at, value, start| OtherSample {
        series: many[0],
        at: TimestampMs(at),
        value,
        start: TimestampMs(start),
    };
    append(
        head,
        &AppendBatch {
            others: &[
                other(NOW + 60_000, histogram(false), 0),
                other(NOW + 75_000, histogram(true), NOW),
                other(NOW + 90_000, Value::Float(9.0), NOW - 1),
            ],
            ..AppendBatch::default()
        },
    );
    let metadata = Metadata {
        kind: MetricKind::Counter,
        help: "Requests, counted.".to_owned(),
        unit: "requests".to_owned(),
    };
    let exemplar = Exemplar {
        labels: LabelSet::from_pairs(&[("trace_id", "abc")]).unwrap(),
        value: 0.25,
        timestamp: TimestampMs(NOW + 4),
    };
    append(
        head,
        &AppendBatch {
            metadata: &[(tenants()[0].clone(), "requests_total".to_owned(), metadata)],
            ..AppendBatch::default()
        },
    );
    append(
        head,
        &AppendBatch {
            exemplars: &[(many[1], exemplar)],
            ..AppendBatch::default()
        },
    );
    floats(head, &[(many[2], NOW + 45_000, 42.0)]);
    // Steps of each kind: none, differences, a larger exponent, bytes of a number and of what is none.
    let values = [
        42.0,
        43.0,
        -7.0,
        0.125,
        0.25,
        1.0 / 3.0,
        0.75,
        1e300,
        stale_nan(),
        2.5,
        -0.0,
    ];
    for (at, value) in (4i64..).zip(values) {
        let both = [1, 2].map(|number| (many[number], NOW + at * 15_000, value));
        floats(head, &both);
    }
    // So many steps alike that they are compressed.
    let all = (20i64..30).flat_map(|at| {
        let value = move |number| f64::from(number) + at as f64 * 1000.5;
        let series = (0u32..).zip(&many);
        series.map(move |(number, series)| (*series, NOW + at * 15_000, value(number)))
    });
    floats(head, &all.collect::<Vec<_>>());
}

fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(end);
    bytes
}

#[test]
fn a_log_of_version_1_gives_what_it_gave() {
    let (log, txt) = (golden_of(STEPS, "log"), golden_of(STEPS, "txt"));
    if std::env::var("CAIRN_GOLDEN").is_ok_and(|value| value == "add") && !log.exists() {
        let directory = tempfile::tempdir().unwrap();
        let head = open(directory.path()).unwrap();
        fill(&head);
        std::fs::write(txt, content(&head)).unwrap();
        drop(head);
        let bytes = std::fs::read(directory.path().join(SEGMENT)).unwrap();
        std::fs::write(log, without_zeros(bytes)).unwrap();
    }
    for version in [VERSION, STEPS] {
        let bytes = std::fs::read(golden_of(version, "log")).unwrap();
        let want = std::fs::read_to_string(golden_of(version, "txt")).unwrap();
        let directory = directory(&bytes);
        for _ in 0..2 {
            let head = open(directory.path()).unwrap();
            assert_eq!(content(&head), want, "{version}");
            assert_eq!(head.stats().log.torn_records, 0);
        }
    }
}

/// A log that is opened beside marks that lie beyond its end, and goes on behind them.
fn fill_with_jump(directory: &Path) {
    let few = |head: &Head, at: i64, value: f64| {
        let series = register(head, 0, &[("__name__", "up"), ("job", "node")]);
        floats(head, &[(series, at, value)]);
    };
    let head = open(directory).unwrap();
    few(&head, NOW + 1000, 1.0);
    drop(head);
    let mark = Mark {
        arc: RingArc::new(0, 4).unwrap(),
        window: Window::of(TimestampMs(0)),
        position: 1000,
    };
    let head = open_marked(directory, &[mark]).unwrap();
    few(&head, NOW + 2000, 2.0);
    assert!(head.durable_position() > 1000);
}

#[test]
fn a_log_that_jumps_gives_what_it_gave() {
    let written = tempfile::tempdir().unwrap();
    fill_with_jump(written.path());
    let written = without_zeros(std::fs::read(written.path().join(SEGMENT)).unwrap());
    let bytes = std::fs::read(golden_of(JUMPS, "log")).unwrap();
    let want = std::fs::read_to_string(golden_of(JUMPS, "txt")).unwrap();
    assert_eq!(want.matches("=").count(), 3, "a label, two samples: {want}");
    for bytes in [&bytes, &written] {
        let directory = directory(bytes);
        for _ in 0..2 {
            let head = open(directory.path()).unwrap();
            assert_eq!(content(&head), want);
            assert!(head.durable_position() > 1000);
        }
    }
    // All but the samples, which are steps today.
    let [written, bytes] = [&written, &bytes].map(|bytes| {
        let mut records = records(bytes);
        records.retain(|record| ![2, 7].contains(&record[KIND_AT]));
        records
    });
    assert_eq!(written.len(), 3, "two definitions, a jump");
    assert!(written == bytes, "the log's bytes have changed");
}

/// Where the kind of a record stands.
const KIND_AT: usize = 29;

/// The records of a segment, as they stand there, but for the headers of writes.
fn records(segment: &[u8]) -> Vec<&[u8]> {
    const RECORDS_AT: usize = 4096;
    const HEADER_LEN: usize = 30;
    let (mut records, mut rest) = (Vec::new(), &segment[RECORDS_AT..]);
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap());
        let (record, after) = rest.split_at(HEADER_LEN + length as usize);
        if record[KIND_AT] != 0 {
            records.push(record);
        }
        rest = after;
    }
    records
}

/// A later version may write other records; then this test goes, and the one above stays.
#[test]
fn what_is_written_today_has_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let head = open(directory.path()).unwrap();
    fill(&head);
    drop(head);
    let bytes = std::fs::read(directory.path().join(SEGMENT)).unwrap();
    assert_eq!(bytes.len() as u64, SEGMENT_LEN);
    let golden = std::fs::read(golden_of(STEPS, "log")).unwrap();
    assert!(
        without_zeros(bytes) == golden,
        "the log's bytes have changed"
    );
}

#[test]
fn a_torn_log_of_version_1_lacks_its_last_write_and_a_damaged_one_is_refused() {
    let bytes = std::fs::read(golden_of(VERSION, "log")).unwrap();
    let want = std::fs::read_to_string(golden_of(VERSION, "txt")).unwrap();
    let torn = directory(&bytes[..bytes.len() - 3]);
    let head = open(torn.path()).unwrap();
    let found = content(&head);
    assert!(found.len() < want.len());
    let differs = found.lines().zip(want.lines()).filter(|(a, b)| a != b);
    for (found, want) in differs {
        assert!(
            want.starts_with(found) && want.contains("1700000045000"),
            "{want}"
        );
    }
    for at in [4100, 4160, 4300, bytes.len() - 200] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        let directory = directory(&damaged);
        let error = open(directory.path()).err().unwrap().to_string();
        for part in [SEGMENT, "byte", "is damaged"] {
            assert!(error.contains(part), "byte {at}: {error}");
        }
    }
}
