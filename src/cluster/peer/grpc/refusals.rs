//! Strangers, counted and logged: each reason once an interval for each peer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::limits::{LOG_EVERY, LOG_PAIRS_MAX};
use super::metrics::PeerMetrics;
use super::reason::Reason;
use crate::runtime::Clock;

/// Counts and logs.
pub(super) struct Refusals {
    metrics: PeerMetrics,
    clock: Arc<dyn Clock>,
    logged: Mutex<BTreeMap<(String, Reason), Duration>>,
}

impl Refusals {
    pub(super) fn new(metrics: PeerMetrics, clock: Arc<dyn Clock>) -> Self {
        Self {
            metrics,
            clock,
            logged: Mutex::default(),
        }
    }

    /// Somebody was refused. Whether it was logged.
    pub(super) fn note(&self, peer: &str, reason: Reason, text: &str) -> bool {
        self.metrics.refused(reason);
        let log = self.is_due(peer, reason);
        if log {
            tracing::warn!(
                peer,
                reason = reason.label(),
                error = text,
                "refused on the peer port"
            );
        }
        log
    }

    fn is_due(&self, peer: &str, reason: Reason) -> bool {
        let now = self.clock.elapsed();
        let mut logged = self.logged.lock();
        let key = (peer.to_owned(), reason);
        if let Some(last) = logged.get_mut(&key) {
            let due = now.saturating_sub(*last) >= LOG_EVERY;
            if due {
                *last = now;
            }
            return due;
        }
        if logged.len() >= LOG_PAIRS_MAX {
            logged.retain(|_, last| now.saturating_sub(*last) < LOG_EVERY);
        }
        // More strangers than can be remembered are counted only.
        if logged.len() >= LOG_PAIRS_MAX {
            return false;
        }
        logged.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::runtime::ManualClock;

    #[test]
    fn a_reason_is_logged_once_an_interval_for_each_peer() {
        let clock = Arc::new(ManualClock::at(TimestampMs(0)));
        let metrics = PeerMetrics::default();
        let refusals = Refusals::new(metrics.clone(), clock.clone());
        assert!(refusals.note("a", Reason::Cluster, "x"));
        assert!(!refusals.note("a", Reason::Cluster, "x"));
        assert!(refusals.note("a", Reason::Version, "x"));
        assert!(refusals.note("b", Reason::Cluster, "x"));
        clock.advance(LOG_EVERY);
        assert!(refusals.note("a", Reason::Cluster, "x"));
        assert_eq!(metrics.refused_so_far(Reason::Cluster), 4);
        for peer in 0..2 * LOG_PAIRS_MAX {
            refusals.note(&peer.to_string(), Reason::Garbage, "x");
        }
        assert!(refusals.logged.lock().len() <= LOG_PAIRS_MAX);
    }
}
