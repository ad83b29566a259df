//! What the cluster is and what is wrong with it, for a person: the control state in words.

use std::collections::{BTreeMap, BTreeSet};

use super::blocks::ArchiveStatus;
use super::control::{ControlState, Liveness, MemberId, Move, Partition};
use super::deletes::{DeleteRow, rows};
use super::moves::Progress;
use super::quorum::Sets;
use super::ring::{Holding, Plan};
use super::scrub::ScrubStatus;
use crate::model::{Incarnation, RingArc};

/// The cluster as one node sees it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ClusterStatus {
    /// Its id in hex digits; empty before it is founded.
    pub cluster: String,
    /// What this node is.
    pub incarnation: String,
    /// The name of the control group's leader, if one is known.
    pub leader: Option<String>,
    /// The last control command that was applied here.
    pub applied: u64,
    /// How often the control group was rebuilt from survivors.
    pub generation: u64,
    /// Formats and commands up to this level are used: what every node understands.
    pub feature_level: u32,
    /// Replicas that every partition is to have.
    pub replication_factor: usize,
    /// All nodes that are not gone.
    pub nodes: Vec<NodeRow>,
    /// All partitions.
    pub partitions: Vec<PartitionRow>,
    /// Moves under way and being prepared.
    pub moves: Vec<MoveRow>,
    /// Partitions of which a live member is missing.
    pub under_replicated: usize,
    /// Partitions that take no writes and no reads.
    pub unavailable: usize,
    /// The bucket, if there is one.
    pub archive: Option<ArchiveStatus>,
    /// What this node has found of damage to copies of blocks.
    pub scrub: Vec<ScrubStatus>,
    /// Deletes that can be undone or are being removed, of all tenants, the oldest first.
    pub deletes: Vec<DeleteRow>,
    /// What is wrong, in words; the worst first.
    pub trouble: Vec<String>,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeRow {
    /// What people call it.
    pub name: String,
    /// What it is.
    pub incarnation: Incarnation,
    /// Where it stands.
    pub zone: String,
    /// Where peers reach it.
    pub address: String,
    /// The version of its program.
    pub version: String,
    /// Whether it is there.
    pub liveness: Liveness,
    /// Whether it votes in the control group.
    pub voter: bool,
    /// Whether it is to be emptied.
    pub draining: bool,
    /// Replicas that it holds.
    pub holds: u32,
    /// Replicas that it will hold when all moves are done.
    pub will_hold: u32,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionRow {
    /// Which.
    pub arc: RingArc,
    /// Its epoch.
    pub epoch: u64,
    /// The version of its catalog, and the one that is applied here.
    pub version: u64,
    /// The version that this node has applied, where it is a member.
    pub applied: Option<u64>,
    /// Blocks of its catalog: those that the control state lists, and those of its manifest.
    pub blocks: usize,
    /// The names of its members, in order.
    pub members: Vec<String>,
    /// How many of them are live.
    pub live: usize,
    /// Whether a majority of each set is live.
    pub available: bool,
}

/// One move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoveRow {
    /// Which partition.
    pub arc: RingArc,
    /// Who comes.
    pub join: Option<String>,
    /// Who goes.
    pub leave: Option<String>,
    /// Whether it has begun; before that the newcomer fetches blocks.
    pub begun: bool,
    /// Bytes that the newcomer still has to fetch, where that is known.
    pub missing_bytes: Option<u64>,
}

/// What a status is made from, beside the control state.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) me: Incarnation,
    pub(super) leader: Option<Incarnation>,
    pub(super) voters: BTreeSet<Incarnation>,
    pub(super) replication_factor: usize,
    pub(super) plan: Plan,
    pub(super) moves: Vec<Progress>,
    /// What is applied here.
    pub(super) applied: BTreeMap<RingArc, u64>,
    /// The bucket.
    pub(super) archive: Option<ArchiveStatus>,
    pub(super) scrub: Vec<ScrubStatus>,
    /// What else is wrong, such as with discovery.
    pub(super) trouble: Vec<String>,
}

/// The state in words.
pub(super) fn describe(state: &ControlState, around: Surroundings) -> ClusterStatus {
    let name = |incarnation: Incarnation| match state.members.get(&incarnation) {
        Some(member) if !member.name.is_empty() => member.name.clone(),
        _ => incarnation.to_string(),
    };
    let of = |member: Option<MemberId>| member.map(|member| name(member.incarnation));
    let partitions: Vec<PartitionRow> = state
        .partitions
        .iter()
        .map(|(arc, partition)| row(*arc, partition, state, &around, &name))
        .collect();
    let begun = state.partitions.iter().filter_map(|(arc, p)| {
        let Move { join, leave } = p.moving?;
        Some((*arc, join, leave, true))
    });
    let known: BTreeMap<RingArc, &Progress> = around.moves.iter().map(|m| (m.arc, m)).collect();
    let preparing = around.moves.iter().filter(|progress| !progress.begun);
    let preparing = preparing.map(|p| (p.arc, p.join, p.leave, false));
    let moves = begun
        .chain(preparing)
        .map(|(arc, join, leave, begun)| MoveRow {
            arc,
            join: of(join),
            leave: of(leave),
            begun,
            missing_bytes: known.get(&arc).and_then(|progress| progress.missing_bytes),
        });
    let mut status = ClusterStatus {
        cluster: state.cluster.map(|id| id.to_string()).unwrap_or_default(),
        incarnation: around.me.to_string(),
        leader: around.leader.map(name),
        applied: state.applied,
        generation: state.generation,
        feature_level: state.feature_level,
        replication_factor: around.replication_factor,
        nodes: nodes(state, &around),
        moves: moves.collect(),
        under_replicated: 0,
        unavailable: partitions.iter().filter(|row| !row.available).count(),
        archive: around.archive.clone(),
        scrub: around.scrub.clone(),
        deletes: rows(state),
        trouble: Vec::new(),
        partitions,
    };
    let wanted = around.replication_factor.min(status.nodes.len()).max(1);
    let rows = status.partitions.iter();
    status.under_replicated = rows.filter(|row| row.live < wanted).count();
    status.trouble = trouble(&status, around.trouble);
    status
}

fn row(
    arc: RingArc,
    partition: &Partition,
    state: &ControlState,
    around: &Surroundings,
    name: &impl Fn(Incarnation) -> String,
) -> PartitionRow {
    let is_live = |member: &MemberId| {
        let known = state.members.get(&member.incarnation);
        known.is_some_and(|m| m.liveness == Liveness::Live && m.life == member.life)
    };
    let sets = Sets::of(partition);
    let live: BTreeSet<MemberId> = sets.everyone().into_iter().filter(is_live).collect();
    PartitionRow {
        arc,
        epoch: partition.epoch.0,
        version: partition.version,
        applied: around.applied.get(&arc).copied(),
        blocks: {
            let older = partition.history.map_or(0, |history| history.blocks);
            let older = usize::try_from(older).unwrap_or(usize::MAX);
            partition.recent.len().saturating_add(older)
        },
        members: partition
            .members
            .iter()
            .map(|m| name(m.incarnation))
            .collect(),
        live: partition.members.iter().filter(|m| is_live(m)).count(),
        available: sets.have_majority(&live),
    }
}

fn nodes(state: &ControlState, around: &Surroundings) -> Vec<NodeRow> {
    let there = state.members.iter();
    let there = there.filter(|(_, member)| member.liveness != Liveness::Gone);
    let each = there.map(|(incarnation, member)| {
        let id = MemberId {
            incarnation: *incarnation,
            life: member.life,
        };
        let held = state
            .partitions
            .values()
            .filter(|p| p.members.contains(&id));
        let holding = around.plan.holdings.get(&id).copied();
        NodeRow {
            name: member.name.clone(),
            incarnation: *incarnation,
            zone: member.zone.clone(),
            address: member.addresses.first().cloned().unwrap_or_default(),
            version: member.version.clone(),
            liveness: member.liveness,
            voter: around.voters.contains(incarnation),
            draining: member.draining,
            holds: u32::try_from(held.count()).unwrap_or(u32::MAX),
            will_hold: holding.map_or(0, |Holding { will_hold, .. }| will_hold),
        }
    });
    each.collect()
}

/// What is wrong, in words; what concerns data first.
fn trouble(status: &ClusterStatus, more: Vec<String>) -> Vec<String> {
    let mut trouble = Vec::new();
    let away: Vec<&str> = status
        .nodes
        .iter()
        .filter(|node| node.liveness == Liveness::Down)
        .map(|node| node.name.as_str())
        .collect();
    if status.unavailable > 0 {
        trouble.push(format!(
            "{} of {} partitions take no writes and answer no reads: a majority of their members is away (down: {}): bring one of them back",
            status.unavailable,
            status.partitions.len(),
            listed(&away)
        ));
    }
    if !away.is_empty() {
        trouble.push(format!(
            "down: {}: what they hold is moved to others when they stay away longer than cluster.replace_after",
            listed(&away)
        ));
    }
    if status.leader.is_none() {
        trouble.push(
            "the control group has no leader: seals and moves wait, writes and reads go on"
                .to_owned(),
        );
    }
    if status.under_replicated > 0 && away.is_empty() && status.moves.is_empty() {
        trouble.push(format!(
            "{} partitions have fewer than {} live replicas and nothing moves yet",
            status.under_replicated, status.replication_factor
        ));
    }
    if status.nodes.len() == 2 && status.replication_factor >= 2 {
        trouble.push(
            "two nodes protect from a lost disk but not from downtime: with one away nothing is written; add a third"
                .to_owned(),
        );
    }
    let archive = status.archive.as_ref();
    if let Some(reason) = archive.and_then(|archive| archive.trouble.as_ref()) {
        trouble.push(format!("sealed blocks wait for the bucket: {reason}"));
    }
    trouble.extend(more);
    trouble
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "none that is known".to_owned();
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::{ClusterId, Command, Found, NodeUp};
    use crate::model::FOUNDING_DEPTH;

    fn state(nodes: u128) -> ControlState {
        let mut state = ControlState::default();
        let founders = (1..=nodes).map(Incarnation).collect();
        state.apply(&Command::Found(Found {
            cluster: ClusterId(0xc0),
            depth: FOUNDING_DEPTH,
            founders,
        }));
        for number in 1..=nodes {
            state.apply(&Command::NodeUp(NodeUp {
                name: format!("board-{number}"),
                addresses: vec![format!("10.0.0.{number}:9095")],
                zone: "shelf".to_owned(),
                version: "1".to_owned(),
                ..NodeUp::of(number)
            }));
        }
        state
    }

    fn describe_with(state: &ControlState, leader: Option<u128>) -> ClusterStatus {
        describe(
            state,
            Surroundings {
                me: Incarnation(1),
                leader: leader.map(Incarnation),
                voters: BTreeSet::new(),
                replication_factor: 3,
                plan: Plan::default(),
                moves: Vec::new(),
                applied: BTreeMap::new(),
                archive: None,
                scrub: Vec::new(),
                trouble: Vec::new(),
            },
        )
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let mut state = state(3);
        let healthy = describe_with(&state, Some(2));
        assert_eq!(healthy.trouble, Vec::<String>::new());
        assert_eq!(healthy.leader.as_deref(), Some("board-2"));
        assert_eq!((healthy.under_replicated, healthy.unavailable), (0, 0));
        assert_eq!(healthy.partitions.len(), 16);
        assert!(healthy.nodes.iter().all(|node| node.holds == 16));
        state.apply(&Command::NodeDown(Incarnation(3)));
        let one_away = describe_with(&state, Some(2));
        assert_eq!((one_away.under_replicated, one_away.unavailable), (16, 0));
        assert!(one_away.trouble[0].starts_with("down: board-3:"));
        state.apply(&Command::NodeDown(Incarnation(2)));
        let two_away = describe_with(&state, None);
        assert_eq!(two_away.unavailable, 16);
        assert!(two_away.trouble[0].starts_with("16 of 16 partitions take no writes"));
        assert!(two_away.trouble[2].contains("no leader"));
        assert!(describe_with(&state_of_two(), Some(1)).trouble[0].contains("add a third"));
    }

    fn state_of_two() -> ControlState {
        state(2)
    }
}
