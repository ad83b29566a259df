//! What is read of the newest blocks after a start, before anybody asks: dashboards show the last day, and the first
//! question would otherwise open every block of it, some small reads each (docs/performance.md, "Cold runs").
//!
//! It is bounded twice: by the blocks of a day, and by half of the memory for decoded parts. What does not fit is read
//! by who asks for it, as ever.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::applied_block::AppliedBlock;
use super::block::TenantReader;
use super::error::Error;
use super::tier::Reading;
use super::whole::Store;
use crate::model::{TimeRange, TimestampMs, WINDOW_MS};
use crate::runtime::CancelToken;

/// So far before the end of the newest block: a day of dashboards, and the window in which it begins.
const BACK_MS: i64 = 24 * 3_600_000 + WINDOW_MS;

/// A day of a node of 16 partitions has some 200. Half of the files that the engine keeps open: of more, those that were
/// opened last would close the newest again.
const BLOCKS_MAX: usize = 256;

/// Files are read into the system's page cache whole as far as this: what an SD card reads in two seconds.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A block of more tenants is read for these: each is a part of an index of its own.
const TENANTS_MAX: usize = 16;

/// What was read before anybody asked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Warmed {
    /// Blocks that are open.
    pub blocks: usize,
    /// Of them, those whose index is decoded.
    pub decoded: usize,
}

impl Store {
    /// Opens the newest blocks that are here and decodes their indices, newest first. Ends early when it is told to.
    /// On a thread that may block.
    ///
    /// # Errors
    /// The first that could not be read, after the others were.
    pub fn warm_up(&self, cancel: &CancelToken) -> Result<Warmed, Error> {
        let begun = self.clock.elapsed();
        let mut failure = None;
        let blocks = self.newest_here(&mut failure);
        let reading = Reading::background();
        let (mut warmed, mut bytes) = (Warmed::default(), 0u64);
        let go_on = || cancel.check().is_ok() && !self.decoded.is_half_full();
        for block in &blocks {
            if cancel.check().is_err() {
                return Ok(warmed);
            }
            match self.open_ahead(
                block,
                FILE_BYTES_MAX.saturating_sub(bytes),
                &reading,
                &go_on,
            ) {
                Ok(read) => {
                    bytes = bytes.saturating_add(read);
                    warmed.blocks += 1;
                }
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        for block in blocks.iter().take_while(|_| go_on()) {
            match each_tenant(block, &reading, |data| data.decode_index(&go_on)) {
                Ok(whole) => warmed.decoded += usize::from(whole),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        let took_ms = (self.clock.elapsed() - begun).as_millis();
        let Warmed { blocks, decoded } = warmed;
        tracing::debug!(blocks, decoded, took_ms, "the newest blocks are open");
        failure.map_or(Ok(warmed), Err)
    }

    /// The blocks of the newest day that are here, newest first. Partitions of which they are not known are left out.
    fn newest_here(&self, failure: &mut Option<Error>) -> Vec<Arc<AppliedBlock>> {
        let views = self.views.read().clone();
        let newest = views.values().filter_map(|view| view.ends_at()).max();
        let Some(end) = newest else {
            return Vec::new();
        };
        let since = TimestampMs(end.0.saturating_sub(BACK_MS));
        let (mut known, mut blocks) = (BTreeSet::new(), Vec::new());
        for view in views.values() {
            match view.blocks_in(TimeRange::new(since, end)) {
                Ok(listed) => blocks.extend(
                    listed
                        .filter(|block| block.is_here() && known.insert(block.entry().id))
                        .map(Arc::clone),
                ),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        blocks.sort_by_key(|block| Reverse(block.entry().range.end));
        blocks.truncate(BLOCKS_MAX);
        blocks
    }

    /// Opens a block and decodes who has which name; so many bytes of its file are on their way into the page cache too.
    /// Says how many there were.
    fn open_ahead(
        &self,
        block: &AppliedBlock,
        ahead: u64,
        reading: &Arc<Reading>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<u64, Error> {
        let mut bytes = 0;
        if ahead > 0
            && let Some(file) = self.open_file(block.entry().id)?
        {
            bytes = file.will_read(ahead);
        }
        each_tenant(block, reading, |data| data.decode_names(go_on))?;
        Ok(bytes)
    }
}

/// Does something for each tenant. `false`: somewhere it was not done to the end.
fn each_tenant(
    block: &AppliedBlock,
    reading: &Arc<Reading>,
    mut work: impl FnMut(&mut TenantReader) -> Result<bool, Error>,
) -> Result<bool, Error> {
    let reader = block.reader(reading)?;
    let mut whole = true;
    for tenant in reader.tenants()?.iter().take(TENANTS_MAX) {
        if let Some(mut data) = reader.tenant(tenant)? {
            whole &= work(&mut data)?;
        }
    }
    Ok(whole)
}
