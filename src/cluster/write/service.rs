//! The replica's side: requests of append streams into the local head, and what to say to them.
//!
//! A request is decoded in the order of its stream and appended at once; the wait for the disk is
//! its own, so answers come in any order. Epochs are compared, and the log position is taken, in
//! one step of the gate. A replica refuses for epoch, disk, memory or readiness alone: what a
//! coordinator has let through, it takes.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::frame::{
    Answer, Assembly, Decoded, Decoder, FrameError, Named, Outcome, Request, decode_request,
    encode_answer,
};
use super::gate::{Gate, Refusing, Verdict};
use super::majority::Said;
use super::metrics::WriteMetrics;
use super::replica::Replica;
use super::routing::Place;
use super::settings::WriteSettings;
use crate::cluster::peer::{Caller, Incoming, Method, Outgoing, Refused, Service, Serving};
use crate::model::{LabelSet, RingArc, TenantId};
use crate::runtime::{Pool, Rush};
use crate::store::{AppendBatch, SeriesId};

/// Requests of all streams that may wait for a thread. Each stream has one there at most.
const WAITING_MAX: usize = 4096;

/// What a request may be at most that is appended without handing it to another thread: about two
/// milliseconds' work, and what a coordinator sends together when its senders bring 5,000 samples.
const QUICK_BYTES_MAX: usize = 64 << 10;
const QUICK_FLOATS_MAX: usize = 16 << 10;

/// What an id stands for whose series could not be registered.
const NOBODY: SeriesId = SeriesId::foreign(u32::MAX, 0);

/// Answers append streams.
pub struct AppendService(Arc<Inner>);

impl std::fmt::Debug for AppendService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AppendService")
    }
}

struct Inner {
    replica: Arc<dyn Replica>,
    gate: Arc<Gate>,
    pool: Pool,
    settings: WriteSettings,
    metrics: WriteMetrics,
    rush: Rush,
}

impl AppendService {
    /// Takes what peers send into a replica, through its gate, and says in `rush` that it does. To
    /// be entered for [`Method::Append`].
    #[must_use]
    pub fn new(
        replica: Arc<dyn Replica>,
        gate: Arc<Gate>,
        settings: WriteSettings,
        metrics: WriteMetrics,
        rush: Rush,
    ) -> Self {
        Self(Arc::new(Inner {
            pool: Pool::new("append", settings.appending, WAITING_MAX),
            replica,
            gate,
            settings,
            metrics,
            rush,
        }))
    }
}

impl Service for AppendService {
    fn duplex<'a>(
        &'a self,
        from: &'a Caller,
        _: Method,
        messages: Incoming,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let ended = serve(inner, messages, answers).await;
            if let Err(reason) = &ended {
                tracing::info!(peer = %from.incarnation, error = %reason, "an append stream is ended");
            }
            ended
        })
    }
}

/// A request that is decoded.
struct Arrived {
    number: u64,
    partitions: Vec<Named>,
    decoded: Decoded,
}

/// A request that was appended, as far as it could be.
struct Taken {
    /// The log position that must be durable; `None`: nothing was taken.
    position: Option<u64>,
    answer: Answer,
}

/// Serves one stream: what was taken is answered in its order, once it is durable.
async fn serve(inner: Arc<Inner>, messages: Incoming, answers: Outgoing) -> Result<(), Refused> {
    let (in_order, waiting) = mpsc::channel(inner.settings.stream_requests_max);
    tokio::select! {
        biased;
        ended = take_all(&inner, messages, in_order, &answers) => ended,
        () = answer_all(&inner, waiting, &answers) => Ok(()),
    }
}

/// Answers what was taken. One task does this and the taking: a task for each request would be
/// woken on another thread most times.
async fn answer_all(inner: &Inner, mut waiting: mpsc::Receiver<Taken>, answers: &Outgoing) {
    while let Some(taken) = waiting.recv().await {
        let answer = inner.durable(taken).await;
        // Whoever asked is gone: the other half hears of it.
        let _ = answers.send(encode_answer(&answer)).await;
    }
}

async fn take_all(
    inner: &Arc<Inner>,
    mut messages: Incoming,
    in_order: mpsc::Sender<Taken>,
    answers: &Outgoing,
) -> Result<(), Refused> {
    let unreadable = |error: FrameError| {
        inner.metrics.unreadable.inc();
        Refused::Invalid(error.to_string())
    };
    let mut assembly = Assembly::default();
    let mut decoder = Decoder::default();
    // Those that wait for a ring. Dropped, it ends all of them.
    let mut under_way: JoinSet<()> = JoinSet::new();
    loop {
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= inner.settings.stream_requests_max {
            under_way.join_next().await;
        }
        let message = match messages.recv().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(Refused::Unavailable(error.to_string())),
            None => return Ok(()),
        };
        inner.metrics.received_bytes.inc_by(message.len() as u64);
        let Some(request) = assembly.take(message).map_err(unreadable)? else {
            continue;
        };
        let request = decode_request(request).map_err(unreadable)?;
        let hurrying = inner.rush.enter();
        let begun = if inner.is_quick(&request) {
            inner.begin(&mut decoder, request)
        } else {
            let job = {
                let inner = Arc::clone(inner);
                let mut decoder = std::mem::take(&mut decoder);
                move || {
                    let begun = inner.begin(&mut decoder, request);
                    (decoder, begun)
                }
            };
            let busy = |error: crate::runtime::PoolError| Refused::Unavailable(error.to_string());
            let (back, begun) = inner.pool.run(job).await.map_err(busy)?;
            decoder = back;
            begun
        };
        drop(hurrying);
        match begun.map_err(unreadable)? {
            // The receiver lives as long as this does.
            Begun::Taken(taken) => drop(in_order.send(taken).await),
            Begun::Ahead(arrived) => {
                let (inner, answers) = (Arc::clone(inner), answers.clone());
                under_way.spawn(async move {
                    let taken = inner.append_later(arrived).await;
                    let answer = inner.durable(taken).await;
                    // Whoever asked is gone.
                    let _ = answers.send(encode_answer(&answer)).await;
                });
            }
        }
    }
}

/// A request after its first step.
enum Begun {
    Taken(Taken),
    /// It is of a ring that this node has not heard of yet.
    Ahead(Box<Arrived>),
}

impl Inner {
    /// Decodes a request and appends it, unless its ring is ahead.
    fn begin(&self, decoder: &mut Decoder, request: Request) -> Result<Begun, FrameError> {
        let Request {
            number,
            partitions,
            columns,
            ..
        } = request;
        let register = |tenant: &TenantId, labels: &LabelSet| {
            self.replica
                .register_taken(tenant, labels)
                .unwrap_or(NOBODY)
        };
        let decoded = decoder.decode(&columns, register)?;
        let samples = decoded.floats.len() + decoded.others.len();
        self.metrics.received_samples.inc_by(samples as u64);
        let arrived = Box::new(Arrived {
            number,
            partitions,
            decoded,
        });
        Ok(match self.append(&arrived, true) {
            Some(taken) => {
                decoder.reuse(arrived.decoded);
                Begun::Taken(taken)
            }
            None => Begun::Ahead(arrived),
        })
    }

    /// Whether a request is decoded and appended at once by the task that reads the stream, which
    /// must not wait: it is small, and the head has room. Handing it to another thread and back
    /// costs more than most requests do.
    fn is_quick(&self, request: &Request) -> bool {
        request.columns.len() <= QUICK_BYTES_MAX
            && request.columns.floats_count() <= QUICK_FLOATS_MAX
            && !self.replica.is_pressed()
    }

    /// Waits for the disk.
    async fn durable(&self, mut taken: Taken) -> Answer {
        if let Some(position) = taken.position
            && self.replica.durable(position).await.is_err()
        {
            for outcome in &mut taken.answer.outcomes {
                if *outcome == Said::Appended {
                    *outcome = Said::Refused(Refusing::NotReady);
                }
            }
        }
        taken.answer
    }

    /// Waits until this node has heard of the ring of a request, not for long, and appends it.
    async fn append_later(self: &Arc<Self>, arrived: Box<Arrived>) -> Taken {
        let mut changes = self.gate.changes();
        let heard = async {
            loop {
                if !self.is_ahead(&arrived.partitions) || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(self.settings.ring_patience, heard).await;
        let (number, partitions) = (arrived.number, arrived.partitions.len());
        let inner = Arc::clone(self);
        let job = move || inner.append(&arrived, false);
        let taken = self.pool.run(job).await.ok().flatten();
        taken.unwrap_or_else(|| nothing(number, partitions, Said::Behind))
    }

    fn is_ahead(&self, named: &[Named]) -> bool {
        let inside = self.gate.enter_as_replica();
        let mut named = named.iter();
        named.any(|named| inside.verdict(named.arc, named.epoch) == Verdict::Ahead)
    }

    /// Appends what the gate lets in. `None`: some of it is ahead, and there is time to wait.
    fn append(&self, arrived: &Arrived, may_wait: bool) -> Option<Taken> {
        let inside = self.gate.enter_as_replica();
        let (number, named) = (arrived.number, &arrived.partitions);
        if let Some((why, _)) = inside.refusing() {
            return Some(nothing(number, named.len(), Said::Refused(why)));
        }
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(named.len());
        for partition in named {
            outcomes.push(match inside.verdict(partition.arc, partition.epoch) {
                Verdict::Taken => Said::Appended,
                Verdict::WrongEpoch(mine) => Said::WrongEpoch(mine),
                Verdict::Ahead if may_wait => return None,
                Verdict::Ahead => Said::Behind,
            });
        }
        let chosen = Chosen::new(named, &outcomes);
        let mut undefined = Vec::new();
        let position = chosen.append(self.replica.as_ref(), &arrived.decoded, |id, place| {
            undefined.push(id);
            if let Some(outcome) = chosen.of(place).and_then(|at| outcomes.get_mut(at)) {
                *outcome = Said::Undefined;
            }
        });
        drop(inside);
        undefined.sort_unstable();
        undefined.dedup();
        let position = match position {
            Ok(position) => Some(position),
            Err(error) => {
                tracing::warn!(%error, "samples of a peer could not be appended");
                for outcome in &mut outcomes {
                    if *outcome == Said::Appended {
                        *outcome = Said::Refused(Refusing::NotReady);
                    }
                }
                None
            }
        };
        Some(Taken {
            position,
            answer: Answer {
                number,
                outcomes,
                undefined,
            },
        })
    }
}

fn nothing(number: u64, partitions: usize, said: Said) -> Taken {
    Taken {
        position: None,
        answer: Answer {
            number,
            outcomes: vec![said; partitions],
            undefined: Vec::new(),
        },
    }
}

/// The partitions of a request that are taken, to be found by place.
struct Chosen {
    /// First place, last place, position in the request; in order.
    arcs: Vec<(Place, Place, usize)>,
}

impl Chosen {
    fn new(named: &[Named], outcomes: &[Outcome]) -> Self {
        let all = named.iter().zip(outcomes).enumerate();
        let taken = all.filter(|(_, (_, outcome))| **outcome == Said::Appended);
        let mut arcs: Vec<(Place, Place, usize)> = taken
            .map(|(at, (partition, _))| (partition.arc.prefix(), last_place(partition.arc), at))
            .collect();
        arcs.sort_unstable();
        // Neighbours make one, as far as being taken goes: usually all of them.
        Self { arcs }
    }

    /// The partition of the request that is taken and has a place.
    #[inline]
    fn of(&self, place: Place) -> Option<usize> {
        let after = self.arcs.partition_point(|(first, _, _)| *first <= place);
        let (_, last, at) = self.arcs.get(after.checked_sub(1)?)?;
        (place <= *last).then_some(*at)
    }

    /// Every place is in one of them.
    fn is_everything(&self) -> bool {
        let mut next = Some(0u32);
        for (first, last, _) in &self.arcs {
            if next != Some(*first) {
                return false;
            }
            next = last.checked_add(1);
        }
        next.is_none()
    }

    /// Appends what lies in them; the log position. What the head has forgotten is named.
    fn append(
        &self,
        replica: &dyn Replica,
        decoded: &Decoded,
        mut undefined: impl FnMut(u32, Place),
    ) -> Result<u64, crate::store::Error> {
        let is_all = self.is_everything();
        let goes = |place: Place| is_all || self.of(place).is_some();
        let kept: Vec<usize>;
        let floats_of_some;
        let floats = if is_all || decoded.float_places.iter().all(|place| goes(*place)) {
            kept = Vec::new();
            decoded.floats.as_slice()
        } else {
            let places = decoded.float_places.iter().enumerate();
            kept = places
                .filter(|(_, place)| goes(**place))
                .map(|(at, _)| at)
                .collect();
            let chosen = kept
                .iter()
                .filter_map(|at| decoded.floats.get(*at).copied());
            floats_of_some = chosen.collect::<Vec<_>>();
            floats_of_some.as_slice()
        };
        let others: Vec<_> = decoded.others.iter().filter(|o| goes(o.place)).collect();
        let exemplars: Vec<_> = decoded.exemplars.iter().filter(|e| goes(e.place)).collect();
        let metadata = decoded.metadata.iter().filter(|m| goes(m.place));
        let batch_others: Vec<_> = others.iter().map(|o| o.what.clone()).collect();
        let batch_exemplars: Vec<_> = exemplars.iter().map(|e| e.what.clone()).collect();
        let batch_metadata: Vec<_> = metadata.map(|m| m.what.clone()).collect();
        let appended = replica.append(&AppendBatch {
            floats,
            others: &batch_others,
            metadata: &batch_metadata,
            exemplars: &batch_exemplars,
        })?;
        for at in &appended.stale_floats {
            let at = *at as usize;
            let at = if kept.is_empty() {
                Some(at)
            } else {
                kept.get(at).copied()
            };
            let ids = at.and_then(|at| {
                let id = decoded.float_ids.get(at)?;
                Some((*id, *decoded.float_places.get(at)?))
            });
            if let Some((id, place)) = ids {
                undefined(id, place);
            }
        }
        for other in appended
            .stale_others
            .iter()
            .filter_map(|at| others.get(*at as usize))
        {
            undefined(other.id, other.place);
        }
        let stale = appended.stale_exemplars.iter();
        for exemplar in stale.filter_map(|at| exemplars.get(*at as usize)) {
            undefined(exemplar.id, exemplar.place);
        }
        Ok(appended.position)
    }
}

fn last_place(arc: RingArc) -> Place {
    let below = u32::MAX.checked_shr(u32::from(arc.depth())).unwrap_or(0);
    arc.prefix() | below
}
