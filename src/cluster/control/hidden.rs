//! What of a tenant is deleted, as of one control state.

use super::state::ControlState;
use crate::model::{Deletion, LabelSet, Samples, TenantId, TimeRange, TimestampMs};

/// Deletions of one tenant that reach into a range. Nearly always there are none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hidden(Vec<Deletion>);

impl Hidden {
    /// What a control state says.
    #[must_use]
    pub fn of(state: &ControlState, tenant: &TenantId, range: TimeRange) -> Self {
        let standing = state.tombstones.values();
        let deletions = standing.map(|one| &one.tombstone.deletion);
        let concerned = deletions.filter(|one| one.concerns(tenant, range));
        Self(concerned.cloned().collect())
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last time of which anything is deleted; [`TimestampMs::MIN`]: nothing is.
    #[must_use]
    pub fn until(&self) -> TimestampMs {
        let ends = self.0.iter().map(|one| one.range.end);
        ends.max().unwrap_or(TimestampMs::MIN)
    }

    /// The deletions.
    pub(in crate::cluster) fn all(&self) -> &[Deletion] {
        &self.0
    }

    /// The deletions that are about a series.
    #[must_use]
    pub fn of_series(&self, labels: &LabelSet) -> Self {
        let about = self.0.iter().filter(|one| one.matches(labels));
        Self(about.cloned().collect())
    }

    /// Of the deletions that are about a series ([`Hidden::of_series`]), the range of one that a
    /// time is in.
    #[must_use]
    pub fn range_at(&self, at: TimestampMs) -> Option<TimeRange> {
        let mut ranges = self.0.iter().map(|one| one.range);
        ranges.find(|range| range.contains(at))
    }

    /// Leaves out of a series what is deleted of it.
    pub(in crate::cluster) fn apply(&self, labels: &LabelSet, samples: &mut Samples) {
        for one in &self.0 {
            one.apply(labels, samples);
        }
    }

    /// What of a range none of these covers: a few ranges, in order.
    pub(in crate::cluster) fn gaps(&self, range: TimeRange) -> Vec<TimeRange> {
        let mut covered: Vec<TimeRange> = self.0.iter().map(|one| one.range).collect();
        covered.sort_unstable_by_key(|one| one.start);
        let mut gaps = Vec::new();
        let mut from = range.start;
        for one in covered {
            let before = TimeRange::new(from, range.end.min(one.start.plus_ms(-1)));
            // The earliest time of all has none before it.
            if one.start > from && !before.is_empty() {
                gaps.push(before);
            }
            if one.end >= range.end {
                return gaps;
            }
            from = from.max(one.end.plus_ms(1));
        }
        gaps.push(TimeRange::new(from, range.end));
        gaps
    }
}
