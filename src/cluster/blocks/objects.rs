//! Files of blocks become objects: one alone, or several in a pack; read, put and read back.

use super::waiting::UploaderParts;
use crate::archive::{
    PackDirectory, PackedBlock, Part, Upload, block_name, fetch_piece, pack_name, verify,
    verify_part,
};
use crate::cluster::error::Error;
use crate::model::{BlockEntry, BlockId, Digest, RingArc};
use crate::runtime::CancelToken;
use crate::store::{self, FILE_READ_MAX};

/// Puts objects of a cluster.
pub(super) struct Putting<'a> {
    pub(super) parts: &'a UploaderParts,
    pub(super) cluster: u128,
    pub(super) cancel: &'a CancelToken,
}

/// A pack that is there, and where its blocks lie.
pub(super) struct Packed {
    pub(super) digest: Digest,
    pub(super) blocks: Vec<PackedBlock>,
}

/// An object on its way.
struct Sending<'a> {
    upload: Upload<'a>,
    hasher: blake3::Hasher,
}

impl Putting<'_> {
    /// A block as an object of its own. It may be there already: put by another member, or before a
    /// crash.
    ///
    /// # Errors
    /// When its file is not here or not what the catalog says, or the bucket does not take it.
    pub(super) fn block(&self, arc: RingArc, entry: &BlockEntry) -> Result<(), Error> {
        let archive = &self.parts.archive;
        let bucket = &archive.bucket;
        let name = block_name(self.cluster, self.built_for(arc, entry)?, entry);
        let check = || archive.wait(self.cancel, verify(bucket, &name, entry.size, entry.digest));
        let there = archive.wait(self.cancel, bucket.size(&name))?;
        if there != Some(entry.size) || check().is_err() {
            self.put(&name, |sending| self.send(entry, sending))?;
            check()?;
        }
        bucket.metrics().uploaded();
        Ok(())
    }

    /// Blocks of one range as a pack.
    ///
    /// # Errors
    /// As [`Putting::block`]; with the block whose file is at fault, if one is.
    pub(super) fn pack(
        &self,
        blocks: &[(RingArc, BlockEntry)],
    ) -> Result<Packed, (Option<BlockId>, Error)> {
        let whole = |error: Error| (None, error);
        let mut faulty = None;
        let of_block = |(arc, entry): &(RingArc, BlockEntry)| {
            let arc = self.built_for(*arc, entry);
            arc.map_err(|error| (Some(entry.id), error))
                .map(|arc| (arc, entry.clone()))
        };
        let blocks: Vec<_> = blocks.iter().map(of_block).collect::<Result<_, _>>()?;
        let range = blocks.first().map(|(_, entry)| entry.range);
        let range = range.ok_or_else(|| whole(Error::TooFew("a pack of nothing".to_owned())))?;
        let directory = PackDirectory::of(self.cluster, range, &blocks);
        let (archive, digest) = (&self.parts.archive, directory.digest());
        let name = pack_name(self.cluster, range, digest);
        let bytes = directory.encode();
        let size = directory.end_of_blocks().saturating_add(bytes.len() as u64);
        let there = archive.wait(self.cancel, archive.bucket.size(&name));
        let there = there.map_err(|error| whole(error.into()))?;
        if there != Some(size) || self.check_pack(&name, &directory).is_err() {
            let fill = |sending: &mut Sending<'_>| {
                for (_, entry) in &blocks {
                    faulty = Some(entry.id);
                    self.send(entry, sending)?;
                }
                faulty = None;
                self.write(sending, &bytes)
            };
            let put = self.put(&name, fill).and_then(|whole| {
                let check = verify(&archive.bucket, &name, size, whole);
                Ok(archive.wait(self.cancel, check)?)
            });
            put.map_err(|error| (faulty, error))?;
        }
        blocks
            .iter()
            .for_each(|_| archive.bucket.metrics().uploaded());
        Ok(Packed {
            digest,
            blocks: directory.blocks,
        })
    }

    /// Whether a pack is what it should be: its directory, and every block in it.
    fn check_pack(&self, name: &str, directory: &PackDirectory) -> Result<(), Error> {
        let (archive, bytes) = (&self.parts.archive, directory.encode());
        let part = |from: u64, size: u64| Part {
            name: name.to_owned(),
            from,
            size,
        };
        let end = part(directory.end_of_blocks(), bytes.len() as u64);
        let digest = Digest(*blake3::hash(&bytes).as_bytes());
        archive.wait(self.cancel, verify_part(&archive.bucket, &end, digest))?;
        for block in &directory.blocks {
            let part = part(block.offset, block.entry.size);
            let check = verify_part(&archive.bucket, &part, block.entry.digest);
            archive.wait(self.cancel, check)?;
        }
        Ok(())
    }

    /// A pack again, of which something is missing or damaged: what the catalog names in it from the
    /// files that are here, the rest as it was; where nothing was, zeros.
    ///
    /// # Errors
    /// When a file is not what the catalog says, or the bucket does not take the pack.
    pub(super) fn pack_again(
        &self,
        pack: Digest,
        old: Option<&Part>,
        live: &[PackedBlock],
    ) -> Result<(), Error> {
        let (archive, store) = (&self.parts.archive, &self.parts.store);
        let Some(range) = live.first().map(|block| block.entry.range) else {
            return Ok(());
        };
        let old = match old {
            Some(part) => {
                let size = archive.wait(self.cancel, archive.bucket.size(&part.name))?;
                size.map(|size| Part::whole(part.name.clone(), size))
            }
            None => None,
        };
        let mut directory = None;
        if let Some(old) = &old {
            let read = PackDirectory::read(&archive.bucket, &old.name, old.size);
            directory = archive.wait(self.cancel, read).ok();
        }
        let begins = match (&directory, &old) {
            (Some(directory), Some(old)) => {
                old.size.saturating_sub(directory.encode().len() as u64)
            }
            _ => 0,
        };
        let directory = directory.unwrap_or_else(|| PackDirectory {
            cluster: self.cluster,
            range,
            blocks: live.to_vec(),
        });
        let bytes = directory.encode();
        let name = pack_name(self.cluster, range, pack);
        let mut size = 0;
        let fill = |sending: &mut Sending<'_>| {
            for block in live {
                self.copy(old.as_ref(), block.offset, sending)?;
                if store.has_file(block.entry.id)? {
                    self.send(&block.entry, sending)?;
                } else {
                    let end = block.offset.saturating_add(block.entry.size);
                    self.copy(old.as_ref(), end, sending)?;
                }
            }
            self.copy(old.as_ref(), begins, sending)?;
            self.write(sending, &bytes)?;
            size = sending.hasher.count();
            Ok(())
        };
        let whole = self.put(&name, fill)?;
        let check = verify(&archive.bucket, &name, size, whole);
        Ok(archive.wait(self.cancel, check)?)
    }

    /// Goes on to a byte with what was there.
    fn copy(&self, old: Option<&Part>, to: u64, sending: &mut Sending<'_>) -> Result<(), Error> {
        let archive = &self.parts.archive;
        while sending.hasher.count() < to {
            let at = sending.hasher.count();
            let old = old.filter(|old| at < old.size);
            let piece = match old {
                Some(old) => archive.wait(self.cancel, fetch_piece(&archive.bucket, old, at))?,
                None => bytes::Bytes::from_static(&[0; 4096]),
            };
            let wanted = usize::try_from(to - at).unwrap_or(usize::MAX);
            let piece = piece.get(..wanted.min(piece.len())).unwrap_or_default();
            self.write(sending, piece)?;
        }
        Ok(())
    }

    /// The arc that a block was built for: one that is older than a split of its partition has the
    /// name of the whole.
    fn built_for(&self, arc: RingArc, entry: &BlockEntry) -> Result<RingArc, Error> {
        let built_for = self.parts.store.arc_of_block(entry.id)?;
        Ok(built_for.unwrap_or(arc))
    }

    /// An object of what is written to it; the answer is the digest of that. What is given up leaves
    /// nothing.
    fn put(
        &self,
        name: &str,
        fill: impl FnOnce(&mut Sending<'_>) -> Result<(), Error>,
    ) -> Result<Digest, Error> {
        let archive = &self.parts.archive;
        let mut sending = Sending {
            upload: Upload::new(&archive.bucket, name.to_owned()),
            hasher: blake3::Hasher::new(),
        };
        match fill(&mut sending) {
            Ok(()) => {
                archive.wait(self.cancel, sending.upload.finish())?;
                Ok(Digest(*sending.hasher.finalize().as_bytes()))
            }
            Err(error) => {
                let give_up = async {
                    sending.upload.abort().await;
                    Ok(())
                };
                // The first error is the one to tell.
                let _ = archive.wait(self.cancel, give_up);
                Err(error)
            }
        }
    }

    fn write(&self, sending: &mut Sending<'_>, bytes: &[u8]) -> Result<(), Error> {
        sending.hasher.update(bytes);
        let archive = &self.parts.archive;
        Ok(archive.wait(self.cancel, sending.upload.write(bytes))?)
    }

    /// The file of a block. One that is not what the catalog says ends the object.
    fn send(&self, entry: &BlockEntry, sending: &mut Sending<'_>) -> Result<(), Error> {
        let mut hasher = blake3::Hasher::new();
        loop {
            let store = &self.parts.store;
            let piece = store.read_file(entry.id, hasher.count(), FILE_READ_MAX)?;
            let piece = piece.ok_or_else(|| damaged(entry, "it is gone"))?;
            if piece.is_empty() {
                break;
            }
            self.parts.throttle.take(piece.len() as u64);
            hasher.update(&piece);
            self.write(sending, &piece)?;
        }
        if hasher.count() != entry.size || *hasher.finalize().as_bytes() != entry.digest.0 {
            return Err(damaged(entry, "it is not what the catalog says"));
        }
        Ok(())
    }
}

fn damaged(entry: &BlockEntry, problem: &str) -> Error {
    let what = format!("the local file of block {}", entry.id);
    Error::Store(store::Error::corrupt(what, problem.to_owned()))
}
