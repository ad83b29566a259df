//! The sighting that a backend keeps: put together from its sources, shown when it has changed,
//! with what is wrong beside it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::metrics::DiscoveryMetrics;
use super::peer::{Peer, Sighting, in_order};
use super::{DiscoveryError, PEERS_MAX};

/// Where a backend writes down what it finds.
#[derive(Debug)]
pub(super) struct Sightings {
    shown: watch::Sender<Sighting>,
    /// What each source (a datacenter, the name) last said.
    by_source: Mutex<BTreeMap<String, Vec<Peer>>>,
    /// What each activity last complained of.
    troubles: Mutex<BTreeMap<String, String>>,
    metrics: DiscoveryMetrics,
}

impl Sightings {
    pub(super) fn new(metrics: DiscoveryMetrics) -> Self {
        Self {
            shown: watch::Sender::new(Sighting::default()),
            by_source: Mutex::default(),
            troubles: Mutex::default(),
            metrics,
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Sighting> {
        self.shown.subscribe()
    }

    /// Takes a source's answer; says whether it is another one than its last.
    pub(super) fn seen(&self, source: &str, peers: Vec<Peer>) -> bool {
        let peers = in_order(peers, PEERS_MAX);
        let mut by_source = self.by_source.lock();
        if by_source.get(source) == Some(&peers) {
            return false;
        }
        by_source.insert(source.to_owned(), peers);
        let all = in_order(by_source.values().flatten().cloned().collect(), PEERS_MAX);
        drop(by_source);
        tracing::debug!(peers = all.len(), "other peers are seen");
        self.metrics.peers(all.len());
        let sighting = Sighting {
            peers: all.into(),
            answered: true,
        };
        self.shown.send_if_modified(|shown| {
            let changed = *shown != sighting;
            *shown = sighting;
            changed
        });
        true
    }

    /// An activity worked. Says whether it did not before.
    pub(super) fn works(&self, activity: &str) -> bool {
        let mut troubles = self.troubles.lock();
        let mended = troubles.remove(activity).is_some();
        self.metrics.up(troubles.is_empty());
        drop(troubles);
        if mended {
            tracing::info!(activity, "discovery works again");
        }
        mended
    }

    /// An activity failed; logged once, until it works again or fails otherwise.
    pub(super) fn fails(&self, activity: &str, error: &DiscoveryError) {
        let text = error.to_string();
        let mut troubles = self.troubles.lock();
        let known = troubles.get(activity) == Some(&text);
        troubles.insert(activity.to_owned(), text);
        self.metrics.up(false);
        drop(troubles);
        if !known {
            tracing::warn!(activity, %error, "discovery has trouble; what runs goes on");
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        let troubles = self.troubles.lock();
        (!troubles.is_empty()).then(|| {
            let texts: Vec<&str> = troubles.values().map(String::as_str).collect();
            texts.join("; ")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer {
            address: address.to_owned(),
            said: None,
        }
    }

    #[test]
    fn receivers_wake_for_other_peers_only() {
        let sightings = Sightings::new(DiscoveryMetrics::default());
        let mut shown = sightings.subscribe();
        assert!(!shown.borrow_and_update().answered);
        assert!(sightings.seen("", vec![]));
        assert!(
            shown.has_changed().unwrap(),
            "the first answer, also an empty one"
        );
        assert!(shown.borrow_and_update().answered);
        assert!(sightings.seen("", vec![peer("b"), peer("a"), peer("b")]));
        assert_eq!(shown.borrow_and_update().peers[..], [peer("a"), peer("b")]);
        assert!(!sightings.seen("", vec![peer("a"), peer("b")]));
        assert!(sightings.seen("west", vec![peer("a")]));
        assert!(!shown.has_changed().unwrap(), "the same peers, seen twice");
        assert!(sightings.seen("west", vec![peer("c")]));
        assert_eq!(shown.borrow_and_update().peers.len(), 3);
    }

    #[test]
    fn troubles_are_kept_until_they_end() {
        let sightings = Sightings::new(DiscoveryMetrics::default());
        assert_eq!(sightings.trouble(), None);
        assert!(!sightings.works("watching"), "it worked before");
        sightings.fails("watching", &DiscoveryError::Held);
        sightings.fails("registering", &DiscoveryError::Held);
        assert!(sightings.trouble().unwrap().contains("; "));
        assert!(sightings.works("watching"));
        assert!(sightings.works("registering"));
        assert_eq!(sightings.trouble(), None);
    }
}
