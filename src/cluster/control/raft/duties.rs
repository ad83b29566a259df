//! What a member does over and over: the leader judges who is there and who should vote; everybody
//! remembers where the others are, tells the voters how far it is, and looks whether its own
//! session still counts.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use openraft::ChangeMembers;
use tokio::task::JoinHandle;

use super::group::{Ending, LOG_KEEPS, RaftControl};
use super::hello::{self, To};
use super::liveness::{Bounds, Liveliness};
use super::types::{GroupNode, NodeId, number_of};
use super::voters::{self, Candidate, Health};
use crate::cluster::control::state::{ControlState, Liveness};
use crate::cluster::control::{Command, Control};
use crate::model::Incarnation;
use crate::runtime::{Clock, Rule, holds};

/// What it has in mind from one time to the next.
struct Duties {
    clock: Arc<dyn Clock>,
    replace_after: Duration,
    view: Liveliness,
    /// The term in which the view began.
    term: Option<u64>,
    known: Arc<ControlState>,
    last_hello: Duration,
    leader: Option<Incarnation>,
}

/// Starts them; they end with the group.
pub(super) fn start(
    control: &Arc<RaftControl>,
    clock: Arc<dyn Clock>,
    replace_after: Duration,
) -> JoinHandle<()> {
    let mut duties = Duties {
        last_hello: clock.elapsed(),
        clock,
        replace_after,
        view: Liveliness::default(),
        term: None,
        known: Arc::default(),
        leader: None,
    };
    let interval = control.timings.heartbeat;
    let control: Weak<RaftControl> = Arc::downgrade(control);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            let Some(control) = control.upgrade() else {
                return;
            };
            duties.once(&control).await;
        }
    })
}

impl Duties {
    async fn once(&mut self, control: &RaftControl) {
        let state = control.state();
        if !Arc::ptr_eq(&state, &self.known) {
            self.look_at(control, &state);
            self.known = Arc::clone(&state);
        }
        self.count(control, &state);
        let now = self.clock.elapsed();
        if now.saturating_sub(self.last_hello) >= control.timings.detection {
            self.last_hello = now;
            self.say_hello(control).await;
        }
        match control.leads_surely() {
            Some(term) if state.cluster.is_some() => {
                if self.term != Some(term) {
                    self.view = Liveliness::default();
                    self.term = Some(term);
                }
                self.lead(control, &state, now).await;
            }
            _ => self.term = None,
        }
    }

    /// The state is another one: where members are, and what it says of this node.
    fn look_at(&self, control: &RaftControl, state: &ControlState) {
        for (incarnation, member) in &state.members {
            let before = self.known.members.get(incarnation);
            let moved = before.is_none_or(|before| before.addresses != member.addresses);
            if moved && *incarnation != control.incarnation && !member.addresses.is_empty() {
                let transport = control.peers.transport();
                transport.know(*incarnation, &member.addresses);
            }
        }
        if let Some(cluster) = state
            .cluster
            .filter(|_| state.generation > self.known.generation)
        {
            control.belong(cluster);
        }
        let Some(me) = state.members.get(&control.incarnation) else {
            return;
        };
        let (mine, known) = (control.session, me.session);
        if me.liveness == Liveness::Gone {
            control.end(Ending::GivenUp);
        } else if holds(Rule::SessionsAreTheLatest)
            && (known.starts > mine.starts
                || (known.starts == mine.starts && known.nonce != mine.nonce))
        {
            control.end(Ending::OldSession(format!(
                "start {} of this data directory has announced itself, and this is start {}: another process runs on it or on a copy of it, and this one must exit",
                known.starts, mine.starts
            )));
        }
    }

    fn count(&mut self, control: &RaftControl, state: &ControlState) {
        let leader = control.leader();
        let metrics = &control.metrics;
        if leader.is_some() && leader != self.leader {
            metrics.leader_changes.inc();
            self.leader = leader;
        }
        let size = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let down = |m: &&crate::cluster::control::Member| m.liveness == Liveness::Down;
        metrics.leads.set(i64::from(control.is_leader()));
        metrics.led.set(i64::from(leader.is_some()));
        let term = control.raft.metrics().borrow().current_term;
        metrics.term.set(whole(term));
        metrics.applied.set(whole(state.applied));
        metrics.voters.set(size(control.voters().len()));
        let down = state.members.values().filter(down).count();
        metrics.members_down.set(size(down));
        metrics.partitions.set(size(state.partitions.len()));
    }

    /// Tells the voters how far this node is, so that they remember it.
    async fn say_hello(&self, control: &RaftControl) {
        let voters = control.voters().into_iter();
        let others = voters.filter(|voter| *voter != control.incarnation);
        let to: Vec<To> = others.map(To::Node).collect();
        if to.is_empty() || control.cluster().borrow().is_none() {
            return;
        }
        let position = control.position();
        let patience = control.timings.heartbeat.saturating_mul(2);
        for (_, answer) in hello::ask(control.peers.transport(), to, position, patience).await {
            if let Err(error) = answer {
                // Heeding it is all that can be done.
                let _ = control.heed(&error);
            }
        }
    }

    async fn lead(&mut self, control: &RaftControl, state: &ControlState, now: Duration) {
        let bounds = Bounds {
            detection: control.timings.detection,
            replace_after: self.replace_after,
        };
        let heard = |incarnation| control.peers.heard(number_of(incarnation));
        let commands = self
            .view
            .judge(state, control.incarnation, bounds, now, heard);
        let level = level_to_rise_to(state, control.introduction.build.feature_level);
        let level = level.map(Command::FeatureLevel);
        for command in commands.into_iter().chain(level) {
            tracing::info!(?command, "what the cluster knows of its members changes");
            if let Err(error) = control.propose_soon(&command).await {
                tracing::warn!(%error, "what was seen of a member could not be said");
                return;
            }
        }
        if let Err(error) = self.fit_group(control, now).await {
            tracing::warn!(error, "the voters could not be changed and will be again");
        }
    }

    /// Makes the group's members what they should be.
    async fn fit_group(&self, control: &RaftControl, now: Duration) -> Result<(), String> {
        let state = control.state();
        let group = Group::of(control);
        let chosen = if group.is_changing {
            // Another leader began it: it is finished first.
            group.voters.clone()
        } else {
            voters::choose(&self.candidates(control, &group, &state, now))
        };
        let patience = control.timings.patience;
        if !chosen.is_empty() && (group.is_changing || chosen != group.voters) {
            tracing::info!(
                voters = chosen.len(),
                "the voters of the control group change"
            );
            let change = control.raft.change_membership(chosen, true);
            let changed = tokio::time::timeout(patience, change).await;
            changed
                .map_err(|_| control.why_no_leader())?
                .map_err(|error| error.to_string())?;
            return Ok(());
        }
        let is_gone = |node: &GroupNode| {
            let member = state.members.get(&node.incarnation);
            member.is_some_and(|member| member.liveness == Liveness::Gone)
        };
        let gone = group.nodes.iter().filter(|(_, node)| is_gone(node));
        let gone: BTreeSet<NodeId> = gone
            .map(|(id, _)| *id)
            .filter(|id| !group.voters.contains(id))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let change = control
            .raft
            .change_membership(ChangeMembers::RemoveNodes(gone), true);
        let changed = tokio::time::timeout(patience, change).await;
        changed
            .map_err(|_| control.why_no_leader())?
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn candidates(
        &self,
        control: &RaftControl,
        group: &Group,
        state: &ControlState,
        now: Duration,
    ) -> Vec<Candidate> {
        let candidate = |(id, node): &(NodeId, GroupNode)| {
            let votes = group.voters.contains(id);
            let member = state.members.get(&node.incarnation);
            let leads = node.incarnation == control.incarnation;
            let health = match member.map(|member| (member.liveness, member.draining)) {
                // It has not said yet who it is.
                None => Health::Away,
                Some((Liveness::Gone, _)) => Health::Gone,
                Some((_, true)) if votes && !leads => Health::Lost,
                Some((_, true)) => Health::Away,
                Some((Liveness::Down, _)) => {
                    let down = self.view.down_for(node.incarnation, now);
                    let long = down.is_some_and(|it| it >= control.timings.replace_voter_after);
                    if long { Health::Lost } else { Health::Away }
                }
                Some((Liveness::Live, _)) if leads || group.has_log(*id) => Health::Well,
                Some((Liveness::Live, _)) => Health::Away,
            };
            Candidate {
                id: *id,
                zone: member.map_or_else(String::new, |member| member.zone.clone()),
                votes,
                leads,
                health,
            }
        };
        group.nodes.iter().map(candidate).collect()
    }
}

/// The feature level that the cluster can rise to: what every node understands, those that are away
/// included, and at most what the leader does. Not before everybody in the ring has said it.
fn level_to_rise_to(state: &ControlState, own: u32) -> Option<u32> {
    let mut ring = state.partitions.values().flat_map(|p| &p.members);
    if !ring.all(|member| state.members.contains_key(&member.incarnation)) {
        return None;
    }
    let members = state.members.values();
    let there = members.filter(|member| member.liveness != Liveness::Gone);
    let level = there.map(|member| member.feature_level_max).min()?.min(own);
    (level > state.feature_level).then_some(level)
}

/// The group as the library sees it.
struct Group {
    nodes: Vec<(NodeId, GroupNode)>,
    voters: BTreeSet<NodeId>,
    /// Two sets of voters count at the moment.
    is_changing: bool,
    last: u64,
    progress: Vec<(NodeId, u64)>,
}

impl Group {
    fn of(control: &RaftControl) -> Self {
        let metrics = control.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let configs = membership.get_joint_config();
        let progress = metrics.replication.iter().flatten();
        Self {
            nodes: membership
                .nodes()
                .map(|(id, node)| (*id, node.clone()))
                .collect(),
            voters: configs.last().cloned().unwrap_or_default(),
            is_changing: configs.len() > 1,
            last: metrics.last_log_index.unwrap_or_default(),
            progress: progress
                .map(|(id, matching)| (*id, matching.map_or(0, |matching| matching.index)))
                .collect(),
        }
    }

    /// Whether a member has nearly all of the log.
    fn has_log(&self, node: NodeId) -> bool {
        let matching = self.progress.iter().find(|(id, _)| *id == node);
        matching.is_some_and(|(_, index)| index.saturating_add(LOG_KEEPS) >= self.last)
    }
}
