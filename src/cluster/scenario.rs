//! Scenarios over the real store: whatever happens in whatever order, every read agrees with a
//! model bit for bit. A failure names its seed; `CAIRN_SEED=n cargo test scenario` repeats it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;

use super::control::{Command, Control, DAY_MS, SealCommit};
use super::member::{LocalMember, MemberSettings};
use super::retention::Retention;
use crate::model::*;
use crate::runtime::{
    Budget, BudgetLimits, ByteSize, CancelToken, Chance, Clock, ManualClock, SeededChance,
};
use crate::source::{ReadContext, Selection, SeriesStream, Source};
use crate::store::{
    AppendBatch, BuildOrder, Catalog, DataDir, FloatSample, MemoryEngine, OtherSample,
    RetentionSettings, WriteLogSettings,
};

type Key = (TenantId, LabelSet);

/// Every value ever written to a key.
#[derive(Default)]
struct Model {
    samples: BTreeMap<Key, BTreeMap<i64, Vec<(Value, i64)>>>,
    metadata: BTreeMap<(TenantId, String), Vec<Metadata>>,
    /// Windows that end before this may be gone.
    horizon: i64,
}

impl Model {
    fn write(&mut self, key: &Key, at: i64, value: Value, start: i64) {
        let series = self.samples.entry(key.clone()).or_default();
        series.entry(at).or_default().push((value, start));
    }

    fn shown(values: &[(Value, i64)]) -> (Value, i64) {
        let order = |a: &&(Value, i64), b: &&(Value, i64)| {
            settle((&a.0, TimestampMs(a.1)), (&b.0, TimestampMs(b.1)))
        };
        values.iter().max_by(order).unwrap().clone()
    }

    fn expect(&self, key: &Key, range: TimeRange, keep_old: bool) -> Samples {
        let mut samples = Samples::default();
        for (at, values) in self.samples.get(key).into_iter().flatten() {
            let old = Window::of(TimestampMs(*at)).end().0 < self.horizon;
            if range.contains(TimestampMs(*at)) && (keep_old || !old) {
                let (value, start) = Self::shown(values);
                samples.push(TimestampMs(*at), value, TimestampMs(start));
            }
        }
        samples
    }

    fn was_written(&self, key: &Key, at: i64, value: &Value, start: i64) -> bool {
        let values = self.samples.get(key).and_then(|series| series.get(&at));
        values.into_iter().flatten().any(|(other, other_start)| {
            settle(
                (other, TimestampMs(*other_start)),
                (value, TimestampMs(start)),
            )
            .is_eq()
        })
    }
}

struct World {
    root: tempfile::TempDir,
    engine: Arc<MemoryEngine>,
    clock: Arc<ManualClock>,
    chance: SeededChance,
    settings: MemberSettings,
    member: Option<LocalMember>,
    model: Model,
    starts: u64,
}

const START: i64 = 1_700_000_000_000;

fn context() -> ReadContext {
    ReadContext {
        cancel: CancelToken::new(),
        budget: Budget::new(BudgetLimits {
            memory_bytes: 1 << 30,
            samples: 1 << 26,
        }),
    }
}

fn tenant(number: u64) -> TenantId {
    TenantId::new(&format!("tenant-{number}")).unwrap()
}

fn series(number: u64) -> Key {
    let labels = LabelSet::from_pairs(&[
        ("__name__", format!("metric_{}", number % 7).as_str()),
        ("instance", format!("host-{}", number % 3).as_str()),
        ("job", "node"),
        ("number", number.to_string().as_str()),
    ]);
    (tenant(number % 2), labels.unwrap())
}

fn histogram(count: u64) -> Histogram {
    Histogram {
        schema: 1,
        zero_threshold: 0.001,
        sum: 3.5,
        buckets: Buckets::Integer {
            count,
            zero_count: 0,
            positive: vec![i64::try_from(count).unwrap()],
            negative: Vec::new(),
        },
        positive_spans: vec![Span {
            offset: 0,
            length: 1,
        }],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        reset_hint: ResetHint::Unknown,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let blocks = root.path().join("blocks");
        std::fs::create_dir(&blocks).unwrap();
        let mut world = Self {
            engine: Arc::new(MemoryEngine::new(&blocks)),
            clock: Arc::new(ManualClock::at(TimestampMs(START))),
            chance: SeededChance::new(seed),
            settings: MemberSettings {
                log: WriteLogSettings {
                    segment_size: ByteSize::mib(1),
                    ..WriteLogSettings::default()
                },
                ..MemberSettings::default()
            },
            member: None,
            model: Model::default(),
            starts: 0,
            root,
        };
        world.open();
        world
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    fn open(&mut self) {
        self.member = None;
        self.starts += 1;
        let path = self.path().join("node");
        let chance = Arc::new(SeededChance::new(self.chance.next_u64()));
        let directory = DataDir::open(&path, chance.as_ref()).unwrap();
        let clock: Arc<dyn Clock> = self.clock.clone();
        let opened = LocalMember::assemble(
            self.engine.clone(),
            directory,
            &self.settings,
            &clock,
            chance,
            &mut Registry::default(),
        );
        self.member = Some(opened.expect("the node starts again"));
    }

    /// The process dies, and buffered writes of the engine may or may not be lost.
    fn crash(&mut self) {
        self.member = None;
        let unsynced = u64::try_from(self.engine.unsynced()).unwrap();
        let kept = self.chance.below(unsynced + 1);
        self.engine.crash(usize::try_from(kept).unwrap());
        self.open();
    }

    fn member(&self) -> &LocalMember {
        self.member.as_ref().unwrap()
    }

    fn append(&mut self, samples: &[(Key, i64, Value, i64)]) {
        let store = self.member().store();
        let (mut floats, mut others) = (Vec::new(), Vec::new());
        for (key, at, value, start) in samples {
            let series = store.register(&key.0, &key.1).unwrap();
            let at = TimestampMs(*at);
            match value {
                Value::Float(value) if *start == 0 => floats.push(FloatSample {
                    series,
                    at,
                    value: *value,
                }),
                value => others.push(OtherSample {
                    series,
                    at,
                    value: value.clone(),
                    start: TimestampMs(*start),
                }),
            }
        }
        let batch = AppendBatch {
            floats: &floats,
            others: &others,
            ..AppendBatch::default()
        };
        let appended = store.append(&batch).unwrap();
        assert!(appended.stale_floats.is_empty() && appended.stale_others.is_empty());
        store.wait_durable(appended.position).unwrap();
        for (key, at, value, start) in samples {
            self.model.write(key, *at, value.clone(), *start);
        }
    }

    fn floats(&mut self, number: u64, samples: &[(i64, f64)]) {
        let key = series(number);
        let all: Vec<_> = samples
            .iter()
            .map(|(at, value)| (key.clone(), *at, Value::Float(*value), 0))
            .collect();
        self.append(&all);
    }

    fn append_metadata(&mut self, owner: &TenantId, family: &str, help: &str) {
        let metadata = Metadata {
            kind: MetricKind::Counter,
            help: help.to_owned(),
            unit: String::new(),
        };
        let all = [(owner.clone(), family.to_owned(), metadata.clone())];
        let store = self.member().store();
        let batch = AppendBatch {
            metadata: &all,
            ..AppendBatch::default()
        };
        let appended = store.append(&batch).unwrap();
        store.wait_durable(appended.position).unwrap();
        let known = self
            .model
            .metadata
            .entry((owner.clone(), family.to_owned()));
        let known = known.or_default();
        if !known.contains(&metadata) {
            known.push(metadata);
        }
    }

    fn read(
        &self,
        owner: &TenantId,
        matchers: Vec<Matcher>,
        range: TimeRange,
    ) -> BTreeMap<LabelSet, Samples> {
        let selection = Selection {
            tenant: owner.clone(),
            matchers,
            range,
        };
        let mut stream = self
            .member()
            .store()
            .select(&selection, &context())
            .unwrap();
        drain(stream.as_mut())
    }

    /// Compares what is read of a tenant in a range with the model.
    fn check(&self, owner: &TenantId, range: TimeRange) {
        let got = self.read(owner, Vec::new(), range);
        let all = self.model.samples.keys().filter(|key| key.0 == *owner);
        for key in all {
            let mut have = got.get(&key.1).cloned().unwrap_or_default();
            for (at, value, start) in have.iter() {
                assert!(
                    self.model.was_written(key, at.0, &value, start.0),
                    "{} has {value:?} at {at}, which nobody wrote",
                    key.1
                );
            }
            let kept = Window::of(TimestampMs(self.model.horizon)).start();
            let recent = range.intersect(TimeRange::new(kept, TimestampMs::MAX));
            let want = self.model.expect(key, recent, false);
            have.clip(recent);
            let bad = have != want;
            assert!(
                !bad,
                "{} in {recent:?}:\n got {have:?}\nwant {want:?}",
                key.1
            );
        }
        let strangers: Vec<_> = got
            .keys()
            .filter(|labels| {
                !self
                    .model
                    .samples
                    .contains_key(&(owner.clone(), (*labels).clone()))
            })
            .collect();
        assert!(strangers.is_empty(), "{strangers:?}");
    }

    fn check_all(&self) {
        for number in 0..2 {
            self.check(&tenant(number), TimeRange::ALL);
            self.check_labels(&tenant(number));
        }
        for ((owner, family), want) in &self.model.metadata {
            let store = self.member().store();
            let got = store.metadata(owner, Some(family), &context()).unwrap();
            let got: BTreeSet<_> = got.into_iter().flat_map(|(_, list)| list).collect();
            if self.model.horizon == 0 {
                assert_eq!(got, want.iter().cloned().collect(), "{family}");
            }
        }
    }

    /// Series, names and values are those of the model, where nothing has expired.
    fn check_labels(&self, owner: &TenantId) {
        if self.model.horizon > 0 {
            return;
        }
        let selection = Selection {
            tenant: owner.clone(),
            matchers: Vec::new(),
            range: TimeRange::ALL,
        };
        let store = self.member().store();
        let want: BTreeSet<LabelSet> = self
            .model
            .samples
            .keys()
            .filter(|key| key.0 == *owner)
            .map(|key| key.1.clone())
            .collect();
        let got = store.series(&selection, 0, &context()).unwrap();
        assert_eq!(got, want.iter().cloned().collect::<Vec<_>>());
        let names: BTreeSet<&str> = want.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
        let got = store.label_names(&selection, 0, &context()).unwrap();
        assert_eq!(got, names.into_iter().collect::<Vec<_>>());
        let values: BTreeSet<&str> = want.iter().filter_map(|l| l.get("number")).collect();
        let got = store
            .label_values("number", &selection, 0, &context())
            .unwrap();
        assert_eq!(got, values.into_iter().collect::<Vec<_>>());
        let first = store
            .label_values("number", &selection, 1, &context())
            .unwrap();
        assert_eq!(first, got.into_iter().take(1).collect::<Vec<_>>());
    }

    fn pass(&self) {
        let pass = self.member().sealer().pass(&CancelToken::new()).unwrap();
        assert_eq!(pass.failed, 0);
    }

    fn flush(&self) {
        let pass = self.member().flush().unwrap();
        assert_eq!(pass.failed, 0);
        assert_eq!(self.held(), 0, "a flush leaves the head empty");
    }

    fn held(&self) -> u64 {
        let held = self.member().store().held();
        held.iter().map(|held| held.samples).sum()
    }

    fn retain(&mut self, settings: RetentionSettings) {
        let member = self.member.as_ref().unwrap();
        let clock: Arc<dyn Clock> = self.clock.clone();
        let retention = Retention::new(member.store(), member.control(), clock, settings);
        retention.pass(member.sealer()).unwrap();
        let state = member.control_state();
        let horizons = state.partitions.values().map(|p| p.expired_before.0);
        self.model.horizon = horizons.max().unwrap_or(0).max(self.model.horizon);
    }

    /// A random sample: mostly of now, often late, sometimes of days ago; new keys, repeats and
    /// conflicts; floats, stale markers, histograms and start timestamps.
    fn any_sample(&mut self) -> (Key, i64, Value, i64) {
        let key = series(self.chance.below(24));
        let now = self.clock.now().0;
        let back = match self.chance.below(10) {
            0..=5 => self.chance.below(10 * 60_000),
            6 | 7 => self.chance.below(5 * 3_600_000),
            8 => self.chance.below(40 * 3_600_000),
            _ => self.chance.below(9 * 86_400_000),
        };
        // On a grid, so that keys meet.
        let at = (now - i64::try_from(back).unwrap()).div_euclid(15_000) * 15_000;
        let value = match self.chance.below(12) {
            0 => Value::Float(stale_nan()),
            1 => Value::Histogram(Arc::new(histogram(self.chance.below(5)))),
            2 => Value::Float(f64::from_bits(self.chance.next_u64())),
            _ => Value::Float(f64::from(u32::try_from(self.chance.below(9)).unwrap())),
        };
        let start = match self.chance.below(8) {
            0 => at - 60_000,
            _ => 0,
        };
        (key, at, value, start)
    }

    fn any_step(&mut self) {
        match self.chance.below(24) {
            0..=11 => {
                let count = self.chance.below(60) + 1;
                let samples: Vec<_> = (0..count).map(|_| self.any_sample()).collect();
                self.append(&samples);
            }
            12 => {
                let owner = tenant(self.chance.below(2));
                let family = format!("metric_{}", self.chance.below(4));
                let help = format!("help {}", self.chance.below(3));
                self.append_metadata(&owner, &family, &help);
            }
            13 | 14 => {
                let minutes = self.chance.below(240);
                self.clock.advance(Duration::from_secs(minutes * 60));
            }
            15 | 16 => self.pass(),
            17 => self.flush(),
            18 => self.open(),
            19 => self.crash(),
            20 => {
                let step = i64::try_from(self.chance.below(40)).unwrap() + 1;
                self.die_while_sealing(step);
            }
            21 if self.chance.below(6) == 0 => self.retain(RetentionSettings {
                total: Some(Duration::from_secs(6 * 86_400)),
                local_size: None,
            }),
            _ => {
                let owner = tenant(self.chance.below(2));
                let from = START - i64::try_from(self.chance.below(86_400_000)).unwrap();
                let to = from + i64::try_from(self.chance.below(172_800_000)).unwrap();
                self.check(&owner, TimeRange::new(TimestampMs(from), TimestampMs(to)));
            }
        }
    }

    /// Lets the process die at the n-th step of sealing everything. `None`: it lived.
    fn die_while_sealing(&mut self, step: i64) -> Option<&'static str> {
        let member = self.member();
        member.store().faults.die_at(step);
        let _ = member.flush();
        let died = member.store().faults.died_at();
        if died.is_some() {
            self.crash();
        } else {
            member.store().faults.die_at(0);
        }
        died
    }
}

fn drain(stream: &mut dyn SeriesStream) -> BTreeMap<LabelSet, Samples> {
    let mut all = BTreeMap::new();
    let mut samples = Samples::default();
    while let Some(labels) = stream.next(&mut samples).unwrap() {
        assert!(!samples.is_empty(), "{labels} came without samples");
        let again = all.insert(labels.clone(), samples.clone());
        assert!(again.is_none(), "{labels} came twice");
    }
    all
}

fn seeds(default: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("CAIRN_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => default.collect(),
    }
}

/// Would catch a sample lost, doubled, hidden or changed by any mixture of appends, late data,
/// duplicates, seals, rounds, retention, restarts and crashes.
#[test]
fn every_read_agrees_with_the_model() {
    for seed in seeds(0..6) {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.any_step();
        }
        world.check_all();
        world.flush();
        world.check_all();
        world.open();
        world.check_all();
    }
}

/// The n-th step fails, for n = 1, 2, 3 and on, until the whole seal lives: whatever was
/// interrupted, nothing is lost or doubled, and the next start finishes it.
#[test]
fn a_crash_at_any_step_of_a_seal_loses_nothing() {
    let mut died_at = BTreeSet::new();
    for step in 1.. {
        let mut world = World::new(7);
        let now = START;
        // A first block, a second round with repeats, winners and losers, and an old day.
        world.floats(1, &[(now, 1.0), (now + 1000, 5.0), (now + 2000, 3.0)]);
        world.floats(2, &[(now, 4.0)]);
        world.flush();
        world.floats(
            1,
            &[
                (now, 1.0),
                (now + 1000, 6.0),
                (now + 2000, 2.0),
                (now + 3000, 9.0),
            ],
        );
        world.floats(2, &[(now, 4.0)]);
        world.floats(
            3,
            &[(now - 3 * DAY_MS, 1.0), (now - 3 * DAY_MS + 7_200_000, 2.0)],
        );
        world.append_metadata(&tenant(0), "metric_1", "help");
        let died = world.die_while_sealing(step);
        world.check_all();
        world.floats(1, &[(now + 1500, 7.0), (now + 3000, 9.0)]);
        world.check_all();
        world.flush();
        world.check_all();
        world.open();
        world.check_all();
        match died {
            Some(step) => died_at.insert(step),
            None => break,
        };
    }
    let steps = [
        "cut",
        "built",
        "commit",
        "committed",
        "ingested",
        "applied",
        "forgotten",
    ];
    assert_eq!(died_at.into_iter().collect::<Vec<_>>(), {
        let mut steps = steps.to_vec();
        steps.sort_unstable();
        steps
    });
}

fn arc_of(key: &Key) -> RingArc {
    RingArc::of(fingerprint(&key.0, &key.1), FOUNDING_DEPTH)
}

/// The sealer dies after its commit; meanwhile more was appended, some of it as the block has it,
/// some not. Applying must keep exactly what the block lacks, at every step it can die at.
#[test]
fn what_a_block_lacks_stays_in_head_and_log() {
    for step in 0..6 {
        let mut world = World::new(11);
        let key = series(4);
        let arc = arc_of(&key);
        let range = Window::of(TimestampMs(START)).range();
        world.floats(4, &[(START, 1.0), (START + 1000, 2.0)]);
        let store = world.member().store();
        let cut = store.cut(arc, range).unwrap();
        let order = BuildOrder {
            arc,
            range,
            round: 1,
        };
        let entry = store.build(&cut, &order).unwrap().unwrap();
        assert_eq!(entry.samples, 2);
        world.floats(4, &[(START, 1.0), (START + 1000, 9.0), (START + 2000, 3.0)]);
        let control = world.member().control();
        let commit = Command::SealCommit(SealCommit {
            arc,
            epoch: Epoch(1),
            range,
            round: 1,
            entry,
        });
        control.propose(&commit).unwrap().into_result().unwrap();
        let state = control.state();
        let partition = state.partition(arc).unwrap();
        let catalog = Catalog {
            version: partition.version,
            blocks: &partition.recent,
        };
        store.faults.die_at(step);
        let applied = store.apply(arc, &catalog, None);
        let died = store.faults.died_at();
        assert_eq!(applied.is_err(), died.is_some(), "{applied:?}");
        drop((cut, store, control));
        if died.is_some() {
            world.crash();
        }
        world.check_all();
        // What stays is the winner of one key and the new one; not what the block has.
        assert_eq!(world.held(), 2, "died at {died:?}");
        world.open();
        world.check_all();
        world.flush();
        world.check_all();
        let state = world.member().control_state();
        assert_eq!(state.partition(arc).unwrap().recent.len(), 2);
    }
}

/// A reader keeps what it has taken: blocks that leave the catalog stay until it is done.
#[test]
fn a_view_outlives_seals_and_retention() {
    let mut world = World::new(3);
    let now = START;
    let old = now - 5 * DAY_MS;
    world.floats(1, &[(old, 1.0), (old + 1000, 2.0)]);
    world.flush();
    world.floats(1, &[(now, 3.0)]);
    let selection = Selection {
        tenant: series(1).0,
        matchers: Vec::new(),
        range: TimeRange::ALL,
    };
    let store = world.member().store();
    let mut stream = store.select(&selection, &context()).unwrap();
    world.flush();
    world.retain(RetentionSettings {
        total: Some(Duration::from_secs(86_400)),
        local_size: None,
    });
    store.drop_retired().unwrap();
    let (blocks, _) = store.block_totals();
    assert_eq!(blocks, 1, "the old block has left the view");
    let files = || {
        std::fs::read_dir(world.path().join("blocks"))
            .unwrap()
            .count()
    };
    assert_eq!(files(), 2, "but its file is there while it is read");
    let got = drain(stream.as_mut());
    assert_eq!(
        got[&series(1).1],
        world.model.expect(&series(1), TimeRange::ALL, true)
    );
    drop(stream);
    store.drop_retired().unwrap();
    assert_eq!(files(), 1);
    drop(store);
    world.check_all();
    let got = world.read(&series(1).0, Vec::new(), TimeRange::ALL);
    assert_eq!(got[&series(1).1].timestamps, [now]);
    // What comes for a time that has expired is never sealed, and goes from the head.
    world.floats(1, &[(old, 1.0)]);
    world.flush();
    let got = world.read(&series(1).0, Vec::new(), TimeRange::ALL);
    assert_eq!(got[&series(1).1].timestamps, [now]);
}

#[test]
fn retention_by_size_lets_the_oldest_go() {
    let mut world = World::new(5);
    for day in (0..6).rev() {
        for number in 0..4 {
            let at = START - day * DAY_MS;
            world.floats(number, &[(at, 1.0), (at + 1000, 2.0)]);
        }
    }
    world.flush();
    let (_, bytes) = world.member().store().block_totals();
    world.retain(RetentionSettings {
        total: None,
        local_size: Some(ByteSize(bytes / 2)),
    });
    let (_, left) = world.member().store().block_totals();
    assert!(left <= bytes / 2 && left > bytes / 4, "{left} of {bytes}");
    world.check_all();
    world.open();
    world.check_all();
}

/// A seal of everything, again and again, makes no block when nothing came.
#[test]
fn idle_partitions_cost_nothing_and_repeats_make_no_block() {
    let mut world = World::new(6);
    let samples: Vec<(i64, f64)> = (0..100).map(|i| (START + i * 1000, 1.5)).collect();
    world.floats(1, &samples);
    world.flush();
    let versions = || {
        let state = world.member.as_ref().unwrap().control_state();
        state.partitions.values().map(|p| p.version).sum::<u64>()
    };
    assert_eq!(versions(), 1);
    world.flush();
    world.floats(1, &samples);
    world.flush();
    let state = world.member().control_state();
    assert_eq!(state.partitions.values().map(|p| p.version).sum::<u64>(), 1);
    world.check_all();
}

/// Matchers, ranges and limits reach head and blocks alike.
#[test]
fn selections_see_head_and_blocks_as_one() {
    let mut world = World::new(8);
    for number in 0..24 {
        world.floats(number, &[(START, 1.0)]);
    }
    world.flush();
    for number in 12..36 {
        world.floats(number, &[(START + 60_000, 2.0)]);
    }
    let metric = |name: &str| vec![Matcher::new("__name__", MatchOp::Equal, name).unwrap()];
    let owner = tenant(1);
    let got = world.read(&owner, metric("metric_1"), TimeRange::ALL);
    let numbers: Vec<&str> = got
        .keys()
        .filter_map(|labels| labels.get("number"))
        .collect();
    assert_eq!(numbers.len(), 3, "{numbers:?}");
    let late = TimeRange::new(TimestampMs(START + 1), TimestampMs::MAX);
    let got = world.read(&owner, metric("metric_1"), late);
    let numbers: Vec<&str> = got
        .keys()
        .filter_map(|labels| labels.get("number"))
        .collect();
    assert_eq!(numbers, ["15", "29"]);
    let tight = ReadContext {
        cancel: CancelToken::new(),
        budget: Budget::new(BudgetLimits {
            memory_bytes: 1 << 20,
            samples: 3,
        }),
    };
    let selection = Selection {
        tenant: owner,
        matchers: Vec::new(),
        range: TimeRange::ALL,
    };
    let store = world.member().store();
    let mut stream = store.select(&selection, &tight).unwrap();
    let error = stream.next(&mut Samples::default()).unwrap_err();
    assert!(error.to_string().contains("too many samples"), "{error}");
    let called_off = context();
    called_off.cancel.cancel();
    assert!(store.select(&selection, &called_off).is_err());
}
