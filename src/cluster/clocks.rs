//! Whether this node's clock can be believed: it must be within a minute of the median of its
//! peers' (the replication protocol's section 5).
//!
//! A node refuses samples from the future with 400, which senders do not retry. One whose clock is
//! wrong must not do that: it refuses writes with 503 until its clock is right again, and senders
//! go to another. With fewer than two peers that answer nobody can say who is wrong.
//!
//! What deletes by the time of day, retention and the sweeper, asks for more ([`DeletionClock`]): a
//! majority of the control group's voters must be within that minute.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::control::{Control, Liveness};
use super::error::Error;
use super::peer::{Blocking, Method};
use super::self_report::{time_answer, time_question};
use super::write::{Gate, Refusing};
use crate::model::{Incarnation, TimestampMs};
use crate::runtime::Clock;

/// A clock is wrong that is further than this from the median of the others'.
const BELIEVABLE_MS: i64 = 60_000;
/// So many peers must answer.
const PEERS_MIN: usize = 2;
/// Peers that are asked: enough for a median, whatever the size of the cluster.
const PEERS_MAX: usize = 7;
/// An answer that takes longer says nothing of the time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the clocks of peers.
pub(super) struct ClockWatch {
    pub(super) control: Arc<dyn Control>,
    pub(super) peers: Blocking,
    pub(super) gate: Arc<Gate>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) me: Incarnation,
}

impl ClockWatch {
    /// Compares the clocks, and closes or opens the gate.
    pub(super) fn round(&self) {
        let state = self.control.state();
        let is_there = |who: &Incarnation| {
            let member = state.members.get(who);
            *who != self.me && member.is_some_and(|m| m.liveness == Liveness::Live)
        };
        // Those that follow it in order: nobody is asked by everybody.
        let after = state
            .members
            .range((Bound::Excluded(self.me), Bound::Unbounded));
        let before = state.members.range(..self.me);
        let others = after.chain(before).map(|(who, _)| *who).filter(is_there);
        let (own, times) = ask(&self.peers, self.clock.as_ref(), others.take(PEERS_MAX));
        self.gate.refuse(Refusing::Clock, wrong(own, times));
    }
}

/// This node's time, and that of others who answer.
fn ask(
    peers: &Blocking,
    clock: &dyn Clock,
    others: impl Iterator<Item = Incarnation>,
) -> (i64, Vec<i64>) {
    let body = time_question();
    let asks = others.map(|who| (who, body.clone())).collect();
    let before = clock.now().0;
    let answers = peers.call_all(asks, Method::Status, PATIENCE);
    let after = clock.now().0;
    let times = answers
        .into_iter()
        .filter_map(|(_, answer)| time_answer(answer.ok()?));
    // The answers are of some moment in between.
    (before.midpoint(after), times.collect())
}

/// The time by which things are deleted.
#[derive(Clone)]
pub(super) struct DeletionClock {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) me: Incarnation,
    /// `None` on a node that is alone: nobody else can say what time it is.
    pub(super) peers: Option<Blocking>,
}

impl DeletionClock {
    /// That of a node that is alone.
    #[cfg(test)]
    pub(super) const fn alone(clock: Arc<dyn Clock>, me: Incarnation) -> Self {
        Self {
            clock,
            me,
            peers: None,
        }
    }

    /// The time of this node, if a majority of the voters, itself among them, is within a minute.
    ///
    /// # Errors
    /// When it is not, or does not say.
    pub(super) fn now(&self, voters: &BTreeSet<Incarnation>) -> Result<TimestampMs, Error> {
        let Some(peers) = &self.peers else {
            return Ok(self.clock.now());
        };
        let others = voters.iter().copied().filter(|who| *who != self.me);
        let (own, times) = ask(peers, self.clock.as_ref(), others);
        let counted = usize::from(voters.contains(&self.me));
        let agree = times.into_iter().filter(|time| is_near(own, *time)).count();
        if is_majority(agree + counted, voters.len()) {
            return Ok(TimestampMs(own));
        }
        Err(Error::TooFew(format!(
            "nothing is deleted by age while fewer than a majority of the voters ({} of {}) are within {} s of this node's clock: look at the clocks of {} voters, for example whether NTP runs",
            agree + counted,
            voters.len(),
            BELIEVABLE_MS / 1000,
            voters.len()
        )))
    }
}

const fn is_near(own: i64, other: i64) -> bool {
    own.saturating_sub(other).saturating_abs() <= BELIEVABLE_MS
}

const fn is_majority(agree: usize, voters: usize) -> bool {
    agree > voters / 2
}

/// Why a clock cannot be believed beside others, if so. The median is that of all clocks, this one
/// among them: of two others one may be the wrong one, and then it must not speak for both.
fn wrong(own: i64, mut others: Vec<i64>) -> Option<String> {
    if others.len() < PEERS_MIN {
        return None;
    }
    others.push(own);
    others.sort_unstable();
    let median = *others.get(others.len() / 2)?;
    if is_near(own, median) {
        return None;
    }
    let off = own.saturating_sub(median);
    let way = if off > 0 { "ahead of" } else { "behind" };
    Some(format!(
        "the clock of this node is {} s {way} the other nodes' (at most {} s are believed): set it, for example with NTP; writes are taken again then, and by the other nodes all the time",
        off.saturating_abs() / 1000,
        BELIEVABLE_MS / 1000
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_clock_of_three_is_named_and_no_other() {
        let hour = 3_600_000;
        for (own, others, is_wrong) in [
            (0, vec![10, -10], false),
            (hour, vec![0, 5], true),
            (-hour, vec![0, 5], true),
            (0, vec![hour, 5, -3], false),
            // Of two others one is wrong, whichever way.
            (0, vec![hour, 5], false),
            (0, vec![-hour, 5], false),
            (0, vec![-hour, hour], false),
            (BELIEVABLE_MS, vec![0, 0], false),
            (BELIEVABLE_MS + 1, vec![0, 0], true),
            // Nobody can say who is wrong.
            (hour, vec![0], false),
            (i64::MAX, vec![i64::MIN, i64::MIN], true),
        ] {
            assert_eq!(
                wrong(own, others.clone()).is_some(),
                is_wrong,
                "{own} {others:?}"
            );
        }
        assert!(wrong(-hour, vec![0, 5]).unwrap().contains("3600 s behind"));
    }
}
