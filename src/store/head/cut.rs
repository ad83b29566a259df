//! A cut: the frozen content of an arc and window up to a position of the log. It is what a block
//! is built from, and what is given up once an applied block contains it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::{Core, Pin};
use super::extent::{Extent, ShardLayers};
use super::types::HeadSeries;
use super::types::SeriesId;
use crate::model::{Metadata, RingArc, Samples, TenantId, TimeRange, Window};
use crate::source::FamilyMetadata;
use crate::store::block::{BlockContent, ContentSeries};
use crate::store::error::Error;
use crate::store::log::{Log, Mark};

/// Frozen content; it does not change any more, whatever is appended.
#[derive(Debug)]
pub struct Cut {
    extent: Extent,
    position: u64,
    series: Vec<HeadSeries>,
}

impl Cut {
    /// Freezes what the head holds of an arc and window, and what earlier cuts of them that were
    /// not given up had frozen.
    pub(super) fn take(
        core: &Arc<Core>,
        log: &Log,
        arc: RingArc,
        window: Window,
    ) -> Result<Self, Error> {
        // First the pin, then the layers, as views do.
        let pin = Arc::new(Pin::new(core));
        let (layers, position) = {
            // All shards at once: so the position is one for all of them.
            let mut states: Vec<_> = core.shards.iter().map(|shard| shard.state.lock()).collect();
            if !core.arcs().has(arc) {
                return Err(not_here(arc));
            }
            let layers: ShardLayers = states
                .iter_mut()
                .map(|state| state.freeze(arc, window))
                .enumerate()
                .collect();
            (layers, log.position())
        };
        let extent = Extent::new(pin, arc, window, layers);
        extent.settle();
        Ok(Self {
            position,
            series: extent.series(),
            extent,
        })
    }

    /// Which partition.
    #[must_use]
    pub const fn arc(&self) -> RingArc {
        self.extent.arc()
    }

    /// Which window.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.extent.window()
    }

    /// The last log position whose content is in it.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The mark to store in the batch that writes `applied_version`.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark {
            arc: self.arc(),
            window: self.window(),
            position: self.position,
        }
    }

    /// The series that have samples in it, target by target.
    #[must_use]
    pub fn series(&self) -> &[HeadSeries] {
        &self.series
    }

    /// Adds a series' samples to `samples`, duplicates settled; as often as wanted.
    pub fn read(&self, series: &HeadSeries, samples: &mut Samples) {
        self.extent.read(series, TimeRange::ALL, samples);
    }

    /// What it is made of.
    pub(in crate::store) const fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Lets go of the series that only it still names.
    pub(super) fn into_layers(self) -> ShardLayers {
        self.extent.layers().to_vec()
    }

    /// Metadata that came with this window, each family's newest first.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<(TenantId, String), Vec<Metadata>> {
        self.extent.metadata()
    }

    /// Whether it has neither samples nor metadata.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.metadata().is_empty()
    }

    /// As content of a block to be built.
    #[must_use]
    pub const fn content(&self) -> CutContent<'_> {
        CutContent(self)
    }

    /// The ids of its series.
    pub fn ids(&self) -> impl Iterator<Item = SeriesId> + '_ {
        self.series.iter().map(|series| series.id)
    }
}

/// A cut, as a block writer reads it.
#[derive(Clone, Copy, Debug)]
pub struct CutContent<'a>(&'a Cut);

impl BlockContent for CutContent<'_> {
    fn series_len(&self) -> usize {
        self.0.series.len()
    }

    fn series(&self, index: usize) -> Result<ContentSeries, Error> {
        let series = self.0.series.get(index).ok_or_else(|| missing(index))?;
        Ok(ContentSeries {
            tenant: series.tenant.clone(),
            labels: series.labels.clone(),
            fingerprint: series.fingerprint,
        })
    }

    fn read(&mut self, index: usize, samples: &mut Samples) -> Result<(), Error> {
        samples.clear();
        let series = self.0.series.get(index).ok_or_else(|| missing(index))?;
        self.0.read(series, samples);
        Ok(())
    }

    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error> {
        let all = self.0.metadata();
        Ok(all
            .into_iter()
            .map(|((tenant, family), list)| (tenant, (family, list)))
            .collect())
    }
}

/// An arc that was split here, or will be.
pub(in crate::store) fn not_here(arc: RingArc) -> Error {
    Error::Unavailable(format!(
        "the partition {arc} is not divided here as the caller thinks: the ring is changing, begin again"
    ))
}

fn missing(index: usize) -> Error {
    Error::Bug(format!("series {index} of a cut that has fewer"))
}
