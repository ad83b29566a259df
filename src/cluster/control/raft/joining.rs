//! How a node comes to belong to a cluster: it founds one with others, exactly once, or joins the
//! one that is there. Whatever order nodes start in, and whoever restarts meanwhile.
//!
//! - A node that belongs to a cluster (key `raft/cluster`) never founds.
//! - Where a record outside arbitrates, every founder begins with exactly that record: the same
//!   membership as the first entry of the log, which makes beginning more than once harmless.
//! - Where none does (a list, DNS), one node decides: the one with the smallest incarnation of those
//!   that are seen. It begins only when every founder has agreed, durably, to its decision and so
//!   to no other; only it begins. An agreement ends when its decider says so or is no more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{InitializeError, RaftError};
use prost::Message;

use super::decision::{self, Decision, Founder};
use super::group::{RaftControl, fatal};
use super::hello::{self, Greeting, To};
use super::network::{HOPS_MAX, garbled};
use super::types::{NodeId, number_of};
use super::wire::{decode, messages as pb, wide};
use crate::cluster::control::command::{ClusterId, Command, Found, NodeUp, Outcome, Refusal};
use crate::cluster::control::wire_parts::read_wide;
use crate::cluster::control::{Control, ControlError, FEATURE_LEVEL};
use crate::cluster::discovery::{Discovery, Founding, FoundingRecord};
use crate::cluster::peer::{Method, PeerError};
use crate::cluster::settings::ClusterSettings;
use crate::model::{FOUNDING_DEPTH, Incarnation};
use crate::runtime::Backoff;

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Nodes that are asked who they are at one go.
const ASKED_MAX: usize = 64;

/// Where a node stands.
enum Standing {
    /// It is a member and has announced itself.
    Member,
    /// Something was done: look again at once.
    GoOn,
    /// Something is missing, in words.
    Waiting(String),
}

impl RaftControl {
    /// Founds a cluster with those that discovery sees, or joins theirs, and announces this start.
    /// Tries for ever; [`RaftControl::trouble`] says what is missing. Dropping the future calls it
    /// off. The group's services must have been entered.
    ///
    /// # Errors
    /// When this node must not go on: a later session of it is known, it was given up for ever, or
    /// its disk failed.
    pub async fn found_or_join(
        self: &Arc<Self>,
        discovery: &dyn Discovery,
        settings: &ClusterSettings,
    ) -> Result<(), ControlError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut seen = discovery.sightings();
        let mut said = String::new();
        loop {
            let reason = match self.step(discovery, settings).await {
                Ok(Standing::Member) => {
                    self.set_trouble(None);
                    return Ok(());
                }
                Ok(Standing::GoOn) => {
                    backoff.reset();
                    continue;
                }
                Ok(Standing::Waiting(reason)) => reason,
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => error.to_string(),
            };
            if reason != said {
                tracing::info!(reason, "waiting for the cluster");
                said.clone_from(&reason);
            }
            self.set_trouble(Some(reason));
            let pause = tokio::time::sleep(backoff.pause(self.chance.as_ref()));
            tokio::select! {
                () = pause => {}
                Ok(()) = seen.changed() => backoff.reset(),
            }
        }
    }

    async fn step(
        self: &Arc<Self>,
        discovery: &dyn Discovery,
        settings: &ClusterSettings,
    ) -> Result<Standing, ControlError> {
        let cluster = *self.cluster.borrow();
        if cluster.is_some() && self.is_in_group() {
            return self.announce().await;
        }
        if matches!(discovery.founding(), Founding::List([])) && cluster.is_none() {
            return self.found_alone().await;
        }
        let sighting = discovery.sightings().borrow().clone();
        if !sighting.answered {
            let trouble = discovery.trouble();
            let reason = trouble.unwrap_or_else(|| "discovery has not answered yet".to_owned());
            return Ok(Standing::Waiting(reason));
        }
        let addresses: Vec<String> = sighting.peers.iter().map(|p| p.address.clone()).collect();
        let (greetings, silent) = self.greet(addresses).await?;
        match (cluster, one_cluster(&greetings)?) {
            (None, None) => self.found(discovery, settings, greetings, silent).await,
            (None, Some(theirs)) => {
                if let Some(decision) = self.founds(discovery, theirs).await? {
                    return self.take(&decision).await;
                }
                self.join(theirs, &greetings).await
            }
            (Some(mine), Some(theirs)) if mine == theirs => self.join(theirs, &greetings).await,
            (Some(mine), Some(theirs)) => Ok(Standing::Waiting(format!(
                "this node belongs to the cluster {mine}, and those that are seen to {theirs}: two clusters never become one; start this node with an empty data directory to have it join"
            ))),
            (Some(mine), None) => Ok(Standing::Waiting(format!(
                "no node of the cluster {mine} is seen"
            ))),
        }
    }

    /// Asks those that are seen who they are; this node is not among the answers.
    async fn greet(
        &self,
        addresses: Vec<String>,
    ) -> Result<(Vec<(String, Greeting)>, Vec<String>), ControlError> {
        let patience = self.timings.patience / 4;
        let (mut greetings, mut silent) = (Vec::new(), Vec::new());
        for some in addresses.chunks(ASKED_MAX) {
            let to = some.iter().cloned().map(To::Address).collect();
            let position = self.position();
            for (to, answer) in hello::ask(self.peers.transport(), to, position, patience).await {
                let To::Address(address) = to else { continue };
                match answer {
                    Ok(greeting) if greeting.incarnation == self.incarnation => {}
                    Ok(greeting) => {
                        let transport = self.peers.transport();
                        transport.know(greeting.incarnation, std::slice::from_ref(&address));
                        greetings.push((address, greeting));
                    }
                    Err(error) => {
                        self.heed(&error)?;
                        silent.push(error.to_string());
                    }
                }
            }
        }
        greetings.sort_by_key(|(_, greeting)| greeting.incarnation);
        greetings.dedup_by_key(|(_, greeting)| greeting.incarnation);
        silent.sort();
        Ok((greetings, silent))
    }

    async fn found_alone(&self) -> Result<Standing, ControlError> {
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
    async fn found(
        &self,
        discovery: &dyn Discovery,
        settings: &ClusterSettings,
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
            _ => usize::try_from(settings.bootstrap_expect).unwrap_or(usize::MAX),
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
    async fn take(&self, decision: &Decision) -> Result<Standing, ControlError> {
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
    async fn begin(&self, decision: &Decision) -> Result<(), ControlError> {
        let voters = decision.voters();
        let begins = decision.decider.is_none_or(|it| it == self.incarnation);
        if !begins || !voters.contains(&self.number()) {
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
    async fn founds(
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

    /// Asks the members of a cluster, one after the other, to be taken in.
    async fn join(
        &self,
        cluster: ClusterId,
        greetings: &[(String, Greeting)],
    ) -> Result<Standing, ControlError> {
        let mut reason = "nobody was asked".to_owned();
        let members = greetings.iter().filter(|(_, g)| g.cluster == Some(cluster));
        for (_, member) in members {
            let body = pb::join_request::Body::Join(pb::Joiner {
                incarnation: wide(self.incarnation.0),
                addresses: self.introduction.addresses.clone(),
            });
            match self.ask_join(member.incarnation, body, HOPS_MAX).await {
                Ok(answer) => {
                    let said = read_wide(&answer.cluster).map(ClusterId);
                    if said != Ok(cluster) {
                        continue;
                    }
                    self.know(answer.members);
                    if self.cluster.borrow().is_none() {
                        decision::belong(self.engine.as_ref(), cluster, None)?;
                        tracing::info!(%cluster, "this node has joined the cluster");
                        self.belong(cluster);
                    }
                    return Ok(self.wait_for_group().await);
                }
                Err(error) => {
                    self.heed(&error)?;
                    reason = error.to_string();
                }
            }
        }
        Ok(Standing::Waiting(format!(
            "the cluster {cluster} does not take this node in yet: {reason}"
        )))
    }

    fn know(&self, members: Vec<pb::Node>) {
        for member in members.into_iter().flat_map(pb::Node::read) {
            if member.incarnation != self.incarnation && !member.addresses.is_empty() {
                let transport = self.peers.transport();
                transport.know(member.incarnation, &member.addresses);
            }
        }
    }

    /// Taken in: the leader sends the log now.
    async fn wait_for_group(&self) -> Standing {
        let mut metrics = self.raft.metrics();
        let me = self.number();
        let told = metrics.wait_for(|m| m.membership_config.membership().get_node(&me).is_some());
        match tokio::time::timeout(self.timings.patience, told).await {
            Ok(Ok(_)) => Standing::GoOn,
            _ => Standing::Waiting("the leader does not send its log yet".to_owned()),
        }
    }

    fn is_in_group(&self) -> bool {
        let me = self.number();
        let founding = decision::founding(self.engine.as_ref()).ok().flatten();
        let founds = founding.is_some_and(|decision| decision.voters().contains(&me));
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        // A voter that founds is in the group although nobody has told it yet.
        let told = membership.nodes().next().is_some();
        membership.get_node(&me).is_some() || (founds && !told)
    }

    /// A member tells the cluster of this start.
    async fn announce(&self) -> Result<Standing, ControlError> {
        let founding = decision::founding(self.engine.as_ref())?;
        if let Some(decision) = &founding {
            // Again, should it have stopped between the decision and the first entry.
            self.begin(decision).await?;
        }
        if self.leader().is_none() {
            return Ok(Standing::Waiting(self.why_no_leader()));
        }
        if self.state().cluster.is_none() {
            let Some(decision) = founding.filter(|_| self.is_leader()) else {
                return Ok(Standing::Waiting("the cluster is being founded".to_owned()));
            };
            self.propose_founding(&decision).await?;
        }
        let node = NodeUp {
            name: self.introduction.name.clone(),
            incarnation: self.incarnation,
            session: self.session,
            addresses: self.introduction.addresses.clone(),
            zone: self.introduction.zone.clone(),
            capacity_bytes: self.introduction.capacity_bytes,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            feature_level_max: FEATURE_LEVEL,
        };
        self.propose_applied(&Command::NodeUp(node)).await?;
        if self.state().feature_level < FEATURE_LEVEL {
            // Refused as long as a node is there that does not understand it.
            let level = Command::FeatureLevel(FEATURE_LEVEL);
            self.propose_soon(&level).await?;
        }
        Ok(Standing::Member)
    }

    async fn propose_founding(&self, decision: &Decision) -> Result<(), ControlError> {
        let factor = usize::try_from(self.replication_factor).unwrap_or(usize::MAX);
        let founders = decision.founders.iter().map(|founder| founder.incarnation);
        let found = Found {
            cluster: decision.cluster,
            depth: FOUNDING_DEPTH,
            founders: founders.take(factor.max(1)).collect(),
        };
        self.propose_applied(&Command::Found(found)).await
    }

    async fn propose_applied(&self, command: &Command) -> Result<(), ControlError> {
        let outcome: Outcome = self.propose_soon(command).await?;
        outcome
            .into_result()
            .map_err(|refusal| ControlError::Refused {
                command: command.name(),
                refusal,
            })
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock() = trouble;
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

/// The one cluster that those who answered belong to.
fn one_cluster(greetings: &[(String, Greeting)]) -> Result<Option<ClusterId>, ControlError> {
    let mut found: Option<(ClusterId, &str)> = None;
    for (address, greeting) in greetings {
        let Some(cluster) = greeting.cluster else {
            continue;
        };
        match found {
            Some((other, at)) if other != cluster => {
                return Err(ControlError::Elsewhere(format!(
                    "two clusters are seen, {other} at {at} and {cluster} at {address}: this node joins neither; let discovery see one of them"
                )));
            }
            _ => found = Some((cluster, address)),
        }
    }
    Ok(found.map(|(cluster, _)| cluster))
}

fn away(error: &crate::cluster::discovery::DiscoveryError) -> ControlError {
    ControlError::Elsewhere(error.to_string())
}

/// Whether nothing that comes later can mend it.
fn is_final(error: &ControlError) -> bool {
    matches!(
        error,
        ControlError::OldSession(_)
            | ControlError::RolledBack { .. }
            | ControlError::Group(_)
            | ControlError::Store(_)
            | ControlError::Unreadable { .. }
            | ControlError::Refused {
                refusal: Refusal::OldSession { .. } | Refusal::Gone(_),
                ..
            }
    )
}
