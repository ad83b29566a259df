//! Which start of each incarnation is the latest that anybody has heard of. Two copies of one
//! disk image cannot both be served: the older start is refused, and of two with one counter the
//! one that came second.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use super::limits::SESSIONS_MAX;
use crate::cluster::identity::Session;
use crate::model::Incarnation;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Of members, from the control state: as many as there are members.
    told: BTreeMap<Incarnation, Session>,
    /// From calls; the oldest entry makes room.
    seen: BTreeMap<Incarnation, Session>,
    order: VecDeque<Incarnation>,
}

/// Why a session is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SessionFault {
    /// A later start is known.
    Old {
        /// Its counter.
        known: u64,
    },
    /// Another start has the same counter.
    Copy,
}

impl Sessions {
    /// What is known for sure: members' sessions in the control state.
    pub(super) fn tell(&self, incarnation: Incarnation, session: Session) {
        let mut table = self.0.lock();
        let told = table.told.entry(incarnation).or_insert(session);
        if session.starts > told.starts {
            *told = session;
        }
    }

    /// Refuses a session that cannot be the latest; a higher counter is believed and remembered.
    pub(super) fn check(
        &self,
        incarnation: Incarnation,
        session: Session,
    ) -> Result<(), SessionFault> {
        let mut table = self.0.lock();
        let told = table.told.get(&incarnation).copied();
        let seen = table.seen.get(&incarnation).copied();
        // Of two with one counter the first that was seen stays; what was told comes first.
        let known = match (told, seen) {
            (Some(told), Some(seen)) if seen.starts > told.starts => Some(seen),
            (told, seen) => told.or(seen),
        };
        if let Some(known) = known {
            if session.starts < known.starts {
                return Err(SessionFault::Old {
                    known: known.starts,
                });
            }
            if session.starts == known.starts {
                let same = session.nonce == known.nonce;
                return if same {
                    Ok(())
                } else {
                    Err(SessionFault::Copy)
                };
            }
        }
        table.remember(incarnation, session);
        Ok(())
    }
}

impl Table {
    fn remember(&mut self, incarnation: Incarnation, session: Session) {
        if self.seen.insert(incarnation, session).is_some() {
            return;
        }
        self.order.push_back(incarnation);
        if self.order.len() > SESSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(starts: u64, nonce: u128) -> Session {
        Session { starts, nonce }
    }

    #[test]
    fn the_latest_start_is_served_and_copies_are_not() {
        let sessions = Sessions::default();
        let one = Incarnation(1);
        assert_eq!(sessions.check(one, session(3, 30)), Ok(()));
        assert_eq!(sessions.check(one, session(3, 30)), Ok(()));
        assert_eq!(sessions.check(one, session(3, 31)), Err(SessionFault::Copy));
        assert_eq!(
            sessions.check(one, session(2, 30)),
            Err(SessionFault::Old { known: 3 })
        );
        assert_eq!(sessions.check(one, session(4, 40)), Ok(()));
        assert_eq!(
            sessions.check(one, session(3, 30)),
            Err(SessionFault::Old { known: 4 })
        );
        // What is told counts like what was seen, and never lowers it.
        sessions.tell(one, session(6, 60));
        sessions.tell(one, session(5, 50));
        assert_eq!(
            sessions.check(one, session(4, 40)),
            Err(SessionFault::Old { known: 6 })
        );
        assert_eq!(sessions.check(one, session(6, 61)), Err(SessionFault::Copy));
        assert_eq!(sessions.check(one, session(6, 60)), Ok(()));
    }

    #[test]
    fn strangers_do_not_push_members_out() {
        let sessions = Sessions::default();
        sessions.tell(Incarnation(0), session(9, 1));
        for number in 1..=2 * SESSIONS_MAX as u128 {
            assert_eq!(sessions.check(Incarnation(number), session(1, 1)), Ok(()));
        }
        assert!(sessions.0.lock().seen.len() <= SESSIONS_MAX);
        assert!(sessions.check(Incarnation(0), session(8, 1)).is_err());
    }
}
