//! The engine on RocksDB: the only file that names the library.
//!
//! Small and flat by its settings: small memtables, a block cache of a given size that also holds
//! indexes, few open files, two background jobs, next to no info log. Two column families are
//! written through the write-ahead log; the third holds nothing but ingested block files, and
//! RocksDB never compacts it.
//!
//! The form of a block file is pinned here ([`table_options`]) and read by our own reader too
//! (`sst.rs`); `docs/format.md` has its bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DBRecoveryMode, ErrorKind, IngestExternalFileOptions, LogLevel, Options,
    ReadOptions, SstFileWriter, WriteBatch, WriteOptions,
};

use super::keys::{block_of_key, block_prefix, prefix_end};
use super::{
    Batch, BlockFile, Durability, Engine, Pair, Pairs, SCAN_BYTES_MAX, SCAN_PAIRS_MAX, Space, Table,
};
use crate::model::BlockId;
use crate::store::error::Error;

/// Memtable of the spaces that are written: enough for hours of metadata and control commands.
const WRITE_BUFFER_BYTES: usize = 4 << 20;

/// The write-ahead log is cut at this size, which bounds what a restart replays.
const WAL_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a data block, unless one value alone has more: around one value page of two hours.
const DATA_BLOCK_BYTES: usize = 5632;

/// A data block ends before it would get larger if it has more than a hundredth of that, in other words 57 bytes:
/// less than the smallest column of timestamps takes. So a large page has a data block of its own, and who wants
/// what lies beside it need not fetch it. A deviation of 100 would turn that off.
const DEVIATION: u32 = 99;

/// Keys between restart points in a data block. Part of the form.
const RESTART_INTERVAL: i32 = 16;

/// The table format of RocksDB that block files have. Part of the form.
const FORMAT_VERSION: i32 = 5;

const BLOCKS: &str = "blocks";

const fn family_name(space: Space) -> &'static str {
    match space {
        Space::Meta => "meta",
        Space::Control => "control",
    }
}

/// The engine on RocksDB.
pub struct RocksEngine {
    db: Arc<DB>,
    directory: PathBuf,
}

impl RocksEngine {
    /// Opens or creates the database in a directory. `cache_bytes` is what it may keep of blocks'
    /// data and indexes in memory, `open_files_max` how many files it may hold open.
    ///
    /// # Errors
    /// When the directory cannot be used, is in use, or holds damage.
    pub fn open(directory: &Path, cache_bytes: usize, open_files_max: i32) -> Result<Self, Error> {
        let cache = Cache::new_lru_cache(cache_bytes);
        let families = [
            ColumnFamilyDescriptor::new("default", written_family(&cache)),
            ColumnFamilyDescriptor::new(family_name(Space::Meta), written_family(&cache)),
            ColumnFamilyDescriptor::new(family_name(Space::Control), written_family(&cache)),
            ColumnFamilyDescriptor::new(BLOCKS, blocks_family(&cache)),
        ];
        let options = database_options(open_files_max);
        let db = DB::open_cf_descriptors(&options, directory, families)
            .map_err(|error| failed("open its database", error))?;
        Ok(Self {
            db: Arc::new(db),
            directory: directory.to_owned(),
        })
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily, Error> {
        family(&self.db, name)
    }

    /// Removes what is left of a block whose file could not be deleted as a file. It should never
    /// have to: block files are ingested below level 0 and nothing else is written to their family.
    fn erase_rest(&self, id: BlockId) -> Result<(), Error> {
        let blocks = self.family(BLOCKS)?;
        let from = block_prefix(id).to_vec();
        let to = prefix_end(&from).unwrap_or_else(|| vec![0xff; from.len() + 1]);
        let doing = "erase a block";
        self.db
            .delete_range_cf(blocks, &from, &to)
            .and_then(|()| self.db.flush_cf(blocks))
            .map_err(|error| failed(doing, error))?;
        self.db.compact_range_cf(blocks, Some(&from), Some(&to));
        Ok(())
    }

    fn has_block(&self, id: BlockId) -> Result<bool, Error> {
        let first = scan(&self.db, BLOCKS, &block_prefix(id), None, 1)?;
        Ok(!first.is_empty())
    }
}

impl Engine for RocksEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        get(&self.db, family_name(space), key)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        let mut out = WriteBatch::default();
        for (space, key, value) in batch.changes() {
            let family = self.family(family_name(space))?;
            match value {
                Some(value) => out.put_cf(family, key, value),
                None => out.delete_cf(family, key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.db
            .write_opt(out, &options)
            .map_err(|error| failed("write a batch", error))
    }

    fn scan(&self, space: Space, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
        scan(&self.db, family_name(space), prefix, after, SCAN_PAIRS_MAX)
    }

    fn first(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Option<Pair>, Error> {
        let pairs = scan(&self.db, family_name(space), prefix, after, 1)?;
        Ok(pairs.into_iter().next())
    }

    fn ingest(&self, files: &[(BlockId, PathBuf)]) -> Result<(), Error> {
        let mut fresh = Vec::with_capacity(files.len());
        for (id, path) in files {
            if self.has_block(*id)? {
                std::fs::remove_file(path).map_err(Error::io("remove", path))?;
            } else {
                fresh.push(path);
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        // No sequence number is ever needed or written: no block's keys overlap another's, and
        // nothing else is in this family. So a file stays the same to the byte.
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        options.set_snapshot_consistency(false);
        options.set_allow_global_seqno(false);
        options.set_allow_blocking_flush(false);
        self.db
            .ingest_external_file_cf_opts(self.family(BLOCKS)?, &options, fresh)
            .map_err(|error| failed("take in a block file", error))
    }

    fn drop_block(&self, id: BlockId) -> Result<(), Error> {
        let from = block_prefix(id).to_vec();
        // No key of a block continues its id with this byte (sections are small numbers).
        let to = [from.as_slice(), &[0xff]].concat();
        self.db
            .delete_file_in_range_cf(self.family(BLOCKS)?, &from, &to)
            .map_err(|error| failed("delete a block's file", error))?;
        if self.has_block(id)? {
            self.erase_rest(id)?;
        }
        Ok(())
    }

    fn table(&self, id: BlockId) -> Result<Option<Arc<dyn Table>>, Error> {
        Ok(self.has_block(id)?.then(|| {
            Arc::new(RocksTable {
                db: Arc::clone(&self.db),
            }) as Arc<dyn Table>
        }))
    }

    fn checkpoint(&self, to: &Path) -> Result<(), Error> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(to))
            .map_err(|error| failed("make a checkpoint of its database", error))
    }

    fn block_files(&self) -> Result<Vec<BlockFile>, Error> {
        let files = self
            .db
            .live_files()
            .map_err(|error| failed("list its files", error))?;
        let mut found: Vec<BlockFile> = files
            .into_iter()
            .filter(|file| file.column_family_name == BLOCKS)
            .filter_map(|file| {
                Some(BlockFile {
                    id: block_of_key(file.start_key.as_deref()?)?,
                    path: self.directory.join(file.name.trim_start_matches('/')),
                    size: u64::try_from(file.size).ok()?,
                })
            })
            .collect();
        found.sort_unstable_by_key(|file| file.id);
        Ok(found)
    }
}

/// All blocks are one table to RocksDB; a block's keys begin with its id.
struct RocksTable {
    db: Arc<DB>,
}

impl Table for RocksTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        get(&self.db, BLOCKS, key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
        scan(&self.db, BLOCKS, prefix, after, SCAN_PAIRS_MAX)
    }
}

fn family<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily, Error> {
    db.cf_handle(name)
        .ok_or_else(|| Error::Bug(format!("the column family {name:?} is not open")))
}

fn get(db: &DB, name: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    db.get_cf(family(db, name)?, key)
        .map_err(|error| failed("read a key", error))
}

fn scan(
    db: &DB,
    name: &str,
    prefix: &[u8],
    after: Option<&[u8]>,
    pairs_max: usize,
) -> Result<Pairs, Error> {
    let mut options = ReadOptions::default();
    if let Some(end) = prefix_end(prefix) {
        options.set_iterate_upper_bound(end);
    }
    let mut iterator = db.raw_iterator_cf_opt(family(db, name)?, options);
    match after {
        Some(after) if after >= prefix => {
            iterator.seek(after);
            if iterator.key() == Some(after) {
                iterator.next();
            }
        }
        _ => iterator.seek(prefix),
    }
    let (mut pairs, mut bytes) = (Pairs::new(), 0);
    while let Some((key, value)) = iterator.item() {
        bytes += key.len() + value.len();
        pairs.push((key.to_vec(), value.to_vec()));
        if pairs.len() >= pairs_max || bytes >= SCAN_BYTES_MAX {
            return Ok(pairs);
        }
        iterator.next();
    }
    iterator
        .status()
        .map_err(|error| failed("read keys", error))?;
    Ok(pairs)
}

fn failed(doing: &'static str, error: rocksdb::Error) -> Error {
    let message = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => Error::corrupt("a file of the storage engine", message),
        _ => Error::Engine { doing, message },
    }
}

fn database_options(open_files_max: i32) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_open_files(open_files_max);
    options.set_max_background_jobs(2);
    options.set_db_write_buffer_size(3 * WRITE_BUFFER_BYTES);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    // A torn last record is a crash; damage before it is damage and must not pass silently.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(256 << 10);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_max_manifest_file_size(4 << 20);
    options.set_manifest_preallocation_size(64 << 10);
    options.set_skip_stats_update_on_db_open(true);
    options.set_table_cache_num_shard_bits(2);
    options
}

fn written_family(cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&cached_tables(cache));
    options
}

fn blocks_family(cache: &Cache) -> Options {
    let mut options = written_family(cache);
    options.set_disable_auto_compactions(true);
    // Nothing is written here, so nothing can pile up that writers would have to wait for.
    options.set_level_zero_slowdown_writes_trigger(1 << 30);
    options.set_level_zero_stop_writes_trigger(1 << 30);
    options
}

fn cached_tables(cache: &Cache) -> BlockBasedOptions {
    let mut tables = pinned_tables();
    tables.set_block_cache(cache);
    // Indexes count against the cache: many blocks must not mean much memory.
    tables.set_cache_index_and_filter_blocks(true);
    tables
}

/// The form of a table, as far as table options decide it. Everything here but the size of data blocks is part
/// of the block format: change nothing else without a new format version.
fn pinned_tables() -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_format_version(FORMAT_VERSION);
    tables.set_checksum_type(ChecksumType::XXH3);
    tables.set_block_size(DATA_BLOCK_BYTES);
    tables.set_block_restart_interval(RESTART_INTERVAL);
    tables.set_index_block_restart_interval(1);
    tables
}

/// The options of a block file that is written. The library has no function for one of them.
fn table_options() -> Result<Options, Error> {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&pinned_tables());
    let more = format!("block_based_table_factory={{block_size_deviation={DEVIATION}}}");
    options
        .get_options_from_string(more)
        .map_err(|error| failed("set the form of a block file", error))
}

/// Takes the keys and values of a table, in order of the keys.
pub trait TableSink {
    /// Adds a pair; the key must come after the last one's.
    ///
    /// # Errors
    /// When the key does not, or the disk fails.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error>;
}

struct SstSink<'a, 'b> {
    writer: &'b mut SstFileWriter<'a>,
}

impl TableSink for SstSink<'_, '_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.writer
            .put(key, value)
            .map_err(|error| failed("write a block file", error))
    }
}

/// Writes a table file at `path` in the pinned form, with the pairs that `fill` puts. The file's
/// content is synced; its directory is not. On an error what was written stays there, unfinished.
///
/// # Errors
/// Whatever `fill` says, or when the file cannot be written or would be empty.
pub fn build_table<T>(
    path: &Path,
    fill: impl FnOnce(&mut dyn TableSink) -> Result<T, Error>,
) -> Result<T, Error> {
    let options = table_options()?;
    let mut writer = SstFileWriter::create(&options);
    writer
        .open(path)
        .map_err(|error| failed("create a block file", error))?;
    let filled = fill(&mut SstSink {
        writer: &mut writer,
    })?;
    writer
        .finish()
        .map_err(|error| failed("finish a block file", error))?;
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::{block_key, for_each};

    fn open(directory: &Path) -> RocksEngine {
        RocksEngine::open(directory, 1 << 20, 64).unwrap()
    }

    fn build(directory: &Path, id: u128, keys: u32) -> (BlockId, PathBuf) {
        let (id, path) = (BlockId(id), directory.join(format!("{id}.staged")));
        build_table(&path, |sink| {
            for i in 0..keys {
                sink.put(&block_key(id, &i.to_be_bytes()), &[7; 100])?;
            }
            Ok(())
        })
        .unwrap();
        (id, path)
    }

    #[test]
    fn a_batch_is_there_after_reopening_and_scans_are_ordered() {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path());
        let mut batch = Batch::new();
        for i in 0..1000u32 {
            batch.put(Space::Meta, &i.to_be_bytes(), b"x");
        }
        batch.put(Space::Control, &[0, 0], b"other");
        engine.write(batch, Durability::Synced).unwrap();
        let mut delete = Batch::new();
        delete.delete(Space::Meta, &3u32.to_be_bytes());
        engine.write(delete, Durability::Buffered).unwrap();
        drop(engine);
        let engine = open(directory.path());
        let mut keys = Vec::new();
        for_each(
            |after| engine.scan(Space::Meta, &[0, 0], after),
            |key, _| {
                keys.push(u32::from_be_bytes(key.try_into().unwrap()));
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(keys.len(), 999);
        assert!(keys.is_sorted() && !keys.contains(&3));
        let other = engine.get(Space::Control, &[0, 0]).unwrap();
        assert_eq!(other.as_deref(), Some(b"other".as_slice()));
    }

    /// Catches files that land in level 0 (which could not be deleted as files), that are
    /// rewritten on the way in, and blocks that reach into a neighbour's keys.
    #[test]
    fn blocks_are_moved_in_unchanged_below_level_0_and_dropped_as_files() {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(&directory.path().join("db"));
        let files: Vec<_> = [5u128, 1, u128::MAX, 6]
            .into_iter()
            .map(|id| build(directory.path(), id, 300))
            .collect();
        let before = std::fs::read(&files[0].1).unwrap();
        for file in &files {
            engine.ingest(std::slice::from_ref(file)).unwrap();
            assert!(!file.1.exists());
        }
        let levels: Vec<i32> = engine
            .db
            .live_files()
            .unwrap()
            .iter()
            .map(|file| file.level)
            .collect();
        assert_eq!(levels.len(), 4);
        assert!(levels.iter().all(|level| *level > 0), "{levels:?}");
        let listed = engine.block_files().unwrap();
        let ids: Vec<u128> = listed.iter().map(|file| file.id.0).collect();
        assert_eq!(ids, [1, 5, 6, u128::MAX]);
        assert_eq!(std::fs::read(&listed[1].path).unwrap(), before);

        engine.drop_block(BlockId(5)).unwrap();
        engine.drop_block(BlockId(u128::MAX)).unwrap();
        engine.drop_block(BlockId(99)).unwrap();
        let count = |id| {
            let Some(table) = engine.table(BlockId(id)).unwrap() else {
                return 0;
            };
            let mut count = 0;
            for_each(
                |after| table.scan(&block_prefix(BlockId(id)), after),
                |_, _| {
                    count += 1;
                    Ok(())
                },
            )
            .unwrap();
            count
        };
        assert_eq!([1, 5, 6, u128::MAX].map(count), [300, 0, 300, 0]);
        assert_eq!(engine.block_files().unwrap().len(), 2);
        drop(engine);
        let engine = open(&directory.path().join("db"));
        assert_eq!(engine.block_files().unwrap().len(), 2);
    }

    #[test]
    fn a_block_can_come_back_and_come_twice() {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(&directory.path().join("db"));
        for _ in 0..2 {
            engine
                .ingest(&[
                    build(directory.path(), 7, 10),
                    build(directory.path(), 8, 10),
                ])
                .unwrap();
            let again = build(directory.path(), 7, 10);
            engine.ingest(std::slice::from_ref(&again)).unwrap();
            assert!(!again.1.exists());
            assert!(engine.table(BlockId(7)).unwrap().is_some());
            engine.drop_block(BlockId(7)).unwrap();
            assert!(engine.table(BlockId(7)).unwrap().is_none());
            engine.drop_block(BlockId(8)).unwrap();
        }
    }
}
