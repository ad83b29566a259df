//! A block file that version 1 wrote: it opens and gives the same values for ever, through our own
//! reader and through the engine.
//!
//! `golden/block-1.sst` is the file, `golden/block-1.txt` what it must give. A later version adds
//! files under new names and never touches these; `CAIRN_GOLDEN=add cargo test --test format
//! block` writes the pair of [`VERSION`] when it is not there yet.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn::codec::page::Density;
use cairn::model::{
    BlockId, Buckets, Histogram, LabelSet, Level, Metadata, MetricKind, ResetHint, Resolution,
    RingArc, Samples, Span, TenantId, TimeRange, TimestampMs, Value, downsample, fingerprint,
    stale_nan,
};
use cairn::runtime::CancelToken;
use cairn::source::FamilyMetadata;
use cairn::store::{
    BlockContent, BlockProperties, BlockReader, ContentSeries, Engine, Error, RocksEngine,
    SstTable, Table, block_prefix, build_block, for_each, verify_block,
};

const VERSION: &str = "block-1";

const ID: BlockId = BlockId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

fn golden(extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/format/golden")
        .join(VERSION)
        .with_extension(extension)
}

/// What version 2 adds: samples that stand for others.
fn golden_downsampled(extension: &str) -> PathBuf {
    golden(extension).with_file_name(format!("block-2-downsampled.{extension}"))
}

/// What version 3 adds: pages that are coded.
fn golden_dense(extension: &str) -> PathBuf {
    golden(extension).with_file_name(format!("block-3-dense.{extension}"))
}

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
        let about = Metadata {
            kind: MetricKind::Counter,
            help: "Requests, counted.".to_owned(),
            unit: "requests".to_owned(),
        };
        let family = (
            "requests_total".to_owned(),
            vec![about, Metadata::default()],
        );
        Ok(vec![(TenantId::new("other").unwrap(), family)])
    }
}

fn add(given: &mut Given, tenant: &str, labels: &[(&str, &str)], samples: Samples) {
    let tenant = TenantId::new(tenant).unwrap();
    let labels = LabelSet::from_pairs(labels).unwrap();
    let series = ContentSeries {
        fingerprint: fingerprint(&tenant, &labels),
        tenant,
        labels,
    };
    given.0.push((series, samples));
}

/// Everything a block can hold, little of each.
fn content() -> Given {
    let mut given = Given(Vec::new());
    for instance in ["a:1", "b:1"] {
        for number in 0..20i64 {
            let name = format!("metric_{number:02}");
            let mut samples = Samples::default();
            let from = if number == 7 { 10 } else { 0 };
            for scrape in from..20i64 {
                let value = (scrape * number) as f64 / 8.0;
                samples.push(
                    TimestampMs(scrape * 15_000),
                    Value::Float(value),
                    TimestampMs(0),
                );
            }
            let labels = [
                ("__name__", name.as_str()),
                ("job", "node"),
                ("instance", instance),
            ];
            add(&mut given, "anonymous", &labels, samples);
        }
    }
    let mut odd = Samples::default();
    let values = [f64::NAN, stale_nan(), f64::INFINITY, -0.0, 5e-324, f64::MAX];
    for (at, value) in (0..).zip(values) {
        odd.push(TimestampMs(at), Value::Float(value), TimestampMs(0));
    }
    add(&mut given, "other", &[("__name__", "odd"), ("é", "ü")], odd);
    let mut started = Samples::default();
    let mut native = Samples::default();
    for at in 1..6i64 {
        started.push(
            TimestampMs(at * 1000),
            Value::Float(at as f64),
            TimestampMs(500),
        );
        let histogram = Histogram {
            schema: 2,
            zero_threshold: 0.001,
            sum: at as f64 * 2.5,
            buckets: Buckets::Integer {
                count: at.unsigned_abs() + 3,
                zero_count: 1,
                positive: vec![1, at, -1],
                negative: vec![],
            },
            positive_spans: vec![Span {
                offset: -1,
                length: 3,
            }],
            negative_spans: vec![],
            custom_values: vec![],
            reset_hint: ResetHint::No,
        };
        native.push(
            TimestampMs(at * 1000),
            Value::Histogram(Arc::new(histogram)),
            TimestampMs(500),
        );
    }
    add(
        &mut given,
        "other",
        &[("__name__", "requests_total")],
        started,
    );
    add(&mut given, "other", &[("__name__", "native")], native);
    given
}

fn write() {
    let properties = BlockProperties {
        id: ID,
        cluster_id: 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f,
        arc: RingArc::new(0, 0).unwrap(),
        range: TimeRange::new(TimestampMs(0), TimestampMs(7_199_999)),
        level: Level(0),
        round: 1,
        pages: Density::Quick,
    };
    let file = golden("sst");
    build_block(&file, &properties, &mut content(), &CancelToken::new()).unwrap();
    let table = Arc::new(SstTable::open_file(&file).unwrap());
    std::fs::write(golden("txt"), dump(table)).unwrap();
}

/// The same at five minutes.
fn write_downsampled() {
    let file = golden_downsampled("sst");
    build_downsampled(&file);
    let table = Arc::new(SstTable::open_file(&file).unwrap());
    std::fs::write(golden_downsampled("txt"), dump(table)).unwrap();
}

/// The same merged, and noise, which is what a coded page is shorter for.
fn build_dense(path: &Path) {
    let raw = Arc::new(SstTable::open_file(&golden("sst")).unwrap());
    let mut properties = BlockReader::open(raw, ID).unwrap().properties().clone();
    properties.level = Level(1);
    properties.pages = Density::Dense;
    let mut content = content();
    for name in ["noise_one", "noise_two"] {
        let mut samples = Samples::default();
        let mut state = name.len() as u64;
        for row in 0..400 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let value = f64::from(u32::try_from(state >> 52).unwrap()) / 8.0;
            samples.push(
                TimestampMs(row * 15_000),
                Value::Float(value),
                TimestampMs(0),
            );
        }
        add(&mut content, "other", &[("__name__", name)], samples);
    }
    build_block(path, &properties, &mut content, &CancelToken::new()).unwrap();
}

fn build_downsampled(path: &Path) {
    let raw = Arc::new(SstTable::open_file(&golden("sst")).unwrap());
    let mut properties = BlockReader::open(raw, ID).unwrap().properties().clone();
    properties.level = Level(1).at(Resolution::FiveMinutes);
    let mut content = content();
    for (number, (_, samples)) in content.0.iter_mut().enumerate() {
        // Some stay as they are, and some are coarser still.
        let to = match number % 5 {
            0 => Resolution::Raw,
            1 => Resolution::Hour,
            _ => Resolution::FiveMinutes,
        };
        if let Some(thin) = downsample(samples, to) {
            *samples = thin;
        }
    }
    build_block(path, &properties, &mut content, &CancelToken::new()).unwrap();
}

/// All that a block says, as text; floats and histograms by their bits.
fn dump(table: Arc<dyn Table>) -> String {
    let block = BlockReader::open(table, ID).unwrap();
    let mut out = String::new();
    let (is, holds) = (block.properties(), block.totals());
    writeln!(
        out,
        "cluster {:032x} arc {} range {} to {} level {} round {}",
        is.cluster_id, is.arc, is.range.start.0, is.range.end.0, is.level.0, is.round
    )
    .unwrap();
    writeln!(
        out,
        "series {} samples {} times {} to {} sum {:032x}",
        holds.series, holds.samples, holds.times.start.0, holds.times.end.0, holds.content_sum
    )
    .unwrap();
    for tenant in block.tenants().unwrap() {
        let mut reader = block.tenant(&tenant).unwrap().unwrap();
        writeln!(out, "tenant {tenant}: {} series", reader.series_len()).unwrap();
        for name in reader.label_names(&[]).unwrap() {
            let values = reader.label_values(&name, &[]).unwrap();
            writeln!(out, "label {name}: {values:?}").unwrap();
        }
        for ordinal in reader.select(&[]).unwrap() {
            let labels = reader.labels(ordinal).unwrap();
            let mut samples = Samples::default();
            reader.read(ordinal, TimeRange::ALL, &mut samples).unwrap();
            write!(out, "{} {labels}", reader.fingerprint(ordinal).unwrap()).unwrap();
            for (at, value, start) in samples.iter() {
                let mut bytes = Vec::new();
                value.canonical(&mut bytes);
                write!(out, "; {}", at.0).unwrap();
                if start.0 != 0 {
                    write!(out, " since {}", start.0).unwrap();
                }
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(out, " {hex}").unwrap();
            }
            for (row, fold) in &samples.folds {
                write!(out, "; row {row} {fold:?}").unwrap();
            }
            out.push('\n');
        }
        for (family, list) in reader.metadata(None).unwrap() {
            for one in list {
                let Metadata { kind, help, unit } = one;
                writeln!(out, "metadata {family}: {} {help:?} {unit:?}", kind.name()).unwrap();
            }
        }
    }
    out
}

#[test]
fn a_block_of_version_1_gives_what_it_gave() {
    let file = golden("sst");
    if !file.exists() && std::env::var("CAIRN_GOLDEN").is_ok_and(|value| value == "add") {
        write();
    }
    let want = std::fs::read_to_string(golden("txt")).unwrap();
    let plain = Arc::new(SstTable::open_file(&file).unwrap());
    assert_eq!(dump(plain.clone()), want);
    assert_eq!(
        verify_block(&file, ID, None, &CancelToken::new())
            .unwrap()
            .faults,
        []
    );

    let directory = tempfile::tempdir().unwrap();
    let staged = directory.path().join("staged");
    std::fs::copy(&file, &staged).unwrap();
    let engine = RocksEngine::open(&directory.path().join("db"), 1 << 20, 16).unwrap();
    engine.ingest(&[(ID, staged)]).unwrap();
    let taken = engine.table(ID).unwrap().unwrap();
    assert_eq!(dump(Arc::clone(&taken)), want);
    let pairs = |table: &dyn Table| {
        let mut pairs = Vec::new();
        for_each(
            |after| table.scan(&block_prefix(ID), after),
            |key, value| {
                pairs.push((key.to_vec(), value.to_vec()));
                Ok(())
            },
        )
        .unwrap();
        pairs
    };
    assert_eq!(pairs(&*plain), pairs(&*taken));
}

#[test]
fn a_downsampled_block_of_version_2_gives_what_it_gave() {
    let file = golden_downsampled("sst");
    if !file.exists() && std::env::var("CAIRN_GOLDEN").is_ok_and(|value| value == "add") {
        write_downsampled();
    }
    let want = std::fs::read_to_string(golden_downsampled("txt")).unwrap();
    assert!(want.contains("FiveMinutes"), "it has folds");
    let plain = Arc::new(SstTable::open_file(&file).unwrap());
    assert_eq!(dump(plain), want);
    let verified = verify_block(&file, ID, None, &CancelToken::new()).unwrap();
    assert_eq!(verified.faults, []);
    let directory = tempfile::tempdir().unwrap();
    let today = directory.path().join("today");
    build_downsampled(&today);
    assert_eq!(dump(Arc::new(SstTable::open_file(&today).unwrap())), want);
}

#[test]
fn a_dense_block_of_version_3_gives_what_it_gave() {
    let (file, text) = (golden_dense("sst"), golden_dense("txt"));
    if !file.exists() && std::env::var("CAIRN_GOLDEN").is_ok_and(|value| value == "add") {
        build_dense(&file);
        let table = Arc::new(SstTable::open_file(&file).unwrap());
        std::fs::write(&text, dump(table)).unwrap();
    }
    let want = std::fs::read_to_string(text).unwrap();
    let plain = Arc::new(SstTable::open_file(&file).unwrap());
    let properties = BlockReader::open(plain.clone(), ID).unwrap();
    assert_eq!(properties.properties().pages, Density::Dense);
    assert_eq!(dump(plain), want);
    let verified = verify_block(&file, ID, None, &CancelToken::new()).unwrap();
    assert_eq!(verified.faults, []);
    let directory = tempfile::tempdir().unwrap();
    let today = directory.path().join("today");
    build_dense(&today);
    assert_eq!(dump(Arc::new(SstTable::open_file(&today).unwrap())), want);
}

/// What is written today gives the same values, too.
#[test]
fn a_block_of_today_gives_what_version_1_gave() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("today");
    let file = golden("sst");
    let table = Arc::new(SstTable::open_file(&file).unwrap());
    let properties = BlockReader::open(table, ID).unwrap().properties().clone();
    build_block(&path, &properties, &mut content(), &CancelToken::new()).unwrap();
    let today = dump(Arc::new(SstTable::open_file(&path).unwrap()));
    assert_eq!(today, std::fs::read_to_string(golden("txt")).unwrap());
}
