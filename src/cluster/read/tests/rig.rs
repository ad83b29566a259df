//! Several nodes in one process: real stores, a network in memory, rings that are set by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;

use super::disturbed::Disturbed;
use crate::cluster::control::{
    ClusterId, Command, Confirmed, Control, ControlError, ControlState, Member, MemberId, Move,
    Outcome, Partition, Session,
};
use crate::cluster::peer::{Caller, MemoryNetwork, Method, Service, Services};
use crate::cluster::read::{ClusterSource, ReadMetrics, ReadParts, ReadService, ReadSettings};
use crate::codec::page::Density;
use crate::model::*;
use crate::runtime::{
    Budget, BudgetLimits, CancelToken, Chance, Clock, ManualClock, SeededChance, SystemClock,
    Throttle,
};
use crate::source::{Partial, ReadContext, Selection, SeriesStream, Source, SourceError};
use crate::store::*;

pub(super) const CLUSTER: u128 = 77;
const SESSION: Session = Session {
    starts: 1,
    nonce: 1,
};
pub(super) const START: i64 = 1_700_000_000_000 / WINDOW_MS * WINDOW_MS;

/// A node's view of the control state.
pub(super) struct Ring(pub(super) ArcSwap<ControlState>);

impl Control for Ring {
    fn propose(&self, _: &Command) -> Result<Outcome, ControlError> {
        Err(ControlError::Stopped)
    }

    fn state(&self) -> Arc<ControlState> {
        self.0.load_full()
    }

    fn changed(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }

    fn leader(&self) -> Option<Incarnation> {
        None
    }

    fn is_leader(&self) -> bool {
        false
    }

    fn confirmed(&self) -> Option<Confirmed> {
        None
    }
}

pub(super) struct Node {
    pub(super) store: Arc<Store>,
    pub(super) ring: Arc<Ring>,
    pub(super) service: Arc<Disturbed>,
    pub(super) source: Arc<ClusterSource>,
    services: Arc<Services>,
    _root: tempfile::TempDir,
}

pub(super) struct Nodes {
    pub(super) runtime: Runtime,
    pub(super) network: Arc<MemoryNetwork>,
    pub(super) nodes: Vec<Node>,
    /// The catalog of each partition.
    pub(super) catalog: BTreeMap<RingArc, (u64, BTreeMap<BlockId, BlockEntry>)>,
}

pub(super) fn id(number: usize) -> MemberId {
    MemberId {
        incarnation: Incarnation(number as u128),
        life: 0,
    }
}

pub(super) fn quick() -> ReadSettings {
    ReadSettings {
        state_hedge_after: Duration::from_millis(150),
        hedge_after: Duration::from_millis(250),
        silence_max: Duration::from_secs(6),
        sign_every: Duration::from_millis(50),
        ..ReadSettings::default()
    }
}

/// A ring in which these are the members of every partition.
pub(super) fn ring(members: &[usize], epoch: u64, moving: Option<Move>) -> ControlState {
    let partition = Partition {
        moving,
        ..Partition::new(Epoch(epoch), members.iter().map(|n| id(*n)).collect())
    };
    let partition = Arc::new(partition);
    let member = |number: usize| Member {
        name: format!("node-{number}"),
        life: 0,
        session: SESSION,
        addresses: Vec::new(),
        zone: String::new(),
        capacity_bytes: 0,
        version: String::new(),
        feature_level_max: 1,
        liveness: crate::cluster::control::Liveness::Live,
        draining: false,
    };
    ControlState {
        cluster: Some(ClusterId(CLUSTER)),
        members: (1..=5).map(|n| (id(n).incarnation, member(n))).collect(),
        partitions: RingArc::all(FOUNDING_DEPTH)
            .map(|arc| (arc, partition.clone()))
            .collect(),
        ..ControlState::default()
    }
}

impl Nodes {
    /// So many nodes, numbered from 1; all know the same ring.
    pub(super) fn new(count: usize, state: &ControlState, settings: &ReadSettings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        let network = Arc::new(MemoryNetwork::default());
        let mut nodes = Self {
            runtime,
            network,
            nodes: Vec::new(),
            catalog: BTreeMap::new(),
        };
        for number in 1..=count {
            let node = nodes.start(number, state, settings);
            nodes.nodes.push(node);
        }
        nodes
    }

    fn start(&self, number: usize, state: &ControlState, settings: &ReadSettings) -> Node {
        let root = tempfile::tempdir().unwrap();
        let blocks = root.path().join("blocks");
        std::fs::create_dir(&blocks).unwrap();
        let engine = Arc::new(MemoryEngine::new(&blocks));
        let store = Arc::new(Store::of_test(
            root.path(),
            &engine,
            (CLUSTER, TimestampMs(START)),
            number as u64,
        ));
        let ring = Arc::new(Ring(ArcSwap::from_pointee(state.clone())));
        let me = id(number).incarnation;
        let metrics = ReadMetrics::default();
        let inner = Arc::new(ReadService::new(
            ring.clone(),
            Arc::clone(&store),
            me,
            number as u64,
            settings.clone(),
            metrics.clone(),
        ));
        let service = Arc::new(Disturbed::new(inner));
        let services = Arc::new(Services::default());
        let entered: Arc<dyn Service> = service.clone();
        services.enter(
            &[Method::ReadState, Method::Select, Method::Names],
            &entered,
        );
        let caller = Caller {
            cluster: Some(ClusterId(CLUSTER)),
            generation: 0,
            incarnation: me,
            session: SESSION,
        };
        let transport = self.network.connect(caller, services.clone());
        let source = Arc::new(ClusterSource::new(ReadParts {
            transport,
            runtime: self.runtime.handle().clone(),
            control: ring.clone(),
            store: Arc::clone(&store),
            me,
            run: number as u64,
            clock: Arc::new(ManualClock::default()),
            settings: settings.clone(),
            metrics,
        }));
        Node {
            store,
            ring,
            service,
            source,
            services,
            _root: root,
        }
    }

    pub(super) fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    pub(super) fn away(&self, number: usize) {
        self.network.disconnect(id(number).incarnation);
    }

    pub(super) fn back(&self, number: usize) {
        let caller = Caller {
            cluster: Some(ClusterId(CLUSTER)),
            generation: 0,
            incarnation: id(number).incarnation,
            session: SESSION,
        };
        let services = self.node(number).services.clone();
        drop(self.network.connect(caller, services));
    }

    /// Writes samples of one series to some nodes.
    pub(super) fn write(&self, to: &[usize], labels: &LabelSet, samples: &[(i64, f64)]) {
        for number in to {
            let store = &self.node(*number).store;
            let series = store.register(&tenant(), labels).unwrap();
            let floats: Vec<FloatSample> = samples
                .iter()
                .map(|(at, value)| FloatSample {
                    series,
                    at: TimestampMs(*at),
                    value: *value,
                })
                .collect();
            let batch = AppendBatch {
                floats: &floats,
                ..AppendBatch::default()
            };
            store.append(&batch).unwrap();
        }
    }

    /// One node seals what it alone holds of a partition and window; the block is committed and
    /// applied by some.
    pub(super) fn seal(
        &mut self,
        by: usize,
        arc: RingArc,
        window: Window,
        apply: &[usize],
    ) -> bool {
        self.apply(by, arc);
        let range = window.range();
        let store = Arc::clone(&self.node(by).store);
        let cut = store.cut(arc, range).unwrap();
        let (version, blocks) = self.catalog.entry(arc).or_default();
        let order = BuildOrder {
            arc,
            range,
            round: u32::try_from(*version).unwrap() + 1,
            pages: Density::Quick,
        };
        let Some(entry) = store.build(&cut, &order, &CancelToken::new()).unwrap() else {
            return false;
        };
        *version += 1;
        blocks.insert(entry.id, entry.clone());
        drop(cut);
        self.send(by, &entry);
        for number in apply {
            self.apply(*number, arc);
        }
        true
    }

    /// Has the file of a block that one node has built on all nodes.
    fn send(&self, by: usize, entry: &BlockEntry) {
        let store = &self.node(by).store;
        let mut bytes = Vec::new();
        loop {
            let more = store
                .read_file(entry.id, bytes.len() as u64, 1 << 16)
                .unwrap()
                .unwrap();
            if more.is_empty() {
                break;
            }
            bytes.extend(more);
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if at + 1 != by {
                let mut receiving = node.store.receive(entry).unwrap().unwrap();
                receiving.write(&bytes).unwrap();
                receiving.finish().unwrap();
            }
        }
    }

    /// One node downsamples all blocks of a partition; what comes of it is committed and applied by
    /// some.
    pub(super) fn downsample(
        &mut self,
        by: usize,
        arc: RingArc,
        resolution: Resolution,
        apply: &[usize],
    ) {
        let store = Arc::clone(&self.node(by).store);
        let (version, blocks) = self.catalog.get_mut(&arc).unwrap();
        let order = MergeOrder {
            arc,
            inputs: blocks.keys().copied().collect(),
            range: TimeRange::ALL,
            level: Level(1),
            round: 0,
            keep_from: TimestampMs::MIN,
            without: Vec::new(),
            resolution,
        };
        let throttle = Arc::new(Throttle::new(0));
        let merged = store
            .merge(&order, Density::Dense, &throttle, &CancelToken::new())
            .unwrap();
        let entry = merged.entry.clone().unwrap();
        *version += 1;
        *blocks = BTreeMap::from([(entry.id, entry.clone())]);
        self.send(by, &entry);
        for number in apply {
            self.apply(*number, arc);
        }
    }

    /// A node applies the catalog of a partition.
    pub(super) fn apply(&self, number: usize, arc: RingArc) {
        apply(&self.node(number).store, arc, self.catalog.get(&arc));
    }
}

pub(super) type CatalogOf = (u64, BTreeMap<BlockId, BlockEntry>);

pub(super) fn apply(store: &Store, arc: RingArc, catalog: Option<&CatalogOf>) {
    if let Some((version, blocks)) = catalog {
        let catalog = Catalog {
            version: *version,
            blocks,
        };
        store.apply(arc, &catalog, None).unwrap();
    }
}

pub(super) fn tenant() -> TenantId {
    TenantId::anonymous()
}

pub(super) fn series(number: u64) -> LabelSet {
    LabelSet::from_pairs(&[
        ("__name__", format!("metric_{number}").as_str()),
        ("instance", format!("host-{}", number % 5).as_str()),
        ("job", "node"),
    ])
    .unwrap()
}

pub(super) fn arc_of(labels: &LabelSet) -> RingArc {
    RingArc::of(fingerprint(&tenant(), labels), FOUNDING_DEPTH)
}

pub(super) fn context() -> ReadContext {
    ReadContext {
        cancel: CancelToken::with_timeout(Duration::from_secs(300)),
        budget: Budget::new(BudgetLimits {
            memory_bytes: 1 << 30,
            samples: 1 << 26,
        }),
        partial: None,
        coarsest: Default::default(),
    }
}

pub(super) fn everything() -> Selection {
    Selection {
        tenant: tenant(),
        matchers: Vec::new(),
        range: TimeRange::ALL,
    }
}

pub(super) type Contents = BTreeMap<LabelSet, Samples>;

/// Everything that a selection gives through a source.
pub(super) fn read_with(
    source: &dyn Source,
    selection: &Selection,
    context: &ReadContext,
) -> Result<Contents, SourceError> {
    drain(source.select(selection, context)?)
}

/// All that comes.
pub(super) fn drain(mut stream: Box<dyn SeriesStream>) -> Result<Contents, SourceError> {
    let mut all = BTreeMap::new();
    let mut samples = Samples::default();
    while let Some(labels) = stream.next(&mut samples)? {
        assert!(!samples.is_empty(), "{labels} came without samples");
        let before = all.insert(labels.clone(), samples.clone());
        assert!(before.is_none(), "{labels} came twice");
    }
    Ok(all)
}

pub(super) fn read(source: &dyn Source) -> Result<Contents, SourceError> {
    read_with(source, &everything(), &context())
}

/// The samples of a series as pairs.
pub(super) fn pairs(contents: &Contents, labels: &LabelSet) -> Vec<(i64, f64)> {
    let samples = contents.get(labels).cloned().unwrap_or_default();
    samples
        .timestamps
        .iter()
        .copied()
        .zip(samples.values.iter().copied())
        .collect()
}

pub(super) fn all_of(contents: &Contents) -> BTreeSet<(LabelSet, i64)> {
    let each = contents.iter().flat_map(|(labels, samples)| {
        samples
            .timestamps
            .iter()
            .map(move |at| (labels.clone(), *at))
    });
    each.collect()
}

/// The same context, for an answer that may lack something; and where that is noted.
pub(super) fn partial_context() -> (ReadContext, Partial) {
    let partial = Partial::default();
    let context = ReadContext {
        partial: Some(partial.clone()),
        ..context()
    };
    (context, partial)
}

/// How long something took.
pub(super) struct Watch(SystemClock);

impl Watch {
    pub(super) fn start() -> Self {
        Self(SystemClock::new())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A number below a bound, as an index.
pub(super) fn below(chance: &SeededChance, bound: u64) -> usize {
    usize::try_from(chance.below(bound)).unwrap()
}
