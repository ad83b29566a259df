//! Headers of segments and records, byte by byte as `docs/format.md` ("Log") has them. All
//! numbers are little-endian.

use crate::codec::crc32c;
use crate::model::Window;

/// The first bytes of every segment.
const MAGIC: &[u8; 8] = b"CAIRNLOG";
/// The version of everything in this file.
pub(super) const FORMAT_VERSION: u16 = 1;
/// The version of the payloads' encodings.
pub(super) const CODER_VERSION: u16 = 1;
/// Records begin here, so that the header's sector is never written together with records.
pub(super) const RECORDS_AT: u64 = 4096;
/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_LEN: usize = 48;
/// Bytes before a record's payload.
pub(super) const RECORD_HEADER_LEN: usize = 30;
/// The last generation of a segment: as many files of 16 MiB are 32 PiB.
const GENERATION_MAX: u32 = u32::MAX / 2;
/// The last position of a record.
const POSITION_MAX: u64 = u64::MAX / 2;
/// The largest payload of a record: writers split what is larger.
pub(super) const PAYLOAD_MAX: usize = 4 << 20;

/// What a record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordKind {
    /// The first of every write: up to which position the log was durable before it. Takes no
    /// position of its own: its position is that of the record after it.
    Write,
    /// Which series the numbers in later records of this window and shard mean.
    Define,
    /// Float samples without start timestamps.
    Floats,
    /// Histograms, and samples with start timestamps.
    Others,
    /// Metadata of metric families.
    Metadata,
    /// Exemplars.
    Exemplars,
    /// Which position the next record has: see [`Log::jump`](super::Log::jump).
    Jump,
    /// Float samples without start timestamps, each as a step from its series' last.
    Steps,
}

impl RecordKind {
    /// The last one that there is.
    pub(super) const NEWEST: Self = Self::Steps;

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Write => 0,
            Self::Define => 1,
            Self::Floats => 2,
            Self::Others => 3,
            Self::Metadata => 4,
            Self::Exemplars => 5,
            Self::Jump => 6,
            Self::Steps => 7,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Write,
            1 => Self::Define,
            2 => Self::Floats,
            3 => Self::Others,
            4 => Self::Metadata,
            5 => Self::Exemplars,
            6 => Self::Jump,
            7 => Self::Steps,
            _ => return None,
        })
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordHeader {
    /// The generation of the segment it was written to: what remains of earlier ones is no record.
    pub generation: u32,
    /// Its number in the log, without gaps but those that jumps say.
    pub position: u64,
    /// The window that it belongs to.
    pub window: Window,
    /// Whose numbers of series it uses.
    pub shard: u8,
    /// What it holds.
    pub kind: RecordKind,
}

/// Why bytes are no record of a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoRecord {
    /// More bytes are needed.
    Short(usize),
    /// Zeros, another generation, or damage.
    Invalid,
    /// Whole, but of a kind that this version does not know.
    UnknownKind(u8),
}

impl RecordHeader {
    /// Appends a header with room for length and checksum, which [`seal`] fills in.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.window.0.to_le_bytes());
        out.push(self.shard);
        out.push(self.kind.number());
    }

    /// Reads the record at the front of `bytes`: its header and payload.
    pub(super) fn take(bytes: &[u8], generation: u32) -> Result<(Self, &[u8]), NoRecord> {
        let mut fields = Fields(bytes);
        let need = NoRecord::Short(RECORD_HEADER_LEN);
        let length = u32::from_le_bytes(fields.take().ok_or(need)?);
        let crc = u32::from_le_bytes(fields.take().ok_or(need)?);
        let checked = fields.0;
        let found = u32::from_le_bytes(fields.take().ok_or(need)?);
        let position = u64::from_le_bytes(fields.take().ok_or(need)?);
        let window = Window(i64::from_le_bytes(fields.take().ok_or(need)?));
        let [shard] = fields.take().ok_or(need)?;
        let [kind] = fields.take().ok_or(need)?;
        let length = usize::try_from(length).map_err(|_| NoRecord::Invalid)?;
        if found != generation || length > PAYLOAD_MAX {
            return Err(NoRecord::Invalid);
        }
        let whole = RECORD_HEADER_LEN - 8 + length;
        let checked = checked
            .get(..whole)
            .ok_or(NoRecord::Short(RECORD_HEADER_LEN + length))?;
        if checksum(length, checked) != crc {
            return Err(NoRecord::Invalid);
        }
        let kind = RecordKind::from_number(kind).ok_or(NoRecord::UnknownKind(kind))?;
        let payload = fields.0.get(..length).unwrap_or_default();
        let header = Self {
            generation,
            position,
            window,
            shard,
            kind,
        };
        Ok((header, payload))
    }
}

/// Over the length and everything behind the checksum.
fn checksum(length: usize, rest: &[u8]) -> u32 {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    crc32c(crc32c(0, &length), rest)
}

/// Writes the length of a record's payload into its header, to be found again by [`seal`].
pub(super) fn set_length(record: &mut [u8]) {
    let length = record.len().saturating_sub(RECORD_HEADER_LEN);
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    put_at(record, 0, &length.to_le_bytes());
}

/// The whole length of the record at the front of `bytes`, whose length has been set.
pub(super) fn whole_length(bytes: &[u8]) -> usize {
    let length = Fields(bytes).take().map_or(0, u32::from_le_bytes);
    RECORD_HEADER_LEN + usize::try_from(length).unwrap_or(0)
}

/// The position of the record after the whole one at the front of `bytes`.
pub(super) fn position_after(bytes: &[u8]) -> u64 {
    let mut fields = Fields(bytes.get(12..).unwrap_or_default());
    let position = fields.take().map_or(0, u64::from_le_bytes);
    let kind = bytes.get(RECORD_HEADER_LEN - 1).copied();
    if kind == Some(RecordKind::Jump.number()) {
        let payload = bytes.get(RECORD_HEADER_LEN..).unwrap_or_default();
        return jump_of(payload, position).unwrap_or(position + 1);
    }
    position + 1
}

/// Where a jump that stands at a position goes on; `None`: not behind it.
pub(super) fn jump_of(payload: &[u8], position: u64) -> Option<u64> {
    let to = u64::from_le_bytes(*payload.first_chunk()?);
    (payload.len() == 8 && to > position && to <= POSITION_MAX).then_some(to)
}

/// Stamps a record with the generation of the segment that takes it, and with its checksum.
pub(super) fn seal(record: &mut [u8], generation: u32) {
    put_at(record, 8, &generation.to_le_bytes());
    let length = record.len().saturating_sub(RECORD_HEADER_LEN);
    let crc = checksum(length, record.get(8..).unwrap_or_default());
    put_at(record, 4, &crc.to_le_bytes());
}

fn put_at(record: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = record.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Bytes taken from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }
}

/// What stands at the front of a segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    /// One more than that of the segment before; every record of the segment repeats it.
    pub generation: u32,
    /// The oldest generation that was still needed when this one began.
    pub oldest: u32,
    /// The position of its first record.
    pub first_position: u64,
}

/// Why a segment's front is no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoSegment {
    /// Zeros, torn or damaged.
    Invalid,
    /// Written by a later version.
    Version(u16),
}

impl SegmentHeader {
    pub(super) fn bytes(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&CODER_VERSION.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.oldest.to_le_bytes());
        out.extend_from_slice(&self.first_position.to_le_bytes());
        out.resize(SEGMENT_HEADER_LEN - 4, 0);
        let crc = crc32c(0, &out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut whole = [0; SEGMENT_HEADER_LEN];
        whole.copy_from_slice(&out);
        whole
    }

    pub(super) fn read(bytes: &[u8; SEGMENT_HEADER_LEN]) -> Result<Self, NoSegment> {
        let invalid = NoSegment::Invalid;
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(invalid)?;
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.take().ok_or(invalid)?;
        if magic != *MAGIC || crc32c(0, covered) != u32::from_le_bytes(*crc) {
            return Err(invalid);
        }
        let format = u16::from_le_bytes(fields.take().ok_or(invalid)?);
        let coder = u16::from_le_bytes(fields.take().ok_or(invalid)?);
        if format > FORMAT_VERSION || coder > CODER_VERSION {
            return Err(NoSegment::Version(format.max(coder)));
        }
        let header = Self {
            generation: u32::from_le_bytes(fields.take().ok_or(invalid)?),
            oldest: u32::from_le_bytes(fields.take().ok_or(invalid)?),
            first_position: u64::from_le_bytes(fields.take().ok_or(invalid)?),
        };
        // No log lives to see them, and what is counted on from here does not overflow.
        if header.generation > GENERATION_MAX || header.first_position > POSITION_MAX {
            return Err(invalid);
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_nothing_can_follow_is_none() {
        let header = |generation, first_position| SegmentHeader {
            generation,
            oldest: 1,
            first_position,
        };
        for (generation, first_position) in [(1, 1), (GENERATION_MAX, POSITION_MAX)] {
            let header = header(generation, first_position);
            assert_eq!(SegmentHeader::read(&header.bytes()), Ok(header));
        }
        for (generation, first_position) in [(u32::MAX, 1), (1, u64::MAX - 2)] {
            let bytes = header(generation, first_position).bytes();
            assert_eq!(SegmentHeader::read(&bytes), Err(NoSegment::Invalid));
        }
    }
}
