//! The samples of a record, cut into stretches that can be put back together.

use std::ops::Range;

use parking_lot::MutexGuard;

use super::replay_common::{Commons, pieces};
use super::replay_floats::{Cutting, Here};
use super::replay_series::{Arcs, Named, stray};
use super::rows::RowTable;
use super::types::SeriesId;
use crate::model::RingArc;
use crate::store::log::FloatRun;

/// A sample of a series that is another shard's now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stray {
    pub series: SeriesId,
    /// The number of its arc.
    arc: u32,
    pub offset_ms: u32,
    /// Where its value is.
    pub at: u32,
}

/// Cuts the runs of one record, one after the other.
pub(super) struct Cutter<'a> {
    /// The record's.
    pub position: u64,
    pub series: &'a [Here],
    pub named: &'a [Option<Box<Named>>],
    pub commons: &'a mut Commons,
    pub arcs: &'a mut Arcs,
    pub pins: &'a mut Vec<(RingArc, u64)>,
    /// Where rows are made; none for late samples.
    pub rows: Option<MutexGuard<'a, RowTable>>,
    pub cutting: Cutting<'a>,
    /// What [`Self::end`] tells.
    pub strays: Vec<Stray>,
    /// The row of a target at the run's time.
    pub row: Option<(u32, Option<u16>)>,
}

impl Cutter<'_> {
    /// Cuts a run whose first value is at `at`.
    pub(super) fn run(&mut self, run: &FloatRun, at: u32) {
        self.cutting.begin(run.offset_ms);
        self.row = None;
        for piece in pieces(run) {
            let at = at + (piece.start - run.first);
            if self.block(&piece, run.offset_ms, at) {
                continue;
            }
            for (number, at) in piece.zip(at..) {
                self.one(number, run.offset_ms, at);
            }
        }
        self.cutting.end();
    }

    /// The samples that are another shard's. Their arcs are pinned only now: an arc that is pinned already is taken for one that
    /// has samples here.
    pub(super) fn end(self) -> Vec<Stray> {
        for stray in &self.strays {
            self.arcs.pin(self.pins, stray.arc, self.position);
        }
        self.strays
    }

    /// Cuts off a whole block of one target; `false`: it is none.
    fn block(&mut self, piece: &Range<u32>, offset_ms: u32, at: u32) -> bool {
        let Some(common) = self.commons.of(self.series, piece) else {
            return false;
        };
        for arc in &common.arcs {
            if self.arcs.pin(self.pins, *arc, self.position) {
                self.cutting.has_arc(*arc);
            }
        }
        let target = common.target;
        let row = self.row_of(target, offset_ms);
        self.cutting.take_block(piece.start, at, row);
        true
    }

    fn one(&mut self, number: u32, offset_ms: u32, at: u32) {
        let wanted = self.series.get(number as usize);
        let wanted = wanted.filter(|here| here.marked < self.position);
        let Some(here) = wanted else {
            self.cutting.end();
            return;
        };
        if !here.is_here() {
            self.cutting.end();
            let of = stray(self.named, number);
            self.strays.extend(of.map(|(series, arc)| Stray {
                series,
                arc,
                offset_ms,
                at,
            }));
            return;
        }
        if self.arcs.pin(self.pins, here.arc, self.position) {
            self.cutting.has_arc(here.arc);
        }
        let row = self.row_of(here.target, offset_ms);
        self.cutting.take(number, at, row);
    }

    /// The row of a target. Another target than that of the sample before begins a new stretch.
    #[inline]
    fn row_of(&mut self, target: u32, offset_ms: u32) -> Option<u16> {
        if let Some((of, row)) = self.row
            && of == target
        {
            return row;
        }
        self.cutting.end();
        let rows = self.rows.as_mut();
        let row = rows.and_then(|rows| rows.row(target, offset_ms));
        self.row = Some((target, row));
        row
    }
}
