//! Reads across head and blocks: one view of everything, each label set once.
//!
//! A selection finds, for every series that matches, where it lies: in the head, and under which
//! ordinal in which block. How the samples are then read is in `stream.rs`.
//!
//! Not here: PromQL, and what a matcher means (`model`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::block::{Ordinal, TenantReader};
use super::error::Error;
use super::found::{Found, Part, Wanted};
use super::head::HeadView;
use super::remembered::{BlockSet, united};
use super::stream::{READERS_KEPT, Stream, lacking};
use super::texts::{Texts, TextsOf};
use super::tier::{Reading, in_rounds};
use super::view::{ReadView, Seen};
use crate::model::{LabelSet, Metadata, TenantId, TimestampMs};
use crate::runtime::Reservation;
use crate::source::{
    FamilyMetadata, Moments, ReadContext, Selection, SeriesExemplars, SeriesStream, SourceError,
};

/// What a wanted series is charged for in the query's account, besides its labels.
const SERIES_BYTES: u64 = 96;
/// What one place of a series in a block is charged for.
const PLACE_BYTES: u64 = 8;

/// The newest few of a family's metadata that are shown.
const METADATA_SHOWN: usize = 8;
/// How far back metadata of all families are looked for in blocks that are elsewhere.
const METADATA_BACK_MS: i64 = 24 * 3_600_000;

/// A block that may have something of a selection, and which of its series match.
struct Hit {
    data: TenantReader,
    ordinals: Vec<Ordinal>,
    density: u64,
}

/// Looks into one block. `None`: it has nothing.
fn search(
    seen: &Seen,
    reading: &Arc<Reading>,
    selection: &Selection,
) -> Result<Option<Hit>, Error> {
    let reader = seen.block.reader(reading)?;
    if !reader.overlaps(seen.block.reaching_around(selection.range)) {
        return Ok(None);
    }
    let Some(mut data) = seen.tenant(&reader, &selection.tenant)? else {
        return Ok(None);
    };
    data.will_select(&selection.matchers);
    let ordinals = data.select(&selection.matchers)?;
    if ordinals.is_empty() {
        return Ok(None);
    }
    if !seen.block.is_here() {
        data.all_labels_here(&ordinals)?;
    }
    let totals = reader.totals();
    Ok(Some(Hit {
        data,
        ordinals,
        density: totals.samples / totals.series.max(1),
    }))
}

/// What is found, as it is found.
struct Finding<'a> {
    context: &'a ReadContext,
    index: HashMap<LabelSet, usize>,
    wanted: Vec<Wanted>,
    parts: Vec<Part>,
    reservation: Reservation,
}

impl Finding<'_> {
    /// The position of a series among the wanted ones.
    fn place(&mut self, labels: LabelSet) -> Result<&mut Wanted, SourceError> {
        self.reservation.grow(PLACE_BYTES, 0)?;
        let at = match self.index.get(&labels) {
            Some(at) => *at,
            None => {
                let text = u64::try_from(labels.text_len()).unwrap_or(u64::MAX);
                let bytes = SERIES_BYTES.saturating_add(text);
                self.reservation.grow(bytes, 0)?;
                self.index.insert(labels.clone(), self.wanted.len());
                self.wanted.push(Wanted {
                    labels,
                    head: None,
                    places: Vec::new(),
                });
                self.wanted.len() - 1
            }
        };
        let lost = || SourceError::Unavailable("a series was found and is not there".to_owned());
        self.wanted.get_mut(at).ok_or_else(lost)
    }

    fn add(&mut self, seen: &Seen, hit: Option<Hit>) -> Result<(), SourceError> {
        let Some(mut hit) = hit else {
            return Ok(());
        };
        let part = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        for ordinal in hit.ordinals {
            let labels = hit.data.labels(ordinal)?;
            self.place(labels)?.places.push((part, ordinal));
        }
        self.parts.push(Part {
            seen: seen.clone(),
            reader: (self.parts.len() < READERS_KEPT).then_some(hit.data),
            density: hit.density,
        });
        Ok(())
    }
}

/// Finds all series that match. Blocks and head series without a sample in the range are left out
/// as far as that is known without decoding. Blocks that are here come first, each by itself; those
/// that are elsewhere side by side.
fn find(
    view: ReadView,
    selection: &Selection,
    context: &ReadContext,
) -> Result<Found, SourceError> {
    let mut finding = Finding {
        context,
        index: HashMap::new(),
        wanted: Vec::new(),
        parts: Vec::new(),
        reservation: context.budget.reserve(0, 0)?,
    };
    for series in view.head.select(selection) {
        context.cancel.check()?;
        if view.head.may_have(&series, selection.range) {
            let labels = series.labels.clone();
            finding.place(labels)?.head = Some(series);
        }
    }
    let reading = Reading::of(context);
    let (here, elsewhere) = view.seen();
    for seen in &here {
        context.cancel.check()?;
        finding.add(seen, search(seen, &reading, selection)?)?;
    }
    in_rounds(
        &reading,
        &elsewhere,
        |seen| seen.block.entry().id,
        |seen| {
            context.cancel.check()?;
            search(seen, &reading, selection)
        },
        |seen, hit| match hit {
            Ok(hit) => finding.add(seen, hit),
            Err(error) => lacking(error, finding.context),
        },
    )?;
    Ok(Found {
        parts: finding.parts,
        wanted: finding.wanted,
        reservation: finding.reservation,
        reading,
        view,
    })
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
        let reading = Reading::of(context);
        let mut set = BlockSet::default();
        let (mut here, elsewhere) = self.seen();
        let mut failure = None;
        here.retain(|seen| match seen.block.reader(&reading) {
            Ok(reader) => reader.overlaps(selection.range),
            Err(error) => {
                failure.get_or_insert(error);
                false
            }
        });
        if let Some(error) = failure {
            return Err(error.into());
        }
        for seen in here.iter().chain(&elsewhere) {
            set.add(seen.block.entry().id, &seen.arcs);
        }
        let question = set.question(&selection.tenant, label);
        let all = selection.matchers.is_empty();
        let known = all.then(|| self.remembered.get(&question)).flatten();
        let of_blocks = match known {
            Some(list) => list,
            None => {
                let texts = RefCell::new(Texts::default());
                let look = |seen: &Seen| {
                    context.cancel.check()?;
                    let reader = seen.block.reader(&reading)?;
                    if let Some(mut data) = seen.tenant(&reader, &selection.tenant)? {
                        label.into_iter().for_each(|name| data.will_list(name));
                        data.will_select(&selection.matchers);
                        let mut texts = texts.borrow_mut();
                        from_block(&mut data, &mut |found| texts.add(found))?;
                    }
                    Ok::<(), Error>(())
                };
                for seen in &here {
                    look(seen)?;
                    // A block at a time: what one has is bounded.
                    reservation.grow(texts.borrow_mut().take_grown(), 0)?;
                }
                let mut whole = true;
                in_rounds(
                    &reading,
                    &elsewhere,
                    |seen| seen.block.entry().id,
                    look,
                    |_, looked| {
                        if let Err(error) = looked {
                            lacking(error, context)?;
                            whole = false;
                        }
                        let grown = texts.borrow_mut().take_grown();
                        reservation.grow(grown, 0).map_err(SourceError::from)
                    },
                )?;
                let list = Arc::new(texts.into_inner().sorted());
                if all && whole {
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

    /// As [`Source::select`], or [`Source::select_newest`] where there are moments.
    pub(super) fn select(
        self,
        selection: &Selection,
        moments: Option<Moments>,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        let found = find(self, selection, context)?;
        Ok(Box::new(Stream::new(found, selection, moments, context)))
    }

    /// As [`Source::select_apart`], where about so many samples or more are to be read.
    pub(super) fn select_apart(
        self,
        selection: &Selection,
        moments: Option<Moments>,
        least: u64,
        context: &ReadContext,
    ) -> Result<Vec<Box<dyn SeriesStream>>, SourceError> {
        let found = find(self, selection, context)?;
        let streams = Stream::new(found, selection, moments, context).apart(least);
        let boxed = |stream| -> Box<dyn SeriesStream> { Box::new(stream) };
        Ok(streams.into_iter().map(boxed).collect())
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
        let reading = Reading::of(context);
        let newest = self.blocks.iter().map(|(_, block)| block.entry().range.end);
        let since = newest
            .max()
            .unwrap_or(TimestampMs::MIN)
            .plus_ms(-METADATA_BACK_MS);
        // Of all families at once, what is elsewhere and older than the newest day is not asked:
        // a family that nobody has written since then is no longer known here.
        let (here, mut elsewhere) = self.seen();
        elsewhere.retain(|seen| family.is_some() || seen.block.entry().range.end >= since);
        let mut asked: Vec<Seen> = here.into_iter().chain(elsewhere).collect();
        asked.sort_by_key(|seen| std::cmp::Reverse(seen.block.entry().range.end));
        let look = |seen: &Seen| {
            context.cancel.check()?;
            let reader = seen.block.reader(&reading)?;
            match seen.tenant(&reader, tenant)? {
                Some(data) => data.metadata(family),
                None => Ok(Vec::new()),
            }
        };
        in_rounds(
            &reading,
            &asked,
            |seen| seen.block.entry().id,
            look,
            |_, found| match found {
                Ok(found) => {
                    found.into_iter().for_each(&mut add);
                    Ok(())
                }
                Err(error) => lacking(error, context),
            },
        )?;
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
