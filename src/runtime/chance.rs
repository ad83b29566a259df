//! Randomness as an argument.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Dice.
pub trait Chance: Send + Sync + 'static {
    /// 64 random bits.
    fn next_u64(&self) -> u64;

    /// 128 random bits, for names that nobody else may draw.
    fn next_u128(&self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }

    /// A number below `bound` (0 when the bound is 0).
    fn below(&self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next_u64()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

/// Randomness of the operating system.
#[derive(Debug, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0u8; 8];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        if filled.is_ok_and(|len| len == bytes.len()) {
            return u64::from_le_bytes(bytes);
        }
        // A kernel without getrandom: the standard library seeds its maps from what there is.
        RandomState::new().build_hasher().finish()
    }
}

/// Randomness that repeats under one seed (`SplitMix64`): for tests and simulations.
#[derive(Debug)]
pub struct SeededChance {
    state: AtomicU64,
}

impl SeededChance {
    /// The dice of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
        }
    }
}

impl Chance for SeededChance {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self
            .state
            .fetch_add(STEP, Ordering::SeqCst)
            .wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
