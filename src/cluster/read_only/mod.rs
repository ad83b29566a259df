//! A node that only looks at another cluster's bucket: it shows what the catalog there names, and
//! takes part in nothing. It has no head, no log, no control group, no peers; what it knows of the
//! bucket is a storage that refuses every change ([`ArchiveSettings::read_only`]).
//!
//! The catalog is read when it starts, which it does not do without one, and then again and again:
//! what the cluster uploads appears, what it has replaced goes. Where that fails the node goes on
//! with what it knows and says so; objects that leave a catalog stay in the bucket for a day.
//!
//! [`ArchiveSettings::read_only`]: crate::archive::ArchiveSettings::read_only

mod metrics;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use super::assembly::{new_tier, open_archive};
use super::blocks::{Archive, CatalogReader, FoundCatalog};
use super::control::ControlState;
use super::deletes::Hiding;
use super::error::Error;
use super::opening::{ENGINE_FOLDER, MemberSettings, World};
use super::workers::{Duty, Worker, start_worker};
use crate::archive::ArchiveSettings;
use crate::model::{BlockEntry, RingArc, TimestampMs};
use crate::runtime::{CancelToken, Clock};
use crate::source::Source;
use crate::store::{DataDir, Elsewhere};

pub use metrics::ReadOnlyMetrics;

/// The catalog is read again so often. Blocks come every two hours, and what leaves the catalog stays
/// in the bucket for a day; a look at a bucket where nothing has changed is a handful of listings,
/// some 1,700 requests a day.
const READ_EVERY: Duration = Duration::from_secs(5 * 60);

/// After a failure it is tried again so soon.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Whether it is time is asked so often: a person who orders it waits for it.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A person is told of so many things that are wrong.
const TROUBLE_MAX: usize = 8;

/// A node that only looks at a bucket, open.
pub struct ReadOnlyNode {
    looking: Arc<Looking>,
    worker: Mutex<Option<Worker>>,
}

impl fmt::Debug for ReadOnlyNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyNode")
            .field("place", &self.looking.place)
            .finish_non_exhaustive()
    }
}

/// What it shows, for a person.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadOnlyStatus {
    /// The bucket in words.
    pub place: String,
    /// Whose it is, in hex digits.
    pub cluster: String,
    /// When its catalog was read last, with success.
    pub read: TimestampMs,
    /// When the newest copy of the catalog was put there, by the bucket's clock; blocks that were
    /// uploaded since are shown all the same.
    pub put: Option<TimestampMs>,
    /// The newest time that a block is of.
    pub newest: Option<TimestampMs>,
    /// Blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, in words.
    pub trouble: Vec<String>,
}

/// What is known of the catalog.
#[derive(Default)]
struct Known {
    cluster: u128,
    read: TimestampMs,
    put: Option<TimestampMs>,
    complaints: Vec<String>,
    /// Why the last attempt failed, if it did.
    failure: Option<String>,
}

struct Looking {
    place: String,
    store: Arc<Elsewhere>,
    /// A control state that has nothing but what is deleted.
    deleted: Mutex<Arc<ControlState>>,
    clock: Arc<dyn Clock>,
    metrics: ReadOnlyMetrics,
    reader: Mutex<CatalogReader>,
    known: Mutex<Known>,
    /// Somebody wants it read now.
    ordered: AtomicBool,
}

impl ReadOnlyNode {
    /// Reads the catalog of the bucket that settings name, and begins to look at it again and again.
    /// Of the data directory only a cache is used. On a thread that may block.
    ///
    /// # Errors
    /// When the directory is in use or a node's own, or the bucket holds no catalog that can be read.
    pub fn open(
        settings: &MemberSettings,
        world: &World,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let node = Self::open_idle(settings, world, registry)?;
        let looking = Arc::clone(&node.looking);
        let mut due = looking.clock.elapsed().saturating_add(READ_EVERY);
        let look = move |cancel: &CancelToken| {
            let ordered = looking.ordered.swap(false, Ordering::AcqRel);
            if ordered || looking.clock.elapsed() >= due {
                let pause = match looking.look(cancel) {
                    true => READ_EVERY,
                    false => AGAIN_AFTER,
                };
                due = looking.clock.elapsed().saturating_add(pause);
            }
        };
        *node.worker.lock() = Some(start_worker(Duty::new("cairn-catalog", ASK_EVERY, look))?);
        Ok(node)
    }

    /// The same of one that looks again only when it is told to.
    pub(super) fn open_idle(
        settings: &MemberSettings,
        world: &World,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let settings = MemberSettings {
            archive: ArchiveSettings {
                read_only: true,
                ..settings.archive.clone()
            },
            ..settings.clone()
        };
        let archive = open_archive(&settings, world, registry)?.ok_or_else(|| {
            let text = "archive.kind is \"none\": name the bucket to look at";
            Error::Setting(text.to_owned())
        })?;
        refuse_a_nodes_own(&settings)?;
        let directory = DataDir::open(&settings.data_dir, world.chance.as_ref())?;
        let store = open_store(&archive, directory, &settings, world, registry)?;
        let node = Self {
            looking: Arc::new(Looking {
                place: archive.to_string(),
                store: Arc::new(store),
                deleted: Mutex::default(),
                clock: Arc::clone(&world.clock),
                metrics: ReadOnlyMetrics::register(registry),
                reader: Mutex::new(CatalogReader::new(archive)),
                known: Mutex::default(),
                ordered: AtomicBool::new(false),
            }),
            worker: Mutex::new(None),
        };
        node.looking.read(&world.cancel)?;
        Ok(node)
    }

    /// Where samples are read from: without what is deleted.
    #[must_use]
    pub fn source(&self) -> Arc<dyn Source> {
        let held = Arc::clone(&self.looking.store) as Arc<dyn Source>;
        let looking = Arc::clone(&self.looking);
        let deleted = move || Arc::clone(&looking.deleted.lock());
        Arc::new(Hiding::new(held, Box::new(deleted)))
    }

    /// The blocks that are shown.
    #[must_use]
    pub fn blocks(&self) -> Vec<(RingArc, BlockEntry)> {
        self.looking.store.blocks()
    }

    /// What is shown, for a person.
    #[must_use]
    pub fn status(&self) -> ReadOnlyStatus {
        let store = &self.looking.store;
        let (blocks, bytes) = store.totals();
        let ends = store.blocks().into_iter().map(|(_, entry)| entry.range.end);
        let known = self.looking.known.lock();
        let failure = known.failure.iter().map(|reason| {
            format!("the catalog cannot be read again, and what is shown grows old: {reason}")
        });
        let trouble = failure.chain(known.complaints.iter().cloned());
        ReadOnlyStatus {
            place: self.looking.place.clone(),
            cluster: format!("{:032x}", known.cluster),
            read: known.read,
            put: known.put,
            newest: ends.max(),
            blocks,
            bytes,
            trouble: trouble.take(TROUBLE_MAX).collect(),
        }
    }

    /// Has the catalog read again within a moment.
    pub fn read_soon(&self) {
        self.looking.ordered.store(true, Ordering::Release);
    }

    /// Reads the catalog again, now; says whether it could.
    #[cfg(test)]
    pub(super) fn look(&self) -> bool {
        self.looking.look(&CancelToken::new())
    }

    /// Ends looking.
    pub fn close(&self) {
        if let Some(worker) = self.worker.lock().take() {
            worker.end();
        }
    }
}

impl Drop for ReadOnlyNode {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a node of a cluster holds is its own: beside it nothing is to be looked at under its name.
fn refuse_a_nodes_own(settings: &MemberSettings) -> Result<(), Error> {
    let path = &settings.data_dir;
    if !path.join(ENGINE_FOLDER).exists() {
        return Ok(());
    }
    Err(Error::Setting(format!(
        "the data directory {} is that of a node of a cluster: give a read-only node one of its own (--data-dir)",
        path.display()
    )))
}

fn open_store(
    archive: &Archive,
    directory: DataDir,
    settings: &MemberSettings,
    world: &World,
    registry: &mut Registry,
) -> Result<Elsewhere, Error> {
    let tier = new_tier(Some(archive), settings, world, &directory, registry);
    let lost = || Error::Setting(format!("{archive} cannot be read by ranges"));
    let decoded = settings.decoded_cache_bytes;
    Ok(Elsewhere::open(directory, tier.ok_or_else(lost)?, decoded)?)
}

impl Looking {
    /// Reads the catalog, and shows it if it has changed.
    fn read(&self, cancel: &CancelToken) -> Result<(), Error> {
        let identify = |arc, entry| self.store.identify(arc, entry);
        let found = self.reader.lock().read(&identify, cancel)?;
        let changed = found.map(|found| self.show(found));
        let mut known = self.known.lock();
        if let Some(changed) = changed {
            *known = changed;
        }
        known.failure = None;
        known.read = self.clock.now();
        self.metrics.read(known.read);
        Ok(())
    }

    fn show(&self, mut found: FoundCatalog) -> Known {
        let blocks = found.partitions.iter().flat_map(|one| &one.blocks);
        let newest = blocks.map(|entry| entry.range.end).max();
        self.metrics.newest(newest);
        // First more is hidden, then the blocks change, then what nobody holds any more is let go.
        self.hide(&found, true);
        self.store.show(std::mem::take(&mut found.partitions));
        self.hide(&found, false);
        let (blocks, bytes) = self.store.totals();
        let cluster = format!("{:032x}", found.cluster);
        tracing::info!(
            blocks,
            bytes,
            cluster,
            "the catalog in the bucket has changed"
        );
        for complaint in &found.complaints {
            tracing::warn!(error = %complaint, "something in the bucket is not what it should be");
        }
        Known {
            cluster: found.cluster,
            put: found.put,
            complaints: found.complaints,
            ..Known::default()
        }
    }

    /// What is hidden from now on; `too`: beside what was.
    fn hide(&self, found: &FoundCatalog, too: bool) {
        let mut deleted = self.deleted.lock();
        let mut standing = found.deletes.clone();
        if too {
            let before = deleted.tombstones.iter();
            standing.extend(before.map(|(id, one)| (*id, one.clone())));
        }
        *deleted = Arc::new(ControlState {
            tombstones: Arc::new(standing),
            generation: found.position.0,
            applied: found.position.1,
            ..ControlState::default()
        });
    }

    /// The same, where nobody waits for it: errors are logged here. Says whether there was none.
    fn look(&self, cancel: &CancelToken) -> bool {
        let Err(error) = self.read(cancel) else {
            return true;
        };
        if cancel.check().is_err() {
            return false;
        }
        self.metrics.failed();
        let text = error.to_string();
        let mut known = self.known.lock();
        if known.failure.as_ref() != Some(&text) {
            tracing::warn!(%error, "the catalog in the bucket was not read again: what is shown stays as it is");
            known.failure = Some(text);
        }
        false
    }
}
