//! A copy of the log, made while it is written: a start from it finds everything that was
//! acknowledged before the copy began.
//!
//! Segments are used again in place, so links to them would change. Whoever copies sees to it that
//! nothing is given up meanwhile: then the segments that are needed stay what they are, and the one
//! being written only grows. Of that one all whole records are taken that are there.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::disk::{LogDisk, LogFile};
use super::record::{RECORDS_AT, SegmentHeader};
use super::replay::{Next, SegmentReader};
use super::writer::Log;
use crate::store::error::Error;

/// Bytes copied at a time.
const PIECE: usize = 1 << 20;

impl Log {
    /// Copies what a start needs from `disk`, on which this log lies, into a new folder, durably;
    /// says how many bytes it read. Nothing may be given up meanwhile.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(crate) fn copy(&self, disk: &dyn LogDisk, to: &Path) -> Result<u64, Error> {
        let segments = self.live();
        let oldest = segments.first().map_or(0, |(_, header)| header.generation);
        fs::create_dir_all(to).map_err(Error::io("make", to))?;
        let (mut bytes, mut left) = (0, segments.len());
        for (name, header) in segments {
            left -= 1;
            let from = Path::new(&name);
            let source = disk.open(&name).map_err(Error::io("open", from))?;
            let end = if left == 0 {
                end_of_records(&*source, header.generation).map_err(Error::io("read", from))?
            } else {
                source.size().map_err(Error::io("read", from))?
            };
            // The newest header of all says which is the oldest that is needed: those before are
            // not copied.
            let header = SegmentHeader { oldest, ..header };
            let path = to.join(&name);
            copy_segment(&*source, &header, end, &path).map_err(Error::io("copy to", &path))?;
            bytes += end;
        }
        sync(to)?;
        Ok(bytes)
    }
}

fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("sync", directory))
}

/// Where the whole records of a segment end that is being written.
fn end_of_records(file: &dyn LogFile, generation: u32) -> io::Result<u64> {
    let mut reader = SegmentReader::new(file, generation);
    while !matches!(reader.next()?, Next::End) {}
    Ok(reader.offset())
}

/// Copies a segment up to `end`; what follows are zeros, as where nothing was written yet.
fn copy_segment(
    source: &dyn LogFile,
    header: &SegmentHeader,
    end: u64,
    path: &Path,
) -> io::Result<()> {
    let mut copy = File::create_new(path)?;
    copy.write_all(&header.bytes())?;
    copy.seek(SeekFrom::Start(RECORDS_AT))?;
    let (mut at, mut piece) = (RECORDS_AT, vec![0; PIECE]);
    while at < end {
        let left = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
        let room = piece.get_mut(..left).unwrap_or_default();
        let read = source.read_at(at, room)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        copy.write_all(room.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    copy.set_len(source.size()?.max(end))?;
    copy.sync_all()
}
