//! The log's decoders: whole segments through a head that replays them. The layout of segments and
//! records is written down here a second time, from `docs/format.md`, so that a fuzzer's bytes get
//! behind the checksums.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use cairn::codec::varint;
use cairn::model::{LabelSet, Samples, TenantId, TimeRange, TimestampMs};
use cairn::runtime::ManualClock;
use cairn::source::Selection;
use cairn::store::{Error, Head, HeadSettings, LogDisk, LogFile, WriteLogSettings};

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

/// Where records begin in a file.
pub(crate) const RECORDS_AT: usize = 4096;
/// Bytes before a payload.
const RECORD_HEADER_LEN: usize = 30;
/// Records of one input: a run stays within milliseconds.
const RECORDS_MAX: usize = 64;
/// No log asks for a longer file, or writes beyond.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// So long are new files, whatever is asked for: zeros to be searched would only take time.
const NEW_FILE_BYTES: u64 = 64 << 10;

/// Files in memory. What was never written of a file reads as zeros.
#[derive(Clone, Default)]
pub(crate) struct Files(Arc<Mutex<BTreeMap<String, File>>>);

#[derive(Clone, Default)]
struct File {
    len: u64,
    written: Vec<u8>,
}

struct Handle {
    files: Files,
    name: String,
}

impl Files {
    pub(crate) fn with(name: &str, bytes: Vec<u8>) -> Self {
        let files = Self::default();
        let file = File {
            len: bytes.len() as u64,
            written: bytes,
        };
        files.0.lock().unwrap().insert(name.to_owned(), file);
        files
    }

    /// What was written of a file.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap()[name].written.clone()
    }

    fn missing() -> io::Error {
        io::Error::from(io::ErrorKind::NotFound)
    }
}

impl LogDisk for Files {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        if !self.0.lock().unwrap().contains_key(name) {
            return Err(Self::missing());
        }
        Ok(Box::new(Handle {
            files: self.clone(),
            name: name.to_owned(),
        }))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn LogFile>> {
        assert!(len <= FILE_BYTES_MAX, "a file of {len} bytes");
        let file = File {
            len: len.min(NEW_FILE_BYTES),
            written: Vec::new(),
        };
        self.0.lock().unwrap().insert(name.to_owned(), file);
        self.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.0.lock().unwrap().remove(name);
        removed.map(drop).ok_or_else(Self::missing)
    }
}

impl LogFile for Handle {
    fn size(&self) -> io::Result<u64> {
        let files = self.files.0.lock().unwrap();
        files
            .get(&self.name)
            .map(|file| file.len)
            .ok_or_else(Files::missing)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let files = self.files.0.lock().unwrap();
        let file = files.get(&self.name).ok_or_else(Files::missing)?;
        let left = usize::try_from(file.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let read = left.min(bytes.len());
        bytes[..read].fill(0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let written = file.written.get(from..).unwrap_or_default();
        let copied = written.len().min(read);
        bytes[..copied].copy_from_slice(&written[..copied]);
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.files.0.lock().unwrap();
        let file = files.get_mut(&self.name).ok_or_else(Files::missing)?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let end = from + bytes.len();
        assert!(end as u64 <= FILE_BYTES_MAX, "a write up to {end}");
        if file.written.len() < end {
            file.written.resize(end, 0);
        }
        file.written[from..end].copy_from_slice(bytes);
        file.len = file.len.max(end as u64);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// CRC-32C bit by bit: slow, and plainly right.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

fn segment_header(generation: u32, oldest: u32, first_position: u64) -> Vec<u8> {
    let mut out = b"CAIRNLOG\x01\0\x01\0".to_vec();
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&oldest.to_le_bytes());
    out.extend_from_slice(&first_position.to_le_bytes());
    out.resize(44, 0);
    out.extend_from_slice(&crc32c(&out).to_le_bytes());
    out.resize(RECORDS_AT, 0);
    out
}

fn put_record(out: &mut Vec<u8>, header: &[u8], payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let checked = [&length, header, payload].concat();
    out.extend_from_slice(&length);
    out.extend_from_slice(&crc32c(&checked).to_le_bytes());
    out.extend_from_slice(&checked[4..]);
}

/// The segment that an input describes: a byte for how it begins; then for each record its kind
/// and shard in one byte, its window as a signed varint, and its payload with its length before it.
fn described(bytes: &[u8]) -> Option<Vec<u8>> {
    let (begins, mut rest) = bytes.split_first()?;
    // The bounds of the numbers in a segment's header, and what is usual.
    let (generation, position) = match begins % 4 {
        0 | 1 => (1, 1),
        2 => (7, 1 << 40),
        _ => (u32::MAX, u64::MAX - 2),
    };
    let mut out = segment_header(generation, generation, position);
    let mut next = position;
    for _ in 0..RECORDS_MAX {
        let Some((kind, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        let window = varint::take_i64(&mut rest).ok()?;
        let payload = varint::take_bytes(&mut rest, "a payload").ok()?;
        let mut header = generation.to_le_bytes().to_vec();
        header.extend_from_slice(&next.to_le_bytes());
        header.extend_from_slice(&window.to_le_bytes());
        header.extend_from_slice(&[kind >> 4, kind & 15]);
        assert_eq!(header.len() + 8, RECORD_HEADER_LEN);
        put_record(&mut out, &header, payload);
        next = next.wrapping_add(u64::from(kind & 15 != 0));
    }
    Some(out)
}

/// The input that describes a segment.
pub(crate) fn describe(segment: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    let mut rest = &segment[RECORDS_AT.min(segment.len())..];
    while let Some(header) = rest.get(..RECORD_HEADER_LEN) {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let window = i64::from_le_bytes(header[20..28].try_into().unwrap());
        if header[8..12] == [0; 4] {
            break;
        }
        out.push(header[28] << 4 | header[29]);
        varint::put_i64(&mut out, window);
        varint::put_bytes(
            &mut out,
            &rest[RECORD_HEADER_LEN..RECORD_HEADER_LEN + length],
        );
        rest = &rest[RECORD_HEADER_LEN + length..];
    }
    out
}

/// A head over files.
pub(crate) fn open(files: &Files) -> Result<Head, Error> {
    let settings = HeadSettings {
        shards: 2,
        series_max: 10_000,
        exemplars_max: 100,
        ..HeadSettings::default()
    };
    let clock = Arc::new(ManualClock::at(NOW));
    let disk = Arc::new(files.clone());
    Head::open(settings, &WriteLogSettings::default(), disk, &[], clock)
}

/// Everything that the anonymous tenant has, bit for bit.
fn content(head: &Head) -> Vec<(LabelSet, Samples)> {
    let view = head.view();
    let selection = Selection {
        tenant: TenantId::anonymous(),
        matchers: Vec::new(),
        range: TimeRange::ALL,
    };
    drop(view.exemplars(&selection));
    drop(view.metadata(&selection.tenant, None));
    let mut all = Vec::new();
    for series in view.select(&selection) {
        let mut samples = Samples::default();
        view.read(&series, TimeRange::ALL, &mut samples);
        assert!(samples.timestamps.is_sorted_by(|a, b| a < b));
        all.push((series.labels, samples));
    }
    all.retain(|(_, samples)| !samples.timestamps.is_empty());
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

/// What can be replayed is replayed alike a second time.
fn replay(segment: Vec<u8>) {
    let files = Files::with("00000001.log", segment);
    let Ok(head) = open(&files) else {
        return;
    };
    let first = content(&head);
    head.close().unwrap();
    drop(head);
    let head = open(&files).expect("what was opened can be opened again");
    let second = content(&head);
    assert!(first == second, "{first:?}\n{second:?}");
}

/// A file as it is, and the segment that the bytes describe.
pub(crate) fn log(bytes: &[u8]) {
    if bytes.starts_with(b"CAIRN") {
        replay(bytes.to_vec());
    }
    if let Some(segment) = described(bytes) {
        replay(segment);
    }
}
