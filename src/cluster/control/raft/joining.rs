//! How a node comes to belong to a cluster: it founds one with others, exactly once, or joins the
//! one that is there. Whatever order nodes start in, and whoever restarts meanwhile.
//! A node that belongs to a cluster (key `raft/cluster`) never founds. Founding itself is
//! `founding.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::aside::note_given_up;
use super::decision;
use super::founding::Standing;
use super::group::{Ending, RaftControl};
use super::hello::{self, Greeting, To};
use super::network::HOPS_MAX;
use super::wire::{messages as pb, wide};
use crate::cluster::control::command::{ClusterId, Command, Outcome, Refusal};
use crate::cluster::control::wire_parts::read_wide;
use crate::cluster::control::{Control, ControlError};
use crate::cluster::discovery::{Discovery, Founding};
use crate::runtime::Backoff;

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Nodes that are asked who they are at one go.
const ASKED_MAX: usize = 64;

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
    ) -> Result<(), ControlError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut seen = discovery.sightings();
        let mut said = String::new();
        loop {
            let reason = match self.step(discovery).await {
                Ok(Standing::Member) => {
                    self.set_trouble(None);
                    return Ok(());
                }
                Ok(Standing::GoOn) => {
                    backoff.reset();
                    continue;
                }
                Ok(Standing::Waiting(reason)) => reason,
                Err(error) if is_final(&error) => {
                    if is_gone(&error) {
                        note_given_up(self.engine.as_ref())?;
                    }
                    // Whoever belonged to the cluster before serves already: it must end too.
                    self.end(Ending::Refused(error.to_string()));
                    return Err(error);
                }
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

    async fn step(self: &Arc<Self>, discovery: &dyn Discovery) -> Result<Standing, ControlError> {
        let cluster = *self.cluster.borrow();
        if cluster.is_some() && self.is_in_group() {
            return self.announce().await;
        }
        if matches!(discovery.founding(), Founding::List([])) && cluster.is_none() {
            return match self.may_found().await {
                Ok(()) => self.found_alone().await,
                Err(reason) => Ok(Standing::Waiting(reason)),
            };
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
            (None, None) => match self.may_found().await {
                Ok(()) => self.found(discovery, greetings, silent).await,
                Err(reason) => Ok(Standing::Waiting(reason)),
            },
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
        let node_up = self.introduction.node_up(self.incarnation, self.session);
        self.propose_applied(&node_up).await?;
        Ok(Standing::Member)
    }

    pub(super) async fn propose_applied(&self, command: &Command) -> Result<(), ControlError> {
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

/// Whether the cluster has given this data directory up.
const fn is_gone(error: &ControlError) -> bool {
    matches!(
        error,
        ControlError::Refused {
            refusal: Refusal::Gone(_),
            ..
        }
    )
}

/// Whether nothing that comes later can mend it.
fn is_final(error: &ControlError) -> bool {
    matches!(
        error,
        ControlError::OldSession(_)
            | ControlError::RolledBack { .. }
            | ControlError::TooOld { .. }
            | ControlError::Group(_)
            | ControlError::Store(_)
            | ControlError::Unreadable { .. }
            | ControlError::Refused {
                refusal: Refusal::OldSession { .. } | Refusal::Gone(_) | Refusal::TooOld { .. },
                ..
            }
    )
}
