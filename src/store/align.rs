//! Following the ring as it is divided more finely: what is kept of a partition that was split is
//! kept of its parts from then on.
//!
//! No byte of a block moves: both parts begin with the version and the blocks of the whole, and a
//! block whose arc is wider than the partition's is read through a filter. One batch on the disk
//! says so; then views and head change in one step for readers. A crash before the batch leaves the
//! whole, and a start aligns it again; one after it finds the parts, and the log is read into them.
//! Marks of the whole hold for its parts (`log/mark.rs`).
//!
//! Work under way on the whole (a cut, a file that is built) ends in an error: the ring has changed,
//! and it is begun again for the parts.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::applied;
use super::engine::{Batch, Durability};
use super::error::Error;
use super::head::not_here;
use super::staged::properties_of;
use super::tier::Reading;
use super::view::ArcView;
use super::whole::Store;
use crate::model::{BlockId, RingArc};

impl Store {
    /// Divides what is kept so that each arc of a ring has its own; a coarser ring changes nothing.
    ///
    /// # Errors
    /// When the disk fails; nothing is divided then, and the same call can be made again.
    pub fn align(&self, arcs: &BTreeSet<RingArc>) -> Result<(), Error> {
        let _one = self.applying.lock();
        let divided: Vec<(RingArc, Arc<ArcView>, Vec<RingArc>)> = self
            .views
            .read()
            .iter()
            .map(|(arc, view)| (*arc, Arc::clone(view), arc.parts(arcs)))
            .filter(|(arc, _, parts)| *parts != [*arc])
            .collect();
        if divided.is_empty() && arcs.iter().all(|arc| self.head.has_arc(*arc)) {
            return Ok(());
        }
        let mut batch = Batch::new();
        for (arc, view, parts) in &divided {
            applied::delete_version(&mut batch, *arc);
            let blocks = view.blocks()?;
            for block in blocks {
                applied::delete_block(&mut batch, *arc, block.entry().id);
            }
            for part in parts {
                let entries = blocks.iter().map(|block| block.entry());
                applied::put_version(&mut batch, *part, view.version, entries);
                for block in blocks {
                    applied::put_block(&mut batch, *part, block.entry());
                }
            }
        }
        self.reach("split")?;
        if !batch.is_empty() {
            self.engine.write(batch, Durability::Synced)?;
        }
        self.reach("split noted")?;
        let mut views = self.views.write();
        for (arc, view, parts) in divided {
            views.remove(&arc);
            views.extend(parts.into_iter().map(|part| (part, Arc::clone(&view))));
        }
        self.head.refine(arcs);
        self.divide_since();
        Ok(())
    }

    /// Whether an arc is one of those by which content is kept here: the ring's, as far as this node
    /// has followed it.
    #[must_use]
    pub fn has_arc(&self, arc: RingArc) -> bool {
        self.head.has_arc(arc)
    }

    /// The arc that a block was built for, which may be wider than the partition that lists it;
    /// `None` when its file is not here.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn arc_of_block(&self, id: BlockId) -> Result<Option<RingArc>, Error> {
        if let Some(block) = self.applied_block(id)? {
            let reader = block.reader(&Reading::background())?;
            return Ok(Some(reader.properties().arc));
        }
        let staged = properties_of(&self.staged(id), id);
        Ok(staged.map(|properties| properties.arc))
    }

    /// Refuses an arc that was split meanwhile. To be asked while nothing else is applied.
    pub(super) fn check_arc(&self, arc: RingArc) -> Result<(), Error> {
        if self.has_arc(arc) {
            Ok(())
        } else {
            Err(not_here(arc))
        }
    }
}
