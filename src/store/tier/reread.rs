//! Any bytes read as if they were a block's object: for tests of what bad bytes can do.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::metrics::TierMetrics;
use super::reading::Reading;
use super::remote::{Fetching, Piece, Remote, RemoteBlock};
use super::rounds::in_rounds;
use super::whole::{Tier, TierParts};
use crate::model::{BlockEntry, BlockId, Digest, Level, RingArc, TimeRange, Uploaded};
use crate::runtime::CancelToken;
use crate::store::engine::{SstTable, Table, for_each};
use crate::store::error::Error;

/// One object in memory.
struct InMemory(Bytes);

impl Remote for InMemory {
    fn fetch(&self, pieces: Vec<Piece>, _: &CancelToken) -> Box<dyn Fetching> {
        Box::new(Pieces {
            object: self.0.clone(),
            pieces: pieces.into_iter().enumerate().collect(),
        })
    }

    fn describe(&self, _: &RemoteBlock) -> String {
        "an object in memory".to_owned()
    }
}

struct Pieces {
    object: Bytes,
    pieces: Vec<(usize, Piece)>,
}

impl Fetching for Pieces {
    fn next(&mut self) -> Option<(usize, Result<Bytes, Error>)> {
        let (at, piece) = self.pieces.pop()?;
        let from = usize::try_from(piece.range.start).ok()?;
        let to = usize::try_from(piece.range.end)
            .ok()?
            .min(self.object.len());
        let bytes = (from <= to).then(|| self.object.slice(from..to));
        Some((at, Ok(bytes.unwrap_or_default())))
    }
}

/// Reads an object by ranges and as a whole. Says whether both gave the same pairs, or one of them
/// an error. No bytes may do harm.
#[must_use]
pub fn reread_object(bytes: &[u8]) -> bool {
    let whole = SstTable::open(Box::new(bytes.to_vec())).and_then(|table| all(&table));
    let ranges = by_ranges(Bytes::copy_from_slice(bytes));
    match (whole, ranges) {
        (Ok(whole), Ok(ranges)) => whole == ranges,
        _ => true,
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn all(table: &dyn Table) -> Result<Pairs, Error> {
    let mut pairs = Pairs::new();
    for_each(
        |after| table.scan(&[], after),
        |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok(())
        },
    )?;
    Ok(pairs)
}

fn by_ranges(bytes: Bytes) -> Result<Pairs, Error> {
    let entry = BlockEntry {
        id: BlockId(1),
        range: TimeRange::ALL,
        level: Level(0),
        round: 1,
        size: bytes.len() as u64,
        samples: 0,
        content_sum: 0,
        digest: Digest([0; 32]),
        uploaded: Uploaded::Object,
    };
    let parts = TierParts {
        remote: Arc::new(InMemory(bytes)),
        cache_bytes_max: 0,
        free_min: 0,
        index_bytes_max: 1 << 20,
        metrics: TierMetrics::default(),
    };
    let tier = Tier::open(parts, Path::new("no cache"))?;
    let Some(arc) = RingArc::new(0, 0) else {
        return Err(Error::Bug("there is no whole ring".to_owned()));
    };
    let block = Arc::new(RemoteBlock { arc, entry });
    let reading = Reading::background();
    let mut found = Ok(Pairs::new());
    in_rounds(
        &reading,
        &[block],
        |block| block.entry.id,
        |block| all(&tier.table(&reading, block)?),
        |_, pairs| {
            found = pairs;
            Ok::<(), Error>(())
        },
    )?;
    found
}
