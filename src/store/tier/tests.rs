//! Blocks elsewhere against the same blocks here: the same pairs, and no more bytes than needed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::codec::page::Density;
use crate::model::{
    BlockEntry, BlockId, Digest, LabelSet, Level, MatchOp, Matcher, RingArc, Samples, TenantId,
    TimeRange, TimestampMs, Uploaded, Value, fingerprint,
};
use crate::runtime::{Budget, BudgetLimits, CancelToken, Chance, SeededChance};
use crate::source::{FamilyMetadata, ReadContext};
use crate::store::block::{
    BlockContent, BlockProperties, BlockReader, ContentSeries, build_block, is_of_samples,
};
use crate::store::engine::{
    Engine, Pairs, RocksEngine, SstTable, Table, block_key, block_prefix, build_table, for_each,
};
use crate::store::error::Error;

/// Objects in memory, and what was asked of them.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) files: Mutex<BTreeMap<BlockId, Bytes>>,
    pub(super) requests: AtomicU64,
}

struct Answers(Vec<(usize, Result<Bytes, Error>)>);

impl Fetching for Answers {
    fn next(&mut self) -> Option<(usize, Result<Bytes, Error>)> {
        self.0.pop()
    }
}

impl Remote for Arc<Objects> {
    fn fetch(&self, pieces: Vec<Piece>, _: &CancelToken) -> Box<dyn Fetching> {
        let files = self.files.lock();
        let answers = pieces.into_iter().enumerate().map(|(at, piece)| {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let file = files.get(&piece.block.entry.id);
            let answer = file.ok_or_else(|| Error::Unavailable("it is away".to_owned()));
            let range = usize::try_from(piece.range.start).unwrap()
                ..usize::try_from(piece.range.end).unwrap();
            (at, answer.map(|file| file.slice(range)))
        });
        Box::new(Answers(answers.collect()))
    }

    fn describe(&self, block: &RemoteBlock) -> String {
        format!("the object of {}", block.entry.id)
    }
}

pub(super) fn tier(objects: &Arc<Objects>, cache: &Path, cache_bytes_max: u64) -> Arc<Tier> {
    let parts = TierParts {
        remote: Arc::new(Arc::clone(objects)),
        cache_bytes_max,
        free_min: 0,
        index_bytes_max: 1 << 20,
        metrics: TierMetrics::default(),
    };
    Tier::open(parts, cache).unwrap()
}

pub(super) fn entry(id: BlockId, size: usize) -> BlockEntry {
    BlockEntry {
        id,
        range: TimeRange::ALL,
        level: Level(0),
        round: 1,
        size: size as u64,
        samples: 0,
        content_sum: 0,
        digest: Digest([0; 32]),
        uploaded: Uploaded::Object,
    }
}

pub(super) fn remote(entry: BlockEntry) -> Arc<RemoteBlock> {
    let arc = RingArc::new(0, 0).unwrap();
    Arc::new(RemoteBlock { arc, entry })
}

pub(super) fn context() -> ReadContext {
    ReadContext {
        cancel: CancelToken::new(),
        budget: Budget::new(BudgetLimits {
            memory_bytes: 1 << 30,
            samples: 1 << 26,
        }),
        partial: None,
        coarsest: Default::default(),
    }
}

fn all(table: &dyn Table, prefix: &[u8]) -> Result<Pairs, Error> {
    let mut pairs = Pairs::new();
    for_each(
        |after| table.scan(prefix, after),
        |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok(())
        },
    )?;
    Ok(pairs)
}

/// The three readers of one file: RocksDB, ours from the file, ours by ranges.
fn check_readers(file: &Path, id: BlockId) {
    let directory = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(file).unwrap();
    let copy = directory.path().join("copy");
    std::fs::write(&copy, &bytes).unwrap();
    let engine = RocksEngine::open(&directory.path().join("db"), 1 << 20, 64).unwrap();
    engine.ingest(&[(id, copy)]).unwrap();
    let rocks = engine.table(id).unwrap().unwrap();
    let plain = SstTable::open(Box::new(bytes.clone())).unwrap();
    let objects = Arc::new(Objects::default());
    let block = remote(entry(id, bytes.len()));
    objects.files.lock().insert(id, bytes.into());
    let want = all(rocks.as_ref(), &[]).unwrap();
    assert!(!want.is_empty());
    assert_eq!(all(&plain, &[]).unwrap(), want);
    for cache_bytes in [0, 1 << 30] {
        let tier = tier(&objects, &directory.path().join("cache"), cache_bytes);
        let reading = Reading::of(&context());
        let table = tier.table(&reading, &block).unwrap();
        assert_eq!(all(&table, &[]).unwrap(), want);
        for (key, value) in &want {
            assert_eq!(table.get(key).unwrap().as_ref(), Some(value));
            let absent = [key.as_slice(), &[0]].concat();
            assert_eq!(table.get(&absent).unwrap(), rocks.get(&absent).unwrap());
            let prefix = &key[..key.len().min(18)];
            assert_eq!(
                all(&table, prefix).unwrap(),
                all(rocks.as_ref(), prefix).unwrap()
            );
        }
    }
}

#[test]
fn the_golden_block_reads_as_rocksdb_reads_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("tests/format/golden/block-1.sst");
    let table = SstTable::open_file(&file).unwrap();
    let (key, _) = table.scan(&[], None).unwrap().into_iter().next().unwrap();
    let id = crate::store::engine::block_of_key(&key).unwrap();
    check_readers(&file, id);
    assert!(super::reread_object(&std::fs::read(&file).unwrap()));
}

/// A file of some keys of a block.
pub(super) fn build(path: &Path, id: BlockId, pairs: &BTreeMap<Vec<u8>, Vec<u8>>) {
    build_table(path, |sink| {
        let mut pairs = pairs.iter();
        pairs.try_for_each(|(key, value)| sink.put(&block_key(id, key), value))
    })
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_files_read_as_rocksdb_reads_them(
        pairs in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 1..30),
            prop::collection::vec(any::<u8>(), 0..9000),
            1..80,
        )
    ) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        build(&file, BlockId(9), &pairs);
        check_readers(&file, BlockId(9));
    }

    /// Whatever byte is changed: the right pairs, or an error.
    #[test]
    fn a_changed_byte_is_noticed(at: prop::sample::Index, with: u8, cut: bool) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let pairs = (0..400u32).map(|i| (i.to_be_bytes().to_vec(), vec![3; 70])).collect();
        build(&file, BlockId(9), &pairs);
        let mut bytes = std::fs::read(&file).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = with;
        if cut {
            bytes.truncate(at);
        }
        prop_assert!(super::reread_object(&bytes));
    }
}

/// Random series of some targets, which do not compress.
struct Content {
    keys: Vec<LabelSet>,
    chance: SeededChance,
}

const ROWS: i64 = 240;

impl BlockContent for Content {
    fn series_len(&self) -> usize {
        self.keys.len()
    }

    fn series(&self, index: usize) -> Result<ContentSeries, Error> {
        let (tenant, labels) = (TenantId::anonymous(), self.keys[index].clone());
        let fingerprint = fingerprint(&tenant, &labels);
        Ok(ContentSeries {
            tenant,
            labels,
            fingerprint,
        })
    }

    fn read(&mut self, _: usize, samples: &mut Samples) -> Result<(), Error> {
        samples.clear();
        for row in 0..ROWS {
            let noise = f64::from_bits(0x3ff0_0000_0000_0000 | (self.chance.next_u64() >> 12));
            samples.push(
                TimestampMs(row * 15_000),
                Value::Float(noise),
                TimestampMs(0),
            );
        }
        Ok(())
    }

    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error> {
        Ok(Vec::new())
    }
}

/// Counts the bytes of the values that are taken from a table, each once.
struct Counting {
    table: SstTable,
    taken: Mutex<BTreeMap<Vec<u8>, usize>>,
}

impl Table for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = self.table.get(key)?;
        let len = value.as_ref().map_or(0, Vec::len);
        self.taken.lock().insert(key.to_vec(), len);
        Ok(value)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
        self.table.scan(prefix, after)
    }
}

fn read(reader: &BlockReader, matchers: &[Matcher]) -> Result<Vec<(LabelSet, Samples)>, Error> {
    let mut data = reader.tenant(&TenantId::anonymous())?.unwrap();
    data.will_select(matchers);
    let ordinals = data.select(matchers)?;
    data.all_labels_here(&ordinals)?;
    data.will_read(&ordinals)?;
    let mut found = Vec::new();
    for ordinal in ordinals {
        let mut samples = Samples::default();
        data.read(ordinal, TimeRange::ALL, &mut samples)?;
        found.push((data.labels(ordinal)?, samples));
    }
    Ok(found)
}

/// A block of 2,560 series, and its bytes.
fn large_block(directory: &Path) -> (BlockEntry, Vec<u8>) {
    let mut keys = Vec::new();
    for target in 0..8 {
        for number in 0..320 {
            // Many values, which do not compress.
            let id = blake3::hash(format!("{target} {number}").as_bytes()).to_string();
            let labels = LabelSet::from_pairs(&[
                ("__name__", format!("metric_{:02}", number / 8).as_str()),
                ("cpu", (number % 8).to_string().as_str()),
                ("id", id.as_str()),
                ("instance", format!("host-{target}").as_str()),
                ("job", "node"),
            ]);
            keys.push(labels.unwrap());
        }
    }
    let chance = SeededChance::new(5);
    let properties = BlockProperties {
        id: BlockId(77),
        cluster_id: 1,
        arc: RingArc::new(0, 0).unwrap(),
        range: TimeRange::new(TimestampMs(0), TimestampMs(7_199_999)),
        level: Level(0),
        round: 1,
        pages: Density::Quick,
    };
    let path = directory.join("block");
    let mut content = Content { keys, chance };
    let built = build_block(&path, &properties, &mut content, &CancelToken::new()).unwrap();
    let bytes = std::fs::read(&built.path).unwrap();
    let entry = BlockEntry {
        uploaded: Uploaded::Object,
        ..built.entry
    };
    (entry, bytes)
}

/// Would catch reads that fetch whole blocks, fetch twice, or ask for each part by itself.
#[allow(
    clippy::too_many_lines,
    reason = "one story: what is needed, what is fetched, what the cache holds"
)]
#[test]
fn little_more_is_fetched_than_is_needed_in_few_requests() {
    let directory = tempfile::tempdir().unwrap();
    let (entry, bytes) = large_block(directory.path());
    let whole = bytes.len() as u64;
    let objects = Arc::new(Objects::default());
    objects
        .files
        .lock()
        .insert(BlockId(77), bytes.clone().into());
    let block = remote(entry);
    let equal = |name: &str, value: &str| Matcher::new(name, MatchOp::Equal, value).unwrap();
    let questions = [
        vec![equal("__name__", "metric_07")],
        vec![equal("instance", "host-3")],
        vec![equal("instance", "host-3"), equal("__name__", "metric_11")],
        vec![Matcher::new("__name__", MatchOp::Regex, "metric_0[1-9]").unwrap()],
    ];
    for (number, matchers) in questions.iter().enumerate() {
        let counting = Arc::new(Counting {
            table: SstTable::open(Box::new(bytes.clone())).unwrap(),
            taken: Mutex::default(),
        });
        let local = BlockReader::open(counting.clone(), BlockId(77)).unwrap();
        let want = read(&local, matchers).unwrap();
        assert!(!want.is_empty());
        let needed = counting.taken.lock().values().sum::<usize>() as u64;
        let cache = directory.path().join(format!("cache-{number}"));
        let tier = tier(&objects, &cache, 1 << 30);
        for round in 0..2 {
            objects.requests.store(0, Ordering::Relaxed);
            let context = context();
            let reading = Reading::of(&context);
            let mut got = None;
            in_rounds(
                &reading,
                &[Arc::clone(&block)],
                |block| block.entry.id,
                |block| read(&tier.reader(&reading, block)?, matchers),
                |_, found| {
                    got = Some(found?);
                    Ok::<(), Error>(())
                },
            )
            .unwrap();
            assert_eq!(got.as_ref(), Some(&want));
            let fetched = context.budget.bytes_fetched();
            let requests = objects.requests.load(Ordering::Relaxed);
            println!(
                "{fetched} bytes in {requests} requests, {needed} are needed, {whole} there are"
            );
            if round > 0 {
                assert_eq!((fetched, requests), (0, 0), "it is in the cache");
                continue;
            }
            // A tiny read pays for the end with the index.
            assert!(fetched <= needed + (28 << 10), "{fetched} for {needed}");
            assert!(requests <= 12, "{requests}");
        }
        // Without the objects the cache is enough, after a start too; without it nothing is.
        let files = std::mem::take(&mut *objects.files.lock());
        let again = self::tier(&objects, &cache, 1 << 30);
        let reading = Reading::of(&context());
        let reader = again.reader(&reading, &block).unwrap();
        assert_eq!(read(&reader, matchers).unwrap(), want);
        again.retain(&|_| false);
        let error = self::tier(&objects, &cache, 1 << 30)
            .reader(&reading, &block)
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains("away"), "{error}");
        *objects.files.lock() = files;
    }
}

/// Would catch a head that lacks a part, and one that has samples in it.
#[test]
fn of_a_block_whose_head_is_here_samples_alone_are_fetched() {
    let directory = tempfile::tempdir().unwrap();
    let (entry, bytes) = large_block(directory.path());
    let objects = Arc::new(Objects::default());
    let cache = directory.path().join("cache");
    let tier = tier(&objects, &cache, 1 << 30);
    tier.keep_head(&entry, &bytes).unwrap();
    let kept = std::fs::read_dir(&cache).unwrap().map(|file| file.unwrap());
    let kept: u64 = kept.map(|file| file.metadata().unwrap().len()).sum();
    assert!(kept < 160 << 10, "{kept} of {}", bytes.len());
    let equal = |name: &str, value: &str| Matcher::new(name, MatchOp::Equal, value).unwrap();
    let block = remote(entry.clone());
    let context = context();
    let reading = Reading::of(&context);
    let reader = tier.reader(&reading, &block).unwrap();
    // None of the objects is there yet, and whatever is no sample is here all the same.
    let table = tier.table(&reading, &block).unwrap();
    let whole = SstTable::open(Box::new(bytes.clone())).unwrap();
    for (key, value) in all(&whole, &block_prefix(entry.id)).unwrap() {
        let of_head = !is_of_samples(&key);
        assert!(!of_head || table.get(&key).unwrap() == Some(value));
    }
    let nothing = [equal("instance", "host-3"), equal("__name__", "metric_99")];
    assert_eq!(read(&reader, &nothing).unwrap(), []);
    let one = [equal("instance", "host-3"), equal("__name__", "metric_11")];
    assert!(read(&reader, &one).is_err());
    let object = bytes.clone().into();
    objects.files.lock().insert(entry.id, object);
    assert_eq!(read(&reader, &one).unwrap().len(), 8);
    let table = SstTable::open(Box::new(bytes.clone())).unwrap();
    let counting = Arc::new(Counting {
        table,
        taken: Mutex::default(),
    });
    let local = BlockReader::open(counting.clone(), entry.id).unwrap();
    read(&local, &one).unwrap();
    let taken = counting.taken.lock();
    let taken = taken.iter().filter(|(key, _)| is_of_samples(key));
    let needed: usize = taken.map(|(_, bytes)| *bytes).sum();
    let (fetched, needed) = (context.budget.bytes_fetched(), needed as u64);
    assert!(
        needed <= fetched && fetched <= needed + 200,
        "{fetched} for {needed}"
    );
    // What is no block is refused.
    let mut bad = bytes.clone();
    let at = bad.len() - 1;
    bad[at] ^= 1;
    assert!(tier.keep_head(&entry, &bad).is_err());
}

/// What a query may hold bounds what is fetched for it at a time, and a query that is called off
/// fetches nothing more.
#[test]
fn the_account_and_the_token_count() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let pairs = (0..400u32)
        .map(|i| (i.to_be_bytes().to_vec(), vec![3; 700]))
        .collect();
    build(&file, BlockId(9), &pairs);
    let bytes = std::fs::read(&file).unwrap();
    let objects = Arc::new(Objects::default());
    let block = remote(entry(BlockId(9), bytes.len()));
    objects.files.lock().insert(BlockId(9), bytes.into());
    let small = ReadContext {
        budget: Budget::new(BudgetLimits {
            memory_bytes: 100,
            samples: 1 << 20,
        }),
        ..context()
    };
    let tier = tier(&objects, &directory.path().join("cache"), 0);
    let refused = tier.table(&Reading::of(&small), &block).map(|_| ());
    assert!(matches!(refused, Err(Error::Budget(_))));
    let called_off = context();
    called_off.cancel.cancel();
    let refused = tier.table(&Reading::of(&called_off), &block).map(|_| ());
    assert!(matches!(refused, Err(Error::Cancelled(_))));
    let fine = context();
    let table = tier.table(&Reading::of(&fine), &block).unwrap();
    assert_eq!(all(&table, &[]).unwrap().len(), 400);
    assert!(
        fine.budget.reserve(1 << 30, 0).is_ok(),
        "nothing is held any more"
    );
}
