//! How a spelling of a series becomes the 128 bits under which `series_cache` knows it.
//!
//! Everything is hashed under secrets that this process drew at its start. For encoded labels that
//! is xxh3-128 with a secret (not a seed: a seed derives a new secret at every call). For label
//! references each symbol is hashed once a request, and a series is the sum of its symbols'
//! hashes, each times a random odd number for its place: two different lists have one sum only by
//! a chance of about 2^-118, and it costs a multiplication a reference.

use xxhash_rust::xxh3::xxh3_128_with_secret;

use crate::model::TenantId;
use crate::runtime::Chance;

/// Bytes of the secret: what xxh3 uses at most.
const SECRET_LEN: usize = 192;
/// Places with a multiplier of their own; later ones use them again, stepped.
const PLACES: usize = 64;

/// The secrets.
pub(super) struct SeriesKeys {
    secret: [u8; SECRET_LEN],
    places: [u128; PLACES],
    step: u128,
}

impl SeriesKeys {
    /// Draws secrets.
    pub(super) fn draw(chance: &dyn Chance) -> Self {
        let mut secret = [0u8; SECRET_LEN];
        for chunk in secret.as_chunks_mut::<8>().0 {
            *chunk = chance.next_u64().to_le_bytes();
        }
        Self {
            secret,
            places: std::array::from_fn(|_| chance.next_u128() | 1),
            // 5 modulo 8: its powers differ in low bits, see the proof in `refs`.
            step: (chance.next_u128() & !7) | 5,
        }
    }

    /// The hash of encoded labels, of a symbol, of any bytes.
    #[inline]
    pub(super) fn bytes(&self, bytes: &[u8]) -> u128 {
        xxh3_128_with_secret(bytes, &self.secret)
    }

    /// What is mixed into the keys of a tenant.
    pub(super) fn tenant(&self, tenant: &TenantId) -> u128 {
        self.bytes(tenant.as_str().as_bytes()).rotate_left(64)
    }

    /// Starts the key of a list of symbols.
    pub(super) const fn refs(&self) -> RefsKey<'_> {
        RefsKey {
            keys: self,
            sum: 0,
            count: 0,
        }
    }
}

/// The key of a list of symbols in the making.
///
/// The sum is `Σ hash(symbol at i) · place(i mod 64) · step^(i div 64)` modulo 2^128. Two different
/// lists have equal sums only if a sum of random hashes with fixed coefficients is zero; each
/// coefficient is an odd number, or a difference of such, hence a small power of two times an odd
/// number, and so the chance is 2^-128 times that small power. The length goes in at the end.
#[derive(Clone, Copy)]
pub(super) struct RefsKey<'k> {
    keys: &'k SeriesKeys,
    sum: u128,
    count: usize,
}

impl RefsKey<'_> {
    /// Adds the hash of the next symbol.
    #[inline]
    pub(super) fn push(&mut self, symbol: u128) {
        let place = self.count % PLACES;
        if place == 0 {
            self.sum = self.sum.wrapping_mul(self.keys.step);
        }
        let factor = self.keys.places.get(place).copied().unwrap_or(1);
        self.sum = self.sum.wrapping_add(symbol.wrapping_mul(factor));
        self.count += 1;
    }

    /// Puts another symbol's hash in the place of the one that was pushed there. `None`: there is
    /// no such place, or the list is so long that places share multipliers.
    #[inline]
    pub(super) fn exchange(&mut self, place: usize, old: u128, new: u128) -> Option<()> {
        if place >= self.count || self.count > PLACES {
            return None;
        }
        let factor = self.keys.places.get(place)?;
        let change = new.wrapping_sub(old).wrapping_mul(*factor);
        self.sum = self.sum.wrapping_add(change);
        Some(())
    }

    /// How many symbols were added.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// The key. The high half is folded down, because low bits of a product know low bits only.
    pub(super) fn finish(&self) -> u128 {
        let sum = self.sum.wrapping_add(self.count as u128);
        sum ^ (sum >> 64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::runtime::SeededChance;

    fn key(keys: &SeriesKeys, symbols: &[&str]) -> u128 {
        let mut refs = keys.refs();
        for symbol in symbols {
            refs.push(keys.bytes(symbol.as_bytes()));
        }
        refs.finish()
    }

    #[test]
    fn order_length_and_place_all_count() {
        let keys = SeriesKeys::draw(&SeededChance::new(1));
        let long: Vec<&str> = vec!["a"; 130];
        let lists: Vec<Vec<&str>> = vec![
            vec![],
            vec![""],
            vec!["", ""],
            vec!["a", "b"],
            vec!["b", "a"],
            vec!["a", "b", "a", "b"],
            vec!["ab", ""],
            long[..128].to_vec(),
            long.clone(),
        ];
        let distinct: HashSet<u128> = lists.iter().map(|list| key(&keys, list)).collect();
        assert_eq!(distinct.len(), lists.len());
        let other = SeriesKeys::draw(&SeededChance::new(2));
        assert_ne!(key(&keys, &["a"]), key(&other, &["a"]));
    }

    #[test]
    fn an_exchanged_symbol_gives_the_key_of_the_list_with_it() {
        let keys = SeriesKeys::draw(&SeededChance::new(1));
        for len in [1, 2, 24, PLACES, PLACES + 1] {
            let mut names: Vec<String> = (0..len).map(|i| i.to_string()).collect();
            let hash = |text: &str| keys.bytes(text.as_bytes());
            let mut refs = keys.refs();
            names.iter().for_each(|name| refs.push(hash(name)));
            assert_eq!(refs.exchange(len, hash("0"), hash("x")), None);
            let exchanged = refs.exchange(len / 2, hash(&names[len / 2]), hash("other"));
            assert_eq!(exchanged.is_some(), len <= PLACES);
            if exchanged.is_some() {
                names[len / 2] = "other".to_owned();
            }
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(refs.finish(), key(&keys, &names));
        }
    }

    #[test]
    fn low_bits_are_spread_over_small_lists() {
        let keys = SeriesKeys::draw(&SeededChance::new(1));
        let names: Vec<String> = (0..4096).map(|i| i.to_string()).collect();
        let low: HashSet<u128> = names
            .iter()
            .map(|n| key(&keys, &["a", n]) & 0xffff)
            .collect();
        // 4,096 balls in 65,536 boxes: some 3,970 boxes are hit.
        assert!(low.len() > 3_800, "{}", low.len());
    }
}
