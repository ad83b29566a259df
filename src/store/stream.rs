//! The samples of a selection, read in batches of series that are neighbours in the blocks' page
//! order, block after block, so that each page is decoded once for a batch and only as many
//! samples are held as a batch has.
//!
//! Of blocks that are elsewhere, what the next batches need is on its way while those before are
//! decoded: they are planned in groups of about `AHEAD_BYTES`, of which one is in memory and one
//! on its way. What a group needs of a block lies close together and comes in few ranges.

mod ahead;
mod apart;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use super::block::{Ordinal, SamplesWanted, TenantReader};
use super::error::{Error, ErrorClass};
use super::found::{Found, Part, Wanted};
use super::page_order::sorted_by_page;
use super::tier::Reading;
use super::view::{ReadView, Seen};
use crate::model::{BlockId, LabelSet, Resolution, Samples, TenantId, TimeRange};
use crate::runtime::Reservation;
use crate::source::{Moments, ReadContext, Selection, SeriesStream, SourceError};

use ahead::{AHEAD_BYTES, Group};
pub(super) use apart::APART_MIN;

/// A batch holds about so many samples (16 bytes each), and at most [`BATCH_SERIES`] series:
/// those of a few targets in one partition.
const BATCH_SAMPLES: u64 = 1 << 18;
const BATCH_SERIES: usize = 256;

/// Readers that stay open between batches; each holds a few decoded pages.
pub(super) const READERS_KEPT: usize = 128;

/// What has been read of a batch's series.
struct Gathered {
    all: Vec<Samples>,
    /// Of which something in the range was left out.
    thinned: Vec<bool>,
    scratch: Samples,
}

/// Some series, and where their samples lie, part after part.
struct Batch {
    wanted: Vec<Wanted>,
    parts: Vec<(u32, Vec<(Ordinal, usize)>)>,
}

/// The samples of a selection's series.
pub(super) struct Stream {
    view: Arc<ReadView>,
    tenant: TenantId,
    range: TimeRange,
    /// Only the newest samples at these moments are wanted of series of floats.
    newest: Option<Moments>,
    /// What is fetched at a time, about.
    ahead_bytes: u64,
    context: ReadContext,
    reading: Arc<Reading>,
    parts: Vec<Part>,
    /// Those that have readers, the one that was opened first before the others.
    open: VecDeque<u32>,
    /// In no batch yet, the next last.
    wanted: Vec<Wanted>,
    /// Batches that are planned, the next first.
    batches: VecDeque<Arc<Batch>>,
    /// Which of their parts is to be planned next.
    planned: (usize, usize),
    groups: VecDeque<Group>,
    /// Blocks that cannot be had, where the answer may be partial.
    given_up: HashSet<BlockId>,
    /// Read and not yet handed out, the next last.
    ready: Vec<(LabelSet, Samples)>,
    /// Memory for samples that is in use no more.
    spare: Vec<Samples>,
    /// For the list of series.
    found: Arc<Reservation>,
    /// For the batch.
    batch: Option<Reservation>,
}

impl Stream {
    pub(super) fn new(
        found: Found,
        selection: &Selection,
        moments: Option<Moments>,
        context: &ReadContext,
    ) -> Self {
        let mut wanted = sorted_by_page(found.wanted, &found.parts, &found.view.head);
        wanted.reverse();
        let open = (0..).zip(&found.parts);
        let open = open.filter(|(_, part)| part.reader.is_some());
        Self {
            open: open.map(|(number, _)| number).collect(),
            newest: moments,
            ahead_bytes: AHEAD_BYTES,
            spare: Vec::new(),
            view: Arc::new(found.view),
            tenant: selection.tenant.clone(),
            range: selection.range,
            context: context.clone(),
            reading: found.reading,
            parts: found.parts,
            wanted,
            batches: VecDeque::new(),
            planned: (0, 0),
            groups: VecDeque::new(),
            given_up: HashSet::new(),
            ready: Vec::new(),
            found: Arc::new(found.reservation),
            batch: None,
        }
    }

    /// As many samples of a block are wanted of a series, at most.
    fn most(&self) -> u64 {
        self.newest.map_or(u64::MAX, |moments| {
            u64::try_from(moments.count).unwrap_or(u64::MAX)
        })
    }

    /// How many series the next batch takes.
    fn batch_len(&self) -> usize {
        let mut samples = 0u64;
        let mut len = 0;
        for wanted in self.wanted.iter().rev().take(BATCH_SERIES) {
            let most = self.most();
            let in_blocks: u64 = wanted
                .places()
                .filter_map(|(part, _)| self.parts.get(part as usize))
                .map(|part| part.density.min(most))
                .sum();
            samples = samples.saturating_add(in_blocks);
            if len > 0 && samples > BATCH_SAMPLES {
                break;
            }
            len += 1;
        }
        len
    }

    /// Makes one more batch. `false`: there are no more series.
    fn add_batch(&mut self) -> bool {
        let from = self.wanted.len() - self.batch_len();
        let wanted = self.wanted.split_off(from);
        if wanted.is_empty() {
            return false;
        }
        let mut by_part: BTreeMap<u32, Vec<(Ordinal, usize)>> = BTreeMap::new();
        for (at, wanted) in wanted.iter().enumerate() {
            for (part, ordinal) in wanted.places() {
                by_part.entry(part).or_default().push((ordinal, at));
            }
        }
        self.batches.push_back(Arc::new(Batch {
            wanted,
            parts: by_part.into_iter().collect(),
        }));
        true
    }

    /// Reads a batch: the head, then block after block.
    fn fill(&mut self) -> Result<(), SourceError> {
        self.batch = None;
        if self.batches.is_empty() && !self.add_batch() {
            return Ok(());
        }
        let Some(batch) = self.batches.front().map(Arc::clone) else {
            return Ok(());
        };
        let mut gathered = Gathered {
            all: self.emptied(batch.wanted.len()),
            thinned: vec![false; batch.wanted.len()],
            scratch: Samples::default(),
        };
        for (wanted, samples) in batch.wanted.iter().zip(&mut gathered.all) {
            let expected = self.expected(wanted).min(BATCH_SAMPLES);
            samples.reserve(usize::try_from(expected).unwrap_or(0));
        }
        let mut reservation = self.context.budget.reserve(0, 0)?;
        for (part, places) in &batch.parts {
            self.context.cancel.check()?;
            self.read_part(*part, places, &mut gathered)?;
            charge(&mut reservation, &gathered.all)?;
        }
        for (at, wanted) in batch.wanted.iter().enumerate() {
            self.add_head(wanted, self.newest, at, &mut gathered)?;
        }
        self.complete_mixed(&batch, &mut gathered)?;
        charge(&mut reservation, &gathered.all)?;
        self.batch = Some(reservation);
        let labels = batch.wanted.iter().map(|wanted| wanted.labels.clone());
        self.ready = labels
            .zip(gathered.all)
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        self.batches.pop_front();
        self.planned = match self.planned {
            (0, _) => (0, 0),
            (batch, part) => (batch - 1, part),
        };
        Ok(())
    }

    /// Room for the samples of so many series.
    fn emptied(&mut self, count: usize) -> Vec<Samples> {
        let mut all = std::mem::take(&mut self.spare);
        all.truncate(count);
        all.iter_mut().for_each(Samples::clear);
        all.resize_with(count, Samples::default);
        all
    }

    /// About how many samples of a series will be read of blocks.
    fn expected(&self, wanted: &Wanted) -> u64 {
        let parts = wanted
            .places()
            .filter_map(|(part, _)| self.parts.get(part as usize));
        parts
            .map(|part| part.samples_in(self.range).min(self.most()))
            .sum()
    }

    /// Adds what the head has of a series, the one at this place of the batch.
    fn add_head(
        &self,
        wanted: &Wanted,
        newest: Option<Moments>,
        at: usize,
        gathered: &mut Gathered,
    ) -> Result<(), SourceError> {
        let Some(series) = &wanted.head else {
            return Ok(());
        };
        self.context.cancel.check()?;
        let scratch = &mut gathered.scratch;
        scratch.clear();
        let (head, range) = (&self.view.head, self.range);
        let left_out = match newest {
            Some(moments) => head.read_newest(series, range, moments, scratch),
            None => {
                head.read(series, range, scratch);
                false
            }
        };
        if let (Some(samples), Some(thinned)) =
            (gathered.all.get_mut(at), gathered.thinned.get_mut(at))
        {
            samples.merge(scratch);
            *thinned |= left_out;
        }
        Ok(())
    }

    /// Reads those series of a batch again that turned out to hold histograms beside floats of which some
    /// were left out: of these all samples are wanted, because they say something about their neighbours.
    fn complete_mixed(
        &mut self,
        batch: &Batch,
        gathered: &mut Gathered,
    ) -> Result<(), SourceError> {
        for (at, wanted) in batch.wanted.iter().enumerate() {
            let (Some(samples), Some(true)) = (gathered.all.get_mut(at), gathered.thinned.get(at))
            else {
                continue;
            };
            if samples.histograms.is_empty() {
                continue;
            }
            samples.clear();
            for (part, ordinal) in wanted.places() {
                let Some(id) = self.parts.get(part as usize).map(Part::id) else {
                    continue;
                };
                if self.given_up.contains(&id) {
                    continue;
                }
                let outcome = self.decode_part(part, (&[(ordinal, at)], None), gathered);
                self.unless_lacking(id, outcome)?;
            }
            self.add_head(wanted, None, at, gathered)?;
        }
        Ok(())
    }

    fn read_part(
        &mut self,
        number: u32,
        places: &[(Ordinal, usize)],
        gathered: &mut Gathered,
    ) -> Result<(), SourceError> {
        let Some(part) = self.parts.get(number as usize) else {
            return Ok(());
        };
        if part.seen.block.is_here() {
            return Ok(self.decode_part(number, (places, self.newest), gathered)?);
        }
        let id = part.id();
        let failure = self.fetch_ahead()?.remove(&id);
        if self.given_up.contains(&id) {
            return Ok(());
        }
        let outcome = match failure {
            Some(failure) => Err(failure),
            None => self.decode_part(number, (places, self.newest), gathered),
        };
        self.unless_lacking(id, outcome)
    }

    /// What came of the read of a block: where the answer may be partial, one that failed is not read
    /// again.
    fn unless_lacking(
        &mut self,
        id: BlockId,
        outcome: Result<(), Error>,
    ) -> Result<(), SourceError> {
        outcome.or_else(|error| {
            lacking(error, &self.context)?;
            self.given_up.insert(id);
            Ok(())
        })
    }

    fn decode_part(
        &mut self,
        number: u32,
        (places, newest): (&[(Ordinal, usize)], Option<Moments>),
        gathered: &mut Gathered,
    ) -> Result<(), Error> {
        let Some(part) = self.parts.get_mut(number as usize) else {
            return Ok(());
        };
        let fresh = part.reader.is_none();
        let data = match &mut part.reader {
            Some(data) => data,
            None => part
                .reader
                .insert(reopen(&part.seen, &self.reading, &self.tenant)?),
        };
        let block = &part.seen.block;
        let wanted = SamplesWanted {
            // What stands for an interval that ends in the range is wanted too.
            range: match self.newest {
                Some(_) => block.reaching_back(self.range),
                None => self.range,
            },
            newest,
        };
        let resolution = block.entry().level.resolution();
        let around = block.reaching_around(self.range);
        for (place, at) in data.places(places)? {
            if let (Some(samples), Some(thinned)) =
                (gathered.all.get_mut(at), gathered.thinned.get_mut(at))
            {
                *thinned |= data.add_at(place, wanted, samples, &mut gathered.scratch)?;
            }
            if resolution != Resolution::Raw && data.has_folds(place, around)? {
                self.context.coarsest.meets(resolution);
            }
        }
        if fresh {
            self.keep_open(number);
        }
        Ok(())
    }

    /// Another part has a reader: of too many the one that was opened first gives its up.
    fn keep_open(&mut self, number: u32) {
        self.open.push_back(number);
        if self.open.len() > READERS_KEPT
            && let Some(first) = self.open.pop_front()
            && let Some(part) = self.parts.get_mut(first as usize)
        {
            part.reader = None;
        }
    }
}

/// What a query does without something that is elsewhere: it fails, or says what it lacks where its
/// answer may be partial.
pub(super) fn lacking(error: Error, context: &ReadContext) -> Result<(), SourceError> {
    let cannot_be_had = matches!(error.class(), ErrorClass::Unavailable | ErrorClass::Corrupt);
    match &context.partial {
        Some(partial) if cannot_be_had => {
            partial.lacks(format!("the answer may lack samples: {error}"));
            Ok(())
        }
        _ => Err(error.into()),
    }
}

fn reopen(seen: &Seen, reading: &Arc<Reading>, tenant: &TenantId) -> Result<TenantReader, Error> {
    let reader = seen.block.reader(reading)?;
    let data = seen.tenant(&reader, tenant)?;
    data.ok_or_else(|| {
        Error::corrupt(
            format!("block {}", seen.block.entry().id),
            format!("the data of tenant {tenant} are no longer there"),
        )
    })
}

/// Charges the account for what a batch holds by now.
fn charge(reservation: &mut Reservation, all: &[Samples]) -> Result<(), SourceError> {
    let samples: usize = all.iter().map(Samples::len).sum();
    let folds = all.iter().map(|one| size_of_val(one.folds.as_slice()));
    let folds = u64::try_from(folds.sum::<usize>()).unwrap_or(u64::MAX);
    let samples = u64::try_from(samples).unwrap_or(u64::MAX);
    let bytes = samples.saturating_mul(16).saturating_add(folds);
    let more = samples.saturating_sub(reservation.samples());
    reservation.grow(bytes.saturating_sub(reservation.memory_bytes()), more)?;
    Ok(())
}

impl SeriesStream for Stream {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        loop {
            if let Some((labels, mut read)) = self.ready.pop() {
                std::mem::swap(samples, &mut read);
                self.spare.push(read);
                let count = u64::try_from(samples.len()).unwrap_or(u64::MAX);
                self.context.budget.count_read(count);
                return Ok(Some(labels));
            }
            if self.wanted.is_empty() && self.batches.is_empty() {
                self.batch = None;
                return Ok(None);
            }
            self.fill()?;
        }
    }

    fn size_hint(&self) -> usize {
        let planned: usize = self.batches.iter().map(|batch| batch.wanted.len()).sum();
        self.wanted.len() + planned + self.ready.len()
    }
}
