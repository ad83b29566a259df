//! A data directory that no process runs on, looked at: which blocks it holds, and whether every
//! byte of them is what was written.
//!
//! Nothing is changed but what opening the engine changes (its own log is replayed). Not here: the
//! log, which every start reads whole and refuses when it is damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::applied;
use super::block::{Section, Verified, sections, verify_block};
use super::engine::{Engine, RocksEngine};
use super::error::Error;
use super::lock::DataDir;
use crate::model::{BlockEntry, BlockId, RingArc, Uploaded};
use crate::runtime::{CancelToken, Chance};

/// What the engine may keep in memory of blocks: nothing is read twice.
const CACHE_BYTES: usize = 1 << 20;

/// Files that are open at a time.
const OPEN_FILES_MAX: i32 = 64;

/// An applied block and where its file lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfflineBlock {
    /// Its partition.
    pub arc: RingArc,
    /// What was applied.
    pub entry: BlockEntry,
    /// Its file; `None`: it is missing.
    pub path: Option<PathBuf>,
}

/// A data directory without a process, locked as long as this lives.
pub struct Offline {
    _directory: DataDir,
    blocks: Vec<OfflineBlock>,
}

impl Offline {
    /// Opens it.
    ///
    /// # Errors
    /// When it is no data directory, a process runs on it, or the engine cannot be opened.
    pub fn open(path: &Path, chance: &dyn Chance) -> Result<Self, Error> {
        if !DataDir::is_one(path) {
            return Err(Error::Unavailable(format!(
                "{} is no data directory of Cairn: name one with --data-dir",
                path.display()
            )));
        }
        let directory = DataDir::open(path, chance)?;
        let engine = RocksEngine::open(&path.join("engine"), CACHE_BYTES, OPEN_FILES_MAX)?;
        let files = engine.block_files()?.into_iter();
        let paths: BTreeMap<BlockId, PathBuf> = files.map(|file| (file.id, file.path)).collect();
        let applied = applied::read(&engine)?;
        let mut blocks = Vec::new();
        for (arc, applied) in applied {
            for entry in applied.blocks.into_values() {
                let path = paths.get(&entry.id).cloned();
                blocks.push(OfflineBlock { arc, entry, path });
            }
        }
        blocks.sort_by_key(|block| (block.arc, block.entry.range.start, block.entry.round));
        Ok(Self {
            _directory: directory,
            blocks,
        })
    }

    /// The applied blocks, by partition and time.
    #[must_use]
    pub fn blocks(&self) -> &[OfflineBlock] {
        &self.blocks
    }
}

impl OfflineBlock {
    /// Whether its only home is the bucket: nothing of it is to be found here.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.path.is_none() && self.entry.uploaded != Uploaded::None
    }

    /// Reads every byte of it.
    ///
    /// # Errors
    /// When the file is missing or cannot be read at all; damage is in the answer.
    pub fn verify(&self, cancel: &CancelToken) -> Result<Verified, Error> {
        verify_block(self.file()?, self.entry.id, Some(&self.entry), cancel)
    }

    /// How many bytes its sections take.
    ///
    /// # Errors
    /// When the file is missing, cannot be read or is damaged.
    pub fn sections(&self) -> Result<Vec<Section>, Error> {
        sections(self.file()?, self.entry.id)
    }

    fn file(&self) -> Result<&Path, Error> {
        self.path.as_deref().ok_or_else(|| {
            let what = format!("block {}", self.entry.id);
            Error::corrupt(what, "it is applied, but its file is missing")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::codec::page::Density;
    use crate::model::{LabelSet, TenantId, TimestampMs, Window, fingerprint};
    use crate::runtime::{ByteSize, ManualClock, SeededChance};
    use crate::store::{
        AppendBatch, BuildOrder, Catalog, FloatSample, HeadSettings, Store, StoreParts,
        WriteLogSettings,
    };

    /// One applied block on RocksDB.
    fn filled(path: &Path) {
        let chance = Arc::new(SeededChance::new(5));
        let directory = DataDir::open(path, chance.as_ref()).unwrap();
        let engine = RocksEngine::open(&path.join("engine"), CACHE_BYTES, 64).unwrap();
        let store = Store::open(StoreParts {
            directory,
            engine: Arc::new(engine),
            cluster_id: 7,
            log: WriteLogSettings {
                segment_size: ByteSize(1),
                ..WriteLogSettings::default()
            },
            head: HeadSettings::default(),
            head_bytes_max: 0,
            decoded_bytes_max: 0,
            clock: Arc::new(ManualClock::at(TimestampMs(0))),
            chance,
        })
        .unwrap();
        let tenant = TenantId::anonymous();
        let labels = LabelSet::from_pairs(&[("__name__", "up"), ("job", "node")]).unwrap();
        let series = store.register(&tenant, &labels).unwrap();
        let floats: Vec<FloatSample> = (0..100)
            .map(|row| FloatSample {
                series,
                at: TimestampMs(row * 15_000),
                value: row as f64,
            })
            .collect();
        let batch = AppendBatch {
            floats: &floats,
            ..AppendBatch::default()
        };
        store.append(&batch).unwrap();
        let arc = RingArc::of(fingerprint(&tenant, &labels), HeadSettings::default().depth);
        let range = Window(0).range();
        let cut = store.cut(arc, range).unwrap();
        let order = BuildOrder {
            arc,
            range,
            round: 1,
            pages: Density::Quick,
        };
        let entry = store.build(&cut, &order, &CancelToken::new()).unwrap();
        let entry = entry.unwrap();
        let blocks = BTreeMap::from([(entry.id, entry)]);
        let catalog = Catalog {
            version: 1,
            blocks: &blocks,
        };
        store.apply(arc, &catalog, None).unwrap();
        store.close().unwrap();
    }

    /// Would catch damage that is not seen, or seen where there is none.
    #[test]
    fn blocks_are_listed_and_a_flipped_byte_is_found() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let chance = SeededChance::new(1);
        let refused = Offline::open(&path, &chance).err().unwrap().to_string();
        assert!(refused.contains("no data directory"), "{refused}");
        assert!(!path.exists(), "looking makes nothing");
        filled(&path);
        let cancel = CancelToken::new();
        let offline = Offline::open(&path, &chance).unwrap();
        let in_use = Offline::open(&path, &chance).err().unwrap().to_string();
        assert!(in_use.contains("in use"), "{in_use}");
        let [block] = offline.blocks() else {
            panic!("one block: {:?}", offline.blocks());
        };
        let verified = block.verify(&cancel).unwrap();
        assert_eq!((verified.series, verified.samples), (1, 100));
        assert_eq!(verified.faults, []);
        let sections = block.sections().unwrap();
        let bytes: u64 = sections.iter().map(|section| section.bytes).sum();
        assert!(
            bytes < block.entry.size && sections.len() > 5,
            "{sections:?}"
        );
        let file = block.path.clone().unwrap();
        drop(offline);
        let mut damaged = fs::read(&file).unwrap();
        damaged[100] ^= 1;
        fs::write(&file, &damaged).unwrap();
        let offline = Offline::open(&path, &chance).unwrap();
        let verified = offline.blocks()[0].verify(&cancel).unwrap();
        assert!(!verified.faults.is_empty());
        assert_eq!(verified.faults[0].range, Window(0).range());
    }
}
