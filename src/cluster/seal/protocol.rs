//! One seal of one (partition, range), as a pure value: events in, actions out.
//!
//! No I/O, no clock, no chance; `driver.rs` performs the actions and brings their results back as
//! events. The steps are those of the replication protocol's section 6: cut, gather from C, build,
//! stage on W of each set, commit, apply. What must not be relaxed: there is no commit before the
//! file is durable on W members of each set, and nothing is given up before the catalog names the
//! block and it is applied; a refused commit starts over and never applies what it built.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::control::{MemberId, Refusal, SealCommit};
use crate::cluster::quorum::{Quorum, has_majority};
use crate::model::{BlockEntry, Epoch, RingArc, TimeRange};
use crate::runtime::{Rule, holds};
use crate::store::DigestTree;

/// What is to be sealed, as the control state had it when the seal began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) arc: RingArc,
    pub(super) epoch: Epoch,
    pub(super) range: TimeRange,
    pub(super) round: u32,
    /// The members; during a move the old set first, then the new one.
    pub(super) sets: Vec<Vec<MemberId>>,
    /// Who seals.
    pub(super) me: MemberId,
}

/// What a member holds of the range up to its cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum CutAnswer {
    /// Nothing.
    Empty,
    /// Content of these digests.
    Content(DigestTree),
}

/// What the driver reports.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Event {
    /// A member has cut.
    Cut(MemberId, CutAnswer),
    /// Nobody else will be waited for.
    PatienceOver,
    /// What was pulled is in this member's head, and its cut holds it.
    Pulled,
    /// The union less the applied blocks is a file here; `None`: nothing was left.
    Built(Option<BlockEntry>),
    /// A member has the file durably.
    Staged(MemberId),
    /// The control state took the commit.
    Committed,
    /// The control state refused the commit.
    Refused(Refusal),
    /// The block is applied here.
    Applied,
    /// A step has failed here.
    Failed,
}

/// What the driver shall do.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Action {
    /// Ask these members for a cut (and count their patience from now).
    Cut(Vec<MemberId>),
    /// Fetch from these members what differs.
    Pull(Vec<MemberId>),
    /// Build the block's file, named by its digest, durably.
    Build,
    /// Bring the file to these members.
    Stage(Vec<MemberId>),
    /// Propose the commit.
    Commit(Box<SealCommit>),
    /// Apply the catalog here, then give up what the block holds.
    Apply,
    /// The seal is over.
    End(End),
}

/// How a seal ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The block is in the catalog and applied here.
    Sealed,
    /// There was nothing that no block holds; what the head has may go.
    Nothing,
    /// Too few members answered; try again later.
    TooFew,
    /// Members, epoch or round have changed: begin again with the new state.
    Again,
    /// The range has expired: what the head has of it may go.
    Expired,
    /// A step failed; try again later.
    Failed,
}

#[derive(Clone, PartialEq, Debug)]
enum Phase {
    Cutting,
    Pulling,
    Building,
    Staging {
        entry: BlockEntry,
        on: BTreeSet<MemberId>,
    },
    Committing,
    Applying,
    Ended,
}

/// The state of one seal.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Seal {
    target: Target,
    phase: Phase,
    answers: BTreeMap<MemberId, CutAnswer>,
}

impl Seal {
    /// Begins a seal.
    pub(super) fn begin(target: Target) -> (Self, Vec<Action>) {
        let members = union(&target.sets);
        let seal = Self {
            target,
            phase: Phase::Cutting,
            answers: BTreeMap::new(),
        };
        (seal, vec![Action::Cut(members)])
    }

    /// Takes an event. Events that come late or twice change nothing.
    pub(super) fn handle(&mut self, event: Event) -> Vec<Action> {
        match (&mut self.phase, event) {
            (Phase::Ended, _) => Vec::new(),
            (_, Event::Failed) => self.end(End::Failed),
            (Phase::Cutting, Event::Cut(member, answer)) => {
                self.answers.insert(member, answer);
                let everybody = union(&self.target.sets);
                if everybody.iter().all(|m| self.answers.contains_key(m)) {
                    return self.gather();
                }
                Vec::new()
            }
            (Phase::Cutting, Event::PatienceOver) => self.gather(),
            (Phase::Pulling, Event::Pulled) => {
                self.phase = Phase::Building;
                vec![Action::Build]
            }
            (Phase::Building, Event::Built(None)) => self.end(End::Nothing),
            (Phase::Building, Event::Built(Some(entry))) => {
                self.phase = Phase::Staging {
                    entry,
                    on: BTreeSet::new(),
                };
                vec![Action::Stage(union(&self.target.sets))]
            }
            (Phase::Staging { entry, on }, Event::Staged(member)) => {
                on.insert(member);
                let staged = self.target.sets.iter().all(|set| has_majority(set, on));
                if !staged && holds(Rule::BlocksAreStaged) {
                    return Vec::new();
                }
                let commit = SealCommit {
                    arc: self.target.arc,
                    epoch: self.target.epoch,
                    range: self.target.range,
                    round: self.target.round,
                    entry: entry.clone(),
                };
                self.phase = Phase::Committing;
                vec![Action::Commit(Box::new(commit))]
            }
            (Phase::Staging { .. }, Event::PatienceOver) => self.end(End::TooFew),
            (Phase::Committing, Event::Committed) => {
                self.phase = Phase::Applying;
                vec![Action::Apply]
            }
            (Phase::Committing, Event::Refused(Refusal::Expired { .. })) => self.end(End::Expired),
            (Phase::Committing, Event::Refused(_)) => self.end(End::Again),
            (Phase::Applying, Event::Applied) => self.end(End::Sealed),
            _ => Vec::new(),
        }
    }

    /// All who will answer have answered: with C of the old set, go on with what differs from
    /// what is here already.
    fn gather(&mut self) -> Vec<Action> {
        let old = self.target.sets.first().map_or(&[][..], Vec::as_slice);
        let answered = old.iter().filter(|m| self.answers.contains_key(m)).count();
        if answered < Quorum::of(old.len()).meeting() {
            return self.end(End::TooFew);
        }
        let content = |answer: &CutAnswer| *answer != CutAnswer::Empty;
        if !self.answers.values().any(content) {
            return self.end(End::Nothing);
        }
        let mine = self.answers.get(&self.target.me);
        let differing: Vec<MemberId> = self
            .answers
            .iter()
            .filter(|(_, answer)| content(answer) && Some(*answer) != mine)
            .map(|(member, _)| *member)
            .collect();
        if differing.is_empty() {
            self.phase = Phase::Building;
            return vec![Action::Build];
        }
        self.phase = Phase::Pulling;
        vec![Action::Pull(differing)]
    }

    fn end(&mut self, end: End) -> Vec<Action> {
        self.phase = Phase::Ended;
        vec![Action::End(end)]
    }
}

/// All members of all sets, each once, in order.
fn union(sets: &[Vec<MemberId>]) -> Vec<MemberId> {
    let all: BTreeSet<MemberId> = sets.iter().flatten().copied().collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FOUNDING_DEPTH, Incarnation, Window};

    fn member(number: u128) -> MemberId {
        MemberId {
            incarnation: Incarnation(number),
            life: 0,
        }
    }

    fn target(sets: &[&[u128]]) -> Target {
        Target {
            arc: RingArc::all(FOUNDING_DEPTH).next().unwrap(),
            epoch: Epoch(4),
            range: Window(9).range(),
            round: 2,
            sets: sets
                .iter()
                .map(|set| set.iter().map(|n| member(*n)).collect())
                .collect(),
            me: member(1),
        }
    }

    fn entry() -> BlockEntry {
        BlockEntry {
            round: 2,
            ..BlockEntry::of(5, Window(9).range())
        }
    }

    fn content(sum: u128) -> CutAnswer {
        let mut tree = DigestTree::default();
        tree.add(3, 7, sum);
        CutAnswer::Content(tree)
    }

    fn is_commit(actions: &[Action]) -> bool {
        matches!(actions, [Action::Commit(commit)] if commit.round == 2 && commit.epoch == Epoch(4))
    }

    #[test]
    fn alone_every_step_follows_the_one_before() {
        let (mut seal, first) = Seal::begin(target(&[&[1]]));
        assert_eq!(first, [Action::Cut(vec![member(1)])]);
        let cut = Event::Cut(member(1), content(1));
        assert_eq!(seal.handle(cut.clone()), [Action::Build]);
        assert_eq!(seal.handle(cut), []);
        let stage = seal.handle(Event::Built(Some(entry())));
        assert_eq!(stage, [Action::Stage(vec![member(1)])]);
        // Neither a commit that was never proposed nor an apply is believed now.
        assert_eq!(seal.handle(Event::Committed), []);
        assert_eq!(seal.handle(Event::Applied), []);
        assert!(is_commit(&seal.handle(Event::Staged(member(1)))));
        assert_eq!(seal.handle(Event::Committed), [Action::Apply]);
        assert_eq!(seal.handle(Event::Applied), [Action::End(End::Sealed)]);
        assert_eq!(seal.handle(Event::Failed), []);
    }

    #[test]
    fn of_three_two_must_have_cut_and_two_must_have_the_file() {
        let (mut seal, _) = Seal::begin(target(&[&[1, 2, 3]]));
        assert_eq!(seal.handle(Event::Cut(member(1), content(1))), []);
        let mut alone = seal.clone();
        assert_eq!(
            alone.handle(Event::PatienceOver),
            [Action::End(End::TooFew)]
        );
        assert_eq!(seal.handle(Event::Cut(member(3), content(2))), []);
        let pull = seal.handle(Event::PatienceOver);
        assert_eq!(pull, [Action::Pull(vec![member(3)])]);
        assert_eq!(seal.handle(Event::Pulled), [Action::Build]);
        seal.handle(Event::Built(Some(entry())));
        assert_eq!(seal.handle(Event::Staged(member(1))), []);
        assert_eq!(seal.handle(Event::Staged(member(1))), []);
        let mut alone = seal.clone();
        assert_eq!(
            alone.handle(Event::PatienceOver),
            [Action::End(End::TooFew)]
        );
        assert!(is_commit(&seal.handle(Event::Staged(member(2)))));
    }

    #[test]
    fn equal_sums_are_not_pulled_and_emptiness_ends_it() {
        let (mut seal, _) = Seal::begin(target(&[&[1, 2]]));
        seal.handle(Event::Cut(member(1), content(7)));
        let build = seal.handle(Event::Cut(member(2), content(7)));
        assert_eq!(build, [Action::Build]);
        assert_eq!(seal.handle(Event::Built(None)), [Action::End(End::Nothing)]);
        let (mut seal, _) = Seal::begin(target(&[&[1, 2]]));
        seal.handle(Event::Cut(member(1), CutAnswer::Empty));
        assert_eq!(
            seal.handle(Event::Cut(member(2), CutAnswer::Empty)),
            [Action::End(End::Nothing)]
        );
    }

    #[test]
    fn in_a_move_both_sets_need_a_majority_with_the_file() {
        let (mut seal, first) = Seal::begin(target(&[&[1, 2, 3], &[2, 3, 4]]));
        assert_eq!(
            first,
            [Action::Cut(vec![
                member(1),
                member(2),
                member(3),
                member(4)
            ])]
        );
        for n in 1..=4 {
            seal.handle(Event::Cut(member(n), content(1)));
        }
        seal.handle(Event::Built(Some(entry())));
        assert_eq!(seal.handle(Event::Staged(member(1))), []);
        // Two of the old set, but only one of the new.
        assert_eq!(seal.handle(Event::Staged(member(2))), []);
        assert!(is_commit(&seal.handle(Event::Staged(member(4)))));
    }

    #[test]
    fn a_refused_commit_applies_nothing() {
        for (refusal, end) in [
            (Refusal::WrongRound { next: 3 }, End::Again),
            (Refusal::WrongEpoch { current: Epoch(5) }, End::Again),
            (
                Refusal::Expired {
                    before: Window(20).start(),
                },
                End::Expired,
            ),
        ] {
            let (mut seal, _) = Seal::begin(target(&[&[1]]));
            seal.handle(Event::Cut(member(1), content(1)));
            seal.handle(Event::Built(Some(entry())));
            seal.handle(Event::Staged(member(1)));
            assert_eq!(seal.handle(Event::Refused(refusal)), [Action::End(end)]);
            assert_eq!(seal.handle(Event::Committed), []);
        }
    }
}
