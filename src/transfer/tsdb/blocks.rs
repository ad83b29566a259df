//! A data directory, a snapshot or a single block of Prometheus as a history: blocks in the order of
//! time, of each block one UTC day after the other, of each day the series in their order.
//!
//! A day at a time, since that is how late samples become blocks on the other side: they arrive
//! together. Memory: one block's symbols, and one series' samples of a day.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::Error;
use super::super::history::{History, Item, Piece, Position};
use super::chunks::Chunks;
use super::index::{Entry, Index};
use super::tombstones::Tombstones;
use crate::model::{LabelSet, Matcher, Samples, TimeRange, TimestampMs};

/// How long a slice is.
const SLICE_MS: i64 = 86_400_000;

/// A block that is there.
#[derive(Clone, Debug)]
pub struct BlockPlace {
    /// Its name, a ULID.
    pub name: String,
    /// What times its samples have.
    pub range: TimeRange,
    /// How many samples it says it has.
    pub samples: u64,
    folder: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    ulid: String,
    version: u32,
    min_time: i64,
    max_time: i64,
    #[serde(default)]
    stats: Stats,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(default)]
    num_samples: u64,
}

/// The blocks in a directory (or the directory itself, when it is one) that touch a range, oldest
/// first.
///
/// # Errors
/// When there are none at all, or one cannot be read.
pub fn find_blocks(folder: &Path, range: TimeRange) -> Result<Vec<BlockPlace>, Error> {
    let mut found = Vec::new();
    let mut any = false;
    let here = std::iter::once(folder.to_owned());
    let entries = std::fs::read_dir(folder).map_err(Error::reading(folder))?;
    let below = entries.filter_map(|entry| Some(entry.ok()?.path()));
    for folder in here.chain(below) {
        let meta = folder.join("meta.json");
        // Blocks that are being written or deleted have other endings.
        if folder.extension().is_some() || !meta.is_file() {
            continue;
        }
        let bytes = std::fs::read(&meta).map_err(Error::reading(&meta))?;
        let read: Meta = serde_json::from_slice(&bytes)
            .map_err(|error| Error::malformed(meta.display().to_string(), error.to_string()))?;
        if read.version != 1 {
            let problem = format!("a block of version {}, only 1 is read", read.version);
            return Err(Error::malformed(meta.display().to_string(), problem));
        }
        any = true;
        // The end of a block is exclusive.
        let of_block = TimeRange::new(
            TimestampMs(read.min_time),
            TimestampMs(read.max_time.saturating_sub(1)),
        );
        if of_block.overlaps(range) {
            found.push(BlockPlace {
                name: read.ulid,
                range: of_block,
                samples: read.stats.num_samples,
                folder,
            });
        }
    }
    if !any {
        let problem = "there is no block (a folder with meta.json, index and chunks): give Prometheus' data \
             directory or a snapshot; what is newer than its blocks lies in its head, of which a \
             snapshot (admin/tsdb/snapshot) makes a block";
        return Err(Error::malformed(folder.display().to_string(), problem));
    }
    found.sort_by(|one, two| {
        let key = |block: &BlockPlace| (block.range.start, block.name.clone());
        key(one).cmp(&key(two))
    });
    Ok(found)
}

/// What of the blocks is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Samples of these times.
    pub range: TimeRange,
    /// Series that all of these match.
    pub matchers: Vec<Matcher>,
}

impl Wanted {
    /// Whether a series is wanted.
    #[must_use]
    pub fn has(&self, labels: &LabelSet) -> bool {
        self.matchers
            .iter()
            .all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
    }
}

/// Reads blocks.
pub struct BlockHistory {
    blocks: Vec<BlockPlace>,
    wanted: Wanted,
    /// Which block.
    at: usize,
    open: Option<OpenBlock>,
    position: Position,
    done: u64,
}

/// The block that is being read.
struct OpenBlock {
    index: Index,
    chunks: Chunks,
    tombstones: Tombstones,
    slices: Vec<TimeRange>,
    cursor: super::index::Cursor,
}

impl BlockHistory {
    /// Reads blocks from a position on: `find_blocks` gave them.
    #[must_use]
    pub fn new(blocks: Vec<BlockPlace>, wanted: Wanted, from: Position) -> Self {
        // A block that is gone was merged into others meanwhile: all is read again.
        let at = blocks.iter().position(|block| block.name == from.part);
        let position = if at.is_some() {
            from
        } else {
            Position::default()
        };
        let at = at.unwrap_or(0);
        let done = blocks.iter().take(at).map(|block| block.samples).sum();
        Self {
            blocks,
            wanted,
            at,
            open: None,
            position,
            done,
        }
    }

    fn open(&mut self, block: &BlockPlace) -> Result<OpenBlock, Error> {
        let index = Index::open(&block.folder.join("index"))?;
        let range = block.range.intersect(self.wanted.range);
        if self.position.part != block.name {
            self.position = Position {
                part: block.name.clone(),
                ..Position::default()
            };
        }
        let cursor = index.cursor();
        Ok(OpenBlock {
            chunks: Chunks::open(&block.folder.join("chunks"))?,
            tombstones: Tombstones::open(&block.folder.join("tombstones"))?,
            slices: slices(range),
            cursor,
            index,
        })
    }

    /// The next series of the open block that has samples in the slice; `None` at the block's end.
    fn next_of(&mut self, open: &mut OpenBlock) -> Result<Option<Piece>, Error> {
        loop {
            let slice = usize::try_from(self.position.slice).unwrap_or(usize::MAX);
            let Some(slice) = open.slices.get(slice).copied() else {
                return Ok(None);
            };
            let Some(entry) = open.cursor.next(&open.index)? else {
                self.position.slice += 1;
                self.position.at = 0;
                open.cursor = open.index.cursor();
                continue;
            };
            if entry.id <= self.position.at {
                continue;
            }
            self.position.at = entry.id;
            if !self.wanted.has(&entry.labels) {
                continue;
            }
            let samples = read_samples(open, &entry, slice)?;
            self.done += samples.len() as u64;
            if !samples.is_empty() {
                return Ok(Some(Piece {
                    labels: entry.labels,
                    samples,
                }));
            }
        }
    }
}

/// A range cut at the borders of UTC days.
fn slices(range: TimeRange) -> Vec<TimeRange> {
    let mut slices = Vec::new();
    let mut start = range.start.0;
    while start <= range.end.0 {
        let next = (start.div_euclid(SLICE_MS) + 1).saturating_mul(SLICE_MS);
        let end = (next - 1).min(range.end.0);
        slices.push(TimeRange::new(TimestampMs(start), TimestampMs(end)));
        start = next;
    }
    slices
}

fn read_samples(open: &OpenBlock, entry: &Entry, slice: TimeRange) -> Result<Samples, Error> {
    let mut samples = Samples::default();
    for chunk in &entry.chunks {
        let range = TimeRange::new(TimestampMs(chunk.first), TimestampMs(chunk.last));
        if range.overlaps(slice) {
            open.chunks.read(chunk.at, &mut samples)?;
        }
    }
    samples.clip(slice);
    Ok(open.tombstones.apply(entry.id, samples))
}

impl History for BlockHistory {
    fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            let Some(block) = self.blocks.get(self.at).cloned() else {
                return Ok(None);
            };
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.open(&block)?,
            };
            if let Some(piece) = self.next_of(&mut open)? {
                self.open = Some(open);
                return Ok(Some(Item::Piece(piece)));
            }
            self.at += 1;
        }
    }

    fn position(&self) -> Position {
        self.position.clone()
    }

    fn done(&self) -> u64 {
        self.done
    }

    fn total(&self) -> Option<u64> {
        Some(self.blocks.iter().map(|block| block.samples).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_end_with_the_days() {
        let day = SLICE_MS;
        let check = |start: i64, end: i64, want: &[(i64, i64)]| {
            let range = TimeRange::new(TimestampMs(start), TimestampMs(end));
            let got: Vec<(i64, i64)> = slices(range)
                .iter()
                .map(|slice| (slice.start.0, slice.end.0))
                .collect();
            assert_eq!(got, want);
        };
        check(5, 7, &[(5, 7)]);
        check(-1, 0, &[(-1, -1), (0, 0)]);
        check(
            5,
            2 * day,
            &[(5, day - 1), (day, 2 * day - 1), (2 * day, 2 * day)],
        );
        check(7, 5, &[]);
    }
}
