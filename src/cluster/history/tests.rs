//! How large the control state is after years: commands as a cluster gives them, driven through
//! `apply` by the plan that every node follows.

use std::collections::BTreeMap;

use super::plan::{Change, Situation, bring_back, due};
use crate::cluster::control::*;
use crate::model::*;
use crate::runtime::{Chance, SeededChance};

/// The first moment of sixteen days that are merged together.
const BEGIN: i64 = 1_000 * 16 * DAY_MS;

/// A cluster without its nodes: the state, and the manifests that nobody has to keep.
struct Ring {
    state: ControlState,
    manifests: BTreeMap<RingArc, Manifest>,
    last: BTreeMap<RingArc, i64>,
    chance: SeededChance,
    commands: u64,
}

impl Ring {
    fn found(nodes: u128, depth: u8) -> Self {
        let mut ring = Self {
            state: ControlState::default(),
            manifests: BTreeMap::new(),
            last: BTreeMap::new(),
            chance: SeededChance::new(7),
            commands: 0,
        };
        ring.apply(Command::Found(Found {
            cluster: ClusterId(1),
            depth,
            founders: (1..=nodes.min(3)).map(Incarnation).collect(),
        }));
        for number in 1..=nodes {
            ring.apply(Command::NodeUp(NodeUp {
                name: format!("board-{number}"),
                incarnation: Incarnation(u128::MAX - number + 1),
                session: Session {
                    starts: 9,
                    nonce: u128::MAX,
                },
                addresses: vec![format!("10.10.10.{number}:9095")],
                zone: format!("shelf-{}", number % 3),
                capacity_bytes: 1 << 40,
                version: "0.1.0".to_owned(),
                feature_level_max: MANIFEST_LEVEL,
                life: 0,
            }));
        }
        ring.apply(Command::FeatureLevel(MANIFEST_LEVEL));
        ring
    }

    fn apply(&mut self, command: Command) {
        // The size of what is committed is that of real commands: they are decoded again.
        let command = Command::decode(&command.encode()).unwrap();
        let outcome = self.state.apply(&command);
        assert_eq!(outcome, Outcome::Applied, "{command:?}");
        self.commands += 1;
    }

    fn entry(&self, range: TimeRange, level: u8) -> BlockEntry {
        BlockEntry {
            id: BlockId(self.chance.next_u128()),
            range,
            level: Level(level),
            round: 1,
            size: 9_000_000,
            samples: 18_000_000,
            content_sum: self.chance.next_u128(),
            digest: Digest([0xab; 32]),
            uploaded: Uploaded::None,
        }
    }

    fn upload(&mut self, arc: RingArc, block: BlockId) {
        self.apply(Command::Uploaded(vec![BlockUploaded {
            arc,
            block,
            uploaded: Uploaded::Object,
        }]));
    }

    fn seal(&mut self, arc: RingArc, window: Window) {
        let range = window.range();
        let entry = self.entry(range, 0);
        let id = entry.id;
        self.apply(Command::SealCommit(SealCommit {
            arc,
            epoch: Epoch(1),
            range,
            round: 1,
            entry,
        }));
        self.upload(arc, id);
    }

    fn merge(&mut self, arc: RingArc, range: TimeRange, level: u8) {
        let within = |e: &&BlockEntry| range.contains(e.range.start) && range.contains(e.range.end);
        let manifest = self.manifests.get(&arc);
        let older = manifest.into_iter().flat_map(|m| m.blocks.values());
        let older = older.filter(within).map(|entry| entry.id).collect();
        if let Some(change) = bring_back(arc, manifest, &older) {
            self.change(arc, change);
        }
        let recent = self.state.partition(arc).unwrap().recent.values();
        let inputs: Vec<BlockId> = recent.filter(within).map(|entry| entry.id).collect();
        assert!(inputs.len() > 1);
        let output = self.entry(range, level);
        let id = output.id;
        self.apply(Command::Compacted(Compacted {
            arc,
            epoch: Epoch(1),
            inputs,
            outputs: vec![output],
        }));
        self.upload(arc, id);
    }

    fn change(&mut self, arc: RingArc, change: Change) {
        let bytes = change.manifest.encode();
        assert_eq!(Manifest::decode(&bytes).as_ref(), Ok(&change.manifest));
        let history = change.manifest.history(&bytes);
        let partition = self.state.partition(arc).unwrap();
        let changed = ManifestChanged {
            arc,
            epoch: Epoch(1),
            base: partition.history.map(|history| history.digest),
            history: (history.blocks > 0).then_some(history),
            moved: change.moved,
            back: change.back,
            rounds_before: change.rounds_before,
        };
        self.apply(Command::ManifestChanged(changed));
        self.manifests.insert(arc, change.manifest);
    }

    fn keep_history(&mut self, arc: RingArc, now: i64) {
        let last = self.last.get(&arc);
        let change = due(&Situation {
            arc,
            partition: self.state.partition(arc).unwrap(),
            manifest: self.manifests.get(&arc),
            now: TimestampMs(now),
            rested: last.is_none_or(|last| now - last >= DAY_MS),
            bucket: true,
        });
        if let Some(change) = change {
            self.change(arc, change);
            self.last.insert(arc, now);
        }
    }

    /// A day of every partition, window by window.
    fn day(&mut self, day: i64) {
        let days = |first: i64, count: i64| {
            let start = BEGIN + first * DAY_MS;
            TimeRange::new(TimestampMs(start), TimestampMs(start + count * DAY_MS - 1))
        };
        let arcs: Vec<RingArc> = self.state.partitions.keys().copied().collect();
        for window in 0..12 {
            let now = BEGIN + day * DAY_MS + (window + 1) * WINDOW_MS;
            for arc in &arcs {
                self.seal(*arc, Window::of(TimestampMs(now - 1)));
                if window == 11 && day > 0 {
                    self.merge(*arc, days(day - 1, 1), 1);
                }
                if window == 11 && day > 16 && day % 16 == 4 {
                    self.merge(*arc, days(day - 20, 16), 2);
                }
                self.keep_history(*arc, now);
            }
        }
    }

    fn bytes(&self) -> usize {
        self.state.encode().len()
    }
}

/// Would catch a state that grows with history, in any of its parts. The figures of
/// `docs/performance.md`: `CAIRN_LONG=1 cargo test --release --lib years_of_history -- --nocapture`.
#[test]
fn years_of_history_leave_the_state_as_small_as_weeks() {
    let long = std::env::var_os("CAIRN_LONG").is_some();
    for (nodes, depth, days) in [
        (1, 4, 730),
        (6, 4, 60),
        (100, 9, if long { 730 } else { 6 }),
    ] {
        let mut ring = Ring::found(nodes, depth);
        let mut early = 0;
        for day in 0..days {
            ring.day(day);
            if day == 40 {
                early = ring.bytes();
            }
        }
        let arcs = ring.state.partitions.len();
        let (bytes, commands) = (ring.bytes(), ring.commands);
        let manifests = ring.manifests.values().map(|m| m.encode().len());
        let (largest, all) = (manifests.clone().max().unwrap(), manifests.sum::<usize>());
        println!(
            "{nodes} nodes, {arcs} arcs, {days} days: state {bytes} bytes ({} an arc), manifests {all} bytes (largest {largest}), {commands} commands",
            bytes / arcs
        );
        // Section 11 of the protocol: 3.4 KB an arc.
        assert!(bytes / arcs < 6_000, "{bytes} bytes for {arcs} arcs");
        assert!(
            early == 0 || bytes < early + early / 10,
            "{early} then {bytes}"
        );
        assert_eq!(ControlState::decode(&ring.state.encode()), Ok(ring.state));
    }
}
