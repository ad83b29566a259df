//! What goes into a block comes out of it: read from the plain file, by ranges of bytes, and from
//! RocksDB after it was taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::codec::page::Density;
use crate::model::{
    BlockId, Buckets, Histogram, LabelSet, Level, MatchOp, Matcher, Metadata, MetricKind,
    ResetHint, RingArc, Samples, Span, TenantId, TimeRange, TimestampMs, Value, fingerprint,
    stale_nan,
};
use crate::runtime::CancelToken;
use crate::source::FamilyMetadata;
use crate::store::engine::{Engine, RocksEngine, SstTable, Table, block_prefix, for_each};
use crate::store::error::Error;

/// Content in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) series: BTreeMap<(TenantId, LabelSet), Samples>,
    pub(super) metadata: BTreeMap<(TenantId, String), Vec<Metadata>>,
}

impl BlockContent for Given {
    fn series_len(&self) -> usize {
        self.series.len()
    }

    fn series(&self, index: usize) -> Result<ContentSeries, Error> {
        let (tenant, labels) = self.series.keys().rev().nth(index).unwrap().clone();
        let fingerprint = fingerprint(&tenant, &labels);
        Ok(ContentSeries {
            tenant,
            labels,
            fingerprint,
        })
    }

    fn read(&mut self, index: usize, samples: &mut Samples) -> Result<(), Error> {
        samples.clone_from(self.series.values().rev().nth(index).unwrap());
        Ok(())
    }

    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error> {
        let all = self.metadata.iter();
        Ok(all
            .map(|((tenant, family), list)| (tenant.clone(), (family.clone(), list.clone())))
            .collect())
    }
}

pub(super) fn properties() -> BlockProperties {
    BlockProperties {
        id: BlockId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        cluster_id: 77,
        arc: RingArc::new(0, 0).unwrap(),
        range: TimeRange::new(TimestampMs(0), TimestampMs(7_199_999)),
        level: Level(0),
        round: 1,
        pages: Density::Quick,
    }
}

pub(super) fn build(directory: &Path, content: &mut Given) -> Result<BuiltBlock, Error> {
    let path = directory.join("block");
    build_block(&path, &properties(), content, &CancelToken::new())
}

/// Both ways to read a block, and the directory that must outlive them.
fn tables(content: &Given) -> (BuiltBlock, Vec<Arc<dyn Table>>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let built = build(directory.path(), &mut content.clone()).unwrap();
    let bytes = std::fs::read(&built.path).unwrap();
    assert_eq!(built.entry.size, bytes.len() as u64);
    assert_eq!(built.entry.digest.0, *blake3::hash(&bytes).as_bytes());
    let engine = RocksEngine::open(&directory.path().join("db"), 1 << 20, 64).unwrap();
    let id = built.entry.id;
    engine.ingest(&[(id, built.path.clone())]).unwrap();
    let rocks = engine.table(id).unwrap().unwrap();
    let plain: Arc<dyn Table> = Arc::new(SstTable::open(Box::new(bytes)).unwrap());
    (built, vec![plain, rocks], directory)
}

fn pairs(table: &dyn Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    for_each(
        |after| table.scan(&block_prefix(properties().id), after),
        |key, value| {
            assert_eq!(table.get(key).unwrap().as_deref(), Some(value));
            all.push((key.to_vec(), value.to_vec()));
            Ok(())
        },
    )
    .unwrap();
    all
}

fn everything(table: Arc<dyn Table>) -> Given {
    let block = BlockReader::open(table, properties().id).unwrap();
    let mut given = Given::default();
    for tenant in block.tenants().unwrap() {
        let mut reader = block.tenant(&tenant).unwrap().unwrap();
        for ordinal in reader.all_by_place().unwrap() {
            let labels = reader.labels(ordinal).unwrap();
            assert_eq!(reader.find(&labels).unwrap(), Some(ordinal));
            let mut samples = Samples::default();
            reader.read(ordinal, TimeRange::ALL, &mut samples).unwrap();
            given.series.insert((tenant.clone(), labels), samples);
        }
        for (family, list) in reader.metadata(None).unwrap() {
            let one = reader.metadata(Some(&family)).unwrap();
            assert_eq!(one, [(family.clone(), list.clone())]);
            given.metadata.insert((tenant.clone(), family), list);
        }
        assert!(reader.metadata(Some("no such family")).unwrap().is_empty());
    }
    given
}

fn check_round_trip(content: &Given) {
    let (built, tables, _directory) = tables(content);
    assert_eq!(pairs(&*tables[0]), pairs(&*tables[1]));
    for table in tables {
        let block = BlockReader::open(Arc::clone(&table), properties().id).unwrap();
        assert_eq!(block.properties(), &properties());
        assert_eq!(block.totals(), &built.totals);
        let samples: usize = content.series.values().map(Samples::len).sum();
        assert_eq!(built.entry.samples, samples as u64);
        let back = everything(table);
        assert_eq!(back.metadata, content.metadata);
        assert_eq!(back.series, content.series);
    }
}

pub(super) fn histogram(count: u64) -> Histogram {
    Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        sum: count as f64 * 1.5,
        buckets: Buckets::Integer {
            count,
            zero_count: 1,
            positive: vec![1, 2, -1],
            negative: vec![],
        },
        positive_spans: vec![
            Span {
                offset: -2,
                length: 2,
            },
            Span {
                offset: 3,
                length: 1,
            },
        ],
        negative_spans: vec![],
        custom_values: vec![],
        reset_hint: ResetHint::Unknown,
    }
}

fn set(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs).unwrap()
}

/// Three targets with shared scrapes, one series that comes late, one pushed series, histograms.
pub(super) fn usual() -> Given {
    let mut given = Given::default();
    let tenants = [TenantId::anonymous(), TenantId::new("other").unwrap()];
    for (number, instance) in ["a:9100", "b:9100", "c:9100"].into_iter().enumerate() {
        for metric in 0..70i64 {
            let name = format!("metric_{metric:02}_total");
            let le = format!("{}", 10i64.pow(u32::try_from(metric % 5).unwrap()));
            let labels = set(&[
                ("__name__", name.as_str()),
                ("job", "node"),
                ("instance", instance),
                ("le", if metric % 10 < 5 { le.as_str() } else { "" }),
            ]);
            let mut samples = Samples::default();
            for scrape in 0..120i64 {
                if metric == 3 && scrape < 50 {
                    continue;
                }
                let at = TimestampMs(scrape * 15_000 + number as i64 * 7);
                let value = match (metric, scrape) {
                    (4, 60) => Value::Float(stale_nan()),
                    (5, _) => Value::Histogram(Arc::new(histogram(scrape.unsigned_abs()))),
                    _ => Value::Float((scrape * metric) as f64 / 10.0),
                };
                let start = if metric == 6 { 5 } else { 0 };
                samples.push(at, value, TimestampMs(start));
            }
            let tenant = tenants[number / 2].clone();
            given.series.insert((tenant, labels), samples);
        }
    }
    let mut pushed = Samples::default();
    pushed.push(TimestampMs(0), Value::Float(f64::NAN), TimestampMs(0));
    pushed.push(TimestampMs(7_199_999), Value::Float(-0.0), TimestampMs(0));
    given
        .series
        .insert((tenants[0].clone(), set(&[("__name__", "pushed")])), pushed);
    let about = Metadata {
        kind: MetricKind::Counter,
        help: "Things.".to_owned(),
        unit: "things".to_owned(),
    };
    let families = [(0, "metric_01_total"), (1, "metric_02_total"), (1, "z")];
    for (tenant, family) in families {
        given.metadata.insert(
            (tenants[tenant].clone(), family.to_owned()),
            vec![about.clone(), Metadata::default()],
        );
    }
    given
}

#[test]
fn a_usual_window_comes_back_both_ways() {
    check_round_trip(&usual());
}

#[test]
fn nothing_at_all_is_a_block_too() {
    check_round_trip(&Given::default());
}

/// A tenant with metadata only, a series without labels, one without samples.
#[test]
fn tenants_and_series_with_little_come_back() {
    let mut given = Given::default();
    let tenant = TenantId::new("quiet").unwrap();
    given
        .metadata
        .insert((tenant, "up".to_owned()), vec![Metadata::default()]);
    let mut one = Samples::default();
    one.push(TimestampMs(5), Value::Float(1.0), TimestampMs(0));
    let tenant = TenantId::anonymous();
    given
        .series
        .insert((tenant.clone(), LabelSet::empty()), one);
    given
        .series
        .insert((tenant, set(&[("a", "b")])), Samples::default());
    check_round_trip(&given);
}

#[test]
fn content_that_breaks_its_promises_is_refused_and_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut late = usual();
    let mut samples = Samples::default();
    samples.push(TimestampMs(7_200_000), Value::Float(1.0), TimestampMs(0));
    late.series
        .insert((TenantId::anonymous(), set(&[("a", "b")])), samples);
    let error = build(directory.path(), &mut late).unwrap_err();
    assert!(matches!(error, Error::Bug(_)), "{error}");
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let path = directory.path().join("block");
    let error = build_block(&path, &properties(), &mut usual(), &cancelled).unwrap_err();
    assert!(matches!(error, Error::Cancelled(_)), "{error}");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_range_clips_and_neighbours_share_columns() {
    let content = usual();
    let (_, tables, _directory) = tables(&content);
    let keys: Vec<Vec<u8>> = pairs(&*tables[0]).into_iter().map(|pair| pair.0).collect();
    // Tenant 0 has two targets of one column each and the pushed series' own.
    let columns = |tenant: u8| {
        let is = |key: &&Vec<u8>| {
            key.len() == 29 && key[16..21] == [3, 0, 0, 0, tenant] && key[21] == 4 && key[26] == 0
        };
        keys.iter().filter(is).count()
    };
    assert_eq!((columns(0), columns(1)), (3, 1));
    let block = BlockReader::open(Arc::clone(&tables[0]), properties().id).unwrap();
    let mut reader = block.tenant(&TenantId::anonymous()).unwrap().unwrap();
    let range = TimeRange::new(TimestampMs(100_000), TimestampMs(150_000));
    for ordinal in (0..reader.series_len()).map(Ordinal) {
        let labels = reader.labels(ordinal).unwrap();
        let mut want = content.series[&(TenantId::anonymous(), labels)].clone();
        want.clip(range);
        let mut samples = Samples::default();
        reader.read(ordinal, range, &mut samples).unwrap();
        assert_eq!(samples, want);
    }
}

fn check_select(content: &Given, tenant: &TenantId, matchers: &[(&str, MatchOp, &str)]) {
    let matchers: Vec<Matcher> = matchers
        .iter()
        .map(|(name, op, value)| Matcher::new(name, *op, value).unwrap())
        .collect();
    let want: Vec<&LabelSet> = content
        .series
        .keys()
        .filter(|(of, labels)| {
            let matches = |m: &Matcher| m.matches(labels.get(m.name()).unwrap_or_default());
            of == tenant && matchers.iter().all(matches)
        })
        .map(|(_, labels)| labels)
        .collect();
    let (_, tables, _directory) = tables(content);
    for table in tables {
        let block = BlockReader::open(table, properties().id).unwrap();
        let Some(mut reader) = block.tenant(tenant).unwrap() else {
            assert!(want.is_empty());
            continue;
        };
        let found = reader.select(&matchers).unwrap();
        let labels: Vec<LabelSet> = found.iter().map(|o| reader.labels(*o).unwrap()).collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), want, "{matchers:?}");
        let names: BTreeSet<&str> = want.iter().flat_map(|l| l.iter().map(|p| p.0)).collect();
        let got = reader.label_names(&matchers).unwrap();
        assert!(got.iter().eq(names.iter()), "{got:?} {names:?}");
        for name in ["__name__", "instance", "le", "none"] {
            let values: BTreeSet<&str> = want.iter().filter_map(|l| l.get(name)).collect();
            let got = reader.label_values(name, &matchers).unwrap();
            assert!(got.iter().eq(values.iter()), "{name}: {got:?} {values:?}");
        }
    }
}

#[test]
fn matchers_select_as_prometheus_does() {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let content = usual();
    let tenant = TenantId::anonymous();
    let check = |matchers: &[(&str, MatchOp, &str)]| check_select(&content, &tenant, matchers);
    check(&[]);
    check(&[("__name__", Equal, "metric_07_total")]);
    check(&[("__name__", Equal, "metric_99_total")]);
    check(&[
        ("__name__", Regex, "metric_0[1-3]_total"),
        ("instance", Equal, "a:9100"),
    ]);
    check(&[("__name__", Regex, "pushed|metric_11_total|nothing")]);
    check(&[("__name__", Regex, "metric_1.*")]);
    check(&[("le", Equal, "")]);
    check(&[("le", NotEqual, "")]);
    check(&[("le", Regex, ".*")]);
    check(&[("le", Regex, ".+")]);
    check(&[("le", Regex, "10|")]);
    check(&[("le", NotRegex, "10|100")]);
    check(&[("le", NotEqual, "10"), ("instance", NotEqual, "b:9100")]);
    check(&[("none", Equal, "")]);
    check(&[("none", NotEqual, "")]);
    check(&[("none", NotRegex, "x.*"), ("__name__", Equal, "pushed")]);
    check_select(&content, &TenantId::new("stranger").unwrap(), &[]);
    check_select(
        &content,
        &TenantId::new("other").unwrap(),
        &[("job", Equal, "node")],
    );
}

/// More values of one name, and more series, than a chunk holds.
#[test]
fn many_values_are_found_in_their_chunks() {
    let mut content = Given::default();
    for i in 0..700u32 {
        let labels = set(&[("__name__", "m"), ("pod", &format!("pod-{i:04}"))]);
        let mut samples = Samples::default();
        samples.push(TimestampMs(i64::from(i)), Value::Float(1.0), TimestampMs(0));
        content
            .series
            .insert((TenantId::anonymous(), labels), samples);
    }
    let check = |matchers: &[(&str, MatchOp, &str)]| {
        check_select(&content, &TenantId::anonymous(), matchers);
    };
    for pod in [
        "pod-0000", "pod-0127", "pod-0128", "pod-0699", "pod-0700", "a", "z",
    ] {
        check(&[("pod", MatchOp::Equal, pod)]);
    }
    check(&[("pod", MatchOp::NotEqual, "pod-0128")]);
    check(&[("pod", MatchOp::Regex, "pod-0.[05]9")]);
    check_round_trip(&content);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (0..1000i64).prop_map(|v| Value::Float(v as f64)),
        2 => any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        1 => Just(Value::Float(stale_nan())),
        1 => any::<u32>().prop_map(|n| Value::Histogram(Arc::new(histogram(u64::from(n))))),
    ]
}

fn any_samples() -> impl Strategy<Value = Samples> {
    let start = prop_oneof![3 => Just(0), 1 => any::<i64>()];
    prop::collection::btree_map(0..7_200_000i64, (any_value(), start), 1..40).prop_map(|rows| {
        let mut samples = Samples::default();
        for (at, (value, start)) in rows {
            samples.push(TimestampMs(at), value, TimestampMs(start));
        }
        samples
    })
}

fn any_labels() -> impl Strategy<Value = LabelSet> {
    let name = prop::sample::select(vec!["__name__", "job", "instance", "le", "ü", "zone"]);
    prop::collection::btree_map(name, "[a-c]{1,2}|[0-9]{1,2}|.{1,5}", 0..5).prop_map(|pairs| {
        let pairs: Vec<(&str, String)> = pairs.into_iter().collect();
        LabelSet::from_pairs(&pairs).unwrap()
    })
}

fn any_content() -> impl Strategy<Value = Given> {
    let tenant =
        || prop::sample::select(vec!["a", "b", "z"]).prop_map(|name| TenantId::new(name).unwrap());
    let about = (0u64..8, ".{0,8}", ".{0,3}").prop_map(|(kind, help, unit)| Metadata {
        kind: MetricKind::from_number(kind),
        help,
        unit,
    });
    let series = prop::collection::btree_map((tenant(), any_labels()), any_samples(), 0..40);
    let metadata = prop::collection::btree_map(
        (tenant(), ".{0,6}"),
        prop::collection::vec(about, 0..3),
        0..6,
    );
    (series, metadata).prop_map(|(series, metadata)| Given { series, metadata })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_content_comes_back_both_ways(content in any_content()) {
        check_round_trip(&content);
    }

    #[test]
    fn any_matchers_select_what_a_scan_selects(
        content in any_content(),
        tenant in prop::sample::select(vec!["a", "b"]),
        matchers in prop::collection::vec(
            (
                prop::sample::select(vec!["__name__", "job", "le", "none"]),
                prop::sample::select(vec![
                    MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex,
                ]),
                prop::sample::select(vec!["", "a", "b|c", "a|", "[ab].*", ".*", ".+", "1.?"]),
            ),
            0..3,
        ),
    ) {
        check_select(&content, &TenantId::new(tenant).unwrap(), &matchers);
    }

    /// Damage that the table's checksums let through gives errors or other values, never a panic,
    /// and what is read keeps its promises.
    #[test]
    fn damage_behind_the_checksums_never_panics(
        pair in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut all = PAIRS.with(Clone::clone);
        let pair = pair.index(all.len());
        let value = &mut all[pair].1;
        let at = at.index(value.len());
        value[at] = with;
        if cut {
            value.truncate(at);
        }
        let _ = read_damaged(Arc::new(Map(all.into_iter().collect())));
    }
}

thread_local! {
    static PAIRS: Vec<(Vec<u8>, Vec<u8>)> = pairs(&*tables(&usual()).1[0]);
}

struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

impl Table for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let wanted = |key: &[u8]| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let pairs = self.0.iter().filter(|(key, _)| wanted(key)).take(50);
        Ok(pairs
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

fn read_damaged(table: Arc<dyn Table>) -> Result<(), Error> {
    let block = BlockReader::open(table, properties().id)?;
    for tenant in block.tenants()? {
        let Some(mut reader) = block.tenant(&tenant)? else {
            continue;
        };
        let matcher = Matcher::new("le", MatchOp::Regex, "1.*").unwrap();
        let _ = reader.label_values("le", std::slice::from_ref(&matcher));
        let _ = reader.select(&[matcher]);
        let _ = reader.metadata(None);
        for ordinal in (0..reader.series_len().min(300)).map(Ordinal) {
            let mut samples = Samples::default();
            let _ = reader.labels(ordinal);
            if reader.read(ordinal, TimeRange::ALL, &mut samples).is_ok() {
                assert!(samples.timestamps.is_sorted_by(|a, b| a < b));
                assert_eq!(samples.values.len(), samples.len());
            }
        }
    }
    Ok(())
}
