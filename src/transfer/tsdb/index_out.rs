//! A block's `index` file, version 2, written: symbols, series, postings, and where they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::index::{INDEX_MAGIC, SERIES_ALIGNMENT};
use crate::codec::crc32c;
use crate::codec::varint::{put_bytes, put_u64};
use crate::model::LabelSet;

/// A series' chunks, as its entry has them.
#[derive(Default)]
pub(super) struct Indexed {
    pub(super) chunks: Vec<u8>,
    pub(super) count: u64,
    /// The end of the last chunk, and where it lies.
    pub(super) last: Option<(i64, u64)>,
}

/// Counts what goes through.
struct Counted<'a> {
    out: &'a mut dyn Write,
    at: u64,
}

impl Counted<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn align(&mut self, to: u64) -> io::Result<()> {
        let missing = self.at.next_multiple_of(to) - self.at;
        let zeros = [0; 16];
        let missing = usize::try_from(missing).unwrap_or(0);
        self.put(zeros.get(..missing).unwrap_or_default())
    }

    /// Length, bytes, checksum.
    fn section(&mut self, body: &[u8]) -> io::Result<()> {
        self.put(&narrow(body.len())?.to_be_bytes())?;
        self.put(body)?;
        self.put(&crc32c(0, body).to_be_bytes())
    }
}

fn narrow(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(|_| {
        io::Error::other("the index would be larger than its format allows: export fewer series")
    })
}

/// Writes the index of these series, which come in the order of their labels.
pub(super) fn write_index(
    out: &mut dyn Write,
    series: &BTreeMap<LabelSet, Indexed>,
) -> io::Result<()> {
    let mut out = Counted { out, at: 0 };
    out.put(&INDEX_MAGIC.to_be_bytes())?;
    out.put(&[2])?;
    let texts: BTreeSet<&str> = series
        .keys()
        .flat_map(|labels| labels.iter().flat_map(|(name, value)| [name, value]))
        .collect();
    let symbols: BTreeMap<&str, u64> = texts.iter().copied().zip(0..).collect();
    let symbols_at = out.at;
    let mut body = narrow(texts.len())?.to_be_bytes().to_vec();
    for text in &texts {
        put_bytes(&mut body, text.as_bytes());
    }
    out.section(&body)?;
    drop(texts);
    let series_at = out.at;
    let (all, postings) = write_series(&mut out, series, &symbols)?;
    let postings_at = out.at;
    let mut table = narrow(postings.len() + 1)?.to_be_bytes().to_vec();
    // Postings of no label are those of all series.
    write_postings(&mut out, &mut table, ("", ""), &all)?;
    for (pair, list) in &postings {
        write_postings(&mut out, &mut table, *pair, list)?;
    }
    let table_at = out.at;
    out.section(&table)?;
    // The third and fourth are indices that nobody reads any more: absent.
    let mut contents = Vec::new();
    for at in [symbols_at, series_at, 0, 0, postings_at, table_at] {
        contents.extend_from_slice(&at.to_be_bytes());
    }
    let sum = crc32c(0, &contents);
    out.put(&contents)?;
    out.put(&sum.to_be_bytes())
}

/// Series by label: their places, rising.
type Postings<'a> = BTreeMap<(&'a str, &'a str), Vec<u32>>;

fn write_series<'a>(
    out: &mut Counted<'_>,
    series: &'a BTreeMap<LabelSet, Indexed>,
    symbols: &BTreeMap<&str, u64>,
) -> io::Result<(Vec<u32>, Postings<'a>)> {
    let mut all = Vec::with_capacity(series.len());
    let mut postings = Postings::new();
    for (labels, indexed) in series {
        out.align(SERIES_ALIGNMENT)?;
        let place = u32::try_from(out.at / SERIES_ALIGNMENT)
            .map_err(|_| io::Error::other("the index would be larger than its format allows"))?;
        all.push(place);
        let mut body = Vec::new();
        put_u64(&mut body, labels.len() as u64);
        for (name, value) in labels.iter() {
            postings.entry((name, value)).or_default().push(place);
            for text in [name, value] {
                put_u64(&mut body, symbols.get(text).copied().unwrap_or(0));
            }
        }
        put_u64(&mut body, indexed.count);
        body.extend_from_slice(&indexed.chunks);
        let mut len = Vec::new();
        put_u64(&mut len, body.len() as u64);
        out.put(&len)?;
        out.put(&body)?;
        out.put(&crc32c(0, &body).to_be_bytes())?;
    }
    Ok((all, postings))
}

fn write_postings(
    out: &mut Counted<'_>,
    table: &mut Vec<u8>,
    (name, value): (&str, &str),
    list: &[u32],
) -> io::Result<()> {
    out.align(4)?;
    put_u64(table, 2);
    put_bytes(table, name.as_bytes());
    put_bytes(table, value.as_bytes());
    put_u64(table, out.at);
    let mut body = narrow(list.len())?.to_be_bytes().to_vec();
    for place in list {
        body.extend_from_slice(&place.to_be_bytes());
    }
    out.section(&body)
}
