//! What the series of a block of numbers have in common, found once and not for every sample of every record.
//!
//! Only of blocks whose numbers are all registered here and of one target, as most are where a record's runs are long. It is
//! forgotten when any of the block's numbers gets another meaning. Marks need no look: a series is registered for the first
//! record behind its mark, and those that come after it are behind it too.

use std::ops::Range;

use super::replay_floats::{BLOCK, Here};
use crate::store::log::FloatRun;

/// The numbers of a run, block by block.
pub(super) fn pieces(run: &FloatRun) -> impl Iterator<Item = Range<u32>> + use<> {
    let (mut begin, end) = (run.first, run.first + run.len);
    std::iter::from_fn(move || {
        let piece = begin..end.min((begin / BLOCK + 1).saturating_mul(BLOCK));
        begin = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What all numbers of a block have in common.
#[derive(Clone, Debug)]
pub(super) struct Common {
    /// Their target.
    pub target: u32,
    /// The numbers of their arcs, each once.
    pub arcs: Vec<u32>,
}

impl Common {
    /// What a block's series have in common; `None`: one of them is not registered here, or of another target.
    fn of(block: &[Here]) -> Option<Self> {
        let first = block.first()?;
        let mut common = Self {
            target: first.target,
            arcs: Vec::new(),
        };
        for here in block {
            if !here.is_here() || here.target != common.target {
                return None;
            }
            if !common.arcs.contains(&here.arc) {
                common.arcs.push(here.arc);
            }
        }
        Some(common)
    }
}

/// What is known of the blocks of one window and shard.
#[derive(Debug, Default)]
pub(super) struct Commons(Vec<Found>);

/// What is known of a block.
#[derive(Clone, Debug, Default)]
enum Found {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// They have nothing in common.
    Nothing,
    Same(Common),
}

impl Commons {
    /// What the numbers of a piece have in common, if it is a whole block.
    #[inline]
    pub(super) fn of(&mut self, series: &[Here], piece: &Range<u32>) -> Option<&Common> {
        if piece.end - piece.start < BLOCK {
            return None;
        }
        let block = (piece.start / BLOCK) as usize;
        // Numbers that nobody defined must not make this long: a record may name any.
        let all = series.get(piece.start as usize..piece.end as usize)?;
        if self.0.len() <= block {
            self.0.resize(block + 1, Found::Unknown);
        }
        let found = self.0.get_mut(block)?;
        if matches!(found, Found::Unknown) {
            let common = Common::of(all);
            *found = common.map_or(Found::Nothing, Found::Same);
        }
        match found {
            Found::Same(common) => Some(common),
            _ => None,
        }
    }

    /// A number means something else now.
    #[inline]
    pub(super) fn changed(&mut self, number: u32) {
        if let Some(found) = self.0.get_mut((number / BLOCK) as usize) {
            *found = Found::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a record that names numbers which nobody defined, and makes a table for all below them.
    #[test]
    fn numbers_that_nobody_defined_take_no_room() {
        let mut commons = Commons::default();
        let first = (u32::MAX / BLOCK - 1) * BLOCK;
        assert!(commons.of(&[], &(first..first + BLOCK)).is_none());
        assert_eq!(commons.0.capacity(), 0);
    }
}
