//! Remote read as a source of history: the request, and the streamed answer (chunks in frames).
//!
//! After `prompb/remote.proto` of prometheus/prometheus. Chunks are those of a block of Prometheus;
//! stale markers and native histograms come with them, start timestamps do not.

use super::history::Piece;
use super::{Error, Wanted};
use crate::codec::crc32c;
use crate::codec::prometheus::read_chunk;
use crate::codec::varint::{VARINT_LEN_MAX, put_bytes, put_u64, take_exact, take_u64};
use crate::model::{LabelSet, METRIC_NAME, MatchOp, Samples};

/// The longest frame that is believed; writers end them at a megabyte.
const FRAME_BYTES_MAX: u64 = 256 << 20;
/// The type of the answer that is asked for.
const STREAMED_CHUNKS: u64 = 1;

/// The body (before compression with snappy) that asks for everything that is wanted.
#[must_use]
pub fn read_request(wanted: &Wanted) -> Vec<u8> {
    let mut query = Vec::new();
    let ends = [wanted.range.start, wanted.range.end];
    for (field, at) in [1, 2].into_iter().zip(ends) {
        put_u64(&mut query, field << 3);
        put_u64(&mut query, at.0.cast_unsigned());
    }
    if wanted.matchers.is_empty() {
        // Some servers take no matcher at all for nothing at all.
        let mut message = vec![1 << 3, 2];
        put_text(&mut message, 2, METRIC_NAME);
        put_text(&mut message, 3, ".*");
        put_u64(&mut query, 3 << 3 | 2);
        put_bytes(&mut query, &message);
    }
    for matcher in &wanted.matchers {
        let number = match matcher.op() {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        let mut message = vec![1 << 3, number];
        put_text(&mut message, 2, matcher.name());
        put_text(&mut message, 3, matcher.value());
        put_u64(&mut query, 3 << 3 | 2);
        put_bytes(&mut query, &message);
    }
    let mut request = Vec::new();
    put_u64(&mut request, 1 << 3 | 2);
    put_bytes(&mut request, &query);
    put_u64(&mut request, 2 << 3);
    put_u64(&mut request, STREAMED_CHUNKS);
    let body = snap::raw::Encoder::new().compress_vec(&request);
    // The encoder refuses only what is longer than 4 GiB.
    body.unwrap_or_default()
}

fn put_text(out: &mut Vec<u8>, field: u64, text: &str) {
    put_u64(out, field << 3 | 2);
    put_bytes(out, text.as_bytes());
}

/// Cuts an answer into frames, whatever pieces it comes in.
#[derive(Default)]
pub struct Frames {
    held: Vec<u8>,
    /// What of it was read.
    read: usize,
}

impl Frames {
    /// Adds bytes of the answer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.drain(..self.read);
        self.read = 0;
        self.held.extend_from_slice(bytes);
    }

    /// Whether nothing is left of what was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read == self.held.len()
    }

    /// The series in the next frame that is whole.
    ///
    /// # Errors
    /// For a frame that is not what its checksum says, or cannot be read.
    pub fn take(&mut self) -> Result<Option<Vec<Piece>>, Error> {
        let broken = |problem: &str| Error::malformed("the answer to a remote read", problem);
        let mut input = self.held.get(self.read..).unwrap_or_default();
        let before = input.len();
        let len = match take_u64(&mut input) {
            Ok(len) if len <= FRAME_BYTES_MAX => len,
            Err(_) if before < VARINT_LEN_MAX => return Ok(None),
            _ => return Err(broken("a frame has no believable length")),
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let Some((sum, rest)) = input.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let Some(body) = rest.get(..len) else {
            return Ok(None);
        };
        if crc32c(0, body) != u32::from_be_bytes(*sum) {
            return Err(broken("a frame does not match its checksum"));
        }
        let pieces = parse_frame(body).map_err(|problem| broken(&problem))?;
        self.read += before - rest.len() + len;
        Ok(Some(pieces))
    }
}

/// One field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

fn take_field<'a>(input: &mut &'a [u8]) -> Result<(u64, Field<'a>), String> {
    let wrong = |error: crate::codec::Error| error.to_string();
    let tag = take_u64(input).map_err(wrong)?;
    let field = match tag & 7 {
        0 => Field::Number(take_u64(input).map_err(wrong)?),
        1 => take_exact(input, 8, "a field")
            .map(|_| Field::Other)
            .map_err(wrong)?,
        5 => take_exact(input, 4, "a field")
            .map(|_| Field::Other)
            .map_err(wrong)?,
        2 => {
            let len = take_u64(input).map_err(wrong)?;
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            Field::Bytes(take_exact(input, len, "a field").map_err(wrong)?)
        }
        kind => return Err(format!("a field of the unknown kind {kind}")),
    };
    Ok((tag >> 3, field))
}

/// Reads a `ChunkedReadResponse`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_frame(mut body: &[u8]) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    while !body.is_empty() {
        if let (1, Field::Bytes(series)) = take_field(&mut body)? {
            pieces.push(parse_series(series)?);
        }
    }
    Ok(pieces)
}

fn parse_series(mut body: &[u8]) -> Result<Piece, String> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut samples = Samples::default();
    while !body.is_empty() {
        match take_field(&mut body)? {
            (1, Field::Bytes(label)) => pairs.push(parse_label(label)?),
            (2, Field::Bytes(chunk)) => parse_chunk(chunk, &mut samples)?,
            _ => {}
        }
    }
    let labels = LabelSet::from_pairs(&pairs).map_err(|error| error.to_string())?;
    Ok(Piece { labels, samples })
}

fn parse_label(mut body: &[u8]) -> Result<(&str, &str), String> {
    let (mut name, mut value) = ("", "");
    while !body.is_empty() {
        let (number, field) = take_field(&mut body)?;
        let Field::Bytes(bytes) = field else {
            continue;
        };
        let text = std::str::from_utf8(bytes).map_err(|_| "a label is not UTF-8")?;
        match number {
            1 => name = text,
            2 => value = text,
            _ => {}
        }
    }
    Ok((name, value))
}

fn parse_chunk(mut body: &[u8], samples: &mut Samples) -> Result<(), String> {
    let (mut kind, mut data) = (0, &[][..]);
    while !body.is_empty() {
        match take_field(&mut body)? {
            (3, Field::Number(number)) => kind = number,
            (4, Field::Bytes(bytes)) => data = bytes,
            _ => {}
        }
    }
    // The numbers are those of the encodings in a block.
    let encoding = u8::try_from(kind).unwrap_or(u8::MAX);
    read_chunk(encoding, data, samples).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::prometheus::chunks;
    use crate::model::{Matcher, TimeRange, TimestampMs, Value};

    #[test]
    fn a_request_has_every_matcher() {
        let wanted = Wanted {
            range: TimeRange::new(TimestampMs(-1), TimestampMs(300)),
            matchers: vec![
                Matcher::new("job", MatchOp::Equal, "a").unwrap(),
                Matcher::new("x", MatchOp::NotRegex, "b.*").unwrap(),
            ],
        };
        let plain = snap::raw::Decoder::new()
            .decompress_vec(&read_request(&wanted))
            .unwrap();
        let want: &[u8] = b"\x0a\x26\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\xac\x02\
            \x1a\x0a\x08\x00\x12\x03job\x1a\x01a\x1a\x0a\x08\x03\x12\x01x\x1a\x03b.*\x10\x01";
        assert_eq!(plain, want);
    }

    /// A frame as a server writes it.
    fn frame(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, body.len() as u64);
        out.extend_from_slice(&crc32c(0, body).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn frames_are_read_in_any_pieces_and_refused_when_damaged() {
        let mut samples = Samples::default();
        samples.push(TimestampMs(5), Value::Float(1.5), TimestampMs(0));
        samples.push(TimestampMs(20), Value::Float(2.5), TimestampMs(0));
        let data = chunks(&samples).next().unwrap().bytes;
        let mut chunk = vec![0x08, 5, 0x10, 20, 0x18, 1, 0x22];
        put_bytes(&mut chunk, &data);
        let mut series = b"\x0a\x07\x0a\x01a\x12\x02bc\x12".to_vec();
        put_bytes(&mut series, &chunk);
        let mut body = vec![0x0a];
        put_bytes(&mut body, &series);
        body.extend_from_slice(&[0x10, 0]);
        let bytes = [frame(&body), frame(&[])].concat();
        for size in [1, 3, 7, bytes.len()] {
            let mut frames = Frames::default();
            let mut all = Vec::new();
            for part in bytes.chunks(size) {
                frames.push(part);
                while let Some(pieces) = frames.take().unwrap() {
                    all.extend(pieces);
                }
            }
            assert!(frames.is_empty());
            let samples = samples.clone();
            let labels = LabelSet::from_pairs(&[("a", "bc")]).unwrap();
            assert_eq!(all, [Piece { labels, samples }]);
        }
        for at in 1..bytes.len() - 5 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            let mut frames = Frames::default();
            frames.push(&damaged);
            assert!(frames.take().is_err(), "byte {at}");
        }
    }
}
