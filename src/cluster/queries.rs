//! Queries as they run on all nodes: listed, and called off.
//!
//! What a query is it does not know: each node has a [`Register`] of what runs there. A node that
//! does not answer is named with the reason; nobody waits long for it.

use std::sync::Arc;

use super::control::{Control, Liveness};
use super::peer::Blocking;
use super::self_report::ask_for_queries;
use crate::model::{Incarnation, TenantId};
use crate::runtime::{Register, Underway};

/// Nodes that are asked: more than a cluster has.
const NODES_MAX: usize = 1_000;

/// What is to be called off.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CancelQueries {
    /// On which node, by its name; `None`: on all.
    pub node: Option<String>,
    /// Which one; `None`: all.
    pub id: Option<u64>,
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
}

/// What runs on one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeQueries {
    /// Its name.
    pub node: String,
    /// How many were called off, if any were to be.
    pub cancelled: usize,
    /// Those that run; or why it does not say.
    pub running: Result<Vec<Underway>, String>,
}

/// The queries of all nodes, from one of them.
#[derive(Clone)]
pub struct Queries {
    register: Register,
    control: Arc<dyn Control>,
    me: Incarnation,
    peers: Option<Blocking>,
}

impl Queries {
    pub(super) fn new(
        register: &Register,
        (control, me): (&Arc<dyn Control>, Incarnation),
        peers: Option<Blocking>,
    ) -> Self {
        Self {
            register: register.clone(),
            control: Arc::clone(control),
            me,
            peers,
        }
    }

    /// Where queries of this node are to be listed.
    #[must_use]
    pub fn register(&self) -> Register {
        self.register.clone()
    }

    /// Those that run on all nodes; with `cancel` after some were called off.
    #[must_use]
    pub fn everywhere(&self, cancel: Option<&CancelQueries>) -> Vec<NodeQueries> {
        let state = self.control.state();
        let (me, register, peers) = (self.me, &self.register, self.peers.as_ref());
        let name = |who: Incarnation| {
            let member = state.members.get(&who);
            member.map_or_else(|| who.to_string(), |member| member.name.clone())
        };
        let meant = |who: Incarnation| {
            let node = cancel.and_then(|cancel| cancel.node.as_deref());
            node.is_none_or(|node| node == name(who) || node == who.to_string())
        };
        let mut all = Vec::new();
        if meant(me) {
            let cancelled = cancel.map_or(0, |cancel| {
                register.cancel(cancel.id, cancel.tenant.as_ref())
            });
            all.push(NodeQueries {
                node: name(me),
                cancelled,
                running: Ok(register.list()),
            });
        }
        let Some(peers) = peers else {
            return all;
        };
        let others = state.members.iter().filter(|(who, member)| {
            **who != me && member.liveness == Liveness::Live && meant(**who)
        });
        let others = others.map(|(who, _)| *who).take(NODES_MAX).collect();
        let cancel = cancel.map(|cancel| (cancel.id, cancel.tenant.as_ref()));
        for (who, answer) in ask_for_queries(peers, others, cancel) {
            let (cancelled, running) = match answer {
                Ok((cancelled, running)) => (cancelled, Ok(running)),
                Err(reason) => (0, Err(reason)),
            };
            all.push(NodeQueries {
                node: name(who),
                cancelled,
                running,
            });
        }
        all.sort_by(|one, other| one.node.cmp(&other.node));
        all
    }
}
