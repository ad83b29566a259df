//! What a selection has found: series, and where each of them lies.

use std::collections::HashMap;
use std::sync::Arc;

use super::block::{Ordinal, TenantReader};
use super::head::HeadSeries;
use super::tier::Reading;
use super::view::{ReadView, Seen};
use crate::model::{BlockId, LabelSet, METRIC_NAME, TimeRange};
use crate::runtime::Reservation;

/// What the series of a page are sorted by first.
pub(super) fn names(labels: &LabelSet) -> [&str; 3] {
    ["job", "instance", METRIC_NAME].map(|name| labels.get(name).unwrap_or_default())
}

/// Places of a series: the number of a part, and its ordinal there.
type Places = Vec<(u32, Ordinal)>;

/// The series of some blocks that satisfy matchers. The blocks never change, nor does this.
pub(super) struct Selected {
    /// Which of the blocks have one, and samples of a series of it, on average.
    parts: Vec<(usize, u64)>,
    /// In the order of pages ([`names`]); the position of a series is its rank.
    series: Vec<(LabelSet, Places)>,
    ranks: HashMap<LabelSet, u32>,
    charge: u64,
}

impl Selected {
    /// Of series in any order, and where among these each is. A query is charged for them with so many
    /// bytes.
    pub(super) fn new(
        parts: Vec<(usize, u64)>,
        (series, mut ranks): (Vec<(LabelSet, Places)>, HashMap<LabelSet, u32>),
        charge: u64,
    ) -> Self {
        let mut order: Vec<([&str; 3], &LabelSet, usize)> = Vec::with_capacity(series.len());
        for (at, (labels, _)) in series.iter().enumerate() {
            order.push((names(labels), labels, at));
        }
        order.sort_unstable();
        let order: Vec<usize> = order.into_iter().map(|(_, _, at)| at).collect();
        let mut rank_of = vec![0; order.len()];
        for (rank, at) in (0..).zip(&order) {
            if let Some(slot) = rank_of.get_mut(*at) {
                *slot = rank;
            }
        }
        let ranked = |at: &mut u32| *at = rank_of.get(*at as usize).copied().unwrap_or(u32::MAX);
        ranks.values_mut().for_each(ranked);
        let mut unsorted: Vec<Option<(LabelSet, Places)>> = series.into_iter().map(Some).collect();
        let take = |at: usize| unsorted.get_mut(at).and_then(Option::take);
        Self {
            parts,
            series: order.into_iter().filter_map(take).collect(),
            ranks,
            charge,
        }
    }

    /// The blocks that have something, by their positions among those that were looked into.
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, u64)> {
        self.parts.iter().copied()
    }

    /// What a query is charged for that holds it.
    pub(super) const fn charge(&self) -> u64 {
        self.charge
    }

    /// The position of a series.
    pub(super) fn position(&self, labels: &LabelSet) -> Option<usize> {
        let rank = self.ranks.get(labels)?;
        usize::try_from(*rank).ok()
    }

    /// What it takes in memory, about. The texts of labels are mostly those of the blocks' entries.
    pub(super) fn memory_bytes(&self) -> usize {
        let of = |(labels, places): &(LabelSet, Places)| {
            let own = size_of::<(LabelSet, Places)>() + size_of::<(LabelSet, u32)>();
            own + labels.text_len() + places.capacity() * size_of::<(u32, Ordinal)>()
        };
        let series: usize = self.series.iter().map(of).sum();
        size_of::<Self>() + self.parts.len() * size_of::<(usize, u64)>() + series
    }
}

/// The series of some blocks and of the head, as long as the head has these.
pub(super) struct Together {
    selected: Arc<Selected>,
    /// By rank.
    heads: Vec<Option<HeadSeries>>,
}

impl Together {
    /// Of what was found in blocks, and in the head. `charged` says what a query is charged for a series.
    pub(super) fn new(
        selected: &Selected,
        found: Vec<HeadSeries>,
        charged: fn(&LabelSet) -> u64,
    ) -> Self {
        let (mut series, mut at, mut charge) =
            (selected.series.clone(), HashMap::new(), selected.charge);
        for (number, (labels, _)) in (0..).zip(&series) {
            at.insert(labels.clone(), number);
        }
        for head in &found {
            if selected.position(&head.labels).is_none() {
                charge = charge.saturating_add(charged(&head.labels));
                at.insert(
                    head.labels.clone(),
                    u32::try_from(series.len()).unwrap_or(u32::MAX),
                );
                series.push((head.labels.clone(), Vec::new()));
            }
        }
        let selected = Selected::new(selected.parts.clone(), (series, at), charge);
        let mut heads = vec![None; selected.series.len()];
        for head in found {
            let place = selected
                .position(&head.labels)
                .and_then(|at| heads.get_mut(at));
            if let Some(place) = place {
                *place = Some(head);
            }
        }
        Self {
            selected: Arc::new(selected),
            heads,
        }
    }

    /// Where they are in blocks.
    pub(super) const fn selected(&self) -> &Arc<Selected> {
        &self.selected
    }

    /// Those that are in a block, or of which the head may have something.
    pub(super) fn wanted(&self, may_have: impl Fn(&HeadSeries) -> bool) -> Vec<Wanted> {
        let mut all = Wanted::all_of(&self.selected);
        for (wanted, head) in all.iter_mut().zip(&self.heads) {
            wanted.head = head.as_ref().filter(|head| may_have(head)).cloned();
        }
        all.retain(|wanted| wanted.head.is_some() || wanted.places().next().is_some());
        all
    }

    /// What it takes in memory, about.
    pub(super) fn memory_bytes(&self) -> usize {
        self.selected.memory_bytes() + self.heads.len() * size_of::<Option<HeadSeries>>()
    }
}

/// A series that matches, and where its samples lie.
pub(super) struct Wanted {
    pub(super) labels: LabelSet,
    pub(super) head: Option<HeadSeries>,
    /// In blocks, and its rank among the series of these.
    known: Option<(Arc<Selected>, u32)>,
}

impl Wanted {
    /// A series that is in no block, yet.
    pub(super) const fn new(labels: LabelSet) -> Self {
        Self {
            labels,
            head: None,
            known: None,
        }
    }

    /// Those of blocks, in order of their ranks.
    pub(super) fn all_of(selected: &Arc<Selected>) -> Vec<Self> {
        let series = (0..).zip(&selected.series);
        let wanted = series.map(|(rank, (labels, _))| Self {
            known: Some((Arc::clone(selected), rank)),
            ..Self::new(labels.clone())
        });
        wanted.collect()
    }

    /// Its rank in the order of pages, among those that have one.
    pub(super) fn rank(&self) -> Option<u32> {
        self.known.as_ref().map(|(_, rank)| *rank)
    }

    /// Where it lies in blocks.
    pub(super) fn places(&self) -> impl DoubleEndedIterator<Item = (u32, Ordinal)> {
        let known = self.known.as_ref();
        let known = known.and_then(|(selected, rank)| selected.series.get(*rank as usize));
        let known = known.map_or(&[][..], |(_, places)| places.as_slice());
        known.iter().copied()
    }
}

/// One block of a selection.
pub(super) struct Part {
    pub(super) seen: Seen,
    pub(super) reader: Option<TenantReader>,
    /// Samples of a series of it, on average.
    pub(super) density: u64,
}

impl Part {
    pub(super) fn id(&self) -> BlockId {
        self.seen.block.entry().id
    }

    /// About how many samples of a series it has in a range.
    pub(super) fn samples_in(&self, range: TimeRange) -> u64 {
        let whole = self.seen.block.entry().range;
        let length = |from: i64, to: i64| u128::from(to.abs_diff(from)).saturating_add(1);
        let (from, to) = (whole.start.max(range.start), whole.end.min(range.end));
        if to < from {
            return 0;
        }
        let (part, all) = (length(from.0, to.0), length(whole.start.0, whole.end.0));
        let samples = u128::from(self.density) * part / all;
        u64::try_from(samples).unwrap_or(u64::MAX)
    }
}

/// What a selection has found.
pub(super) struct Found {
    pub(super) view: ReadView,
    pub(super) parts: Vec<Part>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) reservation: Reservation,
    /// What was fetched for it.
    pub(super) reading: Arc<Reading>,
}
