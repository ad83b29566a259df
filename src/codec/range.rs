//! A binary range coder: each bit costs what its probability says.
//!
//! The coder of LZMA (Martin, "Range encoding", 1979; Pavlov's carry handling) with 16-bit
//! probabilities. Two bytes that every stream has there are not written here: the first one, which
//! is always 0, and zeros at the end, which a reader supplies.

/// Probabilities are parts of 2^16.
const PROBABILITY_BITS: u32 = 16;

/// Below this the range is widened by a byte.
const RANGE_MIN: u32 = 1 << 24;

/// The probability that a bit is 0, learned as bits are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bit {
    /// Of 2^16, never 0 or all.
    zero: u16,
    /// Bits seen, up to [`SEEN_MAX`]: the first ones teach most.
    seen: u8,
}

/// From here on each bit moves the probability by 1/24.
const SEEN_MAX: u8 = 22;

/// 2^16 / (seen + 1.5), for each number of bits seen: how far the next bit moves the probability.
const RATES: [u32; SEEN_MAX as usize + 1] = [
    43690, 26214, 18724, 14563, 11915, 10082, 8738, 7710, 6898, 6241, 5698, 5242, 4854, 4519, 4228,
    3971, 3744, 3542, 3360, 3196, 3048, 2912, 2788,
];

/// A probability stays this far from certainty, so that no bit is impossible.
const MARGIN: u32 = 24;

impl Bit {
    /// A probability to begin with, and as how many bits it counts.
    pub(super) const fn new(zero: u16, seen: u8) -> Self {
        Self { zero, seen }
    }

    /// Nothing known: even chances.
    pub(super) const UNKNOWN: Self = Self::new(1 << 15, 0);

    fn learn(&mut self, bit: bool) {
        let rate = RATES.get(usize::from(self.seen)).copied().unwrap_or(2788);
        let zero = u32::from(self.zero);
        let all = (1 << PROBABILITY_BITS) - MARGIN;
        // Both differences are below 2^16, so that the products stay below 2^32.
        let zero = if bit {
            zero - (((zero - MARGIN) * rate) >> 16)
        } else {
            zero + (((all - zero) * rate) >> 16)
        };
        self.zero = u16::try_from(zero).unwrap_or(u16::MAX);
        self.seen = (self.seen + 1).min(SEEN_MAX);
    }
}

/// Codes bits into bytes.
#[derive(Debug)]
pub(super) struct Encoder {
    low: u64,
    range: u32,
    /// The byte that a carry may still change, and how many bytes of 255 come after it.
    held: u8,
    full: usize,
    out: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            low: 0,
            range: u32::MAX,
            held: 0,
            full: 0,
            out: Vec::new(),
        }
    }

    /// Codes a bit that has a probability.
    pub(super) fn bit(&mut self, model: &mut Bit, bit: bool) {
        let bound = (self.range >> PROBABILITY_BITS) * u32::from(model.zero);
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(bit);
        self.widen();
    }

    /// Codes the low `len` bits of `value`, all as likely as not.
    pub(super) fn even(&mut self, value: u64, len: u32) {
        for at in (0..len).rev() {
            self.range >>= 1;
            if value >> at & 1 == 1 {
                self.low += u64::from(self.range);
            }
            self.widen();
        }
    }

    fn widen(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }

    fn shift(&mut self) {
        let carry = (self.low >> 32) as u8;
        let top = (self.low >> 24 & 0xff) as u8;
        if top != 0xff || carry != 0 {
            self.out.push(self.held.wrapping_add(carry));
            for _ in 0..self.full {
                self.out.push(0xff_u8.wrapping_add(carry));
            }
            self.full = 0;
            self.held = top;
        } else {
            self.full += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// The bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // Any number of the range will do: the one with the most zero bits at its end.
        let end = self.low + u64::from(self.range) - 1;
        for bits in (0..32).rev() {
            let rounded = end >> bits << bits;
            if rounded >= self.low {
                self.low = rounded;
                break;
            }
        }
        for _ in 0..5 {
            self.shift();
        }
        self.out.remove(0);
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

/// Takes the bits out again. Past the end of its bytes it reads zeros.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    input: &'a [u8],
    range: u32,
    code: u32,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        let mut decoder = Self {
            input,
            range: u32::MAX,
            code: 0,
        };
        for _ in 0..4 {
            decoder.shift();
        }
        decoder
    }

    /// The next bit, coded with the same model.
    #[inline]
    pub(super) fn bit(&mut self, model: &mut Bit) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * u32::from(model.zero);
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(bit);
        self.widen();
        bit
    }

    /// The next `len` bits that were as likely as not.
    pub(super) fn even(&mut self, len: u32) -> u64 {
        let mut value = 0;
        for _ in 0..len {
            self.range >>= 1;
            let bit = self.code >= self.range;
            if bit {
                self.code -= self.range;
            }
            value = value << 1 | u64::from(bit);
            self.widen();
        }
        value
    }

    /// Whether all bytes were needed.
    pub(super) fn used_up(&self) -> bool {
        self.input.is_empty()
    }

    #[inline]
    fn widen(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }

    fn shift(&mut self) {
        let byte = match self.input.split_first() {
            Some((byte, rest)) => {
                self.input = rest;
                *byte
            }
            None => 0,
        };
        self.code = self.code << 8 | u32::from(byte);
    }
}
