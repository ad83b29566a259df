//! Founding a cluster with others, exactly once.
//!
//! - Where a record outside arbitrates, every founder begins with exactly that record: the same
//!   membership as the first entry of the log, which makes beginning more than once harmless.
//! - Where none does (a list, DNS), one node decides: the one with the smallest incarnation of those
//!   that are seen. It takes its decision only when every founder has agreed, durably, to it and so
//!   to no other; the others take it when they see one that has. An agreement ends when its decider
//!   has another, or is no more.

use bytes::Bytes;
use openraft::error::{InitializeError, RaftError};
use prost::Message;

use super::decision::{self, Decision, Founder};
use super::group::{RaftControl, fatal};
use super::hello::Greeting;
use super::network::garbled;
use super::types::{NodeId, number_of};
use super::wire::{decode, messages as pb};
use crate::cluster::control::ControlError;
use crate::cluster::control::command::{ClusterId, Command, Found};
use crate::cluster::discovery::{Discovery, DiscoveryError, Founding, FoundingRecord};
use crate::cluster::peer::{Method, PeerError};
use crate::model::{FOUNDING_DEPTH, Incarnation};

/// Where a node stands.
pub(super) enum Standing {
    /// It is a member and has announced itself.
    Member,
    /// Something was done: look again at once.
    GoOn,
    /// Something is missing, in words.
    Waiting(String),
}

impl RaftControl {
    /// Whether a cluster may be founded here, and why not.
    pub(super) async fn may_found(&self) -> Result<(), String> {
        match &self.leave {
            Some(leave) => leave().await,
            None => Ok(()),
        }
    }

    pub(super) async fn found_alone(&self) -> Result<Standing, ControlError> {
        let decision = Decision {
            cluster: ClusterId(self.chance.next_u128()),
            founders: vec![self.as_founder()],
            decider: None,
        };
        tracing::info!(cluster = %decision.cluster, "founding a cluster of one");
        self.take(&decision).await
    }

    fn as_founder(&self) -> Founder {
        Founder {
            incarnation: self.incarnation,
            name: self.introduction.name.clone(),
            zone: self.introduction.zone.clone(),
            addresses: self.introduction.addresses.clone(),
        }
    }

    /// Nobody that is seen belongs to a cluster.
    pub(super) async fn found(
        &self,
        discovery: &dyn Discovery,
        greetings: Vec<(String, Greeting)>,
        silent: Vec<String>,
    ) -> Result<Standing, ControlError> {
        let mut founders: Vec<Founder> = greetings
            .iter()
            .map(|(address, greeting)| founder_of(address, greeting))
            .collect();
        founders.push(self.as_founder());
        founders.sort_by_key(|founder| founder.incarnation);
        let expected = match discovery.founding() {
            Founding::List(names) => names.len(),
            _ => usize::try_from(self.settings.bootstrap_expect).unwrap_or(usize::MAX),
        };
        if let Founding::Record(record) = discovery.founding()
            && let Some(bytes) = record.read().await.map_err(|e| away(&e))?
        {
            return self.take_record(&bytes).await;
        }
        if founders.len() < expected.max(1) {
            let names: Vec<&str> = founders.iter().map(|f| f.name.as_str()).collect();
            let mut reason = format!(
                "{} of {expected} nodes that found the cluster are here ({})",
                founders.len(),
                names.join(", ")
            );
            if let Some(silent) = silent.first() {
                reason = format!("{reason}; {silent}");
            }
            return Ok(Standing::Waiting(reason));
        }
        founders.truncate(expected.max(1));
        match discovery.founding() {
            Founding::Record(record) => self.found_by_record(record, founders).await,
            _ => self.found_by_agreement(founders, &greetings).await,
        }
    }

    async fn found_by_record(
        &self,
        record: &dyn FoundingRecord,
        founders: Vec<Founder>,
    ) -> Result<Standing, ControlError> {
        let proposal = Decision {
            cluster: ClusterId(self.chance.next_u128()),
            founders,
            decider: None,
        };
        let decided = record.decide(proposal.encode().into()).await;
        self.take_record(&decided.map_err(|e| away(&e))?).await
    }

    async fn take_record(&self, bytes: &[u8]) -> Result<Standing, ControlError> {
        let decision = Decision::decode(bytes).map_err(|error| {
            ControlError::Elsewhere(format!("the founding record cannot be read: {error}"))
        })?;
        if decision.founder(self.incarnation).is_some() {
            return self.take(&decision).await;
        }
        let names: Vec<&str> = decision.founders.iter().map(|f| f.name.as_str()).collect();
        Ok(Standing::Waiting(format!(
            "the cluster {} is founded by {}, and none of them is seen in it yet; if they are no more, delete the founding record in the discovery's store",
            decision.cluster,
            names.join(", ")
        )))
    }

    /// Makes a decision this node's own: from here on it belongs to that cluster.
    pub(super) async fn take(&self, decision: &Decision) -> Result<Standing, ControlError> {
        decision::belong(self.engine.as_ref(), decision.cluster, Some(decision))?;
        tracing::info!(
            cluster = %decision.cluster,
            founders = decision.founders.len(),
            "founding a cluster"
        );
        self.belong(decision.cluster);
        self.begin(decision).await?;
        Ok(Standing::GoOn)
    }

    /// Writes the first entry of the log, on the founders that vote.
    pub(super) async fn begin(&self, decision: &Decision) -> Result<(), ControlError> {
        let voters = decision.voters();
        if !voters.contains(&self.number()) {
            return Ok(());
        }
        let nodes: std::collections::BTreeMap<NodeId, _> = decision
            .founders
            .iter()
            .map(|founder| (number_of(founder.incarnation), founder.node()))
            .filter(|(id, _)| voters.contains(id))
            .collect();
        match self.raft.initialize(nodes).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(fatal(error)),
        }
    }

    async fn found_by_agreement(
        &self,
        founders: Vec<Founder>,
        greetings: &[(String, Greeting)],
    ) -> Result<Standing, ControlError> {
        let agreed = decision::agreed(self.engine.as_ref())?;
        let decider = founders.first().map(|founder| founder.incarnation);
        let mine = agreed
            .clone()
            .filter(|d| d.decider == Some(self.incarnation));
        if let Some(theirs) = agreed.filter(|d| d.decider != Some(self.incarnation)) {
            return self.look_after(&theirs, greetings);
        }
        if decider != Some(self.incarnation) {
            if mine.is_some() {
                // Somebody with a smaller incarnation has come: it decides.
                decision::agree(self.engine.as_ref(), None)?;
            }
            let name = founders.first().map_or("", |founder| founder.name.as_str());
            return Ok(Standing::Waiting(format!("{name} is to found the cluster")));
        }
        let decision = match mine {
            Some(mine) if mine.founders == founders => mine,
            _ => {
                let decision = Decision {
                    cluster: ClusterId(self.chance.next_u128()),
                    founders,
                    decider,
                };
                decision::agree(self.engine.as_ref(), Some(&decision))?;
                decision
            }
        };
        for founder in &decision.founders {
            if founder.incarnation == self.incarnation {
                continue;
            }
            let body = pb::join_request::Body::Found((&decision).into());
            if let Err(error) = self.ask_join(founder.incarnation, body, 0).await {
                let name = &founder.name;
                let reason = format!("{name} does not agree to the founding yet: {error}");
                return Ok(Standing::Waiting(reason));
            }
        }
        self.take(&decision).await
    }

    /// This node has agreed to another's decision: it stands as long as the decider says so.
    fn look_after(
        &self,
        decision: &Decision,
        greetings: &[(String, Greeting)],
    ) -> Result<Standing, ControlError> {
        let decider = greetings
            .iter()
            .find(|(_, greeting)| Some(greeting.incarnation) == decision.decider);
        let stands = decider.map(|(_, greeting)| {
            let agreed = greeting.agreed.as_ref().map(|agreed| agreed.cluster);
            agreed == Some(decision.cluster) || greeting.cluster == Some(decision.cluster)
        });
        let founder = decision
            .decider
            .and_then(|decider| decision.founder(decider));
        // Where it was, another answers: its disk was lost before it could begin.
        let replaced = founder.is_some_and(|founder| {
            decider.is_none()
                && greetings
                    .iter()
                    .any(|(address, _)| founder.addresses.contains(address))
        });
        if stands == Some(false) || replaced {
            decision::agree(self.engine.as_ref(), None)?;
            return Ok(Standing::GoOn);
        }
        let name = founder.map_or("", |founder| founder.name.as_str());
        Ok(Standing::Waiting(format!(
            "{name} founds the cluster {}",
            decision.cluster
        )))
    }

    /// Somebody asks this node to agree to a decision.
    pub(super) fn agree_to(&self, decision: &Decision) -> Result<(), ControlError> {
        if let Some(mine) = *self.cluster.borrow() {
            if mine == decision.cluster {
                return Ok(());
            }
            return Err(ControlError::Elsewhere(format!(
                "it belongs to the cluster {mine}"
            )));
        }
        match decision::agreed(self.engine.as_ref())? {
            Some(other) if other.cluster == decision.cluster => Ok(()),
            Some(other) if other.decider == Some(self.incarnation) => {
                // Its own was never begun: that happens only when all have agreed.
                let smaller = decision.decider < Some(self.incarnation);
                if !smaller {
                    return Err(ControlError::Elsewhere("it founds itself".to_owned()));
                }
                decision::agree(self.engine.as_ref(), Some(decision))
            }
            // The same decider has thought again: it has not begun with the first.
            Some(other) if other.decider == decision.decider => {
                decision::agree(self.engine.as_ref(), Some(decision))
            }
            Some(other) => Err(ControlError::Elsewhere(format!(
                "it has agreed to the founding of {}",
                other.cluster
            ))),
            None => decision::agree(self.engine.as_ref(), Some(decision)),
        }
    }

    /// Asks a node something about joining.
    pub(super) async fn ask_join(
        &self,
        to: Incarnation,
        body: pb::join_request::Body,
        hops: u32,
    ) -> Result<pb::JoinAnswer, PeerError> {
        let request = pb::JoinRequest {
            body: Some(body),
            hops,
        };
        let bytes = Bytes::from(request.encode_to_vec());
        let transport = self.peers.transport();
        let patience = self.timings.patience;
        let answer = transport.call(to, Method::Join, bytes, patience).await?;
        decode(answer, "an answer to joining").map_err(|error| garbled(to, &error))
    }

    /// The decision by which this node founds a cluster that others have begun already: they may
    /// need its vote before anybody can take it in.
    pub(super) async fn founds(
        &self,
        discovery: &dyn Discovery,
        cluster: ClusterId,
    ) -> Result<Option<Decision>, ControlError> {
        let decision = match discovery.founding() {
            Founding::Record(record) => {
                let bytes = record.read().await.map_err(|e| away(&e))?;
                bytes.and_then(|bytes| Decision::decode(&bytes).ok())
            }
            _ => decision::agreed(self.engine.as_ref())?,
        };
        let founds = |decision: &Decision| {
            decision.cluster == cluster && decision.founder(self.incarnation).is_some()
        };
        Ok(decision.filter(founds))
    }

    pub(super) async fn propose_founding(&self, decision: &Decision) -> Result<(), ControlError> {
        let factor = usize::try_from(self.settings.replication_factor).unwrap_or(usize::MAX);
        let founders = decision.founders.iter().map(|founder| founder.incarnation);
        let found = Found {
            cluster: decision.cluster,
            depth: FOUNDING_DEPTH,
            founders: founders.take(factor.max(1)).collect(),
        };
        self.propose_applied(&Command::Found(found)).await
    }
}

fn founder_of(address: &str, greeting: &Greeting) -> Founder {
    let mut addresses = greeting.addresses.clone();
    if !addresses.iter().any(|known| known == address) {
        addresses.insert(0, address.to_owned());
    }
    Founder {
        incarnation: greeting.incarnation,
        name: greeting.name.clone(),
        zone: greeting.zone.clone(),
        addresses,
    }
}

fn away(error: &DiscoveryError) -> ControlError {
    ControlError::Elsewhere(error.to_string())
}
