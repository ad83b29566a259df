//! Blocks as the catalog knows them.

use std::fmt;

use super::{Resolution, TimeRange};

/// What a block is called: 128 random bits drawn by its builder, the prefix of all its keys. Two
/// builders of one round never share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u128);

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A BLAKE3 digest of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What became of a block's content: how often it has been merged (the low six bits; 0 as sealed), and
/// the resolution to which all of it that is worth it has been folded (the high two bits). One byte in every
/// list of blocks, so that a resolution needs no new form of any of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Level(pub u8);

impl Level {
    const MERGES: u8 = 0x3f;

    /// How often it has been merged; after 63 times it is not counted any more.
    #[must_use]
    pub const fn merges(self) -> u8 {
        self.0 & Self::MERGES
    }

    /// At what resolution it is. A number of a later version stands for the coarsest that is known.
    #[must_use]
    pub const fn resolution(self) -> Resolution {
        match Resolution::of_code(self.0 >> 6) {
            Some(resolution) => resolution,
            None => Resolution::Hour,
        }
    }

    /// After one more merge.
    #[must_use]
    pub const fn merged(self) -> Self {
        if self.merges() == Self::MERGES {
            return self;
        }
        Self(self.0 + 1)
    }

    /// Merged as often, at a resolution.
    #[must_use]
    pub const fn at(self, resolution: Resolution) -> Self {
        Self(self.merges() | resolution.code() << 6)
    }
}

/// Where in the bucket a block lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Uploaded {
    /// Nowhere yet.
    #[default]
    None,
    /// In an object of its own.
    Object,
    /// In a pack, from an offset on.
    Pack {
        /// The pack's digest, which is its name.
        pack: Digest,
        /// The first byte of the block in it.
        offset: u64,
    },
}

/// What the catalog says of a block. `version` and `round` of its partition live beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockEntry {
    /// Its name and key prefix.
    pub id: BlockId,
    /// The times it was sealed for: a window, a UTC day, or what its inputs covered.
    pub range: TimeRange,
    /// How often it has been merged.
    pub level: Level,
    /// The round of its range in which it was sealed.
    pub round: u32,
    /// Bytes of the file.
    pub size: u64,
    /// Samples in it.
    pub samples: u64,
    /// Sum mod 2^128 of the content hashes of its samples.
    pub content_sum: u128,
    /// Digest of the file.
    pub digest: Digest,
    /// Where the bucket has it.
    pub uploaded: Uploaded,
}

#[cfg(test)]
impl BlockEntry {
    /// A test's block: sealed in the first round, and hardly anything in it.
    pub(crate) const fn of(id: u128, range: TimeRange) -> Self {
        Self {
            id: BlockId(id),
            range,
            level: Level(0),
            round: 1,
            size: 1,
            samples: 1,
            content_sum: 1,
            digest: Digest([0; 32]),
            uploaded: Uploaded::None,
        }
    }
}
