//! Histograms of every kind come back with every bit; damaged ones are errors, never panics.

use proptest::prelude::*;

use super::super::strategies::{histogram, same};
use super::*;

proptest! {
    #[test]
    fn any_single_histogram_comes_back(histogram in histogram()) {
        let mut out = Vec::new();
        encode_one(&histogram, &mut out);
        out.push(7);
        let mut input = &out[..];
        let back = decode_one(&mut input).unwrap();
        prop_assert!(same(&histogram, &back), "{:?} {:?}", histogram, back);
        prop_assert_eq!(input, &[7]);
    }

    #[test]
    fn a_damaged_single_histogram_never_panics(
        histogram in histogram(),
        at: prop::sample::Index,
        byte: u8,
        cut: prop::sample::Index,
    ) {
        let mut out = Vec::new();
        encode_one(&histogram, &mut out);
        let all = out.clone();
        let position = at.index(out.len());
        out[position] = byte;
        decode_one(&mut &out[..]).ok();
        prop_assert!(decode_one(&mut &all[..cut.index(all.len())]).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        decode_one(&mut &bytes[..]).ok();
    }
}
