//! Reads across head and blocks: one view of everything, each label set once.
//!
//! A selection finds, for every series that matches, where it lies (`finding.rs`). How the samples are
//! then read is in `stream.rs`.
//!
//! Not here: PromQL, and what a matcher means (`model`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::block::TenantReader;
use super::error::Error;
use super::finding::{find, overlapping};
use super::head::HeadView;
use super::remembered::{Asked, united};
use super::stream::{Stream, lacking};
use super::texts::{Texts, TextsOf};
use super::tier::{Reading, in_rounds};
use super::view::{ReadView, Seen};
use crate::model::{LabelSet, Metadata, TenantId, TimestampMs};
use crate::source::{
    FamilyMetadata, Moments, ReadContext, Selection, SeriesExemplars, SeriesStream, SourceError,
};

/// What a text that is kept costs beside its bytes.
const TEXT_BYTES: usize = 24;

/// The newest few of a family's metadata that are shown.
const METADATA_SHOWN: usize = 8;
/// How far back metadata of all families are looked for in blocks that are elsewhere.
const METADATA_BACK_MS: i64 = 24 * 3_600_000;

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
        let (mut here, elsewhere) = self.seen();
        let mut set = overlapping(&mut here, &reading, selection.range)?;
        for seen in &elsewhere {
            set.add(seen.block.entry().id, &seen.arcs);
        }
        let asked = label.map_or(Asked::Names, |name| Asked::Values(name.to_owned()));
        let question = set.question(&selection.tenant, asked, &selection.matchers);
        let known: Option<Arc<Vec<String>>> = self.remembered.get(&question);
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
                if whole {
                    let bytes = list.iter().map(|text| text.len() + TEXT_BYTES).sum();
                    self.remembered.keep(question, &list, bytes);
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
