//! Ranges of blocks in the bucket, for the store's reads: several requests at a time, repeated with
//! pauses while the bucket does not answer, called off with the read.
//!
//! Whose name a block lies under (this cluster's or an ancestor's) is found out once for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::archive::Archive;
use super::fetch::candidates;
use crate::archive::{self, Bucket, ClusterRecord, block_place};
use crate::model::{BlockId, RingArc};
use crate::runtime::{Backoff, CancelToken, Chance, Clock, wait};
use crate::store::{Error, Fetching, Piece, Remote, RemoteBlock};

/// Requests of one read that are under way at a time.
const REQUESTS: usize = 16;
/// A range is at most some MiB: what takes longer does not come.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// A request that the bucket did not answer is made again so often. The client has repeated each
/// of them a few times already.
const ATTEMPTS_MAX: usize = 2;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);
/// After the bucket could not be reached, other reads are told so at once for this long.
const AWAY_FOR: Duration = Duration::from_secs(3);
/// Whoever waits looks so often whether anybody still wants it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Blocks whose cluster is remembered: a few dozen bytes each.
const HOMES_MAX: usize = 1 << 16;

/// The bucket as reads see it.
pub(in crate::cluster) struct BucketReads {
    inner: Arc<Inner>,
    runtime: Handle,
}

/// Below which cluster's name a block lies, and which arc its name has.
type HomeOf = (u128, RingArc);

struct Inner {
    bucket: Arc<Bucket>,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    /// The clusters below whose names blocks lie, once somebody asked.
    clusters: Arc<Mutex<Option<Vec<u128>>>>,
    /// Where blocks lie that do not where one would look first.
    homes: Mutex<HashMap<BlockId, HomeOf>>,
    /// Until when the bucket counts as away, and why.
    away: Mutex<Option<(Duration, String)>>,
}

impl BucketReads {
    pub(in crate::cluster) fn new(
        archive: &Archive,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        runtime: Handle,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                bucket: archive.bucket(),
                clock,
                chance,
                clusters: Arc::clone(&archive.known_homes),
                homes: Mutex::default(),
                away: Mutex::default(),
            }),
            runtime,
        }
    }
}

impl Remote for BucketReads {
    fn fetch(&self, pieces: Vec<Piece>, cancel: &CancelToken) -> Box<dyn Fetching> {
        let (sender, receiver) = mpsc::channel(REQUESTS);
        let (inner, gone) = (Arc::clone(&self.inner), sender.clone());
        let all = async move {
            let requests = pieces.into_iter().enumerate().map(|(at, piece)| {
                let inner = Arc::clone(&inner);
                async move { (at, inner.piece(&piece).await) }
            });
            let mut answers = futures_util::stream::iter(requests).buffer_unordered(REQUESTS);
            while let Some(answer) = answers.next().await {
                // Nobody listens any more.
                if sender.send(answer).await.is_err() {
                    return;
                }
            }
        };
        // Ends with the last piece, or when its reader has gone.
        let task = async move {
            tokio::select! {
                () = gone.closed() => {}
                () = all => {}
            }
        };
        drop(self.runtime.spawn(task));
        Box::new(OnTheirWay {
            receiver,
            runtime: self.runtime.clone(),
            cancel: cancel.clone(),
        })
    }

    fn describe(&self, block: &RemoteBlock) -> String {
        let clusters = self.inner.clusters.lock().clone().unwrap_or_default();
        let home = self.inner.homes.lock().get(&block.entry.id).copied();
        let home = home.or_else(|| Some((*clusters.first()?, block.arc)));
        match home.map(|(home, arc)| block_place(home, arc, &block.entry)) {
            Some((name, _)) => format!("the object {name} in {}", self.inner.bucket),
            None => format!("block {} in {}", block.entry.id, self.inner.bucket),
        }
    }
}

impl Inner {
    /// The bytes of a piece.
    async fn piece(&self, piece: &Piece) -> Result<Bytes, Error> {
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
        let mut attempt = 1;
        loop {
            self.is_away(&piece.block)?;
            let asked = timeout(REQUEST_TIME_MAX, self.ask(piece)).await;
            let error = match asked {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(error)) if error.is_of_object() => {
                    return Err(Error::corrupt(of(&piece.block), error.to_string()));
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!(
                    "{} does not answer within {REQUEST_TIME_MAX:?}",
                    self.bucket
                ),
            };
            if attempt >= ATTEMPTS_MAX {
                let until = self.clock.elapsed().saturating_add(AWAY_FOR);
                *self.away.lock() = Some((until, error.clone()));
                return Err(unavailable(&piece.block, &error));
            }
            attempt += 1;
            sleep(backoff.pause(self.chance.as_ref())).await;
        }
    }

    fn is_away(&self, block: &RemoteBlock) -> Result<(), Error> {
        match &*self.away.lock() {
            Some((until, why)) if self.clock.elapsed() < *until => Err(unavailable(block, why)),
            _ => Ok(()),
        }
    }

    async fn ask(&self, piece: &Piece) -> Result<Bytes, archive::Error> {
        let entry = &piece.block.entry;
        let known = self.homes.lock().get(&entry.id).copied();
        let candidates = match known {
            Some(home) => vec![home],
            None => candidates(&self.clusters().await?, piece.block.arc, entry),
        };
        let mut missing = None;
        for (nth, (home, arc)) in candidates.into_iter().enumerate() {
            let (name, from) = block_place(home, arc, entry);
            let range =
                from.saturating_add(piece.range.start)..from.saturating_add(piece.range.end);
            let wanted = piece.range.end.saturating_sub(piece.range.start);
            let end = range.end;
            let read = match self.bucket.read(&name, range).await {
                Err(error) if !error.is_of_object() => Err(self.or_short(&name, end, error).await),
                read => read,
            };
            match read? {
                Some(bytes) if bytes.len() as u64 == wanted => {
                    if nth > 0 {
                        self.remember(entry.id, (home, arc));
                    }
                    return Ok(bytes);
                }
                Some(bytes) => {
                    let (has, problem) = (bytes.len(), "bytes came of a range of");
                    let bucket = self.bucket.to_string();
                    let problem = format!("{has} {problem} {wanted}: it is too short");
                    return Err(archive::Error::Corrupt {
                        bucket,
                        name,
                        problem,
                    });
                }
                None => missing = Some(name),
            }
        }
        Err(archive::Error::Missing {
            bucket: self.bucket.to_string(),
            name: missing.unwrap_or_else(|| format!("of block {}", entry.id)),
        })
    }

    /// A range that ends behind its object is refused as if the bucket were at fault.
    async fn or_short(&self, name: &str, end: u64, error: archive::Error) -> archive::Error {
        match self.bucket.size(name).await {
            Ok(Some(size)) if size < end => archive::Error::Corrupt {
                bucket: self.bucket.to_string(),
                name: name.to_owned(),
                problem: format!("it has {size} bytes, and at least {end} belong to it"),
            },
            _ => error,
        }
    }

    fn remember(&self, id: BlockId, home: HomeOf) {
        let mut homes = self.homes.lock();
        if homes.len() >= HOMES_MAX {
            homes.clear();
        }
        homes.insert(id, home);
    }

    async fn clusters(&self) -> Result<Vec<u128>, archive::Error> {
        if let Some(known) = self.clusters.lock().clone() {
            return Ok(known);
        }
        let record = ClusterRecord::read(&self.bucket).await?.ok_or_else(|| {
            let bucket = &self.bucket;
            archive::Error::Foreign(format!(
                "{bucket} has no cluster.json: is it the right one, and is it mounted?"
            ))
        })?;
        let clusters: Vec<u128> = record.homes().collect();
        *self.clusters.lock() = Some(clusters.clone());
        Ok(clusters)
    }
}

fn of(block: &RemoteBlock) -> String {
    format!("block {} of partition {}", block.entry.id, block.arc)
}

fn unavailable(block: &RemoteBlock, why: &str) -> Error {
    let of = of(block);
    Error::Unavailable(format!(
        "{of} is only in the bucket, which cannot be read: {why}"
    ))
}

/// Pieces that are being fetched.
struct OnTheirWay {
    receiver: mpsc::Receiver<(usize, Result<Bytes, Error>)>,
    runtime: Handle,
    cancel: CancelToken,
}

impl Fetching for OnTheirWay {
    fn next(&mut self) -> Option<(usize, Result<Bytes, Error>)> {
        let (runtime, receiver) = (&self.runtime, &mut self.receiver);
        loop {
            let next = wait(runtime, async {
                timeout(LOOK_EVERY, receiver.recv()).await
            });
            if let Ok(next) = next {
                return next;
            }
            if let Err(cancelled) = self.cancel.check() {
                return Some((usize::MAX, Err(cancelled.into())));
            }
        }
    }
}
