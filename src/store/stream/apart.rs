//! A selection's samples in several streams, for several threads.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::Stream;
use super::ahead::AHEAD_BYTES_APART;
use crate::store::found::{Part, Wanted};

/// Less than so many samples are read by one thread, in less than a millisecond or two: to wake another one
/// takes a tenth of that.
pub(in crate::store) const APART_MIN: u64 = 1 << 17;
/// Streams that a selection is divided into, at most one more: several for each of few processors,
/// since some take longer than others.
const PIECES: u64 = 16;
/// What a series takes besides its samples, in samples: its labels are found and compared.
const SERIES_SAMPLES: u64 = 64;
/// Samples of a series in the head, about: half a window at 15 s.
const HEAD_SAMPLES: u64 = 240;

impl Stream {
    /// The same in several streams of consecutive series, where there is enough to be read: samples from
    /// `least` on. Each fetches what it needs of blocks that are elsewhere; what two need is fetched once.
    pub(in crate::store) fn apart(mut self, least: u64) -> Vec<Self> {
        let total: u64 = self.wanted.iter().map(|wanted| self.effort(wanted)).sum();
        if total < least {
            return vec![self];
        }
        self.ahead_bytes = AHEAD_BYTES_APART;
        let piece = total.div_ceil(PIECES);
        let mut ends = Vec::new();
        let mut effort = 0;
        for (at, wanted) in self.wanted.iter().enumerate() {
            effort += self.effort(wanted);
            if effort >= piece {
                ends.push(at + 1);
                effort = 0;
            }
        }
        // The next series is the last one: the streams are made from the end to the beginning.
        let mut streams = Vec::with_capacity(ends.len() + 1);
        for end in ends.into_iter().rev() {
            let wanted = self.wanted.split_off(end);
            if !wanted.is_empty() {
                streams.push(self.of(wanted));
            }
        }
        streams.push(self);
        streams
    }

    /// What a series takes to be read, in samples, about.
    fn effort(&self, wanted: &Wanted) -> u64 {
        let places = wanted.places();
        let parts = places.filter_map(|(part, _)| self.parts.get(part as usize));
        let in_blocks: u64 = parts.map(|part| part.density.min(self.most())).sum();
        let in_head = wanted
            .head
            .as_ref()
            .map_or(0, |_| HEAD_SAMPLES.min(self.most()));
        in_blocks
            .saturating_add(in_head)
            .saturating_add(SERIES_SAMPLES)
    }

    /// Another stream, of these series.
    fn of(&self, wanted: Vec<Wanted>) -> Self {
        let unopened = |part: &Part| Part {
            seen: part.seen.clone(),
            reader: None,
            density: part.density,
        };
        Self {
            view: Arc::clone(&self.view),
            tenant: self.tenant.clone(),
            range: self.range,
            newest: self.newest,
            ahead_bytes: self.ahead_bytes,
            context: self.context.clone(),
            reading: self.reading.beside(),
            parts: self.parts.iter().map(unopened).collect(),
            open: VecDeque::new(),
            wanted,
            batches: VecDeque::new(),
            planned: (0, 0),
            groups: VecDeque::new(),
            given_up: HashSet::new(),
            ready: Vec::new(),
            spare: Vec::new(),
            found: Arc::clone(&self.found),
            batch: None,
        }
    }
}
