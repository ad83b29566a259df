//! Reads samples out of pages: all of a series in a range, or of floats only those that are the
//! newest at some moments. What is not wanted is decoded as far as it must be, and not copied.

use super::layout::{PageRows, Rows};
use super::picked::Picked;
use super::reader::{Ordinal, TenantReader};
use crate::codec::page;
use crate::codec::series_entry::Place;
use crate::model::{Samples, TimeRange};
use crate::source::Moments;
use crate::store::error::Error;

/// The samples that a read wants.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct SamplesWanted {
    /// In this range.
    pub(in crate::store) range: TimeRange,
    /// And of those that are floats, the newest at these moments.
    pub(in crate::store) newest: Option<Moments>,
}

impl TenantReader {
    /// Where the samples of series lie, in the order in which they are best read.
    pub(in crate::store) fn places<T: Copy + Ord>(
        &mut self,
        wanted: &[(Ordinal, T)],
    ) -> Result<Vec<(Place, T)>, Error> {
        let mut places = Vec::with_capacity(wanted.len());
        for (ordinal, of) in wanted {
            if let Some(place) = self.place(*ordinal)? {
                places.push((place, *of));
            }
        }
        places.sort_unstable();
        Ok(places)
    }

    /// Adds what is wanted of a place to `samples`; `scratch` is overwritten. Says whether anything in
    /// the range was left out.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, or there is no such place.
    pub(in crate::store) fn add_at(
        &mut self,
        place: Place,
        wanted: SamplesWanted,
        samples: &mut Samples,
        scratch: &mut Samples,
    ) -> Result<bool, Error> {
        let page = self.page(place.group, place.page)?;
        let rows = self.rows(&page.rows, place)?;
        let column = self.column(place.group, rows.column)?;
        let times = self.times(&column, rows, place)?;
        let SamplesWanted { range, newest } = wanted;
        let from = times.partition_point(|at| *at < range.start.0);
        let to = times.partition_point(|at| *at <= range.end.0).max(from);
        let wanted_times = times.get(from..to).unwrap_or_default();
        let Some(first) = wanted_times.first() else {
            return Ok(false);
        };
        let behind = samples.starts.is_empty() && samples.timestamps.last() < Some(first);
        let at = (usize::from(place.slot), times.len());
        let damaged = |error| super::layout::damaged(self.id, &page_name(place), &error);
        let mut left_out = false;
        let added = match newest {
            _ if !behind => false,
            None => {
                let run = page::Rows::Run(from..to);
                let added =
                    page.values
                        .read_floats(at, &run, &mut self.scratch, &mut samples.values);
                let added = added.map_err(damaged)?;
                if added {
                    samples.timestamps.extend_from_slice(wanted_times);
                }
                added
            }
            Some(moments) => {
                let of = (place.group, rows, range, moments);
                let picked = match self.picked.take() {
                    Some(picked) if picked.of == of => picked,
                    last => Picked::of(of, (times, from..to), last),
                };
                let picked = self.picked.insert(picked);
                let some = page::Rows::Some(&picked.rows);
                let added =
                    page.values
                        .read_floats(at, &some, &mut self.scratch, &mut samples.values);
                let added = added.map_err(damaged)?;
                if added {
                    samples.timestamps.extend_from_slice(&picked.times);
                    left_out = picked.times.len() < wanted_times.len();
                }
                added
            }
        };
        if !added {
            self.read_at(place, range, scratch)?;
            samples.merge(scratch);
        }
        Ok(left_out)
    }

    /// Whether a place has samples in a range and some that stand for others.
    ///
    /// # Errors
    /// As [`TenantReader::add_at`].
    pub(in crate::store) fn has_folds(
        &mut self,
        place: Place,
        range: TimeRange,
    ) -> Result<bool, Error> {
        let page = self.page(place.group, place.page)?;
        if !page.values.has_folds(usize::from(place.slot)) {
            return Ok(false);
        }
        let rows = self.rows(&page.rows, place)?;
        let column = self.column(place.group, rows.column)?;
        let times = self.times(&column, rows, place)?;
        let from = times.partition_point(|at| *at < range.start.0);
        Ok(times.get(from).is_some_and(|at| *at <= range.end.0))
    }

    /// Clears `samples` and fills in those of a place that are in a range.
    pub(super) fn read_at(
        &mut self,
        place: Place,
        range: TimeRange,
        samples: &mut Samples,
    ) -> Result<(), Error> {
        samples.clear();
        let page = self.page(place.group, place.page)?;
        let rows = self.rows(&page.rows, place)?;
        let column = self.column(place.group, rows.column)?;
        let times = self.times(&column, rows, place)?;
        let ends = times.first().zip(times.last());
        if ends.is_none_or(|(from, to)| *to < range.start.0 || *from > range.end.0) {
            return Ok(());
        }
        page.values
            .read(usize::from(place.slot), times.len(), samples)
            .map_err(|error| self.damaged(&page_name(place), &error))?;
        samples.timestamps.extend_from_slice(times);
        samples.clip(range);
        Ok(())
    }

    fn rows(&self, rows: &PageRows, place: Place) -> Result<Rows, Error> {
        let found = rows.get(usize::from(place.slot));
        found.ok_or_else(|| self.damaged(&page_name(place), &"it has no such series"))
    }

    fn times<'a>(&self, column: &'a [i64], rows: Rows, place: Place) -> Result<&'a [i64], Error> {
        let end = rows.first.checked_add(rows.count);
        let times = end.and_then(|end| column.get(rows.first..end));
        times.ok_or_else(|| self.damaged(&page_name(place), &"its column has no such rows"))
    }
}

fn page_name(place: Place) -> String {
    let Place { group, page, slot } = place;
    format!("series {slot} of page {page} of group {group}")
}
