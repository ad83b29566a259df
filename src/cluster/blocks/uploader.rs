//! Uploads: every few seconds a look at what the catalog has and the bucket has not.
//!
//! Blocks are read from their files, put, alone or several in a pack, and read back; only then
//! `Uploaded` is proposed, for several at once. A crash anywhere repeats what is not recorded, under the same names with the same bytes.
//! One object at a time, in pieces: memory and bandwidth are bounded whatever waits. When the bucket
//! is away nothing here goes on, and nothing elsewhere stops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::deleted::DeletesMirror;
use super::known::Known;
use super::mirror::{Mirror, When};
use super::objects::Putting;
use super::owner::own;
use super::packing::{Holding, Parcel, parcels};
use super::turn::is_my_turn;
use super::waiting::{Mine, Remembered, UploaderParts, Waiting, bytes_of, each_once};
use crate::archive::{self, CatalogCopy};
use crate::cluster::control::{BlockUploaded, Command, ControlState};
use crate::cluster::error::Error;
use crate::cluster::manifests::{Listed, listed};
use crate::model::{BlockEntry, BlockId, Digest, Level, RingArc, Uploaded};
use crate::runtime::{Backoff, CancelToken, jittered};

/// Blocks that are recorded by one command, at most.
const BATCH_BLOCKS: usize = 256;
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
    /// Catalogs that this node has still to copy there; what is deleted counts as one.
    pub waiting_catalogs: u64,
    /// What is wrong, if anything.
    pub trouble: Option<String>,
}

/// Uploads what this node is to upload.
pub(in crate::cluster) struct Uploader {
    parts: UploaderParts,
    mirror: Mirror,
    deletes: DeletesMirror,
    known: Mutex<Remembered>,
}

impl Uploader {
    pub(in crate::cluster) fn new(parts: UploaderParts) -> Self {
        Self {
            mirror: Mirror::new(parts.archive.clone(), Arc::clone(&parts.manifests)),
            deletes: DeletesMirror::new(parts.archive.clone()),
            parts,
            known: Mutex::new(Remembered {
                since: BTreeMap::new(),
                ripe: BTreeMap::new(),
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
        let copies = self.copies(&state, cluster, &waiting).len() as u64;
        let (leads, now) = (self.parts.control.is_leader(), self.parts.clock.now());
        let whose = (leads, self.parts.hurry.is_on());
        let waiting_catalogs = copies + u64::from(self.deletes.waits(&state, whose, now));
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
            let clock = self.parts.clock.now();
            let mut holding = Holding::new(&state, self.parts.me, self.parts.grace, clock);
            known.ripen(&waiting, now, |block| {
                holding.holds(block.arc, &block.entry)
            });
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
            let entries = listed.entries();
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
        let (leads, time) = (self.parts.control.is_leader(), self.parts.clock.now());
        let deletes = self.deletes.is_due(state, leads, time);
        let whose = (leads, self.parts.hurry.is_on());
        if !leads && self.deletes.waits(state, whose, time) {
            self.deletes.look(cluster, cancel)?;
        }
        let waits = self.deletes.waits(state, whose, time);
        if waiting.is_empty() && copies.is_empty() && !deletes && !waits {
            self.parts.hurry.note_uploaded();
        }
        // The first look of all is made for its own sake: what is wrong with the bucket is said
        // before anything has to go there.
        let first = self.known.lock().owned.is_none();
        if mine.is_empty() && copies.is_empty() && !first && !deletes {
            return Ok(());
        }
        self.own(state, cluster, cancel)?;
        // Blocks do not wait for what is deleted: only a newer version may be able to read the copy there.
        let deleted = if deletes {
            self.deletes.put(state, cluster, time, cancel)
        } else {
            Ok(())
        };
        let mine = self.bring(state, mine, cancel)?;
        let putting = Putting {
            parts: &self.parts,
            cluster,
            cancel,
        };
        let put = self.upload(state, &putting, &mine.here);
        for id in mine.brought {
            self.parts.store.unstage(id)?;
        }
        put?;
        for (arc, copy) in copies {
            let now = self.parts.clock.elapsed();
            self.mirror.put(arc, &copy, now, cancel)?;
        }
        deleted
    }

    /// What this node is to upload now, the oldest first.
    fn mine<'a>(
        &self,
        state: &ControlState,
        waiting: &'a [Waiting],
    ) -> Result<Vec<&'a Waiting>, Error> {
        let now = self.parts.clock.elapsed();
        let (mut mine, mut bytes) = (Vec::new(), 0u64);
        let hurry = self.parts.hurry.is_on();
        for block in waiting {
            let Some(partition) = state.partition(block.arc) else {
                continue;
            };
            let id = block.entry.id;
            let (waited, later) = {
                let known = self.known.lock();
                let waited = known.ripe.get(&id).map(|ripe| now.saturating_sub(*ripe));
                (waited, known.again.get(&id).copied())
            };
            let turn = |waited| is_my_turn(state, (block.arc, partition), self.parts.me, waited);
            let due = !block.of_manifest
                && later.is_none_or(|later| now >= later)
                && (hurry || waited.is_some_and(turn));
            if !due || !(hurry || self.parts.store.has_file(id)?) {
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

    /// Where everything is to go there at once, what only others have is brought from them.
    fn bring<'a>(
        &self,
        state: &ControlState,
        mine: Vec<&'a Waiting>,
        cancel: &CancelToken,
    ) -> Result<Mine<'a>, Error> {
        let store = &self.parts.store;
        let (mut here, mut brought) = (Vec::with_capacity(mine.len()), Vec::new());
        for block in mine {
            let (arc, entry) = (block.arc, &block.entry);
            if !store.has_file(entry.id)? {
                if let Err(error) = (self.parts.bring)(state, arc, entry, cancel) {
                    self.put_off(block, &error);
                    continue;
                }
                brought.push(entry.id);
            }
            here.push(block);
        }
        Ok(Mine { here, brought })
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
        state: &ControlState,
        putting: &Putting<'_>,
        blocks: &[&Waiting],
    ) -> Result<(), Error> {
        let mut done = Vec::with_capacity(blocks.len());
        let mut failure = None;
        for parcel in parcels(state, blocks) {
            if let Err(error) = self.put(putting, &parcel, &mut done) {
                failure = Some(error);
                break;
            }
        }
        leave_out_outdated(&self.parts.control.state(), &mut done);
        if !done.is_empty() {
            let outcome = self.parts.control.propose(&Command::Uploaded(done))?;
            tracing::debug!(?outcome, "blocks are in the bucket");
        }
        failure.map_or(Ok(()), Err)
    }

    /// One object. What is at fault alone is put off; the others of its pack come with the next.
    fn put(
        &self,
        putting: &Putting<'_>,
        parcel: &Parcel<'_>,
        done: &mut Vec<BlockUploaded>,
    ) -> Result<(), Error> {
        match parcel {
            Parcel::Own(block) => match putting.block(block.arc, &block.entry) {
                Ok(()) => done.push(block.lies(Uploaded::Object)),
                Err(error) if is_of_block(&error) => self.put_off(block, &error),
                Err(error) => return Err(error),
            },
            Parcel::Pack(pack) => match putting.pack(&each_once(pack)) {
                Ok(packed) => {
                    let offsets = packed.blocks.iter();
                    let offsets: BTreeMap<BlockId, u64> = offsets
                        .map(|block| (block.entry.id, block.offset))
                        .collect();
                    done.extend(pack.iter().filter_map(|block| {
                        let offset = *offsets.get(&block.entry.id)?;
                        let pack = packed.digest;
                        Some(block.lies(Uploaded::Pack { pack, offset }))
                    }));
                }
                Err((faulty, error)) if is_of_block(&error) => {
                    let at_fault = |block: &&&Waiting| faulty.is_none_or(|id| block.entry.id == id);
                    let at_fault = pack.iter().filter(at_fault);
                    at_fault.for_each(|block| self.put_off(block, &error));
                }
                Err((_, error)) => return Err(error),
            },
        }
        Ok(())
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

    /// Puts a block again whose object is missing or damaged, if its file is here. A pack is put again
    /// with all that the catalog names in it.
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
        let putting = Putting {
            parts: &self.parts,
            cluster,
            cancel,
        };
        let Uploaded::Pack { pack, .. } = entry.uploaded else {
            return putting.block(arc, entry);
        };
        let (archive, manifests) = (&self.parts.archive, &self.parts.manifests);
        let known = Known::read(archive, manifests, state, cancel)?;
        let old = archive.find(arc, entry, cancel).ok();
        putting.pack_again(pack, old.as_ref(), &known.in_pack(pack))
    }

    /// The catalogs that this node is to copy now.
    fn copies(
        &self,
        state: &ControlState,
        cluster: u128,
        waiting: &[Waiting],
    ) -> Vec<(RingArc, CatalogCopy)> {
        let now = self.parts.clock.elapsed();
        let ripe = self.known.lock().ripe.clone();
        let fresh = |block: &Waiting| {
            let ripe = ripe.get(&block.entry.id);
            ripe.is_none_or(|ripe| now.saturating_sub(*ripe) < COPY_PATIENCE)
        };
        let hurry = self.parts.hurry.is_on();
        let when = (self.parts.me, When { now, hurry });
        self.mirror.due(state, cluster, when, |arc| {
            let mut of_arc = waiting.iter().filter(|block| block.arc == arc);
            // What a merge replaced is named no more, so its outputs have to be there first.
            of_arc.any(|block| block.entry.level > Level(0) || fresh(block))
        })
    }
}

/// A pack of which a block has been merged or rewritten meanwhile is put again without it: else what has
/// gone would stay in the bucket as long as the others.
fn leave_out_outdated(state: &ControlState, done: &mut Vec<BlockUploaded>) {
    let is_listed = |one: &BlockUploaded| {
        let partition = state.partition(one.arc);
        partition.is_some_and(|partition| partition.recent.contains_key(&one.block))
    };
    let outdated = done.iter().filter(|one| !is_listed(one));
    let outdated: BTreeSet<Digest> = outdated
        .filter_map(|one| match one.uploaded {
            Uploaded::Pack { pack, .. } => Some(pack),
            Uploaded::None | Uploaded::Object => None,
        })
        .collect();
    done.retain(
        |one| !matches!(one.uploaded, Uploaded::Pack { pack, .. } if outdated.contains(&pack)),
    );
}

/// Whether others can be uploaded although this one cannot.
fn is_of_block(error: &Error) -> bool {
    match error {
        Error::Archive(error) => error.is_of_object(),
        Error::Store(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterId;
    use crate::cluster::control::Found;
    use crate::model::{BlockEntry, Incarnation, Window};

    /// Would catch a block that is rewritten while its pack is put, and stays in the bucket with it.
    #[test]
    fn a_pack_with_a_block_that_has_gone_meanwhile_is_not_recorded() {
        let mut state = ControlState::default();
        state.apply(&Command::Found(Found {
            cluster: ClusterId(1),
            depth: 1,
            founders: vec![Incarnation(1)],
        }));
        let arcs: Vec<RingArc> = RingArc::all(1).collect();
        let mut list = |arc: RingArc, id: u128| {
            let partition = state.partitions.get_mut(&arc).map(Arc::make_mut).unwrap();
            let entry = BlockEntry::of(id, Window(1).range());
            partition.recent.insert(entry.id, entry);
        };
        for (arc, id) in [(arcs[0], 1), (arcs[1], 2), (arcs[0], 3), (arcs[1], 4)] {
            list(arc, id);
        }
        let lies = |at: usize, id: u128, uploaded| BlockUploaded {
            arc: arcs[at],
            block: BlockId(id),
            uploaded,
        };
        let pack = |number: u8| Uploaded::Pack {
            pack: Digest([number; 32]),
            offset: 0,
        };
        let whole = [lies(0, 1, pack(1)), lies(1, 2, pack(1))];
        let outdated = [lies(0, 3, pack(2)), lies(0, 9, pack(2))];
        let own = [lies(1, 4, Uploaded::Object), lies(1, 8, Uploaded::Object)];
        let mut done = [&whole[..], &outdated, &own].concat();
        leave_out_outdated(&state, &mut done);
        assert_eq!(done, [&whole[..], &own].concat());
        // A pack that is listed by the partitions it is recorded for.
        let mut moved = vec![lies(1, 1, pack(1)), lies(1, 2, pack(1))];
        leave_out_outdated(&state, &mut moved);
        assert_eq!(moved, []);
    }
}
