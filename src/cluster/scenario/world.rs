//! A node on the real store, a model of what was written to it, and what can happen to both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::cluster::member::LocalMember;
use crate::cluster::opening::MemberSettings;
use crate::model::*;
use crate::runtime::{
    Budget, BudgetLimits, ByteSize, CancelToken, Chance, Clock, ManualClock, SeededChance,
};
use crate::source::{ReadContext, Selection, SeriesStream, Source};
use crate::store::{
    AppendBatch, DataDir, FloatSample, MemoryEngine, OtherSample, RetentionSettings,
    WriteLogSettings,
};

pub(super) type Key = (TenantId, LabelSet);

/// Every value ever written to a key.
#[derive(Default)]
pub(super) struct Model {
    pub(super) samples: BTreeMap<Key, BTreeMap<i64, Vec<(Value, i64)>>>,
    pub(super) metadata: BTreeMap<(TenantId, String), Vec<Metadata>>,
    /// Windows that end before this may be gone.
    pub(super) horizon: i64,
}

impl Model {
    pub(super) fn write(&mut self, key: &Key, at: i64, value: Value, start: i64) {
        let series = self.samples.entry(key.clone()).or_default();
        series.entry(at).or_default().push((value, start));
    }

    pub(super) fn shown(values: &[(Value, i64)]) -> (Value, i64) {
        let order = |a: &&(Value, i64), b: &&(Value, i64)| {
            settle((&a.0, TimestampMs(a.1)), (&b.0, TimestampMs(b.1)))
        };
        values.iter().max_by(order).unwrap().clone()
    }

    pub(super) fn expect(&self, key: &Key, range: TimeRange, keep_old: bool) -> Samples {
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

    pub(super) fn was_written(&self, key: &Key, at: i64, value: &Value, start: i64) -> bool {
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

pub(super) struct World {
    pub(super) root: tempfile::TempDir,
    pub(super) engine: Arc<MemoryEngine>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) chance: SeededChance,
    pub(super) settings: MemberSettings,
    pub(super) member: Option<LocalMember>,
    pub(super) model: Model,
    starts: u64,
}

pub(super) const START: i64 = 1_700_000_000_000;

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

pub(super) fn tenant(number: u64) -> TenantId {
    TenantId::new(&format!("tenant-{number}")).unwrap()
}

pub(super) fn series(number: u64) -> Key {
    let labels = LabelSet::from_pairs(&[
        ("__name__", format!("metric_{}", number % 7).as_str()),
        ("instance", format!("host-{}", number % 3).as_str()),
        ("job", "node"),
        ("number", number.to_string().as_str()),
    ]);
    (tenant(number % 2), labels.unwrap())
}

pub(super) fn histogram(count: u64) -> Histogram {
    Histogram::counting(u32::try_from(count).unwrap())
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self::unopened(seed);
        world.open();
        world
    }

    pub(super) fn unopened(seed: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let blocks = root.path().join("blocks");
        std::fs::create_dir(&blocks).unwrap();
        Self {
            engine: Arc::new(MemoryEngine::new(&blocks)),
            clock: Arc::new(ManualClock::at(TimestampMs(START))),
            chance: SeededChance::new(seed),
            settings: MemberSettings {
                log: WriteLogSettings {
                    segment_size: ByteSize::mib(1),
                    ..WriteLogSettings::default()
                },
                decoded_cache_bytes: 1 << 20,
                ..MemberSettings::default()
            },
            member: None,
            model: Model::default(),
            starts: 0,
            root,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn open(&mut self) {
        self.try_open().expect("the node starts again");
    }

    pub(super) fn try_open(&mut self) -> Result<(), crate::cluster::Error> {
        self.member = None;
        self.starts += 1;
        let path = self.path().join("node");
        let chance = Arc::new(SeededChance::new(self.chance.next_u64()));
        let directory = DataDir::open(&path, chance.as_ref()).unwrap();
        let world = super::world_of(self.clock.clone(), chance);
        let opened = LocalMember::assemble(
            self.engine.clone(),
            directory,
            &self.settings,
            &world,
            &mut Registry::default(),
        );
        self.member = Some(opened?);
        Ok(())
    }

    /// The process dies, and buffered writes of the engine may or may not be lost.
    pub(super) fn crash(&mut self) {
        self.member = None;
        let unsynced = u64::try_from(self.engine.unsynced()).unwrap();
        let kept = self.chance.below(unsynced + 1);
        self.engine.crash(usize::try_from(kept).unwrap());
        self.open();
    }

    pub(super) fn member(&self) -> &LocalMember {
        self.member.as_ref().unwrap()
    }

    pub(super) fn append(&mut self, samples: &[(Key, i64, Value, i64)]) {
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

    pub(super) fn floats(&mut self, number: u64, samples: &[(i64, f64)]) {
        let key = series(number);
        let all: Vec<_> = samples
            .iter()
            .map(|(at, value)| (key.clone(), *at, Value::Float(*value), 0))
            .collect();
        self.append(&all);
    }

    pub(super) fn append_metadata(&mut self, owner: &TenantId, family: &str, help: &str) {
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

    pub(super) fn read(
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
    pub(super) fn check(&self, owner: &TenantId, range: TimeRange) {
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

    pub(super) fn check_all(&self) {
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
    pub(super) fn check_labels(&self, owner: &TenantId) {
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

    pub(super) fn pass(&self) {
        let pass = self.member().sealer().pass(&CancelToken::new()).unwrap();
        assert_eq!(pass.failed, 0);
    }

    pub(super) fn flush(&self) {
        let pass = self.member().flush().unwrap();
        assert_eq!(pass.failed, 0);
        assert_eq!(self.held(), 0, "a flush leaves the head empty");
    }

    pub(super) fn held(&self) -> u64 {
        let held = self.member().store().held();
        held.iter().map(|held| held.samples).sum()
    }

    /// A random sample: mostly of now, often late, sometimes of days ago; new keys, repeats and
    /// conflicts; floats, stale markers, histograms and start timestamps.
    pub(super) fn any_sample(&mut self) -> (Key, i64, Value, i64) {
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

    pub(super) fn any_step(&mut self) {
        match self.chance.below(27) {
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
            22 => self.keep_history(),
            24 => drop(self.merge()),
            25 => {
                let step = i64::try_from(self.chance.below(30)).unwrap() + 1;
                self.die_while_merging(step);
            }
            26 => {
                let hours = self.chance.below(60);
                self.clock.advance(Duration::from_secs(hours * 3600));
            }
            21 if self.chance.below(6) == 0 => self.retain(RetentionSettings {
                total: Some(Duration::from_secs(6 * 86_400)),
                ..RetentionSettings::default()
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
    pub(super) fn die_while_sealing(&mut self, step: i64) -> Option<&'static str> {
        self.die_while(step, |member| drop(member.flush()))
    }

    pub(super) fn die_while(
        &mut self,
        step: i64,
        work: impl FnOnce(&LocalMember),
    ) -> Option<&'static str> {
        let member = self.member();
        member.store().faults.die_at(step);
        work(member);
        let died = member.store().faults.died_at();
        if died.is_some() {
            self.crash();
        } else {
            member.store().faults.die_at(0);
        }
        died
    }
}

pub(super) fn drain(stream: &mut dyn SeriesStream) -> BTreeMap<LabelSet, Samples> {
    let mut all = BTreeMap::new();
    let mut samples = Samples::default();
    while let Some(labels) = stream.next(&mut samples).unwrap() {
        assert!(!samples.is_empty(), "{labels} came without samples");
        let again = all.insert(labels.clone(), samples.clone());
        assert!(again.is_none(), "{labels} came twice");
    }
    all
}
