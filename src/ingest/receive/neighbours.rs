//! Series of remote-write 2.0 known by how they differ from the one before.
//!
//! Senders put a target's series one after the other: of a dozen labels, one or two differ between
//! neighbours. The key of a series is a sum with a term for each reference (see
//! `series_key`), so the next key is the last one with these terms exchanged. The lists are
//! compared as they are encoded, eight bytes at a time; where they cannot be compared place by
//! place, the caller reads the whole list.

use crate::codec::protobuf::Reader;

/// The highest bit of each byte: set in all bytes of a varint but its last.
const MORE: u64 = 0x8080_8080_8080_8080;
/// Numbers of so many bits as they are encoded, three bytes, are taken out of a word at once: every
/// reference to one of two million symbols.
const SHORT_BITS: u32 = 24;

/// Gives each place at which two packed lists of varints differ, with what stands there in both.
/// `None`: they are not alike enough (some places may have been given by then), or `each` said so.
#[inline]
pub(super) fn differing(
    old: &[u8],
    new: &[u8],
    mut each: impl FnMut(usize, u64, u64) -> Option<()>,
) -> Option<()> {
    if old.len() != new.len() {
        return None;
    }
    let mut differ = Differing {
        old,
        new,
        place: 0,
        is_within: false,
        read_to: 0,
    };
    let (old_words, old_rest) = old.as_chunks::<8>();
    let (new_words, new_rest) = new.as_chunks::<8>();
    let mut at = 0;
    for (old, new) in old_words.iter().zip(new_words) {
        differ.word(at, *old, *new, &mut each)?;
        at += 8;
    }
    if old_rest.is_empty() {
        return Some(());
    }
    differ.word(at, padded(old_rest), padded(new_rest), &mut each)
}

/// The last bytes of a list, filled with zeros, which are the same in both.
#[inline]
fn padded(rest: &[u8]) -> [u8; 8] {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(rest) {
        *to = *from;
    }
    word
}

/// The number whose first bit and highest last bit stand there in a word, of three bytes at most.
#[inline]
const fn short(word: u64, begin: u32, end: u32) -> u64 {
    let bytes = (word >> begin) & (u64::MAX >> (u64::BITS - 1 - (end - begin)));
    (bytes & 0x7f) | (bytes >> 1 & 0x3f80) | (bytes >> 2 & 0x1f_c000)
}

struct Differing<'a> {
    old: &'a [u8],
    new: &'a [u8],
    /// Numbers that end before the word at hand.
    place: usize,
    /// The word before ends within a number.
    is_within: bool,
    /// Where the last number ends that was given by [`Differing::give`].
    read_to: usize,
}

impl Differing<'_> {
    #[inline]
    fn word(
        &mut self,
        at: usize,
        old: [u8; 8],
        new: [u8; 8],
        each: &mut impl FnMut(usize, u64, u64) -> Option<()>,
    ) -> Option<()> {
        let (old, new) = (u64::from_le_bytes(old), u64::from_le_bytes(new));
        let difference = old ^ new;
        if difference & MORE != 0 {
            // A number is longer in one of them.
            return None;
        }
        let ends = !old & MORE;
        // Without their highest bits, bytes that are not zero carry into them.
        let mut differ = (difference + !MORE) & MORE;
        while differ != 0 {
            let bit = differ.trailing_zeros();
            let ends_before = ends & ((1 << bit) - 1);
            let place = self.place + ends_before.count_ones() as usize;
            let begin = u64::BITS - ends_before.leading_zeros();
            let end = bit + (ends >> bit).trailing_zeros();
            let is_begun_before = begin == 0 && self.is_within;
            if !is_begun_before && end < begin + SHORT_BITS {
                let (was, is) = (short(old, begin, end), short(new, begin, end));
                each(place, was, is)?;
                differ &= u64::MAX.checked_shl(end + 1).unwrap_or(0);
            } else {
                self.give(at + (bit / 8) as usize, place, each)?;
                differ &= differ - 1;
            }
        }
        self.place += ends.count_ones() as usize;
        self.is_within = ends >> (u64::BITS - 1) == 0;
        Some(())
    }

    /// Gives the number that has a byte at `at`, unless it was given for a byte before.
    #[cold]
    fn give(
        &mut self,
        at: usize,
        place: usize,
        each: &mut impl FnMut(usize, u64, u64) -> Option<()>,
    ) -> Option<()> {
        if at < self.read_to {
            return Some(());
        }
        let before = self.old.get(..at)?;
        let is_more = |byte: &&u8| **byte >= 0x80;
        let start = at - before.iter().rev().take_while(is_more).count();
        let mut old = Reader::new(self.old.get(start..)?);
        let mut new = Reader::new(self.new.get(start..)?);
        let (was, is) = (old.varint().ok()?, new.varint().ok()?);
        self.read_to = self.old.len() - old.remaining();
        each(place, was, is)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::varint;

    fn packed(numbers: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        for number in numbers {
            varint::put_u64(&mut out, *number);
        }
        out
    }

    fn all(old: &[u8], new: &[u8]) -> Option<Vec<(usize, u64, u64)>> {
        let mut found = Vec::new();
        differing(old, new, |place, was, is| {
            found.push((place, was, is));
            Some(())
        })?;
        Some(found)
    }

    #[test]
    fn lists_that_are_no_neighbours_are_not_compared() {
        assert_eq!(all(&packed(&[1, 2]), &packed(&[1, 2, 3])), None);
        assert_eq!(all(&packed(&[1, 200, 3]), &packed(&[1, 2, 3, 4])), None);
        assert_eq!(all(&packed(&[1, 200]), &packed(&[200, 1])), None);
        assert_eq!(all(&[], &[]), Some(Vec::new()));
        // Eleven bytes, and more than 64 bits.
        let (mut long, mut large) = ([0x80; 11], [0xff; 10]);
        (long[10], large[9]) = (1, 1);
        let mut other = long;
        other[3] = 0x81;
        assert_eq!(all(&long, &other), None);
        let mut other = large;
        other[9] = 2;
        assert_eq!(all(&large, &other), None);
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..128, 128u64..16_384, 16_384u64..100_000, any::<u64>()]
    }

    proptest! {
        /// Of lists that are compared at all, exactly the places that differ are given.
        #[test]
        fn every_place_that_differs_is_given_once(
            old in prop::collection::vec(number(), 0..40),
            changes in prop::collection::vec((0usize..40, number()), 0..6),
        ) {
            let mut new = old.clone();
            for (place, number) in changes {
                if let Some(at) = new.get_mut(place) {
                    *at = number;
                }
            }
            let differ = old.iter().zip(&new).enumerate().filter(|(_, (was, is))| was != is);
            let wanted: Vec<_> = differ.map(|(place, (was, is))| (place, *was, *is)).collect();
            let lens = |list: &[u64]| list.iter().map(|n| packed(&[*n]).len()).collect::<Vec<_>>();
            let found = all(&packed(&old), &packed(&new));
            if lens(&old) == lens(&new) {
                prop_assert_eq!(found, Some(wanted));
            } else {
                prop_assert_eq!(found, None);
            }
        }

        /// Bytes that are no numbers are never compared wrongly: what it takes for neighbours of a
        /// list of numbers is one.
        #[test]
        fn hostile_bytes_are_refused_or_right(
            old in prop::collection::vec(number(), 0..20),
            changes in prop::collection::vec((0usize..100, any::<u8>()), 0..6),
        ) {
            let old_bytes = packed(&old);
            let mut bytes = old_bytes.clone();
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            if let Some(found) = all(&old_bytes, &bytes) {
                let mut new = old;
                for (place, was, is) in found {
                    prop_assert_eq!(new[place], was);
                    new[place] = is;
                }
                let mut reader = Reader::new(&bytes);
                for number in new {
                    prop_assert_eq!(reader.varint(), Ok(number));
                }
                prop_assert_eq!(reader.remaining(), 0);
            }
        }
    }
}
