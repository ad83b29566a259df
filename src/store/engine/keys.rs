//! Keys: a block's keys begin with its 16-byte id, most significant byte first.

use crate::model::BlockId;

/// Bytes of a block id in front of every key of its block.
const BLOCK_ID_LEN: usize = 16;

/// What all keys of a block begin with.
#[must_use]
pub const fn block_prefix(id: BlockId) -> [u8; BLOCK_ID_LEN] {
    id.0.to_be_bytes()
}

/// A key of a block: the id, then `rest`.
#[must_use]
pub fn block_key(id: BlockId, rest: &[u8]) -> Vec<u8> {
    [&block_prefix(id), rest].concat()
}

/// The block to which a key belongs, if it is long enough to tell.
#[must_use]
pub fn block_of_key(key: &[u8]) -> Option<BlockId> {
    key.first_chunk()
        .map(|id: &[u8; BLOCK_ID_LEN]| BlockId(u128::from_be_bytes(*id)))
}

/// The first key that comes after all keys with this prefix; `None` when there is no such key.
#[must_use]
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_comes_right_after_it() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(prefix_end(&[0xff]), None);
        assert_eq!(prefix_end(&[]), None);
    }

    #[test]
    fn a_key_knows_its_block() {
        let id = BlockId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let key = block_key(id, b"rest");
        assert_eq!(key.len(), BLOCK_ID_LEN + 4);
        assert_eq!(block_of_key(&key), Some(id));
        assert_eq!(block_of_key(b"short"), None);
    }
}
