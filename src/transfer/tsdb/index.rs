//! A block's `index` file, version 2: symbols, and the series in order. Postings are not read: all
//! series are looked at anyway.
//!
//! Only the symbols are held in memory; series are read through a window of bounded size. Every
//! checksum is compared before anything is believed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::Error;
use crate::codec::crc32c;
use crate::codec::varint::{take_exact, take_i64, take_u64};
use crate::model::LabelSet;

pub(super) const INDEX_MAGIC: u32 = 0xBAAA_D700;
/// The table of contents: six offsets and a checksum.
pub(super) const CONTENTS_LEN: usize = 6 * 8 + 4;
/// Series begin at multiples of this.
pub(super) const SERIES_ALIGNMENT: u64 = 16;

/// Bytes of series that are read at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// The longest entry of a series that is believed: labels are symbols, so that this is millions of
/// chunks.
const ENTRY_BYTES_MAX: u64 = 64 << 20;
/// The most symbols and their bytes that are held: the 4 GiB that the format allows are damage, or
/// no index for a machine that this runs on.
const SYMBOLS_BYTES_MAX: u64 = 2 << 30;

/// A chunk of a series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChunkPlace {
    pub(super) first: i64,
    pub(super) last: i64,
    /// Segment in the upper half, offset in the lower.
    pub(super) at: u64,
}

/// One series of the index.
pub(super) struct Entry {
    /// What tombstones call it.
    pub(super) id: u64,
    pub(super) labels: LabelSet,
    pub(super) chunks: Vec<ChunkPlace>,
}

/// An opened index.
pub(super) struct Index {
    path: PathBuf,
    file: File,
    symbols: Symbols,
    /// Where series begin and end.
    series: (u64, u64),
}

struct Symbols {
    text: Vec<u8>,
    /// Where each ends in `text`.
    ends: Vec<u32>,
}

impl Symbols {
    fn get(&self, number: u64) -> Option<&str> {
        let number = usize::try_from(number).ok()?;
        let end = *self.ends.get(number)? as usize;
        let start = match number {
            0 => 0,
            _ => *self.ends.get(number - 1)? as usize,
        };
        std::str::from_utf8(self.text.get(start..end)?).ok()
    }
}

/// Reads a length of four bytes, so many bytes, and their checksum.
fn section(file: &File, path: &Path, at: u64, len_max: u64) -> Result<Vec<u8>, Error> {
    let mut len = [0; 4];
    file.read_exact_at(&mut len, at)
        .map_err(Error::reading(path))?;
    let len = u64::from(u32::from_be_bytes(len));
    let size = file.metadata().map_err(Error::reading(path))?.len();
    if len > len_max || at.saturating_add(8).saturating_add(len) > size {
        return Err(damaged(path, at, "a section is longer than the file"));
    }
    let mut bytes = vec![0; usize::try_from(len + 4).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, at + 4)
        .map_err(Error::reading(path))?;
    match bytes.split_last_chunk::<4>() {
        Some((covered, sum)) if crc32c(0, covered) == u32::from_be_bytes(*sum) => {
            bytes.truncate(bytes.len() - 4);
            Ok(bytes)
        }
        _ => Err(damaged(path, at, "a checksum does not match")),
    }
}

pub(super) fn damaged(path: &Path, at: u64, problem: &str) -> Error {
    Error::malformed(
        format!("{}, byte {at}", path.display()),
        format!("{problem}: the block is damaged; leave it out or take it from a backup"),
    )
}

impl Index {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::reading(path))?;
        let size = file.metadata().map_err(Error::reading(path))?.len();
        let mut head = [0; 5];
        let least = 5 + CONTENTS_LEN as u64;
        if size < least {
            return Err(damaged(path, 0, "the file is too short for an index"));
        }
        file.read_exact_at(&mut head, 0)
            .map_err(Error::reading(path))?;
        let [magic @ .., version] = head;
        if u32::from_be_bytes(magic) != INDEX_MAGIC {
            return Err(damaged(path, 0, "this is no index of Prometheus"));
        }
        if version != 2 {
            return Err(Error::malformed(
                path.display().to_string(),
                format!(
                    "an index of version {version}, only 2 is read: Prometheus 2.3 and later write it"
                ),
            ));
        }
        let [
            symbols,
            series,
            label_index,
            label_table,
            postings,
            postings_table,
        ] = contents(&file, path, size)?;
        // What is absent has the offset 0; series end where the next section begins.
        let contents_at = size - CONTENTS_LEN as u64;
        let end = [label_index, label_table, postings, postings_table]
            .into_iter()
            .filter(|at| *at > series)
            .min()
            .unwrap_or(contents_at)
            .min(contents_at);
        let symbols = read_symbols(&section(&file, path, symbols, SYMBOLS_BYTES_MAX)?)
            .ok_or_else(|| damaged(path, symbols, "the symbols cannot be read"))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            symbols,
            series: (series.next_multiple_of(SERIES_ALIGNMENT), end),
        })
    }

    /// Reads the series in their order, from the start.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            at: self.series.0,
            window: Vec::new(),
            window_at: 0,
        }
    }
}

fn contents(file: &File, path: &Path, size: u64) -> Result<[u64; 6], Error> {
    let at = size - CONTENTS_LEN as u64;
    let mut bytes = [0; CONTENTS_LEN];
    file.read_exact_at(&mut bytes, at)
        .map_err(Error::reading(path))?;
    let broken = || {
        damaged(
            path,
            at,
            "the table of contents does not match its checksum",
        )
    };
    let (covered, sum) = bytes.split_last_chunk::<4>().ok_or_else(broken)?;
    if crc32c(0, covered) != u32::from_be_bytes(*sum) {
        return Err(broken());
    }
    let mut offsets = [0; 6];
    for (offset, bytes) in offsets.iter_mut().zip(covered.as_chunks::<8>().0) {
        *offset = u64::from_be_bytes(*bytes);
    }
    Ok(offsets)
}

fn read_symbols(mut bytes: &[u8]) -> Option<Symbols> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    bytes = rest;
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..u32::from_be_bytes(*count) {
        let len = usize::try_from(take_u64(&mut bytes).ok()?).ok()?;
        text.extend_from_slice(take_exact(&mut bytes, len, "a symbol").ok()?);
        ends.push(u32::try_from(text.len()).ok()?);
    }
    Some(Symbols { text, ends })
}

/// Goes through the series of an index.
pub(super) struct Cursor {
    at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Cursor {
    /// The next series of the index that made this.
    pub(super) fn next(&mut self, index: &Index) -> Result<Option<Entry>, Error> {
        let end = index.series.1;
        while self.at < end {
            let at = self.at;
            let head = self.bytes(index, at, 10.min(end - at))?;
            // Between the last series and the next section there are zeros.
            if head.first() == Some(&0) {
                self.at += SERIES_ALIGNMENT;
                continue;
            }
            let broken = |problem| damaged(&index.path, at, problem);
            let mut input = head;
            let len = take_u64(&mut input).map_err(|_| broken("no length of a series"))?;
            let prefix = (head.len() - input.len()) as u64;
            if len > ENTRY_BYTES_MAX || at + prefix + len + 4 > end {
                return Err(broken("a series is longer than the section"));
            }
            let body = self.bytes(index, at + prefix, len + 4)?;
            let (body, sum) = body
                .split_last_chunk::<4>()
                .ok_or_else(|| broken("a series ends too early"))?;
            if crc32c(0, body) != u32::from_be_bytes(*sum) {
                return Err(broken("a series does not match its checksum"));
            }
            let (labels, chunks) = read_entry(body, &index.symbols)
                .ok_or_else(|| broken("a series cannot be read"))?;
            self.at = (at + prefix + len + 4).next_multiple_of(SERIES_ALIGNMENT);
            return Ok(Some(Entry {
                id: at / SERIES_ALIGNMENT,
                labels,
                chunks,
            }));
        }
        Ok(None)
    }

    /// So many bytes of the file, by way of the window.
    fn bytes(&mut self, index: &Index, at: u64, len: u64) -> Result<&[u8], Error> {
        let inside = at >= self.window_at && at + len <= self.window_at + self.window.len() as u64;
        if !inside {
            let wanted = len.max(WINDOW_BYTES.min(index.series.1 - at));
            self.window.resize(usize::try_from(wanted).unwrap_or(0), 0);
            self.window_at = at;
            let read = index.file.read_exact_at(&mut self.window, at);
            read.map_err(Error::reading(&index.path))?;
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(self.window.get(from..to).unwrap_or_default())
    }
}

fn read_entry(mut body: &[u8], symbols: &Symbols) -> Option<(LabelSet, Vec<ChunkPlace>)> {
    let input = &mut body;
    let mut pairs = Vec::new();
    for _ in 0..take_u64(input).ok()? {
        let name = symbols.get(take_u64(input).ok()?)?;
        pairs.push((name, symbols.get(take_u64(input).ok()?)?));
    }
    let mut chunks: Vec<ChunkPlace> = Vec::new();
    for _ in 0..take_u64(input).ok()? {
        let (first, last_len, at) = match chunks.last() {
            None => (
                take_i64(input).ok()?,
                take_u64(input).ok()?,
                take_u64(input).ok()?,
            ),
            Some(before) => (
                before.last.checked_add_unsigned(take_u64(input).ok()?)?,
                take_u64(input).ok()?,
                before.at.wrapping_add_signed(take_i64(input).ok()?),
            ),
        };
        let last = first.checked_add_unsigned(last_len)?;
        chunks.push(ChunkPlace { first, last, at });
    }
    Some((LabelSet::from_pairs(&pairs).ok()?, chunks))
}

/// Whether these are symbols and a series.
pub(super) fn parse(symbols: &[u8], entry: &[u8]) -> bool {
    read_symbols(symbols).is_some_and(|symbols| read_entry(entry, &symbols).is_some())
}
