//! What one node says on the network, and what it hears.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::MemoryNetwork;
use crate::cluster::peer::grpc::Identity;
use crate::cluster::peer::message::{Caller, Method, PeerError, Refused};
use crate::cluster::peer::service::Services;
use crate::cluster::peer::transport::{Answering, Duplex, Incoming, Transport};
use crate::cluster::peer::weather::{Fate, Weather};
use crate::model::Incarnation;

/// Messages that a stream holds.
const QUEUE: usize = 16;

/// One node's access to the network.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) network: Weak<MemoryNetwork>,
    pub(super) number: u64,
    pub(super) who: Who,
}

/// Who speaks.
#[derive(Clone)]
pub(super) enum Who {
    Fixed(Caller),
    Of(Identity),
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

fn refused(to: Incarnation) -> impl FnOnce(Refused) -> PeerError {
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
