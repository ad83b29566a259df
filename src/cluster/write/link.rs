//! The coordinator's connection to one peer: a stream that is opened when it is needed, kept, and
//! opened again.
//!
//! Whoever writes encodes for the stream under the link's lock (`stream.rs`); a task takes the
//! answers. While the stream is being opened requests wait as
//! they are; while the peer is away they fail at once, so that nobody waits for it who has a
//! majority without it. Everything that waits is bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::attempt::{Attempt, deserves_hint};
use super::batch::RoutedBatch;
use super::frame::{decode_answer, pieces};
use super::hints::Hints;
use super::majority::Said;
use super::parts::Ground;
use super::send::{Sent, labels_of};
use super::stream::{Behind, Job, Outbox, Stream};
use crate::cluster::peer::{Duplex, Incoming, Method};
use crate::model::{Incarnation, RingArc};
use crate::runtime::Backoff;

/// Pauses between attempts to reach a peer.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// The same while somebody writes.
const PAUSE_WANTED: Duration = Duration::from_millis(200);
/// How often is looked whether answers still come, and whether there are hints.
const LOOK: Duration = Duration::from_millis(500);

enum Stage {
    /// It is being opened, or will be when somebody wants it.
    Opening(Vec<Job>, usize),
    Open(Box<Stream>),
    /// The last attempt to open it failed.
    Away,
}

/// The connection.
pub(super) struct Link {
    peer: Incarnation,
    ground: Arc<Ground>,
    stage: Mutex<Stage>,
    wanted: Notify,
    hints: Hints,
}

impl Link {
    pub(super) fn new(peer: Incarnation, ground: Arc<Ground>, hints: Hints) -> Self {
        Self {
            peer,
            ground,
            stage: Mutex::new(Stage::Opening(Vec::new(), 0)),
            wanted: Notify::new(),
            hints,
        }
    }

    /// Sends a batch, or fails it at once. What of it lacks a definition is said; `None` when it
    /// is sent later or not at all. When whoever sends tells the sender of samples to define their
    /// series again (`is_told`), they do not count against the peer.
    pub(super) fn send(&self, job: Job, is_told: bool) -> Option<Sent> {
        let mut stage = self.stage.lock();
        match &mut *stage {
            Stage::Opening(jobs, bytes) => {
                if *bytes + job.batch.bytes() > self.ground.settings.peer_bytes_max {
                    drop(stage);
                    self.fail(&job, Said::Slow);
                } else {
                    *bytes += job.batch.bytes();
                    jobs.push(job);
                    self.wanted.notify_one();
                }
                None
            }
            Stage::Open(stream) => {
                if stream.bytes() > self.ground.settings.peer_bytes_max {
                    drop(stage);
                    self.fail(&job, Said::Slow);
                    return None;
                }
                Some(stream.put(&self.ground, job, is_told))
            }
            Stage::Away => {
                drop(stage);
                self.wanted.notify_one();
                self.fail(&job, Said::Unreachable);
                None
            }
        }
    }

    /// Says something in the peer's place.
    fn fail(&self, job: &Job, said: Said) {
        self.ground.metrics.said(said, job.parts.len() as u64);
        if job.attempt.note(job.all(said)) && deserves_hint(said) {
            self.hint(&job.attempt, &job.batch, &self.arcs(job, |_| true));
        }
    }

    fn arcs(&self, job: &Job, is_wanted: impl Fn(usize) -> bool) -> Vec<RingArc> {
        let positions = job.attempt.ring_positions();
        let arc = |(at, (part, _)): (usize, &(usize, u8))| {
            let position = positions.get(*part).filter(|_| is_wanted(at))?;
            job.attempt.table.get(*position).map(|p| p.arc)
        };
        job.parts.iter().enumerate().filter_map(arc).collect()
    }

    /// Keeps what the peer has missed.
    pub(super) fn hint(&self, attempt: &Arc<Attempt>, batch: &RoutedBatch, arcs: &[RingArc]) {
        let ground = &self.ground;
        let labels = |route| labels_of(&ground.routes, ground.replica.as_ref(), route);
        let now = ground.clock.elapsed();
        self.hints.keep(batch, (attempt, arcs), now, &labels);
        self.wanted.notify_one();
    }

    /// Carries everything, until it is dropped.
    pub(super) async fn run(self: Arc<Self>) {
        let chance = Arc::clone(&self.ground.chance);
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
        loop {
            self.wait_until_wanted().await;
            let opening = self.ground.transport.duplex(self.peer, Method::Append);
            let patience = self.ground.settings.connect_patience;
            let why = match tokio::time::timeout(patience, opening).await {
                Ok(Ok(duplex)) => {
                    let behind = self.opened(&duplex);
                    let why = self.carry(duplex, behind).await;
                    self.ground.metrics.streams.dec();
                    if self.closed() {
                        backoff.reset();
                        tracing::info!(peer = %self.peer, error = %why, "an append stream has ended");
                        continue;
                    }
                    why
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no connection was made in time".to_owned(),
            };
            tracing::debug!(peer = %self.peer, error = %why, "a peer takes no samples");
            self.away();
            self.pause(backoff.pause(chance.as_ref())).await;
        }
    }

    /// Waits before the next attempt: less when somebody writes, who will be short without this
    /// peer perhaps.
    async fn pause(&self, pause: Duration) {
        let least = pause.min(PAUSE_WANTED);
        tokio::time::sleep(least).await;
        let rest = pause.saturating_sub(least);
        let _ = tokio::time::timeout(rest, self.wanted.notified()).await;
    }

    async fn wait_until_wanted(&self) {
        loop {
            let wanted = self.wanted.notified();
            match &*self.stage.lock() {
                Stage::Opening(jobs, _) if jobs.is_empty() && self.hints.is_empty() => {}
                _ => return,
            }
            wanted.await;
        }
    }

    /// The stream is open: what waited goes into it.
    fn opened(&self, duplex: &Duplex) -> Behind {
        let (outbox, behind) = Outbox::new(duplex.messages.clone());
        let mut stream = Stream::new(outbox);
        let mut stage = self.stage.lock();
        if let Stage::Opening(jobs, _) = &mut *stage {
            for job in std::mem::take(jobs) {
                stream.put(&self.ground, job, false);
            }
        }
        *stage = Stage::Open(Box::new(stream));
        self.ground.metrics.connects.inc();
        self.ground.metrics.streams.inc();
        behind
    }

    /// The stream is over: whoever waits is told. Whether it has ever answered; then it is opened
    /// again at once.
    fn closed(&self) -> bool {
        let stream = {
            let mut stage = self.stage.lock();
            std::mem::replace(&mut *stage, Stage::Opening(Vec::new(), 0))
        };
        let Stage::Open(stream) = stream else {
            return false;
        };
        let has_answered = stream.answers() > 0;
        for job in stream.into_unanswered() {
            self.fail(&job, Said::Lost);
        }
        has_answered
    }

    fn away(&self) {
        let stage = {
            let mut stage = self.stage.lock();
            std::mem::replace(&mut *stage, Stage::Away)
        };
        if let Stage::Opening(jobs, _) = stage {
            for job in jobs {
                self.fail(&job, Said::Unreachable);
            }
        }
    }

    /// Carries requests there and answers back; why it has ended.
    async fn carry(&self, duplex: Duplex, behind: Behind) -> String {
        let Duplex {
            messages,
            mut answers,
        } = duplex;
        let there = async {
            behind.carry(messages).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            why = self.hear(&mut answers) => why,
            () = there => String::new(),
            () = self.deliver_hints() => String::new(),
        }
    }

    /// Takes answers until the stream is over; why it is.
    async fn hear(&self, answers: &mut Incoming) -> String {
        // One timer for all answers: one for each costs more than the answer does.
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = Duration::ZERO;
        loop {
            let answer = tokio::select! {
                biased;
                answer = answers.recv() => Some(answer),
                _ = look.tick() => None,
            };
            match answer {
                Some(Some(Ok(answer))) => {
                    silent = Duration::ZERO;
                    if let Err(why) = self.answered(answer) {
                        return why;
                    }
                }
                Some(Some(Err(error))) => return error.to_string(),
                Some(None) => return "the peer has closed it".to_owned(),
                None if self.is_waiting() => silent += LOOK,
                None => silent = Duration::ZERO,
            }
            if silent >= self.ground.settings.answer_patience {
                return format!("nothing was answered for {silent:?}");
            }
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(&*self.stage.lock(), Stage::Open(stream) if stream.is_waiting())
    }

    fn answered(&self, answer: Bytes) -> Result<(), String> {
        let answer = decode_answer(answer).map_err(|error| error.to_string())?;
        let together = {
            let mut stage = self.stage.lock();
            let Stage::Open(stream) = &mut *stage else {
                return Ok(());
            };
            stream.answered(&self.ground, &answer)?
        };
        for job in &together.jobs {
            self.told(job, &together.said_of(job, &answer));
        }
        Ok(())
    }

    fn told(&self, job: &Job, said: &[Said]) {
        let all = job.parts.iter().zip(said);
        let all = all.map(|((part, bit), said)| (*part, *bit, *said));
        for (_, _, said) in all.clone() {
            self.ground.metrics.said(said, 1);
        }
        if job.attempt.note(all) {
            let deserves = |at: usize| said.get(at).copied().is_some_and(deserves_hint);
            let arcs = self.arcs(job, deserves);
            if !arcs.is_empty() {
                self.hint(&job.attempt, &job.batch, &arcs);
            }
        }
    }

    /// As long as the peer is there, gives it what it has missed, when it has missed something.
    async fn deliver_hints(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.hints.is_empty() || !self.hints.begin() {
                continue;
            }
            if let Err(why) = self.deliver().await {
                tracing::debug!(peer = %self.peer, error = %why, "hints will be delivered later");
                tokio::time::sleep(PAUSE_LONGEST).await;
            }
        }
    }

    async fn deliver(&self) -> Result<(), String> {
        let ground = &self.ground;
        let patience = ground.settings.answer_patience;
        let opening = ground.transport.duplex(self.peer, Method::Append);
        let duplex = tokio::time::timeout(patience, opening).await;
        let mut duplex = match duplex {
            Ok(Ok(duplex)) => duplex,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no connection was made in time".to_owned()),
        };
        loop {
            let (table, now) = (ground.table.load_full(), ground.clock.elapsed());
            let Some(request) = self.hints.next(self.peer, &table, now) else {
                return Ok(());
            };
            for message in pieces(request) {
                let sent = duplex.messages.send(message).await;
                sent.map_err(|_| "the stream has ended".to_owned())?;
            }
            let answer = match tokio::time::timeout(patience, duplex.answers.recv()).await {
                Ok(Some(Ok(answer))) => answer,
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(None) => return Err("the peer has closed it".to_owned()),
                Err(_) => return Err("no answer in time".to_owned()),
            };
            let answer = decode_answer(answer).map_err(|error| error.to_string())?;
            // What another ring refuses belongs to others now; anything else may go better later.
            let is_done = |said: &Said| matches!(said, Said::Appended | Said::WrongEpoch(_));
            if let Some(said) = answer.outcomes.iter().find(|said| !is_done(said)) {
                return Err(format!("the peer {said}"));
            }
            self.hints.delivered();
        }
    }
}
