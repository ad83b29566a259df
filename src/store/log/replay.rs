//! Reading the log at open: every record of every live segment in order, the torn tail of the
//! last write cut off, and damage told apart from it.
//!
//! Every write begins with a record that says up to which position the log was durable before.
//! So where the records end badly at position p, a later write that calls p durable proves that p
//! was acknowledged and is damaged; without one, p belonged to a write that never finished.

use std::io;

use super::disk::LogFile;
use super::record::{
    NoRecord, RECORD_HEADER_LEN, RECORDS_AT, RecordHeader, RecordKind, SEGMENT_HEADER_LEN,
};

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// A segment file read from front to back.
pub(super) struct SegmentReader<'a> {
    file: &'a dyn LogFile,
    generation: u32,
    /// Where `buffer` begins in the file.
    base: u64,
    buffer: Vec<u8>,
    /// The next record in `buffer`.
    at: usize,
    ended: bool,
}

/// What a segment had next.
pub(super) enum Next<'a> {
    /// A record.
    Record(RecordHeader, &'a [u8]),
    /// No record of this generation.
    End,
    /// A whole record of a kind that a later version writes.
    Unknown(u8),
}

impl<'a> SegmentReader<'a> {
    pub(super) fn new(file: &'a dyn LogFile, generation: u32) -> Self {
        Self {
            file,
            generation,
            base: RECORDS_AT,
            buffer: Vec::new(),
            at: 0,
            ended: false,
        }
    }

    /// Where the next record begins in the file.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        let mut need = RECORD_HEADER_LEN;
        let (header, length) = loop {
            if self.buffer.len().saturating_sub(self.at) < need {
                self.refill(need)?;
            }
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            match RecordHeader::take(rest, self.generation) {
                Ok((header, payload)) => break (header, payload.len()),
                Err(NoRecord::Short(more)) if !self.ended => need = more,
                Err(NoRecord::UnknownKind(kind)) => return Ok(Next::Unknown(kind)),
                Err(_) => return Ok(Next::End),
            }
        };
        let begin = self.at + RECORD_HEADER_LEN;
        self.at = begin + length;
        let payload = self.buffer.get(begin..self.at).unwrap_or_default();
        Ok(Next::Record(header, payload))
    }

    /// Drops what was read and reads on until `need` bytes are there or the file ends.
    fn refill(&mut self, need: usize) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        while self.buffer.len() < need && !self.ended {
            let have = self.buffer.len();
            self.buffer.resize(have + PIECE.max(need - have), 0);
            let fresh = self.buffer.get_mut(have..).unwrap_or_default();
            let read = self.file.read_at(self.base + have as u64, fresh)?;
            self.ended = read < fresh.len();
            self.buffer.truncate(have + read);
        }
        Ok(())
    }
}

/// What lies behind the last readable record of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// Whole records of this generation: of a write that was torn, or behind damage.
    pub records: u64,
    /// The highest position that a later write calls durable.
    pub durable: u64,
}

/// Looks for whole records of a generation from `offset` on.
pub(super) fn scan_behind(file: &dyn LogFile, generation: u32, offset: u64) -> io::Result<Behind> {
    let pattern = generation.to_le_bytes();
    let finder = memchr::memmem::Finder::new(&pattern);
    let mut behind = Behind::default();
    let (mut base, mut buffer) = (offset, vec![0; PIECE + RECORD_HEADER_LEN]);
    loop {
        let read = file.read_at(base, &mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        for found in finder.find_iter(bytes) {
            // The generation stands eight bytes behind a record's begin.
            if let Some(at) = found.checked_sub(8) {
                let rest = bytes.get(at..).unwrap_or_default();
                look_at(file, generation, base + at as u64, rest, &mut behind)?;
            }
        }
        if read < buffer.len() {
            return Ok(behind);
        }
        // The next piece overlaps by the header of a record.
        base += PIECE as u64;
    }
}

/// Counts what begins at `offset`, of which `bytes` have been read, if it is a record.
fn look_at(
    file: &dyn LogFile,
    generation: u32,
    offset: u64,
    bytes: &[u8],
    behind: &mut Behind,
) -> io::Result<()> {
    let mut longer = Vec::new();
    let mut bytes = bytes;
    if let Err(NoRecord::Short(need)) = RecordHeader::take(bytes, generation) {
        longer.resize(need, 0);
        let read = file.read_at(offset, &mut longer)?;
        bytes = longer.get(..read).unwrap_or_default();
    }
    let Ok((header, payload)) = RecordHeader::take(bytes, generation) else {
        return Ok(());
    };
    behind.records += 1;
    if header.kind == RecordKind::Write
        && let Some(durable) = payload.first_chunk::<8>()
    {
        behind.durable = behind.durable.max(u64::from_le_bytes(*durable));
    }
    Ok(())
}

/// Reads the front of a segment file.
pub(super) fn read_front(file: &dyn LogFile) -> io::Result<Option<[u8; SEGMENT_HEADER_LEN]>> {
    let mut front = [0; SEGMENT_HEADER_LEN];
    let read = file.read_at(0, &mut front)?;
    Ok((read == SEGMENT_HEADER_LEN).then_some(front))
}
