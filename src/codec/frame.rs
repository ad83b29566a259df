//! What every stored section has around it: a checksum behind, and bytes that are compressed when
//! that makes them shorter.
//!
//! The checksum is the low 32 bits of xxh3-64, seed 0, over everything of the section before it,
//! little-endian. Compression is zstd; the frame carries no checksum or dictionary of its own.

use std::cell::RefCell;

use xxhash_rust::xxh3::xxh3_64;
use zstd::bulk::Decompressor;

use super::Error;
use super::varint::{put_len, take_len, take_u8};

/// The level of the measurements in `docs/format.md`; 6 would save another 1.5 %, 15 a further 1.4 %.
const ZSTD_LEVEL: i32 = 3;

/// zstd's shortest block repeats one byte over 128 KiB in 4 bytes: more than this many bytes out
/// of one cannot be honest, so no more is allocated.
const ZSTD_RATIO_MAX: usize = 1 << 15;

const STORED: u8 = 0;
const ZSTD: u8 = 1;

fn checksum(bytes: &[u8]) -> u32 {
    let [a, b, c, d, ..] = xxh3_64(bytes).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Appends the checksum of everything from `start` on.
pub(super) fn seal(out: &mut Vec<u8>, start: usize) {
    let sum = checksum(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Checks the checksum at the end and returns what is before it.
pub(super) fn open<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a [u8], Error> {
    let Some((body, stored)) = bytes.split_last_chunk::<4>() else {
        return Err(Error::truncated(what, 4 - bytes.len()));
    };
    let (stored, found) = (u32::from_le_bytes(*stored), checksum(body));
    if stored != found {
        return Err(Error::Checksum {
            what,
            stored,
            found,
        });
    }
    Ok(body)
}

/// Appends bytes, compressed where that is shorter: how, how many, then themselves up to the end
/// of what encloses them.
pub(super) fn compress(raw: &[u8], out: &mut Vec<u8>) {
    // An error of zstd (it has no memory) only costs the compression.
    match zstd::bulk::compress(raw, ZSTD_LEVEL) {
        Ok(packed) if packed.len() < raw.len() => {
            out.push(ZSTD);
            put_len(out, raw.len());
            out.extend_from_slice(&packed);
        }
        _ => {
            out.push(STORED);
            put_len(out, raw.len());
            out.extend_from_slice(raw);
        }
    }
}

/// The bytes again; `input` is used up. At most `max` of them.
pub(super) fn decompress(
    input: &mut &[u8],
    what: &'static str,
    max: usize,
) -> Result<Vec<u8>, Error> {
    let how = take_u8(input, what)?;
    let len = take_len(input, what, max)?;
    let packed = std::mem::take(input);
    match how {
        STORED if packed.len() == len => Ok(packed.to_vec()),
        ZSTD => {
            Error::bound(what, len, packed.len().saturating_mul(ZSTD_RATIO_MAX))?;
            let raw = unpack(packed, len).ok_or(Error::invalid(what, packed.len() as u64))?;
            if raw.len() == len {
                return Ok(raw);
            }
            Err(Error::invalid(what, raw.len() as u64))
        }
        STORED => Err(Error::invalid(what, len as u64)),
        id => Err(Error::UnknownEncoding { what, id }),
    }
}

thread_local! {
    /// Setting up zstd's state costs more than decompressing a few kilobytes does, and what a query
    /// reads comes in such pieces. It has no memory of what went through it.
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// What zstd has packed into at most `len` bytes.
fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    UNPACKER.with(|kept| {
        let mut kept = kept.try_borrow_mut().ok()?;
        let unpacker = match kept.take() {
            Some(unpacker) => unpacker,
            None => Decompressor::new().ok()?,
        };
        kept.insert(unpacker).decompress(packed, len).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_noticed() {
        let mut out = b"before".to_vec();
        out.extend_from_slice(b"content");
        seal(&mut out, 6);
        assert_eq!(open(&out[6..], "x"), Ok(&b"content"[..]));
        for at in 6..out.len() {
            let mut damaged = out.clone();
            damaged[at] ^= 1;
            assert!(matches!(
                open(&damaged[6..], "x"),
                Err(Error::Checksum { what: "x", .. })
            ));
        }
        assert!(open(&[1, 2], "x").is_err());
    }

    #[test]
    fn a_false_length_is_refused() {
        let raw = vec![7; 10_000];
        let mut out = Vec::new();
        compress(&raw, &mut out);
        assert!(out.len() < 100);
        let unpack = |bytes: &[u8], max| decompress(&mut &bytes[..], "x", max);
        assert_eq!(unpack(&out, 10_000), Ok(raw));
        assert!(unpack(&out, 9_999).is_err());
        let mut shorter = vec![ZSTD];
        put_len(&mut shorter, 9_999);
        shorter.extend_from_slice(&out[3..]);
        assert!(unpack(&shorter, 10_000).is_err());
        let mut longer = vec![ZSTD];
        put_len(&mut longer, 10_001);
        longer.extend_from_slice(&out[3..]);
        assert!(unpack(&longer, usize::MAX).is_err());
        assert!(unpack(&[2, 0], 10).is_err());
        assert!(unpack(&[STORED, 5, 1], 10).is_err());
    }
}
