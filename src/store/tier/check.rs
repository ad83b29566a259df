//! How parts of a block's file are known to be what they should be, and how its end is read, where
//! the index lies.

use crate::model::BlockEntry;
use crate::store::engine::{FOOTER_LEN, Handle, SstIndex, parse_footer, without_trailer};

/// What is read first of a file: its end, where the index lies. An index takes a 130th of what it indexes where
/// pages are small, as in young blocks, which are small too, and a thousandth where they are large; what is read in vain of some files costs less than
/// asking twice of others, up to a bound.
const TAIL_PART: u64 = 256;
const TAIL_BYTES_MIN: u64 = 4 << 10;
const TAIL_BYTES_MAX: u64 = 128 << 10;

/// An index may take this part of its file and so much more; a larger one is damage, and nothing
/// is allocated for it.
const INDEX_PART: u64 = 16;
const INDEX_BYTES_MIN: u64 = 64 << 10;

/// How a part is known to be what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Check {
    /// A block of the table, with its checksum behind it.
    Block,
    /// The end of the file: its footer, and the index where all of it is there.
    Tail,
}

impl Check {
    /// What of a part's bytes is meant, if they are whole.
    pub(super) fn content<'a>(
        self,
        bytes: &'a [u8],
        entry: &BlockEntry,
    ) -> Result<&'a [u8], String> {
        match self {
            Self::Block => without_trailer(bytes),
            Self::Tail => Tail::read(bytes, entry.size).map(|_| bytes),
        }
    }
}

/// The end of a file, looked into.
pub(super) struct Tail {
    /// Where the index lies.
    pub(super) at: Handle,
    /// It, if all of it is there.
    pub(super) index: Option<SstIndex>,
}

impl Tail {
    pub(super) fn read(bytes: &[u8], file_len: u64) -> Result<Self, String> {
        let short = || "it is too short to be a block file".to_owned();
        let footer = bytes.len().checked_sub(FOOTER_LEN).ok_or_else(short)?;
        let footer = bytes.get(footer..).ok_or_else(short)?;
        let (_, at) = parse_footer(footer)?;
        let end = at.end_within(file_len)?;
        let index_max = INDEX_BYTES_MIN + file_len / INDEX_PART;
        if at.size > index_max {
            let size = at.size;
            return Err(format!("its index has {size} bytes (bound {index_max})"));
        }
        let from = file_len.saturating_sub(bytes.len() as u64);
        let place = at.offset.checked_sub(from).zip(end.checked_sub(from));
        let range = place
            .and_then(|(from, end)| Some(usize::try_from(from).ok()?..usize::try_from(end).ok()?));
        let index = match range.and_then(|range| bytes.get(range)) {
            Some(block) => Some(SstIndex::parse(without_trailer(block)?)?),
            None => None,
        };
        Ok(Self { at, index })
    }
}

/// Where the end of a file that is read first begins, and its bytes.
pub(super) fn tail_of(entry: &BlockEntry) -> (u64, u64) {
    let len = (entry.size / TAIL_PART).saturating_add(TAIL_BYTES_MIN);
    let len = len.min(TAIL_BYTES_MAX).min(entry.size);
    (entry.size - len, len)
}
