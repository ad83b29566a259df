//! Forgetting a partition: what a node does that has left it, or whose joining was called off.

use super::applied;
use super::engine::{Batch, Durability};
use super::error::Error;
use super::whole::Store;
use crate::model::RingArc;

impl Store {
    /// Forgets everything of a partition: what the head holds, the applied version, the blocks and
    /// what is staged. Who reads it now reads on. The caller must not let anything of it in from
    /// before it calls, or what comes later stays.
    ///
    /// The marks and the end of the applied record are one batch: a crash before it has forgotten
    /// nothing, and the call is to be made again; one after it leaves files that nobody names, for
    /// [`Store::sweep`].
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget_arc(&self, arc: RingArc) -> Result<(), Error> {
        let _one = self.applying.lock();
        self.check_arc(arc)?;
        let cuts = self.cut_where(arc, |_| true)?;
        let view = self.view_of(arc);
        let mut batch = Batch::new();
        super::seal::put_marks(&mut batch, arc, &cuts);
        applied::delete_version(&mut batch, arc);
        let blocks = view.blocks()?;
        for block in blocks {
            applied::delete_block(&mut batch, arc, block.entry().id);
        }
        self.reach("forget")?;
        self.engine.write(batch, Durability::Synced)?;
        self.reach("arc forgotten")?;
        {
            let mut views = self.views.write();
            views.remove(&arc);
            self.give_up(cuts);
        }
        self.retire(blocks.iter().cloned());
        drop(view);
        for (info, path) in self.list_staged()? {
            let of_arc = info.properties.is_some_and(|own| own.arc == arc);
            if of_arc && !self.receipts.lock().contains(&info.id) {
                super::files::remove(&path)?;
            }
        }
        self.reach("staged forgotten")?;
        self.drop_unused()
    }

    /// Whether the head holds nothing of a partition.
    #[must_use]
    pub fn head_is_empty(&self, arc: RingArc) -> bool {
        let mut held = self.head.held().into_iter();
        held.all(|((of, _), held)| of != arc || (held.samples == 0 && held.families == 0))
    }
}
