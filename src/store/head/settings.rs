//! What can be set of the head.

use crate::model::FOUNDING_DEPTH;

/// What the head is given at open. Not a section of its own: the store's settings have the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadSettings {
    /// The cluster, whose id keys the content hashes.
    pub cluster_id: u128,
    /// Bits of a fingerprint that name a partition.
    pub depth: u8,
    /// Lock stripes, 1 to 64. Series of one scrape target share one.
    pub shards: usize,
    /// Series that may be registered at a time; a new one beyond it is refused.
    pub series_max: usize,
    /// Bytes of memory that registered series and their labels may take; a new one beyond it is
    /// refused. 0: no bound.
    pub registry_bytes_max: usize,
    /// Exemplars held at a time; the oldest go first.
    pub exemplars_max: usize,
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self {
            cluster_id: 0,
            depth: FOUNDING_DEPTH,
            shards: 4,
            series_max: 10_000_000,
            registry_bytes_max: 0,
            exemplars_max: 20_000,
        }
    }
}
