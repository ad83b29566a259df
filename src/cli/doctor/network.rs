//! Ports, discovery, certificates and the way to the peers.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::{Finding, Patient};
use crate::cluster::{
    DiscoveryError, DiscoveryKind, DiscoveryMetrics, Endpoint, Peer, PeerTls, Surroundings,
    look_for_peers,
};
use crate::config::Settings;
use crate::runtime::{SystemChance, outward_address};

/// How long a peer may take to take a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// Peers that are tried: enough to see whether there is a way.
const PEERS_TRIED: usize = 8;

/// How long Consul or DNS may take.
const LOOK: Duration = Duration::from_secs(15);

pub(super) fn examine(patient: &Patient, node_runs: bool) -> Vec<Finding> {
    let settings = &patient.settings;
    let mut findings = vec![port(
        "http port",
        &settings.http.listen,
        "http.listen",
        node_runs,
    )];
    if settings.discovery.kind == DiscoveryKind::None {
        findings.push(Finding::ok("discovery", "none: a node by itself"));
        return findings;
    }
    findings.push(port(
        "peer port",
        &settings.peer.listen,
        "peer.listen",
        node_runs,
    ));
    findings.extend(certificates(patient));
    match look(patient) {
        Ok(peers) => {
            findings.push(discovered(settings, &peers));
            findings.extend(reached(settings, &peers));
        }
        Err(error) => findings.push(away(settings.discovery.kind, &error)),
    }
    findings
}

/// Whether a port can be had.
fn port(check: &'static str, listen: &str, key: &str, node_runs: bool) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok(check, format!("{listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && node_runs => {
            Finding::ok(check, format!("{listen} is the running node's"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::fail(
            check,
            format!("{listen} is taken by another program, or by a node that still starts"),
            format!("`ss -ltnp` names it; stop it, or choose another {key}"),
        ),
        Err(error) => Finding::fail(
            check,
            format!("{listen} cannot be listened on: {error}"),
            format!("choose an address of this machine for {key}"),
        ),
    }
}

/// Whether the certificates can be used.
fn certificates(patient: &Patient) -> Option<Finding> {
    let settings = &patient.settings.peer_tls;
    match PeerTls::open(settings, patient.clock.clone()) {
        Ok(None) => Some(Finding::warn(
            "peer TLS",
            "peers talk without certificates: whoever reaches the peer port is taken for one",
            "let only the nodes reach it (firewall, VLAN, WireGuard), or set peer.tls",
        )),
        Ok(Some(_)) => Some(Finding::ok("peer TLS", "its certificates can be used")),
        Err(error) => Some(Finding::fail(
            "peer TLS",
            error.to_string(),
            "the files must be PEM, belong together, and be readable for the node's user",
        )),
    }
}

fn look(patient: &Patient) -> Result<Vec<Peer>, DiscoveryError> {
    let surroundings = Surroundings {
        clock: patient.clock.clone(),
        chance: std::sync::Arc::new(SystemChance),
        metrics: DiscoveryMetrics::default(),
    };
    let settings = patient.settings.all_discovery();
    let unanswered = |reason: &str| DiscoveryError::Away {
        operation: crate::cluster::DiscoveryOperation::Watch,
        place: "discovery".to_owned(),
        reason: reason.to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unanswered(&error.to_string()))?;
    runtime.block_on(async {
        let looking = look_for_peers(&settings, &surroundings);
        let looked = tokio::time::timeout(LOOK, looking).await;
        looked.unwrap_or_else(|_| Err(unanswered("it took too long")))
    })
}

fn away(kind: DiscoveryKind, error: &DiscoveryError) -> Finding {
    let remedy = match (kind, error) {
        (_, DiscoveryError::Setting { .. }) => "correct the setting",
        (_, DiscoveryError::Refused { .. }) => {
            "the token must exist, and may write both services, sessions, and keys below cairn/"
        }
        (DiscoveryKind::Consul, _) => {
            "is a Consul agent running on this machine? `consul members`; its address is discovery.consul.consul_http_addr"
        }
        _ => {
            "does the name server answer? `getent hosts NAME`; another one is discovery.dns.server"
        }
    };
    Finding::fail("discovery", error.to_string(), remedy)
}

/// Where peers are told to reach this node.
fn own_address(settings: &Settings) -> Option<String> {
    if let Some(named) = &settings.peer.advertise {
        return Some(named.to_lowercase());
    }
    let endpoint = Endpoint::of_listen(&settings.peer.listen)?;
    let host = endpoint.host.or_else(outward_address)?;
    Some(format!("{host}:{}", endpoint.port))
}

fn discovered(settings: &Settings, peers: &[Peer]) -> Finding {
    let said = match peers.len() {
        1 => "one node is seen".to_owned(),
        count => format!("{count} nodes are seen"),
    };
    let own = own_address(settings);
    let listed = peers.iter().any(|peer| Some(&peer.address) == own.as_ref());
    if settings.discovery.kind == DiscoveryKind::Static && !listed {
        return Finding::warn(
            "discovery",
            format!(
                "{said}, and this one, {}, is not on the list",
                own.as_deref().unwrap_or("whose address is not known")
            ),
            "discovery.static.peers must name every node as its peer.advertise does, this one too; a cluster that exists may be joined without",
        );
    }
    if peers.is_empty() {
        return Finding::ok(
            "discovery",
            "answers; no node is there yet, which is right before the first start",
        );
    }
    Finding::ok("discovery", said)
}

/// Whether others take a connection.
fn reached(settings: &Settings, peers: &[Peer]) -> Vec<Finding> {
    let own = own_address(settings);
    let others = peers.iter().map(|peer| &peer.address);
    let others = others.filter(|address| Some(*address) != own.as_ref());
    let tried: Vec<(&String, Result<(), String>)> = others
        .take(PEERS_TRIED)
        .map(|address| (address, connect(address)))
        .collect();
    let mut findings = Vec::new();
    let reached = tried.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    if reached > 0 {
        let said = format!("{reached} of {} take a connection", tried.len());
        findings.push(Finding::ok("peers", said));
    }
    for (address, outcome) in tried {
        if let Err(reason) = outcome {
            findings.push(Finding::warn(
                "peers",
                format!("{address} takes no connection: {reason}"),
                "is the node there running, and may this machine reach its peer port (firewall)?",
            ));
        }
    }
    findings
}

fn connect(address: &str) -> Result<(), String> {
    let mut places = address
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let place = places.next().ok_or("the name has no address")?;
    let connected = TcpStream::connect_timeout(&place, CONNECT);
    connected.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn peers(addresses: &[&str]) -> Vec<Peer> {
        let peer = |address: &&str| Peer {
            address: (*address).to_owned(),
            said: None,
        };
        addresses.iter().map(peer).collect()
    }

    #[test]
    fn a_taken_port_is_a_nodes_or_somebodys() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap().to_string();
        assert_eq!(
            port("http port", &listen, "http.listen", true).state,
            State::Ok
        );
        let found = port("http port", &listen, "http.listen", false);
        assert!(found.state == State::Fail && found.remedy.contains("http.listen"));
        let nowhere = port("http port", "192.0.2.1:1", "http.listen", false);
        assert!(nowhere.state == State::Fail, "{nowhere:?}");
        drop(taken);
        assert_eq!(
            port("http port", &listen, "http.listen", false).state,
            State::Ok
        );
    }

    #[test]
    fn peers_are_reached_or_named() {
        let there = TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, other) = (
            there.local_addr().unwrap().to_string(),
            gone.local_addr().unwrap().to_string(),
        );
        drop(gone);
        let found = reached(&Settings::default(), &peers(&[&one, &other]));
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].state, found[1].state), (State::Ok, State::Warn));
        assert!(found[0].said.starts_with("1 of 2") && found[1].said.contains(&other));
    }

    #[test]
    fn a_list_names_this_node_too() {
        let mut settings = Settings::default();
        settings.discovery.kind = DiscoveryKind::Static;
        settings.peer.advertise = Some("10.0.0.1:9095".to_owned());
        let listed = discovered(&settings, &peers(&["10.0.0.1:9095", "10.0.0.2:9095"]));
        assert_eq!(listed.state, State::Ok);
        let missing = discovered(&settings, &peers(&["10.0.0.2:9095"]));
        assert!(missing.state == State::Warn && missing.said.contains("10.0.0.1:9095"));
        settings.discovery.kind = DiscoveryKind::Consul;
        assert_eq!(discovered(&settings, &[]).state, State::Ok);
    }
}
