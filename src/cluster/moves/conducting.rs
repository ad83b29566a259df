//! The leader's part in moves, carried out: reports are asked for, commands are proposed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::conductor::{Action, Conductor, Progress, Report};
use super::mover::Mover;
use super::wire;
use crate::cluster::control::{Command, Control, ControlState, Liveness, MemberId, Outcome};
use crate::cluster::peer::{Blocking, Method};
use crate::cluster::ring::Wish;
use crate::cluster::settings::ClusterSettings;
use crate::cluster::version::SPLITS_FROM;
use crate::model::{Incarnation, RingArc};
use crate::runtime::Clock;

/// A report is a look at memory and a directory.
const PATIENCE: Duration = Duration::from_secs(2);

/// A founder that has not announced itself for so long since the founding will not.
const FOUNDERS_PATIENCE: Duration = Duration::from_secs(30);

/// So many moves and preparations may be under way at once: each newcomer's bandwidth is bounded
/// by itself, and each of them holds up nothing but itself.
const MOVES_AT_ONCE: usize = 8;

/// Conducts moves while this node leads the control group.
pub(in crate::cluster) struct Conducting {
    control: Arc<dyn Control>,
    peers: Blocking,
    clock: Arc<dyn Clock>,
    settings: ClusterSettings,
    mover: Arc<Mover>,
    me: Incarnation,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    conductor: Conductor,
    /// Since when nodes have been down, as far as this leader has seen it.
    down: BTreeMap<Incarnation, Duration>,
    /// Since when somebody in the ring has not announced himself.
    founding: Option<Duration>,
}

impl Conducting {
    pub(in crate::cluster) fn new(
        control: Arc<dyn Control>,
        peers: Blocking,
        clock: Arc<dyn Clock>,
        settings: ClusterSettings,
        mover: Arc<Mover>,
        me: Incarnation,
    ) -> Self {
        Self {
            control,
            peers,
            clock,
            settings,
            mover,
            me,
            state: Mutex::default(),
        }
    }

    /// What the ring should be like.
    pub(in crate::cluster) fn wish(&self, state: &ControlState) -> Wish {
        let now = self.clock.elapsed();
        let mut own = self.state.lock();
        let away = |who: &Incarnation| {
            let member = state.members.get(who);
            member.is_some_and(|member| member.liveness == Liveness::Down)
        };
        own.down.retain(|who, _| away(who));
        for who in state.members.keys().filter(|who| away(who)) {
            own.down.entry(*who).or_insert(now);
        }
        let for_long = |since: &Duration| now.saturating_sub(*since) >= self.settings.replace_after;
        let replaced = own.down.iter().filter(|(_, since)| for_long(since));
        let members = state.members.iter();
        Wish {
            replication_factor: usize::try_from(self.settings.replication_factor)
                .unwrap_or(usize::MAX),
            replaced: replaced.map(|(who, _)| *who).collect(),
            draining: members
                .filter(|(_, member)| member.draining)
                .map(|(who, _)| *who)
                .collect(),
            // What an older program in the cluster would not follow.
            keep_arcs: state.feature_level < SPLITS_FROM,
            ..Wish::default()
        }
    }

    /// One round, if this node leads.
    pub(in crate::cluster) fn round(&self) {
        if !self.control.is_leader() {
            // Another leader asks anew; what this one knew would be old when it leads again.
            *self.state.lock() = State::default();
            return;
        }
        let state = self.control.state();
        let now = self.clock.elapsed();
        if self.waits_for_founders(&state, now) {
            return;
        }
        let wish = self.wish(&state);
        let actions = {
            let mut own = self.state.lock();
            own.conductor.step(&state, &wish, MOVES_AT_ONCE, now)
        };
        let mut asks = Vec::new();
        for action in actions {
            match action {
                Action::Ask(member, arc) => asks.push((member, arc)),
                Action::Propose(command) => self.propose(&command),
            }
        }
        self.ask(asks);
    }

    /// Whether somebody in the ring has never announced himself: a founder that is just starting.
    /// After a while it counts as lost: whoever founds is there.
    fn waits_for_founders(&self, state: &ControlState, now: Duration) -> bool {
        let members = state.partitions.values().flat_map(|p| &p.members);
        let mut unknown = members.filter(|m| !state.members.contains_key(&m.incarnation));
        let mut own = self.state.lock();
        if unknown.next().is_none() {
            own.founding = None;
            return false;
        }
        let since = *own.founding.get_or_insert(now);
        now.saturating_sub(since) < FOUNDERS_PATIENCE
    }

    fn propose(&self, command: &Command) {
        match self.control.propose(command) {
            Ok(Outcome::Applied) => tracing::info!(command = ?command, "the ring changes"),
            Ok(Outcome::Refused(refusal)) => {
                tracing::debug!(command = command.name(), %refusal, "the ring has gone on");
            }
            Err(error) => tracing::warn!(
                command = command.name(), %error, "a change of the ring could not be decided"
            ),
        }
    }

    fn ask(&self, asks: Vec<(MemberId, RingArc)>) {
        let (mine, others): (Vec<_>, Vec<_>) = asks
            .into_iter()
            .partition(|(member, _)| member.incarnation == self.me);
        for (member, arc) in mine {
            match self.mover.report(arc) {
                Ok(report) => self.heard(member, arc, report),
                Err(error) => tracing::warn!(partition = %arc, %error, "no report of a move"),
            }
        }
        let bodies = others
            .iter()
            .map(|(member, arc)| (member.incarnation, wire::encode_request(*arc)));
        let answers = self
            .peers
            .call_all(bodies.collect(), Method::Move, PATIENCE);
        for ((member, arc), (_, answer)) in others.into_iter().zip(answers) {
            let report = answer.map_err(|error| error.to_string());
            match report.and_then(wire::decode_report) {
                Ok(report) => self.heard(member, arc, report),
                Err(error) => {
                    tracing::debug!(partition = %arc, %error, "a member does not report");
                }
            }
        }
    }

    fn heard(&self, from: MemberId, arc: RingArc, report: Report) {
        let now = self.clock.elapsed();
        self.state.lock().conductor.heard(from, arc, report, now);
    }

    /// What is under way, as far as this node conducts it.
    pub(in crate::cluster) fn progress(&self, state: &ControlState) -> Vec<Progress> {
        self.state.lock().conductor.progress(state)
    }
}
