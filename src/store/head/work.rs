//! The buffers of an append.

use parking_lot::Mutex;

use crate::model::RingArc;
use crate::store::log::{DefineWriter, FloatsWriter, LoggedFloat, RecordKind, StepsWriter};

/// Buffers kept from append to append, and samples for which one has room, at most: 0.4 MB.
const SPARE_MAX: usize = 2;
const SPARE_FLOATS_MAX: usize = 8 << 10;

/// Leading bits of a fingerprint by which its arc is remembered: rings of more arcs look for some
/// of theirs.
const ARC_BITS: u32 = 8;

/// Where a sample goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub local: u32,
    pub target: u32,
    pub arc: u32,
}

/// Buffers of one append, used for every shard and window in turn.
#[derive(Debug)]
pub(super) struct Work {
    pub places: Vec<Place>,
    pub floats: Vec<LoggedFloat>,
    /// Arcs that occur, in the order of their first sample.
    pub arcs: Vec<RingArc>,
    /// Where in `arcs` that of a fingerprint probably is, by its leading bits.
    likely: [u32; 1 << ARC_BITS],
    pub floats_writer: FloatsWriter,
    pub steps_writer: StepsWriter,
    pub defines: DefineWriter,
    pub payloads: Vec<(RecordKind, Vec<u8>)>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            floats: Vec::new(),
            arcs: Vec::new(),
            likely: [0; 1 << ARC_BITS],
            floats_writer: FloatsWriter::default(),
            steps_writer: StepsWriter::default(),
            defines: DefineWriter::default(),
            payloads: Vec::new(),
        }
    }
}

impl Work {
    /// Where in `arcs` an arc is, which is put there when it is not.
    #[inline]
    pub(super) fn position_of(&mut self, arc: RingArc) -> u32 {
        let likely = self
            .likely
            .get_mut((arc.prefix() >> (32 - ARC_BITS)) as usize);
        let Some(likely) = likely else {
            return 0;
        };
        if self.arcs.get(*likely as usize) != Some(&arc) {
            let known = self.arcs.iter().position(|known| *known == arc);
            let at = known.unwrap_or(self.arcs.len());
            if known.is_none() {
                self.arcs.push(arc);
            }
            *likely = u32::try_from(at).unwrap_or(0);
        }
        *likely
    }
}

/// Buffers that wait for the next append: making them anew costs more than filling them.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Work>>);

impl Spare {
    pub(super) fn take(&self) -> Work {
        self.0.lock().pop().unwrap_or_default()
    }

    /// Takes the buffers of an append that has ended; they hold nothing that the next one reads.
    pub(super) fn give_back(&self, mut work: Work) {
        work.defines = DefineWriter::default();
        let mut spare = self.0.lock();
        if spare.len() < SPARE_MAX && work.floats.capacity() <= SPARE_FLOATS_MAX {
            spare.push(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an arc that is taken for another one with the same leading bits, and one that is remembered
    /// from the append before.
    #[test]
    fn arcs_have_the_positions_of_their_first_samples() {
        let mut work = Work::default();
        let depth = ARC_BITS + 2;
        let arc = |index: u32| RingArc::new(index << (32 - depth), u8::try_from(depth).unwrap());
        let arcs: Vec<RingArc> = [5, 4, 900, 5, 6, 4, 901].map(|i| arc(i).unwrap()).to_vec();
        for _ in 0..2 {
            work.arcs.clear();
            let positions: Vec<u32> = arcs.iter().map(|arc| work.position_of(*arc)).collect();
            assert_eq!(positions, [0, 1, 2, 0, 3, 1, 4]);
        }
        work.arcs.clear();
        assert_eq!(work.position_of(arcs[2]), 0);
    }
}
