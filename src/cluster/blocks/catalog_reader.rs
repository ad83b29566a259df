//! The newest catalog of a bucket, read again and again by somebody who takes no part in the cluster:
//! by the rules of a restore (`plan.rs`), but nothing is fetched and nothing is written.
//!
//! Of every partition that is the newest copy whose blocks are all there, and what was sealed since:
//! a pack's directory says what is in it, and of a block with an object of its own the end is read
//! once. Nothing is read again of a bucket in which nothing has changed but its listing. What is deleted
//! comes with it, so that what is hidden is always that of the blocks that are shown.

use std::collections::BTreeMap;

use super::archive::Archive;
use super::deleted::restoring;
use super::plan::{Inventory, KnownPacks, Lying, PartitionPlan, list, record_of};
use crate::archive::ClusterRecord;
use crate::cluster::control::{Standing, TombstoneId};
use crate::cluster::error::Error;
use crate::model::{BlockEntry, Digest, RingArc, TimestampMs};
use crate::runtime::CancelToken;
use crate::store::{self, BlockProperties, ListedPartition, provisional};

/// What is said of a catalog that cannot be used, at most.
const REASONS_SHOWN: usize = 3;

/// What the bucket names now.
#[derive(Debug)]
pub(in crate::cluster) struct FoundCatalog {
    /// Whose.
    pub(in crate::cluster) cluster: u128,
    /// When its newest copy was put, by the bucket's clock; `None`: there is none.
    pub(in crate::cluster) put: Option<TimestampMs>,
    /// All partitions.
    pub(in crate::cluster) partitions: Vec<ListedPartition>,
    /// What is wrong with what lies there, in words.
    pub(in crate::cluster) complaints: Vec<String>,
    /// What is deleted, and not rewritten in all of them yet.
    pub(in crate::cluster) deletes: BTreeMap<TombstoneId, Standing>,
    /// As of which command of the control group that is.
    pub(in crate::cluster) position: (u64, u64),
}

/// Says what a block is of which only the object's name is known.
pub(in crate::cluster) type Identify<'a> =
    &'a dyn Fn(RingArc, BlockEntry) -> Result<(BlockProperties, BlockEntry), store::Error>;

/// Reads the catalog, and remembers what need not be read again.
pub(in crate::cluster) struct CatalogReader {
    archive: Archive,
    packs: KnownPacks,
    /// Blocks that no catalog named when they were looked into.
    strays: BTreeMap<Digest, BlockEntry>,
    /// What the last answer was made from, if nothing was wrong with it.
    last: Option<(ClusterRecord, u128)>,
}

impl CatalogReader {
    pub(in crate::cluster) fn new(archive: Archive) -> Self {
        Self {
            archive,
            packs: KnownPacks::default(),
            strays: BTreeMap::new(),
            last: None,
        }
    }

    /// The catalog as it is now. `None`: as it was.
    ///
    /// # Errors
    /// When the bucket holds no cluster or no catalog, or cannot be read.
    pub(in crate::cluster) fn read(
        &mut self,
        identify: Identify<'_>,
        cancel: &CancelToken,
    ) -> Result<Option<FoundCatalog>, Error> {
        let record = record_of(&self.archive, cancel)?;
        let inventory = list(&self.archive, &record, &mut self.packs, cancel)?;
        let now = (record, inventory.sum);
        if self.last.as_ref() == Some(&now) {
            return Ok(None);
        }
        let record = &now.0;
        *self.archive.known_homes.lock() = Some(record.homes().collect());
        let mut plan = inventory.plan(&self.archive, record, cancel)?;
        let (plans, complaints) = (&plan.partitions, &mut plan.complaints);
        // Only until when something can be undone depends on the time.
        let (archive, at) = (&self.archive, TimestampMs::MIN);
        let deletes = restoring(archive, record, plans, at, cancel, complaints)?;
        let mut found = FoundCatalog {
            cluster: record.cluster,
            put: plan.partitions.values().filter_map(|one| one.put).max(),
            partitions: Vec::with_capacity(plan.partitions.len()),
            complaints: plan.complaints,
            deletes: deletes.standing,
            position: deletes.position,
        };
        self.refuse_nothing(&found, plan.partitions.is_empty())?;
        let mut strays = BTreeMap::new();
        for (arc, plan) in plan.partitions {
            cancel.check().map_err(store::Error::from)?;
            let mut looking = Looking {
                inventory: &inventory,
                known: &self.strays,
                strays: &mut strays,
                complaints: &mut found.complaints,
            };
            let partition = looking.partition(arc, plan, identify)?;
            found.partitions.push(partition);
        }
        self.strays = strays;
        // What was damaged may have been so on its way.
        self.last = found.complaints.is_empty().then_some(now);
        Ok(Some(found))
    }

    /// A bucket of which nothing can be shown is the wrong one, or not to be understood.
    fn refuse_nothing(&self, found: &FoundCatalog, nothing: bool) -> Result<(), Error> {
        let archive = &self.archive;
        let cluster = format!("{:032x}", found.cluster);
        if nothing && found.complaints.is_empty() {
            return Err(Error::Setting(format!(
                "{archive} holds the cluster {cluster}, but no catalog and no block of it: has it uploaded anything (`cairn flush`)?"
            )));
        }
        if found.put.is_none() && !found.complaints.is_empty() {
            let shown = found.complaints.iter().take(REASONS_SHOWN);
            let shown: Vec<&str> = shown.map(String::as_str).collect();
            return Err(Error::Setting(format!(
                "no catalog of the cluster {cluster} in {archive} can be read: {}",
                shown.join("; ")
            )));
        }
        Ok(())
    }
}

/// One look at all partitions.
struct Looking<'a> {
    inventory: &'a Inventory,
    known: &'a BTreeMap<Digest, BlockEntry>,
    strays: &'a mut BTreeMap<Digest, BlockEntry>,
    complaints: &'a mut Vec<String>,
}

impl Looking<'_> {
    fn partition(
        &mut self,
        arc: RingArc,
        plan: PartitionPlan,
        identify: Identify<'_>,
    ) -> Result<ListedPartition, Error> {
        let mut blocks = plan.copy.entries;
        for entry in &mut blocks {
            if let Some((_, uploaded)) = self.inventory.find(entry) {
                entry.uploaded = uploaded;
            }
        }
        for lying in plan.strays {
            blocks.extend(self.stray(&lying, identify)?);
        }
        Ok(ListedPartition {
            arc,
            version: plan.copy.version,
            blocks,
        })
    }

    /// A block that no catalog names yet. What is none is named and left out.
    fn stray(
        &mut self,
        lying: &Lying,
        identify: Identify<'_>,
    ) -> Result<Option<BlockEntry>, Error> {
        if lying.entry.is_some() {
            return Ok(lying.entry.clone());
        }
        let named = &lying.named;
        if let Some(known) = self.known.get(&named.digest) {
            self.strays.insert(named.digest, known.clone());
            return Ok(Some(known.clone()));
        }
        let by_name = BlockEntry {
            range: named.range,
            level: named.level,
            round: named.round,
            uploaded: lying.uploaded,
            ..provisional(named.digest, lying.part.size)
        };
        let problem = match identify(named.arc, by_name) {
            Ok((properties, entry))
                if (properties.arc, entry.range) == (named.arc, named.range) =>
            {
                self.strays.insert(named.digest, entry.clone());
                return Ok(Some(entry));
            }
            Ok(_) => "it is another block than its name says".to_owned(),
            Err(error @ store::Error::Corrupt { .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        self.complaints
            .push(format!("{}: {problem}: it is left out", lying.part.name));
        Ok(None)
    }
}
