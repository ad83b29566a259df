//! The order in which the series of a selection are read.

use std::cmp::Ordering;

use super::found::{Part, Wanted, names};
use super::head::HeadView;
use crate::model::{LabelSet, RingArc};

/// So many series or fewer are not worth being read partition by partition.
const FEW_SERIES: usize = 64;

/// What a series is sorted by.
struct Key<'a> {
    arc: Option<RingArc>,
    rank: Option<u32>,
    /// Only where a series has no rank.
    names: [&'a str; 3],
    labels: &'a LabelSet,
}

impl Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.arc
            .cmp(&other.arc)
            .then_with(|| match (self.rank, other.rank) {
                (Some(one), Some(other)) => one.cmp(&other),
                _ => self
                    .names
                    .cmp(&other.names)
                    .then_with(|| self.labels.cmp(other.labels)),
            })
    }
}

/// Blocks hold one partition, and pages neighbours by target, then name, then labels: series are
/// read in that order, so that those which share pages are read together.
pub(super) fn sorted_by_page(wanted: Vec<Wanted>, parts: &[Part], head: &HeadView) -> Vec<Wanted> {
    let by_arc = wanted.len() > FEW_SERIES;
    let arc_of = |wanted: &Wanted| match (&wanted.head, wanted.places().next_back()) {
        (Some(series), _) => Some(head.arc_of(series)),
        (None, Some((part, _))) => parts.get(part as usize)?.seen.arcs.first().copied(),
        (None, None) => None,
    };
    // What only the head has is looked up once, and not at each comparison.
    let ranked = wanted.iter().all(|wanted| wanted.rank().is_some());
    let key = |wanted| -> Key<'_> {
        let wanted: &Wanted = wanted;
        Key {
            arc: by_arc.then(|| arc_of(wanted)).flatten(),
            rank: wanted.rank(),
            names: if ranked {
                [""; 3]
            } else {
                names(&wanted.labels)
            },
            labels: &wanted.labels,
        }
    };
    let mut order: Vec<(Key<'_>, usize)> = wanted.iter().map(key).zip(0..).collect();
    order.sort_by(|one, other| one.0.cmp(&other.0));
    let order: Vec<usize> = order.into_iter().map(|(_, at)| at).collect();
    let mut unsorted: Vec<Option<Wanted>> = wanted.into_iter().map(Some).collect();
    let take = |at: usize| unsorted.get_mut(at).and_then(Option::take);
    order.into_iter().filter_map(take).collect()
}
