//! The order in which the series of a selection are read.

use super::found::{Part, Wanted, names};
use super::head::HeadView;
use crate::model::{LabelSet, RingArc};

/// So many series or fewer are not worth being read partition by partition.
const FEW_SERIES: usize = 64;

/// Blocks hold one partition, and pages neighbours by target, then name, then labels: series are
/// read in that order, so that those which share pages are read together.
pub(super) fn sorted_by_page(wanted: Vec<Wanted>, parts: &[Part], head: &HeadView) -> Vec<Wanted> {
    let by_arc = wanted.len() > FEW_SERIES;
    let arc_of = |wanted: &Wanted| match (&wanted.head, wanted.places().next_back()) {
        (Some(series), _) => Some(head.arc_of(series)),
        (None, Some((part, _))) => parts.get(part as usize)?.seen.arcs.first().copied(),
        (None, None) => None,
    };
    let arcs = wanted
        .iter()
        .map(|wanted| by_arc.then(|| arc_of(wanted)).flatten());
    let mut order: Vec<(Option<RingArc>, usize)> = arcs.zip(0..).collect();
    if wanted.iter().all(|wanted| wanted.rank().is_some()) {
        let rank = |at: usize| wanted.get(at).and_then(Wanted::rank);
        order.sort_by_key(|(arc, at)| (*arc, rank(*at)));
    } else {
        // Of what only the head has, names are looked up once, and not at each comparison.
        let keys: Vec<([&str; 3], &LabelSet)> = wanted
            .iter()
            .map(|wanted| (names(&wanted.labels), &wanted.labels))
            .collect();
        order.sort_by(|one, other| {
            let by_arc = one.0.cmp(&other.0);
            by_arc.then_with(|| keys.get(one.1).cmp(&keys.get(other.1)))
        });
    }
    let mut unsorted: Vec<Option<Wanted>> = wanted.into_iter().map(Some).collect();
    let mut take = |at: usize| unsorted.get_mut(at).and_then(Option::take);
    order.into_iter().filter_map(|(_, at)| take(at)).collect()
}
