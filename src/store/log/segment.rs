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
    pub marks: Marks,
    /// The first position that a replay may meet, by what headers on the disk say.
    pub durable_first: u64,
}

impl Segments {
    /// Notes that the segment being written now holds something of an arc.
    pub(super) fn note(&mut self, window: Window, arc: RingArc, position: u64) {
        if let Some(active) = self.live.back_mut() {
            active.contents.insert((window, arc), position);
        }
    }

    /// Takes a mark, and sets free what it was the last to need. Returns the names of files to
    /// remove, because there are enough free ones.
    pub(super) fn mark(&mut self, mark: Mark) -> Vec<String> {
        self.marks.add(mark);
        self.release()
    }

    /// Frees every segment at the front that nothing needs; never the one being written.
    pub(super) fn release(&mut self) -> Vec<String> {
        while self.live.len() > 1 {
            let Some(first) = self.live.front() else {
                break;
            };
            let needed = first
                .contents
                .iter()
                .any(|((window, arc), last)| self.marks.of_arc(*window, *arc) < *last);
            if needed {
                break;
            }
            if let Some(freed) = self.live.pop_front() {
                self.free.push(freed.name);
            }
        }
        self.free.split_off(self.free.len().min(FREE_MAX))
    }

    /// Generation and first position of the oldest segment still needed.
    pub(super) fn oldest(&self) -> Option<(u32, u64)> {
        let first = self.live.front()?;
        Some((first.generation, first.first_position))
    }
}
