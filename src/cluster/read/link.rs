//! The asking side of one query: calls to several peers at once from a thread that blocks, and
//! streams that are read from it. Every wait is cut into slices, so that a query that is called
//! off or out of time ends at once, and everything that was asked for it is dropped with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::answers::take_failure;
use super::batch::{Piece, take_batch};
use super::messages::{State, wire};
use super::metrics::ReadMetrics;
use crate::cluster::peer::{Incoming, Method, PeerError, Refused, Transport};
use crate::model::{Incarnation, LabelSet, Resolution, Samples};
use crate::runtime::{CancelToken, Reservation, wait};
use crate::source::{ReadContext, SeriesStream, SourceError};

/// How long a wait may go on before the query's token is looked at.
const SLICE: Duration = Duration::from_millis(20);

/// Peers, as a query's thread sees them.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) runtime: Handle,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

/// Who answered, and what.
type Answered = (Incarnation, Result<Opened, PeerError>);

/// Why a stream did not open.
enum NotOpened {
    /// Another peer may do better.
    Peer(PeerError),
    /// The query asks for too much, wherever it is asked.
    Query(SourceError),
}

impl From<PeerError> for NotOpened {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}

/// What was asked and what came of it; dropped, what has not come is called off.
pub(super) struct Asking {
    tasks: JoinSet<(Incarnation, Result<Opened, NotOpened>)>,
    runtime: Handle,
    /// How long the next answers may take, all together.
    left: Duration,
}

impl Link {
    /// Waits for a future; `None` when the bound has passed first.
    fn wait<T>(
        runtime: &Handle,
        cancel: &CancelToken,
        left: &mut Duration,
        future: impl Future<Output = T>,
    ) -> Result<Option<T>, SourceError> {
        let mut future = std::pin::pin!(future);
        wait(runtime, async {
            loop {
                cancel.check()?;
                let slice = SLICE.min(*left);
                match tokio::time::timeout(slice, &mut future).await {
                    Ok(value) => return Ok(Some(value)),
                    Err(_) if slice == *left => {
                        *left = Duration::ZERO;
                        return Ok(None);
                    }
                    Err(_) => *left -= slice,
                }
            }
        })
    }

    /// Waits for nothing.
    pub(super) fn pause(&self, cancel: &CancelToken, time: Duration) -> Result<(), SourceError> {
        let mut left = time;
        Self::wait(
            &self.runtime,
            cancel,
            &mut left,
            std::future::pending::<()>(),
        )?;
        Ok(())
    }

    /// Opens streams of several peers at once, each up to its first message that says something.
    /// Without `patience` a peer may take as long as it gives signs of life.
    pub(super) fn open(
        &self,
        asks: Vec<(Incarnation, Bytes)>,
        method: Method,
        patience: Option<Duration>,
        silence: Duration,
    ) -> Asking {
        let mut asking = Asking {
            tasks: JoinSet::new(),
            runtime: self.runtime.clone(),
            left: Duration::ZERO,
        };
        self.open_more(&mut asking, asks, method, patience, silence);
        asking
    }

    /// Opens streams of further peers beside those, with new patience for all.
    pub(super) fn open_more(
        &self,
        asking: &mut Asking,
        asks: Vec<(Incarnation, Bytes)>,
        method: Method,
        patience: Option<Duration>,
        silence: Duration,
    ) {
        for (to, body) in asks {
            let transport = Arc::clone(&self.transport);
            let open = async move {
                let opened = open_one(transport, to, method, body, silence).await;
                (to, opened)
            };
            asking.tasks.spawn_on(open, &self.runtime);
        }
        // The query's own time ends before.
        asking.left = patience.unwrap_or(Duration::from_secs(24 * 60 * 60));
    }
}

impl Asking {
    /// Waits no longer than this for the rest.
    pub(super) fn hurry(&mut self, left: Duration) {
        self.left = self.left.min(left);
    }

    /// The next answer, of whoever it is; `None` when all have answered or the time is up.
    pub(super) fn next(&mut self, cancel: &CancelToken) -> Result<Option<Answered>, SourceError> {
        loop {
            let next = self.tasks.join_next();
            let ended = Link::wait(&self.runtime, cancel, &mut self.left, next)?;
            match ended.flatten() {
                None => return Ok(None),
                Some(Ok((peer, Ok(opened)))) => return Ok(Some((peer, Ok(opened)))),
                Some(Ok((peer, Err(NotOpened::Peer(error))))) => {
                    return Ok(Some((peer, Err(error))));
                }
                Some(Ok((_, Err(NotOpened::Query(error))))) => return Err(error),
                // A bug: its answer is missed like that of a silent peer.
                Some(Err(error)) => tracing::error!(%error, "a call to a peer ended abnormally"),
            }
        }
    }
}

/// An open stream.
pub(super) struct Opened {
    pub(super) state: State,
    pub(super) messages: Incoming,
}

fn garbled(peer: Incarnation, reason: &dyn std::fmt::Display) -> PeerError {
    PeerError::Garbled {
        peer: peer.to_string(),
        reason: reason.to_string(),
    }
}

async fn open_one(
    transport: Arc<dyn Transport>,
    to: Incarnation,
    method: Method,
    body: Bytes,
    silence: Duration,
) -> Result<Opened, NotOpened> {
    let mut messages = transport.stream(to, method, body, silence).await?;
    loop {
        let Some(message) = messages.recv().await.transpose()? else {
            return Err(garbled(to, &"the stream ended before it began").into());
        };
        let part = wire::Part::decode(message).map_err(|error| garbled(to, &error))?;
        if let Some(failure) = part.failure {
            return Err(match take_failure(failure) {
                error @ SourceError::Budget(_) => NotOpened::Query(error),
                error => PeerError::Refused {
                    peer: to.to_string(),
                    refused: Refused::Unavailable(error.to_string()),
                }
                .into(),
            });
        }
        if let Some(state) = part.opened {
            let state = State::of_wire(state).map_err(|error| garbled(to, &error))?;
            if state.member.incarnation != to {
                return Err(garbled(to, &"it says that it is another").into());
            }
            return Ok(Opened { state, messages });
        }
    }
}

/// The parts of a peer's stream, one after the other.
pub(super) struct Parts {
    pub(super) peer: Incarnation,
    runtime: Handle,
    messages: Incoming,
    silence: Duration,
    is_over: bool,
}

impl Parts {
    pub(super) fn new(
        link: &Link,
        peer: Incarnation,
        messages: Incoming,
        silence: Duration,
    ) -> Self {
        Self {
            peer,
            runtime: link.runtime.clone(),
            messages,
            silence,
            is_over: false,
        }
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> SourceError {
        SourceError::Unavailable(format!(
            "the read from peer {} broke off: {reason}: try again",
            self.peer
        ))
    }

    /// The next part that says something; after the end none.
    pub(super) fn next(&mut self, cancel: &CancelToken) -> Result<Option<wire::Part>, SourceError> {
        while !self.is_over {
            let mut left = self.silence;
            let next = self.messages.recv();
            let Some(message) = Link::wait(&self.runtime, cancel, &mut left, next)? else {
                return Err(self.broken(&format!("no sign of it for {:?}", self.silence)));
            };
            let message = match message {
                None => return Err(self.broken(&"it ended without saying so")),
                Some(Err(error)) => return Err(self.broken(&error)),
                Some(Ok(message)) => message,
            };
            let part = wire::Part::decode(message).map_err(|error| self.broken(&error))?;
            if let Some(failure) = part.failure {
                return Err(take_failure(failure));
            }
            self.is_over = part.end.is_some();
            if part != wire::Part::default() {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    pub(super) fn unreadable(&self, error: &dyn std::fmt::Display) -> SourceError {
        self.broken(error)
    }
}

/// The series of a peer's stream.
pub(super) struct RemoteSeries {
    parts: Parts,
    context: ReadContext,
    metrics: ReadMetrics,
    /// Pieces that came and were not handed out.
    pieces: VecDeque<Piece>,
    /// What they are charged for.
    held: Option<Reservation>,
    count: u64,
    /// What the peer says that it has sent.
    promised: Option<u64>,
}

impl RemoteSeries {
    pub(super) fn new(parts: Parts, context: ReadContext, metrics: ReadMetrics) -> Self {
        Self {
            parts,
            context,
            metrics,
            pieces: VecDeque::new(),
            held: None,
            count: 0,
            promised: None,
        }
    }

    /// Gets the next message; `false`: there are no more.
    fn fill(&mut self) -> Result<bool, SourceError> {
        self.held = None;
        let Some(part) = self.parts.next(&self.context.cancel)? else {
            return Ok(false);
        };
        if let Some(batch) = &part.batch {
            let pieces = take_batch(batch).map_err(|error| self.parts.unreadable(&error))?;
            let samples: usize = pieces.iter().map(|piece| piece.samples.len()).sum();
            let wide = u64::try_from(samples).unwrap_or(u64::MAX);
            let folds = pieces.iter();
            let folds = folds.map(|piece| size_of_val(piece.samples.folds.as_slice()));
            let folds = u64::try_from(folds.sum::<usize>()).unwrap_or(u64::MAX);
            let bytes = wide.saturating_mul(16).saturating_add(folds);
            self.held = Some(self.context.budget.reserve(bytes, wide)?);
            self.context.budget.count_read(wide);
            self.metrics.samples(samples);
            self.pieces.extend(pieces);
        }
        if let Some(end) = part.end {
            self.promised = Some(end.count);
            self.context.budget.count_fetched(end.fetched_bytes);
            // One of a later version stands for the coarsest that is known.
            let code = u8::try_from(end.resolution).unwrap_or(u8::MAX);
            let resolution = Resolution::of_code(code).unwrap_or(Resolution::Hour);
            self.context.coarsest.meets(resolution);
            if let Some(partial) = &self.context.partial {
                end.lacks.into_iter().for_each(|lack| partial.lacks(lack));
            }
        }
        Ok(true)
    }
}

impl SeriesStream for RemoteSeries {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        samples.clear();
        self.context.cancel.check()?;
        while self.pieces.is_empty() {
            if !self.fill()? {
                return match self.promised {
                    Some(promised) if promised == self.count => Ok(None),
                    _ => Err(self.parts.unreadable(&"series are missing")),
                };
            }
        }
        let labels = match self.pieces.pop_front() {
            Some(Piece {
                labels: Some(labels),
                samples: first,
            }) => {
                *samples = first;
                labels
            }
            _ => return Err(self.parts.unreadable(&"a piece of no series")),
        };
        self.count += 1;
        // A long series goes on, maybe in the next message.
        loop {
            if self.pieces.is_empty() && self.promised.is_none() && !self.fill()? {
                break;
            }
            match self.pieces.front() {
                Some(piece) if piece.labels.is_none() => {
                    if let Some(piece) = self.pieces.pop_front() {
                        samples.merge(&piece.samples);
                    }
                }
                Some(_) => break,
                None if self.promised.is_some() => break,
                None => {}
            }
        }
        Ok(Some(labels))
    }
}
