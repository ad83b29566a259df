//! Who uploads what: the first live member of a partition at once, which mostly is the one that
//! sealed; each further one some minutes later, in case those before it do not. Two at once do no
//! harm: they put the same bytes under the same name.

use std::time::Duration;

use crate::cluster::control::{ControlState, Partition};
use crate::cluster::turns::place;
use crate::model::{Incarnation, RingArc};

/// Each member waits so long for the one before it.
const TURN: Duration = Duration::from_secs(5 * 60);

/// Whether a member is to upload a block of a partition that has waited for so long.
pub(super) fn is_my_turn(
    state: &ControlState,
    partition: (RingArc, &Partition),
    me: Incarnation,
    waited: Duration,
) -> bool {
    place(state, partition, me).is_some_and(|before| waited >= TURN.saturating_mul(before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::Command;
    use crate::cluster::turns::tests::founded;
    use crate::cluster::version::TURNED_FROM;
    use crate::model::FOUNDING_DEPTH;

    #[test]
    fn the_first_live_member_uploads_and_others_wait_their_turn() {
        let mut state = founded(TURNED_FROM);
        let arc = RingArc::all(FOUNDING_DEPTH).next().unwrap();
        let turns = |state: &ControlState, minutes: u64| {
            let partition = state.partition(arc).unwrap();
            let waited = Duration::from_secs(60 * minutes);
            [1, 2, 3, 4].map(|me| is_my_turn(state, (arc, partition), Incarnation(me), waited))
        };
        assert_eq!(turns(&state, 0), [true, false, false, false]);
        assert_eq!(turns(&state, 5), [true, true, false, false]);
        assert_eq!(turns(&state, 10), [true, true, true, false]);
        state.apply(&Command::NodeDown(Incarnation(1)));
        assert_eq!(turns(&state, 0), [true, true, false, false]);
    }
}
