//! The blocks of a partition that a start has not read: their entries come from the disk when somebody first needs
//! them, which mostly is a round of work in the background a moment later. Whoever asks for their times waits for
//! them; nobody is answered without them.
//!
//! **Nothing that is noted of a partition's blocks changes before all of it has been read** by whoever changes it. So
//! what is read later is what the view that is read from listed when it was made, and a block's file stays while a
//! note of a partition names it that was not read yet.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::applied;
use super::applied_block::{AppliedBlock, in_order};
use super::error::Error;
use super::opening::Opening;
use crate::model::{BlockId, RingArc, TimestampMs};

/// The blocks of one partition beside its newest.
pub(super) struct Older {
    arc: RingArc,
    /// All of them end before it.
    before: TimestampMs,
    opening: Arc<Opening>,
    /// They and the newest.
    all: OnceLock<Vec<Arc<AppliedBlock>>>,
    reading: Mutex<()>,
    complained: AtomicBool,
}

impl Older {
    /// Those of a partition of which nothing but the newest has been read.
    pub(super) const fn new(arc: RingArc, before: TimestampMs, opening: Arc<Opening>) -> Self {
        Self {
            arc,
            before,
            opening,
            all: OnceLock::new(),
            reading: Mutex::new(()),
            complained: AtomicBool::new(false),
        }
    }

    /// They and the newest, once somebody has read them.
    pub(super) fn known(&self) -> Option<&[Arc<AppliedBlock>]> {
        self.all.get().map(Vec::as_slice)
    }

    /// Before which time they end.
    pub(super) const fn before(&self) -> TimestampMs {
        self.before
    }

    /// Whether it is noted that a block is one of the partition's.
    pub(super) fn names(&self, id: BlockId) -> Result<bool, Error> {
        let entry = applied::read_block(self.opening.engine.as_ref(), self.arc, id)?;
        Ok(entry.is_some())
    }

    /// They and the newest, which are given; read now if nobody has.
    pub(super) fn all(&self, newest: &[Arc<AppliedBlock>]) -> Result<&[Arc<AppliedBlock>], Error> {
        if let Some(all) = self.known() {
            return Ok(all);
        }
        let _one = self.reading.lock();
        if let Some(all) = self.known() {
            return Ok(all);
        }
        let noted = applied::read_blocks(self.opening.engine.as_ref(), self.arc)?.blocks;
        let known: BTreeSet<BlockId> = newest.iter().map(|block| block.entry().id).collect();
        let mut all = newest.to_vec();
        for entry in noted.into_values().filter(|one| !known.contains(&one.id)) {
            if entry.range.end >= self.before {
                return Err(Error::corrupt(
                    format!("the record of what is applied of partition {}", self.arc),
                    format!(
                        "block {} is newer than those that it calls the newest",
                        entry.id
                    ),
                ));
            }
            all.push(self.opening.block(self.arc, entry));
        }
        in_order(&mut all);
        Ok(self.all.get_or_init(|| all))
    }

    /// Says once that they cannot be read.
    pub(super) fn complain(&self, error: &Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::error!(partition = %self.arc, %error, "older blocks are left out of counts and of work in the background");
        }
    }
}
