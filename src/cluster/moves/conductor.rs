//! What the control leader does about moves, as a pure value: state and reports in, actions out.
//!
//! A move goes through these steps (the replication protocol's section 8): the newcomer fetches
//! the catalog's blocks from outside; the move begins and is joint; those who gather do so from C
//! old members that have applied the new epoch, and apply the catalog; the move finishes. Whoever
//! must report and is silent for too long ends it: a move is aborted, a preparation given up.
//!
//! Nothing is kept that another leader needs: it asks again, and what was done is reported again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cluster::control::{
    Command, ControlState, MemberId, MoveAbort, MoveFinish, Partition, Split,
};
use crate::cluster::quorum::Sets;
use crate::cluster::ring::{DesiredMove, Plan, Wish, plan};
use crate::model::{Epoch, RingArc};
use crate::runtime::{Rule, holds};

/// A move or a preparation of which nothing is heard for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// A ring that is too coarse for its nodes is divided when it has been so for this long: nodes that
/// come for a moment change nothing, and those that come together are counted together.
const COARSE_FOR: Duration = Duration::from_secs(60);

/// From one split to the next: every node copies a part of its head for each, and reads and writes
/// of that partition are sent again.
const SPLIT_PAUSE: Duration = Duration::from_secs(2);

/// A report says what is now for so long.
const FRESH: Duration = Duration::from_secs(10);

/// What a node says of itself and a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The epoch that it has applied.
    pub epoch: Epoch,
    /// Whether it has gathered heads under that epoch.
    pub gathered: bool,
    /// The version of the catalog that it has applied.
    pub version: u64,
    /// Blocks that the catalog names and it does not have.
    pub missing_blocks: u64,
    /// Their bytes.
    pub missing_bytes: u64,
}

/// What the leader shall do.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Action {
    /// Ask a member for its report of a partition, which also tells it to fetch its blocks.
    Ask(MemberId, RingArc),
    /// Propose a command; that it is refused means that the state has gone on.
    Propose(Command),
}

/// A move for a person to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The partition.
    pub arc: RingArc,
    /// Who comes.
    pub join: Option<MemberId>,
    /// Who goes.
    pub leave: Option<MemberId>,
    /// Whether it has begun; before that the newcomer fetches blocks.
    pub begun: bool,
    /// Bytes that the newcomer still has to fetch, as far as it has said.
    pub missing_bytes: Option<u64>,
}

/// What is known of a partition under preparation or in a move.
#[derive(Clone, PartialEq, Debug)]
struct Watched {
    epoch: Epoch,
    since: Duration,
    heard: BTreeMap<MemberId, (Duration, Report)>,
}

impl Watched {
    const fn new(epoch: Epoch, since: Duration) -> Self {
        Self {
            epoch,
            since,
            heard: BTreeMap::new(),
        }
    }

    fn report(&self, of: MemberId) -> Option<(Duration, Report)> {
        self.heard.get(&of).copied()
    }

    fn is_silent(&self, member: MemberId, now: Duration) -> bool {
        let last = self.report(member).map_or(self.since, |(at, _)| at);
        now.saturating_sub(last) > SILENCE
    }
}

/// The conducting part of a leader.
#[derive(Debug, Default)]
pub(super) struct Conductor {
    preparing: BTreeMap<(RingArc, MemberId), Watched>,
    moving: BTreeMap<RingArc, Watched>,
    /// Since when there has been something to split.
    coarse: Option<Duration>,
    /// When the last split was proposed.
    split: Option<Duration>,
}

impl Conductor {
    /// A member has reported.
    pub(super) fn heard(&mut self, from: MemberId, arc: RingArc, report: Report, now: Duration) {
        if let Some(watched) = self.preparing.get_mut(&(arc, from)) {
            watched.heard.insert(from, (now, report));
        }
        if let Some(watched) = self.moving.get_mut(&arc) {
            watched.heard.insert(from, (now, report));
        }
    }

    /// What to do now. `most` is how many moves and preparations may be under way at once.
    pub(super) fn step(
        &mut self,
        state: &ControlState,
        wish: &Wish,
        most: usize,
        now: Duration,
    ) -> Vec<Action> {
        let wish = Wish {
            preparing: self.preparing.keys().copied().collect(),
            ..wish.clone()
        };
        let mut plan = plan(state, &wish);
        let mut actions = Vec::new();
        for abort in &plan.aborts {
            actions.push(Action::Propose(Command::MoveAbort(*abort)));
        }
        if let Some(split) = self.split(state, &plan, now) {
            plan.moves.retain(|step| step.begin.arc != split.arc);
            actions.push(Action::Propose(Command::Split(split)));
        }
        self.follow(state, &plan, now, &mut actions);
        self.prepare(state, &plan, most, now, &mut actions);
        actions
    }

    /// The next partition to be split, one after the other. A ring that is uneven already is made
    /// even without waiting: until then nothing is balanced.
    fn split(&mut self, state: &ControlState, plan: &Plan, now: Duration) -> Option<Split> {
        let Some(split) = plan.splits.first() else {
            self.coarse = None;
            return None;
        };
        let since = *self.coarse.get_or_insert(now);
        let depths: BTreeSet<u8> = state.partitions.keys().map(|arc| arc.depth()).collect();
        let waited = depths.len() > 1 || now.saturating_sub(since) >= COARSE_FOR;
        let paused = |at: Duration| now.saturating_sub(at) < SPLIT_PAUSE;
        if !waited || self.split.is_some_and(paused) {
            return None;
        }
        self.split = Some(now);
        Some(*split)
    }

    /// Moves that have begun.
    fn follow(
        &mut self,
        state: &ControlState,
        plan: &Plan,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let is_current = |arc: &RingArc, epoch| {
            let partition = state.partition(*arc);
            partition.is_some_and(|p| p.moving.is_some() && p.epoch == epoch)
        };
        self.moving
            .retain(|arc, watched| is_current(arc, watched.epoch));
        for (arc, partition) in &state.partitions {
            if partition.moving.is_none() || plan.aborts.iter().any(|abort| abort.arc == *arc) {
                continue;
            }
            let watched = self.moving.entry(*arc);
            let watched = watched.or_insert_with(|| Watched::new(partition.epoch, now));
            actions.extend(next(*arc, partition, watched, now));
        }
    }

    /// Moves that are wanted.
    fn prepare(
        &mut self,
        state: &ControlState,
        plan: &Plan,
        most: usize,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let wanted = |arc: RingArc, join: MemberId| {
            let mut moves = plan.moves.iter();
            moves.any(|step| step.begin.arc == arc && step.begin.join == Some(join))
        };
        self.preparing
            .retain(|(arc, join), watched| wanted(*arc, *join) && !watched.is_silent(*join, now));
        let mut busy = self.moving.len();
        for step in &plan.moves {
            let arc = step.begin.arc;
            let Some(partition) = state.partition(arc) else {
                continue;
            };
            let Some(join) = step.begin.join else {
                if busy < most {
                    busy += 1;
                    actions.push(begin(step));
                }
                continue;
            };
            let is_new = !self.preparing.contains_key(&(arc, join));
            if is_new && busy + self.preparing.len() >= most {
                continue;
            }
            let watched = self.preparing.entry((arc, join));
            let watched = watched.or_insert_with(|| Watched::new(partition.epoch, now));
            let ready = watched.report(join).is_some_and(|(at, report)| {
                now.saturating_sub(at) <= FRESH && report.missing_blocks == 0
            });
            actions.push(if ready {
                begin(step)
            } else {
                Action::Ask(join, arc)
            });
        }
    }

    /// What is under way, for a person.
    pub(super) fn progress(&self, state: &ControlState) -> Vec<Progress> {
        let missing = |watched: Option<&Watched>, join: Option<MemberId>| {
            let (_, report) = watched?.report(join?)?;
            Some(report.missing_bytes)
        };
        let begun = state.partitions.iter().filter_map(|(arc, partition)| {
            let moving = partition.moving?;
            Some(Progress {
                arc: *arc,
                join: moving.join,
                leave: moving.leave,
                begun: true,
                missing_bytes: missing(self.moving.get(arc), moving.join),
            })
        });
        let preparing = self
            .preparing
            .iter()
            .map(|((arc, join), watched)| Progress {
                arc: *arc,
                join: Some(*join),
                leave: None,
                begun: false,
                missing_bytes: missing(Some(watched), Some(*join)),
            });
        begun.chain(preparing).collect()
    }
}

fn begin(step: &DesiredMove) -> Action {
    Action::Propose(Command::MoveBegin(step.begin))
}

/// The next step of a move under way.
fn next(arc: RingArc, partition: &Partition, watched: &Watched, now: Duration) -> Vec<Action> {
    let gatherers = Sets::of(partition).gatherers();
    let is_done = |member: &MemberId| {
        watched.report(*member).is_some_and(|(_, report)| {
            report.epoch == partition.epoch
                && report.gathered
                && (report.version == partition.version || !holds(Rule::MovesEndAtTheVersion))
        })
    };
    if gatherers.iter().all(is_done) {
        let finish = MoveFinish {
            arc,
            epoch: partition.epoch,
            version: partition.version,
        };
        return vec![Action::Propose(Command::MoveFinish(finish))];
    }
    if gatherers
        .iter()
        .any(|member| watched.is_silent(*member, now))
    {
        let abort = MoveAbort {
            arc,
            epoch: partition.epoch,
        };
        return vec![Action::Propose(Command::MoveAbort(abort))];
    }
    let ask = |member| Action::Ask(member, arc);
    gatherers.into_iter().map(ask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::{ClusterId, Found, NodeUp, Outcome};
    use crate::model::{FOUNDING_DEPTH, Incarnation};

    const SECOND: Duration = Duration::from_secs(1);

    fn member(number: u128) -> MemberId {
        MemberId {
            incarnation: Incarnation(number),
            life: 0,
        }
    }

    fn up(state: &mut ControlState, number: u128) {
        let node = NodeUp {
            name: format!("node-{number}"),
            zone: format!("zone-{number}"),
            ..NodeUp::of(number)
        };
        assert_eq!(state.apply(&Command::NodeUp(node)), Outcome::Applied);
    }

    fn founded(nodes: u128) -> ControlState {
        let mut state = ControlState::default();
        state.apply(&Command::Found(Found {
            cluster: ClusterId(1),
            depth: FOUNDING_DEPTH,
            founders: vec![Incarnation(1)],
        }));
        (1..=nodes).for_each(|number| up(&mut state, number));
        state
    }

    /// Nodes that do at once what they are asked: one that gathers has gathered when asked twice.
    struct Rig {
        state: ControlState,
        conductor: Conductor,
        wish: Wish,
        now: Duration,
        silent: Vec<u128>,
        most_at_once: usize,
    }

    impl Rig {
        fn new(nodes: u128, replication_factor: usize) -> Self {
            Self {
                state: founded(nodes),
                conductor: Conductor::default(),
                wish: Wish {
                    replication_factor,
                    keep_arcs: true,
                    ..Wish::default()
                },
                now: SECOND,
                silent: Vec::new(),
                most_at_once: 0,
            }
        }

        /// One round; how many commands it proposed.
        fn round(&mut self) -> usize {
            self.now += SECOND;
            let mut proposed = 0;
            let actions = self.conductor.step(&self.state, &self.wish, 4, self.now);
            for action in actions {
                match action {
                    Action::Propose(command) => {
                        assert_eq!(self.state.apply(&command), Outcome::Applied, "{command:?}");
                        proposed += 1;
                    }
                    Action::Ask(of, arc) => self.ask(of, arc),
                }
            }
            let moving = self.state.partitions.values();
            let moving = moving.filter(|p| p.moving.is_some()).count();
            self.most_at_once = self.most_at_once.max(moving);
            proposed
        }

        fn ask(&mut self, of: MemberId, arc: RingArc) {
            if self.silent.contains(&of.incarnation.0) {
                return;
            }
            let partition = self.state.partition(arc).unwrap();
            let report = Report {
                epoch: partition.epoch,
                gathered: partition.moving.is_some(),
                version: partition.version,
                ..Report::default()
            };
            self.conductor.heard(of, arc, report, self.now);
        }

        fn settle(&mut self) {
            let mut idle = 0;
            for _ in 0..2000 {
                idle = if self.round() == 0 { idle + 1 } else { 0 };
                if idle > 3 {
                    return;
                }
            }
            panic!("it never settles");
        }

        fn members(&self) -> Vec<usize> {
            let partitions = self.state.partitions.values();
            partitions.map(|p| p.members.len()).collect()
        }
    }

    #[test]
    fn a_cluster_grows_shrinks_and_is_drained_a_few_moves_at_a_time() {
        let mut rig = Rig::new(1, 3);
        rig.settle();
        assert_eq!(rig.members(), [1; 16]);
        for nodes in 2..=6 {
            up(&mut rig.state, nodes);
            rig.settle();
            let replicas = usize::try_from(nodes).unwrap().min(3);
            assert_eq!(rig.members(), [replicas].repeat(16), "{nodes} nodes");
        }
        assert!(rig.most_at_once <= 4, "{}", rig.most_at_once);
        rig.wish.draining.insert(Incarnation(1));
        rig.settle();
        let holds = |rig: &Rig, number| {
            let partitions = rig.state.partitions.values();
            partitions
                .filter(|p| p.members.contains(&member(number)))
                .count()
        };
        assert_eq!(holds(&rig, 1), 0);
        assert_eq!(rig.members(), [3; 16]);
        rig.wish.replication_factor = 2;
        rig.settle();
        assert_eq!(rig.members(), [2; 16]);
    }

    #[test]
    fn a_newcomer_that_is_silent_holds_nothing_up_for_ever() {
        let mut rig = Rig::new(1, 3);
        up(&mut rig.state, 2);
        rig.silent = vec![2];
        for _ in 0..100 {
            assert_eq!(rig.round(), 0, "nothing begins without a report");
        }
        rig.silent.clear();
        while rig.state.partitions.values().all(|p| p.moving.is_none()) {
            rig.round();
        }
        rig.silent = vec![2];
        let epoch = |rig: &Rig| rig.state.partitions.values().map(|p| p.epoch.0).max();
        let begun = epoch(&rig).unwrap();
        for _ in 0..70 {
            rig.round();
        }
        assert!(rig.state.partitions.values().all(|p| p.moving.is_none()));
        assert_eq!(epoch(&rig), Some(begun + 1), "begun and aborted");
        rig.silent.clear();
        rig.settle();
        assert_eq!(rig.members(), [2; 16]);
    }

    #[test]
    fn a_move_finishes_only_with_what_was_gathered_under_its_epoch_and_version() {
        let mut rig = Rig::new(1, 2);
        up(&mut rig.state, 2);
        while rig.state.partitions.values().all(|p| p.moving.is_none()) {
            rig.round();
        }
        let moving = rig
            .state
            .partitions
            .iter()
            .find(|(_, p)| p.moving.is_some());
        let (arc, partition) = moving.map(|(arc, p)| (*arc, p.clone())).unwrap();
        let good = Report {
            epoch: partition.epoch,
            gathered: true,
            version: partition.version,
            ..Report::default()
        };
        let bad = [
            Report {
                epoch: Epoch(partition.epoch.0 - 1),
                ..good
            },
            Report {
                gathered: false,
                ..good
            },
            Report {
                version: partition.version + 1,
                ..good
            },
        ];
        rig.silent = vec![2];
        let finishes = |rig: &mut Rig, report| {
            rig.conductor.heard(member(2), arc, report, rig.now);
            let actions = rig.conductor.step(&rig.state, &rig.wish, 4, rig.now);
            let finish = |action: &Action| matches!(action, Action::Propose(Command::MoveFinish(f)) if f.arc == arc);
            actions.iter().any(finish)
        };
        rig.conductor.step(&rig.state, &rig.wish, 4, rig.now);
        for report in bad {
            assert!(!finishes(&mut rig, report), "{report:?}");
        }
        assert!(finishes(&mut rig, good));
    }

    /// Would catch splits for a node that comes for a moment, all of them at once, and a ring that
    /// is left uneven or unbalanced.
    #[test]
    fn a_ring_that_is_too_coarse_is_divided_one_by_one_after_a_while() {
        let mut rig = Rig::new(6, 3);
        rig.wish.keep_arcs = false;
        rig.settle();
        up(&mut rig.state, 7);
        let count = |rig: &Rig| rig.state.partitions.len();
        let begun = rig.now;
        while count(&rig) == 16 {
            rig.round();
            assert!(rig.now - begun < 2 * COARSE_FOR, "nothing is split");
        }
        assert!(rig.now - begun >= COARSE_FOR);
        let mut last = rig.now;
        while count(&rig) < 32 {
            let before = count(&rig);
            rig.round();
            if count(&rig) > before {
                assert_eq!(count(&rig), before + 1);
                assert!(rig.now - last >= SPLIT_PAUSE);
                last = rig.now;
            }
            assert!(rig.now - begun < 10 * COARSE_FOR, "the ring stays uneven");
        }
        rig.settle();
        assert_eq!(rig.members(), [3; 32]);
        for number in 1..=7 {
            let partitions = rig.state.partitions.values();
            let held = partitions.filter(|p| p.members.contains(&member(number)));
            assert!((13..=14).contains(&held.count()), "node {number}");
        }
        // What a person begins the leader ends, without waiting.
        let (arc, epoch) = {
            let (arc, partition) = rig.state.partitions.first_key_value().unwrap();
            (*arc, partition.epoch)
        };
        let split = Command::Split(Split { arc, epoch });
        assert_eq!(rig.state.apply(&split), Outcome::Applied);
        let begun = rig.now;
        while count(&rig) < 64 {
            rig.round();
            assert!(rig.now - begun < 64 * SPLIT_PAUSE, "the ring stays uneven");
        }
    }
}
