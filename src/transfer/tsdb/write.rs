//! Writes blocks of Prometheus, one a UTC day.
//!
//! Pieces come day after day; within a day series come in any order, the pieces of one series in the
//! order of time. Chunks go to disk at once; what is kept until the day's end is each series' labels
//! and where its chunks lie, as the index has it: some 800 bytes for a series that has a sample every
//! 15 seconds. A block is written beside and gets its name when it is whole; the name follows from
//! what is in it, so that the same history written twice is one block.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::super::Error;
use super::super::history::Piece;
use super::super::sink::{Left, Sink};
use super::chunks::{SEGMENT_HEAD, segment_name};
use super::index_out::{Indexed, write_index};
use crate::codec::crc32c;
use crate::codec::prometheus::{Chunk, chunks};
use crate::codec::varint::{put_i64, put_u64};
use crate::model::{LabelSet, Samples, TimeRange, TimestampMs};

const DAY_MS: i64 = 86_400_000;
/// Bytes of a segment file at most, as Prometheus has them.
const SEGMENT_BYTES_MAX: u64 = 512 << 20;

/// Writes blocks below a folder.
pub struct BlockSink {
    folder: PathBuf,
    open: Option<OpenDay>,
    written: Vec<String>,
}

struct OpenDay {
    day: i64,
    folder: PathBuf,
    series: BTreeMap<LabelSet, Indexed>,
    segment: BufWriter<File>,
    /// Number of the segment, from 0, and bytes in it.
    at: (u64, u64),
    samples: u64,
    chunks: u64,
    /// First and last timestamp.
    range: (i64, i64),
    hash: Xxh3,
}

impl BlockSink {
    /// Writes into a folder, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::writing(folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            open: None,
            written: Vec::new(),
        })
    }

    /// The names of the blocks that are whole.
    #[must_use]
    pub fn written(&self) -> &[String] {
        &self.written
    }

    /// Ends the block that is being written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_day(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.take().filter(|open| !open.series.is_empty()) else {
            return Ok(());
        };
        let name = open.finish(&self.folder)?;
        self.written.push(name);
        Ok(())
    }
}

impl Sink for BlockSink {
    fn put(&mut self, piece: &Piece) -> Result<(), Error> {
        let mut from = 0;
        while let Some(first) = piece.samples.timestamps.get(from) {
            let day = first.div_euclid(DAY_MS);
            if self.open.as_ref().is_some_and(|open| open.day != day) {
                self.end_day()?;
            }
            let open = match &mut self.open {
                Some(open) => open,
                closed => closed.insert(OpenDay::begin(&self.folder, day)?),
            };
            let later = piece.samples.timestamps.get(from..).unwrap_or_default();
            let inside = later.partition_point(|at| at.div_euclid(DAY_MS) == day);
            if inside == piece.samples.len() {
                open.add(&piece.labels, &piece.samples)?;
            } else {
                let mut samples = piece.samples.clone();
                let first = TimestampMs(day * DAY_MS);
                samples.clip(TimeRange::new(first, first.plus_ms(DAY_MS - 1)));
                open.add(&piece.labels, &samples)?;
            }
            from += inside;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Left, Error> {
        self.end_day()?;
        Ok(Left::default())
    }
}

impl OpenDay {
    fn begin(below: &Path, day: i64) -> Result<Self, Error> {
        // Prometheus deletes folders of this ending at its start, should one be left.
        let folder = below.join(format!("cairn-{day}.tmp-for-creation"));
        let chunks = folder.join("chunks");
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(Error::writing(&folder))?;
        }
        fs::create_dir_all(&chunks).map_err(Error::writing(&chunks))?;
        Ok(Self {
            day,
            segment: begin_segment(&chunks, 0)?,
            folder,
            series: BTreeMap::new(),
            at: (0, SEGMENT_HEAD.len() as u64),
            samples: 0,
            chunks: 0,
            range: (i64::MAX, i64::MIN),
            hash: Xxh3::new(),
        })
    }

    fn add(&mut self, labels: &LabelSet, samples: &Samples) -> Result<(), Error> {
        for chunk in chunks(samples) {
            self.put_chunk(labels, &chunk)?;
        }
        self.samples += samples.len() as u64;
        Ok(())
    }

    fn put_chunk(&mut self, labels: &LabelSet, chunk: &Chunk) -> Result<(), Error> {
        let Chunk {
            kind,
            first,
            last,
            bytes,
        } = chunk;
        let mut whole = Vec::with_capacity(bytes.len() + 10);
        put_u64(&mut whole, bytes.len() as u64);
        let body_at = whole.len();
        whole.push(u8::try_from(kind.number()).unwrap_or(u8::MAX));
        whole.extend_from_slice(bytes);
        let sum = crc32c(0, whole.get(body_at..).unwrap_or_default());
        whole.extend_from_slice(&sum.to_be_bytes());
        let folder = self.folder.join("chunks");
        if self.at.1 + whole.len() as u64 > SEGMENT_BYTES_MAX {
            end_file(&mut self.segment, &folder)?;
            self.at = (self.at.0 + 1, SEGMENT_HEAD.len() as u64);
            self.segment = begin_segment(&folder, self.at.0)?;
        }
        self.segment
            .write_all(&whole)
            .map_err(Error::writing(&folder))?;
        let at = self.at.0 << 32 | self.at.1;
        self.at.1 += whole.len() as u64;
        self.chunks += 1;
        self.range = (self.range.0.min(*first), self.range.1.max(*last));
        self.hash.update(bytes);
        let series = match self.series.get_mut(labels) {
            Some(series) => series,
            None => self.series.entry(labels.clone()).or_default(),
        };
        series
            .add(*first, *last, at)
            .map_err(|problem| Error::malformed(format!("series {labels}"), problem))
    }

    fn finish(mut self, below: &Path) -> Result<String, Error> {
        end_file(&mut self.segment, &self.folder.join("chunks"))?;
        for labels in self.series.keys() {
            self.hash.update(labels.to_string().as_bytes());
        }
        let name = ulid(self.range.0, self.hash.digest128());
        let index = self.folder.join("index");
        let file = File::create(&index).map_err(Error::writing(&index))?;
        let mut out = BufWriter::new(file);
        write_index(&mut out, &self.series).map_err(Error::writing(&index))?;
        end_file(&mut out, &index)?;
        let meta = serde_json::json!({
            "ulid": name, "minTime": self.range.0, "maxTime": self.range.1 + 1,
            "stats": {
                "numSamples": self.samples, "numSeries": self.series.len(),
                "numChunks": self.chunks,
            },
            "compaction": {"level": 1, "sources": [name]}, "version": 1,
        });
        let path = self.folder.join("meta.json");
        let text = serde_json::to_vec_pretty(&meta).unwrap_or_default();
        let mut out = BufWriter::new(File::create(&path).map_err(Error::writing(&path))?);
        out.write_all(&text).map_err(Error::writing(&path))?;
        end_file(&mut out, &path)?;
        let place = below.join(&name);
        if place.exists() {
            fs::remove_dir_all(&self.folder).map_err(Error::writing(&self.folder))?;
        } else {
            fs::rename(&self.folder, &place).map_err(Error::writing(&place))?;
        }
        Ok(name)
    }
}

fn begin_segment(folder: &Path, number: u64) -> Result<BufWriter<File>, Error> {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let path = folder.join(segment_name(number.saturating_add(1)));
    let file = File::create(&path).map_err(Error::writing(&path))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&SEGMENT_HEAD)
        .map_err(Error::writing(&path))?;
    Ok(out)
}

/// Everything that was written is on the disk.
fn end_file(out: &mut BufWriter<File>, path: &Path) -> Result<(), Error> {
    out.flush()
        .and_then(|()| out.get_ref().sync_all())
        .map_err(Error::writing(path))
}

/// A ULID: 48 bits of time and 80 that follow from the content, in Crockford's base 32.
fn ulid(first_ms: i64, hash: u128) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let time = u128::from(first_ms.max(0).cast_unsigned()) & ((1 << 48) - 1);
    let number = time << 80 | hash & ((1 << 80) - 1);
    (0..26)
        .rev()
        .map(|place| {
            let digit = usize::try_from(number >> (5 * place) & 31).unwrap_or(0);
            DIGITS.get(digit).copied().map_or('0', char::from)
        })
        .collect()
}

impl Indexed {
    /// Adds a chunk behind the ones that are there.
    fn add(&mut self, first: i64, last: i64, at: u64) -> Result<(), &'static str> {
        match self.last {
            None => put_i64(&mut self.chunks, first),
            Some((before, _)) if first <= before => {
                return Err("its samples do not come in the order of time");
            }
            Some((before, _)) => put_u64(&mut self.chunks, first.abs_diff(before)),
        }
        put_u64(&mut self.chunks, last.abs_diff(first));
        match self.last {
            None => put_u64(&mut self.chunks, at),
            Some((_, before)) => {
                put_i64(&mut self.chunks, at.wrapping_sub(before).cast_signed());
            }
        }
        self.last = Some((last, at));
        self.count += 1;
        Ok(())
    }
}
