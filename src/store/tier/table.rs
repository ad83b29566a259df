//! A block elsewhere as a table: its index is in memory, its data blocks come through the read.

use std::sync::Arc;

use super::check::{Check, Tail, tail_of};
use super::opened::Opened;
use super::reading::Reading;
use super::remote::RemoteBlock;
use super::whole::Tier;
use crate::model::BlockEntry;
use crate::store::block::{BlockProperties, BlockReader};
use crate::store::engine::{
    DataBlocks, Handle, Pairs, SstIndex, TRAILER_LEN, Table, block_of_key, without_trailer,
};
use crate::store::error::Error;

/// A table of a block elsewhere, for one read.
pub(super) struct RemoteTable {
    tier: Arc<Tier>,
    reading: Arc<Reading>,
    block: Arc<RemoteBlock>,
    opened: Arc<Opened>,
}

impl Tier {
    /// Opens a block for a read.
    pub(in crate::store) fn reader(
        self: &Arc<Self>,
        reading: &Arc<Reading>,
        block: &Arc<RemoteBlock>,
    ) -> Result<BlockReader, Error> {
        let table = Arc::new(self.table(reading, block)?);
        let opened = Arc::clone(&table.opened);
        if let Some(known) = opened.known.get() {
            return Ok(BlockReader::over(table, Arc::clone(known)));
        }
        let reader = BlockReader::open(table, block.entry.id)?;
        let totals = reader.totals();
        let entry = &block.entry;
        if totals.content_sum != entry.content_sum || totals.samples != entry.samples {
            let what = self.remote.describe(block);
            return Err(Error::corrupt(
                what,
                "its totals are not what the catalog says",
            ));
        }
        let _ = opened.known.set(reader.known());
        Ok(reader)
    }

    /// Its table alone.
    pub(super) fn table(
        self: &Arc<Self>,
        reading: &Arc<Reading>,
        block: &Arc<RemoteBlock>,
    ) -> Result<RemoteTable, Error> {
        let opened = match self.opened.get(block.entry.id) {
            Some(opened) => opened,
            None => self.open_index(reading, block)?,
        };
        Ok(RemoteTable {
            tier: Arc::clone(self),
            reading: Arc::clone(reading),
            block: Arc::clone(block),
            opened,
        })
    }

    /// What a block elsewhere is of which only its name is known: its arc, its range and its
    /// entry, from its index, its properties and its totals.
    pub(in crate::store) fn identify(
        self: &Arc<Self>,
        block: &Arc<RemoteBlock>,
    ) -> Result<(BlockProperties, BlockEntry), Error> {
        let table = Arc::new(self.table(&Reading::background(), block)?);
        let first = table.opened.index.first_key(table.as_ref())?;
        let no_block = || Error::corrupt(self.remote.describe(block), "it is no block");
        let id = first.and_then(|key| block_of_key(&key));
        let reader = BlockReader::open(table, id.ok_or_else(no_block)?)?;
        let (properties, totals) = (reader.properties().clone(), reader.totals());
        let entry = BlockEntry {
            id: id.ok_or_else(no_block)?,
            range: properties.range,
            level: properties.level,
            round: properties.round,
            samples: totals.samples,
            content_sum: totals.content_sum,
            ..block.entry.clone()
        };
        Ok((properties, entry))
    }

    fn open_index(
        self: &Arc<Self>,
        reading: &Arc<Reading>,
        block: &Arc<RemoteBlock>,
    ) -> Result<Arc<Opened>, Error> {
        let (entry, part) = (&block.entry, tail_of(&block.entry));
        let damage = |problem: String| Error::corrupt(self.remote.describe(block), problem);
        let bytes = reading.part(self, block, part, Check::Tail)?;
        let tail = Tail::read(&bytes, entry.size).map_err(damage)?;
        let index = match tail.index {
            Some(index) => index,
            None => {
                let part = (tail.at.offset, tail.at.size + TRAILER_LEN as u64);
                let bytes = reading.part(self, block, part, Check::Block)?;
                SstIndex::parse(&bytes).map_err(damage)?
            }
        };
        // Data blocks that came with it are not fetched again.
        let mut came: Vec<(u64, &[u8])> = Vec::new();
        for at in index.within(part.0, entry.size) {
            let from = usize::try_from(at.offset - part.0).unwrap_or(usize::MAX);
            let len = usize::try_from(at.size).unwrap_or(usize::MAX);
            let to = from.saturating_add(len).saturating_add(TRAILER_LEN);
            if let Some(slice) = bytes.get(from..to)
                && without_trailer(slice).is_ok()
            {
                came.push((at.offset, slice));
            }
        }
        self.cache.put(entry.id, &came);
        Ok(self.opened.put(entry.id, index))
    }
}

const fn part_of(at: Handle) -> (u64, u64) {
    (at.offset, at.size.saturating_add(TRAILER_LEN as u64))
}

impl RemoteTable {
    fn want(&self, at: Handle) {
        if at.end_within(self.block.entry.size).is_ok() {
            let (tier, block) = (&self.tier, &self.block);
            self.reading.want(tier, block, part_of(at), Check::Block);
        }
    }
}

impl DataBlocks for RemoteTable {
    fn data_block(&self, at: Handle) -> Result<Arc<[u8]>, Error> {
        at.end_within(self.block.entry.size)
            .map_err(|problem| self.damage(at, &problem))?;
        let (tier, block) = (&self.tier, &self.block);
        self.reading.part(tier, block, part_of(at), Check::Block)
    }

    fn damage(&self, at: Handle, problem: &str) -> Error {
        let name = self.tier.remote.describe(&self.block);
        let (offset, size) = (at.offset, at.size);
        Error::corrupt(format!("{name} at offset {offset}, {size} bytes,"), problem)
    }
}

impl Table for RemoteTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.opened.index.get(self, key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
        self.opened.index.scan(self, prefix, after)
    }

    fn will_get(&self, key: &[u8]) {
        if let Some(at) = self.opened.index.block_of(key) {
            self.want(at);
        }
    }

    fn will_scan(&self, prefix: &[u8], bytes_max: u64) {
        let blocks: Vec<Handle> = self.opened.index.blocks_of_prefix(prefix).collect();
        let bytes = blocks.iter().map(|at| at.size).fold(0, u64::saturating_add);
        if bytes <= bytes_max {
            blocks.into_iter().for_each(|at| self.want(at));
        }
    }
}
