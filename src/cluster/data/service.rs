//! The answering side: cuts and what they hold, heads, block files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::ask::{CutAnswer, CutHeld, CutRequest, PullOf, PullRequest};
use super::content::ContentWriter;
use super::file::{FetchAnswer, FetchRequest, StageAnswer, StageRequest};
use super::manifest::{ManifestAnswer, ManifestRequest};
use super::peers::SharedPeers;
use super::wire::DataError;
use crate::cluster::manifests::Manifests;
use crate::cluster::peer::{Caller, Method, Outgoing, Refused, Service, Serving};
use crate::cluster::write::Gate;
use crate::model::{Digest, Epoch, Incarnation, RingArc, TimeRange};
use crate::runtime::{CancelToken, Clock, Rule, holds, on_thread};
use crate::store::{FILE_READ_MAX, Pulled, RangeCut, Store};

/// Cuts that are kept for pulls. A seal pulls at once; every partition is sealed by one member at
/// a time.
const CUTS_MAX: usize = 64;
/// A cut is forgotten after so long: its seal has failed.
const CUT_AGE: Duration = Duration::from_secs(120);
/// Answers that are worked on at once; others wait. Each reads disk or decodes.
const BUSY_MAX: usize = 8;
/// Files that are staged at once. Not among the others: staging asks whoever seals for the file,
/// and must not hold what an answer to the same question needs, or two nodes that stage for each
/// other wait for ever.
const STAGING_MAX: usize = 4;

/// Answers [`DataService::METHODS`].
pub(in crate::cluster) struct DataService(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    gate: Arc<Gate>,
    peers: SharedPeers,
    manifests: Arc<Manifests>,
    clock: Arc<dyn Clock>,
    cuts: Mutex<Cuts>,
    busy: Arc<Semaphore>,
    staging: Arc<Semaphore>,
}

#[derive(Default)]
struct Cuts {
    next: u64,
    kept: BTreeMap<u64, (Duration, Arc<RangeCut>)>,
}

impl Cuts {
    fn keep(&mut self, cut: RangeCut, now: Duration) -> u64 {
        self.kept
            .retain(|_, (since, _)| now.saturating_sub(*since) < CUT_AGE);
        if self.kept.len() >= CUTS_MAX {
            self.kept.pop_first();
        }
        self.next += 1;
        self.kept.insert(self.next, (now, Arc::new(cut)));
        self.next
    }
}

fn invalid(error: DataError) -> Refused {
    Refused::Invalid(error.to_string())
}

fn unavailable(error: impl std::fmt::Display) -> Refused {
    Refused::Unavailable(error.to_string())
}

/// Calls off what runs for a caller when its future is dropped.
struct CallOff(CancelToken);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl DataService {
    /// What it answers.
    pub(in crate::cluster) const METHODS: [Method; 5] = [
        Method::Cut,
        Method::Pull,
        Method::Stage,
        Method::FetchBlock,
        Method::Manifest,
    ];

    pub(in crate::cluster) fn new(
        store: Arc<Store>,
        gate: Arc<Gate>,
        peers: SharedPeers,
        manifests: Arc<Manifests>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            gate,
            peers,
            manifests,
            clock,
            cuts: Mutex::default(),
            busy: Arc::new(Semaphore::new(BUSY_MAX)),
            staging: Arc::new(Semaphore::new(STAGING_MAX)),
        }))
    }

    /// Does something on a thread that may block; it is told when nobody waits any more.
    async fn run<T: Send + 'static>(
        &self,
        permits: &Arc<Semaphore>,
        work: impl FnOnce(&Inner, &CancelToken) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let inner = Arc::clone(&self.0);
        let busy = Arc::clone(permits).acquire_owned().await;
        let busy = busy.map_err(unavailable)?;
        let cancel = CancelToken::new();
        let _call_off = CallOff(cancel.clone());
        let running = on_thread(move || {
            let _busy = busy;
            work(&inner, &cancel)
        });
        running.await.map_err(unavailable)?
    }
}

impl Service for DataService {
    fn call<'a>(&'a self, from: &'a Caller, method: Method, body: Bytes) -> Serving<'a, Bytes> {
        let from = from.incarnation;
        Box::pin(async move {
            match method {
                Method::Cut => {
                    let request = CutRequest::decode(body).map_err(invalid)?;
                    self.run(&self.0.busy, move |inner, _| inner.cut(&request))
                        .await
                }
                Method::FetchBlock => {
                    let request = FetchRequest::decode(body).map_err(invalid)?;
                    self.run(&self.0.busy, move |inner, _| inner.read_file(&request))
                        .await
                }
                Method::Manifest => {
                    let request = ManifestRequest::decode(body).map_err(invalid)?;
                    let permits = match request {
                        ManifestRequest::Keep { .. } => &self.0.staging,
                        ManifestRequest::Read { .. } => &self.0.busy,
                    };
                    self.run(permits, move |inner, cancel| {
                        inner.manifest(request, from, cancel)
                    })
                    .await
                }
                _ => {
                    let request = StageRequest::decode(body).map_err(invalid)?;
                    self.run(&self.0.staging, move |inner, cancel| {
                        inner.stage(&request, from, cancel)
                    })
                    .await
                }
            }
        })
    }

    fn stream<'a>(
        &'a self,
        _: &'a Caller,
        _: Method,
        body: Bytes,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        Box::pin(async move {
            let request = PullRequest::decode(body).map_err(invalid)?;
            self.run(&self.0.busy, move |inner, _| inner.pull(&request, &answers))
                .await
        })
    }
}

impl Inner {
    /// ▲ Whoever is asked under an epoch answers only when it is its own: what it then shows
    /// contains every write that it let in before.
    fn epoch(&self, arc: RingArc) -> Epoch {
        self.gate.epoch_of(arc).unwrap_or_default()
    }

    fn cut(&self, request: &CutRequest) -> Result<Bytes, Refused> {
        let mine = self.epoch(request.arc);
        if mine != request.epoch && holds(Rule::SourcesAreFenced) {
            return Ok(CutAnswer::WrongEpoch(mine).encode());
        }
        // ▲ A member that has lost a part of its memory is another one: it does not answer for
        // what it was.
        if !request.remains && !self.gate.is_member_of(request.arc) {
            let arc = request.arc;
            return Err(Refused::Unavailable(format!(
                "this node is no member of partition {arc}, or not in its present life"
            )));
        }
        let (version, held) = match request.range {
            Some(range) => {
                let cut = self.store.cut(request.arc, range).map_err(unavailable)?;
                let (version, tree) = (cut.version(), cut.tree());
                let held = if tree.is_empty() {
                    CutHeld::Empty
                } else {
                    let token = self.cuts.lock().keep(cut, self.clock.elapsed());
                    CutHeld::Cut { token, tree }
                };
                (version, held)
            }
            None => {
                let pinned = self.store.pin(&[request.arc]);
                let trees = pinned.trees(request.arc, TimeRange::ALL);
                (pinned.version(request.arc), CutHeld::Windows(trees))
            }
        };
        let answer = CutAnswer::Held {
            epoch: mine,
            version,
            held,
        };
        Ok(answer.encode())
    }

    fn pull(&self, request: &PullRequest, answers: &Outgoing) -> Result<(), Refused> {
        let mine = self.epoch(request.arc);
        if mine < request.epoch && holds(Rule::SourcesAreFenced) {
            return Err(Refused::Unavailable(format!(
                "partition {} is at epoch {} here, and {} is wanted",
                request.arc, mine.0, request.epoch.0
            )));
        }
        match request.of {
            PullOf::Cut(token) => {
                let kept = self.cuts.lock().kept.get(&token).cloned();
                let cut = kept.map(|(_, cut)| cut);
                let cut = cut.filter(|cut| cut.arc() == request.arc);
                let cut = cut.ok_or_else(|| {
                    let arc = request.arc;
                    Refused::NotFound(format!("cut {token} of partition {arc} is gone"))
                })?;
                send_all(cut.pull(request.leaves), answers);
            }
            PullOf::Window(window) => {
                let pinned = self.store.pin(&[request.arc]);
                let content = pinned.pull(request.arc, window, request.leaves);
                send_all(content, answers);
            }
            PullOf::Everything => {
                let pinned = self.store.pin(&[request.arc]);
                let trees = pinned.trees(request.arc, TimeRange::ALL);
                let windows = trees.into_iter().map(|(window, _)| window);
                let content =
                    windows.flat_map(|window| pinned.pull(request.arc, window, request.leaves));
                send_all(content, answers);
            }
        }
        Ok(())
    }

    fn stage(
        &self,
        request: &StageRequest,
        from: Incarnation,
        cancel: &CancelToken,
    ) -> Result<Bytes, Refused> {
        let mine = self.epoch(request.arc);
        let mut answer = StageAnswer {
            epoch: mine,
            staged: false,
        };
        if mine == request.epoch {
            let fetched = self
                .peers
                .fetch(&self.store, &request.entry, &[from], cancel);
            fetched.map_err(unavailable)?;
            answer.staged = true;
        }
        let mut cuts = self.cuts.lock();
        for token in &request.release {
            cuts.kept.remove(token);
        }
        Ok(answer.encode())
    }

    fn manifest(
        &self,
        request: ManifestRequest,
        from: Incarnation,
        cancel: &CancelToken,
    ) -> Result<Bytes, Refused> {
        let answer = match request {
            ManifestRequest::Keep { digest, arc, epoch } => {
                let mine = self.epoch(arc);
                if mine == epoch {
                    self.keep_manifest(digest, from, cancel)?;
                }
                ManifestAnswer {
                    epoch: mine,
                    kept: mine == epoch,
                    ..ManifestAnswer::default()
                }
            }
            ManifestRequest::Read {
                digest,
                offset,
                len,
            } => {
                let bytes = self.manifests.bytes(digest).map_err(unavailable)?;
                let missing = || Refused::NotFound(format!("the manifest {digest} is not here"));
                let bytes = bytes.ok_or_else(missing)?;
                let size = bytes.len();
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
                let len = usize::try_from(len)
                    .unwrap_or(usize::MAX)
                    .min(FILE_READ_MAX);
                let to = from.saturating_add(len).min(size);
                let piece = bytes.get(from..to).unwrap_or_default();
                ManifestAnswer {
                    size: size as u64,
                    bytes: Bytes::copy_from_slice(piece),
                    ..ManifestAnswer::default()
                }
            }
        };
        Ok(answer.encode())
    }

    fn keep_manifest(
        &self,
        digest: Digest,
        from: Incarnation,
        cancel: &CancelToken,
    ) -> Result<(), Refused> {
        if self.manifests.bytes(digest).map_err(unavailable)?.is_some() {
            return Ok(());
        }
        let fetched = self.peers.fetch_manifest(digest, from, cancel);
        let bytes = fetched.map_err(unavailable)?;
        self.manifests.put(digest, &bytes).map_err(unavailable)
    }

    fn read_file(&self, request: &FetchRequest) -> Result<Bytes, Refused> {
        let len = usize::try_from(request.len).unwrap_or(FILE_READ_MAX);
        let piece = self.store.read_file(request.id, request.offset, len);
        let piece = piece.map_err(unavailable)?;
        let id = request.id;
        let piece = piece.ok_or_else(|| Refused::NotFound(format!("block {id} is not here")))?;
        Ok(FetchAnswer(piece.into()).encode())
    }
}

/// Sends content until all is sent or nobody listens any more.
fn send_all(content: impl Iterator<Item = Pulled>, answers: &Outgoing) {
    let mut writer = ContentWriter::default();
    for item in content {
        if writer
            .add(&item, |message| answers.blocking_send(message))
            .is_err()
        {
            return;
        }
    }
    // Whoever has gone does not miss it.
    answers.blocking_send(writer.finish()).ok();
}
