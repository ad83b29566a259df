//! The decision that makes a cluster, {cluster id, founders}, and what of it is kept on disk.
//!
//! Keys in the control space: `raft/founding`, the decision under which this node became a founder;
//! `raft/agreed`, one that it has agreed to and that has not ended yet; `raft/cluster`, the cluster
//! it belongs to (16 bytes). A node that has the last never founds.

use std::collections::BTreeSet;

use prost::Message;

use super::types::{GroupNode, NodeId, number_of};
use super::wire::{decode, messages as pb, read_addresses, read_incarnation, wide};
use crate::cluster::control::command::ClusterId;
use crate::cluster::control::wire_parts::{WireError, damaged, read_wide};
use crate::cluster::control::{ControlError, raft::voters};
use crate::model::Incarnation;
use crate::store::{Batch, Durability, Engine, Space};

const FOUNDING_KEY: &[u8] = b"raft/founding";
const AGREED_KEY: &[u8] = b"raft/agreed";
const CLUSTER_KEY: &[u8] = b"raft/cluster";

/// Founders of one decision.
const FOUNDERS_MAX: usize = 1_000;

/// A node that founds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Founder {
    pub(super) incarnation: Incarnation,
    pub(super) name: String,
    pub(super) zone: String,
    pub(super) addresses: Vec<String>,
}

impl Founder {
    pub(super) fn node(&self) -> GroupNode {
        GroupNode {
            incarnation: self.incarnation,
            addresses: self.addresses.clone(),
        }
    }
}

/// What is decided once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Decision {
    pub(super) cluster: ClusterId,
    /// In the order of their incarnations.
    pub(super) founders: Vec<Founder>,
    /// Whose decision it is, where no record outside arbitrates.
    pub(super) decider: Option<Incarnation>,
}

impl Decision {
    pub(super) fn founder(&self, incarnation: Incarnation) -> Option<&Founder> {
        self.founders.iter().find(|f| f.incarnation == incarnation)
    }

    /// Who votes at first: the same on every founder.
    pub(super) fn voters(&self) -> BTreeSet<NodeId> {
        let founders = self.founders.iter();
        let zones = founders.map(|f| (number_of(f.incarnation), f.zone.as_str()));
        voters::first(zones)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        pb::Founding::from(self).encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode::<pb::Founding>(bytes, "a founding")?.read()
    }
}

impl From<&Decision> for pb::Founding {
    fn from(decision: &Decision) -> Self {
        let founder = |f: &Founder| pb::Founder {
            incarnation: wide(f.incarnation.0),
            name: f.name.clone(),
            zone: f.zone.clone(),
            addresses: f.addresses.clone(),
        };
        Self {
            cluster: wide(decision.cluster.0),
            founders: decision.founders.iter().map(founder).collect(),
            decider: decision
                .decider
                .map_or_else(bytes::Bytes::new, |decider| wide(decider.0)),
        }
    }
}

impl pb::Founding {
    pub(super) fn read(self) -> Result<Decision, WireError> {
        if self.founders.is_empty() || self.founders.len() > FOUNDERS_MAX {
            let problem = format!("{} founders (bound {FOUNDERS_MAX})", self.founders.len());
            return Err(damaged("a founding", problem));
        }
        let mut founders = Vec::with_capacity(self.founders.len());
        for founder in self.founders {
            founders.push(Founder {
                incarnation: read_incarnation(&founder.incarnation)?,
                name: founder.name,
                zone: founder.zone,
                addresses: read_addresses(founder.addresses)?,
            });
        }
        let distinct: BTreeSet<NodeId> =
            founders.iter().map(|f| number_of(f.incarnation)).collect();
        if distinct.len() != founders.len() {
            return Err(damaged("a founding", "it names a founder twice"));
        }
        let decider = (!self.decider.is_empty()).then(|| read_incarnation(&self.decider));
        Ok(Decision {
            cluster: ClusterId(read_wide(&self.cluster)?),
            founders,
            decider: decider.transpose()?,
        })
    }
}

fn read(engine: &dyn Engine, key: &[u8]) -> Result<Option<Decision>, ControlError> {
    let bytes = engine.get(Space::Control, key)?;
    let decision = bytes.map(|bytes| Decision::decode(&bytes)).transpose();
    decision.map_err(|error| ControlError::Unreadable { index: 0, error })
}

/// The cluster that this node belongs to.
pub(super) fn cluster(engine: &dyn Engine) -> Result<Option<ClusterId>, ControlError> {
    let bytes = engine.get(Space::Control, CLUSTER_KEY)?;
    let cluster = bytes.map(|bytes| read_wide(&bytes).map(ClusterId));
    cluster
        .transpose()
        .map_err(|error| ControlError::Unreadable { index: 0, error })
}

/// The decision under which this node became a founder.
pub(super) fn founding(engine: &dyn Engine) -> Result<Option<Decision>, ControlError> {
    read(engine, FOUNDING_KEY)
}

/// The decision that this node has agreed to.
pub(super) fn agreed(engine: &dyn Engine) -> Result<Option<Decision>, ControlError> {
    read(engine, AGREED_KEY)
}

/// This node belongs to a cluster from now on, as a founder of it or not.
pub(super) fn belong(
    engine: &dyn Engine,
    cluster: ClusterId,
    founding: Option<&Decision>,
) -> Result<(), ControlError> {
    let mut batch = Batch::new();
    batch.put(Space::Control, CLUSTER_KEY, &cluster.0.to_be_bytes());
    if let Some(decision) = founding {
        batch.put(Space::Control, FOUNDING_KEY, &decision.encode());
    }
    batch.delete(Space::Control, AGREED_KEY);
    Ok(engine.write(batch, Durability::Synced)?)
}

/// Agrees to a decision, or takes that back.
pub(super) fn agree(engine: &dyn Engine, decision: Option<&Decision>) -> Result<(), ControlError> {
    let mut batch = Batch::new();
    match decision {
        Some(decision) => batch.put(Space::Control, AGREED_KEY, &decision.encode()),
        None => batch.delete(Space::Control, AGREED_KEY),
    };
    Ok(engine.write(batch, Durability::Synced)?)
}
