//! Pinned: some partitions as they are at one moment, for whoever reads them in several steps.
//!
//! Version, blocks and head are of one moment: nothing moves from the head to a block between. What
//! is pinned stays readable however long it takes; open layers of the head may grow meanwhile.
//!
//! **Trees first, content afterwards.** A tree says what the head held when it was made; what is
//! read through the same pin *later* has everything that the tree counts, or a value that wins
//! over it, and perhaps more that has come since. So a reader that finds its trees equal to
//! another replica's and then reads here misses nothing that the other had: what had been
//! acknowledged before both were asked. The other order would be wrong: a sample could come to
//! both after the read and before the trees, and the read not have it. Trees of several partitions
//! and windows are made one after the other; each stands for itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::Error;
use super::head::{EncodedSums, Extent, HeadSeries, HeadView};
use super::pull::Pull;
use super::remembered::Remembered;
use super::tree::{DigestTree, Leaves};
use super::view::{ArcView, ReadView, listed};
use super::whole::Store;
use crate::model::{LabelSet, RingArc, Samples, TimeRange, Window};
use crate::source::{ReadContext, Selection, SeriesStream, SourceError};

/// Some partitions at one moment: a source of their series and no others.
pub struct Pinned {
    views: BTreeMap<RingArc, Arc<ArcView>>,
    head: Arc<HeadView>,
    remembered: Arc<Remembered>,
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.views.keys()).finish()
    }
}

impl Store {
    /// Pins some partitions.
    #[must_use]
    pub fn pin(&self, arcs: &[RingArc]) -> Pinned {
        let views = self.views.read();
        let of = |arc: &RingArc| (*arc, views.get(arc).cloned().unwrap_or_default());
        Pinned {
            views: arcs.iter().map(of).collect(),
            head: Arc::new(self.head.view_of(arcs)),
            remembered: Arc::clone(&self.remembered),
        }
    }
}

impl Pinned {
    /// The partitions.
    pub fn arcs(&self) -> impl Iterator<Item = RingArc> + '_ {
        self.views.keys().copied()
    }

    /// The version of a partition that is applied here; 0 for one that is not pinned.
    #[must_use]
    pub fn version(&self, arc: RingArc) -> u64 {
        self.views.get(&arc).map_or(0, |view| view.version)
    }

    /// The digests of what the head holds of a partition, for each window that overlaps the range
    /// and of which it holds something; to be taken before anything is read that they are to
    /// speak for. A tree is always that of its whole window.
    #[must_use]
    pub fn trees(&self, arc: RingArc, range: TimeRange) -> Vec<(Window, DigestTree)> {
        if !self.views.contains_key(&arc) {
            return Vec::new();
        }
        self.head.trees(arc, range)
    }

    /// What the head holds of a partition and window in some leaves of its tree.
    #[must_use]
    pub fn pull(&self, arc: RingArc, window: Window, leaves: Leaves) -> Pull {
        let extents = self.extents(arc, window.range()).into_iter();
        Pull::new(extents.map(|extent| (leaves, extent)).collect())
    }

    /// The same moment of fewer partitions: for a read of some of them.
    #[must_use]
    pub fn only(&self, arcs: &[RingArc]) -> Self {
        let views = self.views.iter().filter(|(arc, _)| arcs.contains(arc));
        Self {
            views: views.map(|(arc, view)| (*arc, Arc::clone(view))).collect(),
            head: Arc::new(self.head.only(arcs)),
            remembered: Arc::clone(&self.remembered),
        }
    }

    /// The series that match, with what the head holds of them in the selection's range and in
    /// the leaves wanted of their partition and window; `None`: in all. Nothing of blocks.
    ///
    /// # Errors
    /// When called off.
    pub fn select_heads(
        &self,
        leaves: Option<&BTreeMap<RingArc, BTreeMap<Window, Leaves>>>,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        context.cancel.check()?;
        let mut wanted: BTreeMap<RingArc, Vec<(Leaves, Extent)>> = BTreeMap::new();
        for arc in self.arcs() {
            let windows = match leaves {
                None => None,
                Some(all) => match all.get(&arc) {
                    None => continue,
                    some => some,
                },
            };
            let of = |extent: Extent| {
                let leaves = match windows {
                    None => Leaves::ALL,
                    Some(windows) => *windows.get(&extent.window())?,
                };
                Some((leaves, extent))
            };
            let extents = self.extents(arc, selection.range).into_iter();
            wanted.insert(arc, extents.filter_map(of).collect());
        }
        let mut series = self.head.select(selection);
        series.retain(|one| wanted.contains_key(&self.head.arc_of(one)));
        Ok(Box::new(HeadStream {
            head: Arc::clone(&self.head),
            wanted,
            series: series.into_iter(),
            range: selection.range,
            context: context.clone(),
        }))
    }

    /// Sums over the series that match, as the head holds them encoded: by partition, window and
    /// sub-arc, of the windows that overlap the selection's range. Equal sums are equal contents;
    /// different ones say nothing. To be taken before anything is read that they are to speak for.
    ///
    /// # Errors
    /// When called off.
    pub fn encoded_sums(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<EncodedSums, SourceError> {
        let go_on = || context.cancel.check().map_err(SourceError::from);
        self.head.encoded_sums(selection, go_on)
    }

    fn extents(&self, arc: RingArc, range: TimeRange) -> Vec<Extent> {
        if !self.views.contains_key(&arc) {
            return Vec::new();
        }
        self.head.extents(arc, range)
    }

    /// The view of one read.
    pub(super) fn read_view(&self, range: TimeRange) -> Result<ReadView, Error> {
        Ok(ReadView {
            head: Arc::clone(&self.head),
            blocks: listed(self.views.iter(), range)?,
            remembered: Arc::clone(&self.remembered),
        })
    }

    /// The heads alone.
    pub(super) fn read_heads(&self) -> Arc<HeadView> {
        Arc::clone(&self.head)
    }
}

/// Series of heads alone.
struct HeadStream {
    head: Arc<HeadView>,
    wanted: BTreeMap<RingArc, Vec<(Leaves, Extent)>>,
    series: std::vec::IntoIter<HeadSeries>,
    range: TimeRange,
    context: ReadContext,
}

impl SeriesStream for HeadStream {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        for series in self.series.by_ref() {
            self.context.cancel.check()?;
            samples.clear();
            let extents = self.wanted.get(&self.head.arc_of(&series));
            for (leaves, extent) in extents.into_iter().flatten() {
                let mut own = Samples::default();
                extent.read_leaves(&series, leaves, &mut own);
                samples.merge(&own);
            }
            samples.clip(self.range);
            if !samples.is_empty() {
                self.context.budget.count_read(samples.len() as u64);
                return Ok(Some(series.labels));
            }
        }
        Ok(None)
    }

    fn size_hint(&self) -> usize {
        self.series.len()
    }
}
