//! Whatever is put into a page comes out of it with every bit; damage is an error.

use proptest::prelude::*;

use super::super::strategies::{column, histogram, same};
use super::*;
use crate::codec::varint::{put_len, take_len, take_u8};
use crate::codec::version::{PAGE_CODED, PAGE_VARINT};
use crate::codec::{ROWS_MAX, frame};
use crate::model::{Resolution, downsample, stale_nan};

/// The series as a page of each encoding, whichever is shorter.
fn in_each(series: &[Samples]) -> [Vec<u8>; 2] {
    let mut coded = filled(Density::Dense, series).coded().unwrap();
    assert_eq!(coded[0], PAGE_CODED);
    frame::seal(&mut coded, 0);
    [built(series), coded]
}

fn filled(density: Density, series: &[Samples]) -> Builder {
    let mut builder = Builder::new(density);
    for (place, samples) in series.iter().enumerate() {
        assert_eq!(builder.push(samples.into()), Ok(place));
    }
    builder
}

fn samples(values: &[f64]) -> Samples {
    Samples {
        values: values.to_vec(),
        ..Samples::default()
    }
}

fn built(series: &[Samples]) -> Vec<u8> {
    let mut builder = filled(Density::Quick, series);
    let mut out = Vec::new();
    builder.finish(&mut out);
    assert!(builder.is_empty());
    out
}

fn equal(one: &Samples, other: &Samples) -> bool {
    let bits =
        |samples: &Samples| -> Vec<u64> { samples.values.iter().map(|v| v.to_bits()).collect() };
    bits(one) == bits(other)
        && one.starts == other.starts
        && one.folds == other.folds
        && one.histograms.len() == other.histograms.len()
        && one
            .histograms
            .iter()
            .zip(&other.histograms)
            .all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
}

/// How long the page of varints is.
fn check(series: &[Samples]) -> usize {
    let pages = in_each(series);
    for bytes in &pages {
        check_page(bytes, series);
    }
    pages[0].len()
}

fn check_page(bytes: &[u8], series: &[Samples]) {
    let page = Reader::open(bytes).unwrap();
    assert_eq!(page.len(), series.len());
    let mut out = samples(&[7.0]);
    // Backwards, because no series needs another one to have been read.
    for (place, want) in series.iter().enumerate().rev() {
        page.read(place, want.values.len(), &mut out).unwrap();
        assert!(equal(&out, want), "{place}: {out:?} {want:?}");
    }
    assert!(page.read(series.len(), 1, &mut out).is_err());
    for (place, want) in series.iter().enumerate() {
        check_some_rows(&page, place, want);
    }
}

/// Some rows are what all rows have there.
fn check_some_rows(page: &Reader, place: usize, want: &Samples) {
    let rows = want.values.len();
    let of_floats = want.histograms.is_empty()
        && want.starts.iter().all(|start| *start == 0)
        && want.folds.is_empty();
    let thirds: Vec<u32> = (0..u32::try_from(rows).unwrap())
        .filter(|row| row % 3 == 1)
        .collect();
    let last: Vec<u32> = thirds.last().copied().into_iter().collect();
    let picks = [
        Rows::Run(0..rows),
        Rows::Run(rows / 3..rows / 2),
        Rows::Run(0..0),
        Rows::Some(&thirds),
        Rows::Some(&last),
        Rows::Some(&[]),
    ];
    let mut scratch = Scratch::default();
    for pick in picks {
        let mut out = vec![1.0];
        let read = page.read_floats((place, rows), &pick, &mut scratch, &mut out);
        assert_eq!(read, Ok(of_floats), "{place}");
        let picked: Vec<f64> = match &pick {
            Rows::Run(run) => want.values[run.clone()].to_vec(),
            Rows::Some(some) => some.iter().map(|row| want.values[*row as usize]).collect(),
        };
        let bits = |values: &[f64]| -> Vec<u64> { values.iter().map(|v| v.to_bits()).collect() };
        let picked = if of_floats { picked } else { Vec::new() };
        assert_eq!(bits(&out[1..]), bits(&picked), "{place} {pick:?}");
    }
    let behind = Rows::Run(0..rows + 1);
    let read = page.read_floats((place, rows), &behind, &mut scratch, &mut Vec::new());
    assert!(read != Ok(true));
}

#[test]
fn series_that_move_alike_are_stored_once() {
    let walk: Vec<f64> = (0..480i32).map(|i| f64::from(i * i % 97 + i)).collect();
    let alone = check(&[samples(&walk)]);
    let shifted: Vec<f64> = walk.iter().map(|v| (v * 4096.0) + 77.0).collect();
    let mirrored: Vec<f64> = walk.iter().map(|v| (250.0 - v) / 1000.0).collect();
    let all = check(&[samples(&walk), samples(&shifted), samples(&mirrored)]);
    assert!(all < alone + 40, "{alone} {all}");
}

#[test]
fn a_page_of_idle_series_is_a_few_bytes() {
    let idle: Vec<Samples> = (0..64).map(|i| samples(&[f64::from(i % 3); 480])).collect();
    let size = check(&idle);
    assert!(size < 100, "{size}");
    let mut builder = Builder::new(Density::Quick);
    for samples in &idle {
        assert!(!builder.is_full());
        builder.push(samples.into()).unwrap();
    }
    assert!(builder.is_full());
    assert!(builder.push((&idle[0]).into()).is_err());
}

#[test]
fn the_wrong_number_of_rows_is_noticed() {
    for bytes in in_each(&[samples(&[1.0, 2.0, 4.0])]) {
        let page = Reader::open(&bytes).unwrap();
        let mut out = Samples::default();
        for rows in [0, 1, 2, 4, ROWS_MAX, usize::MAX] {
            assert!(page.read(0, rows, &mut out).is_err(), "{rows}");
        }
    }
}

#[test]
fn an_empty_page_and_empty_series_are_fine() {
    check(&[]);
    check(&[samples(&[]), samples(&[1.0]), samples(&[])]);
}

fn series() -> impl Strategy<Value = Samples> {
    let with_histograms = (
        prop::collection::vec(
            (any::<bool>(), histogram(), any::<prop::sample::Index>()),
            1..12,
        ),
        0u32..3,
    )
        .prop_map(|(rows, repeats)| {
            let mut samples = Samples::default();
            let all: Vec<_> = rows.iter().map(|row| row.1.clone()).collect();
            for (real, _, which) in &rows {
                for _ in 0..=repeats {
                    let at = u32::try_from(samples.values.len()).unwrap();
                    if *real {
                        samples
                            .histograms
                            .push((at, Arc::new(which.get(&all).clone())));
                        samples.values.push(0.0);
                    } else {
                        samples.values.push(stale_nan());
                    }
                }
            }
            samples
        });
    (
        prop_oneof![4 => column().prop_map(|values: Vec<f64>| samples(&values)), 1 => with_histograms],
        prop_oneof![
            3 => Just(Vec::new()),
            1 => prop::collection::vec(any::<i64>(), 300),
            1 => prop::collection::vec(0i64..3, 300),
        ],
    )
        .prop_map(|(mut samples, mut starts)| {
            // Some that were downsampled: times are not the page's.
            if samples.histograms.is_empty() && samples.values.len() % 3 == 0 {
                samples.timestamps = (1..).map(|n| n * 60_000).take(samples.values.len()).collect();
                samples = downsample(&samples, Resolution::FiveMinutes).unwrap_or(samples);
                samples.timestamps.clear();
            }
            starts.truncate(samples.values.len());
            if starts.iter().any(|start| *start != 0) {
                samples.starts = starts;
            }
            samples
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_page_comes_back(series in prop::collection::vec(series(), 0..8), twice: bool) {
        let mut series = series;
        if twice {
            series.extend_from_within(..);
        }
        check(&series);
    }

    #[test]
    fn damage_is_noticed(
        series in prop::collection::vec(series(), 0..4),
        at: prop::sample::Index,
        bit in 0..8,
        cut: prop::sample::Index,
    ) {
        for mut bytes in in_each(&series) {
            prop_assert!(Reader::open(&bytes[..cut.index(bytes.len())]).is_err());
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(Reader::open(&bytes).is_err());
        }
    }

    /// Behind the checksum and the compression: what only malice makes.
    #[test]
    fn no_body_panics(
        series in prop::collection::vec(series(), 0..4),
        at: prop::sample::Index,
        byte: u8,
        rows in 0usize..100,
        any: Vec<u8>,
    ) {
        let [varints, coded] = in_each(&series).map(|mut page| {
            page.truncate(page.len() - 4);
            page
        });
        let mut body = &varints[..];
        take_u8(&mut body, "").unwrap();
        let count = take_len(&mut body, "", 100).unwrap();
        let mut raw = frame::decompress(&mut body, "", 1 << 20).unwrap();
        let mut stored = vec![PAGE_VARINT];
        put_len(&mut stored, count);
        stored.push(0);
        put_len(&mut stored, raw.len());
        if !raw.is_empty() {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        stored.extend_from_slice(&raw);
        let mut changed = coded.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        let mut out = Samples::default();
        let (mut scratch, mut some) = (Scratch::default(), Vec::new());
        for body in [&stored, &changed, &any] {
            let Ok(page) = Reader::open_body(body) else {
                continue;
            };
            for place in 0..page.len() {
                page.read(place, rows, &mut out).ok();
                let run = Rows::Run(rows / 2..rows);
                page.read_floats((place, rows), &run, &mut scratch, &mut some).ok();
            }
        }
    }
}

/// Would catch a path or errors that are taken from the wrong place where a segment ends: they have a row between them.
#[test]
fn rows_around_the_end_of_a_segment_come_back() {
    let mut sum = 0.0;
    let sums = (0..4200u32).map(|row| {
        sum += f64::from(row * row % 977) / 7e8;
        sum
    });
    let series = [samples(&sums.collect::<Vec<_>>())];
    let [_, coded] = in_each(&series);
    let page = Reader::open(&coded).unwrap();
    let mut scratch = Scratch::default();
    for run in [
        0..1,
        4094..4098,
        4095..4096,
        4096..4097,
        4097..4098,
        4199..4200,
        4000..4200,
    ] {
        let mut out = Vec::new();
        let read = page.read_floats((0, 4200), &Rows::Run(run.clone()), &mut scratch, &mut out);
        assert_eq!(read, Ok(true));
        assert_eq!(out, series[0].values[run]);
    }
    check(&series);
}

/// What a day of such series takes in each encoding, and that the shorter one is taken.
#[test]
fn a_dense_page_is_the_shorter_one() {
    let noise = |seed: u64| {
        let mut state = seed;
        let step = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            f64::from(u32::try_from(state >> 54).unwrap())
        };
        samples(&std::iter::repeat_with(step).take(5760).collect::<Vec<_>>())
    };
    let dense = |series: &[Samples]| {
        let mut out = Vec::new();
        filled(Density::Dense, series).finish(&mut out);
        check_page(&out, series);
        out
    };
    let noisy = [noise(1), noise(2)];
    let (quick, small) = (built(&noisy), dense(&noisy));
    assert_eq!(small[0], PAGE_CODED);
    assert!(
        small.len() * 20 < quick.len() * 19,
        "{} {}",
        small.len(),
        quick.len()
    );
    // What comes again after a while is seen by zstd, and by no model of one number.
    let again: Vec<f64> = noise(3).values[..100].repeat(50);
    let repeated = [samples(&again)];
    assert_eq!(dense(&repeated), built(&repeated));
}
