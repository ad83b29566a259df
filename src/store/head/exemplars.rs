//! The bounded buffer of exemplars: the newest ones, each with its series. Only the log has them
//! beside it; no block and no digest does.

use std::collections::{BTreeMap, VecDeque};

use super::types::SeriesId;
use crate::model::Exemplar;

/// Exemplars of one shard's series.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    series: BTreeMap<SeriesId, VecDeque<Exemplar>>,
    /// Whose exemplar came when, oldest first.
    order: VecDeque<SeriesId>,
}

impl Exemplars {
    /// Adds one unless its series has it already; the oldest of all goes when there are more
    /// than `max`. Returns whether it is new.
    pub(super) fn push(&mut self, series: SeriesId, exemplar: &Exemplar, max: usize) -> bool {
        let own = self.series.entry(series).or_default();
        let same = |one: &Exemplar| {
            one.timestamp == exemplar.timestamp
                && one.value.to_bits() == exemplar.value.to_bits()
                && one.labels == exemplar.labels
        };
        if own.iter().rev().any(same) {
            return false;
        }
        own.push_back(exemplar.clone());
        self.order.push_back(series);
        while self.order.len() > max {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(own) = self.series.get_mut(&oldest) {
                own.pop_front();
                if own.is_empty() {
                    self.series.remove(&oldest);
                }
            }
        }
        true
    }

    pub(super) fn of(&self, series: SeriesId) -> impl Iterator<Item = &Exemplar> {
        self.series.get(&series).into_iter().flatten()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
