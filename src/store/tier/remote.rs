//! How bytes of blocks are had that lie elsewhere: given to the store by whoever knows the bucket.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::{BlockEntry, RingArc};
use crate::runtime::CancelToken;
use crate::store::error::Error;

/// A block whose home is elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteBlock {
    /// The partition whose catalog names it.
    pub arc: RingArc,
    /// What the catalog says of it; where it lies is in `uploaded`.
    pub entry: BlockEntry,
}

/// Some bytes of a block's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Which block's.
    pub block: Arc<RemoteBlock>,
    /// Which bytes, counted from the beginning of its file.
    pub range: Range<u64>,
}

/// Gives bytes of blocks.
pub trait Remote: Send + Sync + 'static {
    /// Begins to fetch pieces, several at a time. Called off when `cancel` is, or when what it
    /// returns is dropped.
    fn fetch(&self, pieces: Vec<Piece>, cancel: &CancelToken) -> Box<dyn Fetching>;

    /// What to call a block in a message: its object and where that is.
    fn describe(&self, block: &RemoteBlock) -> String;
}

/// Pieces on their way.
pub trait Fetching: Send {
    /// The next piece that has come, in no order, by its position among those that were asked for,
    /// and its bytes: all of them. `None`: there are no more. Blocks the thread.
    fn next(&mut self) -> Option<(usize, Result<Bytes, Error>)>;
}
