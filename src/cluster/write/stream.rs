//! An open append stream, at the coordinator's end: what was sent and is not answered, and what
//! goes with the next message.
//!
//! While everything is answered a batch goes at once. Else it waits for the answer, together with
//! what comes meanwhile, and all of it goes as one request: what a replica gets while its log
//! commits waits for the commit after that anyhow, so this delays by a way to the peer at most,
//! and a request costs both sides more than some thousand samples do. What is large goes at once,
//! so a peer that answers slowly is not sent less (the rule of Nagle, RFC 896).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::attempt::Attempt;
use super::batch::RoutedBatch;
use super::frame::{Answer, Encoder, FLOATS_MAX, Named, OTHERS_MAX, Purpose, Request, pieces};
use super::majority::Said;
use super::parts::Ground;
use super::send::{Sent, Wanted, encode, labels_of};
use crate::cluster::peer::Outgoing;

/// Batches with so many floats, or so many of anything else, do not wait for others.
const FLOATS_TOGETHER: usize = 8 << 10;
const OTHERS_TOGETHER: usize = 1 << 10;

/// A batch for one peer.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) attempt: Arc<Attempt>,
    pub(super) batch: Arc<RoutedBatch>,
    /// Which parts of the attempt, and the peer's bit in each.
    pub(super) parts: Vec<(usize, u8)>,
}

impl Job {
    /// The same said of all its parts.
    pub(super) fn all(&self, said: Said) -> impl Iterator<Item = (usize, u8, Said)> {
        self.parts
            .iter()
            .map(move |(part, bit)| (*part, *bit, said))
    }

    /// Where its parts are in the ring, in their order.
    fn positions(&self) -> impl Iterator<Item = usize> {
        let positions = self.attempt.ring_positions();
        let parts = self.parts.iter();
        parts.filter_map(|(part, _)| positions.get(*part).copied())
    }
}

/// Batches that make one request: all of one ring.
#[derive(Debug, Default)]
pub(super) struct Together {
    pub(super) jobs: Vec<Job>,
    /// Positions in the ring of the partitions that they name, rising.
    positions: Vec<usize>,
    floats: usize,
    others: usize,
    /// Bytes that it counts while it waits.
    bytes: usize,
}

impl Together {
    /// Whether a batch can join: under the same ring, and with room for it.
    fn has_room(&self, job: &Job) -> bool {
        let is_same = |first: &Job| Arc::ptr_eq(&first.attempt.table, &job.attempt.table);
        self.jobs.first().is_none_or(is_same)
            && self.floats + job.batch.floats.len() <= FLOATS_MAX
            && self.others + job.batch.others_len() <= OTHERS_MAX
    }

    const fn is_large(&self) -> bool {
        self.floats >= FLOATS_TOGETHER || self.others >= OTHERS_TOGETHER
    }

    fn add(&mut self, job: Job) {
        self.floats += job.batch.floats.len();
        self.others += job.batch.others_len();
        self.bytes += job.batch.bytes();
        self.positions.extend(job.positions());
        self.jobs.push(job);
    }

    /// The partitions, each once; answers have their order.
    fn named(&mut self) -> Vec<Named> {
        self.positions.sort_unstable();
        self.positions.dedup();
        let table = self.jobs.first().map(|job| &job.attempt.table);
        let partition = |at: &usize| {
            let partition = table?.get(*at)?;
            Some(Named {
                arc: partition.arc,
                epoch: partition.epoch,
            })
        };
        self.positions.iter().filter_map(partition).collect()
    }

    /// What an answer says of the parts of one of its batches, in their order.
    pub(super) fn said_of(&self, job: &Job, answer: &Answer) -> Vec<Said> {
        let outcome = |position: usize| {
            let at = self.positions.binary_search(&position).ok()?;
            answer.outcomes.get(at).copied()
        };
        let outcomes = job.positions().map(outcome);
        outcomes.map(|said| said.unwrap_or(Said::Garbled)).collect()
    }
}

/// Where messages go: to the transport at once, as long as it takes them and none is behind.
pub(super) struct Outbox {
    direct: Outgoing,
    queue: mpsc::UnboundedSender<Bytes>,
    behind: Arc<AtomicUsize>,
}

/// The messages that the transport did not take at once.
pub(super) struct Behind {
    queue: mpsc::UnboundedReceiver<Bytes>,
    count: Arc<AtomicUsize>,
}

impl Outbox {
    pub(super) fn new(direct: Outgoing) -> (Self, Behind) {
        let (queue, queued) = mpsc::unbounded_channel();
        let behind = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&behind);
        let outbox = Self {
            direct,
            queue,
            behind,
        };
        let behind = Behind {
            queue: queued,
            count,
        };
        (outbox, behind)
    }

    /// When nobody takes it, the stream is over, and what waits will be told.
    fn send(&self, mut message: Bytes) {
        if self.behind.load(Ordering::Acquire) == 0 {
            match self.direct.try_send(message) {
                Ok(()) => return,
                Err(
                    mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
                ) => {
                    message = back;
                }
            }
        }
        self.behind.fetch_add(1, Ordering::AcqRel);
        let _ = self.queue.send(message);
    }
}

impl Behind {
    /// Carries them, until the stream is over.
    pub(super) async fn carry(mut self, messages: Outgoing) {
        while let Some(message) = self.queue.recv().await {
            if messages.send(message).await.is_err() {
                // The answers say why.
                return;
            }
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// An open stream.
pub(super) struct Stream {
    encoder: Encoder,
    outbox: Outbox,
    next: u64,
    waiting: HashMap<u64, Together>,
    /// What the encoder has, and goes with the next message.
    collected: Together,
    bytes: usize,
    /// Answers so far: a stream that never answered was none.
    answers: u64,
}

impl Stream {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self {
            encoder: Encoder::default(),
            outbox,
            next: 0,
            waiting: HashMap::new(),
            collected: Together::default(),
            bytes: 0,
            answers: 0,
        }
    }

    /// Bytes of what was not answered yet.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn answers(&self) -> u64 {
        self.answers
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Encodes a batch, which goes now or with the next message. What of it lacks a definition is
    /// said; unless whoever sent it is told (`is_told`), it counts against the peer.
    pub(super) fn put(&mut self, ground: &Ground, job: Job, is_told: bool) -> Sent {
        if !self.collected.has_room(&job) {
            self.flush(ground);
        }
        if self.collected.jobs.is_empty() {
            self.encoder.begin(ground.clock.elapsed().as_secs() / 60);
        }
        let wanted = Wanted::new(&job.attempt, job.parts.iter().map(|(part, _)| *part));
        let labels = |route| labels_of(&ground.routes, ground.replica.as_ref(), route);
        let encoder = &mut self.encoder;
        let sent = encode(encoder, &job.batch, &job.attempt, &wanted, &labels);
        ground.metrics.sent_samples.inc_by(sent.items);
        if !is_told && !sent.undefined.is_empty() {
            let parts = job.parts.iter();
            let lost = parts.filter(|(part, _)| sent.undefined.binary_search(part).is_ok());
            let lost = lost.map(|(part, bit)| (*part, *bit, Said::Undefined));
            job.attempt.note(lost);
        }
        // It is held until the answer, and for less of it than all the same.
        self.bytes += job.batch.bytes();
        self.collected.add(job);
        if self.waiting.is_empty() || self.collected.is_large() {
            self.flush(ground);
        }
        sent
    }

    /// Sends what was collected.
    fn flush(&mut self, ground: &Ground) {
        let mut together = std::mem::take(&mut self.collected);
        if together.jobs.is_empty() {
            return;
        }
        let columns = self.encoder.finish();
        let definitions = columns.definitions_len() as u64;
        ground.metrics.sent_definitions.inc_by(definitions);
        ground.metrics.sent_requests.inc();
        self.next += 1;
        let messages = pieces(Request {
            number: self.next,
            purpose: Purpose::CLIENT,
            partitions: together.named(),
            columns,
        });
        let bytes = messages.iter().map(Bytes::len).sum::<usize>();
        ground.metrics.sent_bytes.inc_by(bytes as u64);
        self.bytes += bytes;
        together.bytes += bytes;
        self.waiting.insert(self.next, together);
        for message in messages {
            self.outbox.send(message);
        }
    }

    /// Takes an answer; the batches that it is about.
    ///
    /// # Errors
    /// When it answers nothing that was asked: the stream is not to be relied on.
    pub(super) fn answered(
        &mut self,
        ground: &Ground,
        answer: &Answer,
    ) -> Result<Together, String> {
        self.answers += 1;
        self.encoder.undefined(&answer.undefined);
        let together = self.waiting.remove(&answer.number);
        let together = together.ok_or("an answer to nothing that was asked")?;
        self.bytes = self.bytes.saturating_sub(together.bytes);
        if self.waiting.is_empty() {
            self.flush(ground);
        }
        Ok(together)
    }

    /// Everything that was not answered, in its order, sent or not.
    pub(super) fn into_unanswered(mut self) -> impl Iterator<Item = Job> {
        let mut numbers: Vec<u64> = self.waiting.keys().copied().collect();
        numbers.sort_unstable();
        let mut all = Vec::new();
        for number in numbers {
            all.extend(self.waiting.remove(&number));
        }
        all.push(self.collected);
        all.into_iter().flat_map(|together| together.jobs)
    }
}
