//! What goes from the local disk: blocks past their retention, files that nobody names.
//!
//! The decision up to which time a partition's blocks go is pure. The catalog drops them first (a
//! command of the control state); applying that takes them out of the views; their files go when
//! the last reader has closed its view.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use super::applied_block::AppliedBlock;
use super::counts::BlockSizes;
use super::error::Error;
use super::files::{id_of, remove};
use super::settings::RetentionSettings;
use super::whole::Store;
use crate::model::{BlockId, TimestampMs};

/// Before which time everything goes, if anything does.
///
/// By age: what is older than anybody's `total`. By size: the oldest ranges, over all partitions, until the
/// rest fits; the newest range always stays.
#[must_use]
pub fn expire_before(
    blocks: &BlockSizes,
    settings: &RetentionSettings,
    now: TimestampMs,
) -> Option<TimestampMs> {
    let by_age = settings.total_longest().map(|total| {
        let ms = i64::try_from(total.as_millis()).unwrap_or(i64::MAX);
        now.plus_ms(-ms)
    });
    let by_size = settings
        .local_size
        .and_then(|limit| by_size(ends_of(blocks), limit.0));
    by_age.max(by_size)
}

fn ends_of(blocks: &BlockSizes) -> impl Iterator<Item = (TimestampMs, u64)> {
    let all = blocks.values().flatten();
    all.map(|(range, size)| (range.end, *size))
}

/// Which part of `local_size` is for the cache of what lies in the bucket.
const CACHE_PART: u64 = 8;
/// Where `local_size` is not set: this part of the disk, and no more than so much.
const CACHE_DISK_PART: u64 = 20;
const CACHE_BYTES_MAX: u64 = 64 << 30;

/// What the cache of blocks in the bucket may take of a disk of some size.
#[must_use]
pub fn cache_bytes(settings: &RetentionSettings, disk_bytes: u64) -> u64 {
    match settings.local_size {
        Some(limit) => limit.0 / CACHE_PART,
        None => (disk_bytes / CACHE_DISK_PART).min(CACHE_BYTES_MAX),
    }
}

/// Before which time blocks leave the disk for the bucket because of their age, if any do: those older than
/// `local`.
#[must_use]
pub fn leave_by_age(settings: &RetentionSettings, now: TimestampMs) -> Option<TimestampMs> {
    settings.local_longest().map(|local| {
        let ms = i64::try_from(local.as_millis()).unwrap_or(i64::MAX);
        now.plus_ms(-ms)
    })
}

/// The same because of their size, of blocks of which ends and sizes are given: the oldest ranges until the rest
/// fits beside the cache; the newest range always stays.
#[must_use]
pub fn leave_by_size(
    blocks: impl Iterator<Item = (TimestampMs, u64)>,
    settings: &RetentionSettings,
) -> Option<TimestampMs> {
    let limit = settings.local_size?;
    by_size(blocks, limit.0 - limit.0 / CACHE_PART)
}

fn by_size(blocks: impl Iterator<Item = (TimestampMs, u64)>, limit: u64) -> Option<TimestampMs> {
    let mut by_end: BTreeMap<TimestampMs, u64> = BTreeMap::new();
    for (end, size) in blocks {
        let sum = by_end.entry(end).or_default();
        *sum = sum.saturating_add(size);
    }
    let mut total: u64 = by_end
        .values()
        .fold(0, |sum, size| sum.saturating_add(*size));
    let newest = by_end.last_key_value().map(|(end, _)| *end)?;
    let mut before = None;
    for (end, size) in by_end {
        if total <= limit || end == newest {
            break;
        }
        total = total.saturating_sub(size);
        before = Some(end.plus_ms(1));
    }
    before
}

impl Store {
    /// Drops the files of retired blocks that no view holds any more.
    ///
    /// # Errors
    /// When the engine cannot drop one; it is tried again with the next call.
    pub fn drop_retired(&self) -> Result<(), Error> {
        // Whoever applies something does it too.
        match self.applying.try_lock() {
            Some(_one) => self.drop_unused(),
            None => Ok(()),
        }
    }

    /// Notes that views have let go of blocks; those that another partition lists stay its own.
    pub(super) fn retire(&self, blocks: impl IntoIterator<Item = Arc<AppliedBlock>>) {
        let mut retired = self.retired.lock();
        for block in blocks {
            let known = retired.iter().any(|one| Arc::ptr_eq(one, &block));
            // Where that cannot be seen the file stays, and the next start sweeps it.
            let is_read = self.is_read_here(block.entry().id).unwrap_or(true);
            if !known && !is_read {
                retired.push(block);
            }
        }
    }

    /// As [`Store::drop_retired`], while nothing else is applied: a block that is dropped is not at
    /// the same time taken for one that is here.
    pub(super) fn drop_unused(&self) -> Result<(), Error> {
        let mut retired = self.retired.lock();
        let mut kept = Vec::new();
        let mut result = Ok(());
        for block in retired.drain(..) {
            // It has come back: it is retired again when it goes.
            match self.is_read_here(block.entry().id) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    kept.push(block);
                    result = Err(error);
                    continue;
                }
            }
            // No view has it, so nobody can take a new hold of it.
            if Arc::strong_count(&block) > 1 {
                kept.push(block);
                continue;
            }
            if let Err(error) = self.engine.drop_block(block.entry().id) {
                kept.push(block);
                result = Err(error);
            }
        }
        *retired = kept;
        result
    }

    /// Removes files that no catalog names, of a node that is alone: nobody else can be about to
    /// name what is staged here, and what is being made here is kept without asking. Among others it is [`Store::sweep_ingested`] and
    /// [`Store::sweep_staged`].
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sweep(&self, named: &dyn Fn(BlockId) -> bool) -> Result<(), Error> {
        self.sweep_ingested(named)?;
        let staging = self.staging();
        for entry in fs::read_dir(&staging).map_err(Error::io("list", &staging))? {
            let path = entry.map_err(Error::io("list", &staging))?.path();
            let id = id_of(&path);
            let in_use = id.is_some_and(|id| self.receipts.lock().contains(&id));
            if !in_use && !id.is_some_and(named) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Whether there are files here that no view has: staged, or left behind. Only then a sweep has anything to do.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn has_unapplied_files(&self) -> Result<bool, Error> {
        let staging = self.staging();
        let mut staged = fs::read_dir(&staging).map_err(Error::io("list", &staging))?;
        if staged.next().is_some() {
            return Ok(true);
        }
        for file in self.engine.block_files()? {
            if !self.is_applied(file.id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes blocks of the engine that no catalog of a partition of this node names: ingested for
    /// a step that never ended, retired or forgotten by an earlier start. To be called when this
    /// node has applied what the control group had committed when it started, or what an older
    /// state does not name yet would go.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sweep_ingested(&self, named: &dyn Fn(BlockId) -> bool) -> Result<(), Error> {
        let _one = self.applying.lock();
        for file in self.engine.block_files()? {
            let retired = self.retired.lock();
            let waiting = retired.iter().any(|block| block.entry().id == file.id);
            drop(retired);
            if !waiting && !self.is_applied(file.id)? && !named(file.id) {
                self.engine.drop_block(file.id)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{FOUNDING_DEPTH, RingArc, Window};
    use crate::runtime::ByteSize;

    fn blocks() -> BlockSizes {
        RingArc::all(FOUNDING_DEPTH)
            .take(2)
            .map(|arc| {
                let of_window = |window| (Window(window).range(), 10);
                (arc, (0..10).map(of_window).collect())
            })
            .collect()
    }

    fn check(total: Option<i64>, size: Option<u64>, want: Option<i64>) {
        let settings = RetentionSettings {
            total: total.map(|ms| Duration::from_millis(ms.unsigned_abs())),
            local_size: size.map(ByteSize),
            ..RetentionSettings::default()
        };
        let got = expire_before(&blocks(), &settings, TimestampMs(1_000_000_000));
        assert_eq!(got, want.map(TimestampMs));
    }

    #[test]
    fn what_leaves_for_the_bucket_leaves_room_for_the_cache() {
        let end = |window: i64| Window(window).end().0 + 1;
        let check = |local: Option<u64>, size: Option<u64>, want: Option<i64>| {
            let settings = RetentionSettings {
                total: Some(Duration::from_secs(1)),
                local: local.map(Duration::from_millis),
                local_size: size.map(ByteSize),
                ..RetentionSettings::default()
            };
            let by_size = leave_by_size(ends_of(&blocks()), &settings);
            let got = by_size.max(leave_by_age(&settings, TimestampMs(1_000_000_000)));
            assert_eq!(got, want.map(TimestampMs));
        };
        check(None, None, None);
        check(Some(600_000_000), None, Some(400_000_000));
        // Ten windows of 20 bytes; an eighth is the cache's.
        check(None, Some(232), None);
        check(None, Some(200), Some(end(1)));
        check(None, Some(0), Some(end(8)));
        check(Some(1), Some(200), Some(999_999_999));
        let unset = RetentionSettings::default();
        assert_eq!(cache_bytes(&unset, 100 << 30), 5 << 30);
        assert_eq!(cache_bytes(&unset, u64::MAX), CACHE_BYTES_MAX);
    }

    #[test]
    fn the_later_of_age_and_size_decides() {
        let end = |window: i64| Window(window).end().0 + 1;
        check(None, None, None);
        check(Some(600_000_000), None, Some(400_000_000));
        check(None, Some(200), None);
        check(None, Some(199), Some(end(0)));
        check(None, Some(45), Some(end(7)));
        // The newest range stays, whatever its size.
        check(None, Some(0), Some(end(8)));
        check(Some(999_999_999), Some(199), Some(end(0)));
        check(Some(1), Some(199), Some(999_999_999));
    }
}
