//! The manifest of a partition: the file that lists its older blocks, so that the control state
//! grows with the ring and not with history (decision 15). `docs/format.md` has it byte by byte.
//!
//! It is immutable and named by its digest; who has it and where it lies is others' business. Equal
//! manifests are equal bytes: whatever is spelt in another way, unknown fields too, is refused.

use std::collections::BTreeMap;

use prost::Message;

use super::command::History;
use super::wire_parts::{ArcMessage, EntryMessage, WireError, damaged, required};
use crate::model::{BlockEntry, BlockId, Digest, RingArc, TimestampMs};

const MAGIC: &[u8; 8] = b"CAIRNMAN";
const FORMAT: u8 = 1;

/// The largest manifest: 100,000 blocks of one partition. Two years of one block a day are 80 KB;
/// whoever is beyond this has stopped merging, and the state lists what has no room.
pub const MANIFEST_BYTES_MAX: usize = 16 << 20;

/// A partition's older blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The partition for which it was written; the halves of a split share the whole's.
    pub arc: RingArc,
    /// The blocks.
    pub blocks: BTreeMap<BlockId, BlockEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ManifestMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(message, repeated, tag = "2")]
    blocks: Vec<EntryMessage>,
}

impl Manifest {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let message = ManifestMessage {
            arc: Some(self.arc.into()),
            blocks: self.blocks.values().map(Into::into).collect(),
        };
        let mut bytes = [MAGIC.as_slice(), &[FORMAT]].concat();
        bytes.extend(message.encode_to_vec());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are damaged or from a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let wrong = |problem: String| damaged("a manifest", problem);
        if bytes.len() > MANIFEST_BYTES_MAX {
            let len = bytes.len();
            return Err(wrong(format!("{len} bytes (bound {MANIFEST_BYTES_MAX})")));
        }
        let rest = bytes.strip_prefix(MAGIC.as_slice());
        let rest = rest.ok_or_else(|| wrong("it does not begin as one".to_owned()))?;
        let Some((&FORMAT, body)) = rest.split_first() else {
            return Err(WireError::Newer("a manifest of another format"));
        };
        let message = ManifestMessage::decode(body).map_err(|error| wrong(error.to_string()))?;
        let mut blocks = BTreeMap::new();
        for block in message.blocks {
            let entry = block.read()?;
            if entry.range.is_empty() {
                return Err(wrong(format!("block {} ends before it begins", entry.id)));
            }
            blocks.insert(entry.id, entry);
        }
        let manifest = Self {
            arc: required(message.arc, "an arc")?.read()?,
            blocks,
        };
        if manifest.encode() != bytes {
            return Err(wrong("it is not spelt as a manifest is".to_owned()));
        }
        Ok(manifest)
    }

    /// What the state says of it, by its bytes.
    #[must_use]
    pub fn history(&self, bytes: &[u8]) -> History {
        let ends = self.blocks.values().map(|entry| entry.range.end);
        History {
            digest: Digest(*blake3::hash(bytes).as_bytes()),
            blocks: u32::try_from(self.blocks.len()).unwrap_or(u32::MAX),
            oldest_end: ends.min().unwrap_or(TimestampMs::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Level, TimeRange, Uploaded, Window};

    fn entry(id: u128, window: i64, pack: Option<u64>) -> BlockEntry {
        BlockEntry {
            id: BlockId(id),
            range: Window(window).range(),
            level: Level(1),
            round: 2,
            size: 1 << 30,
            samples: 77,
            content_sum: id.wrapping_mul(3),
            digest: Digest([5; 32]),
            uploaded: pack.map_or(Uploaded::Object, |offset| Uploaded::Pack {
                pack: Digest([9; 32]),
                offset,
            }),
        }
    }

    fn manifest(entries: Vec<BlockEntry>) -> Manifest {
        Manifest {
            arc: RingArc::new(0x3000_0000, 4).unwrap(),
            blocks: entries.into_iter().map(|entry| (entry.id, entry)).collect(),
        }
    }

    proptest! {
        #[test]
        fn a_manifest_is_read_as_it_was_written(
            entries in prop::collection::vec(
                (any::<u128>(), -1000i64..1_000_000, any::<Option<u64>>()), 0..20)
        ) {
            let entries = entries.into_iter().map(|(id, window, pack)| entry(id, window, pack));
            let manifest = manifest(entries.collect());
            let bytes = manifest.encode();
            prop_assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        }

        #[test]
        fn any_bytes_are_a_manifest_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Manifest::decode(&bytes);
            let whole = [MAGIC.as_slice(), &[FORMAT], &bytes].concat();
            if let Ok(manifest) = Manifest::decode(&whole) {
                prop_assert_eq!(manifest.encode(), whole);
            }
        }
    }

    /// Would catch a manifest that two programs read differently.
    #[test]
    fn what_is_spelt_otherwise_is_refused() {
        let manifest = manifest(vec![entry(1, 5, None), entry(2, 6, Some(7))]);
        let bytes = manifest.encode();
        for len in 0..bytes.len() {
            assert_ne!(
                Manifest::decode(&bytes[..len]).as_ref(),
                Ok(&manifest),
                "{len}"
            );
        }
        // A field that a later version would add, and the same block twice.
        let unknown = [&bytes[..], &[0x7a, 0]].concat();
        assert!(Manifest::decode(&unknown).is_err());
        let body = &bytes[9..];
        let first = 2 + usize::from(body[1]);
        let second = &body[first..first + 2 + usize::from(body[first + 1])];
        let twice = [&bytes[..], second].concat();
        assert!(Manifest::decode(&twice).is_err());
        let mut newer = bytes.clone();
        newer[8] = 2;
        assert!(matches!(Manifest::decode(&newer), Err(WireError::Newer(_))));
        let mut backwards = manifest.clone();
        let range = TimeRange::new(TimestampMs(5), TimestampMs(4));
        backwards.blocks.get_mut(&BlockId(1)).unwrap().range = range;
        assert!(Manifest::decode(&backwards.encode()).is_err());
        let history = manifest.history(&bytes);
        assert_eq!((history.blocks, history.oldest_end), (2, Window(5).end()));
    }
}
