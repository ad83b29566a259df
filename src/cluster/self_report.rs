//! What a node says of itself when a peer asks: its clock, the moves that it conducts, and which
//! blocks it lacks.
//!
//! Knows nothing of why somebody asks. How far moves are is known to the leader alone, which
//! conducts them; the others ask it when a person looks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::control::{Control, MemberId};
use super::error::Error;
use super::manifests::{Manifests, listed};
use super::moves::{Conducting, Progress};
use super::peer::{Blocking, Caller, Method, PeerError, Refused, Service, Serving};
use crate::model::{BlockId, Incarnation, RingArc, TenantId, TimestampMs};
use crate::runtime::{Clock, Register, Underway};
use crate::store::Store;

mod message {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::derive_partial_eq_without_eq,
        reason = "written by prost from proto/status.proto"
    )]
    include!(concat!(env!("OUT_DIR"), "/cairn.status.v1.rs"));
}

/// A person waits for this answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// So does nobody for this one, which decides what is given up.
const PATIENCE_LONG: Duration = Duration::from_secs(10);
/// Moves of one answer: far more than are under way at a time.
const MOVES_MAX: usize = 4_096;
/// Queries of one answer: far more than threads run.
const QUERIES_MAX: usize = 1_000;

/// Answers [`Method::Status`].
pub(super) struct SelfReport {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) control: Arc<dyn Control>,
    pub(super) conducting: Arc<Conducting>,
    pub(super) store: Arc<Store>,
    pub(super) manifests: Arc<Manifests>,
    pub(super) register: Register,
}

impl Service for SelfReport {
    fn call<'a>(&'a self, _: &'a Caller, _: Method, body: Bytes) -> Serving<'a, Bytes> {
        Box::pin(async move {
            let request = message::StatusRequest::decode(body);
            let request = request.map_err(|error| Refused::Invalid(error.to_string()))?;
            let moves = if request.moves {
                self.conducting.progress(&self.control.state())
            } else {
                Vec::new()
            };
            let missing_blocks = match request.missing_of {
                Some(arc) => self.missing(&arc)?,
                None => Vec::new(),
            };
            let answer = message::StatusAnswer {
                now_ms: self.clock.now().0,
                moves: moves.iter().take(MOVES_MAX).map(write).collect(),
                missing_blocks,
                queries: self.queries(request.queries, request.cancel)?,
            };
            Ok(answer.encode_to_vec().into())
        })
    }
}

impl SelfReport {
    /// Looks at memory and a few entries of a directory.
    fn missing(&self, arc: &message::Arc) -> Result<Vec<Bytes>, Refused> {
        let depth = u8::try_from(arc.depth).ok();
        let arc = depth.and_then(|depth| RingArc::new(arc.prefix, depth));
        let arc = arc.ok_or_else(|| Refused::Invalid("it is no arc of the ring".to_owned()))?;
        let state = self.control.state();
        let partition = state.partition(arc);
        let partition = partition.ok_or_else(|| {
            Refused::NotFound(format!("there is no partition {arc} here: ask again"))
        })?;
        let unavailable = |error: Error| Refused::Unavailable(error.to_string());
        let listed = listed(&self.manifests, arc, partition).map_err(unavailable)?;
        let missing = self.store.missing(arc, &listed.catalog());
        let missing = missing.map_err(|error| unavailable(error.into()))?;
        let ids = missing.iter().map(|entry| entry.id.0.to_be_bytes());
        Ok(ids.map(|id| Bytes::copy_from_slice(&id)).collect())
    }
}

impl SelfReport {
    fn queries(
        &self,
        wanted: bool,
        cancel: Option<message::Cancel>,
    ) -> Result<Option<message::Queries>, Refused> {
        let cancelled = match &cancel {
            Some(cancel) => {
                let tenant = tenant_of(&cancel.tenant)?;
                let id = (cancel.id != 0).then_some(cancel.id);
                self.register.cancel(id, tenant.as_ref())
            }
            None => 0,
        };
        Ok((wanted || cancel.is_some()).then(|| message::Queries {
            running: self.register.list().iter().map(write_query).collect(),
            cancelled: cancelled as u64,
        }))
    }
}

fn tenant_of(name: &str) -> Result<Option<TenantId>, Refused> {
    if name.is_empty() {
        return Ok(None);
    }
    let tenant = TenantId::new(name).map_err(|error| Refused::Invalid(error.to_string()))?;
    Ok(Some(tenant))
}

fn write_query(query: &Underway) -> message::Query {
    message::Query {
        id: query.id,
        tenant: query.tenant.as_str().to_owned(),
        text: query.text.clone(),
        began_ms: query.began.0,
        took_ms: u64::try_from(query.took.as_millis()).unwrap_or(u64::MAX),
        waiting: query.waiting,
        peak_memory_bytes: query.peak_memory_bytes,
        samples_read: query.samples_read,
    }
}

/// `None`: it is none that this node understands.
fn read_query(query: message::Query) -> Option<Underway> {
    Some(Underway {
        id: query.id,
        tenant: TenantId::new(&query.tenant).ok()?,
        text: query.text,
        began: TimestampMs(query.began_ms),
        took: Duration::from_millis(query.took_ms),
        waiting: query.waiting,
        peak_memory_bytes: query.peak_memory_bytes,
        samples_read: query.samples_read,
    })
}

/// Queries called off, and those that run.
pub(super) type Running = (usize, Vec<Underway>);

/// Which queries run on other nodes; with `cancel` after some were called off there.
pub(super) fn ask_for_queries(
    peers: &Blocking,
    nodes: Vec<Incarnation>,
    cancel: Option<(Option<u64>, Option<&TenantId>)>,
) -> Vec<(Incarnation, Result<Running, String>)> {
    let question = message::StatusRequest {
        queries: true,
        cancel: cancel.map(|(id, tenant)| message::Cancel {
            id: id.unwrap_or(0),
            tenant: tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned()),
        }),
        ..message::StatusRequest::default()
    };
    let body = Bytes::from(question.encode_to_vec());
    let asks = nodes.into_iter().map(|node| (node, body.clone()));
    let answers = peers.call_all(asks.collect(), Method::Status, PATIENCE);
    let read = |answer: Result<Bytes, PeerError>| {
        let answer = answer.map_err(|error| error.to_string())?;
        let answer = message::StatusAnswer::decode(answer).map_err(|error| error.to_string())?;
        let queries = answer
            .queries
            .ok_or("its version does not tell of queries")?;
        let cancelled = usize::try_from(queries.cancelled).unwrap_or(usize::MAX);
        let running = queries.running.into_iter().take(QUERIES_MAX);
        Ok((cancelled, running.filter_map(read_query).collect()))
    };
    let answers = answers.into_iter();
    answers.map(|(node, answer)| (node, read(answer))).collect()
}

/// The question for a node's clock.
pub(super) fn time_question() -> Bytes {
    message::StatusRequest::default().encode_to_vec().into()
}

/// What a clock shows, by an answer to that.
pub(super) fn time_answer(answer: Bytes) -> Option<i64> {
    let answer = message::StatusAnswer::decode(answer).ok()?;
    Some(answer.now_ms)
}

/// The moves that the leader conducts, if it says so soon.
pub(super) fn ask_for_moves(peers: &Blocking, leader: Incarnation) -> Option<Vec<Progress>> {
    let question = message::StatusRequest {
        moves: true,
        ..message::StatusRequest::default()
    };
    let asks = vec![(leader, Bytes::from(question.encode_to_vec()))];
    let (_, answer) = peers.call_all(asks, Method::Status, PATIENCE).pop()?;
    let answer = message::StatusAnswer::decode(answer.ok()?).ok()?;
    let moves = answer.moves.into_iter().take(MOVES_MAX);
    Some(moves.filter_map(read).collect())
}

/// Which blocks of a partition a member lacks.
///
/// # Errors
/// When it does not say so.
pub(super) fn ask_for_missing(
    peers: &Blocking,
    member: Incarnation,
    arc: RingArc,
) -> Result<BTreeSet<BlockId>, Error> {
    let question = message::StatusRequest {
        missing_of: Some(message::Arc {
            prefix: arc.prefix(),
            depth: u32::from(arc.depth()),
        }),
        ..message::StatusRequest::default()
    };
    let body = Bytes::from(question.encode_to_vec());
    let asked = peers.call_all(vec![(member, body)], Method::Status, PATIENCE_LONG);
    let garbled = |reason: String| {
        Error::Peer(PeerError::Garbled {
            peer: member.to_string(),
            reason,
        })
    };
    let mut missing = BTreeSet::new();
    for (_, answer) in asked {
        let answer = message::StatusAnswer::decode(answer.map_err(Error::Peer)?);
        let answer = answer.map_err(|error| garbled(error.to_string()))?;
        for id in answer.missing_blocks {
            let bits = <[u8; 16]>::try_from(id.as_ref());
            let bits = bits.map_err(|_| garbled("a block's id is not 16 bytes long".to_owned()))?;
            missing.insert(BlockId(u128::from_be_bytes(bits)));
        }
    }
    Ok(missing)
}

fn write(progress: &Progress) -> message::Progress {
    let member = |member: MemberId| message::Member {
        incarnation: Bytes::copy_from_slice(&member.incarnation.0.to_be_bytes()),
        life: member.life,
    };
    message::Progress {
        arc_prefix: progress.arc.prefix(),
        arc_depth: u32::from(progress.arc.depth()),
        join: progress.join.map(member),
        leave: progress.leave.map(member),
        begun: progress.begun,
        missing_bytes: progress.missing_bytes,
    }
}

/// `None`: it is none that this node understands.
fn read(progress: message::Progress) -> Option<Progress> {
    let member = |member: message::Member| {
        let bits = <[u8; 16]>::try_from(member.incarnation.as_ref()).ok()?;
        Some(MemberId {
            incarnation: Incarnation(u128::from_be_bytes(bits)),
            life: member.life,
        })
    };
    let depth = u8::try_from(progress.arc_depth).ok()?;
    Some(Progress {
        arc: RingArc::new(progress.arc_prefix, depth)?,
        join: progress.join.and_then(member),
        leave: progress.leave.and_then(member),
        begun: progress.begun,
        missing_bytes: progress.missing_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_heard_as_it_was_said() {
        let query = Underway {
            id: 7,
            tenant: TenantId::new("team-a").unwrap(),
            text: "up".to_owned(),
            began: TimestampMs(-5),
            took: Duration::from_millis(1_234),
            waiting: true,
            peak_memory_bytes: 99,
            samples_read: 3,
        };
        assert_eq!(read_query(write_query(&query)), Some(query));
        assert_eq!(read_query(message::Query::default()), None);
        assert!(tenant_of("").unwrap().is_none() && tenant_of("..").is_err());
    }

    #[test]
    fn a_move_is_heard_as_it_was_said() {
        let member = |number: u128| MemberId {
            incarnation: Incarnation(number << 70),
            life: 3,
        };
        for (join, leave, missing_bytes) in [
            (Some(member(1)), Some(member(2)), Some(0)),
            (Some(member(1)), None, None),
            (None, Some(member(2)), Some(u64::MAX)),
        ] {
            let progress = Progress {
                arc: RingArc::new(0xa000_0000, 4).unwrap(),
                join,
                leave,
                begun: join.is_none(),
                missing_bytes,
            };
            assert_eq!(read(write(&progress)), Some(progress));
        }
        let no_arc = message::Progress {
            arc_depth: 300,
            ..message::Progress::default()
        };
        assert_eq!(read(no_arc), None);
    }
}
