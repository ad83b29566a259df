//! Where store and bucket meet: what is new goes up, what is missing comes back.
//!
//! Any entry of the catalog that is not `uploaded` is uploaded, whether it was sealed or merged.
//! Not here: objects and their names (`archive`), files (`store`).

mod archive;
mod catalog_reader;
mod deleted;
mod fetch;
mod founding;
mod hurry;
mod known;
mod mirror;
mod objects;
mod owner;
mod pack_use;
mod packing;
mod plan;
mod remote;
mod restore;
mod sweeper;
mod turn;
mod uploader;
mod waiting;

pub(super) use archive::Archive;
pub(super) use catalog_reader::{CatalogReader, FoundCatalog};
pub(super) use founding::{ask_leave, may_found};
pub(super) use hurry::Hurry;
pub(super) use pack_use::{PackLook, PackUse, Share};
pub(super) use remote::BucketReads;
#[cfg(test)]
pub(super) use restore::restore_on;
pub use restore::{RestoreExtent, RestoreProgress, Restored, restore};
pub(super) use sweeper::{BelievedTime, Sweeper, SweeperParts};
pub use uploader::ArchiveStatus;
pub(super) use uploader::Uploader;
pub(super) use waiting::{BringFile, UploaderParts};
