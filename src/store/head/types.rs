//! What goes into a head: ids of registered series and batches of samples for them.

use crate::model::{Exemplar, Fingerprint, LabelSet, Metadata, TenantId, TimestampMs, Value};

/// A series registered in this process: eight bytes, opaque. An id whose series has been
/// forgotten since is recognised, never taken for another series.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesId {
    /// Which place in the shard.
    pub(super) slot: u32,
    /// How often that place had been given away before, in the upper 26 bits; the shard in the
    /// lower 6.
    pub(super) tag: u32,
}

/// Bits of [`SeriesId`]'s tag that name the shard.
const SHARD_BITS: u32 = 6;

/// The most shards that a head can have. The last number that the bits can name is nobody's: ids
/// with it are never of a head.
pub(super) const SHARDS_MAX: usize = FOREIGN_SHARD as usize;

/// The shard of ids that some other registry gave away.
const FOREIGN_SHARD: u32 = (1 << SHARD_BITS) - 1;

/// Generations have the bits above the shard.
const GENERATION_MASK: u32 = (1 << (32 - SHARD_BITS)) - 1;

impl SeriesId {
    /// An id for doubles of a store, in tests and benches: equal numbers, equal ids.
    #[must_use]
    pub const fn of_double(number: u32) -> Self {
        Self::new(0, number, 0)
    }

    /// An id of a registry above the store, with its own numbers (26 bits of `generation` count).
    /// To every head it is the id of a series that has been forgotten.
    #[must_use]
    pub const fn foreign(slot: u32, generation: u32) -> Self {
        Self {
            slot,
            tag: ((generation & GENERATION_MASK) << SHARD_BITS) | FOREIGN_SHARD,
        }
    }

    /// The numbers of an id that [`SeriesId::foreign`] made.
    #[must_use]
    pub const fn as_foreign(self) -> Option<(u32, u32)> {
        if self.tag & FOREIGN_SHARD == FOREIGN_SHARD {
            Some((self.slot, self.tag >> SHARD_BITS))
        } else {
            None
        }
    }

    pub(super) const fn new(shard: u8, slot: u32, generation: u32) -> Self {
        Self {
            slot,
            tag: (generation << SHARD_BITS) | (shard as u32 & ((1 << SHARD_BITS) - 1)),
        }
    }

    /// The shard it lives in.
    pub(super) const fn shard(self) -> usize {
        (self.tag & FOREIGN_SHARD) as usize
    }

    /// The bits that must equal those of the place's present owner.
    pub(super) const fn generation(self) -> u32 {
        self.tag >> SHARD_BITS
    }
}

/// A float sample without a start timestamp: nearly all there is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FloatSample {
    /// Of which series.
    pub series: SeriesId,
    /// When.
    pub at: TimestampMs,
    /// The value, stale markers included.
    pub value: f64,
}

/// Any other sample: a histogram, or a float with a start timestamp.
#[derive(Clone, Debug)]
pub struct OtherSample {
    /// Of which series.
    pub series: SeriesId,
    /// When.
    pub at: TimestampMs,
    /// The value.
    pub value: Value,
    /// Since when the series counts (0: not said).
    pub start: TimestampMs,
}

/// What one request brings. Every timestamp is accepted, in any order.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendBatch<'a> {
    /// Float samples.
    pub floats: &'a [FloatSample],
    /// Samples of other kinds.
    pub others: &'a [OtherSample],
    /// Metadata of metric families.
    pub metadata: &'a [(TenantId, String, Metadata)],
    /// Exemplars of registered series.
    pub exemplars: &'a [(SeriesId, Exemplar)],
}

/// What became of a batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Appended {
    /// The log position that must be durable before the batch is acknowledged.
    pub position: u64,
    /// Positions in `floats` whose series has been forgotten: register it again and append those
    /// samples once more. The rest of the batch is in.
    pub stale_floats: Vec<u32>,
    /// The same for `others`.
    pub stale_others: Vec<u32>,
    /// The same for `exemplars`.
    pub stale_exemplars: Vec<u32>,
}

/// A series that a view found.
#[derive(Clone, Debug)]
pub struct HeadSeries {
    /// Its id.
    pub id: SeriesId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its labels.
    pub labels: LabelSet,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    pub(super) local: u32,
    pub(super) target: u32,
}
