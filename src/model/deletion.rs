//! What is deleted: samples of the series that match, in a range of time.

use super::{LabelSet, Matcher, Samples, TenantId, TimeRange};

/// Samples of some series in some range, to be hidden and then to be left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// Whose series.
    pub tenant: TenantId,
    /// All of these hold for a series that it is about; none: it is about all of the tenant's, whose
    /// retention is over.
    pub matchers: Vec<Matcher>,
    /// The times of the samples, both ends among them.
    pub range: TimeRange,
}

impl Deletion {
    /// Whether it is about samples of a tenant in a range at all.
    #[must_use]
    pub fn concerns(&self, tenant: &TenantId, range: TimeRange) -> bool {
        self.range.overlaps(range) && self.tenant == *tenant
    }

    /// Whether it is about a series of its tenant.
    #[must_use]
    pub fn matches(&self, labels: &LabelSet) -> bool {
        let value = |matcher: &Matcher| labels.get(matcher.name()).unwrap_or_default();
        self.matchers.iter().all(|m| m.matches(value(m)))
    }

    /// Leaves its samples out of those of a series of its tenant, and says how many it were.
    pub fn apply(&self, labels: &LabelSet, samples: &mut Samples) -> usize {
        let (Some(first), Some(last)) = (samples.timestamps.first(), samples.timestamps.last())
        else {
            return 0;
        };
        let held = TimeRange::new(super::TimestampMs(*first), super::TimestampMs(*last));
        if !self.range.overlaps(held) || !self.matches(labels) {
            return 0;
        }
        samples.cut_out(self.range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MatchOp, TimestampMs, Value};

    fn at(times: &[i64]) -> Samples {
        let mut samples = Samples::default();
        for at in times {
            samples.push(TimestampMs(*at), Value::Float(*at as f64), TimestampMs(0));
        }
        samples
    }

    #[test]
    fn only_what_matches_in_the_range_is_left_out() {
        let range = TimeRange::new(TimestampMs(10), TimestampMs(20));
        let deletion = Deletion {
            tenant: TenantId::anonymous(),
            matchers: vec![
                Matcher::new("__name__", MatchOp::Equal, "up").unwrap(),
                Matcher::new("job", MatchOp::NotEqual, "keep").unwrap(),
            ],
            range,
        };
        let labels = |pairs: &[(&str, &str)]| LabelSet::from_pairs(pairs).unwrap();
        let mut samples = at(&[9, 10, 15, 20, 21]);
        let kept = labels(&[("__name__", "up"), ("job", "keep")]);
        assert_eq!(deletion.apply(&kept, &mut samples), 0);
        // A label that is absent compares as the empty text.
        assert_eq!(
            deletion.apply(&labels(&[("__name__", "up")]), &mut samples),
            3
        );
        assert_eq!(samples, at(&[9, 21]));
        assert_eq!(
            deletion.apply(&labels(&[("__name__", "up")]), &mut samples),
            0
        );
        assert!(deletion.concerns(&TenantId::anonymous(), range));
        assert!(!deletion.concerns(&TenantId::new("other").unwrap(), range));
    }
}
