//! The nodes and what can be done with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub(super) use super::samples::{NOW, labels, samples};
use crate::cluster::control::{ControlState, Liveness, Member, MemberId, Move, Partition, Session};
use crate::cluster::peer::{Caller, MemoryNetwork, Method, Service, Services};
use crate::cluster::write::replica::{Durable, Replica};
use crate::cluster::write::{
    AppendService, Gate, WriteError, WriteMetrics, WriteSettings, Writer, WriterParts,
};
use crate::model::*;
use crate::runtime::{
    Budget, BudgetLimits, ByteSize, CancelToken, Chance, Rush, SeededChance, SystemClock,
};
use crate::source::{ReadContext, Selection, Source};
use crate::store::{
    AppendBatch, Appended, DataDir, Error, FloatSample, HeadSettings, MemoryEngine, OtherSample,
    SeriesId, Store, StoreParts, WriteLogSettings,
};

const DEPTH: u8 = 3;

/// A store that can be made to forget, to lose its disk, or to sleep.
pub(super) struct Fickle {
    pub(super) store: Arc<Store>,
    /// So many appends say that all their floats are of series that were forgotten.
    pub(super) forgets: Mutex<u32>,
    /// How often something was appended.
    pub(super) appends: AtomicU32,
    /// Nothing becomes durable while this is held.
    pub(super) stuck: tokio::sync::RwLock<()>,
}

impl Replica for Fickle {
    fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        self.store.register(tenant, labels)
    }

    fn describe(&self, series: SeriesId) -> Option<(TenantId, LabelSet)> {
        self.store.describe(series)
    }

    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        let mut forgets = self.forgets.lock();
        if *forgets > 0 {
            *forgets -= 1;
            return Ok(Appended {
                stale_floats: (0u32..).zip(batch.floats).map(|(at, _)| at).collect(),
                ..Appended::default()
            });
        }
        drop(forgets);
        self.store.append(batch)
    }

    fn durable(&self, position: u64) -> Durable<'_> {
        Box::pin(async move {
            drop(self.stuck.read().await);
            self.store.durable(position).await
        })
    }
}

pub(super) struct Node {
    pub(super) replica: Arc<Fickle>,
    pub(super) gate: Arc<Gate>,
    pub(super) writer: Writer,
    services: Arc<Services>,
    /// What `ingest` would remember.
    ids: Mutex<BTreeMap<u32, SeriesId>>,
    _directory: tempfile::TempDir,
}

pub(super) struct World {
    network: Arc<MemoryNetwork>,
    pub(super) nodes: BTreeMap<u128, Node>,
    pub(super) state: ControlState,
}

pub(super) fn incarnation(number: u128) -> Incarnation {
    Incarnation(number)
}

pub(super) fn member(number: u128) -> MemberId {
    MemberId {
        incarnation: incarnation(number),
        life: 0,
    }
}

fn caller(number: u128) -> Caller {
    Caller {
        cluster: None,
        generation: 0,
        incarnation: incarnation(number),
        session: Session {
            starts: 1,
            nonce: number,
        },
    }
}

fn store(path: &Path, number: u128) -> Store {
    let chance = Arc::new(SeededChance::new(u64::try_from(number).unwrap()));
    let directory = DataDir::open(&path.join("node"), chance.as_ref()).unwrap();
    std::fs::create_dir(path.join("blocks")).unwrap();
    Store::open(StoreParts {
        directory,
        engine: Arc::new(MemoryEngine::new(&path.join("blocks"))),
        cluster_id: 7,
        log: WriteLogSettings {
            segment_size: ByteSize::mib(1),
            ..WriteLogSettings::default()
        },
        head: HeadSettings {
            depth: DEPTH,
            ..HeadSettings::default()
        },
        head_bytes_max: 0,
        decoded_bytes_max: 0,
        clock: Arc::new(SystemClock::new()),
        chance,
    })
    .unwrap()
}

pub(super) fn settings() -> WriteSettings {
    WriteSettings {
        patience: Duration::from_secs(5),
        answer_patience: Duration::from_secs(2),
        connect_patience: Duration::from_millis(300),
        ..WriteSettings::default()
    }
}

fn node(network: &Arc<MemoryNetwork>, number: u128, settings: WriteSettings) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let replica = Arc::new(Fickle {
        store: Arc::new(store(directory.path(), number)),
        forgets: Mutex::new(0),
        appends: AtomicU32::new(0),
        stuck: tokio::sync::RwLock::new(()),
    });
    let gate = Arc::new(Gate::default());
    let metrics = WriteMetrics::default();
    let services = Arc::new(Services::default());
    let service: Arc<dyn Service> = Arc::new(AppendService::new(
        replica.clone(),
        Arc::clone(&gate),
        settings.clone(),
        metrics.clone(),
        Rush::new(2),
    ));
    services.enter(&[Method::Append], &service);
    let writer = Writer::of_cluster(WriterParts {
        me: incarnation(number),
        replica: replica.clone(),
        gate: Arc::clone(&gate),
        transport: network.connect(caller(number), Arc::clone(&services)),
        runtime: tokio::runtime::Handle::current(),
        settings,
        metrics,
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SeededChance::new(u64::try_from(number).unwrap())),
    });
    Node {
        replica,
        gate,
        writer,
        services,
        ids: Mutex::default(),
        _directory: directory,
    }
}

impl World {
    /// So many nodes; the first `members` of them replicate everything.
    pub(super) fn new(nodes: u128, members: u128) -> Self {
        Self::with(nodes, members, settings())
    }

    pub(super) fn with(nodes: u128, members: u128, settings: WriteSettings) -> Self {
        let network = Arc::new(MemoryNetwork::default());
        let mut world = Self {
            nodes: (1..=nodes)
                .map(|number| (number, node(&network, number, settings.clone())))
                .collect(),
            network,
            state: ControlState::default(),
        };
        world.ring(1, &(1..=members).collect::<Vec<_>>(), None);
        world.tell_all();
        world
    }

    /// Gives every partition an epoch, members, and perhaps a move.
    pub(super) fn ring(
        &mut self,
        epoch: u64,
        members: &[u128],
        moving: Option<(Option<u128>, Option<u128>)>,
    ) {
        for arc in RingArc::all(DEPTH) {
            let members = members.iter().copied().map(member).collect();
            let mut partition = Partition::new(Epoch(epoch), members);
            partition.moving = moving.map(|(join, leave)| Move {
                join: join.map(member),
                leave: leave.map(member),
            });
            self.state.partitions.insert(arc, Arc::new(partition));
        }
    }

    /// The control state says that a node lives once more.
    pub(super) fn new_life(&mut self, number: u128) {
        let member = Member {
            name: number.to_string(),
            life: 1,
            session: Session {
                starts: 2,
                nonce: number,
            },
            addresses: Vec::new(),
            zone: String::new(),
            capacity_bytes: 0,
            version: String::new(),
            feature_level_max: 1,
            liveness: Liveness::Live,
            draining: false,
        };
        self.state.members.insert(incarnation(number), member);
    }

    /// The old life of a node leaves every partition, and the new one joins.
    pub(super) fn move_to_new_life(&mut self, number: u128) {
        for partition in self.state.partitions.values_mut() {
            let mut moving = Partition::clone(partition);
            moving.moving = Some(Move {
                join: Some(MemberId {
                    life: 1,
                    ..member(number)
                }),
                leave: Some(member(number)),
            });
            *partition = Arc::new(moving);
        }
    }

    /// A node hears of the ring.
    pub(super) fn tell(&self, number: u128) {
        self.nodes[&number].writer.set_ring(&self.state);
    }

    pub(super) fn tell_all(&self) {
        for number in self.nodes.keys() {
            self.tell(*number);
        }
    }

    pub(super) fn cut(&self, from: u128, to: u128, cut: bool) {
        self.network.cut(incarnation(from), incarnation(to), cut);
    }

    /// Takes a node off the network, in both directions.
    pub(super) fn isolate(&self, number: u128, cut: bool) {
        for other in self.nodes.keys().filter(|other| **other != number) {
            self.cut(number, *other, cut);
            self.cut(*other, number, cut);
        }
    }

    /// A node's end of all streams is gone, as after a restart of its process.
    pub(super) fn restart_network(&self, number: u128) {
        self.network.disconnect(incarnation(number));
    }

    pub(super) fn back(&self, number: u128) {
        let services = Arc::clone(&self.nodes[&number].services);
        self.network.connect(caller(number), services);
    }

    /// Writes as `ingest` does: what is stale is registered and appended again.
    pub(super) async fn write(
        &self,
        number: u128,
        samples: &[(u32, i64, f64)],
    ) -> Result<(), WriteError> {
        let node = &self.nodes[&number];
        let mut left = samples.to_vec();
        let mut pending = Vec::new();
        for _ in 0..4 {
            let floats: Vec<FloatSample> = left
                .iter()
                .map(|(series, at, value)| FloatSample {
                    series: node.id(*series),
                    at: TimestampMs(*at),
                    value: *value,
                })
                .collect();
            let batch = AppendBatch {
                floats: &floats,
                ..AppendBatch::default()
            };
            let one = node.writer.append(&batch)?;
            let stale = one.appended().stale_floats.clone();
            pending.push(one);
            if stale.is_empty() {
                break;
            }
            left = stale.iter().map(|at| left[*at as usize]).collect();
            for (series, _, _) in &left {
                node.ids.lock().remove(series);
            }
        }
        for one in pending {
            one.wait().await?;
        }
        Ok(())
    }

    /// Writes as a sender does: again and again, not for ever.
    pub(super) async fn write_until_taken(&self, number: u128, samples: &[(u32, i64, f64)]) {
        for _ in 0..40 {
            if self.write(number, samples).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        self.write(number, samples).await.unwrap();
    }

    /// The metric families that a node's store has metadata of.
    pub(super) fn families(&self, number: u128) -> Vec<String> {
        let store = &self.nodes[&number].replica.store;
        let found = store.metadata(&TenantId::anonymous(), None, &context());
        found
            .unwrap()
            .into_iter()
            .map(|(family, _)| family)
            .collect()
    }

    /// How many exemplars a node's store has.
    pub(super) fn exemplars(&self, number: u128) -> usize {
        let store = &self.nodes[&number].replica.store;
        let found = store.exemplars(&everything(), &context()).unwrap();
        found.iter().map(|series| series.1.len()).sum()
    }

    /// Of which series a node's store has exemplars.
    pub(super) fn exemplar_series(&self, number: u128) -> BTreeSet<u32> {
        let store = &self.nodes[&number].replica.store;
        let found = store.exemplars(&everything(), &context()).unwrap();
        let number = |labels: &LabelSet| labels.get("n").unwrap().parse().unwrap();
        found.iter().map(|series| number(&series.0)).collect()
    }

    /// Writes a float with a start timestamp, an exemplar and metadata of each of some series, as
    /// [`World::write`] does.
    pub(super) async fn write_others(
        &self,
        number: u128,
        series: std::ops::Range<u32>,
        round: i64,
    ) -> Result<(), WriteError> {
        let node = &self.nodes[&number];
        let at = TimestampMs(NOW + round * 15_000);
        let (mut others, mut exemplars) = (Vec::from_iter(series.clone()), Vec::from_iter(series));
        let families = others.iter().map(|series| {
            let family = format!("family_{series}");
            (TenantId::anonymous(), family, Metadata::default())
        });
        let mut families: Vec<_> = families.collect();
        let mut pending = Vec::new();
        for _ in 0..4 {
            let samples = others.iter().map(|series| OtherSample {
                series: node.id(*series),
                at,
                value: Value::Float(f64::from(*series)),
                start: at.plus_ms(-1),
            });
            let samples: Vec<OtherSample> = samples.collect();
            let found = exemplars.iter().map(|series| {
                let exemplar = Exemplar {
                    labels: LabelSet::from_pairs(&[("trace_id", "x")]).unwrap(),
                    value: 1.0,
                    timestamp: at,
                };
                (node.id(*series), exemplar)
            });
            let found: Vec<(SeriesId, Exemplar)> = found.collect();
            let one = node.writer.append(&AppendBatch {
                others: &samples,
                exemplars: &found,
                metadata: &families,
                ..AppendBatch::default()
            })?;
            let stale = one.appended().clone();
            pending.push(one);
            others = stale
                .stale_others
                .iter()
                .map(|at| others[*at as usize])
                .collect();
            let left = stale.stale_exemplars.iter();
            exemplars = left.map(|at| exemplars[*at as usize]).collect();
            families.clear();
            if others.is_empty() && exemplars.is_empty() {
                break;
            }
            let mut ids = node.ids.lock();
            ids.retain(|series, _| !others.contains(series) && !exemplars.contains(series));
        }
        for one in pending {
            one.wait().await?;
        }
        Ok(())
    }

    /// What a node's store has, by number of the series.
    pub(super) fn held(&self, number: u128) -> BTreeMap<(u32, i64), f64> {
        let store = &self.nodes[&number].replica.store;
        let mut stream = store.select(&everything(), &context()).unwrap();
        let (mut all, mut samples) = (BTreeMap::new(), Samples::default());
        while let Some(labels) = stream.next(&mut samples).unwrap() {
            let series: u32 = labels.get("n").unwrap().parse().unwrap();
            for (at, value, _) in samples.iter() {
                let Value::Float(value) = value else { continue };
                let again = all.insert((series, at.0), value);
                assert!(again.is_none(), "{series} came twice");
            }
        }
        all
    }

    /// Waits until a node holds so many samples.
    pub(super) async fn until_held(&self, number: u128, samples: usize) {
        // However loaded the machine: this waits, it does not measure.
        for _ in 0..1200 {
            if self.held(number).len() >= samples {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let held = self.held(number).len();
        panic!("node {number} holds {held} of {samples}");
    }
}

fn everything() -> Selection {
    Selection {
        tenant: TenantId::anonymous(),
        matchers: Vec::new(),
        range: TimeRange::ALL,
    }
}

fn context() -> ReadContext {
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

impl Node {
    pub(super) fn id(&self, series: u32) -> SeriesId {
        let mut ids = self.ids.lock();
        *ids.entry(series).or_insert_with(|| {
            let tenant = TenantId::anonymous();
            self.writer.register(&tenant, &labels(series)).unwrap()
        })
    }
}

pub(super) fn any(chance: &SeededChance, below: u64) -> u32 {
    u32::try_from(chance.below(below)).unwrap()
}

/// The error of a write that no majority took.
pub(super) fn reason(result: Result<(), WriteError>) -> String {
    match result {
        Err(WriteError::Unavailable { reason }) => reason,
        other => panic!("{other:?}"),
    }
}
