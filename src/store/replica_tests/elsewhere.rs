//! Blocks that lie elsewhere give what the same blocks give here, however they are read.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::apart::drained;
use super::newest::seal;
use super::rig::series;
use super::*;
use crate::runtime::{CancelToken, SeededChance};
use crate::source::{Moments, Selection, Source};

/// The objects of some blocks.
struct Shelf(BTreeMap<BlockId, Bytes>);

struct Taken(Vec<(usize, Bytes)>);

impl Fetching for Taken {
    fn next(&mut self) -> Option<(usize, Result<Bytes, Error>)> {
        self.0.pop().map(|(at, bytes)| (at, Ok(bytes)))
    }
}

impl Remote for Shelf {
    fn fetch(&self, pieces: Vec<Piece>, _: &CancelToken) -> Box<dyn Fetching> {
        let of = |piece: Piece| {
            let at = |place: u64| usize::try_from(place).unwrap();
            self.0[&piece.block.entry.id].slice(at(piece.range.start)..at(piece.range.end))
        };
        Box::new(Taken(pieces.into_iter().map(of).enumerate().collect()))
    }

    fn describe(&self, block: &RemoteBlock) -> String {
        format!("the object of {}", block.entry.id)
    }
}

/// Shows a node's blocks and has none of their files.
fn elsewhere(
    node: &Node,
    catalogs: BTreeMap<RingArc, BTreeMap<BlockId, BlockEntry>>,
    (directory, cache): (&std::path::Path, u64),
) -> Elsewhere {
    let entries = catalogs.values().flat_map(BTreeMap::values);
    let object = |entry: &BlockEntry| (entry.id, node.bytes(entry).into());
    let tier = TierParts {
        remote: Arc::new(Shelf(entries.map(object).collect())),
        cache_bytes_max: cache,
        free_min: 0,
        index_bytes_max: 1 << 20,
        metrics: TierMetrics::default(),
    };
    let directory = DataDir::open(directory, &SeededChance::new(1)).unwrap();
    // Where nothing is kept on the disk, nothing is in memory either.
    let source = Elsewhere::open(directory, tier, cache).unwrap();
    let listed = catalogs.into_iter().map(|(arc, blocks)| ListedPartition {
        arc,
        version: blocks.len() as u64,
        blocks: blocks
            .into_values()
            .map(|entry| BlockEntry {
                uploaded: Uploaded::Object,
                ..entry
            })
            .collect(),
    });
    source.show(listed.collect());
    source
}

/// Would catch samples that are left out elsewhere and not here, histograms that are not read again as a
/// whole, and streams of several threads that take each other's parts.
#[test]
fn what_is_elsewhere_is_read_as_it_is_here() {
    let moments = (-WINDOW_MS..3 * WINDOW_MS, 1i64..2_000_000, 1usize..40);
    let strategy = (writes(), writes(), moments, 0u64..1000, any::<bool>());
    let (thinned, several) = (Cell::new(0), Cell::new(0));
    proptest!(ProptestConfig::with_cases(24), |((first, second, moments, least, cached) in strategy)| {
        let node = Node::new(12);
        let mut catalogs = BTreeMap::new();
        for writes in [first, second] {
            node.write(&writes);
            for arc in RingArc::all(FOUNDING_DEPTH) {
                let blocks: &mut BTreeMap<_, _> = catalogs.entry(arc).or_default();
                rig::windows().for_each(|window| seal(&node, arc, window, blocks));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let cache = if cached { 1 << 24 } else { 0 };
        let away = elsewhere(&node, catalogs, (folder.path(), cache));
        let moments = Moments { first: TimestampMs(moments.0), step_ms: moments.1, count: moments.2 };
        for tenant in 0..2 {
            let selection = Selection {
                tenant: series(tenant).0,
                matchers: Vec::new(),
                range: TimeRange::new(TimestampMs(-WINDOW_MS), TimestampMs(3 * WINDOW_MS)),
            };
            let context = rig::context();
            let read = |source: &dyn Source, moments: Option<Moments>| {
                let stream = match moments {
                    Some(moments) => source.select_newest(&selection, moments, &context),
                    None => source.select(&selection, &context),
                };
                drained(vec![stream.unwrap()])
            };
            let all = read(&node.store, None);
            for moments in [None, Some(moments)] {
                let here = read(&node.store, moments);
                thinned.set(thinned.get() + i32::from(here != all));
                prop_assert!(read(&away, moments) == here);
                let view = away.read_view(selection.range).unwrap();
                let streams = view.select_apart(&selection, moments, least, &context).unwrap();
                several.set(several.get() + i32::from(streams.len() > 2));
                let by_threads = std::thread::scope(|scope| {
                    let one = |stream| scope.spawn(|| drained(vec![stream]));
                    let threads: Vec<_> = streams.into_iter().map(one).collect();
                    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
                });
                prop_assert!(by_threads == here);
            }
        }
    });
    assert!(
        thinned.get() > 5 && several.get() > 5,
        "{thinned:?} {several:?}"
    );
}
