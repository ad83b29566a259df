//! An adaptive model of a symbol out of sixteen.
//!
//! It keeps, for each symbol, how many of 2^15 chances the symbols below it have. A symbol that came
//! draws these sums towards those of a model in which it alone is likely, by an eighth of the way at
//! first and by a thirty-second soon: sixteen additions, subtractions and shifts of 16-bit numbers,
//! which a compiler makes two or four vector instructions of. (Fabian Giesen, "rANS with static
//! probability distributions" and "Mixing discrete probability distributions", 2014 and 2015.)
//!
//! No symbol ever has less than one chance: the sums of a model begin one apart or more, and so do
//! those that they are drawn to. Where two neighbours are `d` apart and are drawn to places `t` apart,
//! they are `d + ((t - d) + rest) >> rate` apart afterwards for some `rest >= 0`, which is never
//! less than the smaller of both.

/// Chances are out of 2 to this power.
pub(super) const CHANCE_BITS: u32 = 15;
const CHANCES: u16 = 1 << CHANCE_BITS;

/// Symbols of a model.
pub(super) const SYMBOLS: usize = 16;

/// What drawing begins with and ends with: shifts in halves, so that two symbols are drawn by each.
const RATE_FIRST: u8 = 6;
const RATE_LAST: u8 = 10;

/// A model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nibble {
    /// The chances of all symbols below each.
    below: [i16; SYMBOLS],
    rate: u8,
}

/// Where each symbol draws the sums to.
static DRAWS: [[i16; SYMBOLS]; SYMBOLS] = draws();

#[allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "evaluated when it is compiled: all numbers are below 2^15"
)]
const fn draws() -> [[i16; SYMBOLS]; SYMBOLS] {
    let mut all = [[0; SYMBOLS]; SYMBOLS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let mut at = 0;
        while at < SYMBOLS {
            let above = if at > symbol {
                CHANCES as usize - SYMBOLS
            } else {
                0
            };
            all[symbol][at] = (above + at) as i16;
            at += 1;
        }
        symbol += 1;
    }
    all
}

/// Some of the chances.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Share {
    /// Chances before them.
    pub(super) below: u16,
    /// How many: at least one, and fewer than all.
    pub(super) width: u16,
}

impl Nibble {
    /// A model in which chances are as weights are, of which one at least is not 0 and whose sum is
    /// below 2^16.
    #[allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "evaluated when it is compiled: all numbers are below 2^15"
    )]
    pub(super) const fn of_weights(weights: [u32; SYMBOLS]) -> Self {
        let mut sum = 0;
        let mut at = 0;
        while at < SYMBOLS {
            sum += weights[at];
            at += 1;
        }
        let mut below = [0; SYMBOLS];
        let mut before = 0;
        at = 0;
        while at < SYMBOLS {
            below[at] = (before * (CHANCES as u32 - SYMBOLS as u32) / sum) as i16 + at as i16;
            before += weights[at];
            at += 1;
        }
        Self {
            below,
            rate: RATE_FIRST,
        }
    }

    /// The share of a symbol.
    #[inline]
    pub(super) fn share(&self, symbol: usize) -> Share {
        let sum = |at: usize| {
            self.below
                .get(at)
                .map_or(CHANCES, |sum| sum.cast_unsigned())
        };
        let symbol = symbol % SYMBOLS;
        let below = sum(symbol);
        Share {
            below,
            width: sum(symbol + 1) - below,
        }
    }

    /// The symbol that has a chance.
    #[inline]
    pub(super) fn symbol_at(&self, chance: u16) -> usize {
        let chance = chance.cast_signed();
        let mut symbols = 0i16;
        for below in &self.below {
            symbols += i16::from(*below <= chance);
        }
        // The first sum is 0, so it is one at least.
        usize::from(symbols.cast_unsigned()) - 1
    }

    /// The symbol came.
    #[inline]
    pub(super) fn learn(&mut self, symbol: usize) {
        let rate = self.rate / 2;
        if self.rate < RATE_LAST {
            self.rate += 1;
        }
        if let Some(draw) = DRAWS.get(symbol % SYMBOLS) {
            for (below, to) in self.below.iter_mut().zip(draw) {
                *below += (*to - *below) >> rate;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_chance_is_one_symbols(
            weights in prop::array::uniform16(0u32..4000),
            symbols in prop::collection::vec(0..SYMBOLS, 0..300),
        ) {
            prop_assume!(weights.iter().sum::<u32>() > 0);
            let mut model = Nibble::of_weights(weights);
            for symbol in symbols {
                let mut below = 0;
                for at in 0..SYMBOLS {
                    let share = model.share(at);
                    prop_assert_eq!(share.below, below);
                    prop_assert!(share.width > 0);
                    prop_assert_eq!(model.symbol_at(share.below), at);
                    prop_assert_eq!(model.symbol_at(share.below + share.width - 1), at);
                    below += share.width;
                }
                prop_assert_eq!(below, CHANCES);
                model.learn(symbol);
            }
        }
    }

    #[test]
    fn what_comes_often_becomes_likely() {
        let mut model = Nibble::of_weights([1; SYMBOLS]);
        for _ in 0..500 {
            model.learn(3);
        }
        // Drawing stops where the step rounds to nothing: within 2^5 of all there is.
        assert!(model.share(3).width > CHANCES - 64, "{model:?}");
        for _ in 0..500 {
            model.learn(15);
        }
        assert!(model.share(15).width > CHANCES - 64, "{model:?}");
    }
}
