//! The order in which the series of a selection are read.

use std::cmp::Ordering;

use super::found::{Part, Wanted, names};
use super::head::HeadView;
use crate::model::RingArc;

/// So many series or fewer are not worth being read partition by partition.
const FEW_SERIES: usize = 64;

/// Blocks hold one partition, and pages neighbours by target, then name, then labels: series are
/// read in that order, so that those which share pages are read together.
pub(super) fn sorted_by_page(
    mut wanted: Vec<Wanted>,
    parts: &[Part],
    head: &HeadView,
) -> Vec<Wanted> {
    let by_names = |one: &Wanted, other: &Wanted| match (one.rank(), other.rank()) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => {
            let by_page = names(&one.labels).cmp(&names(&other.labels));
            by_page.then_with(|| one.labels.cmp(&other.labels))
        }
    };
    if wanted.len() <= FEW_SERIES {
        wanted.sort_by(by_names);
        return wanted;
    }
    let arc_of = |wanted: &Wanted| match (&wanted.head, wanted.places().next_back()) {
        (Some(series), _) => Some(head.arc_of(series)),
        (None, Some((part, _))) => parts.get(part as usize)?.seen.arcs.first().copied(),
        (None, None) => None,
    };
    let with_arc = |wanted: Wanted| (arc_of(&wanted), wanted);
    let mut by_arc: Vec<(Option<RingArc>, Wanted)> = wanted.into_iter().map(with_arc).collect();
    by_arc.sort_by(|one, other| match one.0.cmp(&other.0) {
        Ordering::Equal => by_names(&one.1, &other.1),
        unequal => unequal,
    });
    by_arc.into_iter().map(|(_, wanted)| wanted).collect()
}
