//! What stands in records, byte by byte as `docs/format.md` ("Log") has it. Each payload can be
//! decoded by itself, given the definitions of its window and shard before it.
//!
//! A payload begins with a byte: 0, the rest is as it is; 1, the length of the rest as a varint,
//! then the rest as one LZ4 block.

use std::collections::HashMap;
use std::sync::Arc;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::record::PAYLOAD_MAX;
use crate::codec::{Error, histograms, varint};
use crate::model::{
    Exemplar, LabelSet, Metadata, MetricKind, TenantId, TimestampMs, Value, Window,
};

const PLAIN: u8 = 0;
const LZ4: u8 = 1;
/// Shorter payloads are not worth a try.
const LZ4_FROM: usize = 128;
/// What a compressed payload may become: what a writer would have put into it.
const EXPANDED_MAX: usize = 4 * PAYLOAD_MAX;
/// Labels of a series or exemplar at most; far beyond what ingest lets through.
const LABELS_MAX: usize = 1 << 16;

/// Any other sample.
#[derive(Clone, Debug)]
pub(crate) struct LoggedOther {
    /// The number that a definition gave to the series.
    pub series: u32,
    /// When.
    pub at: TimestampMs,
    /// The value.
    pub value: Value,
    /// The start timestamp; 0: none.
    pub start: TimestampMs,
}

/// Compresses payloads, with buffers that stay.
#[derive(Default)]
pub(super) struct Packer {
    table: CompressTable,
    packed: Vec<u8>,
}

impl Packer {
    /// Appends `body` as a payload, compressed where that pays.
    pub(super) fn wrap(&mut self, body: &[u8], out: &mut Vec<u8>) {
        if let Some(packed) = self.pack(body) {
            out.push(LZ4);
            varint::put_len(out, body.len());
            out.extend_from_slice(packed);
            return;
        }
        out.push(PLAIN);
        out.extend_from_slice(body);
    }

    fn pack(&mut self, body: &[u8]) -> Option<&[u8]> {
        if body.len() < LZ4_FROM {
            return None;
        }
        let room = get_maximum_output_size(body.len());
        if self.packed.len() < room {
            self.packed.resize(room, 0);
        }
        let packed = compress_into_with_table(body, &mut self.packed, &mut self.table).ok()?;
        let packed = self.packed.get(..packed)?;
        (packed.len() + 8 < body.len()).then_some(packed)
    }
}

/// Appends `body` as a payload, compressed where that pays.
fn wrap(body: &[u8], out: &mut Vec<u8>) {
    Packer::default().wrap(body, out);
}

/// The body of a payload; `scratch` holds it where it has to be expanded.
pub(super) fn unwrap<'a>(payload: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
    const WHAT: &str = "a log record's payload";
    let mut rest = payload;
    match varint::take_u8(&mut rest, WHAT)? {
        PLAIN => Ok(rest),
        LZ4 => {
            let len = varint::take_len(&mut rest, WHAT, EXPANDED_MAX)?;
            if scratch.len() < len {
                scratch.resize(len, 0);
            }
            let room = scratch.get_mut(..len).unwrap_or_default();
            match lz4_flex::block::decompress_into(rest, room) {
                Ok(found) if found == len => Ok(room),
                Ok(found) => Err(invalid(WHAT, found as u64)),
                Err(_) => Err(invalid(WHAT, len as u64)),
            }
        }
        id => Err(Error::UnknownEncoding { what: WHAT, id }),
    }
}

pub(super) fn invalid(what: &'static str, value: u64) -> Error {
    Error::Invalid { what, value }
}

/// Collects definitions until the record is full.
#[derive(Debug, Default)]
pub(crate) struct DefineWriter {
    body: Vec<u8>,
    symbols: HashMap<Box<str>, u64>,
}

impl DefineWriter {
    /// Adds a series under its number.
    pub(crate) fn put(&mut self, series: u32, tenant: &TenantId, labels: &LabelSet) {
        varint::put_u64(&mut self.body, u64::from(series));
        self.symbol(tenant.as_str());
        varint::put_len(&mut self.body, labels.len());
        for (name, value) in labels.iter() {
            self.symbol(name);
            self.symbol(value);
        }
    }

    /// 0 and the text where it is new, else its number from 1 on.
    fn symbol(&mut self, text: &str) {
        if let Some(number) = self.symbols.get(text) {
            varint::put_u64(&mut self.body, *number);
            return;
        }
        varint::put_u64(&mut self.body, 0);
        varint::put_bytes(&mut self.body, text.as_bytes());
        let number = self.symbols.len() as u64 + 1;
        self.symbols.insert(Box::from(text), number);
    }

    /// Bytes so far.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Appends the payload and starts anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        wrap(&self.body, out);
        self.body.clear();
        self.symbols.clear();
    }
}

/// Gives every definition of a payload to `each`.
///
/// # Errors
/// When the payload is damaged.
pub(crate) fn decode_definitions(
    payload: &[u8],
    mut each: impl FnMut(u32, TenantId, LabelSet),
) -> Result<(), Error> {
    const WHAT: &str = "a log definition";
    let mut scratch = Vec::new();
    let mut body = unwrap(payload, &mut scratch)?;
    let mut symbols: Vec<&str> = Vec::new();
    while !body.is_empty() {
        let series = varint::take_u32(&mut body, WHAT)?;
        let tenant = take_symbol(&mut body, &mut symbols)?;
        let tenant = TenantId::new(tenant).map_err(|_| invalid(WHAT, tenant.len() as u64))?;
        let count = varint::take_len(&mut body, WHAT, LABELS_MAX)?;
        let mut pairs = Vec::with_capacity(count.min(body.len()));
        for _ in 0..count {
            let name = take_symbol(&mut body, &mut symbols)?;
            pairs.push((name, take_symbol(&mut body, &mut symbols)?));
        }
        let labels = LabelSet::from_pairs(&pairs).map_err(|_| invalid(WHAT, count as u64))?;
        each(series, tenant, labels);
    }
    Ok(())
}

fn take_symbol<'a>(body: &mut &'a [u8], symbols: &mut Vec<&'a str>) -> Result<&'a str, Error> {
    const WHAT: &str = "a log symbol";
    let number = varint::take_u64(body)?;
    if number == 0 {
        let bytes = varint::take_bytes(body, WHAT)?;
        let text = std::str::from_utf8(bytes).map_err(|_| invalid(WHAT, bytes.len() as u64))?;
        symbols.push(text);
        return Ok(text);
    }
    usize::try_from(number - 1)
        .ok()
        .and_then(|at| symbols.get(at).copied())
        .ok_or(invalid(WHAT, number))
}

const OTHER_HISTOGRAM: u8 = 1;
const OTHER_START: u8 = 2;

/// Collects samples of other kinds until the record is full.
#[derive(Debug, Default)]
pub(crate) struct OthersWriter {
    body: Vec<u8>,
}

impl OthersWriter {
    /// Adds a sample of a series.
    pub(crate) fn put(&mut self, window: Window, sample: &LoggedOther) {
        let body = &mut self.body;
        varint::put_u64(body, u64::from(sample.series));
        varint::put_i64(body, sample.at.0.wrapping_sub(window.start().0));
        let has_start = sample.start.0 != 0;
        let flags = if has_start { OTHER_START } else { 0 };
        match &sample.value {
            Value::Float(value) => {
                body.push(flags);
                body.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            Value::Histogram(histogram) => {
                body.push(flags | OTHER_HISTOGRAM);
                histograms::encode_one(histogram, body);
            }
        }
        if has_start {
            varint::put_i64(body, sample.at.0.wrapping_sub(sample.start.0));
        }
    }

    /// Bytes so far.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Appends the payload and starts anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        wrap(&self.body, out);
        self.body.clear();
    }
}

/// Gives every sample of a payload to `each`.
///
/// # Errors
/// When the payload is damaged.
pub(crate) fn decode_others(
    payload: &[u8],
    window: Window,
    mut each: impl FnMut(LoggedOther),
) -> Result<(), Error> {
    const WHAT: &str = "a logged sample";
    let mut scratch = Vec::new();
    let mut body = unwrap(payload, &mut scratch)?;
    while !body.is_empty() {
        let series = varint::take_u32(&mut body, WHAT)?;
        let at = window.start().0.wrapping_add(varint::take_i64(&mut body)?);
        let flags = varint::take_u8(&mut body, WHAT)?;
        if flags & !(OTHER_HISTOGRAM | OTHER_START) != 0 {
            return Err(invalid(WHAT, u64::from(flags)));
        }
        let value = if flags & OTHER_HISTOGRAM == 0 {
            let bits = varint::take_array::<8>(&mut body, WHAT)?;
            Value::Float(f64::from_bits(u64::from_le_bytes(bits)))
        } else {
            Value::Histogram(Arc::new(histograms::decode_one(&mut body)?))
        };
        let start = if flags & OTHER_START == 0 {
            0
        } else {
            at.wrapping_sub(varint::take_i64(&mut body)?)
        };
        each(LoggedOther {
            series,
            at: TimestampMs(at),
            value,
            start: TimestampMs(start),
        });
    }
    Ok(())
}

/// Appends the payload of one family's metadata.
pub(crate) fn encode_metadata(
    tenant: &TenantId,
    family: &str,
    metadata: &Metadata,
    out: &mut Vec<u8>,
) {
    let mut body = Vec::new();
    varint::put_bytes(&mut body, tenant.as_str().as_bytes());
    varint::put_bytes(&mut body, family.as_bytes());
    body.push(metadata.kind as u8);
    varint::put_bytes(&mut body, metadata.help.as_bytes());
    varint::put_bytes(&mut body, metadata.unit.as_bytes());
    wrap(&body, out);
}

/// Reads what [`encode_metadata`] wrote.
///
/// # Errors
/// When the payload is damaged.
pub(crate) fn decode_metadata(payload: &[u8]) -> Result<(TenantId, String, Metadata), Error> {
    const WHAT: &str = "logged metadata";
    let mut scratch = Vec::new();
    let mut body = unwrap(payload, &mut scratch)?;
    let tenant = take_text(&mut body, WHAT)?;
    let tenant = TenantId::new(&tenant).map_err(|_| invalid(WHAT, tenant.len() as u64))?;
    let family = take_text(&mut body, WHAT)?;
    let kind = MetricKind::from_number(u64::from(varint::take_u8(&mut body, WHAT)?));
    let help = take_text(&mut body, WHAT)?;
    let unit = take_text(&mut body, WHAT)?;
    varint::finished(body, WHAT)?;
    Ok((tenant, family, Metadata { kind, help, unit }))
}

fn take_text(body: &mut &[u8], what: &'static str) -> Result<String, Error> {
    let bytes = varint::take_bytes(body, what)?;
    let text = std::str::from_utf8(bytes).map_err(|_| invalid(what, bytes.len() as u64))?;
    Ok(text.to_owned())
}

/// Appends the payload of one exemplar.
pub(crate) fn encode_exemplar(series: u32, exemplar: &Exemplar, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    varint::put_u64(&mut body, u64::from(series));
    body.extend_from_slice(&exemplar.timestamp.0.to_le_bytes());
    body.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    varint::put_len(&mut body, exemplar.labels.len());
    for (name, value) in exemplar.labels.iter() {
        varint::put_bytes(&mut body, name.as_bytes());
        varint::put_bytes(&mut body, value.as_bytes());
    }
    wrap(&body, out);
}

/// Reads what [`encode_exemplar`] wrote.
///
/// # Errors
/// When the payload is damaged.
pub(crate) fn decode_exemplar(payload: &[u8]) -> Result<(u32, Exemplar), Error> {
    const WHAT: &str = "a logged exemplar";
    let mut scratch = Vec::new();
    let mut body = unwrap(payload, &mut scratch)?;
    let series = varint::take_u32(&mut body, WHAT)?;
    let timestamp = i64::from_le_bytes(varint::take_array(&mut body, WHAT)?);
    let value = f64::from_bits(u64::from_le_bytes(varint::take_array(&mut body, WHAT)?));
    let count = varint::take_len(&mut body, WHAT, LABELS_MAX)?;
    let mut pairs = Vec::with_capacity(count.min(body.len()));
    for _ in 0..count {
        pairs.push((take_text(&mut body, WHAT)?, take_text(&mut body, WHAT)?));
    }
    varint::finished(body, WHAT)?;
    let labels = LabelSet::from_pairs(&pairs).map_err(|_| invalid(WHAT, count as u64))?;
    Ok((
        series,
        Exemplar {
            labels,
            value,
            timestamp: TimestampMs(timestamp),
        },
    ))
}
