//! Which versions this program speaks and understands, and which of them fit together.
//!
//! Peers of neighbouring minor versions of the protocol talk to each other; commands and formats
//! of a feature level are used once every node understands it. So nodes are upgraded one by one.
//!
//! A test of that needs a second program: a debug build, and none that is released, can be told to
//! be a later version ([`Build::parse`]).

use std::fmt;

use crate::codec::page::Density;
use crate::model::{TimeRange, Window};

/// The version of what peers say to each other. Peers of one major version whose minor versions
/// are neighbours understand each other, so that nodes are upgraded one by one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProtocolVersion {
    /// Raised when an older node cannot be talked to at all.
    pub major: u16,
    /// Raised with every change that a node must know of; the newer of two nodes adapts.
    pub minor: u16,
}

/// What this program speaks.
pub const PROTOCOL: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// The feature level of this program: raised with every command or block format that older
/// programs cannot read.
pub const FEATURE_LEVEL: u32 = 7;

/// From this level on partitions are split: older programs apply the command, but do not divide
/// what they hold.
pub(super) const SPLITS_FROM: u32 = 2;

/// From this level on blocks are packed: older programs read in the catalog that a block lies in a
/// pack, and do not know where packs are.
pub(super) const PACKS_FROM: u32 = 3;

/// From this level on blocks are downsampled: older programs cannot read their pages.
pub(super) const DOWNSAMPLED_FROM: u32 = 5;

/// From this level on the order of turns begins with another member in each partition: older programs wait for the
/// one that is listed first.
pub(super) const TURNED_FROM: u32 = 6;

/// From this level on copies of the catalog say of which seals they know: older programs cannot read them.
pub(super) const PASSED_FROM: u32 = 6;

/// From this level on merged blocks have dense pages, and sealed days: older programs cannot read them.
pub(super) const DENSE_FROM: u32 = 7;

/// What the pages of a block are to be that is merged at a feature level.
pub(super) const fn merged_pages(feature_level: u32) -> Density {
    match feature_level {
        0..DENSE_FROM => Density::Quick,
        DENSE_FROM.. => Density::Dense,
    }
}

/// What the pages of a block are to be that is sealed. A window is what dashboards ask for, and is merged when its day
/// is over. What comes as a day was old by then: few ask for it, and mostly nothing comes that it would be merged with
/// before sixteen days are full.
pub(super) fn sealed_pages(range: TimeRange, feature_level: u32) -> Density {
    match Window::is(range) {
        true => Density::Quick,
        false => merged_pages(feature_level),
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl ProtocolVersion {
    /// Whether nodes of the two versions understand each other. It is the same from both sides.
    #[must_use]
    pub const fn understands(self, other: Self) -> bool {
        self.major == other.major && self.minor.abs_diff(other.minor) <= 1
    }
}

/// The versions of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Build {
    /// For people.
    pub text: String,
    /// What it says to peers.
    pub protocol: ProtocolVersion,
    /// The highest feature level that it understands.
    pub feature_level: u32,
}

impl Default for Build {
    /// This program as it is.
    fn default() -> Self {
        Self {
            text: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            feature_level: FEATURE_LEVEL,
        }
    }
}

impl Build {
    /// Another program's versions, as in `0.2.0 1.1 2`; only in debug builds.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let version = words.next()?.to_owned();
        let (major, minor) = words.next()?.split_once('.')?;
        Some(Self {
            text: version,
            protocol: ProtocolVersion {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            },
            feature_level: words.next()?.parse().ok()?,
        })
    }
}

// Release builds have no other program's versions to parse.
#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_test_may_ask_for_a_later_version() {
        let build = Build::parse("0.2.0 1.1 2").unwrap();
        assert_eq!(build.text, "0.2.0");
        assert!(build.protocol.understands(PROTOCOL) && build.protocol > PROTOCOL);
        assert_eq!(build.feature_level, 2);
        for wrong in ["", "0.2.0", "0.2.0 1 2", "0.2.0 1.1", "0.2.0 1.x 2"] {
            assert_eq!(Build::parse(wrong), None, "{wrong:?}");
        }
    }
}
