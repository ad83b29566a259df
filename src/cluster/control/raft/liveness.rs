//! Who is there: a pure judgement of what the leader sees of each member over time.
//!
//! A member is down when it has not answered for the detection time, and live again when it
//! answers; each change of mind about one member makes the next one wait longer, so that a link
//! that comes and goes costs a bounded number of commands. Who is away for too long is given up
//! for ever, but never while a partition's content could be gathered from nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::control::command::{Command, MemberId};
use crate::cluster::control::state::{ControlState, Liveness, Member};
use crate::model::Incarnation;

/// The longest that a change of mind waits, in detection times.
const HOLD_MAX: u32 = 64;

/// After so many detection times without a change, a member's history is forgotten.
const CALM: u32 = 128;

/// What the leader's times are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) detection: Duration,
    pub(super) replace_after: Duration,
}

/// What the leader knows of one member since it leads.
#[derive(Clone, Copy, Debug)]
struct Track {
    liveness: Liveness,
    /// When it became so, or when the leader began to look.
    since: Duration,
    /// How long the next change of mind waits.
    hold: Duration,
}

/// The leader's view; it begins anew with each term of leading.
#[derive(Debug, Default)]
pub(super) struct Liveliness {
    tracks: BTreeMap<Incarnation, Track>,
}

impl Liveliness {
    /// What to propose now. `heard` says when a member last answered; times are those of one clock
    /// that never goes back.
    pub(super) fn judge(
        &mut self,
        state: &ControlState,
        me: Incarnation,
        bounds: Bounds,
        now: Duration,
        heard: impl Fn(Incarnation) -> Option<Duration>,
    ) -> Vec<Command> {
        self.tracks
            .retain(|incarnation, _| state.members.contains_key(incarnation));
        let mut commands = Vec::new();
        for (incarnation, member) in &state.members {
            let track = self.track(*incarnation, member, bounds, now);
            if *incarnation == me {
                // Somebody led before who did not reach this node.
                if member.liveness == Liveness::Down {
                    commands.push(Command::NodeLive(*incarnation));
                }
                continue;
            }
            let heard = heard(*incarnation);
            let silent = now.saturating_sub(heard.unwrap_or_default().max(track.since));
            let held = now.saturating_sub(track.since) < track.hold;
            let command = match member.liveness {
                Liveness::Live if silent >= bounds.detection && !held => {
                    Some(Command::NodeDown(*incarnation))
                }
                Liveness::Down => {
                    let answers = heard.is_some_and(|at| {
                        at > track.since && now.saturating_sub(at) < bounds.detection / 2
                    });
                    if answers && !held {
                        Some(Command::NodeLive(*incarnation))
                    } else if !answers && self.is_lost(state, *incarnation, bounds, now) {
                        Some(Command::NodeGone(*incarnation))
                    } else {
                        None
                    }
                }
                _ => None,
            };
            commands.extend(command);
        }
        commands
    }

    /// How long a member has been down, as far as this leader knows.
    pub(super) fn down_for(&self, incarnation: Incarnation, now: Duration) -> Option<Duration> {
        let track = self.tracks.get(&incarnation)?;
        (track.liveness == Liveness::Down).then(|| now.saturating_sub(track.since))
    }

    fn track(
        &mut self,
        incarnation: Incarnation,
        member: &Member,
        bounds: Bounds,
        now: Duration,
    ) -> Track {
        let track = self.tracks.entry(incarnation).or_insert(Track {
            liveness: member.liveness,
            since: now,
            hold: Duration::ZERO,
        });
        let age = now.saturating_sub(track.since);
        if track.liveness != member.liveness {
            let longer = track.hold.saturating_mul(2).max(bounds.detection / 4);
            track.hold = longer.min(bounds.detection.saturating_mul(HOLD_MAX));
            track.liveness = member.liveness;
            track.since = now;
        } else if age > bounds.detection.saturating_mul(CALM) {
            track.hold = Duration::ZERO;
        }
        *track
    }

    /// Whether a member that is down will be given up now: it has been away for too long, or its
    /// name has come back with another data directory.
    fn is_lost(
        &self,
        state: &ControlState,
        incarnation: Incarnation,
        bounds: Bounds,
        now: Duration,
    ) -> bool {
        let late = self
            .down_for(incarnation, now)
            .is_some_and(|down| down >= bounds.replace_after);
        (late || is_replaced(state, incarnation)) && can_be_spared(state, incarnation)
    }
}

/// Whether a live member has the same name and another incarnation.
fn is_replaced(state: &ControlState, incarnation: Incarnation) -> bool {
    let Some(lost) = state.members.get(&incarnation) else {
        return false;
    };
    let named = !lost.name.is_empty();
    named
        && state.members.iter().any(|(other, member)| {
            *other != incarnation && member.name == lost.name && member.liveness == Liveness::Live
        })
}

/// Whether what every partition holds could be gathered without a member: from C living members of
/// its present set, the least that meets every majority that acknowledged a write.
pub(in crate::cluster) fn can_be_spared(state: &ControlState, incarnation: Incarnation) -> bool {
    let is_live = |member: &&MemberId| {
        let known = state.members.get(&member.incarnation);
        member.incarnation != incarnation && known.is_some_and(|m| m.liveness == Liveness::Live)
    };
    state.partitions.values().all(|partition| {
        let sets = partition.sets();
        let concerned = sets.iter().flatten().any(|m| m.incarnation == incarnation);
        let size = partition.members.len();
        let least = size.saturating_sub(size / 2);
        !concerned || partition.members.iter().filter(is_live).count() >= least
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::command::{ClusterId, Found, NodeUp};

    const BOUNDS: Bounds = Bounds {
        detection: Duration::from_secs(5),
        replace_after: Duration::from_secs(3600),
    };

    fn node(number: u128, name: &str) -> Command {
        Command::NodeUp(NodeUp {
            name: name.to_owned(),
            ..NodeUp::of(number)
        })
    }

    fn cluster(nodes: u128) -> ControlState {
        let mut state = ControlState::default();
        let founders = (1..=nodes).map(Incarnation).collect();
        state.apply(&Command::Found(Found {
            cluster: ClusterId(1),
            depth: 2,
            founders,
        }));
        for number in 1..=nodes {
            state.apply(&node(number, &format!("node-{number}")));
        }
        state
    }

    /// Looks every 400 ms until a time and applies what is proposed; gives it with its second.
    fn watch(
        view: &mut Liveliness,
        state: &mut ControlState,
        seconds: std::ops::Range<u64>,
        answers: impl Fn(Incarnation, Duration) -> bool,
    ) -> Vec<(u64, Command)> {
        let mut all = Vec::new();
        let mut last: BTreeMap<Incarnation, Duration> = BTreeMap::new();
        let mut now = Duration::from_secs(seconds.start);
        while now < Duration::from_secs(seconds.end) {
            for incarnation in state.members.keys() {
                if answers(*incarnation, now) {
                    last.insert(*incarnation, now);
                }
            }
            let heard = |incarnation| last.get(&incarnation).copied();
            for command in view.judge(state, Incarnation(1), BOUNDS, now, heard) {
                state.apply(&command);
                all.push((now.as_secs(), command));
            }
            now += Duration::from_millis(400);
        }
        all
    }

    #[test]
    fn who_is_silent_is_down_and_who_answers_is_live() {
        let (mut state, mut view) = (cluster(3), Liveliness::default());
        let away = |node: Incarnation, now: Duration| {
            node != Incarnation(2) || now < Duration::from_secs(20) || now > Duration::from_secs(60)
        };
        let all = watch(&mut view, &mut state, 10..100, away);
        assert_eq!(
            all,
            [
                (24, Command::NodeDown(Incarnation(2))),
                (60, Command::NodeLive(Incarnation(2)))
            ]
        );
        // A new leader first looks for a while.
        let mut view = Liveliness::default();
        let all = watch(&mut view, &mut state, 200..204, |_, _| false);
        assert_eq!(all, []);
    }

    #[test]
    fn a_link_that_comes_and_goes_costs_less_and_less() {
        let (mut state, mut view) = (cluster(3), Liveliness::default());
        let flaps =
            |node: Incarnation, now: Duration| node != Incarnation(2) || now.as_secs() % 14 < 7;
        let hour = watch(&mut view, &mut state, 10..3600, flaps).len();
        assert!(hour < 40, "{hour} commands");
        assert!(hour >= 4, "{hour} commands");
    }

    #[test]
    fn who_is_away_for_too_long_is_given_up_unless_its_content_is_needed() {
        let (mut state, mut view) = (cluster(3), Liveliness::default());
        let all = watch(&mut view, &mut state, 0..3700, |node, _| {
            node != Incarnation(3)
        });
        let last = all.last().unwrap();
        assert_eq!(last.1, Command::NodeGone(Incarnation(3)));
        assert!(last.0 >= 3600, "{all:?}");
        // Two of three away: giving one up would give up what only it may have.
        let (mut state, mut view) = (cluster(3), Liveliness::default());
        let all = watch(&mut view, &mut state, 0..8000, |node, _| {
            node == Incarnation(1)
        });
        assert!(
            all.iter().all(|(_, c)| matches!(c, Command::NodeDown(_))),
            "{all:?}"
        );
    }

    #[test]
    fn a_name_with_another_disk_replaces_the_old_at_once() {
        let (mut state, mut view) = (cluster(3), Liveliness::default());
        state.apply(&node(9, "node-3"));
        let away = |node: Incarnation, _| node != Incarnation(3);
        let all = watch(&mut view, &mut state, 0..20, away);
        assert_eq!(all.last().unwrap().1, Command::NodeGone(Incarnation(3)));
        // Not while it answers: then two nodes have one name.
        let (mut state, mut view) = (cluster(3), Liveliness::default());
        state.apply(&node(9, "node-3"));
        assert_eq!(watch(&mut view, &mut state, 0..100, |_, _| true), []);
    }
}
