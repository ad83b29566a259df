//! Remote-write 2.0: `io.prometheus.write.v2.Request` (prometheus/docs,
//! `docs/specs/prw/remote_write_spec_2_0.md`), texts in a table of symbols.
//!
//! ```text
//! Request     symbols = 4 string, timeseries = 5 TimeSeries
//! TimeSeries  labels_refs = 1 uint32, samples = 2, histograms = 3, exemplars = 4, metadata = 5
//! Sample      value = 1 double, timestamp = 2 int64, start_timestamp = 3 int64
//! Exemplar    labels_refs = 1 uint32, value = 2 double, timestamp = 3 int64
//! Metadata    type = 1, help_ref = 3 uint32, unit_ref = 4 uint32
//! ```

use crate::codec::protobuf::{Reader, WireError, repeated_varint};
use crate::model::{MetricKind, TimestampMs};

use super::super::native_histogram;
use super::super::series_key::{RefsKey, SeriesKeys};
use super::super::validate::RawLabel;
use super::spelling::{Content, Item, RawExemplar, RawMetadata, SeriesFault, Spelling, Walked};

/// A symbol: where it lies in the body, and its hash.
#[derive(Clone, Copy)]
pub(super) struct Symbol {
    start: u32,
    end: u32,
    hash: u128,
}

/// Symbols and series of a request.
#[derive(Default)]
pub(super) struct Outline {
    pub(super) symbols: Vec<Symbol>,
    pub(super) series: Vec<(u32, u32)>,
}

/// What is wrong with a request as a whole.
pub(super) enum OutlineFault {
    TooMany(&'static str),
    FirstSymbol,
}

/// Finds symbols and series in a request, at most so many of each.
pub(super) fn outline(
    body: &[u8],
    limit: usize,
    keys: &SeriesKeys,
    out: &mut Outline,
) -> Result<Result<(), OutlineFault>, WireError> {
    out.symbols.clear();
    out.series.clear();
    // Bodies are shorter than 4 GiB.
    let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.field()? {
        if number != 4 && number != 5 {
            continue;
        }
        let bytes = field.bytes(number)?;
        let end = body.len() - reader.remaining();
        let (start, end) = (place(end - bytes.len()), place(end));
        if number == 4 {
            if out.symbols.len() >= limit {
                return Ok(Err(OutlineFault::TooMany(
                    "the number of symbols of a request",
                )));
            }
            let hash = keys.bytes(bytes);
            out.symbols.push(Symbol { start, end, hash });
        } else {
            if out.series.len() >= limit {
                return Ok(Err(OutlineFault::TooMany(
                    "the number of series of a request",
                )));
            }
            out.series.push((start, end));
        }
    }
    let is_empty = |symbol: &Symbol| symbol.start == symbol.end;
    let is_wrong = match out.symbols.first() {
        Some(first) => !is_empty(first),
        None => !out.series.is_empty(),
    };
    if is_wrong {
        return Ok(Err(OutlineFault::FirstSymbol));
    }
    Ok(Ok(()))
}

/// The spelling.
pub(super) struct V2<'a, 'k> {
    pub(super) keys: &'k SeriesKeys,
    pub(super) tenant: u128,
    pub(super) body: &'a [u8],
    pub(super) symbols: &'k [Symbol],
    /// Mixed into the metadata hashes; a new one makes all of them new.
    pub(super) metadata_salt: u64,
    pub(super) buckets_max: usize,
}

impl<'a> V2<'a, '_> {
    fn symbol(&self, reference: u64) -> Option<Symbol> {
        let at = usize::try_from(reference).ok()?;
        self.symbols.get(at).copied()
    }

    fn text(&self, reference: u64) -> Result<&'a [u8], SeriesFault> {
        let symbol = self.symbol(reference).ok_or(SeriesFault::Reference)?;
        let (start, end) = (symbol.start as usize, symbol.end as usize);
        self.body.get(start..end).ok_or(SeriesFault::Reference)
    }

    /// The labels that the references in field 1 of a message name.
    fn referred(
        &self,
        message: &'a [u8],
    ) -> Result<Result<Vec<RawLabel<'a>>, SeriesFault>, WireError> {
        let mut texts = Vec::with_capacity(32);
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.field()? {
            if number == 1 {
                repeated_varint(number, field, |reference| {
                    texts.push(self.text(reference));
                })?;
            }
        }
        let (pairs, rest) = texts.as_chunks::<2>();
        if !rest.is_empty() {
            return Ok(Err(SeriesFault::OddReferences));
        }
        Ok(pairs
            .iter()
            .map(|[name, value]| Ok(((*name)?, (*value)?)))
            .collect())
    }

    /// 24 bits that stand for a series' metadata, never 0.
    fn metadata_mark(&self, message: &[u8]) -> Result<u32, WireError> {
        let raw = metadata(message)?;
        let hash = |reference| self.symbol(reference).map_or(0, |symbol| symbol.hash);
        let mut key = self.keys.refs();
        key.push(u128::from(raw.kind as u8) | u128::from(self.metadata_salt) << 64);
        key.push(hash(raw.help));
        key.push(hash(raw.unit));
        let low = u32::try_from(key.finish() & 0x00ff_ffff).unwrap_or(0);
        Ok(low.max(1))
    }
}

/// What a walk has seen of a series.
struct Seen<'k> {
    key: RefsKey<'k>,
    missing_symbol: bool,
    samples: usize,
    histograms: usize,
    exemplars: usize,
    /// The last sample.
    float: (TimestampMs, f64, TimestampMs),
    metadata: u32,
}

impl Seen<'_> {
    fn content(&self) -> Content {
        if self.missing_symbol {
            return Content::Refused(SeriesFault::Reference);
        }
        if !self.key.count().is_multiple_of(2) {
            return Content::Refused(SeriesFault::OddReferences);
        }
        let (at, value, start) = self.float;
        match (self.samples, self.histograms, self.exemplars) {
            (0, 0, 0) => Content::Refused(SeriesFault::Empty),
            (1.., 1.., _) => Content::Refused(SeriesFault::Both),
            (1, 0, 0) if start.0 == 0 => Content::One { at, value },
            _ => Content::Fields { from: 0 },
        }
    }
}

impl<'a> Spelling<'a> for V2<'a, '_> {
    fn walk(&self, series: &'a [u8]) -> Result<Walked, WireError> {
        let mut seen = Seen {
            key: self.keys.refs(),
            missing_symbol: false,
            samples: 0,
            histograms: 0,
            exemplars: 0,
            float: (TimestampMs(0), 0.0, TimestampMs(0)),
            metadata: 0,
        };
        let mut reader = Reader::new(series);
        while let Some((number, field)) = reader.field()? {
            match number {
                1 => repeated_varint(number, field, |reference| match self.symbol(reference) {
                    Some(symbol) => seen.key.push(symbol.hash),
                    None => seen.missing_symbol = true,
                })?,
                2 => {
                    seen.samples += 1;
                    seen.float = sample(field.bytes(number)?)?;
                }
                3 => {
                    field.bytes(number)?;
                    seen.histograms += 1;
                }
                4 => {
                    field.bytes(number)?;
                    seen.exemplars += 1;
                }
                5 => seen.metadata = self.metadata_mark(field.bytes(number)?)?,
                _ => {}
            }
        }
        Ok(Walked {
            key: seen.key.finish() ^ self.tenant,
            content: seen.content(),
            metadata: seen.metadata,
        })
    }

    fn walk_fully(&self, series: &'a [u8]) -> Result<Walked, WireError> {
        self.walk(series)
    }

    fn labels(&self, series: &'a [u8]) -> Result<Vec<RawLabel<'a>>, WireError> {
        // A series whose references are wrong never gets here but to be shown in a message.
        Ok(self.referred(series)?.unwrap_or_default())
    }

    fn item(&self, reader: &mut Reader<'a>) -> Result<Option<Item<'a>>, WireError> {
        while let Some((number, field)) = reader.field()? {
            return Ok(Some(match number {
                2 => {
                    let (at, value, start) = sample(field.bytes(number)?)?;
                    Item::Float { at, value, start }
                }
                3 => {
                    let sample = native_histogram::read(field.bytes(number)?, self.buckets_max)?;
                    Item::Histogram(Box::new(sample))
                }
                4 => Item::Exemplar(self.exemplar(field.bytes(number)?)?),
                _ => continue,
            }));
        }
        Ok(None)
    }

    fn metadata(&self, series: &'a [u8]) -> Result<Option<RawMetadata<'a>>, WireError> {
        let mut found = None;
        let mut reader = Reader::new(series);
        while let Some((number, field)) = reader.field()? {
            if number == 5 {
                found = Some(metadata(field.bytes(number)?)?);
            }
        }
        let Some(raw) = found else {
            return Ok(None);
        };
        let labels = self.labels(series)?;
        let name = labels.iter().find(|(name, _)| *name == b"__name__");
        let (Some((_, family)), Ok(help), Ok(unit)) =
            (name, self.text(raw.help), self.text(raw.unit))
        else {
            return Ok(None);
        };
        Ok(Some(RawMetadata {
            family: family_of(family, raw.kind),
            kind: raw.kind,
            help,
            unit,
        }))
    }

    fn exemplar_faults_are_told(&self) -> bool {
        true
    }
}

impl<'a> V2<'a, '_> {
    fn exemplar(&self, message: &'a [u8]) -> Result<RawExemplar<'a>, WireError> {
        let (at, value, _) = exemplar_sample(message)?;
        Ok(RawExemplar {
            labels: self.referred(message)?,
            value,
            at,
        })
    }
}

#[inline]
fn sample(message: &[u8]) -> Result<(TimestampMs, f64, TimestampMs), WireError> {
    let (mut value, mut at, mut start) = (0.0, 0, 0);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.field()? {
        match number {
            1 => value = field.double(number)?,
            2 => at = field.int64(number)?,
            3 => start = field.int64(number)?,
            _ => {}
        }
    }
    Ok((TimestampMs(at), value, TimestampMs(start)))
}

fn exemplar_sample(message: &[u8]) -> Result<(TimestampMs, f64, TimestampMs), WireError> {
    let (mut value, mut at) = (0.0, 0);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.field()? {
        match number {
            2 => value = field.double(number)?,
            3 => at = field.int64(number)?,
            _ => {}
        }
    }
    Ok((TimestampMs(at), value, TimestampMs(0)))
}

/// Metadata as references.
struct MetadataRefs {
    kind: MetricKind,
    help: u64,
    unit: u64,
}

fn metadata(message: &[u8]) -> Result<MetadataRefs, WireError> {
    let mut refs = MetadataRefs {
        kind: MetricKind::Unknown,
        help: 0,
        unit: 0,
    };
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.field()? {
        match number {
            1 => refs.kind = MetricKind::from_number(field.varint(number)?),
            3 => refs.help = field.varint(number)?,
            4 => refs.unit = field.varint(number)?,
            _ => {}
        }
    }
    Ok(refs)
}

/// The metric family of a series: a classic histogram's and a summary's parts share one.
fn family_of(name: &[u8], kind: MetricKind) -> &[u8] {
    let parts: &[&str] = match kind {
        MetricKind::Histogram => &["_bucket", "_sum", "_count"],
        MetricKind::GaugeHistogram => &["_bucket", "_gsum", "_gcount", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    parts
        .iter()
        .find_map(|part| name.strip_suffix(part.as_bytes()))
        .filter(|family| !family.is_empty())
        .unwrap_or(name)
}
