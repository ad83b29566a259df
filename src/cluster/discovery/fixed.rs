//! The list: peers that the configuration names. It never changes and asks nobody.

use tokio::sync::watch;

use super::peer::{Peer, Sighting, in_order};
use super::settings::StaticSettings;
use super::{Discovery, DiscoveryError, Founding, Later, PEERS_MAX};

/// Peers of a list; an empty one is a cluster of one.
#[derive(Debug)]
pub(super) struct Fixed {
    names: Vec<String>,
    sighting: watch::Sender<Sighting>,
}

impl Fixed {
    /// Nobody else.
    pub(super) fn alone() -> Self {
        Self::of(Vec::new())
    }

    pub(super) fn open(settings: &StaticSettings) -> Result<Self, DiscoveryError> {
        let wrong = |reason: &str| DiscoveryError::Setting {
            key: "discovery.static.peers",
            value: settings.peers.join(","),
            reason: reason.to_owned(),
        };
        let mut names = Vec::with_capacity(settings.peers.len());
        for peer in &settings.peers {
            let peer = peer.trim().to_lowercase();
            let port = peer
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse()));
            match port {
                Some((host, Ok(1u16..))) if !host.is_empty() => names.push(peer),
                _ => {
                    return Err(wrong(&format!(
                        "{peer:?} is no host and port: write \"10.0.0.1:9095\""
                    )));
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Err(wrong(
                "list every node's peer.advertise, or set discovery.kind = \"none\"",
            ));
        }
        if names.len() > PEERS_MAX {
            return Err(wrong(&format!("at most {PEERS_MAX} peers can be listed")));
        }
        Ok(Self::of(names))
    }

    /// How many peers it names.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    fn of(names: Vec<String>) -> Self {
        let peer = |address: &String| Peer {
            address: address.clone(),
            said: None,
        };
        let peers = in_order(names.iter().map(peer).collect(), PEERS_MAX);
        let (sighting, _) = watch::channel(Sighting {
            peers: peers.into(),
            answered: true,
        });
        Self { names, sighting }
    }
}

impl Discovery for Fixed {
    fn sightings(&self) -> watch::Receiver<Sighting> {
        self.sighting.subscribe()
    }

    fn founding(&self) -> Founding<'_> {
        Founding::List(&self.names)
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn close(&self) -> Later<'_, ()> {
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(peers: &[&str]) -> Result<Fixed, DiscoveryError> {
        Fixed::open(&StaticSettings {
            peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
        })
    }

    #[test]
    fn the_list_is_one_list_however_it_is_written() {
        let fixed = open(&["b.lan:9095", " A.lan:9095", "b.LAN:9095", "[fd00::1]:9095"]).unwrap();
        let Founding::List(names) = fixed.founding() else {
            panic!("a list founds by itself");
        };
        assert_eq!(names, ["[fd00::1]:9095", "a.lan:9095", "b.lan:9095"]);
        let seen = fixed.sightings().borrow().clone();
        assert!(seen.answered);
        let addresses: Vec<&str> = seen
            .peers
            .iter()
            .map(|peer| peer.address.as_str())
            .collect();
        assert_eq!(addresses, names);
    }

    #[test]
    fn what_is_no_address_is_named() {
        for (peers, word) in [
            (&["board-2"][..], "board-2"),
            (&["board-2:http"], "board-2:http"),
            (&["board-2:0"], "board-2:0"),
            (&[":9095"], ":9095"),
            (&[], "discovery.kind"),
        ] {
            let error = open(peers).unwrap_err().to_string();
            assert!(error.contains(word), "{peers:?}: {error}");
        }
    }

    #[test]
    fn nobody_else_is_an_empty_list() {
        let alone = Fixed::alone();
        assert!(matches!(alone.founding(), Founding::List([])));
        assert!(alone.sightings().borrow().answered);
    }
}
