//! A network within one process, for tests: calls are futures of the other node's services, run
//! by the caller. Links can be cut, in one direction or both. In a simulation there is weather:
//! messages are late, lost, or come twice, and whoever is off the network says nothing any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::grpc::Identity;
use super::message::{Caller, Method, PeerError};
use super::service::Services;
use super::transport::{Answering, Duplex, Incoming, Transport};
use super::weather::{Fate, Weather};
use crate::cluster::identity::ClusterId;
use crate::model::Incarnation;

/// Messages that a stream holds.
const QUEUE: usize = 16;

/// All nodes of a test. An address is the decimal number of an incarnation.
#[derive(Debug, Default)]
pub(in crate::cluster) struct MemoryNetwork(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The latest last: several only where disks were copied.
    nodes: BTreeMap<Incarnation, Vec<Node>>,
    connections: u64,
    /// Addresses that are not numbers, and who listens there.
    places: BTreeMap<String, (Incarnation, u64)>,
    weather: Option<Arc<Weather>>,
    cut: BTreeSet<(Incarnation, Incarnation)>,
    /// What nodes have come to belong to since they were connected.
    clusters: BTreeMap<Incarnation, (ClusterId, u64)>,
    /// Who has been told where whom is, if that matters.
    known: Option<BTreeSet<(Incarnation, Incarnation)>>,
}

/// A node that listens.
#[derive(Clone, Debug)]
struct Node {
    /// That of its connection.
    number: u64,
    services: Arc<Services>,
    /// With which it looks at who calls, if it does.
    identity: Option<Identity>,
}

/// One node's access to the network.
#[derive(Clone)]
struct Access {
    network: Weak<MemoryNetwork>,
    number: u64,
    who: Who,
}

/// Who speaks.
#[derive(Clone)]
enum Who {
    Fixed(Caller),
    Of(Identity),
}

impl MemoryNetwork {
    /// Connects a node, in place of an earlier one of the same incarnation.
    pub(in crate::cluster) fn connect(
        self: &Arc<Self>,
        me: Caller,
        services: Arc<Services>,
    ) -> Arc<dyn Transport> {
        let incarnation = me.incarnation;
        self.0.lock().nodes.remove(&incarnation);
        self.connect_as(Who::Fixed(me), incarnation, services).0
    }

    /// The same of a node that speaks in the name of its identity, and is to be found at an
    /// address.
    pub(in crate::cluster) fn connect_at(
        self: &Arc<Self>,
        address: &str,
        identity: Identity,
        services: Arc<Services>,
    ) -> Arc<dyn Transport> {
        let incarnation = identity.caller().incarnation;
        self.disconnect_at(address);
        let (access, number) = self.connect_as(Who::Of(identity), incarnation, services);
        let places = &mut self.0.lock().places;
        places.insert(address.to_owned(), (incarnation, number));
        access
    }

    fn connect_as(
        self: &Arc<Self>,
        who: Who,
        incarnation: Incarnation,
        services: Arc<Services>,
    ) -> (Arc<dyn Transport>, u64) {
        let mut state = self.0.lock();
        state.connections += 1;
        let number = state.connections;
        let identity = match &who {
            Who::Of(identity) => Some(identity.clone()),
            Who::Fixed(_) => None,
        };
        state.nodes.entry(incarnation).or_default().push(Node {
            number,
            services,
            identity,
        });
        state.clusters.remove(&incarnation);
        if let Some(known) = &mut state.known {
            known.retain(|(who, _)| *who != incarnation);
        }
        drop(state);
        let access = Access {
            network: Arc::downgrade(self),
            number,
            who,
        };
        (Arc::new(access), number)
    }

    /// From now on there is weather.
    pub(in crate::cluster) fn weather(&self, weather: Arc<Weather>) {
        self.0.lock().weather = Some(weather);
    }

    /// From now on a node reaches by incarnation only whom it has been told about, as on a real
    /// network.
    pub(in crate::cluster) fn needs_addresses(&self) {
        self.0.lock().known.get_or_insert_default();
    }

    /// Takes a node off the network.
    pub(in crate::cluster) fn disconnect(&self, node: Incarnation) {
        self.0.lock().nodes.remove(&node);
    }

    /// Takes whoever listens at an address off the network. It stays known who that was.
    pub(in crate::cluster) fn disconnect_at(&self, address: &str) {
        let mut state = self.0.lock();
        let Some((who, number)) = state.places.get(address).copied() else {
            return;
        };
        if let Some(nodes) = state.nodes.get_mut(&who) {
            nodes.retain(|node| node.number != number);
        }
    }

    /// A node belongs to a cluster from now on, and to a generation of its control group.
    pub(in crate::cluster) fn belong(
        &self,
        node: Incarnation,
        cluster: ClusterId,
        generation: u64,
    ) {
        let mut state = self.0.lock();
        state.clusters.insert(node, (cluster, generation));
    }

    /// Cuts or mends what `from` says to `to`; answers come back on the way of the call.
    pub(in crate::cluster) fn cut(&self, from: Incarnation, to: Incarnation, cut: bool) {
        let mut state = self.0.lock();
        if cut {
            state.cut.insert((from, to));
        } else {
            state.cut.remove(&(from, to));
        }
    }

    fn reach(&self, from: Incarnation, to: Incarnation) -> Result<Arc<Services>, PeerError> {
        let state = self.0.lock();
        let unreachable = |reason: &str| PeerError::Unreachable {
            peer: to.to_string(),
            reason: reason.to_owned(),
        };
        if state.cut.contains(&(from, to)) {
            return Err(unreachable("the link is cut"));
        }
        let node = state.nodes.get(&to).and_then(|nodes| nodes.last());
        let services = node.map(|node| Arc::clone(&node.services));
        services.ok_or_else(|| unreachable("nothing listens there"))
    }

    /// Who answers for a node.
    fn identity(&self, of: Incarnation) -> Option<Identity> {
        let state = self.0.lock();
        state.nodes.get(&of)?.last()?.identity.clone()
    }
}

impl Access {
    /// This node's number on the network.
    fn incarnation(&self) -> Incarnation {
        match &self.who {
            Who::Fixed(caller) => caller.incarnation,
            Who::Of(identity) => identity.caller().incarnation,
        }
    }

    fn weather(&self) -> Option<Arc<Weather>> {
        self.network.upgrade()?.0.lock().weather.clone()
    }

    /// Whether this start of the node is still on the network, and how the other one is there.
    fn standing(&self, to: Incarnation) -> Option<u64> {
        let network = self.network.upgrade()?;
        let state = network.0.lock();
        let mut mine = state.nodes.get(&self.incarnation()).into_iter().flatten();
        let is_mine = mine.any(|node| node.number == self.number);
        let there = state.nodes.get(&to).and_then(|nodes| nodes.last());
        is_mine.then(|| there.map(|node| node.number)).flatten()
    }

    /// The other one looks at who is calling, as over a real network.
    fn admitted(&self, to: Incarnation) -> Result<(), PeerError> {
        let there = self.network.upgrade().and_then(|net| net.identity(to));
        match (&self.who, there) {
            (Who::Of(mine), Some(theirs)) => theirs.admit(mine).map_err(refused(to)),
            _ => Ok(()),
        }
    }

    /// A question through the weather, and the answer back.
    async fn ask(
        &self,
        weather: &Weather,
        to: Incarnation,
        (method, body): (Method, Bytes),
        patience: Duration,
    ) -> Result<Bytes, PeerError> {
        let gone = || PeerError::Unreachable {
            peer: to.to_string(),
            reason: "the connection broke".to_owned(),
        };
        let lost = || PeerError::TimedOut {
            peer: to.to_string(),
            method: method.name(),
            ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        };
        self.reach(to)?;
        let there = self.standing(to).ok_or_else(gone)?;
        let exchange = async {
            let Fate::Arrives { after, twice } =
                weather.fate((self.incarnation(), to), method, &body, false)
            else {
                std::future::pending::<()>().await;
                return Err(lost());
            };
            tokio::time::sleep(after).await;
            if self.standing(to) != Some(there) {
                return Err(gone());
            }
            self.admitted(to)?;
            let service = self.reach(to)?.of(method).map_err(refused(to))?;
            if twice {
                let (again, me, body) = (Arc::clone(&service), self.me(), body.clone());
                let later = after.saturating_mul(3);
                tokio::spawn(async move {
                    tokio::time::sleep(later).await;
                    // Nobody hears what it says.
                    let _ = again.call(&me, method, body).await;
                });
            }
            let answer = service.call(&self.me(), method, body).await;
            let answer = answer.map_err(refused(to));
            let said = answer.as_deref().unwrap_or_default();
            let Fate::Arrives { after, .. } =
                weather.fate((to, self.incarnation()), method, said, true)
            else {
                std::future::pending::<()>().await;
                return Err(lost());
            };
            tokio::time::sleep(after).await;
            if self.standing(to) != Some(there) {
                return Err(gone());
            }
            self.back(to)?;
            answer
        };
        let answer = tokio::time::timeout(patience, exchange).await;
        answer.unwrap_or_else(|_| Err(lost()))
    }

    /// Whether what the other says arrives here.
    fn back(&self, to: Incarnation) -> Result<(), PeerError> {
        let network = self.network.upgrade();
        let me = self.incarnation();
        let reached = network.map(|network| network.reach(to, me).map(drop));
        reached.unwrap_or(Ok(()))
    }

    /// A message of a stream on its way to a node as it was connected `there`; `false`: the stream
    /// breaks.
    async fn passes(
        &self,
        (to, there): (Incarnation, Option<u64>),
        (method, body): (Method, &[u8]),
        back: bool,
    ) -> bool {
        let Some(weather) = self.weather() else {
            return method != Method::Append || self.reach(to).is_ok();
        };
        let me = self.incarnation();
        let (from, to_there) = if back { (to, me) } else { (me, to) };
        let Fate::Arrives { after, .. } = weather.fate((from, to_there), method, body, back) else {
            return false;
        };
        tokio::time::sleep(after).await;
        let is_open = if back {
            self.back(to).is_ok()
        } else {
            self.reach(to).is_ok()
        };
        is_open && there.is_some() && self.standing(to) == there
    }

    fn reach(&self, to: Incarnation) -> Result<Arc<Services>, PeerError> {
        let unreachable = |reason: &str| PeerError::Unreachable {
            peer: to.to_string(),
            reason: reason.to_owned(),
        };
        let network = self.network.upgrade();
        let network = network.ok_or_else(|| unreachable("the network is gone"))?;
        let known = network.0.lock().known.clone();
        if known.is_some_and(|known| !known.contains(&(self.incarnation(), to))) {
            return Err(unreachable("nobody has said where it is"));
        }
        network.reach(self.incarnation(), to)
    }

    /// This node, as the other side sees it now.
    fn me(&self) -> Caller {
        let mut me = match &self.who {
            Who::Fixed(caller) => caller.clone(),
            Who::Of(identity) => return identity.caller(),
        };
        if let Some(network) = self.network.upgrade() {
            let belongs = network.0.lock().clusters.get(&me.incarnation).copied();
            if let Some((cluster, generation)) = belongs {
                me.cluster = Some(cluster);
                me.generation = generation;
            }
        }
        me
    }
}

/// Passes messages on as long as the link is open and somebody listens; `false`: it broke.
async fn forward(
    from: &mut mpsc::Receiver<Bytes>,
    to: &mpsc::Sender<Result<Bytes, PeerError>>,
    (access, peer, method): (&Access, (Incarnation, Option<u64>), Method),
    back: bool,
) -> bool {
    while let Some(message) = from.recv().await {
        let is_open = access.passes(peer, (method, &message), back).await;
        if !is_open || to.send(Ok(message)).await.is_err() {
            return false;
        }
    }
    true
}

fn refused(to: Incarnation) -> impl FnOnce(super::message::Refused) -> PeerError {
    move |refused| PeerError::Refused {
        peer: to.to_string(),
        refused,
    }
}

impl Transport for Access {
    fn call(
        &self,
        to: Incarnation,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Answering<'_, Bytes> {
        Box::pin(async move {
            if let Some(weather) = self.weather() {
                return self.ask(&weather, to, (method, body), patience).await;
            }
            let service = self.reach(to)?.of(method).map_err(refused(to))?;
            let answer = service.call(&self.me(), method, body).await;
            answer.map_err(refused(to))
        })
    }

    fn call_at(
        &self,
        address: &str,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Answering<'_, Bytes> {
        let network = self.network.upgrade();
        let place = network.and_then(|network| network.0.lock().places.get(address).copied());
        let to = place.map(|(who, _)| who);
        let to = to.unwrap_or_else(|| Incarnation(address.parse().unwrap_or_default()));
        Box::pin(async move {
            if let Some(weather) = self.weather() {
                return self.ask(&weather, to, (method, body), patience).await;
            }
            let network = self.network.upgrade().ok_or(PeerError::Unreachable {
                peer: to.to_string(),
                reason: "the network is gone".to_owned(),
            })?;
            let services = network.reach(self.incarnation(), to)?;
            let service = services.of(method).map_err(refused(to))?;
            let answer = service.call(&self.me(), method, body).await;
            answer.map_err(refused(to))
        })
    }

    fn stream(
        &self,
        to: Incarnation,
        method: Method,
        body: Bytes,
        _: Duration,
    ) -> Answering<'_, Incoming> {
        Box::pin(async move {
            self.admitted(to)?;
            let service = self.reach(to)?.of(method).map_err(refused(to))?;
            let (answers, mut made) = mpsc::channel(QUEUE);
            let (out, incoming) = mpsc::channel(QUEUE);
            let (me, access, number) = (self.me(), self.clone(), self.standing(to));
            if !self.passes((to, number), (method, &body), false).await {
                return Err(PeerError::Unreachable {
                    peer: to.to_string(),
                    reason: "the connection broke".to_owned(),
                });
            }
            tokio::spawn(async move {
                let serving = service.stream(&me, method, body, answers);
                let back = forward(&mut made, &out, (&access, (to, number), method), true);
                let served = async { tokio::join!(serving, back) };
                let ended = tokio::select! {
                    biased;
                    (ended, whole) = served => if whole { ended } else { return },
                    // Who does not listen any more calls it off.
                    () = out.closed() => return,
                };
                if let Err(reason) = ended {
                    let _ = out.send(Err(refused(to)(reason))).await;
                }
            });
            Ok(incoming)
        })
    }

    fn duplex(&self, to: Incarnation, method: Method) -> Answering<'_, Duplex> {
        Box::pin(async move {
            self.admitted(to)?;
            let service = self.reach(to)?.of(method).map_err(refused(to))?;
            let (messages, mut said) = mpsc::channel::<Bytes>(QUEUE);
            let (heard, incoming) = mpsc::channel(QUEUE);
            let (answers, mut made) = mpsc::channel(QUEUE);
            let (out, received) = mpsc::channel(QUEUE);
            let (me, access, number) = (self.me(), self.clone(), self.standing(to));
            tokio::spawn(async move {
                let there = async {
                    forward(&mut said, &heard, (&access, (to, number), method), false).await;
                    drop(heard);
                    Ok(())
                };
                let back = forward(&mut made, &out, (&access, (to, number), method), true);
                // What has no way back is over.
                let back = async { back.await.then_some(()).ok_or(()) };
                let serving = service.duplex(&me, method, incoming, answers);
                let serving = async { Ok(serving.await) };
                let Ok((ended, (), ())) = tokio::try_join!(serving, there, back) else {
                    return;
                };
                if let Err(reason) = ended {
                    let _ = out.send(Err(refused(to)(reason))).await;
                }
            });
            Ok(Duplex {
                messages,
                answers: received,
            })
        })
    }

    fn know(&self, peer: Incarnation, _: &[String]) {
        let network = self.network.upgrade();
        let mut state = network.as_ref().map(|network| network.0.lock());
        if let Some(known) = state.as_mut().and_then(|state| state.known.as_mut()) {
            known.insert((self.incarnation(), peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Refused;
    use super::super::service::Service;
    use super::super::transport::{Blocking, Outgoing, Serving};
    use super::*;
    use crate::cluster::identity::Session;

    struct Echo;

    impl Service for Echo {
        fn call<'a>(&'a self, from: &'a Caller, _: Method, body: Bytes) -> Serving<'a, Bytes> {
            let answer = format!("{} to {}", body.len(), from.incarnation.0);
            Box::pin(async move { Ok(Bytes::from(answer)) })
        }

        fn stream<'a>(
            &'a self,
            _: &'a Caller,
            _: Method,
            body: Bytes,
            answers: Outgoing,
        ) -> Serving<'a, ()> {
            Box::pin(async move {
                for byte in body {
                    let _ = answers.send(Bytes::from(vec![byte])).await;
                }
                Err(Refused::NotFound("no more".to_owned()))
            })
        }
    }

    fn caller(number: u128) -> Caller {
        Caller {
            cluster: None,
            generation: 0,
            incarnation: Incarnation(number),
            session: Session {
                starts: 1,
                nonce: number,
            },
        }
    }

    #[test]
    fn calls_go_where_a_link_is() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let network = Arc::new(MemoryNetwork::default());
        let services = Arc::new(Services::default());
        let echo: Arc<dyn Service> = Arc::new(Echo);
        services.enter(&[Method::Cut, Method::Pull], &echo);
        network.connect(caller(2), services);
        let transport = network.connect(caller(1), Arc::default());
        let peers = Blocking::new(transport, runtime.handle().clone());
        let ask = |method, to| {
            peers.call(
                Incarnation(to),
                method,
                Bytes::from_static(b"abc"),
                Duration::from_secs(1),
            )
        };
        assert_eq!(ask(Method::Cut, 2).unwrap(), "3 to 1");
        assert!(matches!(
            ask(Method::Stage, 2),
            Err(PeerError::Refused { .. })
        ));
        assert!(matches!(
            ask(Method::Cut, 3),
            Err(PeerError::Unreachable { .. })
        ));
        network.cut(Incarnation(1), Incarnation(2), true);
        assert!(matches!(
            ask(Method::Cut, 2),
            Err(PeerError::Unreachable { .. })
        ));
        network.cut(Incarnation(1), Incarnation(2), false);
        let body = Bytes::from_static(b"xy");
        let mut answers = peers
            .stream(Incarnation(2), Method::Pull, body, Duration::from_secs(1))
            .unwrap();
        assert_eq!(peers.next(&mut answers).unwrap().unwrap(), "x");
        assert_eq!(peers.next(&mut answers).unwrap().unwrap(), "y");
        assert!(matches!(
            peers.next(&mut answers),
            Err(PeerError::Refused { .. })
        ));
        let all = peers.call_all(
            vec![
                (Incarnation(3), Bytes::new()),
                (Incarnation(2), Bytes::new()),
            ],
            Method::Cut,
            Duration::from_secs(1),
        );
        network.disconnect(Incarnation(2));
        assert!(matches!(
            ask(Method::Cut, 2),
            Err(PeerError::Unreachable { .. })
        ));
        assert!(all[0].1.is_err() && all[1].1.as_deref() == Ok(b"0 to 1"));
    }
}
