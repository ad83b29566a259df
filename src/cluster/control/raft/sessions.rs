//! What this node remembers of others: their latest session and how far they were. A node that
//! comes back behind that was restored from an old image; a session that is not the latest must
//! end, so that two copies of one disk never both serve.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::wire::messages as pb;
use crate::cluster::control::command::Session;
use crate::cluster::control::state::ControlState;
use crate::model::Incarnation;
use crate::runtime::{Rule, holds};

/// Nodes that are remembered; more than a cluster can have.
const NODES_MAX: usize = 4096;

/// How far a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// How often it has been started.
    pub starts: u64,
    /// The last index of the control log that it has applied.
    pub control: u64,
    /// The durable position of its log of samples.
    pub log: u64,
}

impl Position {
    fn raise(&mut self, other: Self) {
        self.starts = self.starts.max(other.starts);
        self.control = self.control.max(other.control);
        self.log = self.log.max(other.log);
    }
}

impl From<Position> for pb::Position {
    fn from(position: Position) -> Self {
        Self {
            starts: position.starts,
            control: position.control,
            log: position.log,
        }
    }
}

impl From<pb::Position> for Position {
    fn from(position: pb::Position) -> Self {
        Self {
            starts: position.starts,
            control: position.control,
            log: position.log,
        }
    }
}

/// A session that is not the latest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "session {} of {node} is not its latest, which is {}: another process runs on its data directory or on a copy of it, and this one must exit",
    .session.starts,
    .known.starts
)]
pub(super) struct OldSession {
    node: Incarnation,
    session: Session,
    known: Session,
}

/// Sessions and positions, by node.
#[derive(Default)]
pub(super) struct Sessions(Mutex<BTreeMap<Incarnation, (Session, Position)>>);

impl Sessions {
    /// Takes note of a session; a higher counter is believed at once, without a commit.
    pub(super) fn admit(
        &self,
        state: &ControlState,
        node: Incarnation,
        session: Session,
    ) -> Result<(), OldSession> {
        let mut known = self.0.lock();
        let heard = known.get(&node).map(|(session, _)| *session);
        let announced = state.members.get(&node).map(|member| member.session);
        for known in heard.into_iter().chain(announced) {
            let later = session.starts > known.starts || session == known;
            if !later && holds(Rule::SessionsAreTheLatest) {
                return Err(OldSession {
                    node,
                    session,
                    known,
                });
            }
        }
        if known.len() < NODES_MAX || known.contains_key(&node) {
            known
                .entry(node)
                .and_modify(|entry| entry.0 = session)
                .or_insert((session, Position::default()));
        }
        Ok(())
    }

    /// Takes note of how far a node is.
    pub(super) fn note(&self, node: Incarnation, position: Position) {
        if let Some((_, known)) = self.0.lock().get_mut(&node) {
            known.raise(position);
        }
    }

    /// What is remembered of a node.
    pub(super) fn remembered(&self, state: &ControlState, node: Incarnation) -> Option<Position> {
        let heard = self.0.lock().get(&node).copied();
        let member = state.members.get(&node);
        let announced = member.map(|member| (member.session, Position::default()));
        let mut remembered: Option<Position> = None;
        for (session, mut position) in heard.into_iter().chain(announced) {
            position.starts = position.starts.max(session.starts);
            remembered.get_or_insert_default().raise(position);
        }
        remembered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(starts: u64, nonce: u128) -> Session {
        Session { starts, nonce }
    }

    #[test]
    fn of_two_copies_of_one_disk_only_one_is_admitted() {
        let sessions = Sessions::default();
        let state = ControlState::default();
        let admit = |session| sessions.admit(&state, Incarnation(7), session).is_ok();
        assert!(admit(session(3, 30)));
        assert!(admit(session(3, 30)), "the same session again");
        assert!(!admit(session(3, 31)), "the same counter, another process");
        assert!(!admit(session(2, 20)), "an older start");
        assert!(admit(session(4, 40)), "a later start ends the earlier");
        assert!(!admit(session(3, 30)));
        assert!(
            sessions
                .admit(&state, Incarnation(8), session(1, 1))
                .is_ok()
        );
    }

    #[test]
    fn the_highest_position_is_remembered() {
        let sessions = Sessions::default();
        let node = Incarnation(7);
        let position = |starts, control, log| Position {
            starts,
            control,
            log,
        };
        let state = ControlState::default();
        sessions.note(node, position(9, 9, 9));
        assert_eq!(sessions.remembered(&state, node), None, "a stranger");
        sessions.admit(&state, node, session(2, 1)).unwrap();
        sessions.note(node, position(1, 9, 5));
        assert_eq!(sessions.remembered(&state, node), Some(position(2, 9, 5)));
        sessions.note(node, position(1, 2, 7));
        assert_eq!(sessions.remembered(&state, node), Some(position(2, 9, 7)));
    }
}
