//! The read of one partition, as a pure value: answers in, decisions out. Who is asked, when, and
//! over what, is the driver's business (`source.rs`).
//!
//! Rules it keeps (the replication protocol's sections 1 and 7): answers count only under the
//! reader's epoch and only together with others of it; a majority of every set must have
//! answered; data come from a view of at least the version of every member that counts; what
//! another member's head holds and the view may not is fetched from it; a raw answer of a later
//! version than the data's starts the read again, because what it lacks may be in a block that
//! the view does not have.
//!
//! Members are asked in two steps. Sums over encoded series are quick to make, and where they are
//! equal nothing more need be known; where they differ the same members are asked for sums of samples.

use std::collections::{BTreeMap, BTreeSet};

use super::leaves::{HeadSums, Leaves, count, encoded_otherwise, everything_of, unite};
use crate::cluster::control::MemberId;
use crate::cluster::quorum::Sets;
use crate::model::Epoch;
use crate::runtime::{Rule, holds};

/// So many leaves may differ before another member is preferred for the data: the newest slots of
/// all sub-arcs, which are being written while they are read.
const DIFFERING_USUAL: usize = 32;

/// What a member holds, as it says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct HeldHere {
    /// The version of the catalog that is applied in its view.
    pub(super) version: u64,
    /// What its head holds of the selected series.
    pub(super) heads: HeadSums,
    /// These are sums over encoded series: equal ones are equal contents, different ones say nothing.
    pub(super) encoded: bool,
}

impl HeldHere {
    /// Where two may hold something else, for all that their sums say; nowhere when these are sums
    /// of samples, which can be compared as they are.
    fn unsure(&self, other: &Self) -> Leaves {
        match (self.encoded, other.encoded) {
            (false, false) => Leaves::new(),
            (true, true) => encoded_otherwise(&self.heads, &other.heads),
            _ => everything_of(&self.heads, &other.heads),
        }
    }
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
    /// Who alone counts since they were asked for sums of samples.
    only: Option<BTreeSet<MemberId>>,
    /// No majority is to be had, and what there is will do.
    is_partial: bool,
    /// The latest other epoch that somebody named.
    other: Option<Epoch>,
}

impl PartitionRead {
    pub(super) fn new(epoch: Epoch, sets: Sets) -> Self {
        Self {
            epoch,
            sets,
            holdings: BTreeMap::new(),
            only: None,
            is_partial: false,
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
            Answer::Holds(holding) if self.counts(member, &holding) => {
                self.holdings.insert(member, holding);
            }
            Answer::Holds(_) => {}
            Answer::OtherEpoch(epoch) => self.other = self.other.max(Some(epoch)),
        }
    }

    fn counts(&self, member: MemberId, holding: &HeldHere) -> bool {
        match &self.only {
            Some(only) => only.contains(&member) && !holding.encoded,
            None => self.sets.everyone().contains(&member),
        }
    }

    /// Where those of a choice may hold something else, for all that sums over encoded series say.
    /// Nowhere: what `choose` and `judge` say can be relied on.
    pub(super) fn unsure(&self, choice: &Choice) -> Leaves {
        let mut unsure = Leaves::new();
        let others = choice
            .others
            .iter()
            .filter_map(|one| self.holdings.get(one));
        if let Some(own) = self.holdings.get(&choice.from) {
            others.for_each(|other| unite(&mut unsure, &own.unsure(other)));
        }
        unsure
    }

    /// Those of a choice are asked once more, for sums of samples of the leaves in which they may
    /// differ. In all others they hold the same, so that any of them may give the data; of nobody
    /// else is that known, and nobody else counts from now on.
    pub(super) fn refine(&mut self, choice: &Choice) {
        self.holdings.clear();
        let others = choice.others.iter().copied();
        self.only = Some(others.chain([choice.from]).collect());
    }

    /// What a member has said that it holds.
    pub(super) fn held(&self, member: MemberId) -> Option<&HeldHere> {
        self.holdings.get(&member)
    }

    /// Whether enough have answered.
    pub(super) fn has_majority(&self) -> bool {
        self.sets
            .have_answered(&self.holdings.keys().copied().collect())
    }

    /// Makes do with whoever has answered: what acknowledged samples they lack nobody knows. Says
    /// whether anybody has.
    pub(super) fn settle_for_less(&mut self) -> bool {
        self.is_partial = true;
        !self.holdings.is_empty()
    }

    /// Whether these are enough: a majority of each set, or whoever there is.
    fn are_enough(&self, members: &BTreeSet<MemberId>) -> bool {
        if self.is_partial {
            self.holdings.keys().all(|one| members.contains(one))
        } else {
            self.sets.have_answered(members)
        }
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
            let (choice, cost) = self.choice_of(*from, &rank)?;
            let unusual = cost.saturating_sub(DIFFERING_USUAL);
            Some(((unusual, rank(*from)), choice))
        });
        let best = choices.min_by(|(one, _), (other, _)| one.cmp(other));
        best.map(|(_, choice)| choice)
    }

    /// Data from one member, and the cheapest others that make a majority with it, of equal ones the
    /// best; and how many leaves would have to be fetched.
    fn choice_of<R: Ord>(
        &self,
        from: MemberId,
        rank: &impl Fn(MemberId) -> R,
    ) -> Option<(Choice, usize)> {
        let own = self.holdings.get(&from)?;
        let older = |(member, other): &(&MemberId, &HeldHere)| {
            let is_older =
                other.version <= own.version || !holds(Rule::ReadersTakeTheHighestVersion);
            **member != from && is_older
        };
        let candidates = self.holdings.iter().filter(older);
        let mut others: Vec<(usize, MemberId)> = candidates
            .map(|(member, other)| (count(&other.heads.beyond(&own.heads)), *member))
            .collect();
        let is_enough = |others: &[(usize, MemberId)]| {
            let members = others.iter().map(|(_, member)| *member);
            self.are_enough(&members.chain(Some(from)).collect())
        };
        if !is_enough(&others) {
            return None;
        }
        // The dearest go first, as long as it is enough without them.
        others.sort_by_key(|(cost, member)| (*cost, rank(*member)));
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
            if other.version > data.version && holds(Rule::ReadersTakeTheHighestVersion) {
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
    pub(super) fn may_merge(data: &HeldHere, raw_version: u64) -> bool {
        raw_version <= data.version || !holds(Rule::ReadersTakeTheHighestVersion)
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

#[cfg(test)]
mod tests;
