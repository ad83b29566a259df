//! The views that a start makes: of each partition its newest blocks, and the others later.

use std::sync::Arc;

use super::applied;
use super::engine::{Batch, Durability};
use super::error::Error;
use super::older::Older;
use super::opening::Opening;
use super::recent::Recent;
use super::view::{ArcView, ArcViews};
use crate::model::{RingArc, TimestampMs};

impl Opening {
    /// The views of all partitions: of each its newest blocks. Where these are not noted, all are read, and it is
    /// noted for the next start.
    pub(super) fn views(self: &Arc<Self>) -> Result<ArcViews, Error> {
        let (mut views, mut notes) = (ArcViews::new(), Batch::new());
        for (arc, version) in applied::versions(self.engine.as_ref())? {
            let view = match self.recent(arc, version)? {
                Some(view) => view,
                None => {
                    let blocks = applied::read_blocks(self.engine.as_ref(), arc)?.blocks;
                    let recent = Recent::of(version, blocks.values());
                    applied::put_recent(&mut notes, arc, &recent);
                    let blocks = blocks.into_values().map(|entry| self.block(arc, entry));
                    ArcView::new(version, blocks.collect())
                }
            };
            views.insert(arc, Arc::new(view));
        }
        if !notes.is_empty() {
            self.engine.write(notes, Durability::Buffered)?;
        }
        Ok(views)
    }

    fn recent(self: &Arc<Self>, arc: RingArc, version: u64) -> Result<Option<ArcView>, Error> {
        let engine = self.engine.as_ref();
        let Some(recent) = applied::read_recent(engine, arc, version)? else {
            return Ok(None);
        };
        let mut blocks = Vec::with_capacity(recent.ids.len());
        for id in recent.ids {
            let Some(entry) = applied::read_block(engine, arc, id)? else {
                return Ok(None);
            };
            blocks.push(self.block(arc, entry));
        }
        let older = (recent.from > TimestampMs::MIN)
            .then(|| Older::new(arc, recent.from, Arc::clone(self)));
        Ok(Some(ArcView::with_older(version, blocks, older)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Weak;

    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{BlockEntry, BlockId};
    use crate::model::{FOUNDING_DEPTH, Resolution, TimeRange};
    use crate::store::applied_block::AppliedBlock;
    use crate::store::block::DecodedParts;
    use crate::store::engine::{Engine, MemoryEngine};
    use crate::store::error::Error;
    use crate::store::recent::RECENT_BLOCKS;

    fn entry(id: u128, start: i64, end: i64) -> BlockEntry {
        BlockEntry::of(id, TimeRange::new(TimestampMs(start), TimestampMs(end)))
    }

    /// Blocks 1, 2 and so on, each of the millisecond of its number.
    fn one_each(before: u128) -> Vec<BlockEntry> {
        let both = (1..before).zip(1i64..);
        both.map(|(id, at)| entry(id, at, at)).collect()
    }

    fn arcs() -> [RingArc; 2] {
        let mut all = RingArc::all(FOUNDING_DEPTH);
        [all.next().unwrap(), all.next().unwrap()]
    }

    /// An engine in which partitions are applied.
    fn engine_with(partitions: &[(RingArc, &[BlockEntry])]) -> Arc<dyn Engine> {
        let engine = MemoryEngine::new(Path::new("unused"));
        let mut batch = Batch::new();
        for (arc, blocks) in partitions {
            applied::put_version(&mut batch, *arc, 7, blocks.iter());
            for entry in *blocks {
                applied::put_block(&mut batch, *arc, entry);
            }
        }
        engine.write(batch, Durability::Synced).unwrap();
        Arc::new(engine)
    }

    fn opening(engine: &Arc<dyn Engine>, here: &[u128]) -> Arc<Opening> {
        let here = here.iter().map(|id| (BlockId(*id), Weak::new()));
        Arc::new(Opening {
            engine: Arc::clone(engine),
            tier: None,
            decoded: Arc::new(DecodedParts::new(0)),
            here: Mutex::new(here.collect()),
        })
    }

    fn ids<'a>(blocks: impl Iterator<Item = &'a Arc<AppliedBlock>>) -> BTreeSet<u128> {
        blocks.map(|block| block.entry().id.0).collect()
    }

    proptest! {
        /// Would catch a read that is answered without blocks that a start has not read, whichever was read before it.
        #[test]
        fn a_read_finds_all_blocks_of_its_range(
            ranges in prop::collection::vec((0i64..60, 0i64..20), 0..30),
            reads in prop::collection::vec((0i64..80, 0i64..80), 1..6),
        ) {
            let blocks: Vec<BlockEntry> = (1u128..).zip(&ranges)
                .map(|(id, (start, len))| entry(id, *start, start + len)).collect();
            let [arc, _] = arcs();
            let engine = engine_with(&[(arc, &blocks)]);
            let views = opening(&engine, &[]).views().unwrap();
            let view = &views[&arc];
            prop_assert_eq!(view.version, 7);
            for id in 0..=blocks.len() as u128 {
                prop_assert_eq!(view.names(BlockId(id)).unwrap(), id > 0);
            }
            for (start, len) in reads {
                let range = TimeRange::new(TimestampMs(start), TimestampMs(start + len));
                let want = blocks.iter().filter(|entry| entry.range.overlaps(range));
                let want: BTreeSet<u128> = want.map(|entry| entry.id.0).collect();
                prop_assert_eq!(ids(view.blocks_in(range).unwrap()), want);
            }
            let all = (1..=blocks.len() as u128).collect::<BTreeSet<_>>();
            for id in &all {
                prop_assert_eq!(view.find(BlockId(*id)).unwrap().unwrap().entry().id.0, *id);
            }
            prop_assert_eq!(ids(view.blocks().unwrap().iter()), all);
            prop_assert!(view.is_whole());
        }
    }

    /// Would catch a read of recent times that reads all of history first.
    #[test]
    fn what_is_not_asked_for_is_not_read() {
        let blocks = one_each(100);
        let [arc, _] = arcs();
        let engine = engine_with(&[(arc, &blocks)]);
        let views = opening(&engine, &[]).views().unwrap();
        // A read reaches back by the coarsest resolution.
        let from = TimestampMs(100 + Resolution::COARSEST.ms());
        let newest = TimeRange::new(from, from);
        assert_eq!(ids(views[&arc].blocks_in(newest).unwrap()), BTreeSet::new());
        assert!(!views[&arc].is_whole());
        let some = TimeRange::new(TimestampMs(3), TimestampMs(4));
        assert_eq!(
            ids(views[&arc].blocks_in(some).unwrap()),
            BTreeSet::from([3, 4])
        );
        assert!(views[&arc].is_whole());
        assert_eq!(views[&arc].blocks().unwrap().len(), 99);
    }

    /// Would catch a note that is believed although blocks have changed since, as by a program that knows of none.
    #[test]
    fn a_note_of_another_version_is_none() {
        let blocks = one_each(20);
        let [arc, _] = arcs();
        let engine = engine_with(&[(arc, &blocks)]);
        let is_whole =
            |engine: &Arc<dyn Engine>| opening(engine, &[]).views().unwrap()[&arc].is_whole();
        assert!(!is_whole(&engine));
        let mut batch = Batch::new();
        applied::put_recent(&mut batch, arc, &Recent::of(6, blocks[..9].iter()));
        engine.write(batch, Durability::Synced).unwrap();
        let all = opening(&engine, &[]).views().unwrap();
        assert_eq!(ids(all[&arc].blocks().unwrap().iter()).len(), 19);
        // It is noted for the next start.
        assert!(!is_whole(&engine));
        // One that names a block that is not applied is no better.
        let mut batch = Batch::new();
        applied::delete_block(&mut batch, arc, BlockId(19));
        engine.write(batch, Durability::Synced).unwrap();
        let views = opening(&engine, &[]).views().unwrap();
        assert_eq!(ids(views[&arc].blocks().unwrap().iter()).len(), 18);
        // One that calls a newer block an older one is found out, and nobody is answered.
        let mut batch = Batch::new();
        applied::put_block(&mut batch, arc, &entry(50, 500, 500));
        engine.write(batch, Durability::Synced).unwrap();
        let views = opening(&engine, &[]).views().unwrap();
        assert!(matches!(views[&arc].blocks(), Err(Error::Corrupt { .. })));
        assert!(views[&arc].blocks_in(TimeRange::ALL).is_err());
        assert_eq!(views[&arc].blocks_readable().len(), RECENT_BLOCKS);
    }

    /// Would catch two hands on one file, of which neither knows of the other: it would go under a reader.
    #[test]
    fn a_file_that_two_partitions_list_is_one_block_whenever_it_is_read() {
        let blocks = one_each(20);
        let [one, other] = arcs();
        let engine = engine_with(&[(one, &blocks), (other, &blocks)]);
        let views = opening(&engine, &[2, 19]).views().unwrap();
        for id in [2, 19].map(BlockId) {
            let of = |arc| Arc::clone(views[&arc].find(id).unwrap().unwrap());
            assert!(Arc::ptr_eq(&of(one), &of(other)), "{id}");
        }
    }
}
