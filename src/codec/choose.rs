//! Which encoding a column deserves: the one that an estimate says is shortest.
//!
//! Only writers choose; a reader takes what is there. So an estimate may be improved at any time
//! without touching the format.

use super::predict::{Kind, Predictor, residuals};

/// About how many bits residuals will need: the entropy of their bit lengths, and the bits below
/// the highest one as they are. Close to what an adaptive coder reaches, and fast.
pub(super) fn cost(values: &[i64]) -> f64 {
    let mut lengths = [0u32; 65];
    for value in values {
        // Magnitude bits: 0 for 0; the sign is one of the bits that are stored as they are.
        let length = 64 - value.unsigned_abs().leading_zeros();
        if let Some(count) = lengths.get_mut(length as usize) {
            *count += 1;
        }
    }
    let all = values.len() as f64;
    lengths
        .iter()
        .zip(0u32..)
        .filter(|(count, _)| **count > 0)
        .map(|(count, length)| {
            let count = f64::from(*count);
            count * ((all / count).log2() + f64::from(length))
        })
        .sum()
}

/// What a predictor's parameter costs on average when it is not 0.
const CENTRE_BITS: f64 = 10.0;

/// The best predictor for a path, its residuals and what they cost.
pub(super) fn predictor(path: &[i64]) -> (Predictor, Vec<i64>, f64) {
    let mut differences: Vec<i64> = path
        .windows(2)
        .filter_map(|pair| match pair {
            [a, b] => Some(b.wrapping_sub(*a)),
            _ => None,
        })
        .collect();
    let level = median(&mut path.to_vec());
    let slope = median(&mut differences);
    let candidates = [
        (Kind::Delta, 0),
        (Kind::Delta, slope),
        (Kind::Level, level),
        (Kind::MeanLevel, level),
        (Kind::MeanDelta, slope),
        (Kind::Delta2, slope),
    ];
    let mut scratch = Vec::new();
    let mut best: Option<(Predictor, Vec<i64>, f64)> = None;
    for (at, (kind, centre)) in candidates.into_iter().enumerate() {
        if at == 1 && slope == 0 {
            continue;
        }
        let predictor = Predictor { kind, centre };
        residuals(predictor, path, &mut scratch);
        let bits = cost(&scratch) + if centre == 0 { 0.0 } else { CENTRE_BITS };
        match &mut best {
            Some((_, _, least)) if *least <= bits => {}
            Some((chosen, kept, least)) => {
                (*chosen, *least) = (predictor, bits);
                std::mem::swap(kept, &mut scratch);
            }
            None => best = Some((predictor, std::mem::take(&mut scratch), bits)),
        }
    }
    let nothing = Predictor {
        kind: Kind::Delta,
        centre: 0,
    };
    best.unwrap_or((nothing, Vec::new(), 0.0))
}

fn median(values: &mut [i64]) -> i64 {
    if values.is_empty() {
        return 0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fitting_predictor_is_chosen() {
        let check = |path: &[i64], want: Kind| {
            let (chosen, _, bits) = predictor(path);
            assert_eq!(chosen.kind, want, "{bits}");
        };
        check(&[0, 5, 10, 15, 20, 25], Kind::Delta);
        check(&[0, 100, 100, 100, 0, 100, 100, 100, 7, 100], Kind::Level);
        let falling: Vec<i64> = (0..100).map(|i| 40 * i * i).collect();
        check(&falling, Kind::Delta2);
        check(&[0], Kind::Delta);
        check(&[], Kind::Delta);
    }

    #[test]
    fn more_noise_costs_more() {
        assert!(cost(&[0; 100]) < 1.0);
        assert!(cost(&[1, 0, 1, 0]) < cost(&[9, 0, 9, 0]));
    }
}
