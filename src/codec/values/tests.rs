//! Any column of floats comes back with every bit.

use proptest::prelude::*;

use super::super::strategies::column;
use super::*;
use crate::model::{STALE_NAN_BITS, stale_nan};

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The column comes back, in at most so many bytes.
fn check(values: &[f64], bytes_max: usize) {
    let mut out = Vec::new();
    encode(values, &mut out);
    let mut input = &out[..];
    let back = decode(&mut input, values.len()).unwrap();
    assert_eq!(bits(&back), bits(values));
    assert!(input.is_empty());
    assert!(out.len() <= bytes_max, "{} bytes: {out:?}", out.len());
}

#[test]
fn columns_of_every_kind_are_short() {
    check(&[], 3);
    check(&[0.5; 1000], 4);
    check(&[f64::NAN; 1000], 10);
    let counter: Vec<f64> = (0..100).map(|i| 1e9 + 4096.0 * f64::from(i)).collect();
    check(&counter, 20 + 100);
    let seconds: Vec<f64> = (0..100).map(|i| 0.01 * f64::from(i * i)).collect();
    check(&seconds, 20 + 200);
    let mut sum = 0.0;
    let sums: Vec<f64> = (0..100)
        .map(|i| {
            sum += f64::from(i) * 0.000_001_237;
            sum
        })
        .collect();
    check(&sums, 20 + 450);
    let thirds: Vec<f64> = (1..100).map(|i| 1.0 / f64::from(i)).collect();
    check(&thirds, 30 + 1000);
}

#[test]
fn exceptions_cost_little_and_hide_nothing() {
    let mut values = vec![3.0; 500];
    values[499] = stale_nan();
    check(&values, 10);
    values[0] = f64::NEG_INFINITY;
    values[7] = -0.0;
    values[8] = -0.0;
    values[9] = f64::from_bits(STALE_NAN_BITS + 1);
    values[10] = 4.0;
    check(&values, 600);
    check(&[f64::NAN, stale_nan(), f64::INFINITY], 20);
    check(&[-0.0, 0.0], 10);
    check(&[-0.0, -0.0], 12);
}

#[test]
fn extremes_come_back() {
    check(&[f64::MIN, f64::MAX, f64::MIN_POSITIVE, 0.0], 60);
    check(&[f64::from_bits(1), -f64::from_bits(1)], 40);
    check(&[9_007_199_254_740_991.0, -9_007_199_254_740_991.0], 40);
    check(&[9_007_199_254_740_992.0, 1.0], 40);
}

proptest! {
    #[test]
    fn any_column_comes_back(values in column()) {
        let mut out = Vec::new();
        encode(&values, &mut out);
        let back = decode(&mut &out[..], values.len()).unwrap();
        prop_assert_eq!(bits(&back), bits(&values));
    }

    #[test]
    fn damage_never_panics(
        values in column(),
        at: prop::sample::Index,
        byte: u8,
        rows in 0usize..300,
        any: Vec<u8>,
    ) {
        let mut out = Vec::new();
        encode(&values, &mut out);
        let at = at.index(out.len());
        out[at] = byte;
        decode(&mut &out[..], values.len()).ok();
        decode(&mut &out[..], rows).ok();
        decode(&mut &any[..], rows).ok();
    }
}
