//! In which order `sort*` puts series.

use std::cmp::Ordering;

use crate::model::LabelSet;

/// `sort` and `sort_desc`: by value, NaN last either way.
#[must_use]
pub fn compare_values(a: f64, b: f64, descending: bool) -> Ordering {
    let order = match a.partial_cmp(&b) {
        Some(order) => order,
        None => return a.is_nan().cmp(&b.is_nan()),
    };
    if descending { order.reverse() } else { order }
}

/// `sort_by_label` and `sort_by_label_desc`: by the values of the named labels in natural order,
/// then by the whole label set.
#[must_use]
pub fn compare_labels(a: &LabelSet, b: &LabelSet, names: &[&str], descending: bool) -> Ordering {
    let order = names
        .iter()
        .map(|name| {
            let of = |labels: &LabelSet| labels.get(name).unwrap_or_default().to_owned();
            compare_natural(&of(a), &of(b))
        })
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.cmp(b));
    if descending { order.reverse() } else { order }
}

/// Natural order: texts are cut into runs of digits and of others; runs of digits that fit an
/// `i64` compare as numbers, all else as bytes. Texts that differ only in leading zeros compare
/// equal run by run; the shorter list of runs comes first then, and else the smaller bytes.
fn compare_natural(a: &str, b: &str) -> Ordering {
    let (mut ours, mut theirs) = (a, b);
    loop {
        let ((one, our_rest), (other, their_rest)) = (split_run(ours), split_run(theirs));
        if one.is_empty() || other.is_empty() {
            return (!one.is_empty())
                .cmp(&!other.is_empty())
                .then_with(|| a.cmp(b));
        }
        let order = match (number(one), number(other)) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one.cmp(other),
        };
        if order.is_ne() {
            return order;
        }
        (ours, theirs) = (our_rest, their_rest);
    }
}

fn number(run: &str) -> Option<i64> {
    run.starts_with(|c: char| c.is_ascii_digit())
        .then(|| run.parse().ok())
        .flatten()
}

/// The first run of digits or of others, and the rest.
fn split_run(text: &str) -> (&str, &str) {
    let digit = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text
        .find(|c: char| c.is_ascii_digit() != digit)
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_sorted_with_nan_last() {
        for (descending, want) in [(false, [1.0, 2.0, 3.0]), (true, [3.0, 2.0, 1.0])] {
            let mut values = [2.0, f64::NAN, 3.0, 1.0, f64::NAN];
            values.sort_by(|a, b| compare_values(*a, *b, descending));
            assert_eq!(values[..3], want);
            assert!(values[3].is_nan() && values[4].is_nan());
        }
    }

    #[test]
    fn numbers_in_labels_sort_as_numbers() {
        let set = |value: &str| LabelSet::from_pairs(&[("a", value)]).unwrap();
        let mut sorted: Vec<LabelSet> = ["cpu10", "cpu2", "4", "11", "cpu", "a", "cpu2b", "2"]
            .map(set)
            .to_vec();
        sorted.sort_by(|a, b| compare_labels(a, b, &["missing", "a"], false));
        let values: Vec<&str> = sorted.iter().filter_map(|labels| labels.get("a")).collect();
        assert_eq!(
            values,
            ["2", "4", "11", "a", "cpu", "cpu2", "cpu2b", "cpu10"]
        );
        sorted.sort_by(|a, b| compare_labels(a, b, &["a"], true));
        assert_eq!(sorted[0].get("a"), Some("cpu10"));
    }
}
