//! Reads across head and blocks: one view of everything, each label set once.
//!
//! A selection finds, for every series that matches, where it lies: in the head, and under which
//! ordinal in which block. The samples are then read in batches of series that are neighbours in
//! the blocks' page order, block after block, so that each page is decoded once for a batch and
//! only as many samples are held as a batch has.
//!
//! Not here: PromQL, and what a matcher means (`model`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::block::{Ordinal, TenantReader};
use super::error::Error;
use super::head::{HeadSeries, HeadView};
use super::remembered::{BlockSet, united};
use super::texts::{Texts, TextsOf};
use super::view::{ReadView, Seen};
use crate::model::{LabelSet, METRIC_NAME, Metadata, Samples, TenantId, TimeRange};
use crate::runtime::Reservation;
use crate::source::{
    FamilyMetadata, ReadContext, Selection, SeriesExemplars, SeriesStream, SourceError,
};

/// A batch holds about so many samples (16 bytes each), and at most [`BATCH_SERIES`] series.
const BATCH_SAMPLES: u64 = 1 << 18;
const BATCH_SERIES: usize = 64;

/// Readers that stay open between batches; each holds a few decoded pages.
const READERS_KEPT: usize = 128;

/// What a wanted series is charged for in the query's account, besides its labels.
const SERIES_BYTES: u64 = 96;
/// What one place of a series in a block is charged for.
const PLACE_BYTES: u64 = 8;

/// The newest few of a family's metadata that are shown.
const METADATA_SHOWN: usize = 8;

/// A series that matches, and where its samples lie.
struct Wanted {
    labels: LabelSet,
    head: Option<HeadSeries>,
    places: Vec<(u32, Ordinal)>,
}

/// One block of a selection.
struct Part {
    block: Seen,
    reader: Option<TenantReader>,
    /// Samples of a series of it, on average.
    density: u64,
}

struct Found {
    view: ReadView,
    parts: Vec<Part>,
    wanted: Vec<Wanted>,
    reservation: Reservation,
}

/// Finds all series that match. With `in_range`, blocks and head series without a sample in the
/// range are left out as far as that is known without decoding.
fn find(
    view: ReadView,
    selection: &Selection,
    context: &ReadContext,
) -> Result<Found, SourceError> {
    let mut reservation = context.budget.reserve(0, 0)?;
    let mut index: HashMap<LabelSet, usize> = HashMap::new();
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut place = |labels: LabelSet, reservation: &mut Reservation| {
        reservation.grow(PLACE_BYTES, 0)?;
        if let Some(at) = index.get(&labels) {
            return Ok(*at);
        }
        let text = u64::try_from(labels.text_len()).unwrap_or(u64::MAX);
        reservation.grow(SERIES_BYTES.saturating_add(text), 0)?;
        index.insert(labels.clone(), wanted.len());
        wanted.push(Wanted {
            labels,
            head: None,
            places: Vec::new(),
        });
        Ok::<usize, SourceError>(wanted.len() - 1)
    };
    let mut in_head = Vec::new();
    for series in view.head.select(selection) {
        context.cancel.check()?;
        if view.head.may_have(&series, selection.range) {
            let at = place(series.labels.clone(), &mut reservation)?;
            in_head.push((at, series));
        }
    }
    let mut in_blocks = Vec::new();
    let mut parts = Vec::new();
    for block in view.seen(selection.range, context)? {
        context.cancel.check()?;
        let Some(mut data) = block.tenant(&selection.tenant)? else {
            continue;
        };
        let ordinals = data.select(&selection.matchers)?;
        if ordinals.is_empty() {
            continue;
        }
        let part = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        for ordinal in ordinals {
            let at = place(data.labels(ordinal)?, &mut reservation)?;
            in_blocks.push((at, part, ordinal));
        }
        let totals = block.block.reader()?.totals();
        parts.push(Part {
            density: totals.samples / totals.series.max(1),
            block,
            reader: (parts.len() < READERS_KEPT).then_some(data),
        });
    }
    for (at, series) in in_head {
        if let Some(wanted) = wanted.get_mut(at) {
            wanted.head = Some(series);
        }
    }
    for (at, part, ordinal) in in_blocks {
        if let Some(wanted) = wanted.get_mut(at) {
            wanted.places.push((part, ordinal));
        }
    }
    Ok(Found {
        view,
        parts,
        wanted,
        reservation,
    })
}

/// Pages hold neighbours by target, then name, then labels: series are read in that order.
fn sort_by_page(wanted: &mut [Wanted]) {
    wanted.sort_unstable_by(|a, b| {
        let (one, other) = (page_order(&a.labels), page_order(&b.labels));
        one.cmp(&other).then_with(|| a.labels.cmp(&b.labels))
    });
}

fn page_order(labels: &LabelSet) -> [&str; 3] {
    ["job", "instance", METRIC_NAME].map(|name| labels.get(name).unwrap_or_default())
}

/// The samples of a selection's series.
struct Stream {
    view: ReadView,
    tenant: TenantId,
    range: TimeRange,
    context: ReadContext,
    parts: Vec<Part>,
    /// Still to be read, the next last.
    wanted: Vec<Wanted>,
    /// Read and not yet handed out, the next last.
    ready: Vec<(LabelSet, Samples)>,
    /// For the list of series.
    _found: Reservation,
    /// For the batch.
    batch: Option<Reservation>,
}

impl Stream {
    /// How many series the next batch takes.
    fn batch_len(&self) -> usize {
        let mut samples = 0u64;
        let mut len = 0;
        for wanted in self.wanted.iter().rev().take(BATCH_SERIES) {
            let in_blocks: u64 = wanted
                .places
                .iter()
                .filter_map(|(part, _)| self.parts.get(*part as usize))
                .map(|part| part.density)
                .sum();
            samples = samples.saturating_add(in_blocks);
            if len > 0 && samples > BATCH_SAMPLES {
                break;
            }
            len += 1;
        }
        len
    }

    /// Reads a batch: the head, then block after block.
    fn fill(&mut self) -> Result<(), SourceError> {
        self.batch = None;
        let from = self.wanted.len() - self.batch_len();
        let batch = self.wanted.split_off(from);
        let mut all: Vec<Samples> = Vec::with_capacity(batch.len());
        let mut by_part: BTreeMap<u32, Vec<(Ordinal, usize)>> = BTreeMap::new();
        for (at, wanted) in batch.iter().enumerate() {
            all.push(Samples::default());
            for (part, ordinal) in &wanted.places {
                by_part.entry(*part).or_default().push((*ordinal, at));
            }
        }
        let mut reservation = self.context.budget.reserve(0, 0)?;
        let mut scratch = Samples::default();
        for (part, places) in by_part {
            self.context.cancel.check()?;
            self.read_part(part, &places, &mut all, &mut scratch)?;
            charge(&mut reservation, &all)?;
        }
        for (wanted, samples) in batch.iter().zip(&mut all) {
            if let Some(series) = &wanted.head {
                self.context.cancel.check()?;
                scratch.clear();
                self.view.head.read(series, self.range, &mut scratch);
                samples.merge(&scratch);
            }
        }
        charge(&mut reservation, &all)?;
        self.batch = Some(reservation);
        let labels = batch.into_iter().map(|wanted| wanted.labels);
        self.ready = labels
            .zip(all)
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        Ok(())
    }

    fn read_part(
        &mut self,
        number: u32,
        places: &[(Ordinal, usize)],
        all: &mut [Samples],
        scratch: &mut Samples,
    ) -> Result<(), SourceError> {
        let Some(part) = self.parts.get_mut(number as usize) else {
            return Ok(());
        };
        let mut opened = None;
        let data = match &mut part.reader {
            Some(data) => data,
            None => opened.insert(reopen(&part.block, &self.tenant)?),
        };
        let mut ordinals: Vec<Ordinal> = places.iter().map(|(ordinal, _)| *ordinal).collect();
        data.sort_by_place(&mut ordinals)?;
        let at: HashMap<Ordinal, usize> = places.iter().copied().collect();
        for ordinal in ordinals {
            data.read(ordinal, self.range, scratch)?;
            if let Some(samples) = at.get(&ordinal).and_then(|at| all.get_mut(*at)) {
                samples.merge(scratch);
            }
        }
        Ok(())
    }
}

fn reopen(seen: &Seen, tenant: &TenantId) -> Result<TenantReader, Error> {
    seen.tenant(tenant)?.ok_or_else(|| {
        Error::corrupt(
            format!("block {}", seen.block.entry().id),
            format!("the data of tenant {tenant} are no longer there"),
        )
    })
}

/// Charges the account for what a batch holds by now.
fn charge(reservation: &mut Reservation, all: &[Samples]) -> Result<(), SourceError> {
    let samples: usize = all.iter().map(Samples::len).sum();
    let samples = u64::try_from(samples).unwrap_or(u64::MAX);
    let more = samples.saturating_sub(reservation.samples());
    reservation.grow(more.saturating_mul(16), more)?;
    Ok(())
}

impl SeriesStream for Stream {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        loop {
            if let Some((labels, mut read)) = self.ready.pop() {
                std::mem::swap(samples, &mut read);
                let count = u64::try_from(samples.len()).unwrap_or(u64::MAX);
                self.context.budget.count_read(count);
                return Ok(Some(labels));
            }
            if self.wanted.is_empty() {
                self.batch = None;
                return Ok(None);
            }
            self.fill()?;
        }
    }

    fn size_hint(&self) -> usize {
        self.wanted.len() + self.ready.len()
    }
}

/// At most `limit` of them; 0: all.
fn limited<T>(items: impl Iterator<Item = T>, limit: usize) -> Vec<T> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    items.take(limit).collect()
}

impl ReadView {
    /// Collects texts from the head and from every block of the range, sorted: label names, or the
    /// values of a label.
    fn collect_texts(
        &self,
        label: Option<&str>,
        selection: &Selection,
        context: &ReadContext,
        from_head: impl Fn(&HeadView) -> BTreeSet<String>,
        from_block: impl Fn(&mut TenantReader, &mut dyn FnMut(TextsOf<'_>)) -> Result<(), Error>,
    ) -> Result<Vec<String>, SourceError> {
        let mut reservation = context.budget.reserve(0, 0)?;
        let mut set = BlockSet::default();
        let meant = self.seen(selection.range, context)?;
        for seen in &meant {
            set.add(seen.block.entry().id, &seen.only);
        }
        let question = set.question(&selection.tenant, label);
        let all = selection.matchers.is_empty();
        let known = all.then(|| self.remembered.get(&question)).flatten();
        let of_blocks = match known {
            Some(list) => list,
            None => {
                let mut texts = Texts::default();
                for seen in meant {
                    context.cancel.check()?;
                    if let Some(mut data) = seen.tenant(&selection.tenant)? {
                        from_block(&mut data, &mut |found| texts.add(found))?;
                    }
                    // A block at a time: what one has is bounded.
                    reservation.grow(texts.take_grown(), 0)?;
                }
                let list = Arc::new(texts.sorted());
                if all {
                    self.remembered.keep(question, &list);
                }
                list
            }
        };
        let of_head = from_head(&self.head);
        let more: usize = of_head.iter().map(String::len).sum();
        reservation.grow(u64::try_from(more).unwrap_or(u64::MAX), 0)?;
        Ok(united(&of_blocks, of_head))
    }

    /// As [`Source::select`].
    pub(super) fn select(
        self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        let mut found = find(self, selection, context)?;
        sort_by_page(&mut found.wanted);
        found.wanted.reverse();
        Ok(Box::new(Stream {
            view: found.view,
            tenant: selection.tenant.clone(),
            range: selection.range,
            context: context.clone(),
            parts: found.parts,
            wanted: found.wanted,
            ready: Vec::new(),
            _found: found.reservation,
            batch: None,
        }))
    }

    /// As [`Source::series`].
    pub(super) fn series(
        self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        let found = find(self, selection, context)?;
        let mut all: Vec<LabelSet> = found.wanted.into_iter().map(|w| w.labels).collect();
        all.sort_unstable();
        Ok(limited(all.into_iter(), limit))
    }

    /// As [`Source::label_names`].
    pub(super) fn label_names(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        let names = self.collect_texts(
            None,
            selection,
            context,
            |head| head.label_names(selection),
            |block, each| block.find_label_names(&selection.matchers, each),
        )?;
        Ok(limited(names.into_iter(), limit))
    }

    /// As [`Source::label_values`].
    pub(super) fn label_values(
        &self,
        name: &str,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        let values = self.collect_texts(
            Some(name),
            selection,
            context,
            |head| head.label_values(name, selection),
            |block, each| block.find_label_values(name, &selection.matchers, each),
        )?;
        Ok(limited(values.into_iter(), limit))
    }

    /// As [`Source::metadata`].
    pub(super) fn metadata(
        &self,
        tenant: &TenantId,
        family: Option<&str>,
        context: &ReadContext,
    ) -> Result<Vec<FamilyMetadata>, SourceError> {
        let mut all: BTreeMap<String, Vec<Metadata>> = BTreeMap::new();
        let mut add = |(family, list): FamilyMetadata| {
            let known = all.entry(family).or_default();
            for metadata in list {
                if known.len() < METADATA_SHOWN && !known.contains(&metadata) {
                    known.push(metadata);
                }
            }
        };
        // Newest first: the head, then the blocks from the last back.
        self.head
            .metadata(tenant, family)
            .into_iter()
            .for_each(&mut add);
        for seen in self.seen(TimeRange::ALL, context)?.iter().rev() {
            context.cancel.check()?;
            if let Some(data) = seen.tenant(tenant)? {
                data.metadata(family)?.into_iter().for_each(&mut add);
            }
        }
        Ok(all.into_iter().collect())
    }

    /// As [`Source::exemplars`].
    pub(super) fn exemplars(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        context.cancel.check()?;
        let mut found = self.head.exemplars(selection);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}
