//! The answering side of reads: what this node holds, its series, its names.
//!
//! Work on the store is done in pieces on a bounded pool; a read whose caller does not take its
//! messages holds no thread, so that two nodes that read from each other cannot wait for each
//! other. Dropped by its caller, it ends at the next series.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::Semaphore;

use super::answers::{put_exemplars, put_failure, put_family, put_pairs};
use super::batch::BatchWriter;
use super::effort::Effort;
use super::messages::{Asked, NamesRequest, SelectRequest, State, StateRequest, Unreadable, wire};
use super::metrics::ReadMetrics;
use super::settings::ReadSettings;
use super::view::{Holder, Names, Viewed};
use crate::cluster::control::Control;
use crate::cluster::peer::{Caller, Method, Outgoing, Refused, Service, Services, Serving};
use crate::model::{Incarnation, Samples};
use crate::runtime::{CancelToken, Clock, Pool, PoolError, Rush, SharedBudget, SystemClock, cores};
use crate::source::{Coarsest, Partial, ReadContext, SeriesStream, Source, SourceError};
use crate::store::Store;

/// States that wait for a thread; more than this many and the node is overloaded.
const STATES_WAITING_MAX: usize = 1024;
/// A caller may know an epoch that has not come here yet: the control log has so long to bring it.
const EPOCH_WAIT: Duration = Duration::from_millis(500);
const EPOCH_LOOK: Duration = Duration::from_millis(10);
/// Texts of one message.
const TEXT_BYTES: usize = 1 << 18;

/// Answers `ReadState`, `Select` and `Names`.
pub struct ReadService {
    holder: Holder,
    /// States are small and are never behind a select.
    states: Pool,
    selects: Pool,
    open: Arc<Semaphore>,
    memory: SharedBudget,
    settings: ReadSettings,
    metrics: ReadMetrics,
    rush: Rush,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ReadService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadService")
    }
}

/// Calls work off when its future is dropped.
struct CallOff(CancelToken);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn invalid(error: Unreadable) -> Refused {
    Refused::Invalid(error.to_string())
}

fn unavailable(error: &dyn std::fmt::Display) -> Refused {
    Refused::Unavailable(error.to_string())
}

/// One message of an answer.
type Sending = Result<(), Refused>;

async fn send(answers: &Outgoing, part: &wire::Part) -> Sending {
    let bytes = Bytes::from(part.encode_to_vec());
    let sent = answers.send(bytes).await;
    sent.map_err(|_| Refused::Unavailable("nobody listens any more".to_owned()))
}

impl ReadService {
    /// The service of a node. `run` is a number that no other start of this node has, such as the
    /// session's nonce.
    #[must_use]
    pub fn new(
        control: Arc<dyn Control>,
        store: Arc<Store>,
        me: Incarnation,
        run: u64,
        settings: ReadSettings,
        metrics: ReadMetrics,
    ) -> Self {
        Self {
            holder: Holder {
                control,
                store,
                me,
                run,
            },
            states: Pool::new("states of reads", settings.running_max, STATES_WAITING_MAX),
            selects: Pool::new("reads of peers", settings.running_max, settings.open_max),
            open: Arc::new(Semaphore::new(settings.open_max)),
            memory: SharedBudget::new(settings.together_bytes),
            settings,
            metrics,
            rush: Rush::new(cores()),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Enters a service into the table of a node. Long reads stand back while there is a rush.
    pub fn enter(mut self, services: &Services, rush: &Rush, clock: &Arc<dyn Clock>) {
        self.rush = rush.clone();
        self.clock = Arc::clone(clock);
        let service: Arc<dyn Service> = Arc::new(self);
        services.enter(
            &[Method::ReadState, Method::Select, Method::Names],
            &service,
        );
    }

    /// What surrounds a read for a peer; `partial`: its answer may lack something.
    fn context(&self, partial: bool) -> (ReadContext, CallOff) {
        let cancel = CancelToken::new();
        let context = ReadContext {
            cancel: cancel.clone(),
            budget: self.memory.account(self.settings.limits),
            partial: partial.then(Partial::default),
            coarsest: Coarsest::default(),
        };
        (context, CallOff(cancel))
    }

    /// Waits a little for the control log when the caller is ahead of it.
    async fn catch_up(&self, asked: &[Asked]) {
        let mut waited = Duration::ZERO;
        while waited < EPOCH_WAIT && self.holder.is_behind(asked) {
            tokio::time::sleep(EPOCH_LOOK).await;
            waited += EPOCH_LOOK;
        }
    }

    async fn state(&self, body: Bytes, answers: &Outgoing) -> Sending {
        let request = StateRequest::decode(body).map_err(invalid)?;
        self.catch_up(&request.partitions).await;
        let (context, _call_off) = self.context(false);
        let holder = self.holder.clone();
        let job = move || {
            let mut viewed = holder.view(&request.partitions)?;
            let (asked, encoded) = (&request.partitions, request.encoded);
            viewed.sum_up(asked, encoded, &request.selection, &context)?;
            Ok::<_, SourceError>(opened(&viewed.state))
        };
        let part = self.run(&self.states, answers, job).await?;
        let part = part.unwrap_or_else(|error| failed(&error));
        send(answers, &part).await
    }

    /// Runs a job and gives signs of life meanwhile.
    async fn run<T: Send + 'static>(
        &self,
        pool: &Pool,
        answers: &Outgoing,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let mut running = std::pin::pin!(pool.run(job));
        loop {
            match tokio::time::timeout(self.settings.sign_every, &mut running).await {
                Ok(ended) => return ended.map_err(|error: PoolError| unavailable(&error)),
                Err(_) => send(answers, &wire::Part::default()).await?,
            }
        }
    }

    async fn select(&self, body: Bytes, answers: &Outgoing) -> Sending {
        let request = SelectRequest::decode(body).map_err(invalid)?;
        self.catch_up(&request.partitions).await;
        let (context, _call_off) = self.context(request.partial);
        // A pin is a few pointers.
        let viewed = match self.holder.view(&request.partitions) {
            Err(error) => return send(answers, &failed(&error)).await,
            Ok(viewed) => viewed,
        };
        // What the view holds is said before it is searched: the reader asks others meanwhile.
        send(answers, &opened(&viewed.state)).await?;
        let effort = Effort::new(&self.rush, &self.clock);
        let begin = move || begin_select(&viewed, &request, &context, effort);
        let mut reading = match self.run(&self.selects, answers, begin).await? {
            Err(error) => return send(answers, &failed(&error)).await,
            Ok(reading) => reading,
        };
        loop {
            let (back, part) = self
                .run(&self.selects, answers, move || reading.next_part())
                .await?;
            reading = back;
            let part = part.unwrap_or_else(|error| failed(&error));
            let is_last = part.end.is_some() || part.failure.is_some();
            send(answers, &part).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn names(&self, body: Bytes, answers: &Outgoing) -> Sending {
        let request = NamesRequest::decode(body).map_err(invalid)?;
        self.catch_up(&request.partitions).await;
        let (context, _call_off) = self.context(false);
        let holder = self.holder.clone();
        let found = self.run(&self.selects, answers, move || {
            find_names(&holder, &request, &context)
        });
        match found.await? {
            Err(error) => send(answers, &failed(&error)).await,
            Ok(parts) => {
                for part in &parts {
                    send(answers, part).await?;
                }
                Ok(())
            }
        }
    }
}

impl Service for ReadService {
    fn stream<'a>(
        &'a self,
        _: &'a Caller,
        method: Method,
        body: Bytes,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        Box::pin(async move {
            if method == Method::ReadState {
                return self.state(body, &answers).await;
            }
            let Ok(_permit) = self.open.try_acquire() else {
                self.metrics.refused();
                return Err(Refused::Unavailable(format!(
                    "{} reads of peers are open here already: try again or elsewhere",
                    self.settings.open_max
                )));
            };
            let _open = self.metrics.opened();
            match method {
                Method::Select => self.select(body, &answers).await,
                Method::Names => self.names(body, &answers).await,
                other => Err(Refused::Invalid(format!("{} is no stream", other.name()))),
            }
        })
    }
}

fn failed(error: &SourceError) -> wire::Part {
    wire::Part {
        failure: Some(put_failure(error)),
        ..wire::Part::default()
    }
}

fn ended(count: u64) -> wire::Part {
    wire::Part {
        end: Some(wire::End {
            count,
            ..wire::End::default()
        }),
        ..wire::Part::default()
    }
}

fn opened(state: &State) -> wire::Part {
    wire::Part {
        opened: Some(state.to_wire()),
        ..wire::Part::default()
    }
}

fn begin_select(
    viewed: &Viewed,
    request: &SelectRequest,
    context: &ReadContext,
    effort: Effort,
) -> Result<Reading, SourceError> {
    let asked = request.partitions.iter();
    let current = asked.filter(|one| viewed.state.answers(one));
    let selection = &request.selection;
    let stream = if request.heads_only {
        let leaves = current.map(|one| (one.arc, one.leaves.clone())).collect();
        viewed.select_leaves(&leaves, selection, context)?
    } else {
        // The view has no other partitions than those.
        match request.newest {
            Some(moments) => viewed.pinned.select_newest(selection, moments, context)?,
            None => viewed.pinned.select(selection, context)?,
        }
    };
    Ok(Reading {
        stream,
        context: context.clone(),
        writer: BatchWriter::default(),
        full: Vec::new(),
        samples: Samples::default(),
        count: 0,
        is_over: false,
        effort,
    })
}

/// A select under way; it goes from job to job.
struct Reading {
    stream: Box<dyn SeriesStream>,
    context: ReadContext,
    writer: BatchWriter,
    /// Messages to be sent, the next last.
    full: Vec<wire::SeriesBatch>,
    samples: Samples,
    count: u64,
    is_over: bool,
    effort: Effort,
}

impl Reading {
    /// The last message.
    fn end(&self) -> wire::Part {
        let partial = self.context.partial.as_ref();
        wire::Part {
            end: Some(wire::End {
                count: self.count,
                fetched_bytes: self.context.budget.bytes_fetched(),
                lacks: partial.map(Partial::noted).unwrap_or_default(),
                resolution: u32::from(self.context.coarsest.met().code()),
            }),
            ..wire::Part::default()
        }
    }

    fn next_part(mut self) -> (Self, Result<wire::Part, SourceError>) {
        self.effort.resume();
        let part = self.fill();
        self.effort.pause();
        (self, part)
    }

    fn fill(&mut self) -> Result<wire::Part, SourceError> {
        while self.full.is_empty() && !self.is_over {
            self.effort.look(&self.context.cancel);
            match self.stream.next(&mut self.samples)? {
                Some(labels) => {
                    self.count += 1;
                    let full = &mut self.full;
                    let send = |batch| full.push(batch);
                    self.writer.add(&labels, &self.samples, send);
                    full.reverse();
                }
                None => {
                    self.is_over = true;
                    if !self.writer.is_empty() {
                        self.full.push(self.writer.take());
                    }
                }
            }
        }
        Ok(match self.full.pop() {
            Some(batch) => of_batch(batch),
            None => self.end(),
        })
    }
}

/// All messages of an answer without samples. What the store finds is bounded by the budget.
fn find_names(
    holder: &Holder,
    request: &NamesRequest,
    context: &ReadContext,
) -> Result<Vec<wire::Part>, SourceError> {
    let (state, found) = holder.names(request, context)?;
    let mut parts = vec![opened(&state)];
    let count = put_names(found, &mut parts);
    parts.push(ended(count));
    Ok(parts)
}

fn put_names(found: Names, parts: &mut Vec<wire::Part>) -> u64 {
    let count = match found {
        Names::LabelPairs(found) => {
            parts.extend(put_pairs(&found));
            return found.series;
        }
        Names::Series(found) => {
            let mut writer = BatchWriter::default();
            for labels in &found {
                writer.add(labels, &Samples::default(), |batch| {
                    parts.push(of_batch(batch));
                });
            }
            parts.push(of_batch(writer.take()));
            found.len()
        }
        Names::Texts(found) => put_texts(found, parts),
        Names::Metadata(found) => {
            parts.extend(found.chunks(FAMILIES).map(|some| wire::Part {
                families: some.iter().map(put_family).collect(),
                ..wire::Part::default()
            }));
            found.len()
        }
        Names::Exemplars(found) => {
            parts.extend(found.chunks(EXEMPLAR_SERIES).map(|some| wire::Part {
                exemplars: some.iter().map(put_exemplars).collect(),
                ..wire::Part::default()
            }));
            found.len()
        }
    };
    count as u64
}

fn of_batch(batch: wire::SeriesBatch) -> wire::Part {
    wire::Part {
        batch: Some(batch),
        ..wire::Part::default()
    }
}

/// Families of one message: some 300 bytes each.
const FAMILIES: usize = 512;
/// Series with exemplars of one message: a handful of exemplars each.
const EXEMPLAR_SERIES: usize = 128;

fn put_texts(found: Vec<String>, parts: &mut Vec<wire::Part>) -> usize {
    let count = found.len();
    let (mut texts, mut bytes) = (Vec::new(), 0);
    for text in found {
        bytes += text.len() + 4;
        texts.push(text);
        if bytes >= TEXT_BYTES {
            parts.push(of_texts(std::mem::take(&mut texts)));
            bytes = 0;
        }
    }
    if !texts.is_empty() {
        parts.push(of_texts(texts));
    }
    count
}

fn of_texts(texts: Vec<String>) -> wire::Part {
    wire::Part {
        texts,
        ..wire::Part::default()
    }
}
