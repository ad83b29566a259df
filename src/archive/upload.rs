//! Putting one object, piece after piece, in bounded memory: small ones at once, larger ones in
//! parts.

use bytes::{Bytes, BytesMut};
use object_store::MultipartUpload;

use super::bucket::Bucket;
use super::error::Error;

/// A part: a multiple of Garage's block size, also where that was raised to 10 MiB.
const PART_BYTES: usize = 10 << 20;

/// An object that is being put. What is not ended leaves nothing but parts, which storages sweep.
pub struct Upload<'a> {
    bucket: &'a Bucket,
    name: String,
    buffer: BytesMut,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl<'a> Upload<'a> {
    /// Begins an object.
    #[must_use]
    pub fn new(bucket: &'a Bucket, name: String) -> Self {
        Self {
            bucket,
            name,
            buffer: BytesMut::new(),
            parts: None,
        }
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// When the bucket does not take them.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() > PART_BYTES {
            let part = self.buffer.split_to(PART_BYTES).freeze();
            self.put_part(part).await?;
        }
        Ok(())
    }

    async fn put_part(&mut self, part: Bytes) -> Result<(), Error> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(self.bucket.put_in_parts(&self.name).await?),
        };
        self.bucket.put_part(parts.as_mut(), part).await
    }

    /// Ends it: the object is there.
    ///
    /// # Errors
    /// When the bucket does not take it.
    pub async fn finish(mut self) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        if self.parts.is_none() {
            return self.bucket.put(&self.name, rest).await;
        }
        self.put_part(rest).await?;
        match &mut self.parts {
            Some(parts) => self.bucket.complete(parts.as_mut()).await,
            None => Ok(()),
        }
    }

    /// Gives it up: parts that were put are removed, if the bucket can be asked.
    pub async fn abort(mut self) {
        if let Some(parts) = &mut self.parts
            && let Err(error) = parts.abort().await
        {
            tracing::debug!(%error, "parts of an object were left behind");
        }
    }
}
