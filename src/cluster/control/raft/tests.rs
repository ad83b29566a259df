//! Groups of several nodes in one process, over a network and engines in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::cluster::control::command::{Command, Outcome};
use crate::cluster::control::{Control, ControlError, Introduction, begin_session};
use crate::cluster::discovery::{
    Discovery, DiscoveryError, Founding, FoundingRecord, Later, Peer, Sighting,
};
use crate::cluster::peer::{Caller, MemoryNetwork, Services};
use crate::cluster::settings::ClusterSettings;
use crate::model::Incarnation;
use crate::runtime::{SeededChance, SystemClock};
use crate::store::{Engine, MemoryEngine};

/// A discovery that all nodes of a test share.
struct Board {
    sighting: watch::Sender<Sighting>,
    way: Way,
    record: Mutex<Option<bytes::Bytes>>,
}

enum Way {
    Record,
    List(Vec<String>),
    Nobody,
}

impl Board {
    fn new(way: Way) -> Arc<Self> {
        Arc::new(Self {
            sighting: watch::Sender::new(Sighting::default()),
            way,
            record: Mutex::default(),
        })
    }

    fn show(&self, nodes: &[u128]) {
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

fn timings() -> Timings {
    Timings {
        heartbeat: Duration::from_millis(40),
        election: (Duration::from_millis(120), Duration::from_millis(240)),
        snapshot_chunk: Duration::from_secs(2),
        patience: Duration::from_secs(2),
        detection: Duration::from_millis(400),
        replace_voter_after: Duration::from_millis(600),
    }
}

struct Node {
    control: Arc<RaftControl>,
    joining: JoinHandle<Result<(), ControlError>>,
}

/// Nodes by number, whose disks outlive them.
struct World {
    network: Arc<MemoryNetwork>,
    board: Arc<Board>,
    disks: BTreeMap<u128, Arc<MemoryEngine>>,
    nodes: BTreeMap<u128, Node>,
    settings: ClusterSettings,
    seed: u64,
}

impl World {
    fn new(way: Way) -> Self {
        Self {
            network: Arc::default(),
            board: Board::new(way),
            disks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            settings: ClusterSettings::default(),
            seed: 1,
        }
    }

    async fn open(&mut self, number: u128) -> Result<Arc<RaftControl>, ControlError> {
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
        let control = RaftControl::open(GroupParts {
            engine,
            incarnation,
            session,
            introduction: Introduction {
                name: format!("node-{number}"),
                addresses: vec![number.to_string()],
                ..Introduction::default()
            },
            transport,
            belong: Arc::new(move |cluster| network.belong(incarnation, cluster)),
            clock: Arc::new(SystemClock::new()),
            chance,
            replication_factor: 3,
            timings: timings(),
        })
        .await?;
        let (methods, service) = control.service();
        services.enter(methods, &service);
        Ok(control)
    }

    async fn start(&mut self, number: u128) {
        let control = self.open(number).await.unwrap();
        let joining = tokio::spawn({
            let (control, board) = (Arc::clone(&control), Arc::clone(&self.board));
            let settings = self.settings.clone();
            async move { control.found_or_join(board.as_ref(), &settings).await }
        });
        self.nodes.insert(number, Node { control, joining });
    }

    /// As `kill -9`: nothing is said to anybody.
    async fn kill(&mut self, number: u128) {
        self.network.disconnect(Incarnation(number));
        let node = self.nodes.remove(&number).unwrap();
        node.joining.abort();
        node.control.raft.shutdown().await.unwrap();
    }

    fn control(&self, number: u128) -> &Arc<RaftControl> {
        &self.nodes[&number].control
    }

    fn controls(&self) -> impl Iterator<Item = &Arc<RaftControl>> {
        self.nodes.values().map(|node| &node.control)
    }

    async fn joined(&mut self) {
        for node in self.nodes.values_mut() {
            let joined = tokio::time::timeout(Duration::from_secs(5), &mut node.joining).await;
            joined
                .unwrap_or_else(|_| panic!("{:?}: {:?}", node.control, node.control.trouble()))
                .unwrap()
                .unwrap();
            node.joining = tokio::spawn(async { Ok(()) });
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(5), "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn leader(&self) -> Option<u128> {
        let leading = |(number, node): (&u128, &Node)| {
            let metrics = node.control.raft.metrics().borrow().clone();
            (node.control.is_leader() && metrics.millis_since_quorum_ack.is_some())
                .then_some((metrics.current_term, *number))
        };
        let leaders = self.nodes.iter().filter_map(leading);
        leaders.max().map(|(_, number)| number)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn is_same(world: &World) -> bool {
    let states: Vec<_> = world.controls().map(|control| control.state()).collect();
    states.windows(2).all(|pair| pair[0] == pair[1])
}

#[test]
fn one_node_is_a_cluster_and_stays_one() {
    runtime().block_on(async {
        let mut world = World::new(Way::List(Vec::new()));
        world.start(1).await;
        world.joined().await;
        let state = world.control(1).state();
        assert_eq!(state.members.len(), 1);
        assert_eq!(state.partitions.len(), 16);
        world.kill(1).await;
        world.start(1).await;
        assert_eq!(
            world.control(1).state(),
            state,
            "read from disk, before anything is said"
        );
        world.joined().await;
        let again = world.control(1).state();
        assert_eq!(again.cluster, state.cluster);
        assert_eq!(again.members[&Incarnation(1)].session.starts, 2);
    });
}

#[test]
fn three_nodes_that_race_found_one_cluster() {
    for way in [
        Way::Record,
        Way::Nobody,
        Way::List(vec!["1".to_owned(), "2".to_owned(), "3".to_owned()]),
    ] {
        runtime().block_on(async {
            let mut world = World::new(way);
            world.board.show(&[1, 2, 3]);
            for number in [2, 3, 1] {
                world.start(number).await;
            }
            world.joined().await;
            world
                .until("equal states", |world| {
                    is_same(world) && world.control(1).state().members.len() == 3
                })
                .await;
            for control in world.controls() {
                assert_eq!(control.voters().len(), 3);
                assert_eq!(
                    control.cluster().borrow().unwrap(),
                    control.state().cluster.unwrap()
                );
            }
        });
    }
}

/// Something that is applied whenever it is proposed.
fn harmless() -> Command {
    Command::FeatureLevel(crate::cluster::control::FEATURE_LEVEL)
}

async fn three(way: Way) -> World {
    let mut world = World::new(way);
    world.board.show(&[1, 2, 3]);
    for number in [1, 2, 3] {
        world.start(number).await;
    }
    world.joined().await;
    world
}

#[test]
fn a_leader_that_leaves_hands_over() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        let term = |world: &World| {
            world
                .controls()
                .next()
                .unwrap()
                .raft
                .metrics()
                .borrow()
                .current_term
        };
        let before = term(&world);
        let node = world.nodes.remove(&leader).unwrap();
        let began = Instant::now();
        node.control.close().await;
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        world.network.disconnect(Incarnation(leader));
        world
            .until("another leader", |world| world.leader().is_some())
            .await;
        assert!(term(&world) > before);
        let outcome = world
            .controls()
            .next()
            .unwrap()
            .propose_soon(&harmless())
            .await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}
