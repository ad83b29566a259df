//! What is ordered of one node, and what it says of that.

use crate::model::{BlockId, RingArc, TimeRange};

/// What is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cluster) struct Order {
    /// Tells it from others; not 0.
    pub(super) number: u64,
    pub(super) bytes_per_second: u64,
    /// So many control commands must be applied first.
    pub(super) applied: u64,
}

/// How far an order is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VerifyStage {
    /// It has not begun.
    #[default]
    Waiting,
    /// It is under way.
    Running,
    /// Everything was looked at.
    Done,
    /// It was called off, or nobody asked about it any more.
    CalledOff,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyFault {
    /// Of which partition.
    pub arc: RingArc,
    /// Which block, and of what time; `None`: it is not about one block.
    pub block: Option<(BlockId, TimeRange)>,
    /// Whether it is the copy in the bucket, and not the one on the node's disk.
    pub in_bucket: bool,
    /// What is wrong with it, in words.
    pub problem: String,
}

/// What one node says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// Which order; 0: nothing was ordered since the node's start.
    pub order: u64,
    /// How far it is.
    pub stage: VerifyStage,
    /// Bytes that were looked at.
    pub bytes: u64,
    /// Bytes that are to be looked at, as known when it began.
    pub bytes_all: u64,
    /// Blocks that were looked at on the node's disk.
    pub blocks: u64,
    /// Blocks that were looked at in the bucket.
    pub objects: u64,
    /// Blocks that have left the node's disk for the bucket.
    pub elsewhere: u64,
    /// Blocks that the bucket does not have yet.
    pub waiting: u64,
    /// What is wrong; not all of it when it is much.
    pub faults: Vec<VerifyFault>,
    /// How much is wrong.
    pub faults_all: u64,
    /// Partitions that were looked at to their end, and whether their objects in the bucket too.
    pub covered: Vec<(RingArc, bool)>,
    /// Whether the node has a bucket.
    pub has_bucket: bool,
}
