//! Who votes: a pure choice. An odd number up to five, over zones as distinct as there are, and as
//! few changes as possible.

use std::collections::{BTreeMap, BTreeSet};

use super::types::NodeId;

/// Voters of a cluster of so many nodes: 1 with one or two, 3 with three or four, 5 from five on.
pub(super) const fn wanted(nodes: usize) -> usize {
    match nodes {
        0..=2 => 1,
        3 | 4 => 3,
        _ => 5,
    }
}

/// A node that may vote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub(super) id: NodeId,
    pub(super) zone: String,
    /// It votes now.
    pub(super) votes: bool,
    /// It leads now.
    pub(super) leads: bool,
    pub(super) health: Health,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Health {
    /// It will never come back.
    Gone,
    /// It has been away for longer than a voter may be.
    Lost,
    /// It is away, not for long yet, or it lags behind.
    Away,
    /// It answers and has the log.
    Well,
}

/// The first voters of a cluster, from its founders.
pub(super) fn first<'a>(founders: impl Iterator<Item = (NodeId, &'a str)>) -> BTreeSet<NodeId> {
    let candidate = |(id, zone): (NodeId, &str)| Candidate {
        id,
        zone: zone.to_owned(),
        votes: false,
        leads: false,
        health: Health::Well,
    };
    let candidates: Vec<Candidate> = founders.map(candidate).collect();
    choose(&candidates)
}

/// Who should vote. Voters stay unless they are gone, or lost while a healthy node can take their
/// place, or in a zone that has more voters than another could have. Only who is well becomes one.
pub(super) fn choose(candidates: &[Candidate]) -> BTreeSet<NodeId> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by_key(|candidate| candidate.id);
    let standing = |c: &&Candidate| c.health > Health::Gone;
    let nodes = sorted.iter().copied().filter(standing).count();
    let mut choice = Choice::default();
    // Who votes and is not lost stays for now; the leader before all others.
    let mut staying: Vec<&Candidate> = sorted
        .iter()
        .copied()
        .filter(|c| c.votes && c.health >= Health::Away)
        .collect();
    staying.sort_by_key(|c| (!c.leads, std::cmp::Reverse(c.health), c.id));
    let most = wanted(nodes);
    let mut fresh: Vec<&Candidate> = sorted
        .iter()
        .copied()
        .filter(|c| !c.votes && c.health == Health::Well)
        .collect();
    let lost: Vec<&Candidate> = sorted
        .iter()
        .copied()
        .filter(|c| c.votes && c.health == Health::Lost)
        .collect();
    // Never an even number, and never more than can be filled; and while there is nobody to take a
    // place, nobody is sent from it: what two disks must hold is safer than what one must.
    let fillable = staying.len() + fresh.len() + lost.len();
    let size = if fillable >= most {
        most
    } else {
        odd(fillable)
    };
    let voting = sorted.iter().filter(|c| c.votes);
    if fillable < most && voting.clone().count() > size {
        return voting.map(|c| c.id).collect();
    }
    choice.take(&mut staying, size);
    choice.take(&mut fresh, size);
    let mut lost = lost;
    choice.take(&mut lost, size);
    choice.spread(&sorted, size);
    choice.voters.into_keys().collect()
}

const fn odd(number: usize) -> usize {
    if number == 0 {
        0
    } else {
        number - 1 + number % 2
    }
}

#[derive(Default)]
struct Choice {
    /// Voters and their zones.
    voters: BTreeMap<NodeId, String>,
}

impl Choice {
    fn crowd(&self, zone: &str) -> usize {
        self.voters.values().filter(|other| *other == zone).count()
    }

    /// Takes from a list, at each step the first from the least crowded zone.
    fn take(&mut self, from: &mut Vec<&Candidate>, size: usize) {
        while self.voters.len() < size && !from.is_empty() {
            let least = from
                .iter()
                .enumerate()
                .min_by_key(|(at, c)| (!c.leads, self.crowd(&c.zone), *at));
            let Some((at, _)) = least else {
                return;
            };
            let taken = from.remove(at);
            self.voters.insert(taken.id, taken.zone.clone());
        }
    }

    /// One voter of a crowded zone gives its place to a well node of a zone that has two less. One
    /// at a time: each is a change of the group.
    fn spread(&mut self, sorted: &[&Candidate], size: usize) {
        if self.voters.len() < size {
            return;
        }
        let newcomers = sorted
            .iter()
            .filter(|c| !self.voters.contains_key(&c.id) && c.health == Health::Well);
        let Some(comes) = newcomers.min_by_key(|c| (self.crowd(&c.zone), c.id)) else {
            return;
        };
        let goes = sorted
            .iter()
            .filter(|c| self.voters.contains_key(&c.id) && !c.leads)
            .max_by_key(|c| (self.crowd(&c.zone), c.id));
        let Some(goes) = goes else {
            return;
        };
        if self.crowd(&goes.zone) >= self.crowd(&comes.zone).saturating_add(2) {
            self.voters.remove(&goes.id);
            self.voters.insert(comes.id, comes.zone.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: NodeId, zone: &str, votes: bool, health: Health) -> Candidate {
        Candidate {
            id,
            zone: zone.to_owned(),
            votes,
            leads: votes && id == 1,
            health,
        }
    }

    fn chosen(candidates: &[Candidate]) -> Vec<NodeId> {
        choose(candidates).into_iter().collect()
    }

    #[test]
    fn the_number_of_voters_follows_the_number_of_nodes() {
        for (nodes, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (100, 5)] {
            let founders: Vec<(NodeId, &str)> = (1..=nodes).map(|id| (id, "")).collect();
            assert_eq!(first(founders.into_iter()).len(), voters, "{nodes} nodes");
        }
    }

    #[test]
    fn zones_are_distinct_where_they_can_be() {
        let founders = [(1, "a"), (2, "a"), (3, "b"), (4, "c")];
        assert_eq!(first(founders.into_iter()), [1, 3, 4].into());
        // Later: one of a crowded zone goes when a node of a new zone is there, never the leader.
        let nodes = [
            node(1, "a", true, Health::Well),
            node(2, "a", true, Health::Well),
            node(3, "b", true, Health::Well),
            node(4, "c", false, Health::Well),
        ];
        assert_eq!(chosen(&nodes), [1, 3, 4]);
    }

    #[test]
    fn voters_stay_while_they_can() {
        let mut nodes: Vec<Candidate> = (1..=5)
            .map(|id| node(id, "", id <= 3, Health::Well))
            .collect();
        nodes.pop();
        assert_eq!(chosen(&nodes), [1, 2, 3], "four nodes, three voters");
        nodes[1].health = Health::Away;
        assert_eq!(chosen(&nodes), [1, 2, 3], "away for a while");
        nodes[1].health = Health::Lost;
        assert_eq!(chosen(&nodes), [1, 3, 4], "another takes its place");
        nodes[3].health = Health::Away;
        assert_eq!(chosen(&nodes), [1, 2, 3], "nobody could");
        nodes[1].health = Health::Gone;
        assert_eq!(chosen(&nodes), [1, 2, 3], "nobody to take the place yet");
        nodes[3].health = Health::Well;
        assert_eq!(chosen(&nodes), [1, 3, 4]);
        nodes.pop();
        assert_eq!(chosen(&nodes), [1], "of two nodes one votes");
    }

    #[test]
    fn nobody_votes_before_it_has_the_log() {
        let nodes = [
            node(1, "", true, Health::Well),
            node(2, "", false, Health::Away),
            node(3, "", false, Health::Well),
        ];
        assert_eq!(chosen(&nodes), [1]);
    }
}
