//! A start with much history: what is listed in manifests and lies in the bucket costs a start next to
//! nothing, and the rounds of a member little.

#![allow(
    clippy::disallowed_methods,
    reason = "how long a start takes is measured in real time"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;

use super::world::{START, context, tenant};
use super::world_of;
use crate::archive::{ArchiveKind, ClusterRecord};
use crate::cluster::control::{DAY_MS, History, LocalControl, Manifest, restored_state};
use crate::cluster::manifests::Manifests;
use crate::cluster::member::LocalMember;
use crate::cluster::merging::{Merges, Pace};
use crate::cluster::opening::{MemberSettings, open_engine};
use crate::cluster::{ClusterId, World};
use crate::model::*;
use crate::runtime::{CancelToken, ManualClock, SeededChance};
use crate::source::Selection;
use crate::store::{
    self, Batch, BlockFile, DataDir, Durability, Engine, Pair, Pairs, Space, Table, begin_elsewhere,
};

const CLUSTER: ClusterId = ClusterId(9);

/// A block of a day, so many days ago.
fn entry(id: u128, days_ago: i64) -> BlockEntry {
    let first = START.div_euclid(DAY_MS) - days_ago;
    let start = TimestampMs(first * DAY_MS);
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(&id.to_be_bytes());
    BlockEntry {
        level: Level(1),
        size: 40 << 20,
        digest: Digest(digest),
        uploaded: Uploaded::Object,
        ..BlockEntry::of(id, TimeRange::new(start, start.plus_ms(DAY_MS - 1)))
    }
}

/// A data directory whose catalog lists so many blocks, all of them in the bucket, spread over days.
fn directory_with(settings: &MemberSettings, blocks: u128) {
    let chance = SeededChance::new(1);
    let directory = DataDir::open(&settings.data_dir, &chance).unwrap();
    let engine = open_engine(directory.path(), 1 << 20).unwrap();
    let me = directory.incarnation();
    let mut state = restored_state(CLUSTER, me, &BTreeMap::new(), BTreeMap::new()).unwrap();
    let arcs: Vec<RingArc> = state.partitions.keys().copied().collect();
    let of_arc = blocks / arcs.len() as u128;
    let manifests = Manifests::new(Arc::clone(&engine));
    let mut applied = Vec::new();
    for (number, arc) in (0u128..).zip(&arcs) {
        let ids = (0..of_arc).map(|at| number * of_arc + at + 1);
        let all = ids.map(|id| {
            (
                BlockId(id),
                entry(id, 3 + i64::try_from(id % of_arc).unwrap()),
            )
        });
        let manifest = Manifest {
            arc: *arc,
            blocks: all.collect(),
        };
        let bytes = manifest.encode();
        let digest = Digest(*blake3::hash(&bytes).as_bytes());
        manifests.put(digest, &bytes).unwrap();
        let partition = state.partitions.get_mut(arc).map(Arc::make_mut).unwrap();
        partition.version = 7;
        let ends = manifest.blocks.values().map(|entry| entry.range.end);
        partition.history = Some(History {
            digest,
            blocks: u32::try_from(of_arc).unwrap(),
            oldest_end: ends.min().unwrap(),
        });
        applied.push((*arc, 7, manifest.blocks));
    }
    let each = applied
        .iter()
        .map(|(arc, version, blocks)| (*arc, *version, blocks));
    begin_elsewhere(engine.as_ref(), each).unwrap();
    LocalControl::begin(engine.as_ref(), &state).unwrap();
}

fn settings(folder: &Path, name: &str) -> MemberSettings {
    let bucket = folder.join(format!("{name}-bucket"));
    std::fs::create_dir(&bucket).unwrap();
    let mut settings = MemberSettings {
        data_dir: folder.join(name),
        ..MemberSettings::default()
    };
    settings.archive.main.kind = ArchiveKind::Local;
    settings.archive.local.path = Some(bucket.clone());
    // What a member makes sure of before it writes anything.
    let record = ClusterRecord {
        cluster: CLUSTER.0,
        ancestors: Vec::new(),
    };
    std::fs::write(bucket.join("cluster.json"), record.encode()).unwrap();
    settings
}

/// An engine that counts what is read of it.
struct Counting {
    engine: Arc<dyn Engine>,
    bytes: AtomicU64,
}

impl Counting {
    fn count(&self, pairs: &[Pair]) {
        let bytes = pairs.iter().map(|(key, value)| key.len() + value.len());
        self.bytes
            .fetch_add(bytes.sum::<usize>() as u64, Ordering::Relaxed);
    }
}

impl Engine for Counting {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, store::Error> {
        let value = self.engine.get(space, key)?;
        let bytes = value.as_ref().map_or(0, Vec::len) as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(value)
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), store::Error> {
        self.engine.write(batch, durability)
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Pairs, store::Error> {
        let pairs = self.engine.scan(space, prefix, after)?;
        self.count(&pairs);
        Ok(pairs)
    }

    fn first(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Option<Pair>, store::Error> {
        let pair = self.engine.first(space, prefix, after)?;
        self.count(pair.as_slice());
        Ok(pair)
    }

    fn ingest(&self, files: &[(BlockId, PathBuf)]) -> Result<(), store::Error> {
        self.engine.ingest(files)
    }

    fn drop_block(&self, id: BlockId) -> Result<(), store::Error> {
        self.engine.drop_block(id)
    }

    fn table(&self, id: BlockId) -> Result<Option<Arc<dyn Table>>, store::Error> {
        self.engine.table(id)
    }

    fn checkpoint(&self, to: &Path) -> Result<(), store::Error> {
        self.engine.checkpoint(to)
    }

    fn block_files(&self) -> Result<Vec<BlockFile>, store::Error> {
        self.engine.block_files()
    }
}

struct Costs {
    start: Duration,
    /// Bytes that the start and a query of the last hour read of the engine.
    read: u64,
    /// The first count of all blocks, and each further one.
    counts: [Duration; 2],
    query: Duration,
    uploads: [Duration; 2],
    merges: Duration,
    tiering: [Duration; 2],
}

fn costs(folder: &Path, blocks: u128) -> Costs {
    let settings = settings(folder, &blocks.to_string());
    directory_with(&settings, blocks);
    let clock = Arc::new(ManualClock::at(TimestampMs(START)));
    let around: World = world_of(clock, Arc::new(SeededChance::new(2)));
    let timed = |what: &mut dyn FnMut()| {
        let begun = Instant::now();
        what();
        begun.elapsed()
    };
    let (mut member, mut counting) = (None, None);
    let start = timed(&mut || {
        let directory = DataDir::open(&settings.data_dir, &SeededChance::new(1)).unwrap();
        let engine = Arc::new(Counting {
            engine: open_engine(directory.path(), 1 << 20).unwrap(),
            bytes: AtomicU64::new(0),
        });
        counting = Some(Arc::clone(&engine));
        let registry = &mut Registry::default();
        let opened = LocalMember::assemble(engine, directory, &settings, &around, registry);
        member = Some(opened.unwrap());
    });
    let member = member.unwrap();
    let hour = TimeRange::new(TimestampMs(START - 3_600_000), TimestampMs(START));
    let selection = Selection {
        tenant: tenant(0),
        matchers: Vec::new(),
        range: hour,
    };
    let query = timed(&mut || {
        let mut samples = Samples::default();
        let mut found = member.source().select(&selection, &context()).unwrap();
        assert!(found.next(&mut samples).unwrap().is_none());
    });
    let read = counting.unwrap().bytes.load(Ordering::Relaxed);
    // What reaches back to blocks that were not read yet is not answered without them: the bucket has none of these.
    let all_time = Selection {
        range: TimeRange::ALL,
        ..selection
    };
    assert!(member.source().select(&all_time, &context()).is_err());
    let count = &mut || {
        let listed = member.store().block_totals().0;
        assert_eq!(u128::from(listed), blocks / 16 * 16);
    };
    let counts = [timed(count), timed(count)];
    let cancel = CancelToken::new();
    let upkeep = member.upkeep();
    // The first looks read what a start has not; the ones after it are those of an idle node.
    let uploads = || timed(&mut || upkeep.uploader().round(&cancel));
    let uploads = [uploads(), uploads()];
    let tiering = || timed(&mut || upkeep.tiering().round(&cancel));
    let tiering = [tiering(), tiering()];
    // Days beside each other are merged, and nothing can be fetched here: only the plan is made.
    cancel.cancel();
    let merges = timed(&mut || {
        assert_eq!(member.merger().pass(Pace::Fast, &cancel), Merges::default());
    });
    Costs {
        start,
        read,
        counts,
        query,
        uploads,
        merges,
        tiering,
    }
}

/// Would catch a start, a query or a round of work that reads every block that there ever was, or every manifest
/// anew each time. `CAIRN_LONG=1`: 100,000 blocks; the figures stand in `docs/performance.md`.
#[test]
fn a_start_is_as_quick_with_much_history() {
    let folder = tempfile::tempdir().unwrap();
    let many = match std::env::var_os("CAIRN_LONG") {
        Some(_) => 100_000,
        None => 16_000,
    };
    let sizes = BTreeSet::from([160, many]);
    let all: Vec<Costs> = sizes
        .iter()
        .map(|size| costs(folder.path(), *size))
        .collect();
    for (blocks, one) in sizes.iter().zip(&all) {
        let ms = |took: Duration| format!("{:.2}", took.as_secs_f64() * 1000.0);
        let both = |[first, then]: [Duration; 2]| format!("{} and {}", ms(first), ms(then));
        println!(
            "{blocks} blocks: start {} ms, {} bytes of the engine, a query of the last hour {}, first and next: count of blocks {}, look for uploads {}, for what may leave the disk {}; for merges {}",
            ms(one.start),
            one.read,
            ms(one.query),
            both(one.counts),
            both(one.uploads),
            both(one.tiering),
            ms(one.merges)
        );
    }
    let [few, much] = all.as_slice() else {
        panic!()
    };
    // What a start reads grows with partitions, not with blocks: an entry of a few more bytes here and there.
    assert!(much.read < few.read + 10_000, "{} {}", few.read, much.read);
    assert!(much.query < few.query + Duration::from_secs(1));
}
