//! Nodes whose disks outlive them, over a network whose links can be cut.

#![allow(
    clippy::disallowed_methods,
    reason = "bounds on how long a real group takes need the real clock"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::*;
use crate::cluster::control::command::Command;
use crate::cluster::control::{Control, ControlError, Introduction, begin_session};
use crate::cluster::discovery::{
    Discovery, DiscoveryError, Founding, FoundingRecord, Later, Peer, Sighting,
};
use crate::cluster::peer::{Caller, MemoryNetwork, Services};
use crate::cluster::settings::ClusterSettings;
use crate::model::Incarnation;
use crate::runtime::{SeededChance, SystemClock};
use crate::store::{Batch, Durability, Engine, MemoryEngine, Space};

/// A discovery that all nodes of a test share.
pub(super) struct Board {
    pub(super) sighting: watch::Sender<Sighting>,
    pub(super) way: Way,
    pub(super) record: Mutex<Option<bytes::Bytes>>,
}

pub(super) enum Way {
    Record,
    List(Vec<String>),
    Nobody,
}

impl Board {
    pub(super) fn new(way: Way) -> Arc<Self> {
        Arc::new(Self {
            sighting: watch::Sender::new(Sighting::default()),
            way,
            record: Mutex::default(),
        })
    }

    pub(super) fn show(&self, nodes: &[u128]) {
        let peer = |node: &u128| Peer {
            address: node.to_string(),
            said: None,
        };
        self.sighting.send_replace(Sighting {
            peers: nodes.iter().map(peer).collect(),
            answered: true,
        });
    }
}

impl FoundingRecord for Board {
    fn read(&self) -> Later<'_, Result<Option<bytes::Bytes>, DiscoveryError>> {
        Box::pin(async { Ok(self.record.lock().clone()) })
    }

    fn decide(&self, proposal: bytes::Bytes) -> Later<'_, Result<bytes::Bytes, DiscoveryError>> {
        Box::pin(async { Ok(self.record.lock().get_or_insert(proposal).clone()) })
    }
}

impl Discovery for Board {
    fn sightings(&self) -> watch::Receiver<Sighting> {
        self.sighting.subscribe()
    }

    fn founding(&self) -> Founding<'_> {
        match &self.way {
            Way::Record => Founding::Record(self),
            Way::List(names) => Founding::List(names),
            Way::Nobody => Founding::NoArbiter,
        }
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn close(&self) -> Later<'_, ()> {
        Box::pin(async {})
    }
}

pub(super) fn timings() -> Timings {
    Timings {
        heartbeat: Duration::from_millis(80),
        election: (Duration::from_millis(320), Duration::from_millis(600)),
        snapshot_chunk: Duration::from_secs(10),
        patience: Duration::from_secs(20),
        detection: Duration::from_millis(1200),
        replace_voter_after: Duration::from_millis(1500),
    }
}

pub(super) struct Node {
    pub(super) control: Arc<RaftControl>,
    pub(super) joining: JoinHandle<Result<(), ControlError>>,
}

/// Nodes by number, whose disks outlive them.
pub(super) struct World {
    pub(super) network: Arc<MemoryNetwork>,
    pub(super) board: Arc<Board>,
    pub(super) disks: BTreeMap<u128, Arc<MemoryEngine>>,
    pub(super) nodes: BTreeMap<u128, Node>,
    /// Names that are not `node-` and the number.
    pub(super) names: BTreeMap<u128, String>,
    pub(super) settings: ClusterSettings,
    pub(super) seed: u64,
}

impl World {
    pub(super) fn new(way: Way) -> Self {
        let network: Arc<MemoryNetwork> = Arc::default();
        network.needs_addresses();
        Self {
            network,
            board: Board::new(way),
            disks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            settings: ClusterSettings::default(),
            seed: 1,
        }
    }

    pub(super) async fn open(&mut self, number: u128) -> Result<Arc<RaftControl>, ControlError> {
        self.seed += 1;
        let chance = Arc::new(SeededChance::new(self.seed));
        let disk = self.disks.entry(number).or_insert_with(|| {
            let disk = MemoryEngine::new(Path::new("unused"));
            Arc::new(disk)
        });
        let engine: Arc<dyn Engine> = disk.clone();
        let session = begin_session(engine.as_ref(), chance.as_ref())?;
        let incarnation = Incarnation(number);
        let services = Arc::new(Services::default());
        let caller = Caller {
            cluster: None,
            generation: 0,
            incarnation,
            session,
        };
        let transport = self.network.connect(caller, Arc::clone(&services));
        let network = Arc::clone(&self.network);
        let name = self.names.get(&number).cloned();
        let control = RaftControl::open(GroupParts {
            engine,
            incarnation,
            session,
            introduction: Introduction {
                name: name.unwrap_or_else(|| format!("node-{number}")),
                addresses: vec![number.to_string()],
                ..Introduction::default()
            },
            transport,
            belong: Arc::new(move |cluster, generation| {
                network.belong(incarnation, cluster, generation);
            }),
            clock: Arc::new(SystemClock::new()),
            chance,
            settings: self.settings.clone(),
            metrics: ControlMetrics::default(),
            leave: None,
            timings: timings(),
        })
        .await?;
        let (methods, service) = control.service();
        services.enter(methods, &service);
        Ok(control)
    }

    pub(super) async fn start(&mut self, number: u128) {
        let control = self.open(number).await.unwrap();
        let joining = tokio::spawn({
            let (control, board) = (Arc::clone(&control), Arc::clone(&self.board));
            async move { control.found_or_join(board.as_ref()).await }
        });
        self.nodes.insert(number, Node { control, joining });
    }

    /// As `kill -9`: nothing is said to anybody.
    pub(super) async fn kill(&mut self, number: u128) {
        self.network.disconnect(Incarnation(number));
        let node = self.nodes.remove(&number).unwrap();
        node.joining.abort();
        node.control.end_duties();
        node.control.raft.shutdown().await.unwrap();
    }

    pub(super) fn control(&self, number: u128) -> &Arc<RaftControl> {
        &self.nodes[&number].control
    }

    pub(super) fn controls(&self) -> impl Iterator<Item = &Arc<RaftControl>> {
        self.nodes.values().map(|node| &node.control)
    }

    pub(super) async fn joined(&mut self) {
        for node in self.nodes.values_mut() {
            let joined = tokio::time::timeout(Duration::from_secs(60), &mut node.joining).await;
            joined
                .unwrap_or_else(|_| panic!("{:?}: {:?}", node.control, node.control.trouble()))
                .unwrap()
                .unwrap();
            node.joining = tokio::spawn(async { Ok(()) });
        }
    }

    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(120), "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn leader(&self) -> Option<u128> {
        let leading = |(number, node): (&u128, &Node)| {
            let metrics = node.control.raft.metrics().borrow().clone();
            (node.control.is_leader() && metrics.millis_since_quorum_ack.is_some())
                .then_some((metrics.current_term, *number))
        };
        let leaders = self.nodes.iter().filter_map(leading);
        leaders.max().map(|(_, number)| number)
    }
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Whether one set of so many voters decides. While voters change, the old set and the new one both do: three of
/// which the first alone was the old set are stuck without it.
pub(super) fn votes_alone(control: &RaftControl, count: usize) -> bool {
    let metrics = control.raft.metrics();
    let metrics = metrics.borrow();
    let sets = metrics.membership_config.membership().get_joint_config();
    matches!(sets.as_slice(), [only] if only.len() == count)
}

pub(super) fn is_same(world: &World) -> bool {
    let states: Vec<_> = world.controls().map(|control| control.state()).collect();
    states.windows(2).all(|pair| pair[0] == pair[1])
}

/// Something that is applied whenever it is proposed.
pub(super) fn harmless() -> Command {
    Command::FeatureLevel(crate::cluster::version::FEATURE_LEVEL)
}

pub(super) async fn three(way: Way) -> World {
    let mut world = World::new(way);
    world.board.show(&[1, 2, 3]);
    for number in [1, 2, 3] {
        world.start(number).await;
    }
    world.joined().await;
    world
}

pub(super) fn copy(disk: &MemoryEngine) -> Arc<MemoryEngine> {
    let other = MemoryEngine::new(Path::new("unused"));
    for space in [Space::Meta, Space::Control] {
        let mut batch = Batch::new();
        crate::store::for_each(
            |after| disk.scan(space, b"", after),
            |key, value| {
                batch.put(space, key, value);
                Ok(())
            },
        )
        .unwrap();
        other.write(batch, Durability::Synced).unwrap();
    }
    Arc::new(other)
}
