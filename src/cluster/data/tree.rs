//! Digest trees and leaves as bytes.

use bytes::Bytes;

use super::wire::{DataError, messages, put_wide, take_wide, wrong};
use crate::store::{DigestTree, Leaves, TREE_SLOTS};

/// Bytes of leaves, without the metadata.
pub const LEAVES_LEN: usize = TREE_SLOTS * 2;

/// Leaves as bytes: a little-endian u16 for each slot. Whether metadata are among them is not said.
#[must_use]
pub fn encode_leaves(leaves: &Leaves) -> Vec<u8> {
    let slots = leaves.slots().iter();
    slots.flat_map(|bits| bits.to_le_bytes()).collect()
}

/// The leaves of some bytes, without metadata.
///
/// # Errors
/// When there are not [`LEAVES_LEN`] of them.
pub fn decode_leaves(bytes: &[u8]) -> Result<Leaves, DataError> {
    let mut slots = [0; TREE_SLOTS];
    let (pairs, rest) = bytes.as_chunks::<2>();
    if pairs.len() != TREE_SLOTS || !rest.is_empty() {
        return Err(wrong(
            "leaves",
            format!("{} bytes instead of {LEAVES_LEN}", bytes.len()),
        ));
    }
    for (slot, pair) in slots.iter_mut().zip(pairs) {
        *slot = u16::from_le_bytes(*pair);
    }
    Ok(Leaves::new(slots, false))
}

pub(super) fn put(tree: &DigestTree) -> messages::Tree {
    let (mut leaves, mut sums) = (Leaves::default(), Vec::new());
    for (slot, sub_arc, sum) in tree.leaves() {
        leaves.insert(slot, sub_arc);
        sums.extend_from_slice(&sum.0.to_be_bytes());
    }
    let metadata = tree.metadata().0;
    messages::Tree {
        leaves: Bytes::from(encode_leaves(&leaves)),
        sums: Bytes::from(sums),
        metadata: match metadata {
            0 => Bytes::new(),
            sum => put_wide(sum),
        },
    }
}

pub(super) fn take(message: &messages::Tree) -> Result<DigestTree, DataError> {
    let leaves = decode_leaves(&message.leaves)?;
    let (sums, rest) = message.sums.as_chunks::<16>();
    let mut sums = sums.iter();
    let mut tree = DigestTree::default();
    for (slot, bits) in (0u8..).zip(leaves.slots()) {
        for sub_arc in (0u8..16).filter(|sub_arc| bits >> sub_arc & 1 == 1) {
            let sum = sums
                .next()
                .ok_or_else(|| wrong("a tree", "it has more leaves than sums"))?;
            match u128::from_be_bytes(*sum) {
                0 => return Err(wrong("a tree", "a leaf that it names is 0")),
                sum => tree.add(slot, sub_arc, sum),
            }
        }
    }
    if sums.next().is_some() || !rest.is_empty() {
        return Err(wrong("a tree", "it has more sums than leaves"));
    }
    if !message.metadata.is_empty() {
        tree.add_metadata(take_wide(&message.metadata, "a tree's sum over metadata")?);
    }
    Ok(tree)
}
