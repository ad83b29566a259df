//! What a restore takes: of every partition the newest catalog whose blocks are all there, and the
//! blocks that were put after it and that no catalog names yet.
//!
//! A catalog is whole with the manifest that it names. Where no whole one is left, every block of the
//! partition that the best one does not name is looked into, merged ones too.
//!
//! Real samples are always safe to add: a block that a merge had replaced, taken once more, holds
//! nothing that the merged one does not. So what is certain to have been replaced is left out because reading it
//! twice is work ([`Passed`](crate::archive::Passed)), and what is not certain is taken. Only what had expired stays away.

mod strays;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;

use super::archive::Archive;
use crate::archive::{
    CATALOG_BYTES_MAX, CatalogCopy, ClusterRecord, Error, Listed, Named, NamedBlock, PackDirectory,
    Part, blocks_prefix, catalog_prefix, deletes_prefix, manifests_prefix, packs_prefix,
    parse_name,
};
use crate::cluster::control::{MANIFEST_BYTES_MAX, Manifest};
use crate::cluster::error::Error as ClusterError;
use crate::model::{BlockEntry, Digest, RingArc, TimestampMs, Uploaded};
use crate::runtime::CancelToken;

pub(super) use strays::SLACK_MS;

/// Directories of packs that are read at a time.
const READS: usize = 16;

/// The directories of packs that were read, by the names of their objects: whoever lists again reads
/// those alone that are new.
pub(super) type KnownPacks = BTreeMap<String, (Listed, PackDirectory)>;

/// What lies in the bucket.
#[derive(Default)]
pub(super) struct Inventory {
    /// The blocks that lie there, by what is in them.
    blocks: BTreeMap<Digest, Lying>,
    /// The packs, by their names' digests.
    packs: BTreeMap<Digest, Listed>,
    /// The copies of catalogs, by partition and cluster.
    copies: BTreeMap<(RingArc, u128), Vec<(u64, Listed)>>,
    /// The manifests, by what is in them.
    manifests: BTreeMap<Digest, Vec<Listed>>,
    /// Objects that are not ours.
    pub(super) strangers: u64,
    /// What is wrong with packs, in words.
    complaints: Vec<String>,
    /// A sum over all that was listed: equal ones are of equal listings.
    pub(super) sum: u128,
}

/// A block in the bucket.
#[derive(Clone)]
pub(super) struct Lying {
    pub(super) named: NamedBlock,
    pub(super) part: Part,
    pub(super) uploaded: Uploaded,
    /// What a pack's directory says of it.
    pub(super) entry: Option<BlockEntry>,
    /// When its object was put.
    pub(super) modified: TimestampMs,
}

/// One partition as it is restored.
pub(super) struct PartitionPlan {
    /// Its catalog.
    pub(super) copy: CatalogCopy,
    /// When that was put; `None`: there is none, and all there is are blocks.
    pub(super) put: Option<TimestampMs>,
    /// Blocks that the catalog does not name, to be looked into.
    pub(super) strays: Vec<Lying>,
}

/// All partitions, and what is wrong with what lies there.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) partitions: BTreeMap<RingArc, PartitionPlan>,
    pub(super) complaints: Vec<String>,
}

/// Lists what the clusters of a record have put there; reads the directories of packs that are not
/// known yet.
pub(super) fn list(
    archive: &Archive,
    record: &ClusterRecord,
    known: &mut KnownPacks,
    cancel: &CancelToken,
) -> Result<Inventory, Error> {
    let mut inventory = Inventory::default();
    for home in record.homes() {
        // Catalogs first: what one of a living cluster names was put before it, and is listed here.
        let prefixes = [
            catalog_prefix(home),
            manifests_prefix(home),
            blocks_prefix(home),
            packs_prefix(home),
            deletes_prefix(home),
        ];
        let visit = |listed: Listed| inventory.add(listed);
        archive.wait(cancel, archive.bucket.list_all(&prefixes, visit))?;
    }
    inventory.look_into_packs(archive, known, cancel)?;
    Ok(inventory)
}

/// Which cluster lives in a bucket that is to be read.
pub(super) fn record_of(
    archive: &Archive,
    cancel: &CancelToken,
) -> Result<ClusterRecord, ClusterError> {
    let record = archive.wait(cancel, ClusterRecord::read(&archive.bucket))?;
    record.ok_or_else(|| {
        ClusterError::Setting(format!(
            "{archive} holds no cluster (there is no cluster.json): look at archive.s3.prefix, or at what is mounted"
        ))
    })
}

impl Inventory {
    fn add(&mut self, listed: Listed) {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&listed.size.to_le_bytes());
        hash.update(&listed.modified.0.to_le_bytes());
        hash.update(listed.name.as_bytes());
        self.sum = self.sum.wrapping_add(hash.digest128());
        match parse_name(&listed.name) {
            Some(Named::Block(named)) => {
                let lying = Lying {
                    named,
                    part: Part::whole(listed.name, listed.size),
                    uploaded: Uploaded::Object,
                    entry: None,
                    modified: listed.modified,
                };
                self.blocks.insert(named.digest, lying);
            }
            Some(Named::Pack(pack)) => {
                self.packs.insert(pack.digest, listed);
            }
            Some(Named::Catalog {
                cluster,
                arc,
                version,
                ..
            }) => {
                let copies = self.copies.entry((arc, cluster)).or_default();
                copies.push((version, listed));
            }
            Some(Named::Manifest { digest, .. }) => {
                self.manifests.entry(digest).or_default().push(listed);
            }
            // Read when the catalogs are known (`deleted.rs`).
            Some(Named::Deletes(_)) => {}
            _ => self.strangers += 1,
        }
    }

    /// Reads the directories of the packs, several at a time: what the catalogs do not name is found
    /// there.
    fn look_into_packs(
        &mut self,
        archive: &Archive,
        known: &mut KnownPacks,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let bucket = &archive.bucket;
        let mut before = std::mem::take(known);
        let (mut fresh, mut packs) = (Vec::new(), Vec::new());
        for (digest, listed) in self.packs.clone() {
            match before.remove(&listed.name) {
                Some((as_it_was, directory)) if as_it_was == listed => {
                    packs.push((digest, listed, Ok(directory)));
                }
                _ => fresh.push((digest, listed)),
            }
        }
        let reads = fresh.into_iter().map(|(digest, listed)| async move {
            let read = PackDirectory::read(bucket, &listed.name, listed.size).await;
            (digest, listed, read)
        });
        let all = futures_util::stream::iter(reads).buffer_unordered(READS);
        packs.extend(archive.wait(cancel, async { Ok(all.collect::<Vec<_>>().await) })?);
        for (digest, listed, read) in packs {
            let named = parse_name(&listed.name);
            match read {
                Ok(directory) if matches!(&named, Some(Named::Pack(pack)) if directory.is_of(pack)) =>
                {
                    self.add_packed(digest, &listed, &directory);
                    known.insert(listed.name.clone(), (listed, directory));
                }
                Ok(_) => self.complain(&listed, "it is of another cluster or range"),
                Err(error) if error.is_of_object() => self.complain(&listed, &error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn complain(&mut self, pack: &Listed, problem: &str) {
        self.complaints.push(format!(
            "{}: {problem}: what no catalog names in it is left out",
            pack.name
        ));
    }

    fn add_packed(&mut self, pack: Digest, listed: &Listed, directory: &PackDirectory) {
        for (named, block) in directory.named().zip(&directory.blocks) {
            let uploaded = Uploaded::Pack {
                pack,
                offset: block.offset,
            };
            let lying = Lying {
                named,
                entry: Some(BlockEntry {
                    uploaded,
                    ..block.entry.clone()
                }),
                part: Part {
                    name: listed.name.clone(),
                    from: block.offset,
                    size: block.entry.size,
                },
                uploaded,
                modified: listed.modified,
            };
            self.blocks.entry(named.digest).or_insert(lying);
        }
    }

    /// Where a block of a catalog lies: where that says, or wherever else there is one like it.
    pub(super) fn find(&self, entry: &BlockEntry) -> Option<(Part, Uploaded)> {
        if let Uploaded::Pack { pack, offset } = entry.uploaded
            && let Some(listed) = self.packs.get(&pack)
            && offset.checked_add(entry.size)? <= listed.size
        {
            let part = Part {
                name: listed.name.clone(),
                from: offset,
                size: entry.size,
            };
            return Some((part, entry.uploaded));
        }
        let lying = self.blocks.get(&entry.digest)?;
        let fits = lying.part.size == entry.size;
        fits.then(|| (lying.part.clone(), lying.uploaded))
    }

    /// The partitions of which anything is there. Of one that was split, the parts: what is there of
    /// the whole is theirs.
    fn arcs(&self) -> BTreeSet<RingArc> {
        let blocks = self.blocks.values().map(|lying| lying.named.arc);
        let copies = self.copies.keys().map(|(arc, _)| *arc);
        let all: BTreeSet<RingArc> = blocks.chain(copies).collect();
        all.iter().flat_map(|arc| arc.parts(&all)).collect()
    }

    /// Decides what is restored.
    pub(super) fn plan(
        &self,
        archive: &Archive,
        record: &ClusterRecord,
        cancel: &CancelToken,
    ) -> Result<Plan, Error> {
        let mut plan = Plan {
            complaints: self.complaints.clone(),
            ..Plan::default()
        };
        for arc in self.arcs() {
            let newest = self.newest(archive, record, arc, cancel, &mut plan.complaints)?;
            // Without its manifest a catalog says nothing of what came before it.
            let put = newest.as_ref().map(|(_, put)| *put);
            let whole = newest.as_ref().filter(|(copy, _)| copy.history.is_none());
            let since = whole.map(|(_, modified)| *modified);
            let without_manifest = newest.is_some() && whole.is_none();
            let mut copy = newest.map_or_else(|| nothing(record, arc), |(copy, _)| copy);
            let missing = copy.entries.iter();
            let missing = missing.filter(|entry| self.find(entry).is_none()).count();
            let strays = self.strays(&copy, since, (without_manifest, missing));
            copy.history = None;
            copy.entries.retain(|entry| self.find(entry).is_some());
            if missing > 0 {
                plan.complaints.push(format!(
                    "{missing} blocks that the catalog of partition {arc} names are not in the bucket: what is in them is lost"
                ));
            }
            let partition = PartitionPlan { copy, put, strays };
            plan.partitions.insert(arc, partition);
        }
        Ok(plan)
    }

    /// The newest catalog of a partition, or of the whole that it was split from, whose version it
    /// went on from: of the newest cluster that has any, the highest version whose blocks are all
    /// there; where there is none, the highest.
    fn newest(
        &self,
        archive: &Archive,
        record: &ClusterRecord,
        arc: RingArc,
        cancel: &CancelToken,
        complaints: &mut Vec<String>,
    ) -> Result<Option<(CatalogCopy, TimestampMs)>, Error> {
        for home in record.homes() {
            let of_home = self.copies.iter().filter(|((_, of), _)| *of == home);
            let wider = of_home.filter(|((whole, _), _)| whole.covers(arc));
            let mut copies: Vec<(RingArc, u64, &Listed)> = wider
                .flat_map(|((whole, _), copies)| {
                    copies.iter().map(|(version, one)| (*whole, *version, one))
                })
                .collect();
            // Of one version that of the part comes first: the whole's can be no newer.
            copies.sort_by_key(|(whole, version, _)| std::cmp::Reverse((*version, whole.depth())));
            let mut best: Option<(CatalogCopy, TimestampMs, usize)> = None;
            for (of, version, listed) in copies {
                // The first that is whole is the newest, but for others of its version.
                let whole = best.as_ref().filter(|(_, _, missing)| *missing == 0);
                if whole.is_some_and(|(copy, _, _)| copy.version > version) {
                    break;
                }
                let Some(mut copy) = read(archive, listed, home, of, cancel, complaints)? else {
                    continue;
                };
                self.complete(archive, &mut copy, cancel, complaints)?;
                copy.arc = arc;
                let entries = copy.entries.iter();
                let missing = entries.filter(|entry| self.find(entry).is_none());
                let missing = missing.count() + usize::from(copy.history.is_some());
                let better = best.as_ref().is_none_or(|(known, _, known_missing)| {
                    missing == 0 && (*known_missing > 0 || copy.entries.len() > known.entries.len())
                });
                if better {
                    best = Some((copy, listed.modified, missing));
                }
            }
            if let Some((copy, modified, _)) = best {
                return Ok(Some((copy, modified)));
            }
        }
        Ok(None)
    }

    /// Adds what a catalog's manifest lists; it names none any more then. One that cannot be read
    /// stays named.
    fn complete(
        &self,
        archive: &Archive,
        copy: &mut CatalogCopy,
        cancel: &CancelToken,
        complaints: &mut Vec<String>,
    ) -> Result<(), Error> {
        let Some(digest) = copy.history else {
            return Ok(());
        };
        let mut problem = format!("the manifest {digest} is not there");
        for listed in self.manifests.get(&digest).into_iter().flatten() {
            match read_manifest(archive, listed, digest, cancel)? {
                Ok(manifest) => {
                    let known: BTreeSet<_> = copy.entries.iter().map(|entry| entry.id).collect();
                    let mut older: Vec<_> = manifest.blocks.into_values().collect();
                    older.retain(|entry| {
                        let kept = entry.range.end >= copy.expired_before;
                        kept && entry.uploaded != Uploaded::None && !known.contains(&entry.id)
                    });
                    copy.entries.extend(older);
                    copy.history = None;
                    return Ok(());
                }
                Err(reason) => problem = format!("{}: {reason}", listed.name),
            }
        }
        complaints.push(format!(
            "version {} of the catalog of partition {} is not whole: {problem}",
            copy.version, copy.arc
        ));
        Ok(())
    }
}

/// A partition without a catalog: all there is are its blocks.
fn nothing(record: &ClusterRecord, arc: RingArc) -> CatalogCopy {
    CatalogCopy {
        cluster: record.cluster,
        arc,
        version: 1,
        expired_before: TimestampMs::MIN,
        history: None,
        entries: Vec::new(),
        passed: None,
    }
}

/// One copy; `None`: it is damaged or somebody else's.
fn read(
    archive: &Archive,
    listed: &Listed,
    home: u128,
    arc: RingArc,
    cancel: &CancelToken,
    complaints: &mut Vec<String>,
) -> Result<Option<CatalogCopy>, Error> {
    let bytes = archive.wait(cancel, archive.bucket.get(&listed.name, CATALOG_BYTES_MAX));
    let copy = match bytes {
        Ok(Some(bytes)) => CatalogCopy::decode(&bytes),
        Ok(None) => return Ok(None),
        Err(error) if error.is_of_object() => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    let copy = copy.and_then(|copy| match copy {
        copy if (copy.cluster, copy.arc) != (home, arc) => {
            Err("it is of another partition than its name says".to_owned())
        }
        copy => Ok(copy),
    });
    match copy {
        Ok(copy) => Ok(Some(copy)),
        Err(problem) => {
            complaints.push(format!("{}: {problem}: it is left out", listed.name));
            Ok(None)
        }
    }
}

/// A manifest; the text says what is wrong with it.
fn read_manifest(
    archive: &Archive,
    listed: &Listed,
    digest: Digest,
    cancel: &CancelToken,
) -> Result<Result<Manifest, String>, Error> {
    let max = MANIFEST_BYTES_MAX as u64;
    let bytes = archive.wait(cancel, archive.bucket.get(&listed.name, max));
    Ok(match bytes {
        Ok(Some(bytes)) if *blake3::hash(&bytes).as_bytes() == digest.0 => {
            Manifest::decode(&bytes).map_err(|error| error.to_string())
        }
        Ok(Some(_)) => Err("it is not what its name says".to_owned()),
        Ok(None) => Err("it is gone".to_owned()),
        Err(error) if error.is_of_object() => Err(error.to_string()),
        Err(error) => return Err(error),
    })
}
