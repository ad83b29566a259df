//! Postings: for each of a run of label values the ordinals of the series that have it.
//!
//! Ordinals are given in label order, so those of one metric are a run, and those of one target
//! come at regular distances, which the compression finds.
//!
//! ```text
//! u8      encoding: 1
//! framed: (compressed where that is shorter)
//!     varint  lists
//!     for each list:
//!         varint  bytes of it
//!         for each run of consecutive ordinals:
//!             varint  2 * (ordinals left out before it) + 1 if it is longer than one
//!             varint  its length - 2, if it is longer than one
//! ```

use std::ops::RangeInclusive;

use roaring::RoaringBitmap;

use super::varint::{
    finished, put_bytes, put_len, put_u64, take_bytes, take_len, take_u8, take_u64,
};
use super::version::POSTINGS_RUNS;
use super::{Error, frame};

const WHAT: &str = "postings";

/// The most lists of a run.
pub const LISTS_MAX: usize = 1 << 16;

/// The most bytes of a run before compression.
pub const POSTINGS_BYTES_MAX: usize = 1 << 30;

/// Appends lists of rising ordinals.
///
/// # Errors
/// Refuses a list that does not rise, and more than [`LISTS_MAX`] or [`POSTINGS_BYTES_MAX`].
pub fn encode(lists: &[&[u32]], out: &mut Vec<u8>) -> Result<(), Error> {
    Error::bound("lists of postings", lists.len(), LISTS_MAX)?;
    let mut body = Vec::new();
    put_len(&mut body, lists.len());
    let mut one = Vec::new();
    for list in lists {
        one.clear();
        encode_one(list, &mut one)?;
        put_bytes(&mut body, &one);
    }
    Error::bound("bytes of postings", body.len(), POSTINGS_BYTES_MAX)?;
    out.push(POSTINGS_RUNS);
    frame::compress(&body, out);
    Ok(())
}

fn encode_one(list: &[u32], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut next = 0u64;
    for run in list.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        let gap = u64::from(*first)
            .checked_sub(next)
            .ok_or_else(|| Error::invalid("the order of postings", u64::from(*first)))?;
        let long = run.len() > 1;
        put_u64(out, 2 * gap + u64::from(long));
        if long {
            put_u64(out, run.len() as u64 - 2);
        }
        next = u64::from(*last) + 1;
    }
    Ok(())
}

/// The lists of a run, each decoded when it is asked for.
#[derive(Clone, Debug)]
pub struct Lists {
    body: Vec<u8>,
    /// Where each list begins and ends in the body.
    places: Vec<(usize, usize)>,
}

impl Lists {
    /// Bytes that they take in memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.body.len() + size_of_val(self.places.as_slice())
    }

    /// Takes a run apart.
    ///
    /// # Errors
    /// When the bytes are not what [`encode`] writes.
    pub fn open(bytes: &[u8]) -> Result<Self, Error> {
        let input = &mut &*bytes;
        let id = take_u8(input, WHAT)?;
        if id != POSTINGS_RUNS {
            return Err(Error::UnknownEncoding { what: WHAT, id });
        }
        let body = frame::decompress(input, WHAT, POSTINGS_BYTES_MAX)?;
        let input = &mut &*body;
        let count = take_len(input, WHAT, LISTS_MAX)?;
        let mut places = Vec::new();
        for _ in 0..count {
            let len = take_bytes(input, WHAT)?.len();
            let end = body.len() - input.len();
            places.push((end - len, end));
        }
        finished(input, WHAT)?;
        Ok(Self { body, places })
    }

    /// How many lists there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds the ordinals of the list at a position, all below `bound`, to a set.
    ///
    /// # Errors
    /// When there is no such list or an ordinal in it is not below `bound`.
    pub fn add_to(&self, at: usize, bound: u32, set: &mut RoaringBitmap) -> Result<(), Error> {
        self.each_run(at, bound, |run| {
            set.insert_range(run);
            true
        })
    }

    /// Whether an ordinal of the list at a position is in a set; they are all below `bound`.
    ///
    /// # Errors
    /// As [`Lists::add_to`], as far as the list is looked at.
    pub fn meets(&self, at: usize, bound: u32, set: &RoaringBitmap) -> Result<bool, Error> {
        let mut found = false;
        self.each_run(at, bound, |run| {
            found = if run.start() == run.end() {
                set.contains(*run.start())
            } else {
                set.range_cardinality(run) > 0
            };
            !found
        })?;
        Ok(found)
    }

    /// Calls `each` with the runs of the list at a position, until it wants no more.
    fn each_run(
        &self,
        at: usize,
        bound: u32,
        mut each: impl FnMut(RangeInclusive<u32>) -> bool,
    ) -> Result<(), Error> {
        let place = self.places.get(at);
        let mut input = place
            .and_then(|(start, end)| self.body.get(*start..*end))
            .ok_or_else(|| Error::invalid("the number of a list of postings", at as u64))?;
        let input = &mut input;
        let (mut next, bound) = (0u64, u64::from(bound));
        while !input.is_empty() {
            let gap = take_u64(input)?;
            let more = match gap & 1 {
                0 => 0,
                _ => take_u64(input)?.saturating_add(1),
            };
            let first = next.saturating_add(gap >> 1);
            let last = first.saturating_add(more);
            if last >= bound {
                return Err(Error::TooLarge {
                    what: "an ordinal in postings",
                    value: last,
                    max: bound.saturating_sub(1),
                });
            }
            let (Ok(from), Ok(to)) = (u32::try_from(first), u32::try_from(last)) else {
                return Err(Error::invalid(WHAT, last));
            };
            if !each(from..=to) {
                break;
            }
            next = last + 1;
        }
        Ok(())
    }

    /// The ordinals of the list at a position, all below `bound`.
    ///
    /// # Errors
    /// As [`Lists::add_to`].
    pub fn get(&self, at: usize, bound: u32) -> Result<RoaringBitmap, Error> {
        let mut set = RoaringBitmap::new();
        self.add_to(at, bound, &mut set)?;
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(lists: &[&[u32]]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(lists, &mut out).unwrap();
        out
    }

    #[test]
    fn ordinals_at_the_bound_are_refused() {
        let lists = Lists::open(&bytes(&[&[0, 1, 2, 9], &[], &[u32::MAX]])).unwrap();
        assert_eq!(lists.len(), 3);
        assert_eq!(
            lists.get(0, 10).unwrap(),
            [0, 1, 2, 9].into_iter().collect()
        );
        assert!(lists.get(0, 9).is_err());
        assert!(lists.get(1, 0).unwrap().is_empty());
        let meets = |at, set: &[u32]| lists.meets(at, 10, &set.iter().copied().collect());
        assert_eq!(meets(0, &[2, 5]), Ok(true));
        assert_eq!(meets(0, &[9]), Ok(true));
        assert_eq!(meets(0, &[3, 8]), Ok(false));
        assert_eq!(meets(1, &[3]), Ok(false));
        assert!(meets(3, &[3]).is_err());
        assert!(lists.get(2, u32::MAX).is_err());
        assert!(lists.get(3, 10).is_err());
        assert!(encode(&[&[2, 1]], &mut Vec::new()).is_err());
        assert!(encode(&[&[2, 2]], &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            lists in prop::collection::vec(prop::collection::btree_set(0u32..500, 0..300), 0..20)
        ) {
            let lists: Vec<Vec<u32>> =
                lists.into_iter().map(|list| list.into_iter().collect()).collect();
            let slices: Vec<&[u32]> = lists.iter().map(Vec::as_slice).collect();
            let back = Lists::open(&bytes(&slices)).unwrap();
            prop_assert_eq!(back.len(), lists.len());
            for (at, list) in lists.iter().enumerate() {
                prop_assert_eq!(&back.get(at, 500).unwrap().iter().collect::<Vec<_>>(), list);
            }
        }

        #[test]
        fn damage_is_an_error_or_ordinals_below_the_bound(
            at in any::<prop::sample::Index>(), with in any::<u8>()
        ) {
            let mut out = bytes(&[&[1, 2, 3, 50, 52], &[7], &[20, 30, 40, 50]]);
            let at = at.index(out.len());
            out[at] = with;
            if let Ok(lists) = Lists::open(&out) {
                for list in 0..lists.len() {
                    if let Ok(set) = lists.get(list, 60) {
                        prop_assert!(set.max().is_none_or(|max| max < 60));
                    }
                }
            }
            let _ = Lists::open(&out[..at]);
        }
    }
}
