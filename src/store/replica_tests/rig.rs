//! Stores to be compared with each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::codec::page::Density;
use crate::model::*;
use crate::runtime::{Budget, BudgetLimits, ByteSize, CancelToken, ManualClock, SeededChance};
use crate::source::{ReadContext, Selection, SeriesStream, Source};
use crate::store::*;

pub(super) const CLUSTER: u128 = 77;
/// Of which cluster the stores are, and when it is.
const HERE: (u128, TimestampMs) = (CLUSTER, TimestampMs(1_000_000_000));

pub(super) type Key = (TenantId, LabelSet);

/// A sample of a series: time, value, start.
pub(super) type Write = (Key, i64, Value, i64);

pub(super) struct Node {
    pub(super) store: Store,
    engine: Arc<MemoryEngine>,
    root: tempfile::TempDir,
    seed: u64,
}

pub(super) fn series(number: u64) -> Key {
    let labels = LabelSet::from_pairs(&[
        ("__name__", format!("metric_{number}").as_str()),
        ("instance", format!("host-{}", number % 3).as_str()),
        ("job", "node"),
    ]);
    let tenant = TenantId::new(&format!("tenant-{}", number % 2)).unwrap();
    (tenant, labels.unwrap())
}

pub(super) fn arc_of(key: &Key) -> RingArc {
    RingArc::of(fingerprint(&key.0, &key.1), FOUNDING_DEPTH)
}

pub(super) fn float(key: &Key, at: i64, value: f64) -> Write {
    (key.clone(), at, Value::Float(value), 0)
}

/// The windows of [`writes`].
pub(super) fn windows() -> impl Iterator<Item = Window> {
    (-1..3).map(Window)
}

fn histogram(count: u64) -> Value {
    Value::Histogram(Arc::new(Histogram::counting(u32::try_from(count).unwrap())))
}

/// Samples with many repeats, late ones and conflicts.
pub(super) fn writes() -> impl Strategy<Value = Vec<Write>> {
    let value = prop_oneof![
        6 => (0u8..3).prop_map(|value| Value::Float(f64::from(value))),
        1 => Just(Value::Float(stale_nan())),
        1 => (1u64..3).prop_map(histogram),
    ];
    let at = prop_oneof![
        (0i64..40).prop_map(|step| step * 15_000 % WINDOW_MS),
        (-WINDOW_MS..3 * WINDOW_MS),
        (0i64..6).prop_map(|slot| slot * 1_300_000),
    ];
    let start = prop_oneof![8 => Just(0i64), 1 => 1i64..3];
    let one = (0u64..6, at, value, start)
        .prop_map(|(number, at, value, start)| (series(number), at, value, start));
    proptest::collection::vec(one, 1..60)
}

pub(super) fn context() -> ReadContext {
    ReadContext {
        cancel: CancelToken::new(),
        budget: Budget::new(BudgetLimits {
            memory_bytes: 1 << 30,
            samples: 1 << 26,
        }),
        partial: None,
        coarsest: Default::default(),
    }
}

/// Everything that a source shows of a range.
pub(super) fn read_all(source: &dyn Source, range: TimeRange) -> BTreeMap<Key, Samples> {
    read_with(range, |selection| {
        source.select(selection, &context()).unwrap()
    })
}

/// Everything of both tenants.
pub(super) fn read_with(
    range: TimeRange,
    mut select: impl FnMut(&Selection) -> Box<dyn SeriesStream>,
) -> BTreeMap<Key, Samples> {
    let mut all = BTreeMap::new();
    for number in 0..2 {
        let tenant = TenantId::new(&format!("tenant-{number}")).unwrap();
        let selection = Selection {
            tenant: tenant.clone(),
            matchers: Vec::new(),
            range,
        };
        let mut stream = select(&selection);
        let mut samples = Samples::default();
        while let Some(labels) = stream.next(&mut samples).unwrap() {
            let key = (tenant.clone(), labels);
            assert!(all.insert(key, samples.clone()).is_none(), "a series twice");
        }
    }
    all
}

impl Node {
    pub(super) fn new(seed: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let blocks = root.path().join("blocks");
        std::fs::create_dir(&blocks).unwrap();
        let engine = Arc::new(MemoryEngine::new(&blocks));
        Self {
            store: Store::of_test(root.path(), &engine, HERE, seed),
            engine,
            root,
            seed,
        }
    }

    /// Stops and starts.
    pub(super) fn restart(&mut self) {
        self.seed = self.seed.wrapping_add(1);
        let elsewhere = tempfile::tempdir().unwrap();
        let none = Arc::new(MemoryEngine::new(elsewhere.path()));
        // The old one lets go of its directory before the new one takes it.
        drop(std::mem::replace(
            &mut self.store,
            Store::of_test(elsewhere.path(), &none, HERE, 0),
        ));
        self.store = Store::of_test(self.root.path(), &self.engine, HERE, self.seed);
    }

    pub(super) fn write(&self, writes: &[Write]) {
        self.append(writes);
    }

    /// Everything up to these is in the log's files afterwards.
    pub(super) fn write_durably(&self, writes: &[Write]) {
        let position = self.append(writes).position;
        self.store.wait_durable(position).unwrap();
    }

    fn append(&self, writes: &[Write]) -> Appended {
        let (mut floats, mut others) = (Vec::new(), Vec::new());
        for (key, at, value, start) in writes {
            let series = self.store.register(&key.0, &key.1).unwrap();
            let (at, start) = (TimestampMs(*at), TimestampMs(*start));
            match value {
                Value::Float(value) if start.0 == 0 => floats.push(FloatSample {
                    series,
                    at,
                    value: *value,
                }),
                value => others.push(OtherSample {
                    series,
                    at,
                    value: value.clone(),
                    start,
                }),
            }
        }
        let batch = AppendBatch {
            floats: &floats,
            others: &others,
            ..AppendBatch::default()
        };
        let appended = self.store.append(&batch).unwrap();
        assert!(appended.stale_floats.is_empty() && appended.stale_others.is_empty());
        appended
    }

    pub(super) fn metadata(&self, tenant: &TenantId, family: &str, help: &str) {
        let metadata = Metadata {
            kind: MetricKind::Gauge,
            help: help.to_owned(),
            unit: String::new(),
        };
        let batch = AppendBatch {
            metadata: &[(tenant.clone(), family.to_owned(), metadata)],
            ..AppendBatch::default()
        };
        self.store.append(&batch).unwrap();
    }

    /// Cuts and builds a window; the cut is given up.
    pub(super) fn build(&self, arc: RingArc, window: Window) -> Option<BlockEntry> {
        let range = window.range();
        let cut = self.store.cut(arc, range).unwrap();
        let order = BuildOrder {
            arc,
            range,
            round: 0,
            pages: Density::Quick,
        };
        self.store.build(&cut, &order, &CancelToken::new()).unwrap()
    }

    /// The bytes of a block's file.
    pub(super) fn bytes(&self, entry: &BlockEntry) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let at = bytes.len() as u64;
            let more = self.store.read_file(entry.id, at, 1000).unwrap().unwrap();
            if more.is_empty() {
                return bytes;
            }
            bytes.extend(more);
        }
    }

    /// Takes a block's file from another node.
    pub(super) fn fetch(&self, entry: &BlockEntry, from: &Self) {
        let mut receiving = self.store.receive(entry).unwrap().unwrap();
        receiving.write(&from.bytes(entry)).unwrap();
        receiving.finish().unwrap();
    }
}

impl Store {
    /// A test's store below `path`: small, in memory but for its log, at a time that stands still.
    pub(crate) fn of_test(
        path: &std::path::Path,
        engine: &Arc<MemoryEngine>,
        (cluster_id, at): (u128, TimestampMs),
        seed: u64,
    ) -> Self {
        let chance = Arc::new(SeededChance::new(seed));
        let directory = DataDir::open(&path.join("node"), chance.as_ref()).unwrap();
        Self::open(StoreParts {
            directory,
            engine: Arc::clone(engine) as Arc<dyn Engine>,
            cluster_id,
            log: WriteLogSettings {
                segment_size: ByteSize(1),
                sync: SyncMode::Os,
                ..WriteLogSettings::default()
            },
            head: HeadSettings {
                shards: 2,
                ..HeadSettings::default()
            },
            head_bytes_max: 0,
            decoded_bytes_max: 1 << 20,
            clock: Arc::new(ManualClock::at(at)),
            chance,
        })
        .unwrap()
    }
}
