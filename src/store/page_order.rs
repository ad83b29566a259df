//! The order in which the series of a selection are read.

use super::found::{Part, Wanted};
use super::head::HeadView;
use crate::model::{METRIC_NAME, RingArc};

/// So many series or fewer are not worth being read partition by partition.
const FEW_SERIES: usize = 64;

/// What series are sorted by: the partition, of many of them; then what pages are sorted by.
type PageOrder<'a> = (Option<RingArc>, [&'a str; 3]);

/// Blocks hold one partition, and pages neighbours by target, then name, then labels: series are
/// read in that order, so that those which share pages are read together.
pub(super) fn sorted_by_page(wanted: Vec<Wanted>, parts: &[Part], head: &HeadView) -> Vec<Wanted> {
    let few = wanted.len() <= FEW_SERIES;
    let arc_of = |wanted: &Wanted| match (&wanted.head, wanted.places.last()) {
        (Some(series), _) => Some(head.arc_of(series)),
        (None, Some((part, _))) => parts.get(*part as usize)?.seen.arcs.first().copied(),
        (None, None) => None,
    };
    let mut order: Vec<(PageOrder<'_>, usize)> = Vec::with_capacity(wanted.len());
    for (at, wanted) in wanted.iter().enumerate() {
        let name = |name: &str| wanted.labels.get(name).unwrap_or_default();
        let names = ["job", "instance", METRIC_NAME].map(name);
        order.push(((arc_of(wanted).filter(|_| !few), names), at));
    }
    let labels = |at: usize| wanted.get(at).map(|wanted| &wanted.labels);
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| labels(a.1).cmp(&labels(b.1))));
    let order: Vec<usize> = order.into_iter().map(|(_, at)| at).collect();
    let mut wanted: Vec<Option<Wanted>> = wanted.into_iter().map(Some).collect();
    let take = |at: usize| wanted.get_mut(at).and_then(Option::take);
    order.into_iter().filter_map(take).collect()
}
