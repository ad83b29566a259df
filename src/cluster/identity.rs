//! What tells one cluster from another, and one start of a node from another: peers say it with
//! every request, and the control state keeps it.

use std::fmt;

/// What tells one cluster from all others: 128 random bits drawn when it was founded. Content
/// hashes are keyed by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One start of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// How often the data directory has been started, this start included.
    pub starts: u64,
    /// 128 random bits of this start: two copies of one disk image have the same counter, but
    /// not the same nonce.
    pub nonce: u128,
}
