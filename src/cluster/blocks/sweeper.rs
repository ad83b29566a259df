//! The sweeper: removes from the bucket what nobody needs any more.
//!
//! It runs on the leader of the control group alone, and on nobody's word but a majority's: before
//! every batch leadership is confirmed, the state is read anew, and `cluster.json` is looked at; a
//! cluster that was restored elsewhere removes nothing more. It touches only blocks and packs below its
//! own cluster's name, and a week after a restore those of the cluster that it was restored from, that are a day old by the bucket's clock, that were leftovers ([`Known`]) for a
//! whole [`DELETE_DELAY`], so that queries under way are over, and without which the newest copy of
//! the catalog can be restored. Whose clock is wrong removes nothing. A
//! pack goes when none of the blocks in it is needed; what is in one that nobody names is asked of its
//! directory, because its uploader may not have recorded it yet. Anything else stays, and is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::archive::Archive;
use super::known::{Known, manifest};
use crate::archive::{
    self, CATALOG_BYTES_MAX, CatalogCopy, ClusterRecord, LEFTOVERS_MAX, Leftover, Leftovers,
    Listed, Named, NamedBlock, NamedPack, PackDirectory, RECORD_NAME, Standing, blocks_prefix,
    catalog_prefix, packs_prefix, parse_name,
};
use crate::cluster::control::{Confirmed, Control, ControlState};
use crate::cluster::error::Error;
use crate::cluster::manifests::Manifests;
use crate::model::{Incarnation, RingArc, TimestampMs, Uploaded};
use crate::runtime::{Backoff, CancelToken, Chance, Clock};

/// What left the catalog stays so long: queries that are under way may read it, and whoever stopped
/// the wrong thing has a day to notice.
pub(super) const DELETE_DELAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Nothing younger is touched: whoever has put it may still record it.
const YOUNG: Duration = Duration::from_secs(24 * 60 * 60);
/// Listing is what a bucket is slow at, and the delay is a day: four times in it.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// Objects that are removed before leadership is confirmed anew: one request of S3.
const BATCH: usize = 1000;
/// Packs that nobody names whose directories one sweep reads; each costs a request or two.
const PACKS_MAX: usize = 1000;
/// What lies below an ancestor's name is left alone for so long after the restore: whoever finds that
/// the cluster was not lost after all, or that something is missing, has a week.
const HEIRS_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A bucket whose clock is further away refuses requests, or is not to be believed.
const CLOCKS_MAX_MS: i64 = 15 * 60 * 1000;
/// After a failure the next attempt is so far away, twice as far after each further one.
const PAUSE_FIRST: Duration = Duration::from_secs(60);
const PAUSE_LONGEST: Duration = Duration::from_secs(60 * 60);

/// The time, where a majority of these voters agrees with this node's clock.
pub(in crate::cluster) type BelievedTime =
    Arc<dyn Fn(&BTreeSet<Incarnation>) -> Result<TimestampMs, Error> + Send + Sync>;

/// What a sweeper is made from.
pub(in crate::cluster) struct SweeperParts {
    pub(in crate::cluster) archive: Archive,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
    pub(in crate::cluster) believed: BelievedTime,
    pub(in crate::cluster) chance: Arc<dyn Chance>,
    pub(in crate::cluster) manifests: Arc<Manifests>,
}

/// Removes leftovers.
pub(in crate::cluster) struct Sweeper {
    parts: SweeperParts,
    plan: Mutex<Plan>,
}

/// When the next sweep is due.
struct Plan {
    /// `None`: this node did not lead when it last looked.
    next: Option<Duration>,
    backoff: Backoff,
    trouble: Option<String>,
}

/// An object that may go: one block, or several in a pack.
struct Candidate {
    name: String,
    blocks: Vec<NamedBlock>,
    size: u64,
}

/// An object, and the blocks in it.
type Holder = (Vec<NamedBlock>, Listed);

/// Below whose names this cluster may remove.
struct Realm {
    cluster: u128,
    /// Those that it was restored from.
    ancestors: BTreeSet<u128>,
    /// When it was, by the bucket's clock. What came later below their names was never looked at.
    restored: TimestampMs,
}

impl Realm {
    fn has(&self, home: u128, listed: &Listed) -> bool {
        let inherited = self.ancestors.contains(&home) && listed.modified < self.restored;
        home == self.cluster || inherited
    }

    /// Below which names blocks and packs lie.
    fn prefixes(&self) -> Vec<String> {
        let homes = std::iter::once(&self.cluster).chain(&self.ancestors);
        let below = |home: &u128| [blocks_prefix(*home), packs_prefix(*home)];
        homes.flat_map(below).collect()
    }
}

/// What the catalog's copies are asked about.
type Candidates = Vec<Candidate>;

impl Sweeper {
    pub(in crate::cluster) fn new(parts: SweeperParts) -> Self {
        Self {
            parts,
            plan: Mutex::new(Plan {
                next: None,
                backoff: Backoff::new(PAUSE_FIRST, PAUSE_LONGEST),
                trouble: None,
            }),
        }
    }

    /// Why it cannot do its work, if it cannot.
    pub(in crate::cluster) fn trouble(&self) -> Option<String> {
        self.plan.lock().trouble.clone()
    }

    /// Sweeps when it is time. Errors are logged here: nobody waits for it.
    pub(in crate::cluster) fn round(&self, cancel: &CancelToken) {
        let now = self.parts.clock.elapsed();
        if !self.parts.control.is_leader() {
            let mut plan = self.plan.lock();
            (plan.next, plan.trouble) = (None, None);
            return;
        }
        let next = self.plan.lock().next;
        if next.is_some_and(|next| now < next) {
            return;
        }
        let swept = self.sweep(next.is_none(), cancel);
        let mut plan = self.plan.lock();
        match swept {
            Ok(after) => {
                plan.next = Some(now.saturating_add(after));
                plan.backoff.reset();
                plan.trouble = None;
            }
            Err(Error::Archive(archive::Error::CalledOff)) => {}
            Err(error) => {
                let pause = plan.backoff.pause(self.parts.chance.as_ref());
                plan.next = Some(now.saturating_add(pause));
                let text = error.to_string();
                if plan.trouble.as_ref() != Some(&text) {
                    tracing::warn!(bucket = %self.parts.archive, %error, "nothing is removed from the bucket");
                }
                plan.trouble = Some(text);
            }
        }
    }

    /// One sweep; the answer is when the next one is due. `looks` after others: they may have swept
    /// shortly before.
    fn sweep(&self, looks: bool, cancel: &CancelToken) -> Result<Duration, Error> {
        let Some(confirmed) = self.parts.control.confirmed() else {
            return Ok(PAUSE_FIRST);
        };
        let Some(cluster) = confirmed.state.cluster.map(|cluster| cluster.0) else {
            return Ok(PAUSE_FIRST);
        };
        let now = (self.parts.believed)(&confirmed.voters)?;
        if !self.is_ours(cluster, cancel)? {
            return Ok(SWEEP_EVERY);
        }
        let archive = &self.parts.archive;
        let (known, put) = self.remembered(cluster, cancel)?;
        let ago = put.and_then(|put| u64::try_from(now.0.saturating_sub(put.0)).ok());
        let ago = ago.map_or(Duration::MAX, Duration::from_millis);
        if looks && ago < SWEEP_EVERY {
            return Ok(SWEEP_EVERY.saturating_sub(ago));
        }
        let there = archive.wait(cancel, known.put(&archive.bucket, cluster))?;
        self.check_clock(now, there)?;
        let realm = self.realm(cluster, there, cancel)?;
        let (mut leftovers, due) = self.find(&known, confirmed, &realm, there, cancel)?;
        let removed = self.remove(cluster, &due, cancel);
        for name in removed.as_ref().unwrap_or(&Vec::new()) {
            leftovers.0.remove(name);
        }
        if leftovers != known {
            archive.wait(cancel, leftovers.put(&archive.bucket, cluster))?;
        }
        removed?;
        Ok(SWEEP_EVERY)
    }

    /// Whether the bucket is this cluster's and no other was restored from it.
    fn is_ours(&self, cluster: u128, cancel: &CancelToken) -> Result<bool, Error> {
        let archive = &self.parts.archive;
        let record = archive.wait(cancel, ClusterRecord::read(&archive.bucket))?;
        Ok(matches!(
            ClusterRecord::standing(record, cluster),
            Standing::Own(_)
        ))
    }

    /// Its own name, and those of its ancestors once the restore is long ago.
    fn realm(&self, cluster: u128, now: TimestampMs, cancel: &CancelToken) -> Result<Realm, Error> {
        let archive = &self.parts.archive;
        let record = archive.wait(cancel, ClusterRecord::read(&archive.bucket))?;
        let put = archive.wait(cancel, archive.bucket.look(RECORD_NAME))?;
        let mut realm = Realm {
            cluster,
            ancestors: BTreeSet::new(),
            restored: put.map_or(now, |put| put.modified),
        };
        if let Standing::Own(record) = ClusterRecord::standing(record, cluster)
            && is_older(realm.restored, now, HEIRS_WAIT)
        {
            realm.ancestors = record.ancestors.into_iter().collect();
        }
        Ok(realm)
    }

    /// What an earlier sweep found. A list that cannot be read is made anew: all wait once more.
    fn remembered(
        &self,
        cluster: u128,
        cancel: &CancelToken,
    ) -> Result<(Leftovers, Option<TimestampMs>), Error> {
        let archive = &self.parts.archive;
        match archive.wait(cancel, Leftovers::read(&archive.bucket, cluster)) {
            Ok(Some((leftovers, put))) => Ok((leftovers, Some(put))),
            Ok(None) => Ok((Leftovers::default(), None)),
            Err(error) if error.is_of_object() => {
                tracing::warn!(%error, "the sweeper begins its list anew");
                Ok((Leftovers::default(), None))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn check_clock(&self, mine: TimestampMs, theirs: TimestampMs) -> Result<(), Error> {
        let off_ms = mine.0.saturating_sub(theirs.0);
        if off_ms.saturating_abs() <= CLOCKS_MAX_MS {
            return Ok(());
        }
        Err(Error::TooFew(format!(
            "the clocks of this node and of {} differ by {} s (bound {} s): nothing is removed there until the one that is wrong is set",
            self.parts.archive,
            off_ms / 1000,
            CLOCKS_MAX_MS / 1000
        )))
    }

    /// Lists the blocks of a realm: the leftovers, and those of them whose time has come.
    fn find(
        &self,
        before: &Leftovers,
        confirmed: Confirmed,
        realm: &Realm,
        now: TimestampMs,
        cancel: &CancelToken,
    ) -> Result<(Leftovers, Candidates), Error> {
        let archive = &self.parts.archive;
        let known = self.known(confirmed.state, cancel)?;
        let (mut found, mut packs) = (Vec::new(), Vec::new());
        let mut strangers = 0;
        let visit = |listed: Listed| match parse_name(&listed.name) {
            Some(Named::Block(block)) if found.len() < LEFTOVERS_MAX => {
                if realm.has(block.cluster, &listed) && known.is_leftover(&block) {
                    found.push((vec![block], listed));
                }
            }
            Some(Named::Pack(pack)) if packs.len() < PACKS_MAX => {
                if realm.has(pack.cluster, &listed) && !known.names_pack(pack.digest) {
                    packs.push((pack, listed));
                }
            }
            Some(Named::Block(_) | Named::Pack(_)) => {}
            _ => strangers += 1,
        };
        let prefixes = realm.prefixes();
        archive.wait(cancel, archive.bucket.list_all(&prefixes, visit))?;
        let (packs, unreadable) = self.read_packs(packs, cancel)?;
        let no_more = |blocks: &[NamedBlock]| blocks.iter().all(|one| known.is_leftover(one));
        found.extend(packs.into_iter().filter(|(blocks, _)| no_more(blocks)));
        let (mut leftovers, mut due) = (Leftovers::default(), Candidates::new());
        for (blocks, listed) in found {
            let since = before.0.get(&listed.name).map_or(now, |known| known.since);
            let size = listed.size;
            if is_older(since, now, DELETE_DELAY) && is_older(listed.modified, now, YOUNG) {
                let name = listed.name.clone();
                due.push(Candidate { name, blocks, size });
            }
            leftovers.0.insert(listed.name, Leftover { since, size });
        }
        let metrics = archive.bucket.metrics();
        metrics.found(leftovers.0.len() as u64, strangers + unreadable);
        if !due.is_empty() {
            self.keep_restorable(&known, realm.cluster, &mut due, cancel)?;
        }
        Ok((leftovers, due))
    }

    /// What a state names.
    fn known(&self, state: Arc<ControlState>, cancel: &CancelToken) -> Result<Known, Error> {
        Known::read(&self.parts.archive, &self.parts.manifests, state, cancel)
    }

    /// What lies in packs that no entry names, as their directories say. One whose directory cannot
    /// be read stays, and is foreign.
    fn read_packs(
        &self,
        packs: Vec<(NamedPack, Listed)>,
        cancel: &CancelToken,
    ) -> Result<(Vec<Holder>, u64), Error> {
        let bucket = &self.parts.archive.bucket;
        let (mut read, mut strangers) = (Vec::new(), 0);
        for (named, listed) in packs {
            let directory = PackDirectory::read(bucket, &listed.name, listed.size);
            let directory = match self.parts.archive.wait(cancel, directory) {
                Ok(directory) => Some(directory),
                Err(error) if error.is_of_object() => None,
                Err(error) => return Err(error.into()),
            };
            match directory.filter(|directory| directory.is_of(&named)) {
                Some(directory) => read.push((directory.named().collect(), listed)),
                None => strangers += 1,
            }
        }
        Ok((read, strangers))
    }

    /// Adds to a copy of a catalog what its manifest lists; one that cannot be had stays named.
    fn complete(&self, copy: &mut CatalogCopy, cancel: &CancelToken) -> Result<(), Error> {
        let Some(digest) = copy.history else {
            return Ok(());
        };
        let parts = &self.parts;
        let manifest = manifest(&parts.archive, &parts.manifests, copy.arc, digest, cancel)?;
        if let Some(manifest) = manifest {
            let older = manifest.blocks.values();
            let older = older.filter(|entry| entry.uploaded != Uploaded::None);
            copy.entries.extend(older.cloned());
            copy.history = None;
        }
        Ok(())
    }

    /// Leaves out what a restore from the newest copies of the catalog would want.
    fn keep_restorable(
        &self,
        known: &Known,
        cluster: u128,
        due: &mut Candidates,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let copies = self.newest_copies(cluster, cancel)?;
        let mut read: BTreeMap<RingArc, Vec<CatalogCopy>> = BTreeMap::new();
        let blocks = due.iter().flat_map(|candidate| &candidate.blocks);
        for (arc, _) in blocks.flat_map(|block| known.meeting(block.arc)) {
            if let (Some((_, names)), false) = (copies.get(&arc), read.contains_key(&arc)) {
                read.insert(arc, self.read_copies(cluster, arc, names, cancel)?);
            }
        }
        let is_restorable = |block: &NamedBlock| {
            known.meeting(block.arc).all(|(arc, _)| {
                let newest = read.get(&arc).map_or(&[][..], Vec::as_slice);
                newest.iter().any(|copy| known.replaced_in(copy, block))
                    && newest
                        .iter()
                        .all(|copy| copy.entries.iter().all(|e| e.digest != block.digest))
            })
        };
        due.retain(|candidate| candidate.blocks.iter().all(is_restorable));
        Ok(())
    }

    /// The names of the copies of the highest version, by partition.
    fn newest_copies(
        &self,
        cluster: u128,
        cancel: &CancelToken,
    ) -> Result<BTreeMap<RingArc, (u64, Vec<String>)>, Error> {
        let archive = &self.parts.archive;
        let mut newest: BTreeMap<RingArc, (u64, Vec<String>)> = BTreeMap::new();
        let visit = |listed: Listed| {
            if let Some(Named::Catalog { arc, version, .. }) = parse_name(&listed.name) {
                let (highest, names) = newest.entry(arc).or_default();
                if version > *highest {
                    (*highest, *names) = (version, Vec::new());
                }
                if version == *highest {
                    names.push(listed.name);
                }
            }
        };
        let prefix = catalog_prefix(cluster);
        archive.wait(cancel, archive.bucket.list(&prefix, visit))?;
        Ok(newest)
    }

    /// Those of them that can be read.
    fn read_copies(
        &self,
        cluster: u128,
        arc: RingArc,
        names: &[String],
        cancel: &CancelToken,
    ) -> Result<Vec<CatalogCopy>, Error> {
        let archive = &self.parts.archive;
        let mut copies = Vec::new();
        for name in names {
            let bytes = archive.wait(cancel, archive.bucket.get(name, CATALOG_BYTES_MAX));
            let copy = match bytes {
                Ok(Some(bytes)) => CatalogCopy::decode(&bytes).ok(),
                Ok(None) => None,
                Err(error) if error.is_of_object() => None,
                Err(error) => return Err(error.into()),
            };
            let copy = copy.filter(|copy| (copy.cluster, copy.arc) == (cluster, arc));
            if let Some(mut copy) = copy {
                self.complete(&mut copy, cancel)?;
                copies.push(copy);
            }
        }
        Ok(copies)
    }

    /// Removes what is due, batch by batch; the names of what is gone.
    fn remove(
        &self,
        cluster: u128,
        due: &Candidates,
        cancel: &CancelToken,
    ) -> Result<Vec<String>, Error> {
        let archive = &self.parts.archive;
        let mut removed = Vec::new();
        for batch in due.chunks(BATCH) {
            let Some(confirmed) = self.parts.control.confirmed() else {
                break;
            };
            if !self.is_ours(cluster, cancel)? {
                break;
            }
            let known = self.known(confirmed.state, cancel)?;
            let batch = batch
                .iter()
                .filter(|one| one.blocks.iter().all(|block| known.is_leftover(block)));
            let (names, sizes): (Vec<String>, Vec<u64>) =
                batch.map(|one| (one.name.clone(), one.size)).unzip();
            archive.wait(cancel, archive.bucket.delete_all(&names))?;
            let (objects, bytes) = (names.len() as u64, sizes.iter().sum());
            archive.bucket.metrics().swept(objects, bytes);
            tracing::info!(bucket = %archive, objects, bytes, "leftovers are removed from the bucket");
            removed.extend(names);
        }
        Ok(removed)
    }
}

/// Whether a time lies so far back.
fn is_older(at: TimestampMs, now: TimestampMs, age: Duration) -> bool {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    now.0.saturating_sub(at.0) >= age_ms
}
