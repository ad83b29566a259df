//! Partitions: arcs of the ring, their epochs, and who is who in a quorum.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::Fingerprint;

/// The depth of the ring when a cluster is founded: 2^4 = 16 arcs.
pub const FOUNDING_DEPTH: u8 = 4;

/// An arc of the ring: all fingerprints that begin with the first `depth` bits of `prefix`.
/// Formats and messages name arcs, never partition numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RingArc {
    prefix: u32,
    depth: u8,
}

impl RingArc {
    /// The deepest arc: the sub-arcs of digests need four more bits of the 32 of locality.
    pub const DEPTH_MAX: u8 = 28;

    /// The arc of a prefix, given as the leading bits of a 32-bit word. `None` when it is too
    /// deep or bits below the prefix are set.
    #[must_use]
    pub fn new(prefix: u32, depth: u8) -> Option<Self> {
        let below = if depth == 0 {
            u32::MAX
        } else {
            u32::MAX.checked_shr(u32::from(depth))?
        };
        (depth <= Self::DEPTH_MAX && prefix & below == 0).then_some(Self { prefix, depth })
    }

    /// The arc of that depth in which a fingerprint lies.
    #[must_use]
    pub fn of(fingerprint: Fingerprint, depth: u8) -> Self {
        let depth = depth.min(Self::DEPTH_MAX);
        let top = (fingerprint.0 >> 96) as u32;
        let prefix = if depth == 0 {
            0
        } else {
            top & !(u32::MAX >> depth)
        };
        Self { prefix, depth }
    }

    /// All arcs of a depth, in order.
    pub fn all(depth: u8) -> impl Iterator<Item = Self> {
        let depth = depth.min(Self::DEPTH_MAX);
        (0..1u32 << depth).map(move |number| Self {
            prefix: if depth == 0 {
                0
            } else {
                number << (32 - depth)
            },
            depth,
        })
    }

    /// The two halves of an arc; `None` when it is the deepest already.
    #[must_use]
    pub fn halves(self) -> Option<[Self; 2]> {
        if self.depth >= Self::DEPTH_MAX {
            return None;
        }
        let depth = self.depth + 1;
        let second = self.prefix | (1 << (32 - depth));
        Some([self.prefix, second].map(|prefix| Self { prefix, depth }))
    }

    /// The leading bits, left-aligned in 32.
    #[must_use]
    pub const fn prefix(self) -> u32 {
        self.prefix
    }

    /// How many bits count.
    #[must_use]
    pub const fn depth(self) -> u8 {
        self.depth
    }

    /// Whether a fingerprint lies in the arc.
    #[must_use]
    pub fn contains(self, fingerprint: Fingerprint) -> bool {
        Self::of(fingerprint, self.depth) == self
    }

    /// The arc of that depth of which this one is a part, or itself.
    #[must_use]
    pub fn within_depth(self, depth: u8) -> Self {
        if depth >= self.depth {
            return self;
        }
        Self::of(Fingerprint(u128::from(self.prefix) << 96), depth)
    }

    /// The arc of which it is a half; `None`: it is the whole ring.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        Some(self.within_depth(self.depth.checked_sub(1)?))
    }

    /// Whether another arc lies in this one, or is this one.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.depth <= other.depth && other.within_depth(self.depth) == self
    }

    /// Whether two arcs have a place in common: one covers the other.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// What a ring with these arcs in it makes of this one: itself, or the parts into which it is
    /// halved, and halved again, until no named arc lies within one of them.
    #[must_use]
    pub fn parts(self, ring: &BTreeSet<Self>) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut rest = vec![self];
        while let Some(arc) = rest.pop() {
            let inside = ring.range(arc..).find(|inner| **inner != arc);
            match (inside.filter(|inner| arc.covers(**inner)), arc.halves()) {
                (Some(_), Some(halves)) => rest.extend(halves.into_iter().rev()),
                _ => parts.push(arc),
            }
        }
        parts
    }

    /// The sub-arc of a digest (0 to 15) in which a fingerprint of this arc lies: the four bits
    /// after the prefix.
    #[must_use]
    pub fn sub_arc(self, fingerprint: Fingerprint) -> u8 {
        ((fingerprint.0 >> (124 - u32::from(self.depth))) & 0xf) as u8
    }
}

/// `3-4`: the prefix in hex digits, then the depth.
impl fmt::Display for RingArc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.depth.div_ceil(4)).max(1);
        let shown = u64::from(self.prefix) >> (32 - 4 * digits);
        write!(f, "{shown:0digits$x}-{}", self.depth)
    }
}

/// As it is shown.
impl FromStr for RingArc {
    type Err = NoArc;

    fn from_str(text: &str) -> Result<Self, NoArc> {
        let parse = || {
            let (digits, depth) = text.split_once('-')?;
            if digits.is_empty() || digits.len() > 8 {
                return None;
            }
            let shown = u64::from_str_radix(digits, 16).ok()?;
            let prefix = shown.checked_shl(u32::try_from(32 - 4 * digits.len()).ok()?)?;
            Self::new(u32::try_from(prefix).ok()?, depth.parse().ok()?)
        };
        parse().ok_or(NoArc)
    }
}

/// A text that is no arc.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an arc is its prefix in hex digits and its depth, as in 3-4")]
pub struct NoArc;

/// The number that every change of a partition's members raises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

/// What a node *is* in every quorum and vote: 128 random bits born with its data directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fingerprint_lies_in_exactly_one_arc() {
        let arcs: Vec<RingArc> = RingArc::all(FOUNDING_DEPTH).collect();
        assert_eq!(arcs.len(), 16);
        for bits in [0, u128::MAX, 0x3abc << 112, 1 << 96] {
            let fingerprint = Fingerprint(bits);
            let at: Vec<_> = arcs
                .iter()
                .filter(|arc| arc.contains(fingerprint))
                .collect();
            assert_eq!(at, [&RingArc::of(fingerprint, FOUNDING_DEPTH)]);
        }
        assert_eq!(
            RingArc::all(0).collect::<Vec<_>>(),
            [RingArc::new(0, 0).unwrap()]
        );
    }

    #[test]
    fn the_halves_of_all_arcs_are_all_arcs_one_deeper() {
        for depth in 0..6 {
            let halves = RingArc::all(depth).flat_map(|arc| arc.halves().unwrap());
            assert!(halves.eq(RingArc::all(depth + 1)));
        }
        assert_eq!(RingArc::new(0, RingArc::DEPTH_MAX).unwrap().halves(), None);
    }

    #[test]
    fn an_arc_covers_its_parts_and_no_others() {
        let whole = RingArc::new(0, 0).unwrap();
        assert_eq!(whole.parent(), None);
        for arc in RingArc::all(5) {
            let [one, other] = arc.halves().unwrap();
            assert_eq!([one.parent(), other.parent()], [Some(arc); 2]);
            assert!(whole.covers(other) && arc.covers(one) && arc.covers(arc));
            assert!(!one.covers(arc) && one.meets(arc) && !one.meets(other));
            assert_eq!(other.within_depth(0), whole);
            assert_eq!(arc.parts(&BTreeSet::from([arc, whole])), [arc]);
            let [first, second] = other.halves().unwrap();
            let ring = BTreeSet::from([whole, second]);
            assert_eq!(arc.parts(&ring), [one, first, second]);
        }
    }

    #[test]
    fn an_arc_shows_its_prefix_and_depth() {
        let arc = RingArc::of(Fingerprint(0x3abc << 112), 4);
        assert_eq!(arc.to_string(), "3-4");
        assert_eq!(arc.sub_arc(Fingerprint(0x3abc << 112)), 0xa);
        assert_eq!(RingArc::new(0x3800_0000, 4), None);
        assert_eq!(RingArc::new(0x3000_0000, 4), Some(arc));
        assert_eq!(RingArc::new(0, 29), None);
        for arc in [0, 1, 4, 5, 28].map(|depth| RingArc::of(Fingerprint(u128::MAX), depth)) {
            assert_eq!(arc.to_string().parse(), Ok(arc));
        }
        for wrong in ["", "3", "3-", "-4", "3-2", "8-0", "123456789-28", "0-29"] {
            assert_eq!(wrong.parse::<RingArc>(), Err(NoArc), "{wrong:?}");
        }
    }
}
