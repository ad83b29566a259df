//! Uploads: every few seconds a look at what the catalog has and the bucket has not.
//!
//! A block is read from its file, put, and read back; only then `Uploaded` is proposed, for several
//! at once. A crash anywhere repeats what is not recorded, under the same names with the same bytes.
//! One block at a time, in pieces: memory and bandwidth are bounded whatever waits. When the bucket
//! is away nothing here goes on, and nothing elsewhere stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::archive::Archive;
use super::mirror::Mirror;
use super::owner::own;
use super::turn::is_my_turn;
use crate::archive::{self, CatalogCopy, Upload, block_name, verify};
use crate::cluster::control::{BlockUploaded, Command, Control, ControlState};
use crate::cluster::error::Error;
use crate::cluster::manifests::{Listed, Manifests, listed};
use crate::model::{BlockEntry, BlockId, Incarnation, Level, RingArc, Uploaded};
use crate::runtime::{Backoff, CancelToken, Chance, Clock, Throttle, jittered};
use crate::store::{self, FILE_READ_MAX, Store};

/// Blocks that are recorded by one command, at most.
const BATCH_BLOCKS: usize = 32;
/// And bytes: what a crash between putting and recording makes one read again.
const BATCH_BYTES: u64 = 64 << 20;
/// After a failure the bucket is left alone for so long, twice as long after each further one.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(60);
/// A block that cannot be uploaded for a reason of its own is tried again after so long.
const BLOCK_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Whose bucket it is, is looked at so often while anything is put.
const RECORD_EVERY: Duration = Duration::from_secs(10 * 60);
/// The catalog of a partition waits so long for blocks of it that are being uploaded.
const COPY_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The archive, for a person.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ArchiveStatus {
    /// The bucket in words.
    pub place: String,
    /// Blocks of the catalog that it does not have yet.
    pub waiting_blocks: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Since when the oldest of them waits, in seconds, as far as this process knows.
    pub waiting_seconds: u64,
    /// Catalogs that this node has still to copy there.
    pub waiting_catalogs: u64,
    /// What is wrong, if anything.
    pub trouble: Option<String>,
}

/// What an uploader is made from.
pub(in crate::cluster) struct UploaderParts {
    pub(in crate::cluster) store: Arc<Store>,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) archive: Archive,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
    pub(in crate::cluster) chance: Arc<dyn Chance>,
    pub(in crate::cluster) me: Incarnation,
    pub(in crate::cluster) throttle: Throttle,
    pub(in crate::cluster) manifests: Arc<Manifests>,
}

/// Uploads what this node is to upload.
pub(in crate::cluster) struct Uploader {
    parts: UploaderParts,
    mirror: Mirror,
    known: Mutex<Known>,
}

/// What is remembered between two rounds; nothing of it is needed after a restart.
struct Known {
    /// Since when a block is known and not in the bucket.
    since: BTreeMap<BlockId, Duration>,
    /// When a block may be tried again that could not be uploaded for a reason of its own.
    again: BTreeMap<BlockId, Duration>,
    /// When it was last seen that the bucket is this cluster's.
    owned: Option<Duration>,
    backoff: Backoff,
    resume: Duration,
    trouble: Option<String>,
}

/// A block that the bucket does not have.
struct Waiting {
    arc: RingArc,
    entry: BlockEntry,
    /// The state has to list it again before it can be noted that it is there.
    of_manifest: bool,
}

impl Uploader {
    pub(in crate::cluster) fn new(parts: UploaderParts) -> Self {
        Self {
            mirror: Mirror::new(parts.archive.clone(), Arc::clone(&parts.manifests)),
            parts,
            known: Mutex::new(Known {
                since: BTreeMap::new(),
                again: BTreeMap::new(),
                owned: None,
                backoff: Backoff::new(PAUSE_FIRST, PAUSE_LONGEST),
                resume: Duration::ZERO,
                trouble: None,
            }),
        }
    }

    #[cfg(test)]
    pub(in crate::cluster) fn bucket(&self) -> Arc<crate::archive::Bucket> {
        self.parts.archive.bucket()
    }

    /// What there is to say about it.
    pub(in crate::cluster) fn status(&self) -> ArchiveStatus {
        let state = self.parts.control.state();
        let waiting = self.waiting(&state);
        let cluster = state.cluster.map_or(0, |cluster| cluster.0);
        let waiting_catalogs = self.copies(&state, cluster, &waiting).len() as u64;
        let (known, bucket) = (self.known.lock(), &self.parts.archive.bucket);
        ArchiveStatus {
            place: self.parts.archive.to_string(),
            waiting_blocks: waiting.len() as u64,
            waiting_bytes: bytes_of(&waiting),
            waiting_seconds: known.oldest(self.parts.clock.elapsed()).as_secs(),
            waiting_catalogs,
            trouble: known.trouble.clone().or_else(|| bucket.clock_trouble()),
        }
    }

    /// One look, and what follows from it. Errors are logged here: nobody waits for it.
    pub(in crate::cluster) fn round(&self, cancel: &CancelToken) {
        let state = self.parts.control.state();
        let waiting = self.waiting(&state);
        let now = self.parts.clock.elapsed();
        let paused = {
            let mut known = self.known.lock();
            known.follow(&waiting, now);
            let metrics = self.parts.archive.bucket.metrics();
            let bytes = bytes_of(&waiting);
            metrics.unuploaded(waiting.len() as u64, bytes, known.oldest(now));
            now < known.resume
        };
        if paused {
            return;
        }
        match self.pass(&state, &waiting, cancel) {
            Ok(()) => self.note_success(),
            Err(Error::Archive(archive::Error::CalledOff)) => {}
            Err(error) => self.note_failure(&error, self.parts.clock.elapsed()),
        }
    }

    /// What the bucket does not have, the oldest samples first.
    fn waiting(&self, state: &ControlState) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        for (arc, partition) in &state.partitions {
            let listed = listed(&self.parts.manifests, *arc, partition);
            // Others count what is in the manifests that only they have.
            let listed = listed.unwrap_or_else(|_| Listed::of(partition, None));
            let entries = listed.blocks().values();
            let entries = entries.filter(|entry| entry.uploaded == Uploaded::None);
            waiting.extend(entries.map(|entry| Waiting {
                arc: *arc,
                entry: entry.clone(),
                of_manifest: !partition.recent.contains_key(&entry.id),
            }));
        }
        waiting.sort_by_key(|block| (block.entry.range.end, block.entry.id));
        waiting
    }

    fn note_success(&self) {
        let mut known = self.known.lock();
        known.backoff.reset();
        if known.trouble.take().is_some() {
            tracing::info!(bucket = %self.parts.archive, "the bucket can be used again");
        }
    }

    fn note_failure(&self, error: &Error, now: Duration) {
        let mut known = self.known.lock();
        let pause = known.backoff.pause(self.parts.chance.as_ref());
        known.resume = now.saturating_add(pause);
        let text = error.to_string();
        if known.trouble.as_ref() != Some(&text) {
            tracing::warn!(
                bucket = %self.parts.archive, %error,
                "blocks wait until the bucket can be used"
            );
            known.trouble = Some(text);
        }
    }

    fn pass(
        &self,
        state: &ControlState,
        waiting: &[Waiting],
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let Some(cluster) = state.cluster.map(|cluster| cluster.0) else {
            return Ok(());
        };
        let mine = self.mine(state, waiting)?;
        let copies = self.copies(state, cluster, waiting);
        // The first look of all is made for its own sake: what is wrong with the bucket is said
        // before anything has to go there.
        let first = self.known.lock().owned.is_none();
        if mine.is_empty() && copies.is_empty() && !first {
            return Ok(());
        }
        self.own(state, cluster, cancel)?;
        self.upload(cluster, &mine, cancel)?;
        for (arc, copy) in copies {
            self.mirror.put(arc, &copy, cancel)?;
        }
        Ok(())
    }

    /// What this node is to upload now, the oldest first.
    fn mine<'a>(
        &self,
        state: &ControlState,
        waiting: &'a [Waiting],
    ) -> Result<Vec<&'a Waiting>, Error> {
        let now = self.parts.clock.elapsed();
        let (mut mine, mut bytes) = (Vec::new(), 0u64);
        for block in waiting {
            let Some(partition) = state.partition(block.arc) else {
                continue;
            };
            let id = block.entry.id;
            let (waited, later) = {
                let known = self.known.lock();
                let waited = known.since.get(&id).map(|since| now.saturating_sub(*since));
                (waited.unwrap_or_default(), known.again.get(&id).copied())
            };
            let due = !block.of_manifest
                && later.is_none_or(|later| now >= later)
                && is_my_turn(state, partition, self.parts.me, waited);
            if !due || !self.parts.store.has_file(id)? {
                continue;
            }
            bytes = bytes.saturating_add(block.entry.size);
            mine.push(block);
            if mine.len() >= BATCH_BLOCKS || bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok(mine)
    }

    /// Makes sure that the bucket is this cluster's, and nobody else's.
    fn own(&self, state: &ControlState, cluster: u128, cancel: &CancelToken) -> Result<(), Error> {
        let now = self.parts.clock.elapsed();
        let seen = self.known.lock().owned;
        if seen.is_some_and(|seen| now.saturating_sub(seen) < RECORD_EVERY) {
            return Ok(());
        }
        let parts = &self.parts;
        own(&parts.archive, state, &parts.manifests, cluster, cancel)?;
        self.known.lock().owned = Some(now);
        Ok(())
    }

    /// Puts blocks, and records those that are there for certain.
    fn upload(
        &self,
        cluster: u128,
        blocks: &[&Waiting],
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let mut done = Vec::with_capacity(blocks.len());
        let mut failure = None;
        for block in blocks {
            match self.upload_block(cluster, block, cancel) {
                Ok(()) => done.push(BlockUploaded {
                    arc: block.arc,
                    block: block.entry.id,
                    uploaded: Uploaded::Object,
                }),
                Err(error) if is_of_block(&error) => self.put_off(block, &error),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if !done.is_empty() {
            let outcome = self.parts.control.propose(&Command::Uploaded(done))?;
            tracing::debug!(?outcome, "blocks are in the bucket");
        }
        failure.map_or(Ok(()), Err)
    }

    fn put_off(&self, block: &Waiting, error: &Error) {
        let pause = jittered(BLOCK_PAUSE, self.parts.chance.as_ref());
        let again = self.parts.clock.elapsed().saturating_add(pause);
        tracing::warn!(
            partition = %block.arc, block = %block.entry.id, %error,
            "a block could not be uploaded and will be tried again"
        );
        self.known.lock().again.insert(block.entry.id, again);
    }

    /// Puts a block again whose object is missing or damaged, if its file is here.
    ///
    /// # Errors
    /// When the file is not here or not whole, or the bucket does not take it.
    pub(in crate::cluster) fn put_again(
        &self,
        arc: RingArc,
        entry: &BlockEntry,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let state = self.parts.control.state();
        let Some(cluster) = state.cluster.map(|cluster| cluster.0) else {
            return Ok(());
        };
        self.own(&state, cluster, cancel)?;
        let block = Waiting {
            arc,
            entry: entry.clone(),
            of_manifest: false,
        };
        self.upload_block(cluster, &block, cancel)
    }

    fn upload_block(
        &self,
        cluster: u128,
        block: &Waiting,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let (archive, entry) = (&self.parts.archive, &block.entry);
        let bucket = &archive.bucket;
        // A block that is older than a split of its partition has the name of the whole.
        let arc = self.parts.store.arc_of_block(entry.id)?;
        let name = block_name(cluster, arc.unwrap_or(block.arc), entry);
        let check = || archive.wait(cancel, verify(bucket, &name, entry.size, entry.digest));
        // It may be there already: put by another member, or before a crash.
        let there = archive.wait(cancel, bucket.size(&name))?;
        if there != Some(entry.size) || check().is_err() {
            self.put_file(entry, &name, cancel)?;
            check()?;
        }
        bucket.metrics().uploaded();
        Ok(())
    }

    /// The file of a block as an object. A file that is not what the catalog says is not put.
    fn put_file(&self, entry: &BlockEntry, name: &str, cancel: &CancelToken) -> Result<(), Error> {
        let archive = &self.parts.archive;
        let mut upload = Upload::new(&archive.bucket, name.to_owned());
        match self.send(entry, &mut upload, cancel) {
            Ok(()) => Ok(archive.wait(cancel, upload.finish())?),
            Err(error) => {
                let give_up = async {
                    upload.abort().await;
                    Ok(())
                };
                // The first error is the one to tell.
                let _ = archive.wait(cancel, give_up);
                Err(error)
            }
        }
    }

    fn send(
        &self,
        entry: &BlockEntry,
        upload: &mut Upload<'_>,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let mut hasher = blake3::Hasher::new();
        loop {
            let piece = self
                .parts
                .store
                .read_file(entry.id, hasher.count(), FILE_READ_MAX)?;
            let piece = piece.ok_or_else(|| damaged(entry, "it is gone"))?;
            if piece.is_empty() {
                break;
            }
            self.parts.throttle.take(piece.len() as u64);
            hasher.update(&piece);
            self.parts.archive.wait(cancel, upload.write(&piece))?;
        }
        if hasher.count() != entry.size || *hasher.finalize().as_bytes() != entry.digest.0 {
            return Err(damaged(entry, "it is not what the catalog says"));
        }
        Ok(())
    }

    /// The catalogs that this node is to copy now.
    fn copies(
        &self,
        state: &ControlState,
        cluster: u128,
        waiting: &[Waiting],
    ) -> Vec<(RingArc, CatalogCopy)> {
        let now = self.parts.clock.elapsed();
        let since = self.known.lock().since.clone();
        let fresh = |block: &Waiting| {
            let since = since.get(&block.entry.id);
            since.is_none_or(|since| now.saturating_sub(*since) < COPY_PATIENCE)
        };
        self.mirror.due(state, cluster, self.parts.me, |arc| {
            let mut of_arc = waiting.iter().filter(|block| block.arc == arc);
            // What a merge replaced is named no more, so its outputs have to be there first.
            of_arc.any(|block| block.entry.level > Level(0) || fresh(block))
        })
    }
}

impl Known {
    /// Learns what waits now, and forgets what does not any more.
    fn follow(&mut self, waiting: &[Waiting], now: Duration) {
        let mut since = BTreeMap::new();
        for block in waiting {
            let id = block.entry.id;
            since.insert(id, self.since.get(&id).copied().unwrap_or(now));
        }
        self.since = since;
        let still = &self.since;
        self.again.retain(|id, _| still.contains_key(id));
    }

    fn oldest(&self, now: Duration) -> Duration {
        let oldest = self.since.values().min();
        oldest.map_or(Duration::ZERO, |since| now.saturating_sub(*since))
    }
}

fn bytes_of(waiting: &[Waiting]) -> u64 {
    let sizes = waiting.iter().map(|block| block.entry.size);
    sizes.fold(0, u64::saturating_add)
}

fn damaged(entry: &BlockEntry, problem: &str) -> Error {
    let what = format!("the local file of block {}", entry.id);
    Error::Store(store::Error::corrupt(what, problem.to_owned()))
}

/// Whether others can be uploaded although this one cannot.
fn is_of_block(error: &Error) -> bool {
    match error {
        Error::Archive(error) => error.is_of_object(),
        Error::Store(_) => true,
        _ => false,
    }
}
