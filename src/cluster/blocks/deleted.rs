//! What is deleted, in the bucket (decision 27): whoever leads puts a copy of it after each change, and
//! a restore begins with the newest one.
//!
//! A restored cluster must not show what was deleted: what stood when the old one was lost stands again
//! from the first moment. What had ended is in force again only where the catalog that is restored may name
//! blocks from before its end; then it can be undone anew, because what was written there since is hidden
//! too. A node that only looks at the bucket hides by the same rules.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::archive::Archive;
use super::plan::{PartitionPlan, SLACK_MS};
use crate::archive::{
    ClusterRecord, Listed, Named, NamedDeletes, deletes_name, deletes_prefix, parse_name, verify,
};
use crate::cluster::control::{
    ControlState, DELETES_BYTES_MAX, DeletesCopy, Ended, Standing, TombstoneId, WireError,
};
use crate::cluster::error::Error;
use crate::model::{Digest, RingArc, TimestampMs};
use crate::runtime::CancelToken;

/// Copies that stay: for whoever restores while the newest is damaged.
const COPIES_KEPT: usize = 8;

/// Copies what is deleted into the bucket, on the node that leads.
pub(super) struct DeletesMirror {
    archive: Archive,
    /// What the bucket has, as far as this node knows; `None`: it has not looked since it leads.
    known: Mutex<Option<DeletesCopy>>,
    /// What it had when this node last looked for somebody who waits, while another one led.
    seen: Mutex<Option<DeletesCopy>>,
}

impl DeletesMirror {
    pub(super) fn new(archive: Archive) -> Self {
        Self {
            archive,
            known: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Whether the bucket does not have what is deleted, as far as this node is to see to that: because it leads,
    /// or ▲ because somebody waits here for everything to be there, whoever puts it.
    pub(super) fn waits(
        &self,
        state: &ControlState,
        (leads, hurry): (bool, bool),
        now: TimestampMs,
    ) -> bool {
        let copy = match leads {
            true => self.known.lock(),
            false => self.seen.lock(),
        };
        (leads || hurry)
            && match &*copy {
                Some(copy) => copy.follow(state, now).is_some(),
                None => !state.tombstones.is_empty(),
            }
    }

    /// Looks what whoever leads has put.
    ///
    /// # Errors
    /// When the bucket cannot be asked.
    pub(super) fn look(&self, cluster: u128, cancel: &CancelToken) -> Result<(), Error> {
        let found = newest(&self.archive, cluster, cancel, &mut Vec::new())?;
        *self.seen.lock() = found.map(|found| found.copy);
        Ok(())
    }

    /// Whether there is anything to do: a node that has just begun to lead looks once.
    pub(super) fn is_due(&self, state: &ControlState, leads: bool, now: TimestampMs) -> bool {
        let mut known = self.known.lock();
        if !leads {
            // Another one writes, and what it writes is not known here.
            *known = None;
        }
        leads
            && known
                .as_ref()
                .is_none_or(|known| known.follow(state, now).is_some())
    }

    /// Puts what has changed.
    ///
    /// # Errors
    /// When the bucket does not take it.
    pub(super) fn put(
        &self,
        state: &ControlState,
        cluster: u128,
        now: TimestampMs,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let known = self.known.lock().take();
        let known = match known {
            Some(known) => known,
            // What is damaged is put again with the next change.
            None => newest(&self.archive, cluster, cancel, &mut Vec::new())?
                .map_or_else(DeletesCopy::default, |found| found.copy),
        };
        let next = known.follow(state, now);
        if let Some(next) = &next {
            put(&self.archive, next, cancel)?;
            thin(&self.archive, cluster, cancel)?;
        }
        *self.known.lock() = Some(next.unwrap_or(known));
        Ok(())
    }
}

/// Puts a copy, and reads it back.
pub(super) fn put(
    archive: &Archive,
    copy: &DeletesCopy,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let (bytes, bucket) = (copy.encode(), &archive.bucket);
    let digest = Digest(*blake3::hash(&bytes).as_bytes());
    let name = deletes_name(copy.cluster, copy.position, digest);
    let size = bytes.len() as u64;
    archive.wait(cancel, bucket.put(&name, bytes.into()))?;
    archive.wait(cancel, verify(bucket, &name, size, digest))?;
    Ok(())
}

fn thin(archive: &Archive, cluster: u128, cancel: &CancelToken) -> Result<(), Error> {
    let old = list(archive, cluster, cancel)?
        .into_iter()
        .skip(COPIES_KEPT);
    let old: Vec<String> = old.map(|(_, listed)| listed.name).collect();
    if !old.is_empty() {
        archive.wait(cancel, archive.bucket.delete_all(&old))?;
    }
    Ok(())
}

/// The copies of a cluster, the newest first.
fn list(
    archive: &Archive,
    cluster: u128,
    cancel: &CancelToken,
) -> Result<Vec<(NamedDeletes, Listed)>, Error> {
    let mut copies = Vec::new();
    let visit = |listed: Listed| {
        if let Some(Named::Deletes(named)) = parse_name(&listed.name) {
            copies.push((named, listed));
        }
    };
    archive.wait(cancel, archive.bucket.list(&deletes_prefix(cluster), visit))?;
    copies.sort_by_key(|(named, listed)| std::cmp::Reverse((named.position, listed.modified)));
    Ok(copies)
}

/// A copy that can be read.
struct Found {
    copy: DeletesCopy,
    /// Whether there is none that is newer.
    newest: bool,
}

/// The newest copy of a cluster that can be read.
fn newest(
    archive: &Archive,
    cluster: u128,
    cancel: &CancelToken,
    complaints: &mut Vec<String>,
) -> Result<Option<Found>, Error> {
    let mut newest = true;
    for (named, listed) in list(archive, cluster, cancel)? {
        match read(archive, &named, &listed, cancel)? {
            Ok(copy) => return Ok(Some(Found { copy, newest })),
            Err(problem) => complaints.push(format!(
                "{}: {problem}: it is left out, and what was deleted last may be shown again",
                listed.name
            )),
        }
        newest = false;
    }
    Ok(None)
}

/// One copy; the text says what is wrong with it.
fn read(
    archive: &Archive,
    named: &NamedDeletes,
    listed: &Listed,
    cancel: &CancelToken,
) -> Result<Result<DeletesCopy, String>, Error> {
    let got = archive.bucket.get(&listed.name, DELETES_BYTES_MAX as u64);
    let bytes = match archive.wait(cancel, got) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Err("it is gone".to_owned())),
        Err(error) if error.is_of_object() => return Ok(Err(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    if *blake3::hash(&bytes).as_bytes() != named.digest.0 {
        return Ok(Err("it is not what its name says".to_owned()));
    }
    match DeletesCopy::decode(&bytes) {
        Ok(copy) if (copy.cluster, copy.position) == (named.cluster, named.position) => {
            Ok(Ok(copy))
        }
        Ok(_) => Ok(Err("it is of another cluster or time".to_owned())),
        // To go on without it would be to show what is deleted.
        Err(WireError::Newer(_)) => Err(Error::Setting(format!(
            "{} was written by a newer version: take that one",
            listed.name
        ))),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// What of deletes is in force for whoever takes the bucket's catalogs.
#[derive(Default)]
pub(super) struct Restoring {
    /// What stands from the first moment on.
    pub(super) standing: BTreeMap<TombstoneId, Standing>,
    /// What had ended and stays so.
    pub(super) ended: BTreeMap<TombstoneId, Ended>,
    /// Those that had ended and stand again, because what they hid may be back.
    pub(super) back: Vec<TombstoneId>,
    /// As of which command of the control group.
    pub(super) position: (u64, u64),
    /// Whether the bucket has any copy: then the new cluster begins with one of its own.
    pub(super) is_there: bool,
}

/// Decides which deletes of the clusters of a record are in force in the one that is made of some plans.
///
/// # Errors
/// When the bucket fails, or a newer version wrote them.
pub(super) fn restoring(
    archive: &Archive,
    record: &ClusterRecord,
    plans: &BTreeMap<RingArc, PartitionPlan>,
    now: TimestampMs,
    cancel: &CancelToken,
    complaints: &mut Vec<String>,
) -> Result<Restoring, Error> {
    let mut all_newest = true;
    for home in record.homes() {
        let before = complaints.len();
        let found = newest(archive, home, cancel, complaints)?;
        all_newest &= complaints.len() == before;
        if let Some(found) = found {
            all_newest &= found.newest;
            return Ok(decide(found.copy, all_newest, plans, now));
        }
    }
    Ok(Restoring::default())
}

fn decide(
    copy: DeletesCopy,
    newest: bool,
    plans: &BTreeMap<RingArc, PartitionPlan>,
    now: TimestampMs,
) -> Restoring {
    let mut restoring = Restoring {
        standing: copy.open,
        is_there: true,
        position: copy.position,
        ..Restoring::default()
    };
    if !newest {
        // They may have ended since, and something may have been written there: nothing is removed
        // before a day is over.
        for one in restoring.standing.values_mut() {
            (one.begun, one.tombstone.at) = (false, now.max(one.tombstone.at));
        }
    }
    for (id, ended) in copy.ended {
        if !may_be_back(&ended, plans) {
            restoring.ended.insert(id, ended);
            continue;
        }
        let mut tombstone = ended.tombstone;
        tombstone.at = now.max(tombstone.at);
        restoring.back.push(id);
        restoring
            .standing
            .insert(id, Standing::new(tombstone, false));
    }
    restoring
}

/// Whether blocks that are restored may hold something of a delete that has ended.
fn may_be_back(ended: &Ended, plans: &BTreeMap<RingArc, PartitionPlan>) -> bool {
    let range = ended.tombstone.deletion.range;
    plans.iter().any(|(arc, plan)| {
        let mut versions = ended.versions.iter();
        let older = versions.any(|(of, version)| of.meets(*arc) && plan.copy.version < *version);
        let mut named = plan.copy.entries.iter();
        let mut strays = plan.strays.iter();
        let until = ended.at.plus_ms(SLACK_MS);
        older && named.any(|entry| entry.range.overlaps(range))
            || strays.any(|one| one.named.range.overlaps(range) && one.modified <= until)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::archive::MemoryBucket;
    use crate::cluster::control::{ClusterId, Tombstone};
    use crate::model::{Deletion, MatchOp, Matcher, TenantId, TimeRange};
    use crate::runtime::{Clock, ManualClock};

    fn state(deleted: &[u128], applied: u64) -> ControlState {
        let stand = |id: &u128| {
            let tombstone = Tombstone {
                id: TombstoneId(*id),
                deletion: Deletion {
                    tenant: TenantId::new("tenant").unwrap(),
                    matchers: vec![Matcher::new("job", MatchOp::Equal, "old").unwrap()],
                    range: TimeRange::ALL,
                },
                at: TimestampMs(9),
            };
            (TombstoneId(*id), Standing::new(tombstone, false))
        };
        ControlState {
            cluster: Some(ClusterId(1)),
            applied,
            tombstones: Arc::new(deleted.iter().map(stand).collect()),
            ..ControlState::default()
        }
    }

    /// Would catch a flush of a node that does not lead, and is over before the bucket knows what is deleted: if all
    /// disks were lost then, it would be shown again.
    #[test]
    fn who_waits_for_the_bucket_waits_for_what_another_puts() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs(1000)));
        let bucket = MemoryBucket::new(Arc::clone(&clock));
        let mirror = || {
            let archive = Archive::over(bucket.for_node(&clock), runtime.handle());
            DeletesMirror::new(archive)
        };
        let (leader, other) = (mirror(), mirror());
        let (now, cancel) = (clock.now(), CancelToken::new());
        let one = state(&[1], 5);
        let waits = |state: &ControlState| other.waits(state, (false, true), now);
        assert!(!other.waits(&one, (false, false), now), "nobody waits");
        assert!(waits(&one) && !waits(&state(&[], 4)));
        other.look(1, &cancel).unwrap();
        assert!(waits(&one), "nothing is there");
        leader.put(&one, 1, now, &cancel).unwrap();
        other.look(1, &cancel).unwrap();
        assert!(!waits(&one));
        // The bucket may know more than this node.
        assert!(!waits(&state(&[], 4)));
        let two = state(&[1, 2], 6);
        assert!(waits(&two) && waits(&state(&[], 6)));
        leader.put(&two, 1, now, &cancel).unwrap();
        other.look(1, &cancel).unwrap();
        assert!(!waits(&two));
    }
}
