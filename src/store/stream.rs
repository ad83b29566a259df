//! The samples of a selection, read in batches of series that are neighbours in the blocks' page
//! order, block after block, so that each page is decoded once for a batch and only as many
//! samples are held as a batch has.
//!
//! Of blocks that are elsewhere, what the next batches need is on its way while those before are
//! decoded: they are planned in groups of about [`AHEAD_BYTES`], of which one is in memory and one
//! on its way. What a group needs of a block lies close together and comes in few ranges.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::block::{Ordinal, TenantReader};
use super::error::{Error, ErrorClass};
use super::head::HeadSeries;
use super::tier::{Failures, Held, Pending, Reading};
use super::view::{ReadView, Seen};
use crate::model::{BlockId, LabelSet, METRIC_NAME, Samples, TenantId, TimeRange};
use crate::runtime::Reservation;
use crate::source::{ReadContext, Selection, SeriesStream, SourceError};

/// A batch holds about so many samples (16 bytes each), and at most [`BATCH_SERIES`] series.
const BATCH_SAMPLES: u64 = 1 << 18;
const BATCH_SERIES: usize = 64;

/// What is fetched at a time of blocks that are elsewhere, about.
const AHEAD_BYTES: u64 = 4 << 20;
/// Batches that are planned at most, however little they need.
const AHEAD_BATCHES: usize = 64;

/// A series that matches, and where its samples lie.
pub(super) struct Wanted {
    pub(super) labels: LabelSet,
    pub(super) head: Option<HeadSeries>,
    pub(super) places: Vec<(u32, Ordinal)>,
}

/// One block of a selection.
pub(super) struct Part {
    pub(super) seen: Seen,
    pub(super) reader: Option<TenantReader>,
    /// Samples of a series of it, on average.
    pub(super) density: u64,
}

/// What a selection has found.
pub(super) struct Found {
    pub(super) view: ReadView,
    pub(super) parts: Vec<Part>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) reservation: Reservation,
    /// What was fetched for it.
    pub(super) reading: Arc<Reading>,
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

/// Some series, and where their samples lie, part after part.
struct Batch {
    wanted: Vec<Wanted>,
    parts: Vec<(u32, Vec<(Ordinal, usize)>)>,
}

/// What some reads of parts elsewhere need, on its way or here.
struct Group {
    /// Reads that are still to be made.
    left: usize,
    pending: Option<Pending>,
    held: Option<Held>,
    failures: Failures,
}

/// The samples of a selection's series.
pub(super) struct Stream {
    view: ReadView,
    tenant: TenantId,
    range: TimeRange,
    context: ReadContext,
    reading: Arc<Reading>,
    parts: Vec<Part>,
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
    /// For the list of series.
    _found: Reservation,
    /// For the batch.
    batch: Option<Reservation>,
}

impl Stream {
    pub(super) fn new(found: Found, selection: &Selection, context: &ReadContext) -> Self {
        let mut wanted = found.wanted;
        sort_by_page(&mut wanted);
        wanted.reverse();
        Self {
            view: found.view,
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
            _found: found.reservation,
            batch: None,
        }
    }

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

    /// Makes one more batch. `false`: there are no more series.
    fn add_batch(&mut self) -> bool {
        let from = self.wanted.len() - self.batch_len();
        let wanted = self.wanted.split_off(from);
        if wanted.is_empty() {
            return false;
        }
        let mut by_part: BTreeMap<u32, Vec<(Ordinal, usize)>> = BTreeMap::new();
        for (at, wanted) in wanted.iter().enumerate() {
            for (part, ordinal) in &wanted.places {
                by_part.entry(*part).or_default().push((*ordinal, at));
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
        let mut all = vec![Samples::default(); batch.wanted.len()];
        let mut reservation = self.context.budget.reserve(0, 0)?;
        let mut scratch = Samples::default();
        for (part, places) in &batch.parts {
            self.context.cancel.check()?;
            self.read_part(*part, places, &mut all, &mut scratch)?;
            charge(&mut reservation, &all)?;
        }
        for (wanted, samples) in batch.wanted.iter().zip(&mut all) {
            if let Some(series) = &wanted.head {
                self.context.cancel.check()?;
                scratch.clear();
                self.view.head.read(series, self.range, &mut scratch);
                samples.merge(&scratch);
            }
        }
        charge(&mut reservation, &all)?;
        self.batch = Some(reservation);
        let labels = batch.wanted.iter().map(|wanted| wanted.labels.clone());
        self.ready = labels
            .zip(all)
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        self.batches.pop_front();
        self.planned = match self.planned {
            (0, _) => (0, 0),
            (batch, part) => (batch - 1, part),
        };
        Ok(())
    }

    fn read_part(
        &mut self,
        number: u32,
        places: &[(Ordinal, usize)],
        all: &mut [Samples],
        scratch: &mut Samples,
    ) -> Result<(), SourceError> {
        let Some(part) = self.parts.get(number as usize) else {
            return Ok(());
        };
        if part.seen.block.is_here() {
            return Ok(self.decode_part(number, places, all, scratch)?);
        }
        let id = part.seen.block.entry().id;
        let failure = self.fetch_ahead()?.remove(&id);
        if self.given_up.contains(&id) {
            return Ok(());
        }
        let outcome = match failure {
            Some(failure) => Err(failure),
            None => self.decode_part(number, places, all, scratch),
        };
        outcome.or_else(|error| {
            lacking(error, &self.context)?;
            self.given_up.insert(id);
            Ok(())
        })
    }

    fn decode_part(
        &mut self,
        number: u32,
        places: &[(Ordinal, usize)],
        all: &mut [Samples],
        scratch: &mut Samples,
    ) -> Result<(), Error> {
        let Some(part) = self.parts.get_mut(number as usize) else {
            return Ok(());
        };
        let mut opened = None;
        let data = match &mut part.reader {
            Some(data) => data,
            None => opened.insert(reopen(&part.seen, &self.reading, &self.tenant)?),
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

    /// Before the next part that is elsewhere is read: waits for what it needs, and lets what comes
    /// after it be fetched meanwhile. Gives the blocks that cannot be read, and why.
    fn fetch_ahead(&mut self) -> Result<&mut Failures, SourceError> {
        if self.groups.front().is_some_and(|group| group.left == 0) {
            self.groups.pop_front();
        }
        if self.groups.is_empty() {
            self.plan_group()?;
        }
        let pending = self
            .groups
            .front_mut()
            .and_then(|group| group.pending.take());
        if let Some(pending) = pending {
            let (held, failures) = self.reading.finish(pending)?;
            if let Some(group) = self.groups.front_mut() {
                group.held = Some(held);
                group.failures = failures;
            }
            self.plan_group()?;
        } else if self.groups.len() < 2 {
            self.plan_group()?;
        }
        let lost = || SourceError::Unavailable("a read was not planned".to_owned());
        let group = self.groups.front_mut().ok_or_else(lost)?;
        group.left = group.left.saturating_sub(1);
        Ok(&mut group.failures)
    }

    /// Plans the next reads of parts elsewhere, and begins to fetch what they need.
    fn plan_group(&mut self) -> Result<(), SourceError> {
        let mut left = 0;
        while self.reading.wanted_bytes() < AHEAD_BYTES {
            let (at, part) = self.planned;
            if at >= self.batches.len() && (at >= AHEAD_BATCHES || !self.add_batch()) {
                break;
            }
            let Some(batch) = self.batches.get(at).map(Arc::clone) else {
                break;
            };
            let Some((number, places)) = batch.parts.get(part) else {
                self.planned = (at + 1, 0);
                continue;
            };
            self.planned = (at, part + 1);
            left += usize::from(self.plan_part(*number, places));
        }
        if left > 0 {
            let pending = self.reading.start()?;
            self.groups.push_back(Group {
                left,
                pending,
                held: None,
                failures: Failures::new(),
            });
        }
        Ok(())
    }

    /// Notes what a part needs. `false`: it is here.
    fn plan_part(&mut self, number: u32, places: &[(Ordinal, usize)]) -> bool {
        let Some(part) = self.parts.get_mut(number as usize) else {
            return false;
        };
        if part.seen.block.is_here() {
            return false;
        }
        let ordinals: Vec<Ordinal> = places.iter().map(|(ordinal, _)| *ordinal).collect();
        let (reading, tenant) = (&self.reading, &self.tenant);
        // What is not known yet is fetched when it is read.
        let _ = reading.planning(|| match &mut part.reader {
            Some(data) => data.will_read(&ordinals),
            None => reopen(&part.seen, reading, tenant)?.will_read(&ordinals),
        });
        true
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
