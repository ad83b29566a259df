//! Writes value pages.

use std::collections::BTreeMap;

use super::{
    Columns, Density, HAS_FOLDS, HAS_HISTOGRAMS, HAS_STARTS, RAW_MAX, RAW_TARGET, SERIES_MAX,
};
use crate::codec::values::{self, Column, Path, PathPlace};
use crate::codec::varint::put_len;
use crate::codec::version::{PAGE_CODED, PAGE_VARINT};
use crate::codec::{Error, ROWS_MAX, entropy, folds, frame, histogram_column, residuals, starts};

/// Collects the series of a page.
#[derive(Debug)]
pub struct Builder {
    varints: Draft,
    /// Of a page that may be coded.
    coded: Option<Draft>,
    series: usize,
    /// Places of the paths that are stored, to find equal ones.
    paths: BTreeMap<u64, Vec<(usize, Path)>>,
}

/// A page in one of its encodings.
#[derive(Debug, Default)]
struct Draft {
    headers: Vec<u8>,
    /// What is compressed behind the headers.
    parts: Vec<u8>,
    /// What is not, since it is as short as it gets.
    streams: Vec<u8>,
}

/// What a series has beside its floats.
struct Others {
    histograms: Vec<u8>,
    starts: Vec<u8>,
    folds: Vec<u8>,
}

impl Builder {
    /// A page without series.
    #[must_use]
    pub fn new(density: Density) -> Self {
        Self {
            varints: Draft::default(),
            coded: (density == Density::Dense).then(Draft::default),
            series: 0,
            paths: BTreeMap::new(),
        }
    }

    fn density(&self) -> Density {
        match self.coded {
            None => Density::Quick,
            Some(_) => Density::Dense,
        }
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
        self.series >= SERIES_MAX || self.varints.bytes() >= RAW_TARGET
    }

    /// Adds a series and returns its place in the page.
    ///
    /// # Errors
    /// When the page is full, or the series has more than [`ROWS_MAX`] rows or more histogram
    /// numbers than a page holds. The page is as it was then.
    pub fn push(&mut self, columns: Columns<'_>) -> Result<usize, Error> {
        Error::bound("rows of a series", columns.values.len(), ROWS_MAX)?;
        Error::bound("series of a page", self.series + 1, SERIES_MAX)?;
        let others = Others::of(columns)?;
        let column = values::transform(columns.values);
        let raw = self.varints.bytes() + others.bytes() + 21 * columns.values.len();
        if self.series > 0 {
            // The first series of a page fits by the bounds above.
            Error::bound("bytes of a page", raw, RAW_MAX)?;
        }
        let (reference, path) = self.place_path(&column);
        let errors = column.errors.as_ref().map(varints).unwrap_or_default();
        let place = reference.unwrap_or(PathPlace::Own(path.len()));
        let draft = &mut self.varints;
        draft.put_header(&column, (place, errors.len()), &others);
        for bytes in [&column.exceptions, &path, &errors] {
            draft.parts.extend_from_slice(bytes);
        }
        draft.put_others(&others);
        if let Some(draft) = &mut self.coded {
            let start = draft.streams.len();
            if let (None, Some(path)) = (reference, &column.path) {
                entropy::encode(path, &mut draft.streams);
            }
            let path = draft.streams.len() - start;
            if let Some(errors) = &column.errors {
                entropy::encode(errors, &mut draft.streams);
            }
            let errors = draft.streams.len() - start - path;
            let place = reference.unwrap_or(PathPlace::Own(path));
            draft.put_header(&column, (place, errors), &others);
            draft.parts.extend_from_slice(&column.exceptions);
            draft.put_others(&others);
        }
        self.series += 1;
        Ok(self.series - 1)
    }

    /// Finds the column's path in the page, or encodes it.
    fn place_path(&mut self, column: &Column) -> (Option<PathPlace>, Vec<u8>) {
        let Some(path) = &column.path else {
            return (None, Vec::new());
        };
        let bytes = varints(path);
        let same_hash = self
            .paths
            .entry(xxhash_rust::xxh3::xxh3_64(&bytes))
            .or_default();
        if let Some((place, _)) = same_hash.iter().find(|(_, other)| other == path) {
            let distance = self.series - place;
            return (Some(PathPlace::Reference(distance)), Vec::new());
        }
        same_hash.push((self.series, path.clone()));
        (None, bytes)
    }

    /// Appends the page and begins a new one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let mut best = self.varints.written(PAGE_VARINT, self.series);
        if let Some(coded) = self.coded() {
            best = if coded.len() < best.len() {
                coded
            } else {
                best
            };
        }
        let start = out.len();
        out.append(&mut best);
        frame::seal(out, start);
        *self = Self::new(self.density());
    }

    /// The coded page without its checksum, of a builder of dense ones.
    pub(super) fn coded(&self) -> Option<Vec<u8>> {
        let draft = self.coded.as_ref();
        draft.map(|draft| draft.written(PAGE_CODED, self.series))
    }
}

fn varints(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    residuals::encode(&path.residuals, &mut bytes);
    bytes
}

impl Draft {
    /// How many bytes it has before they are compressed.
    fn bytes(&self) -> usize {
        self.headers.len() + self.parts.len()
    }

    fn put_header(&mut self, column: &Column, (path, errors): (PathPlace, usize), others: &Others) {
        let flag = |bytes: &[u8], bit: u8| if bytes.is_empty() { 0 } else { bit };
        self.headers.push(
            column.flags(path)
                | flag(&others.histograms, HAS_HISTOGRAMS)
                | flag(&others.starts, HAS_STARTS)
                | flag(&others.folds, HAS_FOLDS),
        );
        column.put_header(&mut self.headers, path, errors);
        for bytes in [&others.histograms, &others.starts, &others.folds] {
            if !bytes.is_empty() {
                put_len(&mut self.headers, bytes.len());
            }
        }
    }

    fn put_others(&mut self, others: &Others) {
        for bytes in [&others.histograms, &others.starts, &others.folds] {
            self.parts.extend_from_slice(bytes);
        }
    }

    /// The page without its checksum.
    fn written(&self, encoding: u8, series: usize) -> Vec<u8> {
        let mut out = vec![encoding];
        put_len(&mut out, series);
        let raw = [&self.headers[..], &self.parts[..]].concat();
        if encoding == PAGE_VARINT {
            frame::compress(&raw, &mut out);
            return out;
        }
        let mut packed = Vec::new();
        frame::compress(&raw, &mut packed);
        put_len(&mut out, packed.len());
        out.append(&mut packed);
        out.extend_from_slice(&self.streams);
        out
    }
}

impl Others {
    fn of(columns: Columns<'_>) -> Result<Self, Error> {
        let mut others = Self {
            histograms: Vec::new(),
            starts: Vec::new(),
            folds: Vec::new(),
        };
        if !columns.histograms.is_empty() {
            histogram_column::encode(columns.histograms, &mut others.histograms)?;
        }
        if columns.starts.iter().any(|start| *start != 0) {
            let mut all = columns.starts.to_vec();
            all.resize(columns.values.len(), 0);
            starts::encode(&all, &mut others.starts);
        }
        if !columns.folds.is_empty() {
            folds::encode(columns.values, columns.folds, &mut others.folds);
        }
        Ok(others)
    }

    fn bytes(&self) -> usize {
        self.histograms.len() + self.starts.len() + self.folds.len()
    }
}
