//! Series with samples in messages: texts and timestamp columns once per message, values as they
//! are. A series of more samples than one message should hold goes in pieces.
//!
//! The reader of a message believes nothing: positions, lengths, the order of timestamps and of
//! histograms are checked, and what label sets may grow to is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::messages::wire;
use super::messages::{Unreadable, bound, unreadable};
use crate::codec::{folds, histograms, varint};
use crate::model::{Fold, LabelSet, Samples};

/// A piece has at most so many samples: 256 KiB of values.
const PIECE_SAMPLES: usize = 1 << 15;
/// A message is closed when its columns, values and texts reach so many bytes.
const MESSAGE_BYTES: usize = 1 << 18;
/// It is closed at so many samples too: constant ones cost no bytes, but memory where it is read.
const MESSAGE_SAMPLES: usize = 1 << 17;
/// A message with more is not read.
const MESSAGE_SAMPLES_MAX: usize = MESSAGE_SAMPLES + PIECE_SAMPLES;
/// All label sets of one message together may have so many bytes of text: each is bounded where
/// it was written, but a message can name one long text many times.
const LABEL_BYTES_MAX: usize = 1 << 26;

/// A series, or a further piece of the one before it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Piece {
    /// `None`: of the same series as the piece before.
    pub(super) labels: Option<LabelSet>,
    pub(super) samples: Samples,
}

/// A message that is being filled.
#[derive(Debug, Default)]
pub(super) struct BatchWriter {
    batch: wire::SeriesBatch,
    texts: HashMap<String, u32>,
    bytes: usize,
    samples: usize,
    /// The timestamps of the last column.
    last: Vec<i64>,
}

impl BatchWriter {
    /// Whether it should be sent now.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= MESSAGE_BYTES || self.samples >= MESSAGE_SAMPLES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.series.is_empty()
    }

    /// The message, and an empty one in its place.
    pub(super) fn take(&mut self) -> wire::SeriesBatch {
        self.texts.clear();
        self.bytes = 0;
        self.samples = 0;
        self.last.clear();
        std::mem::take(&mut self.batch)
    }

    /// Adds a series; `send` takes messages that get full on the way.
    pub(super) fn add(
        &mut self,
        labels: &LabelSet,
        samples: &Samples,
        mut send: impl FnMut(wire::SeriesBatch),
    ) {
        let mut from = 0;
        while from < samples.len() || from == 0 {
            let to = samples.len().min(from + PIECE_SAMPLES);
            self.piece((from == 0).then_some(labels), samples, from, to);
            from = to.max(1);
            if self.is_full() {
                send(self.take());
            }
        }
    }

    fn piece(&mut self, labels: Option<&LabelSet>, samples: &Samples, from: usize, to: usize) {
        let mut series = wire::Series {
            further: labels.is_none(),
            ..wire::Series::default()
        };
        for (name, value) in labels.iter().flat_map(|labels| labels.iter()) {
            series.labels.push(self.text(name));
            series.labels.push(self.text(value));
        }
        series.column = self.column(samples.timestamps.get(from..to).unwrap_or_default());
        put_values(
            samples.values.get(from..to).unwrap_or_default(),
            &mut series,
        );
        let first = samples
            .histograms
            .partition_point(|(at, _)| (*at as usize) < from);
        let mut bytes = Vec::new();
        for (at, histogram) in samples.histograms.iter().skip(first) {
            let at = *at as usize;
            if at >= to {
                break;
            }
            series
                .histogram_at
                .push(u32::try_from(at - from).unwrap_or(u32::MAX));
            histograms::encode_one(histogram, &mut bytes);
        }
        self.bytes += bytes.len() + series.values.len() + 4 * series.labels.len() + 32;
        series.histograms = Bytes::from(bytes);
        if let Some(starts) = samples.starts.get(from..to) {
            series.starts = Bytes::from(put_starts(starts));
            self.bytes += series.starts.len();
        }
        series.folds = put_folds(samples, from, to);
        self.bytes += series.folds.len();
        self.samples += to - from;
        self.batch.series.push(series);
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(at) = self.texts.get(text) {
            return *at;
        }
        let at = u32::try_from(self.batch.texts.len()).unwrap_or(u32::MAX);
        self.batch.texts.push(text.to_owned());
        self.texts.insert(text.to_owned(), at);
        self.bytes += text.len();
        at
    }

    /// Series come target by target: mostly the last column is the same.
    fn column(&mut self, timestamps: &[i64]) -> u32 {
        if self.batch.columns.is_empty() || self.last != timestamps {
            let bytes = put_column(timestamps);
            self.bytes += bytes.len();
            self.batch.columns.push(Bytes::from(bytes));
            self.last.clear();
            self.last.extend_from_slice(timestamps);
        }
        u32::try_from(self.batch.columns.len() - 1).unwrap_or(u32::MAX)
    }
}

fn put_column(timestamps: &[i64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(timestamps.len() + 16);
    let (mut last, mut step) = (0i64, 0i64);
    for (number, at) in timestamps.iter().enumerate() {
        let next = at.wrapping_sub(last);
        varint::put_i64(&mut out, next.wrapping_sub(step));
        // The first is no step of the others.
        step = if number == 0 { 0 } else { next };
        last = *at;
    }
    out
}

fn take_column(mut bytes: &[u8]) -> Result<Vec<i64>, Unreadable> {
    let input = &mut bytes;
    bound("timestamps of a piece", input.len(), 10 * PIECE_SAMPLES)?;
    let mut out = Vec::with_capacity(input.len());
    let (mut last, mut step) = (0i64, 0i64);
    while !input.is_empty() {
        let second = varint::take_i64(input).map_err(|error| Unreadable(error.to_string()))?;
        let next = second.wrapping_add(step);
        let at = last.wrapping_add(next);
        if !out.is_empty() && at <= last {
            return Err(unreadable("timestamps do not rise"));
        }
        step = if out.is_empty() { 0 } else { next };
        last = at;
        out.push(at);
    }
    Ok(out)
}

fn put_values(values: &[f64], series: &mut wire::Series) {
    let first = values.first().map(|value| value.to_bits());
    if values.iter().all(|value| Some(value.to_bits()) == first) {
        series.constant = first;
        return;
    }
    let mut bytes = Vec::with_capacity(values.len() * 8);
    for value in values {
        bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    series.values = Bytes::from(bytes);
}

fn take_values(series: &wire::Series, len: usize) -> Result<Vec<f64>, Unreadable> {
    if series.values.is_empty() {
        return match series.constant {
            Some(bits) => Ok(vec![f64::from_bits(bits); len]),
            None if len == 0 => Ok(Vec::new()),
            None => Err(unreadable("values are missing")),
        };
    }
    if series.values.len() != len * 8 {
        return Err(unreadable(
            "a series has another number of values than timestamps",
        ));
    }
    let value = |bytes: &[u8]| f64::from_bits(bytes.try_into().map_or(0, u64::from_le_bytes));
    Ok(series.values.chunks_exact(8).map(value).collect())
}

fn put_starts(starts: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last = 0i64;
    for start in starts {
        varint::put_i64(&mut out, start.wrapping_sub(last));
        last = *start;
    }
    out
}

fn take_starts(mut bytes: &[u8], len: usize) -> Result<Vec<i64>, Unreadable> {
    let input = &mut bytes;
    let (mut out, mut last) = (Vec::new(), 0i64);
    while !input.is_empty() {
        let next = varint::take_i64(input).map_err(|error| Unreadable(error.to_string()))?;
        last = last.wrapping_add(next);
        out.push(last);
    }
    if out.is_empty() || out.len() == len {
        return Ok(out);
    }
    Err(unreadable(
        "a series has another number of start timestamps than timestamps",
    ))
}

/// The folds of a piece, by their rows in it.
fn put_folds(samples: &Samples, from: usize, to: usize) -> Bytes {
    let place = |row: usize| {
        let folds = &samples.folds;
        folds.partition_point(|(at, _)| (*at as usize) < row)
    };
    let within = samples.folds.get(place(from)..place(to));
    let within = within.unwrap_or_default().iter();
    let within: Vec<(u32, Fold)> = within
        .filter_map(|(at, fold)| {
            let row = (*at as usize).checked_sub(from)?;
            Some((u32::try_from(row).ok()?, *fold))
        })
        .collect();
    let mut bytes = Vec::new();
    if !within.is_empty() {
        let values = samples.values.get(from..to).unwrap_or_default();
        folds::encode(values, &within, &mut bytes);
    }
    Bytes::from(bytes)
}

fn take_folds(bytes: &[u8], samples: &mut Samples) -> Result<(), Unreadable> {
    if !bytes.is_empty() {
        let folds = folds::decode(bytes, &samples.values);
        samples.folds = folds.map_err(|error| Unreadable(error.to_string()))?;
    }
    Ok(())
}

fn take_histograms(series: &wire::Series, samples: &mut Samples) -> Result<(), Unreadable> {
    let mut input = series.histograms.as_ref();
    let mut next = 0;
    for at in &series.histogram_at {
        if *at < next || *at as usize >= samples.len() {
            return Err(unreadable(
                "positions of histograms do not rise or are past the end",
            ));
        }
        next = at.saturating_add(1);
        let histogram = histograms::decode_one(&mut input);
        let histogram = histogram.map_err(|error| Unreadable(error.to_string()))?;
        samples.histograms.push((*at, Arc::new(histogram)));
    }
    if input.is_empty() {
        return Ok(());
    }
    Err(unreadable("bytes are left over after the histograms"))
}

/// The pieces of a message.
pub(super) fn take_batch(batch: &wire::SeriesBatch) -> Result<Vec<Piece>, Unreadable> {
    let (mut label_bytes, mut held) = (0usize, 0usize);
    let mut pieces = Vec::with_capacity(batch.series.len());
    // Timestamps are decoded once for the series that share them.
    let mut last: Option<(u32, Vec<i64>)> = None;
    for series in &batch.series {
        let mut samples = Samples::default();
        match &last {
            Some((column, timestamps)) if *column == series.column => {
                samples.timestamps.clone_from(timestamps);
            }
            _ => {
                let column = batch.columns.get(series.column as usize);
                let column = column.ok_or_else(|| unreadable("a column is missing"))?;
                samples.timestamps = take_column(column)?;
                last = Some((series.column, samples.timestamps.clone()));
            }
        }
        held = held.saturating_add(samples.timestamps.len());
        bound("samples of a message", held, MESSAGE_SAMPLES_MAX)?;
        samples.values = take_values(series, samples.timestamps.len())?;
        samples.starts = take_starts(&series.starts, samples.timestamps.len())?;
        take_histograms(series, &mut samples)?;
        take_folds(&series.folds, &mut samples)?;
        let labels = if series.further {
            None
        } else {
            Some(take_labels(&batch.texts, &series.labels, &mut label_bytes)?)
        };
        pieces.push(Piece { labels, samples });
    }
    Ok(pieces)
}

fn take_labels(
    texts: &[String],
    positions: &[u32],
    all_bytes: &mut usize,
) -> Result<LabelSet, Unreadable> {
    let text = |at: &u32| texts.get(*at as usize).map(String::as_str);
    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(positions.len() / 2);
    for pair in positions.chunks(2) {
        let found = match pair {
            [name, value] => text(name).zip(text(value)),
            _ => None,
        };
        let (name, value) = found.ok_or_else(|| unreadable("a text of a label is missing"))?;
        *all_bytes = all_bytes.saturating_add(name.len() + value.len());
        bound("bytes of labels", *all_bytes, LABEL_BYTES_MAX)?;
        pairs.push((name, value));
    }
    LabelSet::from_pairs(&pairs).map_err(|error| Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::model::{
        Buckets, Histogram, ResetHint, Resolution, TimestampMs, Value, downsample, stale_nan,
    };

    fn histogram(count: u64) -> Value {
        Value::Histogram(Arc::new(Histogram {
            schema: 1,
            zero_threshold: 0.001,
            sum: 3.5,
            buckets: Buckets::Integer {
                count,
                zero_count: count,
                positive: Vec::new(),
                negative: Vec::new(),
            },
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
            reset_hint: ResetHint::Unknown,
        }))
    }

    fn samples() -> impl Strategy<Value = Samples> {
        let value = prop_oneof![
            6 => any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
            6 => Just(Value::Float(1.5)),
            1 => Just(Value::Float(stale_nan())),
            1 => any::<u64>().prop_map(histogram),
        ];
        let start = prop_oneof![9 => Just(0i64), 1 => any::<i64>()];
        let one = (
            prop_oneof![9 => 0i64..90_000, 1 => any::<i64>()],
            value,
            start,
        );
        prop::collection::btree_map(one.0, (one.1, one.2), 0..40).prop_map(|all| {
            let mut samples = Samples::default();
            for (at, (value, start)) in all {
                samples.push(TimestampMs(at), value, TimestampMs(start));
            }
            if samples.len() % 2 == 0 {
                samples = downsample(&samples, Resolution::FiveMinutes).unwrap_or(samples);
            }
            samples
        })
    }

    fn labels() -> impl Strategy<Value = LabelSet> {
        let text = "[a-c]{1,3}|é|[a-z]{200}";
        prop::collection::btree_map(text, text, 0..5).prop_map(|pairs| {
            let pairs: Vec<(String, String)> = pairs.into_iter().collect();
            LabelSet::from_pairs(&pairs).unwrap()
        })
    }

    /// Writes series and reads them back, message by message, as a peer would.
    fn through(series: &[(LabelSet, Samples)]) -> Vec<(LabelSet, Samples)> {
        let (mut writer, mut messages) = (BatchWriter::default(), Vec::new());
        for (labels, samples) in series {
            writer.add(labels, samples, |batch| messages.push(batch));
        }
        messages.push(writer.take());
        let mut all: Vec<(LabelSet, Samples)> = Vec::new();
        for message in messages {
            let bytes = message.encode_to_vec();
            assert!(bytes.len() < 2 << 20, "{} bytes", bytes.len());
            let message = wire::SeriesBatch::decode(bytes.as_slice()).unwrap();
            for piece in take_batch(&message).unwrap() {
                match piece.labels {
                    Some(labels) => all.push((labels, piece.samples)),
                    None => drop(all.last_mut().unwrap().1.merge(&piece.samples)),
                }
            }
        }
        all
    }

    proptest! {
        #[test]
        fn any_series_come_back(series in prop::collection::vec((labels(), samples()), 0..12)) {
            prop_assert_eq!(through(&series), series);
        }

        /// A byte changed anywhere gives an error or other series, and never harm.
        #[test]
        fn damage_does_no_harm(
            series in prop::collection::vec((labels(), samples()), 1..6),
            at: prop::sample::Index,
            byte: u8,
        ) {
            let mut writer = BatchWriter::default();
            for (labels, samples) in &series {
                writer.add(labels, samples, |_| {});
            }
            let mut bytes = writer.take().encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(message) = wire::SeriesBatch::decode(bytes.as_slice())
                && let Ok(pieces) = take_batch(&message)
            {
                for piece in pieces {
                    prop_assert!(piece.samples.timestamps.is_sorted_by(|a, b| a < b));
                    prop_assert_eq!(piece.samples.values.len(), piece.samples.len());
                }
            }
        }
    }

    #[test]
    fn long_and_constant_series_are_cut() {
        let series = |len: i64, value: fn(i64) -> f64| {
            let mut samples = Samples::default();
            for i in 0..len {
                samples.push(
                    TimestampMs(i * 1000),
                    Value::Float(value(i)),
                    TimestampMs(0),
                );
            }
            let labels = LabelSet::from_pairs(&[("a", len.to_string())]).unwrap();
            (labels, samples)
        };
        let all = [
            series(100_000, |i| i as f64),
            series(300_001, |_| 1.0),
            series(1, |_| 2.0),
            series(0, |_| 0.0),
            series(32_768, |_| 3.0),
        ];
        assert_eq!(through(&all), all);
    }

    /// A small message that would fill the memory is refused.
    #[test]
    fn bombs_are_refused() {
        let column = put_column(&(0..i64::try_from(PIECE_SAMPLES).unwrap()).collect::<Vec<_>>());
        let constant = wire::Series {
            labels: vec![0, 0],
            constant: Some(0),
            ..wire::Series::default()
        };
        let batch = wire::SeriesBatch {
            texts: vec!["a".to_owned()],
            columns: vec![Bytes::from(column)],
            series: vec![constant; 100_000],
        };
        assert!(take_batch(&batch).is_err());
        let long = wire::Series {
            labels: (0..4000).collect(),
            ..wire::Series::default()
        };
        let texts: Vec<String> = (0..4000).map(|i| format!("{i:0>1000}")).collect();
        let batch = wire::SeriesBatch {
            texts,
            columns: vec![Bytes::new()],
            series: vec![long; 100],
        };
        assert!(take_batch(&batch).is_err());
    }
}
