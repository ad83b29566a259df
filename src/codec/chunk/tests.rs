//! Every sequence of values comes back bit for bit, and the usual ones are small.

use proptest::prelude::*;

use super::*;

fn check(values: &[(u16, u64)]) -> usize {
    let (mut slabs, mut chunk, mut words) = (Slabs::new(), Chunk::EMPTY, Vec::new());
    for (row, bits) in values {
        chunk.append(&mut slabs, *row, *bits);
    }
    chunk.copy_bits(&slabs, &mut words);
    let mut reader = Reader::new(&chunk, &words);
    let back: Vec<_> = std::iter::from_fn(|| reader.next()).collect();
    assert_eq!(back, values);
    // One after the other and all at once are two ways.
    let mut back = Vec::new();
    Reader::new(&chunk, &words).for_each(|value| back.push(value));
    assert_eq!(back, values);
    for (at, (row, bits)) in values.iter().enumerate() {
        let found = Reader::new(&chunk, &words).last_to(*row);
        assert_eq!(found, Some((*row, *bits)));
        // In a gap, and before and behind all.
        for other in [row.saturating_sub(1), row + 1] {
            let want = values.iter().rev().find(|(row, _)| *row <= other);
            assert_eq!(Reader::new(&chunk, &words).last_to(other).as_ref(), want);
        }
        let behind = &values[at..];
        let steady = (0..)
            .zip(behind)
            .all(|(further, value)| *value == (row + further, *bits));
        assert_eq!(*row >= chunk.steady_from(), steady, "row {row}");
    }
    words.len() * 4
}

/// The bytes that say what is in a chunk of these values.
fn content(values: &[(u16, u64)]) -> Vec<u8> {
    let (mut slabs, mut chunk, mut bytes) = (Slabs::new(), Chunk::EMPTY, Vec::new());
    for (row, bits) in values {
        chunk.append(&mut slabs, *row, *bits);
    }
    chunk.put_content(&slabs, &mut bytes);
    bytes
}

fn rows(values: impl IntoIterator<Item = f64>) -> Vec<(u16, u64)> {
    (0..).zip(values.into_iter().map(f64::to_bits)).collect()
}

#[test]
fn the_state_is_small() {
    assert_eq!(size_of::<Chunk>(), 40);
}

#[test]
fn what_never_changes_takes_no_bits() {
    assert_eq!(check(&rows([42.5; 480])), 0);
    assert_eq!(check(&[]), 0);
    assert_eq!(check(&[(7, f64::NAN.to_bits())]), 0);
}

#[test]
fn counters_and_decimals_are_small() {
    let counter = rows((0..480).map(|i| 1000.0 + f64::from(i) * 15.0));
    assert!(check(&counter) < 170, "{}", check(&counter));
    let gauge = rows((0..480).map(|i| f64::from(i % 7) * 0.01 + 20.0));
    assert!(check(&gauge) < 480, "{}", check(&gauge));
}

#[test]
fn odd_values_and_gaps_come_back() {
    let odd = [
        0.0,
        -0.0,
        1.0,
        f64::from_bits(crate::model::STALE_NAN_BITS),
        f64::from_bits(0x7ff8_dead_beef_0001),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::MAX,
        9_007_199_254_740_993.0,
        -9_007_199_254_740_991.0,
        0.1 + 0.2,
        1e300,
        1e-12,
        123.456,
    ];
    check(&rows(odd));
    check(&rows(odd.into_iter().rev()));
    for one in odd {
        for other in odd {
            check(&rows([5.0, one, other, 5.0, one, 6.5, other, other, 5.25]));
        }
    }
    let gaps: Vec<_> = (0..100u16)
        .map(|i| (i * i, f64::from(i / 3).to_bits()))
        .collect();
    check(&gaps);
    check(&[(0, 1), (1, 1), (ROW_MAX, 1)]);
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        any::<f64>().prop_map(f64::to_bits),
        (-1000i32..1000).prop_map(|v| f64::from(v).to_bits()),
        (-100_000i32..100_000).prop_map(|v| (f64::from(v) / 1000.0).to_bits()),
        Just(0),
        Just(crate::model::STALE_NAN_BITS),
    ]
}

proptest! {
    #[test]
    fn every_sequence_comes_back(
        values in proptest::collection::vec((0u16..4, 0u16..3, value()), 0..300)
    ) {
        let (mut row, mut all) = (0u16, Vec::new());
        for (gap, repeat, bits) in values {
            row += if gap == 3 { 17 } else { 1 };
            for _ in 0..=repeat {
                all.push((row, bits));
                row += 1;
            }
        }
        check(&all);
    }
}

proptest! {
    /// Would catch values that, written in one go, become other bits than written one by one, or are not all written, and a
    /// value that is written before the last one's row.
    #[test]
    fn values_in_runs_are_the_same_bits(
        runs in proptest::collection::vec(
            proptest::collection::vec((0u16..4, 0u16..3, value()), 0..12), 0..30),
        early in any::<bool>(),
    ) {
        let (mut one, mut other) = ((Slabs::new(), Chunk::EMPTY), (Slabs::new(), Chunk::EMPTY));
        let mut row = 0u16;
        for run in runs {
            let mut values = Vec::new();
            for (gap, repeat, bits) in run {
                row += if gap == 3 { 17 } else { 1 };
                for _ in 0..=repeat {
                    values.push((row, bits));
                    row += 1;
                }
            }
            for (row, bits) in &values {
                one.1.append(&mut one.0, *row, *bits);
            }
            let count = values.len();
            if let (true, Some((last, bits))) = (early, values.last().copied()) {
                values.extend([(last, bits), (row + 9, bits)]);
            }
            prop_assert_eq!(other.1.append_run(&mut other.0, values.into_iter()), count);
            prop_assert_eq!(format!("{:?}", one.1), format!("{:?}", other.1));
        }
        let (mut want, mut found) = (Vec::new(), Vec::new());
        one.1.copy_bits(&one.0, &mut want);
        other.1.copy_bits(&other.0, &mut found);
        prop_assert_eq!(want, found);
    }
}

proptest! {
    /// Would catch two chunks that are taken for equal and are not: one value another, one row
    /// elsewhere, one value more or less.
    #[test]
    fn equal_content_is_equal_bytes_and_no_other(
        values in prop::collection::vec((1u16..4, prop_oneof![3 => 0u64..3, 1 => any::<u64>()]), 1..90),
        at: prop::sample::Index,
        what in 0..3,
        by: u64,
    ) {
        let chunk_of = |steps: &[(u16, u64)], first: u16| {
            let mut row = first;
            let each = steps.iter().map(|(step, value)| {
                row += step;
                (row, (*value as f64).to_bits())
            });
            each.collect::<Vec<_>>()
        };
        let one = chunk_of(&values, 0);
        // Rows count from the chunk's first one.
        prop_assert_eq!(content(&one), content(&chunk_of(&values, 7)));
        let (mut other, at) = (values.clone(), at.index(values.len()));
        match what {
            0 => other[at].1 ^= by,
            1 => other[at].0 += 1,
            _ => other.truncate(at),
        }
        let other = chunk_of(&other, 0);
        let relative = |rows: &[(u16, u64)]| {
            let first = rows.first().map_or(0, |(row, _)| *row);
            rows.iter().map(|(row, bits)| (row - first, *bits)).collect::<Vec<_>>()
        };
        prop_assert_eq!(
            content(&one) == content(&other),
            relative(&one) == relative(&other)
        );
    }
}
