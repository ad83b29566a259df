//! A series: a tenant and a label set; and its fingerprint, which routes it.
//!
//! Identity is the label set. A fingerprint only routes and speeds up: two label sets with one
//! fingerprint stay two series.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{LabelSet, TenantId};

/// 128 bits of a series, stable for ever: the top 32 of locality (tenant, job, instance and a
/// sixteenth of the metric names), the low 96 of everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Labels of a series with their lengths seldom have more bytes.
const USUAL_BYTES: usize = 1024;

const LOW_96: u128 = (1 << 96) - 1;

/// The fingerprint of a series; `docs/format.md` has the definition and test vectors.
///
/// The top 32 bits are the top half of xxh3-64 (seed 0) over tenant, job and instance, each with
/// its length before it as a little-endian `u32`, and the byte xxh3-64(metric name) mod 16. So a
/// scrape target lies in at most sixteen arcs. One of job and instance missing counts as empty;
/// without both, all bits come from all labels. The low 96 bits are those of xxh3-128 (seed 0)
/// over the tenant and the sorted label names and values, written likewise.
#[must_use]
pub fn fingerprint(tenant: &TenantId, labels: &LabelSet) -> Fingerprint {
    // In one piece: a hash that is fed costs more than the copy.
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    feed(&mut bytes, tenant.as_str());
    for (name, value) in labels.iter() {
        feed(&mut bytes, name);
        feed(&mut bytes, value);
    }
    let all = xxh3_128(&bytes);
    let (job, instance) = (labels.get("job"), labels.get("instance"));
    if job.is_none() && instance.is_none() {
        return Fingerprint(all);
    }
    bytes.clear();
    feed(&mut bytes, tenant.as_str());
    feed(&mut bytes, job.unwrap_or_default());
    feed(&mut bytes, instance.unwrap_or_default());
    let name = labels.metric_name().unwrap_or_default();
    bytes.push((xxh3_64(name.as_bytes()) % 16) as u8);
    let place = u128::from(xxh3_64(&bytes) >> 32);
    Fingerprint((place << 96) | (all & LOW_96))
}

/// By which fingerprint the metadata of a metric family are routed: that of a series that has its
/// name and no other label.
#[must_use]
pub fn fingerprint_of_family(tenant: &TenantId, family: &str) -> Fingerprint {
    let labels = LabelSet::from_pairs(&[(super::METRIC_NAME, family)]);
    fingerprint(tenant, &labels.unwrap_or_else(|_| LabelSet::empty()))
}

fn feed(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Fingerprint {
        fingerprint(
            &TenantId::anonymous(),
            &LabelSet::from_pairs(pairs).unwrap(),
        )
    }

    #[test]
    fn a_target_lies_in_at_most_sixteen_places() {
        let places: std::collections::BTreeSet<u128> = (0..500)
            .map(|i| {
                let name = format!("metric_{i}");
                of(&[("__name__", &name), ("job", "j"), ("instance", "i")]).0 >> 96
            })
            .collect();
        assert!(places.len() <= 16 && places.len() > 8, "{}", places.len());
    }

    #[test]
    fn without_job_and_instance_all_bits_come_from_all_labels() {
        let (a, b) = (
            of(&[("__name__", "x"), ("a", "1")]),
            of(&[("__name__", "x"), ("a", "2")]),
        );
        assert_ne!(a.0 >> 96, b.0 >> 96);
    }
}
