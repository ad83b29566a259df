//! Block files on their way: received from whoever built them, kept durably until the catalog
//! names them or their round has passed, and read again by those who lack them.
//!
//! A file is written under its id and `.part`, and gets its name, with `.sst` at the end, only when
//! all its bytes are here, are what the entry says, and are on the disk. What a crash leaves of it
//! is gone on with. Not here: who sends, and what the catalog names (`cluster`).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::block::{BlockProperties, BlockReader};
use super::engine::{FileAt, ReadAt, SstTable};
use super::error::Error;
use super::files::{id_of, remove};
use super::seal::Catalog;
use super::whole::{Receipts, Store};
use crate::model::{BlockEntry, BlockId, Digest, RingArc, TimestampMs};

/// Bytes that are read of a file at once.
pub const FILE_READ_MAX: usize = 1 << 20;

/// A file in the staging directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StagedInfo {
    /// The block.
    pub id: BlockId,
    /// What it says of itself; `None` when it is not complete.
    pub properties: Option<BlockProperties>,
    /// Bytes.
    pub size: u64,
    /// When it was written last, by the disk's clock.
    pub modified: TimestampMs,
}

/// A file that is being received.
#[derive(Debug)]
pub struct Receiving {
    entry: BlockEntry,
    file: File,
    part: PathBuf,
    path: PathBuf,
    hasher: blake3::Hasher,
    receipts: Receipts,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.receipts.lock().remove(&self.entry.id);
    }
}

impl Receiving {
    /// How many bytes are here: the next ones are those from there on.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.hasher.count()
    }

    /// Whether all bytes are here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.offset() == self.entry.size
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// When there would be more than the entry says, or the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let after = self.offset().saturating_add(bytes.len() as u64);
        if after > self.entry.size {
            return Err(self.wrong(&format!("it has {after} bytes or more")));
        }
        self.file
            .write_all(bytes)
            .map_err(Error::io("write", &self.part))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Ends it: the file is staged durably.
    ///
    /// # Errors
    /// When bytes are missing, they are not what the entry says (nothing of them is left then), or
    /// the disk fails.
    pub fn finish(self) -> Result<(), Error> {
        if !self.is_complete() {
            return Err(Error::Unavailable(format!(
                "block {} is not complete: {} of {} bytes are here",
                self.entry.id,
                self.offset(),
                self.entry.size
            )));
        }
        let digest = Digest(*self.hasher.finalize().as_bytes());
        if digest != self.entry.digest {
            fs::remove_file(&self.part).map_err(Error::io("remove", &self.part))?;
            return Err(self.wrong(&format!("its digest is {digest}")));
        }
        self.file
            .sync_all()
            .map_err(Error::io("sync", &self.part))?;
        fs::rename(&self.part, &self.path).map_err(Error::io("rename", &self.part))?;
        sync_parent(&self.path)
    }

    fn wrong(&self, what: &str) -> Error {
        let entry = &self.entry;
        Error::corrupt(
            format!("the received file of block {}", entry.id),
            format!(
                "{what}, the catalog says {} over {} bytes",
                entry.digest, entry.size
            ),
        )
    }
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("sync", parent))
}

impl Store {
    /// Begins or goes on to receive a block's file. `None`: it is staged or ingested already.
    ///
    /// # Errors
    /// When somebody else is receiving it, or the disk fails.
    pub fn receive(&self, entry: &BlockEntry) -> Result<Option<Receiving>, Error> {
        if self.has_file(entry.id)? {
            return Ok(None);
        }
        if !self.receipts.lock().insert(entry.id) {
            return Err(Error::Unavailable(format!(
                "block {} is being received already",
                entry.id
            )));
        }
        let receiving = self.begin_receiving(entry);
        if receiving.is_err() {
            self.receipts.lock().remove(&entry.id);
        }
        receiving.map(Some)
    }

    fn begin_receiving(&self, entry: &BlockEntry) -> Result<Receiving, Error> {
        let part = self.staging().join(format!("{}.part", entry.id));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .map_err(Error::io("open", &part))?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = file.read(&mut buffer).map_err(Error::io("read", &part))?;
            if len == 0 {
                break;
            }
            hasher.update(buffer.get(..len).unwrap_or_default());
        }
        if hasher.count() > entry.size {
            file.set_len(0).map_err(Error::io("shorten", &part))?;
            file.seek(SeekFrom::Start(0))
                .map_err(Error::io("rewind", &part))?;
            hasher.reset();
        }
        Ok(Receiving {
            entry: entry.clone(),
            file,
            part,
            path: self.staged(entry.id),
            hasher,
            receipts: Arc::clone(&self.receipts),
        })
    }

    /// Whether a block's file is staged here, whole and durably.
    #[must_use]
    pub fn is_staged(&self, id: BlockId) -> bool {
        self.staged(id).is_file()
    }

    /// Whether a block's file is here, staged or ingested.
    ///
    /// # Errors
    /// When the engine cannot say.
    pub fn has_file(&self, id: BlockId) -> Result<bool, Error> {
        if self.is_staged(id) {
            return Ok(true);
        }
        Ok(!self.damaged.lock().contains(&id) && self.engine.table(id)?.is_some())
    }

    /// The blocks that the catalog names and that have to be fetched before it can be applied. What
    /// is past local retention counts as held once the bucket has it.
    ///
    /// # Errors
    /// When the engine cannot say.
    pub fn missing(&self, arc: RingArc, catalog: &Catalog<'_>) -> Result<Vec<BlockEntry>, Error> {
        let view = self.view_of(arc);
        let here: BTreeSet<BlockId> = view
            .blocks()?
            .iter()
            .map(|block| block.entry().id)
            .collect();
        let mut missing = Vec::new();
        for (id, entry) in catalog.blocks {
            let wanted = !here.contains(id) && !self.need_not_be_here(entry);
            if wanted && self.applied_block(*id)?.is_none() && !self.has_file(*id)? {
                missing.push(entry.clone());
            }
        }
        Ok(missing)
    }

    /// Bytes of a staged or ingested block's file: at most `len` of them and [`FILE_READ_MAX`],
    /// fewer at its end. `None`: the file is not here.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read_file(
        &self,
        id: BlockId,
        offset: u64,
        len: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.open_file(id)? else {
            return Ok(None);
        };
        let left = usize::try_from(file.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(FILE_READ_MAX).min(left);
        file.read_at(offset, len).map(Some)
    }

    /// A file may move between looking and opening: from staged to ingested.
    pub(super) fn open_file(&self, id: BlockId) -> Result<Option<FileAt>, Error> {
        let known = |paths: &std::collections::BTreeMap<BlockId, PathBuf>| paths.get(&id).cloned();
        if let Some(file) = open_if_there(Some(self.staged(id)))? {
            return Ok(Some(file));
        }
        if self.damaged.lock().contains(&id) {
            return Ok(None);
        }
        if let Some(file) = open_if_there(known(&self.paths.lock()))? {
            return Ok(Some(file));
        }
        let files = self.engine.block_files()?;
        let fresh = files.into_iter().map(|file| (file.id, file.path)).collect();
        let path = {
            let mut paths = self.paths.lock();
            *paths = fresh;
            known(&paths)
        };
        open_if_there(path)
    }

    /// What lies in the staging directory, whoever wrote it, before or after a restart.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn staged_files(&self) -> Result<Vec<StagedInfo>, Error> {
        let found = self.list_staged()?;
        Ok(found.into_iter().map(|(info, _)| info).collect())
    }

    /// Removes the files of the staging directory that need not be kept. What is being received is
    /// kept without asking.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sweep_staged(&self, keep: impl Fn(&StagedInfo) -> bool) -> Result<(), Error> {
        let _one = self.applying.lock();
        for (info, path) in self.list_staged()? {
            let receipts = self.receipts.lock();
            if !receipts.contains(&info.id) && !keep(&info) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    pub(super) fn list_staged(&self) -> Result<Vec<(StagedInfo, PathBuf)>, Error> {
        let staging = self.staging();
        let mut found = Vec::new();
        for entry in fs::read_dir(&staging).map_err(Error::io("list", &staging))? {
            let path = entry.map_err(Error::io("list", &staging))?.path();
            let Some(id) = id_of(&path) else {
                continue;
            };
            let Ok(metadata) = fs::metadata(&path) else {
                // It was renamed or ingested meanwhile.
                continue;
            };
            let modified = metadata.modified().ok();
            let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let ms = since.and_then(|since| i64::try_from(since.as_millis()).ok());
            let complete = path.extension().is_some_and(|extension| extension == "sst");
            let info = StagedInfo {
                id,
                properties: complete.then(|| properties_of(&path, id)).flatten(),
                size: metadata.len(),
                modified: TimestampMs(ms.unwrap_or(0)),
            };
            found.push((info, path));
        }
        Ok(found)
    }
}

fn open_if_there(path: Option<PathBuf>) -> Result<Option<FileAt>, Error> {
    let Some(path) = path else {
        return Ok(None);
    };
    match FileAt::open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a file says of itself; `None` for one that was never finished.
pub(super) fn properties_of(path: &Path, id: BlockId) -> Option<BlockProperties> {
    let table = SstTable::open_file(path).ok()?;
    let reader = BlockReader::open(Arc::new(table), id).ok()?;
    Some(reader.properties().clone())
}
