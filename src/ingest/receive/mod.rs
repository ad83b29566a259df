//! Requests come in here: one receiver per protocol, and the table of them.
//!
//! A request is decoded on a thread of a bounded pool, in memory that requests use one after the
//! other; until its turn it waits compressed. What it brings is acknowledged when it is durable.

mod admit;
mod answer;
mod batch;
mod intake;
mod negotiate;
mod neighbours;
mod openmetrics;
mod remote_write_v1;
mod remote_write_v2;
mod self_scrape;
mod spelling;
mod usual_sample;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::cluster::{Pending, Writer};
use crate::codec::protobuf::WireError;
use crate::model::{TenantId, TimestampMs};
use crate::runtime::{Chance, Clock, Pool, PoolError, Rush};

use super::decompress::{Encoding, decompress};
use super::error::Error;
use super::known::Known;
use super::metrics::IngestMetrics;
use super::partial_write::PartialWrite;
use super::series_key::SeriesKeys;
use super::settings::IngestSettings;
use intake::{Buffers, Intake, Surroundings, part};
use negotiate::Message;
use remote_write_v1::{self as v1, V1};
use remote_write_v2::{self as v2, OutlineFault, V2};

pub use answer::Answer;
pub use self_scrape::{Exposed, SelfScrape};

/// 2020-01-01: a clock before it was never set.
const CLOCK_BELIEVABLE_FROM: TimestampMs = TimestampMs(1_577_836_800_000);
/// Series, symbols or metadata in one request: their places are kept while it is decoded.
const REQUEST_PARTS_MAX: usize = 1 << 20;
/// Requests that may wait for a thread; their bodies are bounded too.
const WAITING_MAX: usize = 1024;
/// Ways of spelling series that are remembered at most, so that their labels need not be parsed again. Beyond it,
/// ingest still works, and costs more processor time.
const SPELLINGS_MAX: usize = 4_000_000;
/// What each takes, about.
const SPELLING_BYTES: u64 = 38;
/// Memory that a request may leave behind for the next one.
const SCRATCH_BYTES_MAX: usize = 8 << 20;
/// Senders are asked to come back after so many seconds at most, each after its own.
const RETRY_AFTER_MAX_S: u64 = 10;

/// A protocol and where it is spoken.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverRoute {
    /// Its name in metrics and documentation.
    pub name: &'static str,
    /// The paths of its requests, all by POST; each also exists under `/prometheus`.
    pub paths: &'static [&'static str],
    /// The content types that it takes.
    pub content_types: &'static [&'static str],
}

/// All protocols by which samples may arrive.
pub const RECEIVERS: &[ReceiverRoute] = &[ReceiverRoute {
    name: "remote_write",
    paths: &[
        "/api/v1/write",
        "/api/v1/push",
        "/api/prom/push",
        "/api/v1/receive",
    ],
    content_types: &[
        "application/x-protobuf",
        "application/x-protobuf;proto=prometheus.WriteRequest",
        "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    ],
}];

/// The headers of a request that matter here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestHead {
    /// `Content-Type`, as it came.
    pub content_type: Option<String>,
    /// `Content-Encoding`, as it came.
    pub content_encoding: Option<String>,
}

/// Takes writes. Clones are one receiver.
#[derive(Clone)]
pub struct Receiver(Arc<State>);

struct State {
    writer: Writer,
    settings: IngestSettings,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    rush: Rush,
    known: Known,
    metrics: IngestMetrics,
    pool: Pool,
    /// Bytes of the bodies that wait or are being decoded.
    waiting_bytes: AtomicUsize,
    scratch: Mutex<Vec<Scratch>>,
}

/// Memory for decoding one request.
#[derive(Default)]
struct Scratch {
    body: Vec<u8>,
    v1: v1::Outline,
    v2: v2::Outline,
    buffers: Buffers,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

impl Receiver {
    /// A receiver that writes to `writer`, and says in `rush` that it has work to do.
    #[must_use]
    pub fn new(
        writer: Writer,
        settings: IngestSettings,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        rush: Rush,
        registry: &mut Registry,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self(Arc::new(State {
            known: Known::new(SeriesKeys::draw(chance.as_ref()), SPELLINGS_MAX),
            metrics: IngestMetrics::register(registry),
            pool: Pool::new("ingest", cores + 1, WAITING_MAX),
            waiting_bytes: AtomicUsize::new(0),
            scratch: Mutex::new(Vec::new()),
            writer,
            settings,
            clock,
            chance,
            rush,
        }))
    }

    /// The same, with at most so many bytes for spellings of series that are remembered.
    #[must_use]
    pub fn with_spelling_bytes(self, bytes: u64) -> Self {
        let count = usize::try_from(bytes / SPELLING_BYTES).unwrap_or(usize::MAX);
        self.0.known.hold_at_most(count.min(SPELLINGS_MAX));
        self
    }

    /// The largest body that is to be read from a connection; more is answered with
    /// [`Receiver::refuse_too_large`].
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        usize::try_from(self.0.settings.max_recv_msg_size.0).unwrap_or(usize::MAX)
    }

    /// The answer to a request whose body is longer than [`Receiver::body_bytes_max`].
    #[must_use]
    pub fn refuse_too_large(&self, head: &RequestHead) -> Answer {
        let error = self.0.body_too_large("larger".to_owned());
        let message = Message::from_header(head.content_type.as_deref()).ok();
        self.0.failed(message, &error)
    }

    /// Room for a body that is being read; it grows with what has come.
    #[must_use]
    pub fn room(&self) -> BodyRoom {
        BodyRoom {
            state: Arc::clone(&self.0),
            bytes: 0,
        }
    }

    /// The answer to a request whose body does not come, or for which there is no room: the
    /// sender is to try again.
    #[must_use]
    pub fn refuse_for_now(&self, head: &RequestHead, reason: String) -> Answer {
        let message = Message::from_header(head.content_type.as_deref()).ok();
        self.0.failed(message, &Error::Unavailable(reason))
    }

    /// Takes a write of a tenant. It returns when everything that can be stored is durable.
    pub async fn receive(&self, tenant: TenantId, head: RequestHead, body: Bytes) -> Answer {
        let room = self.room();
        self.receive_in(tenant, head, body, room).await
    }

    /// The same for a body that was read into a room.
    pub async fn receive_in(
        &self,
        tenant: TenantId,
        head: RequestHead,
        body: Bytes,
        room: BodyRoom,
    ) -> Answer {
        let state = &self.0;
        let message = match Message::from_header(head.content_type.as_deref()) {
            Ok(message) => message,
            Err(error) => return state.failed(None, &error),
        };
        let started = state.clock.elapsed();
        let body_len = body.len();
        let result = self.take(tenant, message, &head, body, room).await;
        let answer = match &result {
            Ok(write) => answer::taken(message, write),
            Err(error) => state.failed(Some(message), error),
        };
        let took = state.clock.elapsed().saturating_sub(started);
        let metrics = &state.metrics;
        metrics.request(message.name(), answer.status, body_len, took);
        if let Ok(write) = &result {
            metrics.write(write);
        }
        answer
    }

    async fn take(
        &self,
        tenant: TenantId,
        message: Message,
        head: &RequestHead,
        body: Bytes,
        mut room: BodyRoom,
    ) -> Result<PartialWrite, Error> {
        let encoding = Encoding::from_header(head.content_encoding.as_deref())?;
        let state = Arc::clone(&self.0);
        if body.len() > self.body_bytes_max() {
            return Err(state.body_too_large(format!("{} bytes", body.len())));
        }
        if body.is_empty() {
            return Ok(PartialWrite::default());
        }
        room.grow_to(body.len()).map_err(Error::Unavailable)?;
        let hurrying = state.rush.enter();
        let job = move || {
            let (_room, _hurrying) = (room, hurrying);
            state.decode(&tenant, message, encoding, &body)
        };
        let (write, pending) = self.0.pool.run(job).await.map_err(busy)??;
        for batch in pending {
            batch.wait().await.map_err(|error| {
                self.0.known.forget_metadata();
                Error::Unavailable(error.to_string())
            })?;
        }
        Ok(write)
    }
}

fn busy(error: PoolError) -> Error {
    Error::Unavailable(error.to_string())
}

/// Room for a body that is being read or waits; given back when dropped. All together have a
/// bound, however many senders there are and however slow.
pub struct BodyRoom {
    state: Arc<State>,
    bytes: usize,
}

impl fmt::Debug for BodyRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyRoom")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl BodyRoom {
    /// Makes room for so many bytes in all.
    ///
    /// # Errors
    /// When other bodies leave none; the reason is for the sender, who is to try again.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), String> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let limit = usize::try_from(self.state.settings.max_recv_msg_size.0)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        let before = self.state.waiting_bytes.fetch_add(more, Ordering::AcqRel);
        self.bytes += more;
        if before.saturating_add(more) > limit {
            return Err(format!(
                "{before} bytes of writes are waiting already, at most {limit} may: try again later"
            ));
        }
        Ok(())
    }
}

impl Drop for BodyRoom {
    fn drop(&mut self) {
        self.state
            .waiting_bytes
            .fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

type Taken = Result<(PartialWrite, Vec<Pending>), Error>;

impl State {
    fn body_too_large(&self, size: String) -> Error {
        Error::TooLarge {
            what: "the body",
            size,
            limit: format!("{} bytes", self.settings.max_recv_msg_size.0),
            remedy: "send fewer samples per request, or raise ingest.max_recv_msg_size",
        }
    }

    fn failed(&self, message: Option<Message>, error: &Error) -> Answer {
        let jittered = 1 + self.chance.below(RETRY_AFTER_MAX_S);
        answer::failed(message, error, jittered)
    }

    /// Decodes a request and hands it to the store: everything but the wait for the disk.
    fn decode(
        &self,
        tenant: &TenantId,
        message: Message,
        encoding: Encoding,
        body: &[u8],
    ) -> Taken {
        let now = self.clock.now();
        if now < CLOCK_BELIEVABLE_FROM {
            return Err(Error::Unavailable(format!(
                "this node's clock says {now} since 1970, before the year 2020: it was never set, \
                 and no timestamp can be judged by it; set it or start its time synchronisation"
            )));
        }
        self.known.turn_if_due(self.clock.elapsed());
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let result = self.decode_in(&mut scratch, tenant, now, message, encoding, body);
        if result.is_err() {
            self.known.forget_metadata();
        }
        if scratch.body.capacity() <= SCRATCH_BYTES_MAX {
            self.scratch.lock().push(scratch);
        }
        let cache = &mut self.known.cache.lock();
        self.metrics
            .cache(cache.take_tally(), cache.len(), cache.bytes());
        result
    }

    fn decode_in(
        &self,
        scratch: &mut Scratch,
        tenant: &TenantId,
        now: TimestampMs,
        message: Message,
        encoding: Encoding,
        body: &[u8],
    ) -> Taken {
        // Places in a body are 32-bit numbers.
        let limit = self
            .settings
            .max_decompressed_size
            .0
            .min(u64::from(u32::MAX));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let body = decompress(encoding, body, limit, &mut scratch.body)?;
        let around = Surroundings {
            known: &self.known,
            writer: &self.writer,
            settings: &self.settings,
            tenant,
            now,
            message: message.title(),
            body,
        };
        match message {
            Message::V1 => take_v1(around, &mut scratch.v1, &mut scratch.buffers),
            Message::V2 => take_v2(around, &mut scratch.v2, &mut scratch.buffers),
        }
    }
}

/// The store takes histograms of a few times this size: beyond it, no setting can lift the bound.
const BUCKETS_MAX: usize = 20_000;

fn buckets_max(settings: &IngestSettings) -> usize {
    settings.max_native_histogram_buckets.min(BUCKETS_MAX)
}

fn too_many(what: &'static str) -> Error {
    Error::TooLarge {
        what,
        size: "more".to_owned(),
        limit: REQUEST_PARTS_MAX.to_string(),
        remedy: "send fewer samples per request",
    }
}

fn take_v1(around: Surroundings<'_>, outline: &mut v1::Outline, buffers: &mut Buffers) -> Taken {
    let malformed = |error: WireError| Error::protobuf(around.message, error);
    v1::outline(around.body, REQUEST_PARTS_MAX, outline)
        .map_err(malformed)?
        .map_err(|_| too_many("the number of series of a request"))?;
    let spelling = V1 {
        keys: &around.known.keys,
        tenant: around.known.keys.tenant(around.tenant),
        buckets_max: buckets_max(around.settings),
    };
    let mut intake = Intake::new(around, &outline.series, buffers);
    intake.take(&spelling)?;
    for place in &outline.metadata {
        let raw = v1::metadata(part(around.body, *place)).map_err(malformed)?;
        intake.take_metadata(&raw);
    }
    intake.finish(&spelling)
}

fn take_v2(around: Surroundings<'_>, outline: &mut v2::Outline, buffers: &mut Buffers) -> Taken {
    let keys = &around.known.keys;
    v2::outline(around.body, REQUEST_PARTS_MAX, keys, outline)
        .map_err(|error| Error::protobuf(around.message, error))?
        .map_err(|fault| match fault {
            OutlineFault::TooMany(what) => too_many(what),
            OutlineFault::FirstSymbol => Error::Malformed {
                what: around.message,
                problem: "its first symbol is not the empty text".to_owned(),
            },
        })?;
    let spelling = V2 {
        keys,
        tenant: keys.tenant(around.tenant),
        body: around.body,
        symbols: &outline.symbols,
        metadata_salt: around.known.salt(),
        buckets_max: buckets_max(around.settings),
        last: Cell::default(),
    };
    let mut intake = Intake::new(around, &outline.series, buffers);
    intake.take(&spelling)?;
    intake.finish(&spelling)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::test_messages;
