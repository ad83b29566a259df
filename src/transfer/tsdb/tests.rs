//! Blocks that were written are read again: sample for sample, and damaged ones are refused.

use std::path::Path;
use std::sync::Arc;

use crate::model::{
    Buckets, Histogram, LabelSet, ResetHint, Samples, Span, TimeRange, TimestampMs, Value,
    stale_nan,
};
use crate::transfer::{
    BlockHistory, BlockSink, History, Item, Piece, Position, Sink, Wanted, find_blocks,
};

const DAY_MS: i64 = 86_400_000;

fn labels(name: &str, instance: usize) -> LabelSet {
    LabelSet::from_pairs(&[("__name__", name), ("instance", &instance.to_string())]).unwrap()
}

fn histogram(count: u64, hint: ResetHint, wide: bool) -> Histogram {
    Histogram {
        schema: if wide { -53 } else { 3 },
        zero_threshold: 2_f64.powi(-128),
        sum: count as f64 * 0.3,
        buckets: Buckets::Integer {
            count: count * 3,
            zero_count: count,
            positive: vec![count as i64, 0],
            negative: Vec::new(),
        },
        positive_spans: vec![Span {
            offset: -2,
            length: 2,
        }],
        negative_spans: Vec::new(),
        custom_values: if wide {
            vec![0.005, 1.0 / 3.0]
        } else {
            Vec::new()
        },
        reset_hint: hint,
    }
}

fn float_histogram(count: f64) -> Histogram {
    Histogram {
        schema: 0,
        zero_threshold: 0.1,
        sum: count,
        buckets: Buckets::Float {
            count,
            zero_count: 0.0,
            positive: vec![count],
            negative: vec![0.0],
        },
        positive_spans: vec![Span {
            offset: 0,
            length: 1,
        }],
        negative_spans: vec![Span {
            offset: 3,
            length: 1,
        }],
        custom_values: Vec::new(),
        reset_hint: ResetHint::Gauge,
    }
}

/// Three days of floats, and one day of histograms of every kind.
fn pieces() -> Vec<Piece> {
    let mut pieces = Vec::new();
    let none = TimestampMs(0);
    for day in [-1, 0, 2] {
        for instance in [2, 1, 10] {
            let mut samples = Samples::default();
            for step in 0..500 {
                let at = TimestampMs(day * DAY_MS + step * 15_000 + instance as i64);
                let value = match step {
                    7 => stale_nan(),
                    8 => f64::NAN,
                    _ => (step % 13) as f64 / 7.0,
                };
                samples.push(at, Value::Float(value), none);
            }
            let labels = labels("up", instance);
            pieces.push(Piece { labels, samples });
        }
    }
    let mut samples = Samples::default();
    // A reset, another layout, a stale marker, a gauge of floats, and a float between them.
    let values = [
        Value::Histogram(Arc::new(histogram(5, ResetHint::Unknown, false))),
        Value::Histogram(Arc::new(histogram(9, ResetHint::No, false))),
        Value::Histogram(Arc::new(histogram(30, ResetHint::No, false))),
        Value::Histogram(Arc::new(histogram(4, ResetHint::Yes, false))),
        Value::Float(3.0),
        Value::Histogram(Arc::new(histogram(4, ResetHint::Unknown, true))),
        Value::Histogram(Arc::new(Histogram::stale())),
        Value::Histogram(Arc::new(float_histogram(3.5))),
        Value::Histogram(Arc::new(float_histogram(2.5))),
        Value::Histogram(Arc::new(float_histogram(7.25))),
    ];
    for (at, value) in values.into_iter().enumerate() {
        samples.push(TimestampMs(2 * DAY_MS + at as i64), value, none);
    }
    pieces.push(Piece {
        labels: labels("latency", 1),
        samples,
    });
    pieces
}

fn write(folder: &Path) -> Vec<String> {
    let mut sink = BlockSink::new(folder).unwrap();
    for piece in pieces() {
        sink.put(&piece).unwrap();
    }
    sink.finish().unwrap();
    sink.written().to_vec()
}

fn read(folder: &Path, wanted: &Wanted, from: Position) -> Vec<(Piece, Position)> {
    let blocks = find_blocks(folder, wanted.range).unwrap();
    let mut history = BlockHistory::new(blocks, wanted.clone(), from);
    let mut all = Vec::new();
    while let Some(item) = history.next().unwrap() {
        let Item::Piece(piece) = item else {
            panic!("{item:?}");
        };
        all.push((piece, history.position()));
    }
    all
}

fn everything() -> Wanted {
    Wanted {
        range: TimeRange::ALL,
        matchers: Vec::new(),
    }
}

#[test]
fn what_is_written_is_read_again_from_any_place_on() {
    let folder = tempfile::tempdir().unwrap();
    let names = write(folder.path());
    assert_eq!(names.len(), 3);
    let all = read(folder.path(), &everything(), Position::default());
    // By day, then by labels.
    let mut want = pieces();
    want.sort_by_key(|piece| {
        let day = piece.samples.timestamps[0].div_euclid(DAY_MS);
        (day, piece.labels.clone())
    });
    let got: Vec<Piece> = all.iter().map(|(piece, _)| piece.clone()).collect();
    assert_eq!(got, want);
    for (at, (_, position)) in all.iter().enumerate() {
        let rest = read(folder.path(), &everything(), position.clone());
        assert_eq!(rest, all[at + 1..], "from {position:?}");
    }
    // Written again it is the same.
    assert_eq!(write(folder.path()), names);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_selection_is_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let matcher = crate::model::Matcher::new("instance", crate::model::MatchOp::Equal, "1");
    let wanted = Wanted {
        range: TimeRange::new(TimestampMs(15_001), TimestampMs(45_001)),
        matchers: vec![matcher.unwrap()],
    };
    let all = read(folder.path(), &wanted, Position::default());
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].0.samples.timestamps, [15_001, 30_001, 45_001]);
}

/// Flips every byte of a small block's files, one at a time: it is refused, or nothing changed.
#[test]
fn a_damaged_block_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = BlockSink::new(folder.path()).unwrap();
    let mut piece = pieces().pop().unwrap();
    piece.samples.clip(TimeRange::new(
        TimestampMs(2 * DAY_MS),
        TimestampMs(2 * DAY_MS + 2),
    ));
    sink.put(&piece).unwrap();
    sink.finish().unwrap();
    let block = folder.path().join(&sink.written()[0]);
    let read_all = || -> Result<Vec<Piece>, crate::transfer::Error> {
        let blocks = find_blocks(folder.path(), TimeRange::ALL)?;
        let mut history = BlockHistory::new(blocks, everything(), Position::default());
        let mut all = Vec::new();
        while let Some(item) = history.next()? {
            if let Item::Piece(piece) = item {
                all.push(piece);
            }
        }
        Ok(all)
    };
    let whole = read_all().unwrap();
    assert_eq!(whole, [piece]);
    for name in ["index", "chunks/000001"] {
        let path = block.join(name);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            std::fs::write(&path, &damaged).unwrap();
            if let Ok(all) = read_all() {
                assert_eq!(all, whole, "{name}, byte {at}");
            }
        }
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!(read_all().is_err(), "{name}, {len} bytes");
        }
        std::fs::write(&path, &bytes).unwrap();
    }
}
