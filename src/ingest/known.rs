//! What this process remembers between requests: series and metadata that the store has already.
//!
//! Everything here can be lost without harm: it saves parsing, and sending the same metadata over
//! and over. Nothing is locked for longer than a slice of a request takes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::cluster::SeriesId;
use crate::model::{Metadata, TenantId};

use super::series_cache::SeriesCache;
use super::series_key::SeriesKeys;

/// How long a generation of the cache lasts: what is not sent for one to two of these is forgotten,
/// and metadata is offered to the store once in each.
const GENERATION: Duration = Duration::from_secs(20 * 60);
/// Metadata that is remembered as stored; beyond it, more is offered again than needed.
const METADATA_MAX: usize = 100_000;

/// The memory.
pub(super) struct Known {
    pub(super) keys: SeriesKeys,
    pub(super) cache: Mutex<SeriesCache<SeriesId>>,
    metadata: Mutex<HashSet<u128>>,
    /// Changes whenever all metadata shall be offered again.
    salt: AtomicU64,
    turned: Mutex<Duration>,
}

impl Known {
    pub(super) fn new(keys: SeriesKeys, series_max: usize) -> Self {
        Self {
            keys,
            cache: Mutex::new(SeriesCache::new(series_max)),
            metadata: Mutex::new(HashSet::new()),
            salt: AtomicU64::new(1),
            turned: Mutex::new(Duration::ZERO),
        }
    }

    /// Changes how many spellings are remembered at most; what is there already stays.
    pub(super) fn hold_at_most(&self, series_max: usize) {
        self.cache.lock().hold_at_most(series_max);
    }

    /// Begins a new generation when it is time; to be called with the time since the start.
    pub(super) fn turn_if_due(&self, elapsed: Duration) {
        let mut turned = self.turned.lock();
        if elapsed.saturating_sub(*turned) < GENERATION {
            return;
        }
        *turned = elapsed;
        self.cache.lock().turn();
        self.forget_metadata();
    }

    /// What metadata hashes are to be mixed with now.
    pub(super) fn salt(&self) -> u64 {
        self.salt.load(Ordering::Relaxed)
    }

    /// Whether metadata is new here; it counts as known from now on.
    pub(super) fn is_new_metadata(
        &self,
        tenant: &TenantId,
        family: &str,
        metadata: &Metadata,
    ) -> bool {
        let mut key = self.keys.refs();
        for text in [tenant.as_str(), family, &metadata.help, &metadata.unit] {
            key.push(self.keys.bytes(text.as_bytes()));
        }
        key.push(metadata.kind as u128);
        let mut known = self.metadata.lock();
        if known.len() >= METADATA_MAX {
            known.clear();
        }
        known.insert(key.finish())
    }

    /// Forgets which metadata is known, because it may not have been stored.
    pub(super) fn forget_metadata(&self) {
        self.metadata.lock().clear();
        self.salt.fetch_add(1, Ordering::Relaxed);
    }
}
