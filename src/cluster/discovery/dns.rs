//! DNS: a name that stands for the peers. Asked again when the answer's time to live is over,
//! within bounds; an answer that fails changes nothing.
//!
//! DNS shows who is there and arbitrates nothing, so nobody can found by it alone.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::{Message, Name, Rtype};
use domain::rdata::{A, Aaaa, Srv};
use domain::resolv::StubResolver;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::metrics::{DiscoveryMetrics, RequestResult};
use super::peer::{Peer, Sighting, authority};
use super::settings::DnsSettings;
use super::sightings::Sightings;
use super::{Discovery, DiscoveryError, Founding, Later, Operation, PEERS_MAX, Surroundings};
use crate::runtime::{Backoff, Chance, jittered};

/// The port of a peer that an address record does not say.
const PEER_PORT: u16 = 9095;

/// An answer is believed at least, and at most, this long.
const FRESH_MIN: Duration = Duration::from_secs(10);
const FRESH_MAX: Duration = Duration::from_secs(120);

/// Pauses after failures: from the first to the longest.
const AWAY_FIRST: Duration = Duration::from_secs(2);
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Targets of one SRV answer that are resolved on their own when the answer brings no addresses.
const TARGETS_MAX: usize = 100;

const ACTIVITY: &str = "resolving";

/// Peers of a name.
pub(super) struct Dns {
    sightings: Arc<Sightings>,
    resolving: Mutex<Option<JoinHandle<()>>>,
}

impl Dns {
    /// Starts resolving.
    pub(super) fn open(
        settings: &DnsSettings,
        surroundings: &Surroundings,
    ) -> Result<Self, DiscoveryError> {
        let sightings = Arc::new(Sightings::new(surroundings.metrics.clone()));
        let asking = Asking {
            question: Question::parse(&settings.name)?,
            server: server(settings)?,
            metrics: surroundings.metrics.clone(),
        };
        let resolving = tokio::spawn(run(
            asking,
            Arc::clone(&sightings),
            Arc::clone(&surroundings.chance),
        ));
        Ok(Self {
            sightings,
            resolving: Mutex::new(Some(resolving)),
        })
    }

    async fn end(&self) {
        let resolving = self.resolving.lock().take();
        if let Some(resolving) = resolving {
            resolving.abort();
            // Aborted, or ended before: either way it is over.
            let _ = resolving.await;
        }
    }
}

impl Discovery for Dns {
    fn sightings(&self) -> watch::Receiver<Sighting> {
        self.sightings.subscribe()
    }

    fn founding(&self) -> Founding<'_> {
        Founding::NoArbiter
    }

    fn trouble(&self) -> Option<String> {
        self.sightings.trouble()
    }

    fn close(&self) -> Later<'_, ()> {
        Box::pin(self.end())
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        if let Some(resolving) = self.resolving.get_mut().take() {
            resolving.abort();
        }
    }
}

/// Who stands behind the name now.
pub(super) async fn look(
    settings: &DnsSettings,
    surroundings: &Surroundings,
) -> Result<Vec<Peer>, DiscoveryError> {
    let asking = Asking {
        question: Question::parse(&settings.name)?,
        server: server(settings)?,
        metrics: surroundings.metrics.clone(),
    };
    Ok(asking.resolve().await?.peers)
}

async fn run(asking: Asking, sightings: Arc<Sightings>, chance: Arc<dyn Chance>) {
    let mut backoff = Backoff::new(AWAY_FIRST, AWAY_MAX);
    loop {
        let pause = match asking.resolve().await {
            Ok(found) => {
                sightings.seen(&asking.question.shown, found.peers);
                sightings.works(ACTIVITY);
                backoff.reset();
                FRESH_MIN
                    + jittered(
                        found.fresh.clamp(FRESH_MIN, FRESH_MAX) - FRESH_MIN,
                        &*chance,
                    )
            }
            Err(error) => {
                sightings.fails(ACTIVITY, &error);
                backoff.pause(&*chance)
            }
        };
        sleep(pause).await;
    }
}

/// What is asked.
#[derive(Debug)]
struct Question {
    name: Name<Vec<u8>>,
    /// `None`: SRV records say the ports.
    port: Option<u16>,
    shown: String,
}

impl Question {
    fn parse(text: &str) -> Result<Self, DiscoveryError> {
        let text = text.trim();
        let wrong = |reason: &str| DiscoveryError::Setting {
            key: "discovery.dns.name",
            value: text.to_owned(),
            reason: format!("{reason}: write \"cairn-peer.lan\" or \"_cairn-peer._tcp.lan\""),
        };
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (
                    host,
                    Some(port.ok_or_else(|| wrong("what follows the colon is no port"))?),
                )
            }
            None => (text, None),
        };
        let is_service = host.starts_with('_');
        if is_service && port.is_some() {
            return Err(wrong("SRV records say the ports themselves"));
        }
        if host.is_empty() {
            return Err(wrong("there is no name in it"));
        }
        let name = Name::<Vec<u8>>::from_str(host).map_err(|error| wrong(&error.to_string()))?;
        if name.is_root() {
            return Err(wrong("there is no name in it"));
        }
        Ok(Self {
            name,
            port: (!is_service).then(|| port.unwrap_or(PEER_PORT)),
            shown: text.to_owned(),
        })
    }
}

fn server(settings: &DnsSettings) -> Result<Option<SocketAddr>, DiscoveryError> {
    let Some(server) = &settings.server else {
        return Ok(None);
    };
    let address = server
        .parse::<SocketAddr>()
        .or_else(|_| server.parse::<IpAddr>().map(|ip| (ip, 53).into()));
    address.map(Some).map_err(|_| DiscoveryError::Setting {
        key: "discovery.dns.server",
        value: server.clone(),
        reason: "it is no address: write \"127.0.0.1:8600\"".to_owned(),
    })
}

/// Peers, and how long they may be believed.
struct Found {
    peers: Vec<Peer>,
    fresh: Duration,
}

/// Addresses of one name.
struct Addresses {
    addresses: Vec<IpAddr>,
    fresh: Duration,
}

/// A peer by its port, at an address or at a name that is still to be resolved.
struct Target {
    name: Name<Vec<u8>>,
    port: u16,
}

/// Asks one question, again and again.
struct Asking {
    question: Question,
    server: Option<SocketAddr>,
    metrics: DiscoveryMetrics,
}

impl Asking {
    /// A resolver as the system says today: `/etc/resolv.conf` changes with the network.
    fn resolver(&self) -> StubResolver {
        let Some(server) = self.server else {
            return StubResolver::new();
        };
        let mut conf = ResolvConf::new();
        conf.servers
            .push(ServerConf::new(server, Transport::UdpTcp));
        conf.finalize();
        StubResolver::from_conf(conf)
    }

    async fn resolve(&self) -> Result<Found, DiscoveryError> {
        let resolver = self.resolver();
        match self.question.port {
            Some(port) => {
                let found = self.addresses(&resolver, &self.question.name).await?;
                Ok(Found {
                    peers: found.addresses.iter().map(|ip| peer(*ip, port)).collect(),
                    fresh: found.fresh,
                })
            }
            None => self.services(&resolver).await,
        }
    }

    /// SRV, and the addresses of its targets.
    async fn services(&self, resolver: &StubResolver) -> Result<Found, DiscoveryError> {
        let message = self
            .query(resolver, &self.question.name, Rtype::SRV)
            .await?;
        let (targets, mut fresh) = targets(&message).map_err(|reason| self.away(reason))?;
        let brought = additional(&message).map_err(|reason| self.away(reason))?;
        let mut peers = Vec::with_capacity(targets.len());
        let mut alone = Vec::new();
        for target in targets.into_iter().take(PEERS_MAX) {
            let before = peers.len();
            let own = brought.iter().filter(|(owner, _)| *owner == target.name);
            peers.extend(own.map(|(_, ip)| peer(*ip, target.port)));
            if peers.len() == before {
                alone.push(target);
            }
        }
        for target in alone.into_iter().take(TARGETS_MAX) {
            let found = self.addresses(resolver, &target.name).await?;
            fresh = fresh.min(found.fresh);
            peers.extend(found.addresses.iter().map(|ip| peer(*ip, target.port)));
        }
        Ok(Found { peers, fresh })
    }

    /// A and AAAA.
    async fn addresses(
        &self,
        resolver: &StubResolver,
        name: &Name<Vec<u8>>,
    ) -> Result<Addresses, DiscoveryError> {
        let mut found = Addresses {
            addresses: Vec::new(),
            fresh: FRESH_MAX,
        };
        for kind in [Rtype::A, Rtype::AAAA] {
            let message = self.query(resolver, name, kind).await?;
            addresses(&message, &mut found).map_err(|reason| self.away(reason))?;
        }
        found.addresses.truncate(PEERS_MAX);
        Ok(found)
    }

    async fn query(
        &self,
        resolver: &StubResolver,
        name: &Name<Vec<u8>>,
        kind: Rtype,
    ) -> Result<Message<bytes::Bytes>, DiscoveryError> {
        let sent = self.metrics.request(Operation::Resolve);
        let answer = resolver.query((name, kind)).await;
        let answer = answer.map_err(|error| self.away(error.to_string()));
        let answer = answer.and_then(|answer| {
            let message = answer.into_message();
            match message.header().rcode() {
                // A name that does not exist stands for nobody.
                Rcode::NOERROR | Rcode::NXDOMAIN => Ok(message),
                other => Err(self.away(format!("{kind}: {other}"))),
            }
        });
        let result = match &answer {
            Ok(_) => RequestResult::Answered,
            Err(_) => RequestResult::Away,
        };
        sent.ended(result);
        answer
    }

    fn away(&self, reason: String) -> DiscoveryError {
        let server = self.server.map(|server| format!(" at {server}"));
        DiscoveryError::Away {
            operation: Operation::Resolve,
            place: format!(
                "DNS{} ({})",
                server.unwrap_or_default(),
                self.question.shown
            ),
            reason,
        }
    }
}

fn peer(ip: IpAddr, port: u16) -> Peer {
    Peer {
        address: authority(&ip.to_string(), port),
        said: None,
    }
}

type Bytes = bytes::Bytes;

fn ttl(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

/// Every address in the answer: those at the end of an alias have the alias' target as owner.
fn addresses(message: &Message<Bytes>, into: &mut Addresses) -> Result<(), String> {
    let unreadable = |error: domain::base::wire::ParseError| error.to_string();
    let answer = message.answer().map_err(unreadable)?;
    for record in answer.limit_to_in::<A>() {
        let record = record.map_err(unreadable)?;
        into.fresh = into.fresh.min(ttl(record.ttl().as_secs()));
        into.addresses.push(IpAddr::V4(record.data().addr()));
    }
    let answer = message.answer().map_err(unreadable)?;
    for record in answer.limit_to_in::<Aaaa>() {
        let record = record.map_err(unreadable)?;
        into.fresh = into.fresh.min(ttl(record.ttl().as_secs()));
        into.addresses.push(IpAddr::V6(record.data().addr()));
    }
    Ok(())
}

/// The targets of SRV records; the root as target says that there is no such service.
fn targets(message: &Message<Bytes>) -> Result<(Vec<Target>, Duration), String> {
    let unreadable = |error: domain::base::wire::ParseError| error.to_string();
    let mut fresh = FRESH_MAX;
    let mut targets = Vec::new();
    let answer = message.answer().map_err(unreadable)?;
    for record in answer.limit_to_in::<Srv<_>>() {
        let record = record.map_err(unreadable)?;
        fresh = fresh.min(ttl(record.ttl().as_secs()));
        let name = name_of(record.data().target());
        if !name.is_root() && record.data().port() > 0 {
            targets.push(Target {
                name,
                port: record.data().port(),
            });
        }
    }
    Ok((targets, fresh))
}

/// An address, and whose it is.
type NamedAddress = (Name<Vec<u8>>, IpAddr);

/// The addresses that an answer brings along.
fn additional(message: &Message<Bytes>) -> Result<Vec<NamedAddress>, String> {
    let unreadable = |error: domain::base::wire::ParseError| error.to_string();
    let mut brought = Vec::new();
    let section = message.additional().map_err(unreadable)?;
    for record in section.limit_to_in::<A>() {
        let record = record.map_err(unreadable)?;
        brought.push((name_of(&record.owner()), IpAddr::V4(record.data().addr())));
    }
    let section = message.additional().map_err(unreadable)?;
    for record in section.limit_to_in::<Aaaa>() {
        let record = record.map_err(unreadable)?;
        brought.push((name_of(&record.owner()), IpAddr::V6(record.data().addr())));
    }
    Ok(brought)
}

/// A name that stands on its own, apart from the message.
fn name_of(name: &impl domain::base::ToName) -> Name<Vec<u8>> {
    name.to_vec()
}

#[cfg(test)]
mod tests;
