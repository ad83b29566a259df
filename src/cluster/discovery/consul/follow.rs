//! The rules of blocking queries, without any I/O: which index to ask with, and how long to pause
//! before asking again. After Consul's own page on blocking queries and what others learned
//! (`consul` issues 3890 and 3911): an index can go back, can be missing, and can advance without
//! any change.

use std::time::Duration;

use crate::cluster::discovery::allowance::Allowance;
use crate::runtime::{Backoff, Chance, jittered};

/// How long Consul may hold a query without news. It adds up to a sixteenth.
pub(super) const WAIT: Duration = Duration::from_secs(300);

/// The least pause between two queries, whatever they say.
const PAUSE: Duration = Duration::from_secs(1);

/// Without a usable index a query does not block, and becomes polling: so often.
const POLL: Duration = Duration::from_secs(30);

/// Quick answers that are followed at once; three boards starting are about that many.
const AT_ONCE: u32 = 6;

/// After those, one so often, however often the index moves.
const EVERY: Duration = Duration::from_secs(10);

/// Pauses after failures: from a second to this.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// Where a watch stands.
#[derive(Debug)]
pub(super) struct Follow {
    index: u64,
    allowance: Allowance,
    backoff: Backoff,
}

/// What comes after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// How long to wait before the next query.
    pub(super) pause: Duration,
    /// The index went back: these are other servers, or servers that lost their data.
    pub(super) went_back: bool,
}

impl Follow {
    pub(super) fn new() -> Self {
        Self {
            index: 0,
            allowance: Allowance::new(AT_ONCE, EVERY),
            backoff: Backoff::new(PAUSE, AWAY_MAX),
        }
    }

    /// The index to ask with. `None`: the query does not block.
    pub(super) fn index(&self) -> Option<u64> {
        (self.index > 0).then_some(self.index)
    }

    /// Takes an answer's index.
    pub(super) fn answered(
        &mut self,
        index: Option<u64>,
        now: Duration,
        chance: &dyn Chance,
    ) -> Next {
        self.backoff.reset();
        let index = index.unwrap_or(0);
        let went_back = index < self.index;
        self.index = if went_back { 0 } else { index };
        let turn = self.allowance.take(now);
        let least = if index == 0 { POLL } else { PAUSE };
        Next {
            pause: turn.max(jittered(least.saturating_mul(2), chance)),
            went_back,
        }
    }

    /// Takes a failure; gives how long to wait before asking again. The index is forgotten: a
    /// Consul that lost its data counts from the start, and holds a query with an index of before
    /// until its wait is over, five minutes in which nobody is found (seen with 1.20.6).
    pub(super) fn failed(&mut self, chance: &dyn Chance) -> Duration {
        self.index = 0;
        self.backoff.pause(chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SeededChance;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Requests in a day of a server that answers each query after `took` with `index`.
    fn asked_in_a_day(took: Duration, mut index: impl FnMut(u64) -> Option<u64>) -> u64 {
        let chance = SeededChance::new(11);
        let mut follow = Follow::new();
        let (mut now, mut asked) = (Duration::ZERO, 0);
        while now < DAY {
            let blocks = follow.index().is_some();
            now += if blocks { took } else { Duration::ZERO };
            now += follow.answered(index(asked), now, &chance).pause;
            asked += 1;
        }
        asked
    }

    #[test]
    fn requests_of_a_day_are_bounded_whatever_the_server_does() {
        let quiet = asked_in_a_day(WAIT, |_| Some(5));
        assert!(quiet < 290, "a quiet day: {quiet}");
        // consul #3890: the index advances all the time, and nothing has changed.
        let restless = asked_in_a_day(Duration::ZERO, |asked| Some(asked + 1));
        assert!(
            restless < 8_650,
            "an index that always advances: {restless}"
        );
        let stuck = asked_in_a_day(Duration::ZERO, |_| Some(7));
        assert!(stuck < 8_650, "a server that does not block: {stuck}");
        let backwards = asked_in_a_day(Duration::ZERO, |asked| Some(1_000_000 - asked));
        assert!(
            backwards < 8_650,
            "an index that always goes back: {backwards}"
        );
        for none in [None, Some(0)] {
            let polled = asked_in_a_day(Duration::ZERO, |_| none);
            assert!(polled < 2_900, "no index: {polled}");
        }
        // Everything is away.
        let chance = SeededChance::new(3);
        let mut follow = Follow::new();
        let (mut now, mut asked) = (Duration::ZERO, 0);
        while now < DAY {
            now += follow.failed(&chance);
            asked += 1;
        }
        assert!(asked < 6_000, "away: {asked}");
    }

    #[test]
    fn news_are_followed_at_once() {
        let chance = SeededChance::new(5);
        let mut follow = Follow::new();
        let mut now = Duration::from_secs(50);
        for index in 1..=6 {
            let next = follow.answered(Some(index), now, &chance);
            assert!(next.pause >= PAUSE && next.pause <= 2 * PAUSE, "{next:?}");
            assert!(!next.went_back);
            assert_eq!(follow.index(), Some(index));
            now += next.pause;
        }
    }

    #[test]
    fn an_index_that_goes_back_is_forgotten_and_one_that_is_missing_never_asked_with() {
        let chance = SeededChance::new(5);
        let mut follow = Follow::new();
        assert_eq!(follow.index(), None);
        follow.answered(Some(100), DAY, &chance);
        assert_eq!(follow.index(), Some(100));
        assert!(follow.answered(Some(99), DAY, &chance).went_back);
        assert_eq!(follow.index(), None);
        assert!(!follow.answered(Some(99), DAY, &chance).went_back);
        assert_eq!(follow.index(), Some(99));
        assert!(follow.answered(None, DAY, &chance).went_back);
        assert_eq!(follow.index(), None);
        follow.answered(Some(100), DAY, &chance);
        follow.failed(&chance);
        assert_eq!(follow.index(), None, "whoever answers next may count anew");
    }
}
