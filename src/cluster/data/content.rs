//! Raw content in messages: texts once per message, samples as they are. A series of more samples
//! than a message should hold comes in several.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::wire::{DataError, messages, read, wrong};
use crate::codec::{histograms, varint};
use crate::model::{LabelSet, Metadata, MetricKind, Samples, TenantId};
use crate::store::{Pulled, PulledSeries};

/// A message is closed when it has so many bytes. The item that closes it may be as long as a
/// record of the log: about a megabyte.
const MESSAGE_BYTES: usize = 256 << 10;
/// Samples of a series that go into one message at most.
const PIECE_SAMPLES: usize = 8192;
/// A longer message is not read.
const BODY_MAX: usize = 4 << 20;
/// What all label sets of one message may come to: a message can name one long text many times.
const LABEL_BYTES_MAX: usize = 32 << 20;
/// Labels of a series: far beyond what ingest lets through.
const LABELS_MAX: usize = 1 << 16;
/// Different metadata of one family.
const METADATA_MAX: usize = 64;

/// What a message brought.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Content {
    /// Series and metadata.
    pub items: Vec<Pulled>,
    /// Whether it was the last message: without it something is missing.
    pub last: bool,
}

/// Fills messages.
#[derive(Debug, Default)]
pub struct ContentWriter {
    content: messages::Content,
    texts: HashMap<String, u32>,
    bytes: usize,
}

impl ContentWriter {
    /// Adds an item; `send` is given the messages that are full then.
    ///
    /// # Errors
    /// The first of `send`.
    pub fn add<E>(
        &mut self,
        item: &Pulled,
        mut send: impl FnMut(Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        match item {
            Pulled::Series(series) => {
                let mut from = 0;
                while from < series.samples.len() {
                    let to = series.samples.len().min(from + PIECE_SAMPLES);
                    from = self.piece(series, from, to);
                    if self.bytes >= MESSAGE_BYTES {
                        send(self.take(false))?;
                    }
                }
            }
            Pulled::Metadata(tenant, family, list) => {
                // One of them may be as long as a message already.
                for metadata in list {
                    self.family(tenant, family, metadata);
                    if self.bytes >= MESSAGE_BYTES {
                        send(self.take(false))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The last message.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.take(true)
    }

    fn take(&mut self, last: bool) -> Bytes {
        self.texts.clear();
        self.bytes = 0;
        let mut content = std::mem::take(&mut self.content);
        content.last = last;
        Bytes::from(content.encode_to_vec())
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(at) = self.texts.get(text) {
            return *at;
        }
        let at = u32::try_from(self.content.texts.len()).unwrap_or(u32::MAX);
        self.content.texts.push(text.to_owned());
        self.texts.insert(text.to_owned(), at);
        self.bytes += text.len() + 8;
        at
    }

    /// Adds samples `from` to `to`, or fewer when they are large; returns where it stopped.
    fn piece(&mut self, series: &PulledSeries, from: usize, to: usize) -> usize {
        let mut message = messages::Series {
            tenant: self.text(series.tenant.as_str()),
            ..messages::Series::default()
        };
        for (name, value) in series.labels.iter() {
            let pair = [self.text(name), self.text(value)];
            message.labels.extend(pair);
        }
        let samples = &series.samples;
        let (mut timestamps, mut values) = (Vec::new(), Vec::new());
        let (mut native, mut starts) = (Vec::new(), Vec::new());
        let has_starts = !samples.starts.is_empty();
        let (mut last, mut at) = (0i64, from);
        while at < to {
            let Some((time, value, start)) = samples.get(at) else {
                break;
            };
            if at == from {
                varint::put_i64(&mut timestamps, time.0);
            } else {
                varint::put_u64(&mut timestamps, time.0.wrapping_sub(last).cast_unsigned());
            }
            last = time.0;
            let bits = match value {
                crate::model::Value::Float(value) => value.to_bits(),
                crate::model::Value::Histogram(histogram) => {
                    let place = u32::try_from(at - from).unwrap_or(u32::MAX);
                    message.histogram_at.push(place);
                    histograms::encode_one(&histogram, &mut native);
                    0
                }
            };
            values.extend_from_slice(&bits.to_le_bytes());
            if has_starts {
                varint::put_i64(&mut starts, start.0);
            }
            at += 1;
            if native.len() >= MESSAGE_BYTES {
                break;
            }
        }
        let lengths = [&timestamps, &values, &native, &starts].map(Vec::len);
        self.bytes += lengths.iter().sum::<usize>() + 4 * message.labels.len() + 32;
        message.timestamps = Bytes::from(timestamps);
        message.values = Bytes::from(values);
        message.histograms = Bytes::from(native);
        message.starts = Bytes::from(starts);
        self.content.series.push(message);
        at
    }

    fn family(&mut self, tenant: &TenantId, family: &str, metadata: &Metadata) {
        self.bytes += tenant.as_str().len() + family.len() + 32;
        self.bytes += metadata.help.len() + metadata.unit.len();
        self.content.families.push(messages::Family {
            tenant: tenant.as_str().to_owned(),
            name: family.to_owned(),
            metadata: vec![messages::Metadata {
                kind: metadata.kind as u32,
                help: metadata.help.clone(),
                unit: metadata.unit.clone(),
            }],
        });
    }
}

/// Reads a message.
///
/// # Errors
/// When anything in it is not as a writer makes it.
pub fn decode_content(body: Bytes) -> Result<Content, DataError> {
    if body.len() > BODY_MAX {
        let problem = format!("it has {} bytes, at most {BODY_MAX} are read", body.len());
        return Err(wrong("content", problem));
    }
    let message: messages::Content = read("content", body)?;
    let mut items = Vec::with_capacity(message.families.len() + message.series.len());
    for family in message.families {
        items.push(take_family(family)?);
    }
    let mut label_bytes = 0usize;
    for series in &message.series {
        let labels = take_labels(series, &message.texts, &mut label_bytes)?;
        items.push(Pulled::Series(PulledSeries {
            tenant: take_tenant(text(&message.texts, series.tenant)?)?,
            labels,
            samples: take_samples(series)?,
        }));
    }
    Ok(Content {
        items,
        last: message.last,
    })
}

fn text(texts: &[String], at: u32) -> Result<&str, DataError> {
    usize::try_from(at)
        .ok()
        .and_then(|at| texts.get(at))
        .map(String::as_str)
        .ok_or_else(|| {
            wrong(
                "a series",
                format!("it names the text {at}, which is not there"),
            )
        })
}

fn take_tenant(name: &str) -> Result<TenantId, DataError> {
    TenantId::new(name).map_err(|error| wrong("a tenant", error.to_string()))
}

fn take_labels(
    series: &messages::Series,
    texts: &[String],
    total: &mut usize,
) -> Result<LabelSet, DataError> {
    let (pairs, rest) = series.labels.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > LABELS_MAX {
        let problem = format!("{} names and values", series.labels.len());
        return Err(wrong("a label set", problem));
    }
    let mut labels = Vec::with_capacity(pairs.len());
    for [name, value] in pairs {
        let (name, value) = (text(texts, *name)?, text(texts, *value)?);
        *total += name.len() + value.len() + 16;
        if *total > LABEL_BYTES_MAX {
            let problem = format!("more than {LABEL_BYTES_MAX} bytes of labels");
            return Err(wrong("content", problem));
        }
        if name.is_empty() || value.is_empty() {
            return Err(wrong("a label set", "a name or value is empty"));
        }
        if labels.last().is_some_and(|(last, _)| *last >= name) {
            return Err(wrong("a label set", "its names do not rise"));
        }
        labels.push((name, value));
    }
    LabelSet::from_pairs(&labels).map_err(|error| wrong("a label set", error.to_string()))
}

fn take_samples(series: &messages::Series) -> Result<Samples, DataError> {
    let (values, rest) = series.values.as_chunks::<8>();
    if !rest.is_empty() || values.len() > PIECE_SAMPLES {
        let problem = format!("{} bytes of values", series.values.len());
        return Err(wrong("a series", problem));
    }
    let broken = |error: crate::codec::Error| wrong("a series", error.to_string());
    let mut input = series.timestamps.as_ref();
    let mut samples = Samples {
        timestamps: Vec::with_capacity(values.len()),
        values: Vec::with_capacity(values.len()),
        ..Samples::default()
    };
    for value in values {
        let at = match samples.timestamps.last() {
            None => varint::take_i64(&mut input).map_err(broken)?,
            Some(last) => {
                let step = varint::take_u64(&mut input).map_err(broken)?;
                let at = last.checked_add_unsigned(step).filter(|_| step > 0);
                at.ok_or_else(|| wrong("a series", "its timestamps do not rise"))?
            }
        };
        samples.timestamps.push(at);
        samples
            .values
            .push(f64::from_bits(u64::from_le_bytes(*value)));
    }
    varint::finished(input, "timestamps").map_err(broken)?;
    take_histograms(series, &mut samples)?;
    let mut input = series.starts.as_ref();
    if !input.is_empty() {
        for _ in 0..values.len() {
            let start = varint::take_i64(&mut input).map_err(broken)?;
            samples.starts.push(start);
        }
        varint::finished(input, "start timestamps").map_err(broken)?;
    }
    Ok(samples)
}

fn take_histograms(series: &messages::Series, samples: &mut Samples) -> Result<(), DataError> {
    let mut input = series.histograms.as_ref();
    let mut next = 0;
    for at in &series.histogram_at {
        let place = usize::try_from(*at).unwrap_or(usize::MAX);
        let zero = samples.values.get(place).map(|value| value.to_bits());
        if *at < next || zero != Some(0) {
            return Err(wrong("a series", "a histogram is where none can be"));
        }
        next = *at + 1;
        let histogram = histograms::decode_one(&mut input)
            .map_err(|error| wrong("a histogram", error.to_string()))?;
        samples.histograms.push((*at, Arc::new(histogram)));
    }
    varint::finished(input, "histograms").map_err(|error| wrong("a series", error.to_string()))
}

fn take_family(family: messages::Family) -> Result<Pulled, DataError> {
    if family.name.is_empty() {
        return Err(wrong("metadata", "the family has no name"));
    }
    if family.metadata.len() > METADATA_MAX {
        let problem = format!("{} different of one family", family.metadata.len());
        return Err(wrong("metadata", problem));
    }
    let one = |metadata: messages::Metadata| Metadata {
        kind: MetricKind::from_number(u64::from(metadata.kind)),
        help: metadata.help,
        unit: metadata.unit,
    };
    let tenant = take_tenant(&family.tenant)?;
    let list = family.metadata.into_iter().map(one).collect();
    Ok(Pulled::Metadata(tenant, family.name, list))
}
