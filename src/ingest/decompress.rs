//! Bodies out of their encoding, into one reused buffer, never beyond a bound.
//!
//! Snappy here is the block format, whose first bytes say how long the output is: that number is
//! compared with the bound before memory is taken. Zstd and gzip say nothing reliable, so their
//! output is read up to the bound and one byte beyond. Input is bounded by the caller.

use std::io::Read;

use super::error::Error;

/// The largest zstd window that is decoded, as a power of two: what a sender at the usual levels
/// uses is far smaller, and memory for it is taken before the first byte comes out.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// How a body is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Snappy,
    Zstd,
    Gzip,
}

impl Encoding {
    /// Reads a `Content-Encoding`. Without one it is snappy, as Prometheus takes it.
    pub(super) fn from_header(header: Option<&str>) -> Result<Self, Error> {
        let name = header.unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "" | "snappy" => Ok(Self::Snappy),
            "zstd" => Ok(Self::Zstd),
            "gzip" => Ok(Self::Gzip),
            _ => Err(Error::Unsupported(format!(
                "the content encoding {:?} is not known here: send snappy (block format), zstd or gzip",
                name.chars().take(64).collect::<String>()
            ))),
        }
    }
}

fn malformed(what: &'static str, problem: impl ToString) -> Error {
    Error::Malformed {
        what,
        problem: problem.to_string(),
    }
}

fn too_large(size: String, limit: usize) -> Error {
    Error::TooLarge {
        what: "the decompressed body",
        size,
        limit: format!("{limit} bytes"),
        remedy: "send fewer samples per request, or raise ingest.max_decompressed_size",
    }
}

/// Buffers grow by steps of so many bytes.
const BUFFER_STEP: usize = 64 << 10;

/// Decodes a body. What comes back lies in `buffer`, which keeps its memory for the next one.
pub(super) fn decompress<'b>(
    encoding: Encoding,
    body: &[u8],
    limit: usize,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], Error> {
    match encoding {
        Encoding::Snappy => snappy(body, limit, buffer),
        Encoding::Zstd => {
            let what = "zstd stream";
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body)
                .map_err(|error| malformed(what, error))?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(|error| malformed(what, error))?;
            stream(what, decoder, limit, buffer)
        }
        Encoding::Gzip => {
            let decoder = flate2::bufread::MultiGzDecoder::new(body);
            stream("gzip stream", decoder, limit, buffer)
        }
    }
}

fn snappy<'b>(body: &[u8], limit: usize, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Error> {
    let what = "snappy block";
    let len = snap::raw::decompress_len(body).map_err(|error| malformed(what, error))?;
    if len > limit {
        return Err(too_large(format!("{len} bytes"), limit));
    }
    // A copy element makes at most 64 bytes out of three: a length beyond that lies, and is refused
    // before memory is taken for it.
    if len / 32 > body.len() {
        let problem = format!("{} bytes cannot decompress to {len}", body.len());
        return Err(malformed(what, problem));
    }
    if buffer.len() < len {
        // A sender's requests differ by a little: a buffer that doubled for that would stay half empty.
        buffer.reserve_exact(len.next_multiple_of(BUFFER_STEP) - buffer.len());
        buffer.resize(len, 0);
    }
    let out = buffer.get_mut(..len).unwrap_or_default();
    let written = snap::raw::Decoder::new()
        .decompress(body, out)
        .map_err(|error| malformed(what, error))?;
    Ok(out.get(..written).unwrap_or_default())
}

fn stream<'b>(
    what: &'static str,
    decoder: impl Read,
    limit: usize,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], Error> {
    buffer.clear();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(bound)
        .read_to_end(buffer)
        .map_err(|error| malformed(what, error))?;
    if buffer.len() > limit {
        return Err(too_large("larger".to_owned(), limit));
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn encoded(encoding: Encoding, body: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Snappy => snap::raw::Encoder::new().compress_vec(body).unwrap(),
            Encoding::Zstd => zstd::encode_all(body, 3).unwrap(),
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    const ALL: [Encoding; 3] = [Encoding::Snappy, Encoding::Zstd, Encoding::Gzip];

    #[test]
    fn every_encoding_comes_back_and_stops_at_the_bound() {
        let body = vec![7u8; 100_000];
        let mut buffer = Vec::new();
        for encoding in ALL {
            let sent = encoded(encoding, &body);
            assert_eq!(
                decompress(encoding, &sent, 100_000, &mut buffer).unwrap(),
                body
            );
            let error = decompress(encoding, &sent, 99_999, &mut buffer).unwrap_err();
            assert_eq!(error.status(), 413, "{encoding:?}: {error}");
            // A smaller one after a larger one: nothing of the larger is left.
            let small = encoded(encoding, b"small");
            assert_eq!(
                decompress(encoding, &small, 100, &mut buffer).unwrap(),
                b"small"
            );
        }
    }

    /// Would catch buffers that double when requests differ by a little.
    #[test]
    fn a_buffer_is_hardly_larger_than_the_largest_body() {
        let mut buffer = Vec::new();
        for len in [3 * BUFFER_STEP, 3 * BUFFER_STEP + 1, 3 * BUFFER_STEP - 1] {
            let body = encoded(Encoding::Snappy, &vec![7; len]);
            let back = decompress(Encoding::Snappy, &body, 1 << 20, &mut buffer).unwrap();
            assert_eq!(back.len(), len);
        }
        assert!(
            buffer.capacity() <= 4 * BUFFER_STEP,
            "{}",
            buffer.capacity()
        );
    }

    #[test]
    fn truncated_and_foreign_bytes_are_malformed() {
        let mut buffer = Vec::new();
        let body: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
        for encoding in ALL {
            let sent = encoded(encoding, &body);
            for broken in [
                &sent[..sent.len() / 2],
                b"",
                b"\xff\xff\xff",
                b"hello world",
            ] {
                let result = decompress(encoding, broken, 1 << 20, &mut buffer);
                if encoding == Encoding::Zstd && broken.is_empty() {
                    continue; // No frames at all are an empty stream.
                }
                assert_eq!(result.unwrap_err().status(), 400, "{encoding:?} {broken:?}");
            }
        }
    }

    #[test]
    fn a_declared_length_is_checked_before_memory_is_taken() {
        let mut buffer = Vec::new();
        // Declares 1 GiB, then 60 MiB, in a few bytes.
        let huge = [0x80, 0x80, 0x80, 0x80, 0x04, 0, 0];
        let lies = [0x80, 0x80, 0x80, 0x1e, 0, 0];
        let status = |body: &[u8], buffer: &mut Vec<u8>| {
            decompress(Encoding::Snappy, body, 64 << 20, buffer)
                .unwrap_err()
                .status()
        };
        assert_eq!(status(&huge, &mut buffer), 413);
        assert_eq!(status(&lies, &mut buffer), 400);
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn headers_choose_the_encoding() {
        let of = |header| Encoding::from_header(header).map_err(|e| e.status());
        assert_eq!(of(None), Ok(Encoding::Snappy));
        assert_eq!(of(Some("")), Ok(Encoding::Snappy));
        assert_eq!(of(Some(" Snappy ")), Ok(Encoding::Snappy));
        assert_eq!(of(Some("ZSTD")), Ok(Encoding::Zstd));
        assert_eq!(of(Some("gzip")), Ok(Encoding::Gzip));
        for other in ["identity", "br", "snappy, gzip", "lz4"] {
            assert_eq!(of(Some(other)), Err(415), "{other}");
        }
    }
}
