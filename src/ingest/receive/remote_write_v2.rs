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
//!
//! Nearly every series is its references, one usual sample and perhaps metadata, in this order, and
//! much like the series before it in the request. Such a series is not walked: its key is made of
//! the last one's (see `neighbours`). That is no guess: what is not exactly so is walked.

use std::cell::Cell;

use crate::codec::protobuf::{Reader, WireError, repeated_varint};
use crate::model::{MetricKind, TimestampMs};

use super::super::native_histogram;
use super::super::series_key::{RefsKey, SeriesKeys};
use super::super::validate::RawLabel;
use super::neighbours::differing;
use super::spelling::{Content, Item, RawExemplar, RawMetadata, SeriesFault, Spelling, Walked};
use super::usual_sample;

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
    /// The series before, for the next one.
    pub(super) last: Cell<Option<Neighbour<'a, 'k>>>,
}

/// What the next series may be like.
#[derive(Clone, Copy)]
pub(super) struct Neighbour<'a, 'k> {
    /// Its references, packed, all of which name symbols.
    refs: &'a [u8],
    key: RefsKey<'k>,
    /// Its metadata, and what stands for it (0: it had none).
    metadata: (Option<&'a [u8]>, u32),
}

/// A series in the usual form.
struct Usual<'a> {
    refs: &'a [u8],
    at: TimestampMs,
    value: f64,
    /// Metadata without any field is metadata too: Prometheus sends it where it knows none.
    metadata: Option<&'a [u8]>,
}

/// Takes a series apart that is in the usual form.
#[inline]
fn usual(series: &[u8]) -> Option<Usual<'_>> {
    let (refs, rest) = short_field(0x0a, series)?;
    let whole = rest.split_first_chunk();
    let whole = whole.and_then(|(sample, rest)| Some((usual_sample::whole(sample)?, rest)));
    let ((at, value), rest) = match whole {
        Some(found) => found,
        None => {
            let (sample, rest) = rest.split_first_chunk()?;
            (usual_sample::zero(sample)?, rest)
        }
    };
    let metadata = match rest {
        [] => None,
        _ => match short_field(0x2a, rest)? {
            (metadata, []) => Some(metadata),
            _ => return None,
        },
    };
    Some(Usual {
        refs,
        at,
        value,
        metadata,
    })
}

/// The field in front, if it has this tag and fewer than 128 bytes, and what follows it.
#[inline]
fn short_field(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [first, len @ ..0x80, rest @ ..] if *first == tag => {
            rest.split_at_checked(usize::from(*len))
        }
        _ => None,
    }
}

impl<'a, 'k> V2<'a, 'k> {
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

    /// A usual series that is like the one before.
    #[inline]
    fn walk_usual(&self, series: &'a [u8], walked: &mut Walked) -> Option<()> {
        let last = self.last.get()?;
        let usual = usual(series)?;
        let mut key = last.key;
        differing(last.refs, usual.refs, |place, old, new| {
            key.exchange(place, self.symbol(old)?.hash, self.symbol(new)?.hash)
        })?;
        let metadata = match usual.metadata {
            None => 0,
            same if same == last.metadata.0 => last.metadata.1,
            Some(other) => self.metadata_mark(other).ok()?,
        };
        self.last.set(Some(Neighbour {
            refs: usual.refs,
            key,
            metadata: (usual.metadata, metadata),
        }));
        *walked = Walked {
            key: key.finish() ^ self.tenant,
            content: Content::One {
                at: usual.at,
                value: usual.value,
            },
            metadata,
        };
        Some(())
    }

    /// Remembers a series that was walked, if the next one may be like it.
    fn remember(&self, series: &'a [u8], seen: &Seen<'k>) {
        let is_well = !matches!(seen.content(), Content::Refused(_));
        if let (true, Some(usual)) = (is_well, usual(series)) {
            self.last.set(Some(Neighbour {
                refs: usual.refs,
                key: seen.key,
                metadata: (usual.metadata, seen.metadata),
            }));
        }
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
    #[inline]
    fn walk(&self, series: &'a [u8], walked: &mut Walked) -> Result<(), WireError> {
        if self.walk_usual(series, walked).is_none() {
            *walked = self.walk_fully(series)?;
        }
        Ok(())
    }

    fn walk_fully(&self, series: &'a [u8]) -> Result<Walked, WireError> {
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
        self.remember(series, &seen);
        Ok(Walked {
            key: seen.key.finish() ^ self.tenant,
            content: seen.content(),
            metadata: seen.metadata,
        })
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
