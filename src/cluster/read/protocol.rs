//! The read of one partition, as a pure value: answers in, decisions out. Who is asked, when, and
//! over what, is the driver's business (`source.rs`).
//!
//! Rules it keeps (the replication protocol's sections 1 and 7): answers count only under the
//! reader's epoch and only together with others of it; a majority of every set must have
//! answered; data come from a view of at least the version of every member that counts; what
//! another member's head holds and the view may not is fetched from it; a raw answer of a later
//! version than the data's starts the read again, because what it lacks may be in a block that
//! the view does not have.

use std::collections::{BTreeMap, BTreeSet};

use super::leaves::{HeadSums, Leaves, count, unite};
use crate::cluster::control::MemberId;
use crate::cluster::quorum::Sets;
use crate::model::Epoch;

/// So many leaves may differ before another member is preferred for the data: the newest slots of
/// all sub-arcs, which are being written while they are read.
const DIFFERING_USUAL: usize = 32;

/// What a member holds, as it says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeldHere {
    /// The version of the catalog that is applied in its view.
    pub version: u64,
    /// What its head holds in the range.
    pub heads: HeadSums,
}

/// What a member answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It answers under the epoch that it was asked under.
    Holds(HeldHere),
    /// Its own epoch is another one.
    OtherEpoch(Epoch),
}

/// Whom to take data from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Choice {
    /// The member whose view the data come from.
    pub(super) from: MemberId,
    /// The others that count: their heads are compared with that view.
    pub(super) others: Vec<MemberId>,
}

/// What is missing from the data's view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The view is older than what counts: start again.
    Again,
    /// What the heads of these members hold in these leaves; nothing: the view is complete.
    Fetch(BTreeMap<MemberId, Leaves>),
}

/// The read of one partition under one epoch.
#[derive(Clone, Debug)]
pub(super) struct PartitionRead {
    epoch: Epoch,
    sets: Sets,
    holdings: BTreeMap<MemberId, HeldHere>,
    /// The latest other epoch that somebody named.
    other: Option<Epoch>,
}

impl PartitionRead {
    pub(super) fn new(epoch: Epoch, sets: Sets) -> Self {
        Self {
            epoch,
            sets,
            holdings: BTreeMap::new(),
            other: None,
        }
    }

    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Who may be asked.
    pub(super) const fn sets(&self) -> &Sets {
        &self.sets
    }

    /// An epoch later than the one that is read under, if a member is there already.
    pub(super) fn later_epoch(&self) -> Option<Epoch> {
        self.other.filter(|other| *other > self.epoch)
    }

    /// Takes an answer. One of somebody who is in no set does not count.
    pub(super) fn answered(&mut self, member: MemberId, answer: Answer) {
        match answer {
            Answer::Holds(holding) if self.sets.everyone().contains(&member) => {
                self.holdings.insert(member, holding);
            }
            Answer::Holds(_) => {}
            Answer::OtherEpoch(epoch) => self.other = self.other.max(Some(epoch)),
        }
    }

    /// Whether enough have answered.
    pub(super) fn has_majority(&self) -> bool {
        self.sets
            .have_majority(&self.holdings.keys().copied().collect())
    }

    /// Those of whom nothing that counts has come.
    pub(super) fn silent(&self) -> BTreeSet<MemberId> {
        let everyone = self.sets.everyone().into_iter();
        everyone
            .filter(|member| !self.holdings.contains_key(member))
            .collect()
    }

    /// Whom to take data from, of those who answered: the best by `rank` (smallest first) of those
    /// from whose view little else has to be fetched. `None`: not enough have answered.
    pub(super) fn choose<R: Ord>(&self, rank: impl Fn(MemberId) -> R) -> Option<Choice> {
        let choices = self.holdings.keys().filter_map(|from| {
            let (choice, cost) = self.choice_of(*from)?;
            let unusual = cost.saturating_sub(DIFFERING_USUAL);
            Some(((unusual, rank(*from)), choice))
        });
        let best = choices.min_by(|(one, _), (other, _)| one.cmp(other));
        best.map(|(_, choice)| choice)
    }

    /// Data from one member, and the cheapest others that make a majority with it; and how many
    /// leaves would have to be fetched.
    fn choice_of(&self, from: MemberId) -> Option<(Choice, usize)> {
        let own = self.holdings.get(&from)?;
        let mut others: Vec<(usize, MemberId)> = self
            .holdings
            .iter()
            .filter(|(member, other)| **member != from && other.version <= own.version)
            .map(|(member, other)| (count(&other.heads.beyond(&own.heads)), *member))
            .collect();
        let is_enough = |others: &[(usize, MemberId)]| {
            let members = others.iter().map(|(_, member)| *member);
            self.sets
                .have_majority(&members.chain(Some(from)).collect())
        };
        if !is_enough(&others) {
            return None;
        }
        // The dearest go first, as long as it is enough without them.
        others.sort_unstable();
        for at in (0..others.len()).rev() {
            let mut fewer = others.clone();
            fewer.remove(at);
            if is_enough(&fewer) {
                others = fewer;
            }
        }
        let cost = others.iter().map(|(cost, _)| cost).sum();
        let others = others.into_iter().map(|(_, member)| member).collect();
        Some((Choice { from, others }, cost))
    }

    /// The data's view is there, with what it holds: what is missing from it?
    pub(super) fn judge(&self, choice: &Choice, data: &HeldHere) -> Verdict {
        let mut fetch = BTreeMap::new();
        // What two of them hold alike is fetched once.
        let mut seen: Vec<(&HeadSums, Leaves)> = Vec::new();
        for member in &choice.others {
            let Some(other) = self.holdings.get(member) else {
                return Verdict::Again;
            };
            if other.version > data.version {
                return Verdict::Again;
            }
            let mut missing = other.heads.beyond(&data.heads);
            for (before, fetched) in &seen {
                let new = other.heads.beyond(before);
                retain_new(&mut missing, fetched, &new);
            }
            if missing.is_empty() {
                continue;
            }
            seen.push((&other.heads, missing.clone()));
            fetch.insert(*member, missing);
        }
        Verdict::Fetch(fetch)
    }

    /// Whether raw content that came from a view of this version makes the data complete.
    pub(super) const fn may_merge(data: &HeldHere, raw_version: u64) -> bool {
        raw_version <= data.version
    }
}

/// Takes out of `missing` the leaves that were fetched already, unless they hold something new.
fn retain_new(missing: &mut Leaves, fetched: &Leaves, new: &Leaves) {
    let mut kept = Leaves::new();
    for (window, leaves) in missing.iter() {
        let (done, new) = (fetched.get(window), new.get(window));
        let mut left = super::leaves::LeafSet::default();
        for leaf in leaves.iter() {
            let is_done = done.is_some_and(|done| done.contains(leaf))
                && !new.is_some_and(|new| new.contains(leaf));
            if !is_done {
                left.insert(leaf);
            }
        }
        if !left.is_empty() {
            kept.insert(*window, left);
        }
    }
    missing.clear();
    unite(missing, &kept);
}
