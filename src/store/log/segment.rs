//! Which segment files there are, what they hold, and when one may be used again.
//!
//! Segments form one sequence by generation. Only a prefix of it is ever given up, so what is
//! left has no gaps and every definition still stands before its uses.

use std::collections::{BTreeMap, VecDeque};

use super::mark::{Mark, Marks};
use crate::model::{RingArc, Window};

/// Free files that are kept for later; more are removed.
const FREE_MAX: usize = 4;

/// A segment that holds records still needed, or the one being written.
#[derive(Debug)]
pub(super) struct Segment {
    pub name: String,
    pub generation: u32,
    pub first_position: u64,
    /// The last position of each (window, arc) in it.
    pub contents: BTreeMap<(Window, RingArc), u64>,
}

/// All segments, oldest first, the one being written last; and the free files.
#[derive(Debug, Default)]
pub(super) struct Segments {
    pub live: VecDeque<Segment>,
    pub free: Vec<String>,
    /// Files that nothing needs any more, by generation, of which the header on the disk does not
    /// say so yet: until it does, a replay looks for them.
    pub freed: Vec<(u32, String)>,
    pub marks: Marks,
    /// The first position that a replay may meet, by what headers on the disk say.
    pub durable_first: u64,
}

impl Segments {
    /// Notes that the record of a position holds something of an arc, or defines what later ones
    /// of it hold.
    pub(super) fn note(&mut self, window: Window, arc: RingArc, position: u64) {
        let mut newest_first = self.live.iter_mut().rev();
        if let Some(segment) = newest_first.find(|segment| segment.first_position <= position) {
            let last = segment.contents.entry((window, arc)).or_default();
            *last = position.max(*last);
        }
    }

    /// Takes a mark, and gives up what it was the last to need. Whether that was anything.
    pub(super) fn mark(&mut self, mark: Mark) -> bool {
        self.marks.add(mark);
        self.release()
    }

    /// Gives up every segment at the front that nothing needs; never the one being written.
    pub(super) fn release(&mut self) -> bool {
        let before = self.freed.len();
        while self.live.len() > 1 {
            let Some(first) = self.live.front() else {
                break;
            };
            let needed = first
                .contents
                .iter()
                .any(|((window, arc), last)| !self.marks.cover(*window, *arc, *last));
            if needed {
                break;
            }
            if let Some(freed) = self.live.pop_front() {
                self.freed.push((freed.generation, freed.name));
            }
        }
        self.freed.len() > before
    }

    /// The header of the segment being written names this one as the oldest, durably: files
    /// before it may be used again. Returns the names of those to remove, because there are enough.
    pub(super) fn durable(&mut self, (generation, first_position): (u32, u64)) -> Vec<String> {
        self.durable_first = first_position;
        let (free, later) = std::mem::take(&mut self.freed)
            .into_iter()
            .partition(|(freed, _)| *freed < generation);
        self.freed = later;
        let free: Vec<(u32, String)> = free;
        self.free.extend(free.into_iter().map(|(_, name)| name));
        self.free.split_off(self.free.len().min(FREE_MAX))
    }

    /// Generation and first position of the oldest segment still needed.
    pub(super) fn oldest(&self) -> Option<(u32, u64)> {
        let first = self.live.front()?;
        Some((first.generation, first.first_position))
    }
}
