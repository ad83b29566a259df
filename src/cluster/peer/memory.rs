//! A network within one process, for tests: calls are futures of the other node's services, run
//! by the caller. Links can be cut, in one direction or both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::message::{Caller, Method, PeerError};
use super::service::Services;
use super::transport::{Answering, Duplex, Incoming, Transport};
use crate::cluster::identity::ClusterId;
use crate::model::Incarnation;

/// Messages that a stream holds.
const QUEUE: usize = 16;

/// All nodes of a test. An address is the decimal number of an incarnation.
#[derive(Debug, Default)]
pub(in crate::cluster) struct MemoryNetwork(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<Incarnation, Arc<Services>>,
    cut: BTreeSet<(Incarnation, Incarnation)>,
    /// What nodes have come to belong to since they were connected.
    clusters: BTreeMap<Incarnation, (ClusterId, u64)>,
    /// Who has been told where whom is, if that matters.
    known: Option<BTreeSet<(Incarnation, Incarnation)>>,
}

/// One node's access to the network.
struct Access {
    network: Weak<MemoryNetwork>,
    me: Caller,
}

impl MemoryNetwork {
    /// Connects a node, in place of an earlier one of the same incarnation.
    pub(in crate::cluster) fn connect(
        self: &Arc<Self>,
        me: Caller,
        services: Arc<Services>,
    ) -> Arc<dyn Transport> {
        let mut state = self.0.lock();
        state.nodes.insert(me.incarnation, services);
        state.clusters.remove(&me.incarnation);
        if let Some(known) = &mut state.known {
            known.retain(|(who, _)| *who != me.incarnation);
        }
        drop(state);
        Arc::new(Access {
            network: Arc::downgrade(self),
            me,
        })
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
        let services = state.nodes.get(&to).cloned();
        services.ok_or_else(|| unreachable("nothing listens there"))
    }
}

impl Access {
    fn reach(&self, to: Incarnation) -> Result<Arc<Services>, PeerError> {
        let unreachable = |reason: &str| PeerError::Unreachable {
            peer: to.to_string(),
            reason: reason.to_owned(),
        };
        let network = self.network.upgrade();
        let network = network.ok_or_else(|| unreachable("the network is gone"))?;
        let known = network.0.lock().known.clone();
        if known.is_some_and(|known| !known.contains(&(self.me.incarnation, to))) {
            return Err(unreachable("nobody has said where it is"));
        }
        network.reach(self.me.incarnation, to)
    }

    /// This node, as the other side sees it now.
    fn me(&self) -> Caller {
        let mut me = self.me.clone();
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

/// Passes messages on as long as the link is open and somebody listens.
async fn forward(
    from: &mut mpsc::Receiver<Bytes>,
    to: &mpsc::Sender<Result<Bytes, PeerError>>,
    is_open: impl Fn() -> bool,
) {
    while let Some(message) = from.recv().await {
        if !is_open() || to.send(Ok(message)).await.is_err() {
            return;
        }
    }
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
        _: Duration,
    ) -> Answering<'_, Bytes> {
        Box::pin(async move {
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
        let to = Incarnation(address.parse().unwrap_or_default());
        let _ = patience;
        Box::pin(async move {
            let network = self.network.upgrade().ok_or(PeerError::Unreachable {
                peer: to.to_string(),
                reason: "the network is gone".to_owned(),
            })?;
            let services = network.reach(self.me.incarnation, to)?;
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
            let service = self.reach(to)?.of(method).map_err(refused(to))?;
            let (answers, mut made) = mpsc::channel(QUEUE);
            let (out, incoming) = mpsc::channel(QUEUE);
            let me = self.me();
            tokio::spawn(async move {
                let serving = service.stream(&me, method, body, answers);
                let forward = forward(&mut made, &out, || true);
                let ended = tokio::select! {
                    (ended, ()) = async { tokio::join!(serving, forward) } => ended,
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
            let service = self.reach(to)?.of(method).map_err(refused(to))?;
            let (messages, mut said) = mpsc::channel::<Bytes>(QUEUE);
            let (heard, incoming) = mpsc::channel(QUEUE);
            let (answers, mut made) = mpsc::channel(QUEUE);
            let (out, received) = mpsc::channel(QUEUE);
            let me = self.me();
            let network = self.network.clone();
            tokio::spawn(async move {
                let open = |network: &Weak<MemoryNetwork>| {
                    network
                        .upgrade()
                        .is_some_and(|network| network.reach(me.incarnation, to).is_ok())
                };
                let there = async {
                    forward(&mut said, &heard, || open(&network)).await;
                    drop(heard);
                };
                let back = forward(&mut made, &out, || open(&network));
                let serving = service.duplex(&me, method, incoming, answers);
                let (ended, (), ()) = tokio::join!(serving, there, back);
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
            known.insert((self.me.incarnation, peer));
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
