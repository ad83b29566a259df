//! What is written: series by number, and a sample of each.

use crate::model::LabelSet;

/// 2023-11-14, at the start of a window.
pub(super) const NOW: i64 = 1_699_999_200_000;

pub(super) fn labels(series: u32) -> LabelSet {
    LabelSet::from_pairs(&[
        ("__name__", format!("metric_{}", series % 40).as_str()),
        ("instance", format!("host-{}", series % 5).as_str()),
        ("job", "node"),
        ("n", series.to_string().as_str()),
    ])
    .unwrap()
}

/// One sample of each of some series.
pub(super) fn samples(series: std::ops::Range<u32>, round: i64) -> Vec<(u32, i64, f64)> {
    series
        .map(|series| {
            (
                series,
                NOW + round * 15_000,
                f64::from(series) + round as f64,
            )
        })
        .collect()
}
