//! The bucket: blocks and the catalog's copy as objects in S3-compatible storage or a directory.
//!
//! Knows names, bytes and what went wrong; nothing of stores, seals or the control group, which
//! meet it in `cluster`. Nothing here relies on conditional puts: names carry digests, so that
//! putting an object twice puts the same bytes, and an object that the catalog does not name does
//! not exist. `docs/format.md` has every name and byte.

mod bucket;
mod catalog_mirror;
mod client;
mod clock_watch;
mod error;
#[cfg(test)]
mod faults;
mod fetch;
mod fields;
mod judged;
mod leftovers;
#[cfg(test)]
mod memory;
mod metrics;
mod name;
mod pack;
mod passed;
mod read_only;
mod record;
mod retry_budget;
mod settings;
#[cfg(test)]
mod small_storage;
mod upload;

pub use bucket::{Bucket, Listed};
pub use catalog_mirror::{CatalogCopy, OBJECT_BYTES_MAX as CATALOG_BYTES_MAX};
pub use error::Error;
#[cfg(test)]
pub(crate) use faults::BucketFault;
pub use fetch::{FETCH_BYTES, Part, fetch_piece, verify, verify_part};
pub use leftovers::{LEFTOVERS_MAX, Leftover, Leftovers};
#[cfg(test)]
pub(crate) use memory::MemoryBucket;
pub use metrics::{ArchiveMetrics, Traffic};
pub use name::{Named, NamedBlock, RECORD_NAME, block_name, catalog_name, catalog_prefix};
pub use name::{NamedDeletes, NamedPack, block_place, deletes_name, deletes_prefix};
pub use name::{blocks_prefix, leftovers_name, manifest_name, manifests_prefix, parse_name};
pub use name::{pack_name, packs_prefix};
pub use pack::{PACK_BLOCKS_MAX, PackDirectory, PackedBlock};
pub use passed::Passed;
pub use record::{ClusterRecord, Standing};
pub use settings::{ArchiveKind, ArchiveSettings, KindSettings, LocalSettings, S3Settings};
pub use upload::Upload;
