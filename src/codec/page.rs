//! A value page: the values of up to [`SERIES_MAX`] neighbouring series of one scrape target.
//!
//! Timestamps are not in it (`timestamps.rs` has them, once for many series), nor how many rows a
//! series has: the series' entry says both. A series whose path is that of an earlier one of the
//! page, in any size and place, stores none of its own.
//!
//! ```text
//! u8      encoding: 1
//! varint  series
//! the rest compressed:
//!     of each series: u8 flags (bits 0-3: `values.rs`; bit 4: histograms, bit 5: starts, bit 6: folds),
//!                     the column's header, varint bytes of histograms, of starts, of folds
//!     of each series: exceptions, path, errors, histograms, starts, folds
//! u32     checksum
//! ```
//! Reading one series decodes its own column and at most the one it refers to; a column that is
//! referred to has a path of its own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::values::{self, Column, Header, Path, PathHeader, PathPlace};
use super::varint::{put_len, take_len, take_u8};
use super::version::PAGE_VARINT;
use super::{
    Error, ROWS_MAX, exceptions, folds, frame, histogram_column, residuals, some_rows, starts,
};
use crate::model::{Fold, Histogram, Samples};

/// Series in one page. More share little, and reading one decompresses all.
pub const SERIES_MAX: usize = 64;

/// A page that holds so many bytes before compression takes no further series, so that reading
/// one series never costs much more than itself.
pub const RAW_TARGET: usize = 256 << 10;

/// Bytes of a page before compression: one series of [`ROWS_MAX`] random values fits. Decoding
/// allocates no more than this.
pub const RAW_MAX: usize = 256 << 20;

const WHAT: &str = "a value page";
const HAS_HISTOGRAMS: u8 = 1 << 4;
const HAS_STARTS: u8 = 1 << 5;
const HAS_FOLDS: u8 = 1 << 6;
const ALL_FLAGS: u8 = 0x7f;

/// The columns of one series but for the timestamps, as [`Samples`] has them.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// One for each row; any number where a histogram stands.
    pub values: &'a [f64],
    /// Histograms and their rows, rising.
    pub histograms: &'a [(u32, Arc<Histogram>)],
    /// Start timestamps (0: none); empty when no row has one, else at most as long as `values`.
    pub starts: &'a [i64],
    /// Folds and their rows, rising; empty but for what was downsampled.
    pub folds: &'a [(u32, Fold)],
}

impl<'a> From<&'a Samples> for Columns<'a> {
    fn from(samples: &'a Samples) -> Self {
        Self {
            values: &samples.values,
            histograms: &samples.histograms,
            starts: &samples.starts,
            folds: &samples.folds,
        }
    }
}

/// Collects the series of a page.
#[derive(Debug, Default)]
pub struct Builder {
    headers: Vec<u8>,
    streams: Vec<u8>,
    series: usize,
    /// Places of the paths that are stored, to find equal ones.
    paths: BTreeMap<u64, Vec<(usize, Path)>>,
}

impl Builder {
    /// A page without series.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many series are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series
    }

    /// Whether none is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// Whether it is time to finish it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.series >= SERIES_MAX || self.raw_bytes() >= RAW_TARGET
    }

    /// How many bytes it has before they are compressed.
    fn raw_bytes(&self) -> usize {
        self.headers.len() + self.streams.len()
    }

    /// Adds a series and returns its place in the page.
    ///
    /// # Errors
    /// When the page is full, or the series has more than [`ROWS_MAX`] rows or more histogram
    /// numbers than a page holds. The page is as it was then.
    pub fn push(&mut self, columns: Columns<'_>) -> Result<usize, Error> {
        Error::bound("rows of a series", columns.values.len(), ROWS_MAX)?;
        Error::bound("series of a page", self.series + 1, SERIES_MAX)?;
        let mut histogram_bytes = Vec::new();
        if !columns.histograms.is_empty() {
            histogram_column::encode(columns.histograms, &mut histogram_bytes)?;
        }
        let mut start_bytes = Vec::new();
        if columns.starts.iter().any(|start| *start != 0) {
            let mut all = columns.starts.to_vec();
            all.resize(columns.values.len(), 0);
            starts::encode(&all, &mut start_bytes);
        }
        let mut fold_bytes = Vec::new();
        if !columns.folds.is_empty() {
            folds::encode(columns.values, columns.folds, &mut fold_bytes);
        }
        let column = values::transform(columns.values);
        let extra = histogram_bytes.len() + start_bytes.len() + fold_bytes.len();
        let raw = self.raw_bytes() + extra + 21 * columns.values.len();
        if self.series > 0 {
            // The first series of a page fits by the bounds above.
            Error::bound("bytes of a page", raw, RAW_MAX)?;
        }
        let (place, path) = self.place_path(&column);
        let mut errors = Vec::new();
        if let Some(path) = &column.errors {
            residuals::encode(&path.residuals, &mut errors);
        }
        let flag = |bytes: &[u8], bit: u8| if bytes.is_empty() { 0 } else { bit };
        self.headers.push(
            column.flags(place)
                | flag(&histogram_bytes, HAS_HISTOGRAMS)
                | flag(&start_bytes, HAS_STARTS)
                | flag(&fold_bytes, HAS_FOLDS),
        );
        column.put_header(&mut self.headers, place, errors.len());
        for bytes in [&histogram_bytes, &start_bytes, &fold_bytes] {
            if !bytes.is_empty() {
                put_len(&mut self.headers, bytes.len());
            }
        }
        let parts = [
            &column.exceptions,
            &path,
            &errors,
            &histogram_bytes,
            &start_bytes,
            &fold_bytes,
        ];
        for bytes in parts {
            self.streams.extend_from_slice(bytes);
        }
        self.series += 1;
        Ok(self.series - 1)
    }

    /// Finds the column's path in the page, or encodes it.
    fn place_path(&mut self, column: &Column) -> (PathPlace, Vec<u8>) {
        let mut bytes = Vec::new();
        let Some(path) = &column.path else {
            return (PathPlace::Own(0), bytes);
        };
        residuals::encode(&path.residuals, &mut bytes);
        let same_hash = self
            .paths
            .entry(xxhash_rust::xxh3::xxh3_64(&bytes))
            .or_default();
        if let Some((place, _)) = same_hash.iter().find(|(_, other)| other == path) {
            return (PathPlace::Reference(self.series - place), Vec::new());
        }
        same_hash.push((self.series, path.clone()));
        (PathPlace::Own(bytes.len()), bytes)
    }

    /// Appends the page and begins a new one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(PAGE_VARINT);
        put_len(out, self.series);
        let raw = [
            std::mem::take(&mut self.headers),
            std::mem::take(&mut self.streams),
        ]
        .concat();
        frame::compress(&raw, out);
        frame::seal(out, start);
        *self = Self::default();
    }
}

/// A page that was opened: checked and decompressed once, read series by series.
#[derive(Debug)]
pub struct Reader {
    raw: Vec<u8>,
    series: Vec<Entry>,
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
    /// When the bytes are not what a [`Builder`] writes.
    pub fn open(bytes: &[u8]) -> Result<Self, Error> {
        Self::open_body(frame::open(bytes, WHAT)?)
    }

    /// A page without its checksum.
    pub(super) fn open_body(mut input: &[u8]) -> Result<Self, Error> {
        let input = &mut input;
        let id = take_u8(input, WHAT)?;
        if id != PAGE_VARINT {
            return Err(Error::UnknownEncoding { what: WHAT, id });
        }
        let count = take_len(input, "series of a page", SERIES_MAX)?;
        let raw = frame::decompress(input, WHAT, RAW_MAX)?;
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
        let mut at = raw.len() - rest.len();
        for entry in &mut series {
            entry.lay_out(&mut at);
        }
        if at == raw.len() {
            return Ok(Self { raw, series });
        }
        Err(Error::invalid(WHAT, at as u64))
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
            let bytes = self.part(&source.path);
            values::restore(predictor, bytes, rows.saturating_sub(1), &mut path)?;
        }
        if let Some((predictor, _)) = entry.header.errors {
            values::restore(predictor, self.part(&entry.errors), rows, &mut errors)?;
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
        let end = wanted.end();
        Error::bound("a row of a series", end, rows)?;
        if end == 0 {
            return Ok(true);
        }
        let Scratch { path, errors } = scratch;
        if let Some((source, PathHeader::Own(predictor, _))) = self
            .owner(place, entry)
            .and_then(|source| Some((source, source.header.path?)))
        {
            some_rows::restore(predictor, self.part(&source.path), end - 1, path)?;
        }
        if let Some((predictor, _)) = entry.header.errors {
            some_rows::restore(predictor, self.part(&entry.errors), end, errors)?;
        }
        let (shape, start) = (entry.header.shape, out.len());
        let exceptions = self.part(&entry.exceptions);
        match wanted {
            Rows::Run(run) => {
                some_rows::rebuild_run(shape, path, errors, run.clone(), out)?;
                let values = out.get_mut(start..).unwrap_or_default();
                exceptions::apply_run(exceptions, (run.clone(), rows), values)?;
            }
            Rows::Some(some) => {
                let each = some.iter().map(|row| *row as usize);
                some_rows::rebuild(shape, path, errors, each, out)?;
                let values = out.get_mut(start..).unwrap_or_default();
                exceptions::apply_some(exceptions, (some, rows), values)?;
            }
        }
        Ok(true)
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
        let parts = [
            &mut self.exceptions,
            &mut self.path,
            &mut self.errors,
            &mut self.histograms,
            &mut self.starts,
            &mut self.folds,
        ];
        for part in parts {
            // Lengths saturate rather than wrap: the sum is compared with the page's end.
            let end = at.saturating_add(part.end);
            *part = *at..end;
            *at = end;
        }
    }
}

#[cfg(test)]
mod tests;
