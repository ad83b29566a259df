//! The store's part in sealing: cutting, building and applying.
//!
//! Applying is a matter of state, not of events: whenever the catalog's version is above the one
//! that is applied here, the missing blocks are verified and ingested, what the head holds and
//! they do not is written to the current log again, and then one batch writes the new version and
//! the marks. Only after that, and in one step for readers, the view is swapped and the head gives
//! up what the marks cover. A crash anywhere repeats the step.
//!
//! Not here: who seals what and when, and the catalog itself (`cluster`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use super::absorb::Appender;
use super::applied;
use super::applied_block::AppliedBlock;
use super::block::{BlockContent, BlockProperties, build_block, digest_of};
use super::digest::ContentSum;
use super::engine::{Batch, Durability};
use super::error::Error;
use super::files::remove;
use super::head::Cut;
use super::pull::Pull;
use super::remainder::{Remainder, contents, metadata_of};
use super::tier::Reading;
use super::tree::{DigestTree, Leaves};
use super::view::ArcView;
use super::whole::Store;
use crate::codec::page::Density;
use crate::model::{BlockEntry, BlockId, Level, RingArc, Samples, TimeRange, Window};
use crate::runtime::{CancelToken, Rule, holds};

/// What the catalog says of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Catalog<'a> {
    /// Its version.
    pub version: u64,
    /// Its blocks.
    pub blocks: &'a BTreeMap<BlockId, BlockEntry>,
}

/// What a block is to be built as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuildOrder {
    /// The partition.
    pub arc: RingArc,
    /// The window or day.
    pub range: TimeRange,
    /// The round of that range.
    pub round: u32,
    /// What its pages are to be good at.
    pub pages: Density,
}

/// What the head held of a partition and range when it was cut: frozen, still readable, and still
/// in the head until it is given up.
pub struct RangeCut {
    arc: RingArc,
    range: TimeRange,
    version: u64,
    cuts: Vec<Cut>,
}

impl RangeCut {
    /// Whether the head held nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cuts.is_empty()
    }

    /// Which partition.
    #[must_use]
    pub const fn arc(&self) -> RingArc {
        self.arc
    }

    /// Which window or day.
    #[must_use]
    pub const fn range(&self) -> TimeRange {
        self.range
    }

    /// The version of the partition that was applied here when it was cut.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether the range is one window, so that a slot of the tree is ten minutes and not one
    /// window of a day.
    fn is_window(&self) -> bool {
        Window::is(self.range)
    }

    /// The digests of what it holds.
    #[must_use]
    pub fn tree(&self) -> DigestTree {
        let mut tree = DigestTree::default();
        for cut in &self.cuts {
            let of_window = cut.extent().tree();
            if self.is_window() {
                tree.add_tree(&of_window);
            } else {
                tree.add_window(cut.window(), &of_window);
            }
        }
        tree
    }

    /// The content of some leaves of its tree.
    #[must_use]
    pub fn pull(&self, leaves: Leaves) -> Pull {
        let of_window = |window| match self.is_window() {
            true => leaves,
            false => leaves.of_window_in_day(window),
        };
        let extents = self.cuts.iter().map(|cut| cut.extent().clone());
        Pull::new(
            extents
                .map(|extent| (of_window(extent.window()), extent))
                .collect(),
        )
    }
}

impl Store {
    /// Freezes what the head holds of a partition and range now. What comes later is not in it.
    ///
    /// # Errors
    /// When the head cannot settle what it holds.
    pub fn cut(&self, arc: RingArc, range: TimeRange) -> Result<RangeCut, Error> {
        self.reach("cut")?;
        // Where nothing is held there is nothing to be cut either.
        self.check_arc(arc)?;
        let version = self.view_of(arc).version;
        Ok(RangeCut {
            arc,
            range,
            version,
            // The first window of all begins before what 64 bits can say, so its day, cut off
            // there, reaches into the next one: only whole windows are taken.
            cuts: self.cut_where(arc, |window| {
                range.start <= window.start() && window.end() <= range.end
            })?,
        })
    }

    /// Cuts every window that the head holds something of, each once.
    pub(super) fn cut_where(
        &self,
        arc: RingArc,
        wanted: impl Fn(Window) -> bool,
    ) -> Result<Vec<Cut>, Error> {
        let windows: BTreeSet<Window> = self
            .held()
            .into_iter()
            .filter(|held| held.arc == arc && wanted(held.window))
            .map(|held| held.window)
            .collect();
        windows
            .into_iter()
            .map(|window| self.head.cut(arc, window))
            .collect()
    }

    /// Builds a block of what a cut holds and no applied block does, durably; its file is staged
    /// until it is applied. `None`: nothing was left. A dense one that reads back otherwise is
    /// written quick instead: what is not sealed fills the memory until writes are refused.
    ///
    /// # Errors
    /// When something cannot be read or written, or it is called off; nothing is staged then.
    pub fn build(
        &self,
        cut: &RangeCut,
        order: &BuildOrder,
        cancel: &CancelToken,
    ) -> Result<Option<BlockEntry>, Error> {
        let view = self.view_of(cut.arc);
        if view.version != cut.version {
            return Err(Error::Unavailable(
                "the partition's blocks changed after the cut: seal again".to_owned(),
            ));
        }
        let mut remainder = Remainder::of(contents(&cut.cuts), view.blocks()?, cut.range)?;
        if remainder.is_empty() {
            return Ok(None);
        }
        let properties = BlockProperties {
            id: BlockId(self.chance.next_u128()),
            cluster_id: self.cluster_id,
            arc: order.arc,
            range: order.range,
            level: Level(0),
            round: order.round,
            pages: order.pages,
        };
        let path = self.staged(properties.id);
        let built = build_block(&path, &properties, &mut remainder, cancel)?;
        if order.pages == Density::Dense
            && let Err(error) = self.read_back(&built, cancel)
        {
            remove(&path)?;
            let Error::Bug(_) = error else {
                return Err(error);
            };
            tracing::error!(
                partition = %order.arc, start = order.range.start.0, %error,
                "a dense block could not be used and is written in the quick encoding"
            );
            drop(remainder);
            let pages = Density::Quick;
            return self.build(cut, &BuildOrder { pages, ..*order }, cancel);
        }
        self.reach("built")?;
        Ok(Some(built.entry))
    }

    /// The sum of the content hashes of what a cut holds.
    #[must_use]
    pub fn sum_of(&self, cut: &RangeCut) -> ContentSum {
        cut.tree().sum()
    }

    /// Removes a staged file that will not be committed.
    ///
    /// # Errors
    /// When the disk does not let go of it.
    pub fn unstage(&self, id: BlockId) -> Result<(), Error> {
        remove(&self.staged(id))
    }

    /// Brings a partition up to the catalog. `sealed` names the block that was built of a cut
    /// here: where it is all that is new, nothing of the cut is left over.
    ///
    /// # Errors
    /// When a block cannot be had, is not what the catalog says, or the disk fails. Nothing is
    /// given up then, and the same call can be made again.
    pub fn apply(
        &self,
        arc: RingArc,
        catalog: &Catalog<'_>,
        sealed: Option<(RangeCut, BlockId)>,
    ) -> Result<(), Error> {
        let _one = self.applying.lock();
        self.check_arc(arc)?;
        let view = self.view_of(arc);
        if view.version > catalog.version {
            return Err(Error::corrupt(
                "the data directory",
                format!(
                    "version {} of partition {arc} is applied, but the catalog is at {}",
                    view.version, catalog.version
                ),
            ));
        }
        if view.version == catalog.version && self.knows(arc) {
            return Ok(());
        }
        let step = Step::new(self, arc, &view, catalog)?;
        let cuts = match sealed {
            Some((cut, block)) if step.is_only_fresh(block) && cut.version == view.version => {
                cut.cuts
            }
            _ => self.leave_over(arc, &view, &step)?,
        };
        self.commit_view(arc, catalog.version, step, cuts)
    }

    /// Gives up a cut that no block needs: what it holds is in applied blocks, or has expired.
    ///
    /// # Errors
    /// When the disk fails; nothing is given up then.
    pub fn forget(&self, cut: RangeCut) -> Result<(), Error> {
        if cut.is_empty() {
            return Ok(());
        }
        let _one = self.applying.lock();
        self.check_arc(cut.arc)?;
        let mut batch = Batch::new();
        put_marks(&mut batch, cut.arc, &cut.cuts);
        self.engine.write(batch, Durability::Synced)?;
        self.reach("forgotten")?;
        let _readers_wait = self.views.write();
        self.give_up(cut.cuts);
        Ok(())
    }

    /// What the head holds and neither the new nor the old blocks do goes to the current log, and
    /// is durable there before anything is given up.
    fn leave_over(&self, arc: RingArc, view: &ArcView, step: &Step) -> Result<Vec<Cut>, Error> {
        let cuts = self.cut_where(arc, |window| {
            let mut fresh = step.fresh();
            fresh.any(|block| block.entry().range.overlaps(window.range()))
        })?;
        if cuts.is_empty() {
            return Ok(cuts);
        }
        let all = view.blocks()?.iter().chain(&step.new);
        // What is elsewhere is only read where it can hold something of the cuts.
        let meets = |block: &&Arc<AppliedBlock>| {
            let range = block.entry().range;
            block.is_here() || cuts.iter().any(|cut| range.overlaps(cut.window().range()))
        };
        let blocks: Vec<_> = all.filter(meets).cloned().collect();
        // Where the head holds just what the one new block does, only metadata can be left: no
        // sample has to be read.
        let mut sum = ContentSum::default();
        for cut in &cuts {
            sum.add(cut.extent().tree().sum().0);
        }
        let parts = match step.new.as_slice() {
            [new] if new.entry().content_sum == sum.0 => metadata_of(&cuts),
            _ => contents(&cuts),
        };
        let mut rest = Remainder::of(parts, &blocks, TimeRange::ALL)?;
        if holds(Rule::WhoAcknowledgesKeeps) {
            self.append_again(&mut rest)?;
        }
        drop(rest);
        self.reach("left over")?;
        Ok(cuts)
    }

    fn append_again(&self, rest: &mut Remainder<'_>) -> Result<(), Error> {
        let mut appender = Appender::new(self);
        let mut samples = Samples::default();
        for index in 0..rest.series_len() {
            let key = rest.series(index)?;
            rest.read(index, &mut samples)?;
            appender.series(&key.tenant, &key.labels, &samples)?;
        }
        for (tenant, (family, list)) in rest.metadata()? {
            appender.metadata(&tenant, &family, &list)?;
        }
        appender.finish()
    }

    /// The batch, then the swap together with giving up: readers see the one with the other.
    fn commit_view(
        &self,
        arc: RingArc,
        version: u64,
        step: Step,
        cuts: Vec<Cut>,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        let all = step.kept.iter().chain(&step.new);
        applied::put_version(&mut batch, arc, version, all.map(|block| block.entry()));
        for block in &step.new {
            applied::put_block(&mut batch, arc, block.entry());
        }
        for block in &step.gone {
            applied::delete_block(&mut batch, arc, block.entry().id);
        }
        put_marks(&mut batch, arc, &cuts);
        self.engine.write(batch, Durability::Synced)?;
        self.reach("applied")?;
        let mut blocks = step.kept;
        blocks.extend(step.new);
        let view = Arc::new(ArcView::new(version, blocks));
        {
            let mut views = self.views.write();
            views.insert(arc, view);
            self.give_up(cuts);
        }
        self.retire(step.gone);
        self.drop_unused()
    }

    /// Where a staged file lies.
    pub(super) fn staged(&self, id: BlockId) -> PathBuf {
        self.staging().join(format!("{id}.sst"))
    }

    /// Makes a block part of the engine, from its staged file, if it is what the catalog says.
    pub(super) fn ingest(&self, entry: &BlockEntry) -> Result<(), Error> {
        let id = entry.id;
        let path = self.staged(id);
        if self.engine.table(id)?.is_some() {
            // Ingested by the step that a crash interrupted; it was verified then.
            return self.unstage(id);
        }
        if !path.exists() {
            return Err(Error::corrupt(
                format!("block {id}"),
                "the catalog names it, but it is neither staged nor ingested",
            ));
        }
        let (digest, size) = digest_of(&path)?;
        if digest != entry.digest || size != entry.size {
            // Out of the way, so that it is fetched from elsewhere; kept for whoever has no other.
            let aside = path.with_extension("bad");
            fs::rename(&path, &aside).map_err(Error::io("rename", &path))?;
            return Err(Error::corrupt(
                format!("the staged file {}", path.display()),
                format!(
                    "its digest is {digest} over {size} bytes, the catalog says {} over {}",
                    entry.digest, entry.size
                ),
            ));
        }
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(Error::io("sync", &path))?;
        self.engine.ingest(&[(id, path)])
    }
}

/// What has to change to come from a view to the catalog.
struct Step {
    kept: Vec<Arc<AppliedBlock>>,
    new: Vec<Arc<AppliedBlock>>,
    gone: Vec<Arc<AppliedBlock>>,
}

impl Step {
    /// Ingests what is new; nobody sees it before the view is swapped.
    fn new(
        store: &Store,
        arc: RingArc,
        view: &ArcView,
        catalog: &Catalog<'_>,
    ) -> Result<Self, Error> {
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        let mut here = BTreeSet::new();
        for block in view.blocks()? {
            let id = block.entry().id;
            if catalog.blocks.contains_key(&id) {
                here.insert(id);
                kept.push(Arc::clone(block));
            } else {
                gone.push(Arc::clone(block));
            }
        }
        let mut new = Vec::new();
        for (_, entry) in catalog.blocks.iter().filter(|(id, _)| !here.contains(id)) {
            // A wider block may be applied in another partition already.
            if let Some(block) = store.applied_block(entry.id)? {
                new.push(block);
                continue;
            }
            if store.need_not_be_here(entry) && !store.has_file(entry.id)? {
                let block = store.homes().block(arc, entry.clone(), false);
                new.push(Arc::new(block));
                continue;
            }
            store.ingest(entry)?;
            store.reach("ingested")?;
            let block = store.homes().block(arc, entry.clone(), true);
            let reader = block.reader(&Reading::background())?;
            let totals = reader.totals();
            if totals.content_sum != entry.content_sum || totals.samples != entry.samples {
                return Err(Error::corrupt(
                    format!("block {}", entry.id),
                    "its totals are not what the catalog says",
                ));
            }
            drop(reader);
            new.push(Arc::new(block));
        }
        Ok(Self { kept, new, gone })
    }

    /// The new blocks that may hold what this node had in no block yet. The others are merged from
    /// just what goes for them, so that nothing of the head has moved into them.
    fn fresh(&self) -> impl Iterator<Item = &Arc<AppliedBlock>> {
        self.new
            .iter()
            .filter(|block| !self.is_merged_from_gone(block.entry()))
    }

    fn is_merged_from_gone(&self, new: &BlockEntry) -> bool {
        let within = |block: &&Arc<AppliedBlock>| {
            let range = block.entry().range;
            new.range.contains(range.start) && new.range.contains(range.end)
        };
        let (mut samples, mut sum) = (0u64, 0u128);
        for block in self.gone.iter().filter(within) {
            samples = samples.saturating_add(block.entry().samples);
            sum = sum.wrapping_add(block.entry().content_sum);
        }
        new.level > Level(0) && samples == new.samples && sum == new.content_sum
    }

    fn is_only_fresh(&self, block: BlockId) -> bool {
        let mut fresh = self.fresh();
        let is_it = |new: &Arc<AppliedBlock>| new.entry().id == block;
        fresh.next().is_some_and(is_it) && fresh.next().is_none()
    }
}

pub(super) fn put_marks(batch: &mut Batch, arc: RingArc, cuts: &[Cut]) {
    for cut in cuts {
        applied::put_mark(batch, arc, cut.window(), cut.position());
    }
}
