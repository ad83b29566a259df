//! One node's data: log, head, sealed blocks. Sync; knows nothing of peers or of PromQL.

mod absorb;
mod adopt;
mod align;
mod applied;
mod applied_block;
mod aside;
mod block;
mod cardinality;
mod counting;
mod counts;
mod digest;
mod downsample_policy;
mod durable;
mod elsewhere;
mod engine;
mod error;
#[cfg(test)]
mod faults;
mod files;
mod finding;
mod forget;
mod found;
mod head;
mod holding;
mod homes;
mod lock;
mod log;
mod merging;
mod metrics;
mod newest;
mod offline;
mod older;
mod opening;
mod page_order;
mod pinned;
mod probe;
mod pull;
mod read_back;
mod recent;
mod remainder;
mod remembered;
mod repair;
mod replacing;
#[cfg(test)]
mod replica_tests;
mod retention;
mod seal;
mod select;
mod settings;
mod snapshot;
mod sources;
mod staged;
mod stream;
mod tenant_retention;
mod texts;
mod tier;
mod tiering;
mod tree;
mod view;
mod warming;
mod watermark;
mod whole;

pub use adopt::provisional;
pub use block::{
    BlockContent, BlockProperties, BlockReader, BlockTotals, BuiltBlock, ContentSeries, Fault,
    MergedBlocks, Ordinal, Section, TenantReader, Verified, build_block, digest_of, verify_block,
};
pub use cardinality::Cardinality;
pub use counts::BlockSizes;
pub use digest::{ContentHasher, ContentSum};
pub use downsample_policy::DownsamplePolicy;
pub use elsewhere::{Elsewhere, ListedPartition};
pub use engine::{
    Batch, BlockFile, Durability, Engine, FileAt, MemoryEngine, Pair, Pairs, ReadAt, RocksEngine,
    SCAN_BYTES_MAX, SCAN_PAIRS_MAX, Space, SstTable, Table, TableSink, block_key, block_of_key,
    block_prefix, build_table, for_each,
};
pub use error::{Error, ErrorClass};
pub use head::{
    AppendBatch, Appended, EncodedSums, FloatSample, Head, HeadSettings, HeadStats, OtherSample,
    SeriesId,
};
pub use lock::DataDir;
#[cfg(test)]
pub(crate) use log::FaultyDisk;
pub use log::{DirDisk, LogDisk, LogFile, LogStats, Mark, SyncMode, WriteLogSettings};
pub use merging::{MergeOrder, MergedFile};
pub use metrics::StoreMetrics;
pub use offline::{Offline, OfflineBlock};
pub use pinned::Pinned;
pub use probe::{DiskProbe, probe_disk};
pub use pull::{Pull, Pulled, PulledSeries};
pub use retention::{cache_bytes, expire_before, leave_by_age, leave_by_size};
pub use seal::{BuildOrder, Catalog, RangeCut};
pub use settings::{DiskSettings, RetentionSettings};
pub use staged::{FILE_READ_MAX, Receiving, StagedInfo};
pub use tenant_retention::{Kept, TenantRetention, TenantRetentions};
pub use tier::{Fetching, Piece, Remote, RemoteBlock, TierMetrics, TierParts, reread_object};
pub use tiering::{begin_elsewhere, forget_elsewhere};
pub use tree::{DigestTree, Leaves, TREE_SLOTS, TREE_SUB_ARCS};
pub use warming::Warmed;
pub use watermark::{DiskState, Watermark, disk_bytes, free_bytes};
pub use whole::{HeldWindow, Store, StoreParts};
