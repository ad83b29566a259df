//! Objects come back: in pieces, and checked.

use bytes::Bytes;

use super::bucket::Bucket;
use super::error::Error;
use crate::model::Digest;

/// Bytes that are asked for at once.
pub const FETCH_BYTES: u64 = 4 << 20;

/// Some bytes of an object that must be there, up to its end.
///
/// # Errors
/// When it is not, or ends before them.
pub async fn fetch_piece(
    bucket: &Bucket,
    name: &str,
    offset: u64,
    size: u64,
) -> Result<Bytes, Error> {
    let end = size.min(offset.saturating_add(FETCH_BYTES));
    let bytes = bucket.read(name, offset..end).await?;
    let bytes = bytes.ok_or_else(|| bucket.missing(name))?;
    if bytes.len() as u64 == end.saturating_sub(offset) {
        return Ok(bytes);
    }
    let has = offset.saturating_add(bytes.len() as u64);
    Err(bucket.corrupt(name, format!("it ends after {has} of {size} bytes")))
}

/// Reads an object back and compares it with what it should be.
///
/// # Errors
/// When it is something else, or cannot be read.
pub async fn verify(bucket: &Bucket, name: &str, size: u64, digest: Digest) -> Result<(), Error> {
    let has = bucket.size(name).await?;
    let has = has.ok_or_else(|| bucket.missing(name))?;
    if has != size {
        return Err(bucket.corrupt(name, format!("it has {has} bytes instead of {size}")));
    }
    let mut hasher = blake3::Hasher::new();
    while hasher.count() < size {
        let piece = fetch_piece(bucket, name, hasher.count(), size).await?;
        hasher.update(&piece);
    }
    let found = Digest(*hasher.finalize().as_bytes());
    if found == digest {
        return Ok(());
    }
    Err(bucket.corrupt(name, format!("its digest is {found} instead of {digest}")))
}
