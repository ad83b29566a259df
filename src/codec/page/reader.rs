//! Reads value pages.

use std::ops::Range;

use super::{ALL_FLAGS, HAS_FOLDS, HAS_HISTOGRAMS, HAS_STARTS, RAW_MAX, SERIES_MAX, WHAT};
use crate::codec::predict::Predictor;
use crate::codec::values::{self, Header, PathHeader};
use crate::codec::varint::{take_exact, take_len, take_u8};
use crate::codec::version::{PAGE_CODED, PAGE_VARINT};
use crate::codec::{
    Error, ROWS_MAX, entropy, exceptions, folds, frame, histogram_column, some_rows, starts,
};
use crate::model::Samples;

/// A page that was opened: checked and decompressed once, read series by series.
#[derive(Debug)]
pub struct Reader {
    /// What was compressed, and behind it the streams of a coded page.
    raw: Vec<u8>,
    series: Vec<Entry>,
    is_coded: bool,
}

/// Some rows of a series.
#[derive(Clone, Debug)]
pub enum Rows<'a> {
    /// Neighbours.
    Run(Range<usize>),
    /// These, rising.
    Some(&'a [u32]),
}

impl Rows<'_> {
    /// The first of them, if there are any.
    fn start(&self) -> usize {
        match self {
            Self::Run(run) => run.start,
            Self::Some(rows) => rows.first().map_or(0, |first| *first as usize),
        }
    }

    /// The row after the last of them.
    fn end(&self) -> usize {
        match self {
            Self::Run(run) if run.is_empty() => 0,
            Self::Run(run) => run.end,
            Self::Some(rows) => rows.last().map_or(0, |last| *last as usize + 1),
        }
    }
}

/// What reading needs for a moment: kept, so that memory is taken once.
#[derive(Debug, Default)]
pub struct Scratch {
    path: Vec<i64>,
    errors: Vec<i64>,
}

/// Where the parts of a series are in `raw`.
#[derive(Debug)]
struct Entry {
    header: Header,
    exceptions: Range<usize>,
    path: Range<usize>,
    errors: Range<usize>,
    histograms: Range<usize>,
    starts: Range<usize>,
    folds: Range<usize>,
}

impl Reader {
    /// Opens a page.
    ///
    /// # Errors
    /// When the bytes are not what a [`Builder`](super::Builder) writes.
    pub fn open(bytes: &[u8]) -> Result<Self, Error> {
        Self::open_body(frame::open(bytes, WHAT)?)
    }

    /// A page without its checksum.
    pub(in crate::codec) fn open_body(mut input: &[u8]) -> Result<Self, Error> {
        let input = &mut input;
        let id = take_u8(input, WHAT)?;
        let is_coded = match id {
            PAGE_VARINT => false,
            PAGE_CODED => true,
            id => return Err(Error::UnknownEncoding { what: WHAT, id }),
        };
        let count = take_len(input, "series of a page", SERIES_MAX)?;
        let streams = if is_coded {
            let packed = take_len(input, WHAT, RAW_MAX)?;
            let packed = take_exact(input, packed, WHAT)?;
            std::mem::replace(input, packed)
        } else {
            &[]
        };
        let mut raw = frame::decompress(input, WHAT, RAW_MAX)?;
        let mut rest = &raw[..];
        let mut series: Vec<Entry> = Vec::with_capacity(count);
        for place in 0..count {
            let entry = Entry::take(&mut rest)?;
            if let Some(PathHeader::Reference(distance)) = entry.header.path {
                let source = place.checked_sub(distance).and_then(|at| series.get(at));
                let own = source.map(|source| source.header.path);
                if !matches!(own, Some(Some(PathHeader::Own(..)))) {
                    return Err(Error::invalid(WHAT, distance as u64));
                }
            }
            series.push(entry);
        }
        let (mut at, mut stream_at) = (raw.len() - rest.len(), raw.len());
        for entry in &mut series {
            if is_coded {
                entry.lay_out_coded(&mut at, &mut stream_at);
            } else {
                entry.lay_out(&mut at);
            }
        }
        if at != raw.len() {
            return Err(Error::invalid(WHAT, at as u64));
        }
        if is_coded {
            Error::bound("bytes of a page", raw.len() + streams.len(), RAW_MAX)?;
            raw.reserve_exact(streams.len());
            raw.extend_from_slice(streams);
            if stream_at != raw.len() {
                return Err(Error::invalid(WHAT, stream_at as u64));
            }
        }
        Ok(Self {
            raw,
            series,
            is_coded,
        })
    }

    /// How many series are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether the series of a place has samples that stand for others.
    #[must_use]
    pub fn has_folds(&self, place: usize) -> bool {
        let entry = self.series.get(place);
        entry.is_some_and(|entry| !entry.folds.is_empty())
    }

    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.raw.len() + size_of_val(self.series.as_slice())
    }

    /// Whether none is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Reads the series at a place, which has `rows` rows, into the columns of `out` but its
    /// timestamps; what they held before is gone.
    ///
    /// # Errors
    /// When there is no such place, or it has another number of rows.
    pub fn read(&self, place: usize, rows: usize, out: &mut Samples) -> Result<(), Error> {
        out.values.clear();
        out.histograms.clear();
        out.starts.clear();
        out.folds.clear();
        Error::bound("rows of a series", rows, ROWS_MAX)?;
        let entry = self.series.get(place);
        let entry = entry.ok_or(Error::invalid("a place in a value page", place as u64))?;
        let (mut path, mut errors) = (Vec::new(), Vec::new());
        if let Some((source, PathHeader::Own(predictor, _))) = self
            .owner(place, entry)
            .and_then(|source| Some((source, source.header.path?)))
        {
            let steps = rows.saturating_sub(1);
            self.restore(predictor, &source.path, (0..steps, steps), &mut path)?;
        }
        if let Some((predictor, _)) = entry.header.errors {
            self.restore(predictor, &entry.errors, (0..rows, rows), &mut errors)?;
        }
        some_rows::rebuild_run(entry.header.shape, &path, &errors, 0..rows, &mut out.values)?;
        exceptions::apply(self.part(&entry.exceptions), &mut out.values)?;
        if !entry.histograms.is_empty() {
            out.histograms = histogram_column::decode(self.part(&entry.histograms), rows)?;
        }
        if !entry.starts.is_empty() {
            out.starts = starts::decode(self.part(&entry.starts), rows)?;
        }
        if !entry.folds.is_empty() {
            out.folds = folds::decode(self.part(&entry.folds), &out.values)?;
        }
        Ok(())
    }

    /// Appends the floats of some rows of the series at a place, which has `rows` rows, to
    /// `out`. `false`, and nothing done: it has more than floats.
    ///
    /// # Errors
    /// When there is no such place or row.
    pub fn read_floats(
        &self,
        (place, rows): (usize, usize),
        wanted: &Rows<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<f64>,
    ) -> Result<bool, Error> {
        Error::bound("rows of a series", rows, ROWS_MAX)?;
        let entry = self.series.get(place);
        let entry = entry.ok_or(Error::invalid("a place in a value page", place as u64))?;
        let parts = [&entry.histograms, &entry.starts, &entry.folds];
        if parts.iter().any(|part| !part.is_empty()) {
            return Ok(false);
        }
        let (start, end) = (wanted.start(), wanted.end());
        Error::bound("a row of a series", end, rows)?;
        if end == 0 {
            return Ok(true);
        }
        let Scratch { path, errors } = scratch;
        if let Some((source, PathHeader::Own(predictor, _))) = self
            .owner(place, entry)
            .and_then(|source| Some((source, source.header.path?)))
        {
            // The first row is not in a path.
            let steps = start.saturating_sub(1)..end - 1;
            self.restore(predictor, &source.path, (steps, rows - 1), path)?;
        }
        if let Some((predictor, _)) = entry.header.errors {
            self.restore(predictor, &entry.errors, (start..end, rows), errors)?;
        }
        let (shape, before) = (entry.header.shape, out.len());
        let exceptions = self.part(&entry.exceptions);
        match wanted {
            Rows::Run(run) => {
                some_rows::rebuild_run(shape, path, errors, run.clone(), out)?;
                let values = out.get_mut(before..).unwrap_or_default();
                exceptions::apply_run(exceptions, (run.clone(), rows), values)?;
            }
            Rows::Some(some) => {
                let each = some.iter().map(|row| *row as usize);
                some_rows::rebuild(shape, path, errors, each, out)?;
                let values = out.get_mut(before..).unwrap_or_default();
                exceptions::apply_some(exceptions, (some, rows), values)?;
            }
        }
        Ok(true)
    }

    /// Restores some of the numbers of a path that has so many in all, at their places in `out`.
    fn restore(
        &self,
        predictor: Predictor,
        bytes: &Range<usize>,
        (wanted, all): (Range<usize>, usize),
        out: &mut Vec<i64>,
    ) -> Result<(), Error> {
        let bytes = self.part(bytes);
        if self.is_coded {
            entropy::decode(predictor, bytes, (wanted, all), out)
        } else if wanted.end == all {
            values::restore(predictor, bytes, all, out)
        } else {
            some_rows::restore(predictor, bytes, wanted.end, out)
        }
    }

    /// The series whose path a series has.
    fn owner<'a>(&'a self, place: usize, entry: &'a Entry) -> Option<&'a Entry> {
        match entry.header.path {
            Some(PathHeader::Reference(distance)) => place
                .checked_sub(distance)
                .and_then(|at| self.series.get(at)),
            _ => Some(entry),
        }
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.raw.get(range.clone()).unwrap_or_default()
    }
}

impl Entry {
    /// Takes a header; ranges hold lengths only until they are laid out.
    fn take(input: &mut &[u8]) -> Result<Self, Error> {
        let flags = take_u8(input, WHAT)?;
        if flags & !ALL_FLAGS != 0 {
            return Err(Error::invalid(WHAT, u64::from(flags)));
        }
        let header = Header::take(flags, input)?;
        let len = |input: &mut &[u8], bit: u8| {
            if flags & bit == 0 {
                return Ok(0);
            }
            take_len(input, WHAT, RAW_MAX)
        };
        let histograms = len(input, HAS_HISTOGRAMS)?;
        let starts = len(input, HAS_STARTS)?;
        let folds = len(input, HAS_FOLDS)?;
        let path = match header.path {
            Some(PathHeader::Own(_, len)) => len,
            _ => 0,
        };
        Ok(Self {
            exceptions: 0..header.exceptions_len,
            path: 0..path,
            errors: 0..header.errors.map_or(0, |(_, len)| len),
            histograms: 0..histograms,
            starts: 0..starts,
            folds: 0..folds,
            header,
        })
    }

    /// Moves the parts behind one another, from `at` on.
    fn lay_out(&mut self, at: &mut usize) {
        place(at, &mut self.exceptions);
        place(at, &mut self.path);
        place(at, &mut self.errors);
        self.lay_out_others(at);
    }

    /// The same in a coded page, which has the streams for themselves.
    fn lay_out_coded(&mut self, at: &mut usize, stream_at: &mut usize) {
        place(at, &mut self.exceptions);
        place(stream_at, &mut self.path);
        place(stream_at, &mut self.errors);
        self.lay_out_others(at);
    }

    fn lay_out_others(&mut self, at: &mut usize) {
        place(at, &mut self.histograms);
        place(at, &mut self.starts);
        place(at, &mut self.folds);
    }
}

/// Moves a part, of which only the length is known, to `at`.
fn place(at: &mut usize, part: &mut Range<usize>) {
    // Lengths saturate rather than wrap: the sum is compared with the page's end.
    let end = at.saturating_add(part.end);
    *part = *at..end;
    *at = end;
}
