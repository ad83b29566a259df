//! Assembly: settings become a running node, and signals end it. The only caller of everything.
//!
//! The order is: HTTP's port first, so that a taken one is found at once; then what the node holds
//! is opened while the port answers that it is starting; then the whole API. Stopping goes the
//! other way round, and brings what is in memory to disk.

mod bucket;
mod error;
mod memory;
mod parts;
mod process;
mod read_only;
mod reload;
mod restore;
mod run;
mod signals;
mod status;

pub use bucket::{BucketSeen, look_at_bucket};
pub use error::Error;
pub use parts::metrics_registry;
pub use read_only::run_read_only;
pub use reload::ReadSettings;
pub use restore::restore;
pub use run::run;

/// The commit that this program was built from, if whoever built it said so.
pub const REVISION: &str = match option_env!("CAIRN_REVISION") {
    Some(revision) => revision,
    None => "",
};
