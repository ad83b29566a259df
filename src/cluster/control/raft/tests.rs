//! Groups of several nodes in one process, over a network and engines in memory.

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

use super::*;
use crate::cluster::control::command::{ClusterId, Command, Outcome, Refusal, SealCommit};
use crate::cluster::control::state::Liveness;
use crate::cluster::control::{Control, ControlError, Introduction, begin_session};
use crate::cluster::discovery::{
    Discovery, DiscoveryError, Founding, FoundingRecord, Later, Peer, Sighting,
};
use crate::cluster::peer::{Caller, MemoryNetwork, Services};
use crate::cluster::settings::ClusterSettings;
use crate::model::{BlockEntry, BlockId, Digest, Epoch, FOUNDING_DEPTH, Incarnation, Level};
use crate::model::{RingArc, Uploaded, Window};
use crate::runtime::{Chance, SeededChance, SystemClock};
use crate::store::{Batch, Durability, Engine, MemoryEngine, Space};

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
        heartbeat: Duration::from_millis(80),
        election: (Duration::from_millis(320), Duration::from_millis(600)),
        snapshot_chunk: Duration::from_secs(10),
        patience: Duration::from_secs(20),
        detection: Duration::from_millis(1200),
        replace_voter_after: Duration::from_millis(1500),
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
    /// Names that are not `node-` and the number.
    names: BTreeMap<u128, String>,
    settings: ClusterSettings,
    seed: u64,
}

impl World {
    fn new(way: Way) -> Self {
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

    async fn start(&mut self, number: u128) {
        let control = self.open(number).await.unwrap();
        let joining = tokio::spawn({
            let (control, board) = (Arc::clone(&control), Arc::clone(&self.board));
            async move { control.found_or_join(board.as_ref()).await }
        });
        self.nodes.insert(number, Node { control, joining });
    }

    /// As `kill -9`: nothing is said to anybody.
    async fn kill(&mut self, number: u128) {
        self.network.disconnect(Incarnation(number));
        let node = self.nodes.remove(&number).unwrap();
        node.joining.abort();
        node.control.end_duties();
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
            let joined = tokio::time::timeout(Duration::from_secs(60), &mut node.joining).await;
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
            assert!(began.elapsed() < Duration::from_secs(120), "never: {what}");
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
    Command::FeatureLevel(crate::cluster::version::FEATURE_LEVEL)
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
            began.elapsed() < Duration::from_secs(8),
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

/// Would catch a leader that goes on deciding alone: for a while it believes that it leads.
#[test]
fn a_leader_that_is_cut_off_is_not_confirmed() {
    runtime().block_on(async {
        let world = three(Way::Record).await;
        let confirmed = |world: &World, number: u128| {
            let control = Arc::clone(world.control(number));
            tokio::task::spawn_blocking(move || control.confirmed())
        };
        let leader = world.leader().unwrap();
        let applied = world.control(leader).propose_soon(&harmless()).await;
        assert_eq!(applied.unwrap(), Outcome::Applied);
        let asked = confirmed(&world, leader).await.unwrap();
        let asked = asked.expect("a majority follows it");
        assert_eq!(asked.voters.len(), 3);
        assert_eq!(asked.state, world.control(leader).state());
        for other in [1, 2, 3].into_iter().filter(|other| *other != leader) {
            assert!(confirmed(&world, other).await.unwrap().is_none());
            world
                .network
                .cut(Incarnation(leader), Incarnation(other), true);
            world
                .network
                .cut(Incarnation(other), Incarnation(leader), true);
        }
        assert!(confirmed(&world, leader).await.unwrap().is_none());
    });
}

#[test]
fn start_order_and_number_do_not_matter() {
    runtime().block_on(async {
        let mut world = World::new(Way::Record);
        world.settings.bootstrap_expect = 5;
        for number in [4, 2, 5] {
            world.start(number).await;
        }
        world.board.show(&[4, 2, 5]);
        tokio::time::sleep(Duration::from_millis(150)).await;
        let trouble = world.control(2).trouble().unwrap();
        assert!(trouble.contains("3 of 5 nodes"), "{trouble}");
        assert!(trouble.contains("node-4"), "{trouble}");
        for number in [1, 6, 3] {
            world.start(number).await;
        }
        world.board.show(&[1, 2, 3, 4, 5, 6]);
        world.joined().await;
        world
            .until("six members, five voters", |world| {
                let leader = world.leader().map(|leader| world.control(leader));
                leader.is_some_and(|leader| {
                    leader.voters().len() == 5 && leader.state().members.len() == 6
                })
            })
            .await;
        world.until("equal states", is_same).await;
        let state = world.control(6).state();
        let ring = state.partitions.values().next().unwrap();
        assert_eq!(ring.members.len(), 3, "founded with the replication factor");
    });
}

#[test]
fn a_single_node_becomes_three() {
    runtime().block_on(async {
        // A directory that an older version wrote.
        let mut world = World::new(Way::Record);
        let disk = Arc::new(MemoryEngine::new(Path::new("unused")));
        let engine: Arc<dyn Engine> = disk.clone();
        let local = crate::cluster::control::LocalControl::open(Arc::clone(&engine)).unwrap();
        let session = crate::cluster::control::join_or_found(
            &local,
            engine.as_ref(),
            Incarnation(7),
            &Introduction::default(),
            &SeededChance::new(9),
        )
        .unwrap();
        for _ in 0..300 {
            local.propose(&harmless()).unwrap();
        }
        let before = local.state();
        drop(local);
        world.disks.insert(7, disk);
        world.start(7).await;
        assert_eq!(world.control(7).state(), before);
        world.joined().await;
        let state = world.control(7).state();
        assert_eq!(state.cluster, before.cluster);
        assert_eq!(
            state.members[&Incarnation(7)].session.starts,
            session.starts + 1
        );
        world.board.show(&[7, 8, 9]);
        for number in [8, 9] {
            world.start(number).await;
        }
        world.joined().await;
        world
            .until("three voters everywhere", |world| {
                world.controls().all(|control| control.voters().len() == 3) && is_same(world)
            })
            .await;
        assert_eq!(world.control(9).state().cluster, before.cluster);
        // And the first can go.
        world.kill(7).await;
        let outcome = world.control(8).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}

#[test]
fn any_node_proposes_and_learns_what_it_did() {
    runtime().block_on(async {
        let world = three(Way::Nobody).await;
        for control in world.controls() {
            let refused = Command::FeatureLevel(99);
            let outcome = control.propose_soon(&refused).await.unwrap();
            assert!(
                matches!(outcome, Outcome::Refused(Refusal::BadLevel { .. })),
                "{outcome:?}"
            );
            let before = control.state().applied;
            assert_eq!(
                control.propose_soon(&harmless()).await.unwrap(),
                Outcome::Applied
            );
            assert!(
                control.state().applied > before,
                "applied here when it returns"
            );
            assert_eq!(*control.changed().borrow(), control.state().applied);
        }
        // The blocking way, as threads use it.
        let control = Arc::clone(world.control(2));
        let outcome = tokio::task::spawn_blocking(move || control.propose(&harmless()));
        assert_eq!(outcome.await.unwrap().unwrap(), Outcome::Applied);
    });
}

#[test]
fn the_leader_dies_and_comes_back() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        world.kill(leader).await;
        world.disks[&leader].crash(0);
        let other = *world.nodes.keys().next().unwrap();
        // More than the log keeps: the leader comes back to a snapshot.
        let control = Arc::clone(world.control(other));
        for _ in 0..600 {
            control.propose_soon(&harmless()).await.unwrap();
        }
        world
            .until("the member is down", |world| {
                let state = world.control(other).state();
                state.members[&Incarnation(leader)].liveness == Liveness::Down
            })
            .await;
        let purged = |control: &RaftControl| {
            let metrics = control.raft.metrics().borrow().clone();
            metrics.purged.map_or(0, |purged| purged.index)
        };
        world
            .until("the log is short", |world| {
                world.controls().any(|c| purged(c) > 100)
            })
            .await;
        world.start(leader).await;
        world.joined().await;
        world.until("equal states", is_same).await;
        let state = world.control(leader).state();
        assert_eq!(state.members[&Incarnation(leader)].liveness, Liveness::Live);
        assert!(state.applied > 600);
    });
}

#[test]
fn a_minority_commits_nothing() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        let before = world.control(leader).state();
        let others: Vec<u128> = world
            .nodes
            .keys()
            .copied()
            .filter(|n| *n != leader)
            .collect();
        for other in &others {
            world.kill(*other).await;
        }
        let error = world
            .control(leader)
            .propose_soon(&harmless())
            .await
            .unwrap_err();
        assert!(matches!(error, ControlError::Unconfirmed { .. }), "{error}");
        assert_eq!(world.control(leader).state(), before);
        for other in others {
            world.start(other).await;
        }
        world.joined().await;
        let outcome = world.control(leader).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}

#[test]
fn a_leader_that_hears_nobody_is_replaced_and_follows() {
    runtime().block_on(async {
        let world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        let others: Vec<u128> = world
            .nodes
            .keys()
            .copied()
            .filter(|n| *n != leader)
            .collect();
        // It reaches nobody; they reach it.
        for other in &others {
            world
                .network
                .cut(Incarnation(leader), Incarnation(*other), true);
        }
        world
            .until("another leads", |world| {
                world.leader().is_some_and(|it| it != leader)
            })
            .await;
        let outcome = world.control(others[0]).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
        world
            .until("it follows", |world| {
                !world.control(leader).is_leader() && is_same(world)
            })
            .await;
        for other in &others {
            world
                .network
                .cut(Incarnation(leader), Incarnation(*other), false);
        }
        let outcome = world.control(leader).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}

#[test]
fn the_power_fails_for_all() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        for _ in 0..20 {
            world.control(1).propose_soon(&harmless()).await.unwrap();
        }
        world.until("equal states", is_same).await;
        let before = world.control(1).state();
        for number in [1, 2, 3] {
            world.kill(number).await;
            world.disks[&number].crash(0);
        }
        for number in [3, 1, 2] {
            world.start(number).await;
        }
        world.joined().await;
        world.until("equal states", is_same).await;
        let after = world.control(2).state();
        assert_eq!(after.cluster, before.cluster);
        assert!(after.applied > before.applied);
        for member in after.members.values() {
            assert_eq!(member.session.starts, 2);
        }
    });
}

#[test]
fn a_voter_that_stays_away_gives_its_place_to_another() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        world.board.show(&[1, 2, 3, 4]);
        world.start(4).await;
        world.joined().await;
        world
            .until("a learner", |world| {
                world.control(4).state().members.len() == 4
            })
            .await;
        assert_eq!(world.control(4).voters().len(), 3);
        let leader = world.leader().unwrap();
        world.kill(leader).await;
        let lost = Incarnation(leader);
        world
            .until("another voter", |world| {
                let voters = world.control(4).voters();
                voters.contains(&Incarnation(4)) && !voters.contains(&lost)
            })
            .await;
        // Its disk is replaced; the name comes back and the old one is given up.
        world.disks.remove(&leader);
        world.board.show(&[1, 2, 3, 4, 40 + leader]);
        world.names.insert(40 + leader, format!("node-{leader}"));
        world.start(40 + leader).await;
        world.joined().await;
        world
            .until("the old one is gone", |world| {
                let control = world.control(4);
                let gone = control.state().members[&lost].liveness == Liveness::Gone;
                let metrics = control.raft.metrics().borrow().clone();
                let nodes = metrics.membership_config.nodes().count();
                gone && nodes == 4
            })
            .await;
    });
}

#[test]
fn who_was_given_up_must_set_its_directory_aside() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let node = world
            .nodes
            .keys()
            .copied()
            .find(|n| world.leader() != Some(*n))
            .unwrap();
        world.kill(node).await;
        let leader = world.leader().unwrap();
        let gone = Command::NodeGone(Incarnation(node));
        world.control(leader).propose_soon(&gone).await.unwrap();
        let error = world.open(node).await.unwrap_err();
        assert!(
            error.to_string().contains("sets the data directory aside"),
            "{error}"
        );
    });
}

/// Would catch a survivor that cannot go on, one that does not follow it, and an old voter that is
/// listened to afterwards.
#[test]
fn a_group_without_a_majority_goes_on_from_a_survivor_and_the_others_follow() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        world.board.show(&[1, 2, 3, 4]);
        world.start(4).await;
        world.joined().await;
        world.until("equal states", is_same).await;
        for lost in [1, 2] {
            world.kill(lost).await;
        }
        let disk: Arc<dyn Engine> = world.disks[&3].clone();
        let me = Incarnation(3);
        let names = |numbers: &[u32]| -> Vec<String> {
            numbers
                .iter()
                .map(|number| format!("node-{number}"))
                .collect()
        };
        world.kill(3).await;
        let looked = rebuild(&disk, me, &[], false).unwrap();
        assert_eq!(looked.voters, names(&[1, 2, 3]));
        assert!(!looked.done && looked.last.1 > 0);
        for (wrong, why) in [
            (&[1][..], "a majority"),
            (&[1, 2, 3], "goes on"),
            (&[9], "no node"),
        ] {
            let error = rebuild(&disk, me, &names(wrong), true).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let rebuilt = rebuild(&disk, me, &names(&[1, 2]), true).unwrap();
        assert!(rebuilt.done && rebuilt.generation == 1, "{rebuilt:?}");
        world.start(3).await;
        world.joined().await;
        world
            .until("the other follows", |world| {
                world.leader() == Some(3)
                    && is_same(world)
                    && world.control(4).state().generation == 1
            })
            .await;
        let done = world.control(4).propose_soon(&harmless()).await;
        assert_eq!(done.unwrap(), Outcome::Applied);
        for lost in [1, 2] {
            let error = world.open(lost).await.unwrap_err();
            assert!(error.to_string().contains("is gone"), "{error}");
        }
    });
}

#[test]
fn an_old_image_and_a_copy_are_noticed() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let follower = world
            .nodes
            .keys()
            .copied()
            .find(|n| world.leader() != Some(*n))
            .unwrap();
        let image = copy(&world.disks[&follower]);
        for _ in 0..10 {
            world
                .control(follower)
                .propose_soon(&harmless())
                .await
                .unwrap();
        }
        // The voters are told from time to time how far everybody is.
        tokio::time::sleep(timings().detection * 2).await;
        world.kill(follower).await;
        // The image, started once, has a control log that ends before what the others remember.
        world.disks.insert(follower, copy(&image));
        let error = world.open(follower).await.unwrap_err();
        let behind = matches!(
            error,
            ControlError::RolledBack {
                what: "control log's end",
                ..
            }
        );
        assert!(behind, "{error}");
        // However often it is started.
        for _ in 0..3 {
            let error = world.open(follower).await.unwrap_err();
            assert!(matches!(error, ControlError::RolledBack { .. }), "{error}");
        }
        // Much older: its counter is behind, too.
        let first = Arc::new(MemoryEngine::new(Path::new("unused")));
        for (key, value) in image.scan(Space::Control, b"", None).unwrap() {
            let mut batch = Batch::new();
            batch.put(Space::Control, &key, &value);
            first.write(batch, Durability::Synced).unwrap();
        }
        world.disks.insert(follower, first);
        let error = world.open(follower).await.unwrap_err();
        assert!(matches!(error, ControlError::RolledBack { .. }), "{error}");
    });
}

fn copy(disk: &MemoryEngine) -> Arc<MemoryEngine> {
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

#[test]
fn the_later_of_two_copies_ends_the_earlier() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let follower = world
            .nodes
            .keys()
            .copied()
            .find(|n| world.leader() != Some(*n))
            .unwrap();
        let earlier = world.nodes.remove(&follower).unwrap();
        world.disks.insert(follower, copy(&world.disks[&follower]));
        world.start(follower).await;
        world.joined().await;
        let ended = tokio::time::timeout(Duration::from_secs(3), earlier.control.ended()).await;
        assert!(matches!(ended, Ok(Ending::OldSession(_))), "{ended:?}");
    });
}

#[test]
fn an_idle_group_writes_nothing() {
    runtime().block_on(async {
        let mut world = World::new(Way::List(Vec::new()));
        world.start(1).await;
        world.joined().await;
        let content = |world: &World| {
            let disk = &world.disks[&1];
            (
                disk.unsynced(),
                disk.scan(Space::Control, b"", None).unwrap(),
            )
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = content(&world);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(content(&world), before);
    });
}

/// A follower that can speak but not hear must not unseat the leader again and again.
#[test]
fn a_follower_that_hears_nothing_does_not_disturb_the_others() {
    runtime().block_on(async {
        let world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        let deaf = world.nodes.keys().copied().find(|n| *n != leader).unwrap();
        for other in [1, 2, 3] {
            world
                .network
                .cut(Incarnation(other), Incarnation(deaf), true);
        }
        let term = |number| world.control(number).raft.metrics().borrow().current_term;
        let before = term(leader);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!((world.leader(), term(leader)), (Some(leader), before));
        for other in [1, 2, 3] {
            world
                .network
                .cut(Incarnation(other), Incarnation(deaf), false);
        }
        let outcome = world.control(deaf).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}

/// Would catch a survivor that goes on answering as the group's leader: whoever asks it what is
/// lost would be told "nothing".
#[test]
fn a_leader_that_is_left_alone_names_nobody() {
    runtime().block_on(async {
        let world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        assert_eq!(world.control(leader).leader(), Some(Incarnation(leader)));
        for other in world.nodes.keys().copied().filter(|n| *n != leader) {
            for (from, to) in [(leader, other), (other, leader)] {
                world.network.cut(Incarnation(from), Incarnation(to), true);
            }
        }
        world
            .until("it knows", |world| {
                world.control(leader).leader().is_none() && !world.control(leader).is_leader()
            })
            .await;
    });
}

/// Nodes start at odd times, are killed in the midst of founding, lose power, are seen late. There
/// is one cluster in the end, and its id is the first that anybody ever had.
#[test]
fn founding_survives_whatever_happens_meanwhile() {
    for (seed, way) in [
        (1, Way::Record),
        (2, Way::Nobody),
        (
            3,
            Way::List(vec!["1".to_owned(), "2".to_owned(), "3".to_owned()]),
        ),
        (4, Way::Nobody),
        (5, Way::Record),
    ] {
        runtime().block_on(async {
            let chance = SeededChance::new(seed);
            let mut world = World::new(way);
            for _ in 0..8 {
                let number = u128::from(chance.below(3)) + 1;
                if world.nodes.contains_key(&number) {
                    world.kill(number).await;
                    world.disks[&number].crash(0);
                } else {
                    world.start(number).await;
                }
                let seen: Vec<u128> = (1..=3).filter(|_| chance.below(4) > 0).collect();
                world.board.show(&seen);
                tokio::time::sleep(Duration::from_millis(chance.below(120))).await;
            }
            world.board.show(&[1, 2, 3]);
            for number in 1..=3 {
                if !world.nodes.contains_key(&number) {
                    world.start(number).await;
                }
            }
            world.joined().await;
            world
                .until("equal states", |world| {
                    is_same(world) && world.control(1).state().members.len() == 3
                })
                .await;
            assert_eq!(world.control(1).voters().len(), 3);
        });
    }
}

#[test]
fn a_decider_that_loses_its_disk_is_replaced() {
    runtime().block_on(async {
        let mut world = World::new(Way::Nobody);
        // The third never comes while the first lives: the first has agreed with itself only.
        world.board.show(&[1, 2, 3]);
        world.settings.bootstrap_expect = 2;
        world.start(2).await;
        let decision = decision::Decision {
            cluster: ClusterId(77),
            founders: [1u128, 2]
                .map(|number| decision::Founder {
                    incarnation: Incarnation(number),
                    name: format!("node-{number}"),
                    zone: String::new(),
                    addresses: vec![if number == 1 { "3" } else { "2" }.to_owned()],
                })
                .to_vec(),
            decider: Some(Incarnation(1)),
        };
        world.control(2).agree_to(&decision).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let other = decision::Decision {
            cluster: ClusterId(78),
            decider: Some(Incarnation(3)),
            ..decision
        };
        assert!(
            world.control(2).agree_to(&other).is_err(),
            "one agreement at a time"
        );
        // At the first one's address another incarnation answers.
        world.start(3).await;
        world.joined().await;
        let state = world.control(3).state();
        assert_ne!(state.cluster, Some(ClusterId(77)));
        assert_eq!(state.cluster, world.control(2).state().cluster);
    });
}

fn seal(number: u64) -> Command {
    let range = Window(i64::try_from(number).unwrap()).range();
    Command::SealCommit(SealCommit {
        arc: RingArc::all(FOUNDING_DEPTH).next().unwrap(),
        epoch: Epoch(1),
        range,
        round: 1,
        entry: BlockEntry {
            id: BlockId(number.into()),
            range,
            level: Level(0),
            round: 1,
            size: 1,
            samples: 1,
            content_sum: 1,
            digest: Digest([0; 32]),
            uploaded: Uploaded::None,
        },
    })
}

async fn propose_seal(control: Arc<RaftControl>, number: u64) -> (u64, bool) {
    let outcome = control.propose_soon(&seal(number)).await;
    let applied = outcome.is_ok_and(|outcome| outcome == Outcome::Applied);
    (number, applied)
}

impl World {
    /// Something fails or comes back, or nothing; gives a node at random.
    async fn disturb(&mut self, chance: &SeededChance) -> u128 {
        let (from, to) = (chance.below(3) + 1, chance.below(3) + 1);
        let (from, to) = (u128::from(from), u128::from(to));
        let away = (1..=3).find(|number| !self.nodes.contains_key(number));
        match (chance.below(6), away) {
            (0, _) => self.network.cut(Incarnation(from), Incarnation(to), true),
            (1 | 2, _) => self.network.cut(Incarnation(from), Incarnation(to), false),
            (3, None) => {
                self.kill(from).await;
                self.disks[&from].crash(0);
            }
            (4, Some(away)) => self.start(away).await,
            _ => {}
        }
        to
    }
}

/// Links fail in one direction or both, nodes lose power and come back; whatever was acknowledged
/// is there in the end, on all nodes.
#[test]
fn what_was_committed_stays_whatever_happens() {
    for seed in 1..=3 {
        runtime().block_on(async {
            let chance = SeededChance::new(seed);
            let mut world = three(Way::Record).await;
            let mut acknowledged = Vec::new();
            let mut waiting = tokio::task::JoinSet::new();
            for number in 0..60u64 {
                let asked = world.disturb(&chance).await;
                if let Some(node) = world.nodes.get(&asked) {
                    let control = Arc::clone(&node.control);
                    waiting.spawn(propose_seal(control, number));
                }
                tokio::time::sleep(Duration::from_millis(chance.below(40))).await;
            }
            for from in 1..=3 {
                for to in 1..=3 {
                    world.network.cut(Incarnation(from), Incarnation(to), false);
                }
            }
            for number in 1..=3 {
                if !world.nodes.contains_key(&number) {
                    world.start(number).await;
                }
            }
            world.joined().await;
            while let Some(ended) = waiting.join_next().await {
                let (number, applied) = ended.unwrap();
                acknowledged.extend(applied.then_some(number));
            }
            world.control(1).propose_soon(&harmless()).await.unwrap();
            world.until("equal states", is_same).await;
            let state = world.control(2).state();
            let ring = state.partitions.values().next().unwrap();
            assert!(acknowledged.len() > 10, "{}", acknowledged.len());
            for number in acknowledged {
                assert!(
                    ring.recent.contains_key(&BlockId(number.into())),
                    "{number}"
                );
            }
        });
    }
}

/// Everybody has lost its memory of the others with the power, and one disk is an old image: that
/// cannot be noticed, and it must not take the leader down with it.
#[test]
fn an_old_image_that_nobody_remembers_catches_up() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let follower = world
            .nodes
            .keys()
            .copied()
            .find(|n| world.leader() != Some(*n));
        let follower = follower.unwrap();
        let image = copy(&world.disks[&follower]);
        for _ in 0..10 {
            world
                .control(follower)
                .propose_soon(&harmless())
                .await
                .unwrap();
        }
        for number in [1, 2, 3] {
            world.kill(number).await;
        }
        world.disks.insert(follower, image);
        for number in [1, 2, 3] {
            world.start(number).await;
        }
        world.joined().await;
        world.until("equal states", is_same).await;
        // While it runs, too: its log is set back under the leader's eyes.
        let leader = world.leader().unwrap();
        let follower = world.nodes.keys().copied().find(|n| *n != leader).unwrap();
        let image = copy(&world.disks[&follower]);
        for _ in 0..10 {
            world
                .control(leader)
                .propose_soon(&harmless())
                .await
                .unwrap();
        }
        world.kill(follower).await;
        world.disks.insert(follower, image);
        world
            .network
            .cut(Incarnation(follower), Incarnation(leader), true);
        for other in [1, 2, 3] {
            world
                .network
                .cut(Incarnation(follower), Incarnation(other), true);
        }
        world.start(follower).await;
        for other in [1, 2, 3] {
            world
                .network
                .cut(Incarnation(follower), Incarnation(other), false);
        }
        world.joined().await;
        let outcome = world.control(leader).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
        world.until("equal states", is_same).await;
    });
}
