//! What a member is opened with: its settings, and what it is handed of the world.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::control::Introduction;
use super::discovery::DiscoverySettings;
use super::error::Error;
use super::settings::{ClusterSettings, PeerSettings, PeerTlsSettings, SealSettings};
use crate::archive::ArchiveSettings;
use crate::runtime::{CancelToken, Chance, Clock, Rush};
use crate::store::{
    DiskSettings, Engine, HeadSettings, RetentionSettings, RocksEngine, WriteLogSettings,
};

/// Memory that is used on behalf of peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerMemory {
    /// What their reads may hold, all together.
    pub reads_bytes: u64,
    /// Samples for those that are away, all together.
    pub hints_bytes: u64,
}

impl Default for PeerMemory {
    fn default() -> Self {
        Self {
            reads_bytes: 512 << 20,
            hints_bytes: 48 << 20,
        }
    }
}

/// What a member is opened with.
#[derive(Clone, Debug, Default)]
pub struct MemberSettings {
    /// The data directory.
    pub data_dir: PathBuf,
    /// What the node says of itself.
    pub introduction: Introduction,
    /// The log.
    pub log: WriteLogSettings,
    /// The head.
    pub head: HeadSettings,
    /// Unsealed samples may take so many bytes of memory before they are sealed early.
    pub head_bytes_max: u64,
    /// How much of the blocks' files the engine keeps in memory.
    pub engine_cache_bytes: u64,
    /// How much of what queries have decoded is kept for the next ones.
    pub decoded_cache_bytes: u64,
    /// How much of the indexes of blocks in the bucket is kept.
    pub index_cache_bytes: u64,
    /// What is held here for peers.
    pub peer_memory: PeerMemory,
    /// When windows are sealed.
    pub seal: SealSettings,
    /// What is kept.
    pub retention: RetentionSettings,
    /// What of the disk stays free.
    pub disk: DiskSettings,
    /// Who takes part.
    pub cluster: ClusterSettings,
    /// How peers are found.
    pub discovery: DiscoverySettings,
    /// Where peers are listened for.
    pub peer: PeerSettings,
    /// Their certificates.
    pub peer_tls: PeerTlsSettings,
    /// Where sealed blocks are copied to.
    pub archive: ArchiveSettings,
    /// Where HTTP is served, for those who look this node up.
    pub http_listen: String,
}

/// Block files that are open at a time; each costs a few KiB of memory and a descriptor.
const OPEN_FILES_MAX: i32 = 512;

/// Where in a data directory the engine is: whoever has it is a node of a cluster.
pub(super) const ENGINE_FOLDER: &str = "engine";

/// The engine of a data directory.
pub(super) fn open_engine(directory: &Path, cache_bytes: u64) -> Result<Arc<dyn Engine>, Error> {
    let cache = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
    let engine = RocksEngine::open(&directory.join(ENGINE_FOLDER), cache, OPEN_FILES_MAX)?;
    Ok(Arc::new(engine))
}

/// What a member is handed of the world.
#[derive(Clone)]
pub struct World {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub chance: Arc<dyn Chance>,
    /// What drives connections to peers. It must have more threads than the one that opens.
    pub runtime: Handle,
    /// Ends the waiting for a cluster.
    pub cancel: CancelToken,
    /// Where the node says what its start waits for.
    pub starting: Starting,
    /// Where writes say that they want the processors, and long reads look.
    pub rush: Rush,
}

/// What a start waits for, in words.
#[derive(Clone, Debug, Default)]
pub struct Starting(Arc<Mutex<Option<String>>>);

impl Starting {
    pub(super) fn say(&self, reason: Option<String>) {
        *self.0.lock() = reason;
    }

    /// What it is.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.0.lock().clone()
    }
}
