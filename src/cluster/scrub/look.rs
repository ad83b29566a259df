//! One look at one copy of a block: whether it is, to the byte, what the catalog says. Who looks,
//! when, how fast, and what becomes of a bad copy is not its business.

use std::sync::Arc;

use crate::cluster::blocks::Archive;
use crate::cluster::control::Control;
use crate::cluster::error::Error;
use crate::cluster::manifests::{Manifests, listed};
use crate::model::{BlockEntry, BlockId, RingArc, Uploaded};
use crate::runtime::{CancelToken, Throttle};
use crate::store::{self, FILE_READ_MAX, Store};

/// What a look at a copy gives.
pub(in crate::cluster) enum Look {
    /// So many bytes are what was written.
    Good(u64),
    /// There is nothing to look at: it has left the catalog or this disk.
    Elsewhere,
    /// What is wrong.
    Bad(String),
}

/// Looks at copies.
pub(in crate::cluster) struct Looker {
    pub(in crate::cluster) store: Arc<Store>,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) manifests: Arc<Manifests>,
    /// Where there is a bucket.
    pub(in crate::cluster) archive: Option<Archive>,
}

impl Looker {
    /// The file on this disk.
    ///
    /// # Errors
    /// When it cannot be looked at now, or it was called off.
    pub(in crate::cluster) fn here(
        &self,
        entry: &BlockEntry,
        throttle: &Throttle,
        cancel: &CancelToken,
    ) -> Result<Look, Error> {
        let store = &self.store;
        // It may have left the catalog or this disk meanwhile.
        if !store.keeps(entry.id) {
            return Ok(Look::Elsewhere);
        }
        if store.damaged().contains(&entry.id) {
            return Ok(Look::Bad("its file was found damaged before".to_owned()));
        }
        let mut hasher = blake3::Hasher::new();
        loop {
            cancel.check().map_err(store::Error::from)?;
            let piece = match store.read_file(entry.id, hasher.count(), FILE_READ_MAX) {
                Ok(Some(piece)) => piece,
                Ok(None) if !store.keeps(entry.id) => return Ok(Look::Elsewhere),
                Ok(None) => return Ok(Look::Bad("its file is gone".to_owned())),
                Err(error @ (store::Error::Io { .. } | store::Error::Corrupt { .. })) => {
                    return Ok(Look::Bad(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            };
            if piece.is_empty() {
                break;
            }
            throttle.take(piece.len() as u64);
            hasher.update(&piece);
        }
        let (bytes, digest) = (hasher.count(), hasher.finalize());
        if bytes == entry.size && *digest.as_bytes() == entry.digest.0 {
            return Ok(Look::Good(bytes));
        }
        Ok(Look::Bad(format!(
            "its digest is {digest} over {bytes} bytes, the catalog says {} over {}",
            entry.digest, entry.size
        )))
    }

    /// The object in the bucket.
    ///
    /// # Errors
    /// As [`Looker::here`], and when the bucket cannot be asked.
    pub(in crate::cluster) fn there(
        &self,
        arc: RingArc,
        entry: &BlockEntry,
        throttle: &Throttle,
        cancel: &CancelToken,
    ) -> Result<Look, Error> {
        let Some(archive) = &self.archive else {
            return Ok(Look::Elsewhere);
        };
        // It may have expired or been replaced meanwhile.
        let named = self.named(arc, entry.id);
        if named.is_none_or(|named| named.uploaded == Uploaded::None) {
            return Ok(Look::Elsewhere);
        }
        match archive.check(arc, entry, throttle, cancel) {
            Ok(bytes) => Ok(Look::Good(bytes)),
            Err(Error::Archive(error)) if error.is_of_object() => Ok(Look::Bad(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// What the catalog says of a block now.
    pub(in crate::cluster) fn named(&self, arc: RingArc, id: BlockId) -> Option<BlockEntry> {
        let state = self.control.state();
        let listed = listed(&self.manifests, arc, state.partition(arc)?).ok()?;
        listed.get(id).cloned()
    }
}
