//! Who a node is, and what it remembers of the one who asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::task::JoinSet;

use super::decision::Decision;
use super::sessions::Position;
use super::wire::{decode, messages as pb, read_addresses, read_incarnation, wide};
use crate::cluster::control::command::{ClusterId, Session};
use crate::cluster::control::wire_parts::{WireError, read_wide};
use crate::cluster::peer::{Method, PeerError, Transport};
use crate::model::Incarnation;

/// How a node answers to "who are you?".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// What people call it.
    pub name: String,
    /// What it is.
    pub incarnation: Incarnation,
    /// The cluster it belongs to.
    pub cluster: Option<ClusterId>,
    /// Its session.
    pub session: Session,
    /// The version of its program.
    pub version: String,
    /// The highest feature level that it understands.
    pub feature_level_max: u32,
    /// Where it is reached.
    pub addresses: Vec<String>,
    /// What fails together with it.
    pub zone: String,
    /// How far it is.
    pub position: Position,
    /// Commands that it has applied.
    pub applied: u64,
    /// What it remembers of the asker, from before.
    pub remembered: Option<Position>,
    /// The founding that it has agreed to.
    pub(super) agreed: Option<Decision>,
}

impl From<&Greeting> for pb::HelloAnswer {
    fn from(greeting: &Greeting) -> Self {
        Self {
            name: greeting.name.clone(),
            incarnation: wide(greeting.incarnation.0),
            cluster: greeting.cluster.map_or_else(Bytes::new, |id| wide(id.0)),
            starts: greeting.session.starts,
            nonce: wide(greeting.session.nonce),
            version: greeting.version.clone(),
            feature_level: greeting.feature_level_max,
            addresses: greeting.addresses.clone(),
            zone: greeting.zone.clone(),
            position: Some(greeting.position.into()),
            applied: greeting.applied,
            remembered: greeting.remembered.map(Into::into),
            agreed: greeting.agreed.as_ref().map(Into::into),
        }
    }
}

impl pb::HelloAnswer {
    fn read(self) -> Result<Greeting, WireError> {
        let cluster = (!self.cluster.is_empty()).then(|| read_wide(&self.cluster));
        Ok(Greeting {
            name: self.name,
            incarnation: read_incarnation(&self.incarnation)?,
            cluster: cluster.transpose()?.map(ClusterId),
            session: Session {
                starts: self.starts,
                nonce: read_wide(&self.nonce)?,
            },
            version: self.version,
            feature_level_max: self.feature_level,
            addresses: read_addresses(self.addresses)?,
            zone: self.zone,
            position: self.position.map(Into::into).unwrap_or_default(),
            applied: self.applied,
            remembered: self.remembered.map(Into::into),
            agreed: self.agreed.map(pb::Founding::read).transpose()?,
        })
    }
}

/// Where a question goes.
#[derive(Clone, Debug)]
pub(super) enum To {
    /// To a node.
    Node(Incarnation),
    /// To whoever listens there.
    Address(String),
}

/// Asks many nodes at once who they are, and how far this one was as they remember it.
pub(super) async fn ask(
    transport: &Arc<dyn Transport>,
    to: Vec<To>,
    position: Position,
    patience: Duration,
) -> Vec<(To, Result<Greeting, PeerError>)> {
    let request = pb::HelloRequest {
        position: Some(position.into()),
    };
    let body = Bytes::from(request.encode_to_vec());
    let mut asked = JoinSet::new();
    for to in to {
        let (transport, body) = (Arc::clone(transport), body.clone());
        asked.spawn(async move {
            let answer = async {
                match &to {
                    To::Node(node) => transport.call(*node, Method::Hello, body, patience).await,
                    To::Address(at) => transport.call_at(at, Method::Hello, body, patience).await,
                }
            };
            let answer = tokio::time::timeout(patience, answer).await;
            let peer = match &to {
                To::Node(node) => node.to_string(),
                To::Address(at) => at.clone(),
            };
            let read = match answer {
                Ok(Ok(answer)) => decode::<pb::HelloAnswer>(answer, "an answer to hello")
                    .and_then(pb::HelloAnswer::read)
                    .map_err(|error| PeerError::Garbled {
                        peer,
                        reason: error.to_string(),
                    }),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(PeerError::TimedOut {
                    peer,
                    method: Method::Hello.name(),
                    ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
                }),
            };
            (to, read)
        });
    }
    let mut answers = Vec::with_capacity(asked.len());
    while let Some(answer) = asked.join_next().await {
        answers.extend(answer);
    }
    answers
}
