//! Objects come back, or parts of them: in pieces, and checked.

use bytes::Bytes;

use super::bucket::Bucket;
use super::error::Error;
use crate::model::Digest;

/// Bytes that are asked for at once.
pub const FETCH_BYTES: u64 = 4 << 20;

/// Where something lies in an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The object.
    pub name: String,
    /// The first of its bytes.
    pub from: u64,
    /// How many they are.
    pub size: u64,
}

impl Part {
    /// A whole object.
    #[must_use]
    pub const fn whole(name: String, size: u64) -> Self {
        Self {
            name,
            from: 0,
            size,
        }
    }
}

/// Some bytes of a part that must be there, up to its end.
///
/// # Errors
/// When the object is not there, or ends before them.
pub async fn fetch_piece(bucket: &Bucket, part: &Part, offset: u64) -> Result<Bytes, Error> {
    let Part { name, from, size } = part;
    let end = offset.saturating_add(FETCH_BYTES).min(*size);
    let range = from.saturating_add(offset)..from.saturating_add(end);
    let bytes = match bucket.read(name, range.clone()).await {
        // A range that ends behind its object is refused as if the bucket were at fault.
        Err(error) if !error.is_of_object() => match bucket.size(name).await {
            Ok(Some(has)) if has < range.end => Some(Bytes::new()),
            _ => return Err(error),
        },
        read => read?,
    };
    let bytes = bytes.ok_or_else(|| bucket.missing(name))?;
    if bytes.len() as u64 == end.saturating_sub(offset) {
        return Ok(bytes);
    }
    let problem = format!("it ends before byte {}, which belongs to it", range.end);
    Err(bucket.corrupt(name, problem))
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
    verify_part(bucket, &Part::whole(name.to_owned(), size), digest).await
}

/// The same of a part of an object.
///
/// # Errors
/// When it is something else, or cannot be read.
pub async fn verify_part(bucket: &Bucket, part: &Part, digest: Digest) -> Result<(), Error> {
    let mut hasher = blake3::Hasher::new();
    while hasher.count() < part.size {
        let piece = fetch_piece(bucket, part, hasher.count()).await?;
        hasher.update(&piece);
    }
    let found = Digest(*hasher.finalize().as_bytes());
    if found == digest {
        return Ok(());
    }
    Err(bucket.corrupt(
        &part.name,
        format!("its digest is {found} instead of {digest}"),
    ))
}
