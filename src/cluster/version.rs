//! Which versions this program speaks and understands, and which of them fit together.
//!
//! Peers of neighbouring minor versions of the protocol talk to each other; commands and formats
//! of a feature level are used once every node understands it. So nodes are upgraded one by one.
//!
//! A test of that needs a second program: a debug build, and none that is released, can be told to
//! be a later version ([`Build::parse`]).

use std::fmt;

use crate::codec::page::Density;
use crate::model::{TimeRange, TimestampMs, Window};

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

/// From this level on blocks of old times have dense pages: older programs cannot read them.
pub(super) const DENSE_FROM: u32 = 7;

/// So long a day stays quick to read: dashboards of today, of the last 24 hours and of yesterday beside today ask for it. It is dense when
/// it is merged into more than a day, or when it came late.
const DENSE_AFTER_MS: i64 = 2 * DAY_MS;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What the pages of a block are to be that is made now. A window by itself is never dense: that is how whoever finds its entry alone, as
/// after a restore, knows who can read it.
pub(super) fn pages_of(range: TimeRange, feature_level: u32, now: TimestampMs) -> Density {
    let is_old = !Window::is(range) && range.end.plus_ms(DENSE_AFTER_MS) <= now;
    match feature_level {
        DENSE_FROM.. if is_old => Density::Dense,
        _ => Density::Quick,
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

    /// Would catch a yesterday that is slow to read, old days that stay large, and pages that a node cannot read.
    #[test]
    fn pages_are_dense_two_days_after_the_end_where_all_can_read_them() {
        let day = TimeRange::new(TimestampMs(0), TimestampMs(DAY_MS - 1));
        let at = |now: i64, level: u32| pages_of(day, level, TimestampMs(now));
        assert_eq!(at(3 * DAY_MS - 2, DENSE_FROM), Density::Quick);
        assert_eq!(at(3 * DAY_MS - 1, DENSE_FROM), Density::Dense);
        assert_eq!(at(30 * DAY_MS, FEATURE_LEVEL), Density::Dense);
        assert_eq!(at(30 * DAY_MS, DENSE_FROM - 1), Density::Quick);
        let window = pages_of(Window(0).range(), DENSE_FROM, TimestampMs(30 * DAY_MS));
        assert_eq!(window, Density::Quick);
    }
}
