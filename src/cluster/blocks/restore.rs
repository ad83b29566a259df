//! An empty data directory becomes the first node of a cluster that was lost, from the bucket
//! alone.
//!
//! Either everything is fetched and checked, or only the catalog is read, and the blocks stay where
//! they are and are read there ([`RestoreExtent`]); then the bucket's record names the new cluster and its
//! ancestors; last, in one batch, the control state is written, without which the directory is as
//! empty as before. Interrupted anywhere, the same command goes on where it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::archive::Archive;
use super::deleted::{self, Restoring, restoring};
use super::plan::{Inventory, KnownPacks, Lying, PartitionPlan, list, record_of};
use crate::archive::{ArchiveMetrics, ClusterRecord, Part};
use crate::cluster::control::{
    ClusterId, Control, ControlState, DeletesCopy, LocalControl, RestoredPartition, restored_state,
};
use crate::cluster::error::Error;
use crate::cluster::opening::{MemberSettings, World, open_engine};
use crate::model::{BlockEntry, RingArc};
use crate::runtime::CancelToken;
use crate::store::{
    DataDir, Engine, HeadSettings, Store, StoreParts, begin_elsewhere, forget_elsewhere,
    provisional,
};

/// How far a restore is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RestoreProgress {
    /// Blocks to fetch, as far as is known.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that are here.
    pub blocks_done: u64,
    /// Bytes that are here.
    pub bytes_done: u64,
}

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The new cluster.
    pub cluster: String,
    /// The one that was lost.
    pub from: String,
    /// Blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Samples in them.
    pub samples: u64,
    /// Blocks among them that no catalog named yet.
    pub adopted: u64,
    /// Deletes that hide something of it from the first moment on.
    pub deletes: u64,
    /// What could not be restored, in words.
    pub complaints: Vec<String>,
}

/// What a restore brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreExtent {
    /// What is where: the blocks stay in the bucket, and are read there.
    Catalog,
    /// All blocks, too.
    Blocks,
}

/// Prepares the data directory that settings name from the bucket that they name.
///
/// # Errors
/// When the directory is not empty, the bucket holds no cluster or cannot be read, or a disk fails.
pub fn restore(
    settings: &MemberSettings,
    world: &World,
    extent: RestoreExtent,
    show: &dyn Fn(RestoreProgress),
) -> Result<Restored, Error> {
    let metrics = ArchiveMetrics::register(&mut Registry::default());
    let archive = Archive::open(&settings.archive, &world.clock, &world.runtime, metrics)?;
    let archive = archive.ok_or_else(|| {
        let text = "archive.kind is \"none\": name the bucket to restore from";
        Error::Setting(text.to_owned())
    })?;
    let directory = DataDir::open(&settings.data_dir, world.chance.as_ref())?;
    let engine = open_engine(directory.path(), settings.engine_cache_bytes)?;
    restore_on(engine, directory, settings, world, &archive, extent, show)
}

/// The same on an engine that is open already.
pub(in crate::cluster) fn restore_on(
    engine: Arc<dyn Engine>,
    directory: DataDir,
    settings: &MemberSettings,
    world: &World,
    archive: &Archive,
    extent: RestoreExtent,
    show: &dyn Fn(RestoreProgress),
) -> Result<Restored, Error> {
    refuse_used(&engine, directory.path())?;
    forget_elsewhere(engine.as_ref())?;
    let cancel = &world.cancel;
    archive.wait(cancel, archive.bucket.probe())?;
    let record = record_of(archive, cancel)?;
    let inventory = list(archive, &record, &mut KnownPacks::default(), cancel)?;
    let mut plan = inventory.plan(archive, &record, cancel)?;
    let now = world.clock.now();
    let (plans, complaints) = (&plan.partitions, &mut plan.complaints);
    let deletes = restoring(archive, &record, plans, now, cancel, complaints)?;
    complaints.extend(deletes.back.iter().map(|id| format!(
        "the delete {id} had ended after the catalogs that are restored were written: it hides its samples again, for a day it can be undone (cairn delete --undo {id})"
    )));
    let me = directory.incarnation();
    let cluster = ClusterId(world.chance.next_u128());
    let store = empty_store(&engine, directory, cluster, settings, world)?;
    let mut taking = Taking {
        archive,
        store: &store,
        inventory: &inventory,
        cancel,
        extent,
        show,
        progress: RestoreProgress::default(),
        adopted: 0,
        complaints: plan.complaints,
    };
    let partitions = taking.all(plan.partitions)?;
    let (progress, adopted) = (taking.progress, taking.adopted);
    let complaints = std::mem::take(&mut taking.complaints);
    store.close()?;
    let standing = deletes.standing.clone();
    let state = restored_state(cluster, me, &partitions, standing).map_err(Error::Setting)?;
    if extent == RestoreExtent::Catalog {
        let mut all = Vec::new();
        for (arc, partition) in &state.partitions {
            if !partition.recent.is_empty() {
                all.push((*arc, partition.version, &partition.recent));
            }
        }
        begin_elsewhere(engine.as_ref(), all.into_iter())?;
    }
    begin(&engine, archive, &record, (&state, deletes), cancel)?;
    let entries = partitions.values().flat_map(|p| &p.entries);
    Ok(Restored {
        cluster: cluster.to_string(),
        from: format!("{:032x}", record.cluster),
        blocks: progress.blocks_done,
        bytes: entries.clone().map(|entry| entry.size).sum(),
        samples: entries.map(|entry| entry.samples).sum(),
        adopted,
        deletes: state.tombstones.len() as u64,
        complaints,
    })
}

/// Restoring over something would be losing it.
fn refuse_used(engine: &Arc<dyn Engine>, path: &Path) -> Result<(), Error> {
    let control = LocalControl::open(Arc::clone(engine))?;
    if control.state().cluster.is_none() {
        return Ok(());
    }
    Err(Error::Setting(format!(
        "the data directory {} holds a cluster already: restore into an empty one (--data-dir)",
        path.display()
    )))
}

/// A store that holds nothing: what files are received by.
fn empty_store(
    engine: &Arc<dyn Engine>,
    directory: DataDir,
    cluster: ClusterId,
    settings: &MemberSettings,
    world: &World,
) -> Result<Store, Error> {
    Ok(Store::open(StoreParts {
        directory,
        engine: Arc::clone(engine),
        cluster_id: cluster.0,
        log: settings.log.clone(),
        head: HeadSettings::default(),
        head_bytes_max: 0,
        decoded_bytes_max: 0,
        clock: Arc::clone(&world.clock),
        chance: Arc::clone(&world.chance),
    })?)
}

/// The point of no return: the bucket's record, what is deleted as the new cluster's own, then the control
/// state.
fn begin(
    engine: &Arc<dyn Engine>,
    archive: &Archive,
    record: &ClusterRecord,
    (state, deletes): (&ControlState, Restoring),
    cancel: &CancelToken,
) -> Result<(), Error> {
    let heir = ClusterRecord {
        cluster: state.cluster.map_or(0, |cluster| cluster.0),
        ancestors: record.homes().collect(),
    };
    archive.wait(cancel, heir.write(&archive.bucket))?;
    if deletes.is_there {
        // From now on its ancestors' copies say nothing any more.
        let copy = DeletesCopy::of(state, deletes.ended);
        deleted::put(archive, &copy, cancel)?;
    }
    LocalControl::begin(engine.as_ref(), state)?;
    Ok(())
}

/// A restore under way.
struct Taking<'a> {
    archive: &'a Archive,
    store: &'a Store,
    inventory: &'a Inventory,
    cancel: &'a CancelToken,
    extent: RestoreExtent,
    show: &'a dyn Fn(RestoreProgress),
    progress: RestoreProgress,
    adopted: u64,
    complaints: Vec<String>,
}

impl Taking<'_> {
    fn all(
        &mut self,
        plans: BTreeMap<RingArc, PartitionPlan>,
    ) -> Result<BTreeMap<RingArc, RestoredPartition>, Error> {
        for plan in plans.values() {
            let named = plan.copy.entries.iter().map(|entry| entry.size);
            let strays = plan.strays.iter().map(|lying| lying.part.size);
            for size in named.chain(strays) {
                self.progress.blocks += 1;
                self.progress.bytes = self.progress.bytes.saturating_add(size);
            }
        }
        (self.show)(self.progress);
        let mut partitions = BTreeMap::new();
        for (arc, plan) in plans {
            partitions.insert(arc, self.partition(plan)?);
        }
        Ok(partitions)
    }

    fn partition(&mut self, plan: PartitionPlan) -> Result<RestoredPartition, Error> {
        let mut entries = Vec::with_capacity(plan.copy.entries.len());
        for mut entry in plan.copy.entries {
            let Some((part, uploaded)) = self.inventory.find(&entry) else {
                continue;
            };
            entry.uploaded = uploaded;
            if self.take(&part, &entry)? {
                entries.push(entry);
            }
        }
        for lying in plan.strays {
            if let Some(entry) = self.adopt(&lying)? {
                self.adopted += 1;
                if self.extent == RestoreExtent::Catalog {
                    self.store.unstage(entry.id)?;
                }
                entries.push(entry);
            }
        }
        Ok(RestoredPartition {
            version: plan.copy.version,
            expired_before: plan.copy.expired_before,
            entries,
        })
    }

    /// Takes a block that the catalog names: its file, or where it is.
    fn take(&mut self, part: &Part, entry: &BlockEntry) -> Result<bool, Error> {
        if self.extent == RestoreExtent::Blocks {
            return self.fetch(part, entry);
        }
        self.progress.blocks_done += 1;
        self.progress.bytes_done = self.progress.bytes_done.saturating_add(entry.size);
        (self.show)(self.progress);
        Ok(true)
    }

    /// Fetches a file; an object that is damaged is named and left out.
    fn fetch(&mut self, part: &Part, entry: &BlockEntry) -> Result<bool, Error> {
        let before = self.progress.bytes_done;
        let bytes = std::cell::Cell::new(before);
        let (show, progress) = (self.show, self.progress);
        let note = |more: u64| {
            bytes.set(bytes.get().saturating_add(more));
            show(RestoreProgress {
                bytes_done: bytes.get(),
                ..progress
            });
        };
        let fetched = self
            .archive
            .fetch_part(self.store, part, entry, self.cancel, &note);
        self.progress.bytes_done = before.saturating_add(entry.size);
        self.progress.blocks_done += u64::from(fetched.is_ok());
        (self.show)(self.progress);
        match fetched {
            Ok(()) => Ok(true),
            Err(error) if is_damage(&error) => {
                self.complaints
                    .push(format!("{error}: what is in it is lost"));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// A block that no catalog names says itself what it is.
    fn adopt(&mut self, lying: &Lying) -> Result<Option<BlockEntry>, Error> {
        let named = &lying.named;
        let provisional = provisional(named.digest, lying.part.size);
        if !self.fetch(&lying.part, &provisional)? {
            return Ok(None);
        }
        let problem = match self.store.identify(&provisional, self.cancel) {
            Ok((properties, entry))
                if (properties.arc, entry.range) == (named.arc, named.range) =>
            {
                let uploaded = lying.uploaded;
                return Ok(Some(BlockEntry { uploaded, ..entry }));
            }
            Ok((_, entry)) => {
                self.store.unstage(entry.id)?;
                "it is another block than its name says".to_owned()
            }
            Err(error) => error.to_string(),
        };
        self.progress.blocks_done = self.progress.blocks_done.saturating_sub(1);
        self.complaints
            .push(format!("{}: {problem}: it is left out", lying.part.name));
        Ok(None)
    }
}

/// Whether an object is not what it should be: others may be.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Archive(error) => error.is_of_object(),
        Error::Store(crate::store::Error::Corrupt { .. }) => true,
        _ => false,
    }
}
