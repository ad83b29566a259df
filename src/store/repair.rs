//! Blocks whose local file is not what was written any more: what is known to be damaged counts as
//! not here, so that whoever needs it takes it from elsewhere, and is replaced by a good copy.
//!
//! A good copy is received like any other block, into the staging directory, and checked there.
//! Readers get it at once; when the last reader of the damaged file has ended, that one is set aside
//! and the good one takes its place in the engine. A crash anywhere leaves one of the two where it
//! was: nothing is dropped before its replacement is here, checked and durable.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::applied_block::AppliedBlock;
use super::block::{BlockReader, digest_of};
use super::engine::{Batch, Durability, Space, SstTable};
use super::error::Error;
use super::replacing::Replacing;
use super::view::ArcView;
use super::whole::Store;
use crate::model::{BlockEntry, BlockId, RingArc};

/// Damaged files that are kept for whoever wants to look into them: at most 8 GiB of blocks, on a
/// disk that has to hold good ones.
const SET_ASIDE_MAX: usize = 32;

impl Store {
    /// From now on the file of an applied block counts as not here.
    pub fn mark_damaged(&self, id: BlockId) {
        self.damaged.lock().insert(id);
    }

    /// Blocks whose files are known to be damaged here and are not replaced yet.
    #[must_use]
    pub fn damaged(&self) -> BTreeSet<BlockId> {
        self.damaged.lock().clone()
    }

    /// Lets readers take the staged copy of a damaged block. The damaged file goes with
    /// [`Store::finish_replacing`].
    ///
    /// # Errors
    /// When no good copy is staged, or it cannot be read.
    pub fn replace(&self, entry: &BlockEntry) -> Result<(), Error> {
        let _one = self.applying.lock();
        let path = self.staged(entry.id);
        if !path.is_file() {
            let text = format!("no copy of block {} is staged: fetch one first", entry.id);
            return Err(Error::Unavailable(text));
        }
        let (digest, size) = digest_of(&path)?;
        if (digest, size) != (entry.digest, entry.size) {
            let aside = path.with_extension("bad");
            fs::rename(&path, &aside).map_err(Error::io("rename", &path))?;
            let problem = format!("its digest is {digest}, the catalog says {}", entry.digest);
            return Err(Error::corrupt(path.display().to_string(), problem));
        }
        let table = Arc::new(SstTable::open_file(&path)?);
        let reader = BlockReader::open(table, entry.id)?.sharing(Arc::clone(&self.decoded));
        let (engine, decoded) = (Arc::clone(&self.engine), Arc::clone(&self.decoded));
        let good = Arc::new(AppliedBlock::opened(entry.clone(), engine, reader, decoded));
        let mut old = Vec::new();
        let mut next = Vec::new();
        for (arc, view) in self.views_now() {
            if !view.names(entry.id)? {
                continue;
            }
            let blocks = view.blocks()?.iter().map(|block| {
                if block.entry().id == entry.id {
                    old.push(Arc::clone(block));
                    return Arc::clone(&good);
                }
                Arc::clone(block)
            });
            let blocks = blocks.collect();
            next.push((arc, Arc::new(ArcView::new(view.version, blocks))));
        }
        self.views.write().extend(next);
        self.damaged.lock().remove(&entry.id);
        // Partitions that were one share the block.
        old.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let entry = entry.clone();
        self.replacing.lock().push(Replacing { entry, old });
        Ok(())
    }

    /// Puts good copies in the place of damaged files that nobody reads any more.
    ///
    /// # Errors
    /// When the disk fails; the next call goes on.
    pub fn finish_replacing(&self) -> Result<(), Error> {
        if self.replacing.lock().is_empty() {
            return Ok(());
        }
        let _one = self.applying.lock();
        let mut replacing = self.replacing.lock();
        let (mut left, mut result) = (Vec::new(), Ok(()));
        for one in replacing.drain(..) {
            let is_read = one.old.iter().any(|block| Arc::strong_count(block) > 1);
            if is_read {
                left.push(one);
                continue;
            }
            if let Err(error) = self.take_place(&one.entry) {
                result = Err(error);
                left.push(one);
            }
        }
        *replacing = left;
        result
    }

    fn take_place(&self, entry: &BlockEntry) -> Result<(), Error> {
        let id = entry.id;
        if !self.keeps(id) {
            // It has left the catalog or this disk meanwhile, and goes with all others that have.
            return self.unstage(id);
        }
        self.set_aside(id)?;
        self.engine.drop_block(id)?;
        self.reach("dropped a damaged file")?;
        self.ingest(entry)?;
        self.paths.lock().remove(&id);
        Ok(())
    }

    /// Whether an applied block is read from this disk.
    #[must_use]
    pub fn keeps(&self, id: BlockId) -> bool {
        let block = self.applied_block(id);
        block.is_ok_and(|block| block.is_some_and(|block| block.is_here()))
    }

    /// Whether a block is applied to a partition, here or elsewhere.
    #[must_use]
    pub fn has_applied_block(&self, arc: RingArc, id: BlockId) -> bool {
        self.view_of(arc).names(id).unwrap_or(false)
    }

    /// Where a scrub of some copies of blocks is, as it was noted last.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn scrub_note(&self, copies: &str) -> Result<Option<Vec<u8>>, Error> {
        self.engine.get(Space::Meta, &note_key(copies))
    }

    /// Notes where it is. A crash may lose the last notes: then some blocks are looked at twice.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put_scrub_note(&self, copies: &str, note: &[u8]) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put(Space::Meta, &note_key(copies), note);
        self.engine.write(batch, Durability::Buffered)
    }

    /// Links the damaged file to where it is kept.
    fn set_aside(&self, id: BlockId) -> Result<(), Error> {
        let files = self.engine.block_files()?;
        let Some(file) = files.into_iter().find(|file| file.id == id) else {
            return Ok(());
        };
        let aside = self.aside();
        fs::create_dir_all(&aside).map_err(Error::io("make", &aside))?;
        let there = fs::read_dir(&aside).map_err(Error::io("list", &aside))?;
        let link = aside.join(format!("{id}.sst"));
        if there.count() >= SET_ASIDE_MAX || link.exists() || !file.path.exists() {
            return Ok(());
        }
        fs::hard_link(&file.path, &link).map_err(Error::io("link", &file.path))
    }

    /// Where damaged files are kept.
    fn aside(&self) -> PathBuf {
        self.directory().path().join("damaged")
    }
}

fn note_key(copies: &str) -> Vec<u8> {
    format!("scrub/{copies}").into_bytes()
}
