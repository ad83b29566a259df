//! What nodes say of themselves, and what is seen of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::Incarnation;

/// A place where a peer may listen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Host, or address, and port: `10.0.0.2:9095`, `[fd00::2]:9095`, `board-2.lan:9095`.
    pub address: String,
    /// What it said of itself, where the backend carries that. It may be out of date: only the
    /// connection tells.
    pub said: Option<PeerSaid>,
}

/// What a peer wrote beside its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerSaid {
    /// What people call it.
    pub name: String,
    /// What it is.
    pub incarnation: Incarnation,
    /// Where it stands.
    pub zone: String,
    /// Its program's version.
    pub version: String,
}

/// The peers as last seen, in the order of their addresses. This node may be among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Everyone that was seen.
    pub peers: Arc<[Peer]>,
    /// Whether the backend has ever answered. Before that, an empty list means nothing.
    pub answered: bool,
}

/// A host and a port, of which the host may be left for the backend to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address. `None`: wherever the backend sees this machine.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// What is reachable of a listening address such as `0.0.0.0:9095`, `[::]:9095` or
    /// `10.0.0.1:9095`. `None`: it is no address with a port.
    #[must_use]
    pub fn of_listen(listen: &str) -> Option<Self> {
        let (host, port) = listen.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let everywhere = matches!(host, "" | "0.0.0.0" | "::" | "*");
        Some(Self {
            host: (!everywhere).then(|| host.to_owned()),
            port,
        })
    }
}

/// Host and port as one text; an IPv6 address gets its brackets.
pub(in crate::cluster) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// What this node announces of itself.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// What people call it; unique among the nodes of one Consul agent.
    pub name: String,
    /// What it is.
    pub incarnation: Incarnation,
    /// Where it stands.
    pub zone: String,
    /// Its program's version.
    pub version: String,
    /// Where its peers reach it.
    pub peer: Endpoint,
    /// Where senders and Grafana reach it.
    pub http: Endpoint,
}

/// Names of what travels beside an address.
const NODE: &str = "node";
const INCARNATION: &str = "incarnation";
const ZONE: &str = "zone";
const VERSION: &str = "version";

/// The names that a user's own entries must not take.
pub(super) const SAID_KEYS: [&str; 4] = [NODE, INCARNATION, ZONE, VERSION];

impl Announcement {
    /// What travels beside the address.
    pub(super) fn said(&self) -> BTreeMap<String, String> {
        [
            (NODE, self.name.clone()),
            (INCARNATION, self.incarnation.to_string()),
            (ZONE, self.zone.clone()),
            (VERSION, self.version.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

impl PeerSaid {
    /// Reads what travelled beside an address. `None`: a Cairn did not write this.
    pub(super) fn read(meta: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key| meta.get(key).cloned().unwrap_or_default();
        let incarnation = meta.get(INCARNATION)?;
        Some(Self {
            name: text(NODE),
            incarnation: Incarnation(u128::from_str_radix(incarnation, 16).ok()?),
            zone: text(ZONE),
            version: text(VERSION),
        })
    }
}

/// Puts peers into the order of their addresses; what stands there twice goes, and so does what
/// is more than `most`.
pub(super) fn in_order(mut peers: Vec<Peer>, most: usize) -> Vec<Peer> {
    peers.sort_unstable();
    peers.dedup();
    if peers.len() > most {
        tracing::warn!(
            peers = peers.len(),
            bound = most,
            "more peers were found than are looked at"
        );
        peers.truncate(most);
    }
    peers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_address_says_what_is_reachable() {
        let check = |listen: &str, host: Option<&str>, port: u16| {
            let found = Endpoint::of_listen(listen).unwrap();
            assert_eq!(
                (found.host.as_deref(), found.port),
                (host, port),
                "{listen}"
            );
        };
        check("0.0.0.0:9095", None, 9095);
        check("[::]:9095", None, 9095);
        check(":9095", None, 9095);
        check("10.0.0.1:9095", Some("10.0.0.1"), 9095);
        check("[fd00::2]:1", Some("fd00::2"), 1);
        assert_eq!(Endpoint::of_listen("board"), None);
        assert_eq!(Endpoint::of_listen("board:http"), None);
    }

    #[test]
    fn what_a_node_says_is_read_back() {
        let said = Announcement {
            name: "board-1".to_owned(),
            incarnation: Incarnation(7),
            zone: "shelf".to_owned(),
            version: "1.2.3".to_owned(),
            peer: Endpoint {
                host: None,
                port: 1,
            },
            http: Endpoint {
                host: None,
                port: 2,
            },
        }
        .said();
        let read = PeerSaid::read(&said).unwrap();
        assert_eq!(
            (read.name.as_str(), read.zone.as_str()),
            ("board-1", "shelf")
        );
        assert_eq!(read.incarnation, Incarnation(7));
        assert_eq!(PeerSaid::read(&BTreeMap::new()), None);
    }
}
