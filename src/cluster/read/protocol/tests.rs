//! The rule of reads against all that members may hold, in small: with it nothing that was
//! acknowledged is missed, and without each part of it something is.

use super::super::leaves::{Leaf, LeafSet, WindowSums};
use super::*;
use crate::cluster::control::{Move, Partition};
use crate::cluster::quorum::has_majority;
use crate::model::{Incarnation, Window};
use crate::store::ContentSum;

fn member(number: u128) -> MemberId {
    MemberId {
        incarnation: Incarnation(number),
        life: 0,
    }
}

fn sets(members: u128, moving: Option<Move>) -> Sets {
    let mut partition = Partition::new(Epoch(1), (1..=members).map(member).collect());
    partition.moving = moving;
    Sets::of(&partition)
}

/// What a member knows of the one sample of the model, and of the one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Knows {
    applied: bool,
    in_head: bool,
}

fn knows(bits: usize) -> Knows {
    Knows {
        applied: bits & 1 != 0,
        in_head: bits & 2 != 0,
    }
}

fn head(in_head: bool, noise: u8) -> HeadSums {
    let mut leaves = vec![(Leaf::new(3, 0).unwrap(), ContentSum(9))];
    if in_head {
        leaves.push((Leaf::new(3, 7).unwrap(), ContentSum(77)));
    }
    leaves.retain(|(leaf, _)| noise & 1 == 1 || *leaf != Leaf::new(3, 0).unwrap());
    HeadSums(BTreeMap::from([(Window(5), WindowSums::Leaves(leaves))]))
}

impl Knows {
    fn holds(self) -> HeldHere {
        HeldHere {
            version: u64::from(self.applied),
            heads: head(self.in_head, u8::from(self.applied)),
            encoded: false,
        }
    }

    /// What it says of its series as they stand encoded: the whole window of a sub-arc is one
    /// sum, and the same samples may be other bytes.
    fn holds_encoded(self, otherwise: bool) -> HeldHere {
        let sum = |number: u128| ContentSum(number << u32::from(otherwise));
        let mut leaves = Vec::new();
        if self.applied {
            leaves.push((Leaf::new(0, 0).unwrap(), sum(9)));
        }
        if self.in_head {
            leaves.push((Leaf::new(0, 7).unwrap(), sum(77)));
        }
        let windows = BTreeMap::from([(Window(5), WindowSums::Leaves(leaves))]);
        HeldHere {
            version: u64::from(self.applied),
            heads: HeadSums(windows),
            encoded: true,
        }
    }

    /// What it says of its samples in some leaves.
    fn holds_in(self, wanted: &Leaves) -> HeldHere {
        let mut held = self.holds();
        held.heads.0.retain(|window, sums| {
            let WindowSums::Leaves(leaves) = sums else {
                return true;
            };
            let wanted = wanted.get(window).copied().unwrap_or_default();
            leaves.retain(|(leaf, _)| wanted.contains(*leaf));
            !leaves.is_empty()
        });
        held
    }

    fn has(self, block_has: bool) -> bool {
        self.in_head || (self.applied && block_has)
    }

    /// What may have become of it: the block may be applied, and what is in the block given
    /// up; what the block lacks never is.
    fn later(self, block_has: bool) -> Vec<Self> {
        let mut all = vec![self];
        for in_head in [true, false] {
            let may = if block_has {
                !in_head || self.in_head
            } else {
                in_head == self.in_head
            };
            all.extend(may.then_some(Self {
                applied: true,
                in_head,
            }));
        }
        all
    }
}

/// Rules that can be switched off, to see that the model notices.
#[derive(Clone, Copy)]
struct Rules {
    /// Data come from the highest version that counts.
    highest: bool,
    /// A raw answer of a later version starts anew.
    raw_version: bool,
    /// What differs is fetched.
    fetch: bool,
    /// Where sums over encoded series differ, samples are compared.
    refine: bool,
    /// Then only those count whose sums over encoded series were compared.
    only: bool,
}

const RULES: Rules = Rules {
    highest: true,
    raw_version: true,
    fetch: true,
    refine: true,
    only: true,
};

/// Whether a read that calls itself complete has the sample, in every way it can go; `None`
/// when it is never complete.
fn read_has(
    rules: Rules,
    read: &PartitionRead,
    choice: &Choice,
    members: &BTreeMap<MemberId, Knows>,
    block_has: bool,
) -> Vec<bool> {
    let mut ends = Vec::new();
    for data in members[&choice.from].later(block_has) {
        // What its head held when it was asked is in the view, whatever has become of it.
        let held = HeldHere {
            version: u64::from(data.applied),
            ..read.held(choice.from).unwrap().clone()
        };
        let verdict = read.judge(choice, &held);
        let fetch = match verdict {
            Verdict::Again if rules.highest => continue,
            Verdict::Again => BTreeMap::new(),
            Verdict::Fetch(fetch) => fetch,
        };
        let mut found = vec![data.has(block_has)];
        for (from, leaves) in fetch.iter().filter(|_| rules.fetch) {
            let sample = leaves.get(&Window(5));
            let wanted = sample.is_some_and(|set| set.contains(Leaf::new(3, 7).unwrap()));
            let fits = |raw: &Knows| {
                let version = u64::from(raw.applied);
                !rules.raw_version || PartitionRead::may_merge(&held, version)
            };
            let raw = members[from].later(block_has).into_iter().filter(fits);
            let found_with = |raw: Knows| {
                let found = found.iter();
                found
                    .map(move |has| *has || (wanted && raw.in_head))
                    .collect::<Vec<_>>()
            };
            let next: Vec<bool> = raw.flat_map(found_with).collect();
            found = next;
        }
        ends.extend(found);
    }
    ends
}

/// Every ring of up to four members, still or moving; everything that each may know while the
/// sample is acknowledged; every set of them that answers; every preference.
fn each_read(rules: Rules, mut each: impl FnMut(&PartitionRead, &Choice, &[bool])) {
    let join = |join, leave| {
        Some(Move {
            join: Some(member(join)),
            leave,
        })
    };
    let shrink = Some(Move {
        join: None,
        leave: Some(member(3)),
    });
    let rings = [
        (1, None),
        (2, None),
        (3, None),
        (2, join(3, None)),
        (3, join(4, Some(member(1)))),
        (3, shrink),
    ];
    for (size, moving) in rings {
        let ring = sets(size, moving);
        let old: Vec<MemberId> = (1..=size).map(member).collect();
        let everyone: Vec<MemberId> = ring.everyone().into_iter().collect();
        for state in 0..(2usize << (2 * everyone.len())) {
            let block_has = state & 1 == 1;
            let known = |at: usize| knows(state >> (1 + 2 * at) & 3);
            let members: BTreeMap<MemberId, Knows> = (0..everyone.len())
                .map(|at| (everyone[at], known(at)))
                .collect();
            let holders = members.iter().filter(|(_, m)| m.has(block_has));
            let holders: BTreeSet<MemberId> = holders.map(|(id, _)| *id).collect();
            // Acknowledged before the move, the old set is enough.
            if !ring.have_majority(&holders) && !has_majority(&old, &holders) {
                continue;
            }
            each_answered(rules, &ring, &members, block_has, &mut each);
            // With four the steps multiply, and none is of another kind.
            if members.len() < 4 {
                each_in_two_steps(rules, &ring, &members, block_has, &mut each);
            }
        }
    }
}

fn each_answered(
    rules: Rules,
    ring: &Sets,
    members: &BTreeMap<MemberId, Knows>,
    block_has: bool,
    each: &mut impl FnMut(&PartitionRead, &Choice, &[bool]),
) {
    for mask in 0..1u32 << members.len() {
        let mut read = PartitionRead::new(Epoch(1), ring.clone());
        let answers = members.iter().enumerate();
        for (_, (id, known)) in answers.filter(|(at, _)| mask >> at & 1 == 1) {
            read.answered(*id, Answer::Holds(known.holds()));
        }
        for first in members.keys() {
            let mut choice = read.choose(|id| (id != *first, id));
            assert!(choice.is_none() || read.has_majority());
            if !rules.highest && read.has_majority() {
                // Whoever is preferred, whatever its version.
                let others = read.holdings.keys().copied().filter(|m| m != first);
                choice = read.held(*first).map(|_| Choice {
                    from: *first,
                    others: others.collect(),
                });
            }
            if let Some(choice) = choice {
                let ends = read_has(rules, &read, &choice, members, block_has);
                each(&read, &choice, &ends);
            }
        }
    }
}

/// The same when members first say what their series are encoded: one of them otherwise than
/// the others, and one may apply the block between the two questions.
fn each_in_two_steps(
    rules: Rules,
    ring: &Sets,
    members: &BTreeMap<MemberId, Knows>,
    block_has: bool,
    each: &mut impl FnMut(&PartitionRead, &Choice, &[bool]),
) {
    let answering = 0..1u32 << members.len();
    for (mask, otherwise) in answering.flat_map(|mask| [(mask, 1), (mask, usize::MAX)]) {
        let mut read = PartitionRead::new(Epoch(1), ring.clone());
        let answers = members.iter().enumerate();
        let answers: Vec<_> = answers.filter(|(at, _)| mask >> at & 1 == 1).collect();
        for (at, (id, known)) in &answers {
            let held = known.holds_encoded(*at == otherwise);
            read.answered(**id, Answer::Holds(held));
        }
        for first in members.keys() {
            let Some(choice) = read.choose(|id| (id != *first, id)) else {
                continue;
            };
            let unsure = read.unsure(&choice);
            if unsure.is_empty() || !rules.refine {
                let ends = read_has(rules, &read, &choice, members, block_has);
                each(&read, &choice, &ends);
                continue;
            }
            let mut refined = read.clone();
            refined.refine(&choice);
            if !rules.only {
                refined.only = None;
            }
            for members in each_later(members, block_has) {
                let mut read = refined.clone();
                let held = |id: &MemberId| members[id].holds_in(&unsure);
                let mut answer = |id: &MemberId| read.answered(*id, Answer::Holds(held(id)));
                answers.iter().for_each(|(_, (id, _))| answer(id));
                each_preference(rules, &read, &members, block_has, each);
            }
        }
    }
}

/// Every member preferred in turn, once all have answered.
fn each_preference(
    rules: Rules,
    read: &PartitionRead,
    members: &BTreeMap<MemberId, Knows>,
    block_has: bool,
    each: &mut impl FnMut(&PartitionRead, &Choice, &[bool]),
) {
    for first in members.keys() {
        if let Some(choice) = read.choose(|id| (id != *first, id)) {
            let ends = read_has(rules, read, &choice, members, block_has);
            each(read, &choice, &ends);
        }
    }
}

/// What members know when at most one of them has gone on.
fn each_later(
    members: &BTreeMap<MemberId, Knows>,
    block_has: bool,
) -> Vec<BTreeMap<MemberId, Knows>> {
    let mut all = vec![members.clone()];
    for (id, known) in members {
        let new = known.later(block_has).into_iter().filter(|l| l != known);
        all.extend(new.map(|later| {
            let mut members = members.clone();
            members.insert(*id, later);
            members
        }));
    }
    all
}

/// Would catch a read that calls itself complete and misses an acknowledged sample.
#[test]
fn a_complete_read_has_every_acknowledged_sample() {
    let mut count = 0;
    each_read(RULES, |read, choice, ends| {
        assert!(ends.iter().all(|has| *has), "{choice:?} of {read:?}");
        count += ends.len();
    });
    assert!(count > 10_000, "{count}");
}

/// Each rule switched off must lose the sample somewhere, or the test above sees nothing.
#[test]
fn without_each_rule_a_sample_is_missed() {
    let loses = |rules| {
        let mut lost = false;
        each_read(rules, |_, _, ends| lost |= ends.contains(&false));
        lost
    };
    assert!(!loses(RULES));
    assert!(loses(Rules {
        highest: false,
        ..RULES
    }));
    assert!(loses(Rules {
        raw_version: false,
        ..RULES
    }));
    assert!(loses(Rules {
        fetch: false,
        ..RULES
    }));
    assert!(loses(Rules {
        refine: false,
        ..RULES
    }));
    assert!(loses(Rules {
        only: false,
        ..RULES
    }));
}

/// A reader with the old ring: of two members one has been replaced and does not know it. One
/// answer would be C; it is not enough.
#[test]
fn one_of_two_never_answers_alone() {
    let mut read = PartitionRead::new(Epoch(1), sets(2, None));
    read.answered(member(1), Answer::Holds(HeldHere::default()));
    read.answered(member(2), Answer::OtherEpoch(Epoch(3)));
    // Who is in no set does not help.
    read.answered(member(3), Answer::Holds(HeldHere::default()));
    assert!(!read.has_majority());
    assert_eq!(read.choose(|id| id), None);
    assert_eq!(read.later_epoch(), Some(Epoch(3)));
    assert_eq!(read.silent(), BTreeSet::from([member(2)]));
}

/// During a move a majority of one set is not enough, whichever it is.
#[test]
fn both_sets_of_a_move_must_answer() {
    let moving = Move {
        join: Some(member(4)),
        leave: Some(member(1)),
    };
    let ring = sets(3, Some(moving));
    let check = |who: &[u128], enough: bool| {
        let mut read = PartitionRead::new(Epoch(2), ring.clone());
        for number in who {
            read.answered(member(*number), Answer::Holds(HeldHere::default()));
        }
        assert_eq!(read.choose(|id| id).is_some(), enough, "{who:?}");
    };
    check(&[1, 2], false);
    check(&[2, 4], false);
    check(&[1, 4], false);
    check(&[2, 3], true);
    check(&[1, 2, 4], true);
}

/// The member from whose view little has to be fetched goes before the preferred one that
/// was away, and only as many others are compared as are needed.
#[test]
fn a_member_that_was_away_gives_no_data() {
    let mut many = LeafSet::default();
    (0..12).for_each(|slot| (0..8).for_each(|sub| many.insert(Leaf::new(slot, sub).unwrap())));
    let full = many.iter().map(|leaf| (leaf, ContentSum(1))).collect();
    let full = HeldHere {
        version: 1,
        heads: HeadSums(BTreeMap::from([(Window(1), WindowSums::Leaves(full))])),
        encoded: false,
    };
    let mut read = PartitionRead::new(Epoch(1), sets(3, None));
    let away = HeldHere {
        version: 1,
        ..HeldHere::default()
    };
    read.answered(member(1), Answer::Holds(away));
    read.answered(member(2), Answer::Holds(full.clone()));
    let choice = read.choose(|id| id).unwrap();
    assert_eq!(
        choice.from,
        member(2),
        "what it lacks is fetched from nobody"
    );
    read.answered(member(3), Answer::Holds(full.clone()));
    let choice = read.choose(|id| id).unwrap();
    assert_eq!((choice.from, choice.others.len()), (member(2), 1));
    assert_eq!(read.judge(&choice, &full), Verdict::Fetch(BTreeMap::new()));
    let older = HeldHere {
        version: 0,
        ..full.clone()
    };
    assert_eq!(read.judge(&choice, &older), Verdict::Again);
}

/// What two others hold alike is fetched from one of them.
#[test]
fn equal_leaves_are_fetched_once() {
    let mut read = PartitionRead::new(Epoch(1), sets(5, None));
    for number in 1..=5 {
        let held = knows(if number > 1 { 2 } else { 0 }).holds();
        read.answered(member(number), Answer::Holds(held));
    }
    let choice = Choice {
        from: member(1),
        others: vec![member(2), member(3)],
    };
    let Verdict::Fetch(fetch) = read.judge(&choice, &knows(0).holds()) else {
        panic!("the versions are equal");
    };
    assert_eq!(fetch.keys().copied().collect::<Vec<_>>(), [member(2)]);
}
