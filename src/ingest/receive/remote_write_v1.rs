//! Remote-write 1.0: `prometheus.WriteRequest` (prometheus/prometheus, `prompb/remote.proto` and
//! `types.proto`), every series with its labels spelt out.
//!
//! ```text
//! WriteRequest    timeseries = 1 TimeSeries, metadata = 3 MetricMetadata
//! TimeSeries      labels = 1 Label, samples = 2 Sample, exemplars = 3, histograms = 4
//! Label           name = 1, value = 2
//! Sample          value = 1 double, timestamp = 2 int64
//! Exemplar        labels = 1 Label, value = 2 double, timestamp = 3 int64
//! MetricMetadata  type = 1, metric_family_name = 2, help = 4, unit = 5
//! ```
//!
//! Nearly every series carries one sample, whose 18 (or, for the value 0, 9) bytes stand at the
//! end. So a series is not walked: those bytes are taken for the sample, and what is before them
//! for the labels. If the hash of that is known, it was seen as a complete list of labels before,
//! and labels followed by a sample are what the series then is. If not, all fields are looked at.

use crate::codec::protobuf::{Reader, WireError};
use crate::model::{MetricKind, TimestampMs};

use super::super::native_histogram;
use super::super::series_key::SeriesKeys;
use super::super::validate::RawLabel;
use super::spelling::{Content, Item, RawExemplar, RawMetadata, Spelling, Walked};
use super::usual_sample;

/// Series and metadata of a request: where they lie in it.
#[derive(Default)]
pub(super) struct Outline {
    pub(super) series: Vec<(u32, u32)>,
    pub(super) metadata: Vec<(u32, u32)>,
}

/// A bound of [`outline`] was passed.
pub(super) struct TooMany;

/// Finds series and metadata in a request, at most so many of each.
pub(super) fn outline(
    body: &[u8],
    limit: usize,
    out: &mut Outline,
) -> Result<Result<(), TooMany>, WireError> {
    out.series.clear();
    out.metadata.clear();
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.field()? {
        let list = match number {
            1 => &mut out.series,
            3 => &mut out.metadata,
            _ => continue,
        };
        if list.len() >= limit {
            return Ok(Err(TooMany));
        }
        let len = field.bytes(number)?.len();
        let end = body.len() - reader.remaining();
        // Bodies are shorter than 4 GiB.
        let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
        list.push((place(end - len), place(end)));
    }
    Ok(Ok(()))
}

/// The spelling.
pub(super) struct V1<'k> {
    pub(super) keys: &'k SeriesKeys,
    pub(super) tenant: u128,
    pub(super) buckets_max: usize,
}

/// Takes the end of a series for its one sample. Returns the labels' length with it.
#[inline]
fn guess(series: &[u8]) -> Option<(usize, TimestampMs, f64)> {
    if let Some((labels, tail)) = series.split_last_chunk()
        && let Some((at, value)) = usual_sample::whole(tail)
    {
        return Some((labels.len(), at, value));
    }
    let (labels, tail) = series.split_last_chunk()?;
    let (at, value) = usual_sample::zero(tail)?;
    Some((labels.len(), at, value))
}

impl V1<'_> {
    #[inline]
    fn key(&self, labels: &[u8]) -> u128 {
        self.keys.bytes(labels) ^ self.tenant
    }
}

impl<'a> Spelling<'a> for V1<'_> {
    #[inline]
    fn walk(&self, series: &'a [u8], walked: &mut Walked) -> Result<(), WireError> {
        *walked = match guess(series) {
            Some((labels, at, value)) => Walked {
                key: self.key(series.get(..labels).unwrap_or_default()),
                content: Content::One { at, value },
                metadata: 0,
            },
            None => self.walk_fully(series)?,
        };
        Ok(())
    }

    fn walk_fully(&self, series: &'a [u8]) -> Result<Walked, WireError> {
        let mut reader = Reader::new(series);
        let (mut labels, mut items, mut in_front, mut odd) = (0usize, 0usize, true, false);
        while let Some((number, field)) = reader.field()? {
            match number {
                1 => {
                    field.bytes(number)?;
                    odd |= !in_front;
                }
                2..=4 => {
                    field.bytes(number)?;
                    items += 1;
                }
                _ => {}
            }
            in_front &= number == 1;
            if in_front {
                labels = series.len() - reader.remaining();
            }
        }
        let content = match (items, odd) {
            (0, _) => Content::Nothing,
            (_, true) => Content::Odd,
            _ => Content::Fields {
                from: u32::try_from(labels).unwrap_or(u32::MAX),
            },
        };
        Ok(Walked {
            key: self.key(series.get(..labels).unwrap_or_default()),
            content,
            metadata: 0,
        })
    }

    fn labels(&self, series: &'a [u8]) -> Result<Vec<RawLabel<'a>>, WireError> {
        labels(series)
    }

    fn item(&self, reader: &mut Reader<'a>) -> Result<Option<Item<'a>>, WireError> {
        while let Some((number, field)) = reader.field()? {
            return Ok(Some(match number {
                2 => sample(field.bytes(number)?)?,
                3 => Item::Exemplar(exemplar(field.bytes(number)?)?),
                4 => {
                    let mut sample =
                        native_histogram::read(field.bytes(number)?, self.buckets_max)?;
                    // 1.0 has no start timestamps: what stands in that field is unknown.
                    sample.start = TimestampMs(0);
                    Item::Histogram(Box::new(sample))
                }
                _ => continue,
            }));
        }
        Ok(None)
    }

    fn metadata(&self, _series: &'a [u8]) -> Result<Option<RawMetadata<'a>>, WireError> {
        Ok(None)
    }

    fn exemplar_faults_are_told(&self) -> bool {
        false
    }
}

/// All fields 1 of a message, read as labels.
fn labels(message: &[u8]) -> Result<Vec<RawLabel<'_>>, WireError> {
    let mut found = Vec::with_capacity(16);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.field()? {
        if number == 1 {
            found.push(label(field.bytes(number)?)?);
        }
    }
    Ok(found)
}

fn label(message: &[u8]) -> Result<RawLabel<'_>, WireError> {
    let (mut name, mut value): RawLabel<'_> = (b"", b"");
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.field()? {
        match number {
            1 => name = field.bytes(number)?,
            2 => value = field.bytes(number)?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn sample<'a>(message: &[u8]) -> Result<Item<'a>, WireError> {
    let (mut value, mut at) = (0.0, 0);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.field()? {
        match number {
            1 => value = field.double(number)?,
            2 => at = field.int64(number)?,
            _ => {}
        }
    }
    Ok(Item::Float {
        at: TimestampMs(at),
        value,
        start: TimestampMs(0),
    })
}

fn exemplar(message: &[u8]) -> Result<RawExemplar<'_>, WireError> {
    let (mut value, mut at) = (0.0, 0);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.field()? {
        match number {
            2 => value = field.double(number)?,
            3 => at = field.int64(number)?,
            _ => {}
        }
    }
    Ok(RawExemplar {
        labels: Ok(labels(message)?),
        value,
        at: TimestampMs(at),
    })
}

/// Reads a metadata message.
pub(super) fn metadata(message: &[u8]) -> Result<RawMetadata<'_>, WireError> {
    let mut metadata = RawMetadata {
        family: b"",
        kind: MetricKind::Unknown,
        help: b"",
        unit: b"",
    };
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.field()? {
        match number {
            1 => metadata.kind = MetricKind::from_number(field.varint(number)?),
            2 => metadata.family = field.bytes(number)?,
            4 => metadata.help = field.bytes(number)?,
            5 => metadata.unit = field.bytes(number)?,
            _ => {}
        }
    }
    Ok(metadata)
}
