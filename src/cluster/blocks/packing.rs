//! Which blocks go into one object, and how long one waits for the others: pure decisions from the
//! catalog and the time.
//!
//! * A block of less than [`SMALL_BYTES`] shares an object, a pack, with the others of its range that
//!   the same member uploads.
//! * The seals of a window are spread over the two hours after it. What was sealed at its time waits
//!   until the uploader's other partitions have sealed theirs, or [`SLACK_MS`] after they should have.
//!   What was sealed before its time (a flush, or memory was short) waits for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::waiting::Waiting;
use crate::archive::PACK_BLOCKS_MAX;
use crate::cluster::control::{ControlState, RangeKey};
use crate::cluster::first_seal::first_seal_at;
use crate::cluster::turns::first;
use crate::cluster::version::PACKS_FROM;
use crate::model::{BlockEntry, Incarnation, RingArc, TimestampMs, Window};

/// What is larger is worth an object of its own.
pub(super) const SMALL_BYTES: u64 = 8 << 20;
/// Bytes of one pack: what a crash between putting and recording makes one read again.
const PACK_BYTES_MAX: u64 = 64 << 20;
/// A seal that is due takes a while, and may have to be tried again.
const SLACK_MS: i64 = 10 * 60 * 1000;

/// What becomes one object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parcel<'a> {
    /// A block alone.
    Own(&'a Waiting),
    /// Several of one range.
    Pack(Vec<&'a Waiting>),
}

/// Puts blocks together; what comes first in a parcel decides when its turn is.
pub(super) fn parcels<'a>(state: &ControlState, blocks: &[&'a Waiting]) -> Vec<Parcel<'a>> {
    let may_pack = state.feature_level >= PACKS_FROM;
    let mut parcels: Vec<Parcel<'a>> = Vec::new();
    let mut open: BTreeMap<RangeKey, (usize, u64)> = BTreeMap::new();
    for block in blocks.iter().copied() {
        let size = block.entry.size;
        if !may_pack || size >= SMALL_BYTES {
            parcels.push(Parcel::Own(block));
            continue;
        }
        let range = RangeKey::from(block.entry.range);
        let fits = open.get_mut(&range).and_then(|(at, bytes)| {
            let Some(Parcel::Pack(pack)) = parcels.get_mut(*at) else {
                return None;
            };
            let fits = pack.len() < PACK_BLOCKS_MAX && *bytes + size <= PACK_BYTES_MAX;
            fits.then(|| {
                pack.push(block);
                *bytes += size;
            })
        });
        if fits.is_none() {
            open.insert(range, (parcels.len(), size));
            parcels.push(Parcel::Pack(vec![block]));
        }
    }
    for parcel in &mut parcels {
        if let Parcel::Pack(pack) = parcel
            && let [only] = pack.as_slice()
        {
            *parcel = Parcel::Own(only);
        }
    }
    parcels
}

/// Who still waits for seals of which ranges; found out once for each range.
pub(super) struct Holding<'a> {
    state: &'a ControlState,
    me: Incarnation,
    grace: Duration,
    now: TimestampMs,
    pending: BTreeMap<RangeKey, BTreeSet<Incarnation>>,
}

impl<'a> Holding<'a> {
    pub(super) const fn new(
        state: &'a ControlState,
        me: Incarnation,
        grace: Duration,
        now: TimestampMs,
    ) -> Self {
        Self {
            state,
            me,
            grace,
            now,
            pending: BTreeMap::new(),
        }
    }

    /// Whether a block waits for others that will share its object.
    pub(super) fn holds(&mut self, arc: RingArc, entry: &BlockEntry) -> bool {
        let range = entry.range;
        let in_time = self.now >= first_seal_at(arc, range.end, self.grace);
        if self.state.feature_level < PACKS_FROM
            || entry.size >= SMALL_BYTES
            || !Window::is(range)
            || !in_time
        {
            return false;
        }
        let Some(partition) = self.state.partition(arc) else {
            return false;
        };
        let uploader = first(self.state, (arc, partition), self.me);
        let range = RangeKey::from(range);
        if !self.pending.contains_key(&range) {
            let pending = self.pending_in(range);
            self.pending.insert(range, pending);
        }
        let pending = self.pending.get(&range);
        uploader.is_some_and(|who| pending.is_some_and(|pending| pending.contains(&who)))
    }

    fn pending_in(&self, range: RangeKey) -> BTreeSet<Incarnation> {
        let end = range.range().end;
        let late = |arc: RingArc| first_seal_at(arc, end, self.grace).plus_ms(SLACK_MS);
        let partitions = self.state.partitions.iter();
        let open = partitions
            .filter(|(arc, one)| !one.rounds.contains_key(&range) && self.now < late(**arc));
        let uploaders =
            open.filter_map(|(arc, partition)| first(self.state, (*arc, partition), self.me));
        uploaders.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::cluster::ClusterId;
    use crate::cluster::control::{Command, Found, MemberId, NodeUp, SealCommit};
    use crate::model::{Digest, TimeRange};

    const GRACE: Duration = Duration::from_secs(600);
    const MINUTE: i64 = 60_000;

    fn state(level: u32) -> ControlState {
        let mut state = ControlState::default();
        state.apply(&Command::Found(Found {
            cluster: ClusterId(1),
            depth: 2,
            founders: vec![Incarnation(1)],
        }));
        state.apply(&Command::NodeUp(NodeUp {
            feature_level_max: level,
            ..NodeUp::of(1)
        }));
        state.apply(&Command::FeatureLevel(level));
        state
    }

    fn arcs() -> Vec<RingArc> {
        RingArc::all(2).collect()
    }

    fn entry(id: u128, range: TimeRange, size: u64) -> BlockEntry {
        BlockEntry {
            size,
            digest: Digest([u8::try_from(id).unwrap(); 32]),
            ..BlockEntry::of(id, range)
        }
    }

    fn seal(state: &mut ControlState, arc: RingArc, entry: &BlockEntry) {
        let outcome = state.apply(&Command::SealCommit(SealCommit {
            arc,
            epoch: state.partition(arc).unwrap().epoch,
            range: entry.range,
            round: entry.round,
            entry: entry.clone(),
        }));
        outcome.into_result().unwrap();
    }

    fn waiting(id: u128, range: TimeRange, size: u64) -> Waiting {
        Waiting {
            arc: arcs()[0],
            entry: entry(id, range, size),
            of_manifest: false,
        }
    }

    /// The arcs' seals are due 10, 40, 70 and 100 minutes after the window. Would catch a block that
    /// waits for ever, one that does not wait, and one that nobody else belongs to and waits.
    #[test]
    fn a_block_waits_for_the_seals_of_its_uploader() {
        let mut state = state(PACKS_FROM);
        let (arcs, range) = (arcs(), Window(10).range());
        let block = entry(1, range, 100);
        seal(&mut state, arcs[0], &block);
        let holds = |state: &ControlState, after: i64, entry: &BlockEntry| {
            let now = range.end.plus_ms(after * MINUTE);
            let mut holding = Holding::new(state, Incarnation(1), GRACE, now);
            holding.holds(arcs[0], entry)
        };
        assert!(!holds(&state, 9, &block), "sealed before its time");
        assert!(holds(&state, 10, &block));
        assert!(holds(&state, 109, &block));
        assert!(!holds(&state, 111, &block), "they are late");
        assert!(!holds(&state, 50, &entry(2, range, SMALL_BYTES)));
        let day = TimeRange::new(range.start, range.end.plus_ms(5));
        assert!(!holds(&state, 50, &entry(2, day, 100)), "no window");
        let earlier = entry(2, Window(9).range(), 100);
        assert!(!holds(&state, 50, &earlier), "what is late waits no more");
        for (number, arc) in arcs.iter().enumerate().skip(1) {
            assert!(holds(&state, 50, &block));
            let id = u128::try_from(number + 10).unwrap();
            seal(&mut state, *arc, &entry(id, range, 1));
        }
        assert!(!holds(&state, 50, &block), "all are there");
        let mut old = super::tests::state(PACKS_FROM - 1);
        seal(&mut old, arcs[0], &block);
        assert!(!holds(&old, 50, &block), "somebody does not know packs");
    }

    /// Two members upload two partitions each. Would catch a block that waits for seals whose blocks
    /// go elsewhere, and one that does not wait for those that its uploader has taken over.
    #[test]
    fn a_block_waits_for_no_other_uploaders_seals() {
        let mut state = state(PACKS_FROM);
        let up = Command::NodeUp(NodeUp {
            feature_level_max: PACKS_FROM,
            ..NodeUp::of(2)
        });
        state.apply(&up).into_result().unwrap();
        let (arcs, range) = (arcs(), Window(10).range());
        for (number, arc) in arcs.iter().enumerate() {
            let mut order = [1, 2].map(|number| MemberId {
                incarnation: Incarnation(number),
                life: 0,
            });
            if number >= 2 {
                order.reverse();
            }
            let partition = state.partitions.get_mut(arc).unwrap();
            Arc::make_mut(partition).members = order.to_vec();
        }
        let block = entry(1, range, 100);
        seal(&mut state, arcs[0], &block);
        let holds = |state: &ControlState, me: u128, after: i64, arc: RingArc| {
            let now = range.end.plus_ms(after * MINUTE);
            let mut holding = Holding::new(state, Incarnation(me), GRACE, now);
            let held = holding.holds(arc, &block);
            // What was found out for one block is what holds for the next.
            assert_eq!(holding.holds(arc, &block), held);
            held
        };
        for me in [1, 2] {
            assert!(holds(&state, me, 45, arcs[0]), "its second seal is due");
            assert!(!holds(&state, me, 55, arcs[0]), "the others go elsewhere");
            assert!(holds(&state, me, 75, arcs[2]), "100 minutes: its second");
            assert!(!holds(&state, me, 111, arcs[2]));
        }
        let down = Command::NodeDown(Incarnation(2));
        state.apply(&down).into_result().unwrap();
        assert!(holds(&state, 1, 55, arcs[0]), "all are its own now");
        let unknown = RingArc::all(3).next().unwrap();
        assert!(!holds(&state, 1, 55, unknown), "no such partition");
    }

    /// Sixteen partitions of three members, in any order, some of them away, some sealed, at any time. Would
    /// catch a member that waits for what another uploads, one that does not wait for what it has taken over, two
    /// members that do not agree who waits, and a block that waits longer than seals may take.
    fn check_several(orders: &[usize], away: u8, sealed: u16, minutes: i64) {
        const ORDERS: [[u128; 3]; 6] = [
            [1, 2, 3],
            [1, 3, 2],
            [2, 1, 3],
            [2, 3, 1],
            [3, 1, 2],
            [3, 2, 1],
        ];
        let mut state = ControlState::default();
        state.apply(&Command::Found(Found {
            cluster: ClusterId(1),
            depth: 4,
            founders: [1, 2, 3].map(Incarnation).to_vec(),
        }));
        for number in 1..=3 {
            state.apply(&Command::NodeUp(NodeUp {
                feature_level_max: PACKS_FROM,
                ..NodeUp::of(number)
            }));
        }
        state.apply(&Command::FeatureLevel(PACKS_FROM));
        let range = Window(10).range();
        let arcs: Vec<RingArc> = RingArc::all(4).collect();
        let is_live = |who: u128| away & (1 << (who - 1)) == 0;
        for (at, arc) in arcs.iter().enumerate() {
            let members = ORDERS[orders[at]].map(|number| MemberId {
                incarnation: Incarnation(number),
                life: 0,
            });
            let partition = state.partitions.get_mut(arc).unwrap();
            Arc::make_mut(partition).members = members.to_vec();
            if sealed & (1 << at) != 0 {
                seal(&mut state, *arc, &entry(at as u128 + 1, range, 100));
            }
        }
        for who in (1..=3).filter(|who| !is_live(*who)) {
            state.apply(&Command::NodeDown(Incarnation(who)));
        }
        let now = range.end.plus_ms(minutes * MINUTE);
        let due = |arc: RingArc| first_seal_at(arc, range.end, GRACE);
        let uploader = |at: usize| ORDERS[orders[at]].into_iter().find(|who| is_live(*who));
        for (at, arc) in arcs
            .iter()
            .enumerate()
            .filter(|(at, _)| sealed & (1 << at) != 0)
        {
            let mut waits_for = (0..arcs.len()).filter(|other| {
                sealed & (1 << other) == 0
                    && uploader(*other) == uploader(at)
                    && now < due(arcs[*other]).plus_ms(SLACK_MS)
            });
            let want = now >= due(*arc) && waits_for.next().is_some();
            for me in (1..=3).filter(|who| is_live(*who)) {
                let mut holding = Holding::new(&state, Incarnation(me), GRACE, now);
                let held = holding.holds(*arc, &entry(at as u128 + 1, range, 100));
                assert_eq!(held, want, "{arc} as {me} sees it");
                // The last seal is due two hours and the grace after the window.
                assert!(!held || minutes < 120 + 10 + 10);
            }
        }
    }

    proptest! {
        #[test]
        fn each_member_waits_for_its_own_seals_alone(
            orders in prop::collection::vec(0usize..6, 16),
            away in 0u8..7,
            sealed in any::<u16>(),
            minutes in 0i64..150,
        ) {
            check_several(&orders, away, sealed, minutes);
        }
    }

    #[test]
    fn small_blocks_of_one_range_share_a_parcel() {
        let (one, two) = (Window(1).range(), Window(2).range());
        let blocks = [
            waiting(1, one, 100),
            waiting(2, one, SMALL_BYTES),
            waiting(3, two, 100),
            waiting(4, one, 100),
            waiting(5, one, SMALL_BYTES - 1),
        ];
        let all: Vec<&Waiting> = blocks.iter().collect();
        let [a, big, alone, b, c] = all.as_slice() else {
            panic!()
        };
        let packed = parcels(&state(PACKS_FROM), &all);
        let want = [
            Parcel::Pack(vec![*a, *b, *c]),
            Parcel::Own(big),
            Parcel::Own(alone),
        ];
        assert_eq!(packed, want);
        let each = parcels(&state(PACKS_FROM - 1), &all);
        let own = |parcel: &Parcel<'_>| matches!(parcel, Parcel::Own(_));
        assert!(each.len() == 5 && each.iter().all(own));
        // No pack grows beyond its bound.
        let many: Vec<Waiting> = (1..=20)
            .map(|id| waiting(id, one, SMALL_BYTES - 1))
            .collect();
        let many = parcels(&state(PACKS_FROM), &many.iter().collect::<Vec<_>>());
        let sizes = many.iter().map(|parcel| match parcel {
            Parcel::Pack(pack) => pack.iter().map(|block| block.entry.size).sum(),
            Parcel::Own(block) => block.entry.size,
        });
        assert!(sizes.clone().all(|size| size <= PACK_BYTES_MAX), "{many:?}");
        assert_eq!(many.len(), 3);
        let many: Vec<Waiting> = (0..=PACK_BLOCKS_MAX).map(|_| waiting(1, one, 1)).collect();
        let many = parcels(&state(PACKS_FROM), &many.iter().collect::<Vec<_>>());
        let [Parcel::Pack(full), Parcel::Own(_)] = many.as_slice() else {
            panic!("{}", many.len())
        };
        assert_eq!(full.len(), PACK_BLOCKS_MAX);
    }
}
