//! A network within one process, for tests: calls are futures of the other node's services, run
//! by the caller. Links can be cut, in one direction or both. In a simulation there is weather:
//! messages are late, lost, or come twice, and whoever is off the network says nothing any more.

mod access;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::grpc::Identity;
use super::message::{Caller, PeerError};
use super::service::Services;
use super::transport::Transport;
use super::weather::Weather;
use crate::cluster::identity::ClusterId;
use crate::model::Incarnation;
use access::{Access, Who};

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
