//! What tests see of a member and do to it, beside what everybody can.

use std::sync::Arc;

use super::{
    Control, Follower, Historian, Incarnation, LocalMember, Manifests, Merger, Refusing, Sealer,
    StoreMetrics, Upkeep, Watch, Watermark,
};
use crate::store::DiskSettings;

impl LocalMember {
    pub(in crate::cluster) fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.control)
    }

    /// What watches memory and disk, on no thread.
    pub(in crate::cluster) fn watch(&self) -> Watch {
        let directory = self.store.directory().path();
        Watch::new(
            Arc::clone(&self.store),
            Arc::clone(&self.gate),
            Watermark::new(directory, DiskSettings::default()),
            StoreMetrics::default(),
        )
    }

    pub(in crate::cluster) fn open_gate(&self) {
        self.gate.refuse(Refusing::NotReady, None);
    }

    pub(in crate::cluster) const fn upkeep(&self) -> &Upkeep {
        &self.upkeep
    }

    pub(in crate::cluster) const fn incarnation(&self) -> Incarnation {
        self.me
    }

    /// Ends what would go on by itself, as a crash does: nothing is said to anybody. Inside a Tokio
    /// runtime.
    pub(in crate::cluster) fn abandon(&self) {
        if let Some(together) = &self.together {
            together.abandon();
        }
    }

    pub(in crate::cluster) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(in crate::cluster) fn follower(&self) -> &Follower {
        &self.follower
    }

    pub(in crate::cluster) fn historian(&self) -> &Historian {
        &self.historian
    }

    pub(in crate::cluster) fn manifests(&self) -> &Arc<Manifests> {
        &self.manifests
    }

    pub(in crate::cluster) fn merger(&self) -> &Merger {
        &self.merger
    }
}
