//! The system's randomness under a seed, on threads of a simulation only: tests, never a build
//! that runs anywhere.
//!
//! The standard library draws the keys of its hash maps from `getrandom` of the C library, and
//! Tokio draws its dice (the order in which `select!` looks at its branches) from such a key. The
//! symbol is weak there so that it can be replaced for exactly this: here it is, for the test
//! program alone. Threads outside of simulations get the system's randomness.

#![allow(
    unsafe_code,
    reason = "a symbol of the C library is replaced in the test program, see the proof below"
)]

use std::cell::Cell;
use std::ffi::{c_uint, c_void};

use super::chance::{Chance, SeededChance, SystemChance};

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread's randomness is that of a seed.
pub(super) fn seed(seed: u64) {
    STATE.set(Some(seed));
}

/// 64 bits of this thread's seed; the system's without one.
pub(super) fn next() -> u64 {
    let Some(state) = STATE.get() else {
        return SystemChance.next_u64();
    };
    let dice = SeededChance::new(state);
    let bits = dice.next_u64();
    STATE.set(Some(dice.next_u64()));
    bits
}

/// A number below a bound.
pub(super) fn below(bound: u64) -> u64 {
    u64::try_from((u128::from(next()) * u128::from(bound)) >> 64).unwrap_or(0)
}

/// What the standard library asks for random bytes.
///
/// # Safety
/// As of the C library's: `buffer` points to `len` bytes that may be written.
// SAFETY: the name is that of a function of the C library, with its signature and its promise: it
// fills at most `len` bytes at `buffer` and says how many.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn getrandom(
    buffer: *mut c_void,
    len: usize,
    _flags: c_uint,
) -> isize {
    let dice = |_| next().to_le_bytes();
    let bytes = (0..len.div_ceil(8)).flat_map(dice).take(len);
    for (at, byte) in bytes.enumerate() {
        // SAFETY: `at` is below `len`, and the caller owns that many bytes at `buffer`.
        unsafe { buffer.cast::<u8>().add(at).write(byte) };
    }
    isize::try_from(len).unwrap_or(isize::MAX)
}
