//! The `chunks` folder of a block: segment files with chunks. What stands in a chunk is read by
//! `codec::prometheus`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::Error;
use super::index::damaged;
use crate::codec::crc32c;
use crate::codec::prometheus::read_chunk;
use crate::codec::varint::take_u64;
use crate::model::Samples;

/// Magic, version, three zeros.
pub(super) const SEGMENT_HEAD: [u8; 8] = [0x85, 0xBD, 0x40, 0xDD, 1, 0, 0, 0];
/// The name of a segment by its number, from 1.
pub(super) fn segment_name(number: usize) -> String {
    format!("{number:06}")
}

/// Bytes of a chunk that are read at first; most are shorter.
const FIRST_BYTES: usize = 512;
/// The longest chunk that is believed: 65,535 histograms of many buckets are still shorter.
const CHUNK_BYTES_MAX: u64 = 64 << 20;

/// An opened folder.
pub(super) struct Chunks {
    segments: Vec<(PathBuf, File, u64)>,
}

impl Chunks {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let mut segments = Vec::new();
        loop {
            let path = folder.join(segment_name(segments.len() + 1));
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound && !segments.is_empty() =>
                {
                    return Ok(Self { segments });
                }
                Err(error) => return Err(Error::reading(&path)(error)),
            };
            let mut head = [0; 8];
            file.read_exact_at(&mut head, 0)
                .map_err(Error::reading(&path))?;
            if head != SEGMENT_HEAD {
                return Err(damaged(&path, 0, "this is no file of chunks of version 1"));
            }
            let size = file.metadata().map_err(Error::reading(&path))?.len();
            segments.push((path, file, size));
        }
    }

    /// Adds a chunk's samples.
    pub(super) fn read(&self, at: u64, samples: &mut Samples) -> Result<(), Error> {
        let number = usize::try_from(at >> 32).unwrap_or(usize::MAX);
        let offset = at & u64::from(u32::MAX);
        let (path, file, size) = self.segments.get(number).ok_or_else(|| {
            let problem = format!("a chunk lies in segment {}, which is missing", number + 1);
            Error::malformed(segment_name(number + 1), problem)
        })?;
        let broken = |problem: &str| damaged(path, offset, problem);
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; FIRST_BYTES.min(left)];
        file.read_exact_at(&mut bytes, offset)
            .map_err(Error::reading(path))?;
        let mut input = bytes.as_slice();
        let len = take_u64(&mut input).map_err(|_| broken("no length of a chunk"))?;
        let prefix = bytes.len() - input.len();
        let whole = prefix as u64 + 1 + len + 4;
        if len > CHUNK_BYTES_MAX || whole > left as u64 {
            return Err(broken("a chunk is longer than the file"));
        }
        let whole = usize::try_from(whole).unwrap_or(usize::MAX);
        let had = bytes.len();
        bytes.resize(whole, 0);
        if let Some(rest) = bytes.get_mut(had..).filter(|rest| !rest.is_empty()) {
            file.read_exact_at(rest, offset + had as u64)
                .map_err(Error::reading(path))?;
        }
        let body = bytes.get(prefix..).unwrap_or_default();
        let (body, sum) = body
            .split_last_chunk::<4>()
            .ok_or_else(|| broken("a chunk ends too early"))?;
        if crc32c(0, body) != u32::from_be_bytes(*sum) {
            return Err(broken("a chunk does not match its checksum"));
        }
        let (encoding, data) = body
            .split_first()
            .ok_or_else(|| broken("a chunk is empty"))?;
        read_chunk(*encoding, data, samples).map_err(|error| broken(&error.to_string()))
    }
}
