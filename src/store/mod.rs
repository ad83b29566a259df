//! One node's data: log, head, sealed blocks. Sync; knows nothing of peers or of PromQL.

mod engine;
mod error;

pub use engine::{
    Batch, BlockFile, Durability, Engine, Pairs, RocksEngine, SCAN_BYTES_MAX, SCAN_PAIRS_MAX,
    Space, Table, block_key, block_of_key, block_prefix, for_each,
};
pub use error::{Error, ErrorClass};
