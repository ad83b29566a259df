//! Whether this node's clock can be believed: it must be within a minute of the median of its
//! peers' (the replication protocol's section 5).
//!
//! A node refuses samples from the future with 400, which senders do not retry. One whose clock is
//! wrong must not do that: it refuses writes with 503 until its clock is right again, and senders
//! go to another. With fewer than two peers that answer nobody can say who is wrong.

use std::sync::Arc;
use std::time::Duration;

use super::control::{Control, Liveness};
use super::peer::{Blocking, Method};
use super::self_report::{time_answer, time_question};
use super::write::{Gate, Refusing};
use crate::model::Incarnation;
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
        let others = state.members.keys().copied().filter(is_there);
        let body = time_question();
        let asks = others.take(PEERS_MAX).map(|who| (who, body.clone()));
        let before = self.clock.now().0;
        let answers = self
            .peers
            .call_all(asks.collect(), Method::Status, PATIENCE);
        let after = self.clock.now().0;
        let times = answers
            .into_iter()
            .filter_map(|(_, answer)| time_answer(answer.ok()?));
        // The answers are of some moment in between.
        let own = before.midpoint(after);
        let reason = wrong(own, times.collect());
        self.gate.refuse(Refusing::Clock, reason);
    }
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
    let off = own.saturating_sub(median);
    if off.saturating_abs() <= BELIEVABLE_MS {
        return None;
    }
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
