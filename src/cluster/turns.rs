//! Whose turn it is to do what one member of a partition does for all: seal, upload, copy the catalog, look at the
//! bucket. The first live member does it; each further one stands in later, if those before it do not.
//!
//! Members are listed in the order in which they came, which is the same in most partitions. So the order of turns
//! begins elsewhere in each: else two of six boards did all of that, and wrote it to their cards.

use super::control::{ControlState, Liveness, Partition};
use super::version::TURNED_FROM;
use crate::model::{Incarnation, RingArc};

/// The live members of a partition in the order of their turns. Whoever asks lives. Nodes that see different
/// members alive, or different feature levels, may do the same at once, which the control group settles.
pub(super) fn live(
    state: &ControlState,
    (arc, partition): (RingArc, &Partition),
    me: Incarnation,
) -> impl Iterator<Item = Incarnation> {
    let is_live = move |who: &Incarnation| {
        let member = state.members.get(who);
        *who == me || member.is_none_or(|member| member.liveness == Liveness::Live)
    };
    let count = partition.members.len();
    let first = match state.feature_level >= TURNED_FROM {
        true => nth(arc).checked_rem(count).unwrap_or(0),
        false => 0,
    };
    // Who is away does not change whose turn it is among the others.
    let members = partition.members.iter().cycle().skip(first).take(count);
    let members = members.map(|member| member.incarnation);
    members.filter(is_live)
}

/// Which of the arcs of its size it is: neighbours begin with different members.
fn nth(arc: RingArc) -> usize {
    let shift = u32::BITS.saturating_sub(u32::from(arc.depth()));
    let nth = arc.prefix().checked_shr(shift).unwrap_or(0);
    usize::try_from(nth).unwrap_or(0)
}

/// How many live members come before one; `None`: it is no member.
pub(super) fn place(
    state: &ControlState,
    partition: (RingArc, &Partition),
    me: Incarnation,
) -> Option<u32> {
    let before = live(state, partition, me).position(|who| who == me);
    before.and_then(|before| u32::try_from(before).ok())
}

/// Who comes first, as one of the members sees it.
pub(super) fn first(
    state: &ControlState,
    partition: (RingArc, &Partition),
    me: Incarnation,
) -> Option<Incarnation> {
    live(state, partition, me).next()
}

/// Whether a member comes first.
pub(super) fn is_first(
    state: &ControlState,
    partition: (RingArc, &Partition),
    me: Incarnation,
) -> bool {
    place(state, partition, me) == Some(0)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::ClusterId;
    use crate::cluster::control::{Command, Found, NodeUp};
    use crate::model::FOUNDING_DEPTH;

    /// Four nodes, three of which founded a cluster.
    pub(in crate::cluster) fn founded(level: u32) -> ControlState {
        let mut state = ControlState::default();
        state.apply(&Command::Found(Found {
            cluster: ClusterId(1),
            depth: FOUNDING_DEPTH,
            founders: [1, 2, 3].map(Incarnation).to_vec(),
        }));
        for number in 1..=4 {
            state.apply(&Command::NodeUp(NodeUp::of(number)));
        }
        state.feature_level = level;
        state
    }

    fn orders(state: &ControlState) -> Vec<Vec<u128>> {
        let each = state.partitions.iter();
        let order = each.map(|(arc, partition)| {
            let order = live(state, (*arc, partition), Incarnation(1));
            order.map(|who| who.0).collect()
        });
        order.collect()
    }

    /// Would catch one member that does everything for all, and nodes of before that see another order.
    #[test]
    fn neighbours_begin_with_different_members() {
        assert!(
            orders(&founded(TURNED_FROM - 1))
                .iter()
                .all(|order| *order == [1, 2, 3])
        );
        let mut state = founded(TURNED_FROM);
        let all = orders(&state);
        assert_eq!(
            all[..4],
            [vec![1, 2, 3], vec![2, 3, 1], vec![3, 1, 2], vec![1, 2, 3]]
        );
        let mut firsts: BTreeMap<u128, u32> = BTreeMap::new();
        all.iter()
            .for_each(|order| *firsts.entry(order[0]).or_default() += 1);
        assert_eq!(firsts.into_values().collect::<Vec<_>>(), [6, 5, 5]);
        // One is away: the others keep their order, and it finds itself alive.
        state.apply(&Command::NodeDown(Incarnation(2)));
        assert_eq!(orders(&state)[..3], [vec![1, 3], vec![3, 1], vec![3, 1]]);
        let (arc, partition) = state.partitions.iter().nth(1).unwrap();
        let of = |me| place(&state, (*arc, partition), Incarnation(me));
        assert_eq!([1, 2, 3, 4].map(of), [Some(1), Some(0), Some(0), None]);
        let whole = RingArc::new(0, 0).unwrap();
        assert_eq!(nth(whole), 0);
    }
}
