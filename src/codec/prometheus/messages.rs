//! Samples in Prometheus' protobuf messages: `prompb/types.proto` of prometheus/prometheus, which
//! remote-write 1.0 and remote read share, and `metrics.proto` of prometheus/client_model, in which
//! native histograms have the same fields under other numbers.
//!
//! Only written here; what senders write is read in `ingest`.

use super::super::protobuf::Message;
use crate::model::{Buckets, Histogram, LabelSet, ResetHint, Span};

/// The labels of a `TimeSeries` or `ChunkedSeries`.
pub fn put_labels(series: &mut Message<'_>, labels: &LabelSet) {
    for (name, value) in labels.iter() {
        series.message(1, |label| {
            label.bytes(1, name.as_bytes());
            label.bytes(2, value.as_bytes());
        });
    }
}

/// A float of a `TimeSeries`.
pub fn put_float(series: &mut Message<'_>, time: i64, value: f64) {
    series.message(2, |sample| {
        sample.double(1, value);
        sample.int(2, time);
    });
}

/// A histogram of a `TimeSeries`.
pub fn put_histogram(series: &mut Message<'_>, time: i64, histogram: &Histogram) {
    series.message(4, |message| {
        match &histogram.buckets {
            Buckets::Integer { count, .. } => message.uint(1, *count),
            Buckets::Float { count, .. } => message.double(2, *count),
        }
        message.double(3, histogram.sum);
        put_native(message, 4, histogram);
        let hint = match histogram.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Yes => 1,
            ResetHint::No => 2,
            ResetHint::Gauge => 3,
        };
        message.uint(14, hint);
        message.int(15, time);
        message.doubles(16, &histogram.custom_values);
    });
}

/// A native histogram as a `Histogram` of client_model, but for its name and its time.
pub fn put_client_histogram(message: &mut Message<'_>, histogram: &Histogram) {
    match &histogram.buckets {
        Buckets::Integer { count, .. } => message.uint(1, *count),
        Buckets::Float { count, .. } => message.double(4, *count),
    }
    message.double(2, histogram.sum);
    put_native(message, 5, histogram);
    if histogram.positive_spans.is_empty() && histogram.negative_spans.is_empty() {
        // Without any span it would be taken for a classic one.
        let (offset, length) = (0, 0);
        put_spans(message, 12, &[Span { offset, length }]);
    }
}

/// Schema, zero bucket, spans and buckets: ten fields in one order, of which the first has this
/// number.
fn put_native(message: &mut Message<'_>, first: u32, histogram: &Histogram) {
    message.sint(first, i64::from(histogram.schema));
    message.double(first + 1, histogram.zero_threshold);
    match &histogram.buckets {
        Buckets::Integer { zero_count, .. } => message.uint(first + 2, *zero_count),
        Buckets::Float { zero_count, .. } => message.double(first + 3, *zero_count),
    }
    put_spans(message, first + 4, &histogram.negative_spans);
    put_spans(message, first + 7, &histogram.positive_spans);
    match &histogram.buckets {
        Buckets::Integer {
            positive, negative, ..
        } => {
            message.sints(first + 5, negative);
            message.sints(first + 8, positive);
        }
        Buckets::Float {
            positive, negative, ..
        } => {
            message.doubles(first + 6, negative);
            message.doubles(first + 9, positive);
        }
    }
}

fn put_spans(message: &mut Message<'_>, number: u32, spans: &[Span]) {
    for span in spans {
        message.message(number, |one| {
            one.sint(1, i64::from(span.offset));
            one.uint(2, u64::from(span.length));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::protobuf::{Field, Reader};
    use super::*;

    /// Fields by number, in the order of their numbers, as texts.
    fn fields(bytes: &[u8]) -> Vec<(u32, String)> {
        let mut reader = Reader::new(bytes);
        let mut fields = Vec::new();
        while let Some((number, field)) = reader.field().unwrap() {
            let text = match field {
                Field::Varint(value) => value.to_string(),
                Field::Fixed64(bits) => format!("{:?}", f64::from_bits(bits)),
                Field::Bytes(bytes) => format!("{bytes:?}"),
                other => panic!("{other:?}"),
            };
            fields.push((number, text));
        }
        fields.sort();
        fields
    }

    fn histogram(buckets: Buckets) -> Histogram {
        let span = |offset, length| Span { offset, length };
        Histogram {
            schema: -53,
            zero_threshold: 0.25,
            sum: 2.5,
            buckets,
            positive_spans: vec![span(-2, 1), span(3, 1)],
            negative_spans: vec![span(1, 1)],
            custom_values: vec![0.5],
            reset_hint: ResetHint::Gauge,
        }
    }

    fn integers() -> Histogram {
        histogram(Buckets::Integer {
            count: 7,
            zero_count: 4,
            positive: vec![1, -2],
            negative: vec![3],
        })
    }

    fn floats() -> Histogram {
        histogram(Buckets::Float {
            count: 7.5,
            zero_count: 4.5,
            positive: vec![1.5, 2.0],
            negative: vec![3.0],
        })
    }

    fn check(bytes: &[u8], want: &[(u32, &str)]) {
        let found = fields(bytes);
        let found: Vec<(u32, &str)> = found.iter().map(|(n, text)| (*n, text.as_str())).collect();
        assert_eq!(found, want);
    }

    fn put(write: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Message::new(&mut out));
        out
    }

    /// What is inside the only field of a message.
    fn inside(bytes: &[u8], number: u32) -> &[u8] {
        let mut reader = Reader::new(bytes);
        let (found, field) = reader.field().unwrap().unwrap();
        assert_eq!((found, reader.remaining()), (number, 0));
        field.bytes(number).unwrap()
    }

    const PACKED_1_5_AND_2: &str = "[0, 0, 0, 0, 0, 0, 248, 63, 0, 0, 0, 0, 0, 0, 0, 64]";
    const PACKED_3: &str = "[0, 0, 0, 0, 0, 0, 8, 64]";
    const PACKED_HALF: &str = "[0, 0, 0, 0, 0, 0, 224, 63]";

    /// The numbers are those of the two definitions, written down here once more.
    #[test]
    fn histograms_have_the_fields_of_both_definitions() {
        let whole = put(|series| put_histogram(series, 9, &integers()));
        check(
            inside(&whole, 4),
            &[
                (1, "7"),
                (3, "2.5"),
                (4, "105"),
                (5, "0.25"),
                (6, "4"),
                (8, "[8, 2, 16, 1]"),
                (9, "[6]"),
                (11, "[8, 3, 16, 1]"),
                (11, "[8, 6, 16, 1]"),
                (12, "[2, 3]"),
                (14, "3"),
                (15, "9"),
                (16, PACKED_HALF),
            ],
        );
        let float = put(|series| put_histogram(series, -1, &floats()));
        check(
            inside(&float, 4),
            &[
                (2, "7.5"),
                (3, "2.5"),
                (4, "105"),
                (5, "0.25"),
                (7, "4.5"),
                (8, "[8, 2, 16, 1]"),
                (10, PACKED_3),
                (11, "[8, 3, 16, 1]"),
                (11, "[8, 6, 16, 1]"),
                (13, PACKED_1_5_AND_2),
                (14, "3"),
                (15, "18446744073709551615"),
                (16, PACKED_HALF),
            ],
        );
        check(
            &put(|message| put_client_histogram(message, &integers())),
            &[
                (1, "7"),
                (2, "2.5"),
                (5, "105"),
                (6, "0.25"),
                (7, "4"),
                (9, "[8, 2, 16, 1]"),
                (10, "[6]"),
                (12, "[8, 3, 16, 1]"),
                (12, "[8, 6, 16, 1]"),
                (13, "[2, 3]"),
            ],
        );
        check(
            &put(|message| put_client_histogram(message, &floats())),
            &[
                (2, "2.5"),
                (4, "7.5"),
                (5, "105"),
                (6, "0.25"),
                (8, "4.5"),
                (9, "[8, 2, 16, 1]"),
                (11, PACKED_3),
                (12, "[8, 3, 16, 1]"),
                (12, "[8, 6, 16, 1]"),
                (14, PACKED_1_5_AND_2),
            ],
        );
    }

    /// Would catch a native histogram that a scraper takes for a classic one.
    #[test]
    fn a_histogram_without_spans_has_an_empty_one_for_a_scraper() {
        let bare = Histogram {
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            ..integers()
        };
        let scraped = fields(&put(|message| put_client_histogram(message, &bare)));
        assert!(scraped.contains(&(12, "[8, 0, 16, 0]".to_owned())));
        let read = put(|series| put_histogram(series, 9, &bare));
        assert!(
            fields(inside(&read, 4))
                .iter()
                .all(|(number, _)| *number != 11)
        );
    }

    #[test]
    fn labels_and_floats_stand_in_their_series() {
        let labels = LabelSet::from_pairs(&[("a", "1"), ("b", "ü")]).unwrap();
        let series = put(|series| {
            put_labels(series, &labels);
            put_float(series, 5, 1.0);
        });
        check(
            &series,
            &[
                (1, "[10, 1, 97, 18, 1, 49]"),
                (1, "[10, 1, 98, 18, 2, 195, 188]"),
                (2, "[9, 0, 0, 0, 0, 0, 0, 240, 63, 16, 5]"),
            ],
        );
    }
}
