//! Float samples of the log on their way back into chunks, series by series.
//!
//! The log has them as they came: of each scrape one sample of every series. Put back in that order, each would ask for
//! its series, its layer and its chunk again. So a thread collects some hundred thousand and then takes one series after
//! the other. Samples of one series stay in order, and a target's rows are made in the order of the log: what the head
//! holds afterwards is what it would hold had they come one by one.

use std::ops::Range;

use super::append::put_float;
use super::core::Core;
use super::fresh::Fresh;
use super::kept::Names;
use super::layer::{Layer, LayerData};
use super::rows::RowTable;
use super::shard::OpenLayers;
use crate::model::{RingArc, TimestampMs, Window};
use crate::store::error::Error;
use crate::store::log::LoggedFloat;

/// Values that a thread collects, 2 MiB and a record: five of each of 50,000 series. Tests see it full often.
const VALUES_MAX: usize = if cfg!(test) { 64 } else { 1 << 18 };
/// Stretches that may wait, 512 KiB: where runs are short, fewer values are collected.
const STRETCHES_MAX: usize = if cfg!(test) { 40 } else { 1 << 15 };
/// Series taken together: what they need stays in the cache of one core.
pub(super) const BLOCK: u32 = BLOCK_LEN as u32;
/// The same as the length of a stretch. Tests see many blocks.
const BLOCK_LEN: u16 = if cfg!(test) { 8 } else { 64 };
/// No row: the samples are late. No table has so many.
const NO_ROW: u16 = u16::MAX;

/// A series of the shard that a record names, as records name it: by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here {
    /// Up to which position its content is elsewhere; [`Here::UNKNOWN`]'s: nothing is known of the number.
    pub marked: u64,
    /// Its slot; from [`Here::UNUSED`] on: it has none.
    pub slot: u32,
    pub local: u32,
    pub target: u32,
    /// The number of its arc.
    pub arc: u32,
}

impl Here {
    /// No series has it.
    pub(super) const UNKNOWN: Self = Self::defined(u64::MAX);
    /// It is not registered, or with another shard.
    const UNUSED: u32 = u32::MAX;

    /// A number that is defined and not registered yet.
    pub(super) const fn defined(marked: u64) -> Self {
        Self {
            marked,
            slot: Self::UNUSED,
            local: 0,
            target: 0,
            arc: 0,
        }
    }

    /// Whether a number is nobody's.
    pub(super) const fn is_unknown(&self) -> bool {
        self.marked == u64::MAX
    }

    /// Whether it is a series of the shard.
    #[inline]
    pub(super) const fn is_here(&self) -> bool {
        self.slot != Self::UNUSED
    }
}

/// Samples of consecutive numbers of one block and one target at one time.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: u32,
    /// Where the first sample's value is.
    at: u32,
    offset_ms: u32,
    row: u16,
    len: u16,
}

/// The stretches of one window and shard that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    stretches: Vec<Stretch>,
    /// Numbers of the arcs that samples are of.
    arcs: Vec<u32>,
}

impl Waiting {
    /// Whether there is nothing.
    pub(super) const fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// Whether it should be put back before more is added.
    pub(super) const fn is_full(&self) -> bool {
        self.stretches.len() >= STRETCHES_MAX
    }

    /// There are samples of the arc of this number.
    pub(super) fn has_arc(&mut self, arc: u32) {
        if !self.arcs.contains(&arc) {
            self.arcs.push(arc);
        }
    }
}

/// The samples of a record that are wanted, cut into stretches.
pub(super) struct Cutting<'a> {
    waiting: &'a mut Waiting,
    open: Stretch,
}

impl<'a> Cutting<'a> {
    pub(super) const fn of(waiting: &'a mut Waiting) -> Self {
        Self {
            waiting,
            open: Stretch {
                first: 0,
                at: 0,
                offset_ms: 0,
                row: NO_ROW,
                len: 0,
            },
        }
    }

    /// What comes is of this time; the call before, if there was one, was [`Self::end`].
    pub(super) const fn begin(&mut self, offset_ms: u32) {
        self.open.offset_ms = offset_ms;
    }

    /// The next sample, whose value is at `at`. Where the one before was not wanted or of another target, the call
    /// before was [`Self::end`].
    #[inline]
    pub(super) fn take(&mut self, number: u32, at: u32, row: Option<u16>) {
        if number.is_multiple_of(BLOCK) {
            self.end();
        }
        if self.open.len == 0 {
            (self.open.first, self.open.at) = (number, at);
            self.open.row = row.unwrap_or(NO_ROW);
        }
        self.open.len += 1;
    }

    /// The samples of a whole block, which is of one target: the first one's value is at `at`.
    #[inline]
    pub(super) fn take_block(&mut self, first: u32, at: u32, row: Option<u16>) {
        self.end();
        (self.open.first, self.open.at) = (first, at);
        self.open.row = row.unwrap_or(NO_ROW);
        self.open.len = BLOCK_LEN;
    }

    /// What comes does not follow.
    #[inline]
    pub(super) fn end(&mut self) {
        if self.open.len > 0 {
            self.waiting.stretches.push(self.open);
            self.open.len = 0;
        }
    }

    /// There are samples of the arc of this number.
    pub(super) fn has_arc(&mut self, arc: u32) {
        self.waiting.has_arc(arc);
    }
}

/// Where samples go.
pub(super) struct Destination<'a> {
    pub core: &'a Core,
    pub shard: usize,
    pub window: Window,
    pub now: TimestampMs,
    /// The arcs by their numbers.
    pub arcs: &'a [RingArc],
}

/// What a thread has collected, and room to put it in order.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// The values of all windows and shards, record by record.
    pub values: Vec<u64>,
    block: Block,
}

impl Collected {
    /// Whether all that waits should be put back before more is added.
    pub(super) const fn is_full(&self) -> bool {
        self.values.len() >= VALUES_MAX
    }

    /// Puts back what waits of a window and shard.
    pub(super) fn put_back(
        &mut self,
        into: &Destination<'_>,
        series: &[Here],
        waiting: &mut Waiting,
    ) -> Result<(), Error> {
        let Waiting { stretches, arcs } = std::mem::take(waiting);
        let shard = into.core.shards.get(into.shard).ok_or_else(lost)?;
        let arc = |number: &u32| into.arcs.get(*number as usize).copied();
        let used: Vec<RingArc> = arcs.iter().filter_map(arc).collect();
        let mut place_of = vec![u32::MAX; into.arcs.len()];
        for (place, number) in (0u32..).zip(&arcs) {
            if let Some(of_arc) = place_of.get_mut(*number as usize) {
                *of_arc = place;
            }
        }
        let mut state = shard.state.lock();
        let roster = shard.roster.read();
        let of_window = state.window(into.window, &used);
        let rows = of_window.rows.lock();
        let names = Names {
            roster: &roster,
            hasher: &into.core.hasher,
        };
        let mut putting = Putting {
            layers: OpenLayers::of(of_window, &used, into.now),
            rows: &rows,
            names,
            series,
            place_of: &place_of,
            fresh: Vec::new(),
        };
        for of_block in by_block(stretches).chunk_by(|a, b| a.first / BLOCK == b.first / BLOCK) {
            putting.block(&self.values, of_block, &mut self.block)?;
        }
        let fresh = putting.end();
        drop(rows);
        fresh.iter().for_each(|one| state.hold(one.slot));
        Ok(())
    }
}

/// Where the series of a window and shard are put back.
struct Putting<'a> {
    layers: OpenLayers<'a>,
    rows: &'a RowTable,
    names: Names<'a>,
    series: &'a [Here],
    /// By the number of an arc: which of the layers is its.
    place_of: &'a [u32],
    fresh: Vec<Fresh>,
}

impl Putting<'_> {
    /// Puts back the samples of stretches of one block.
    fn block(
        &mut self,
        values: &[u64],
        stretches: &[Stretch],
        sorted: &mut Block,
    ) -> Result<(), Error> {
        if let Some(alike) = Alike::of(values, stretches) {
            self.touch(alike.numbers());
            for (number, place) in alike.numbers().zip(0..) {
                self.series(number, alike.samples(place))?;
            }
            return Ok(());
        }
        sorted.sort(values, stretches);
        for (number, samples) in sorted.series() {
            let stretch = |at: u32| stretches.get(at as usize);
            let samples = samples.iter();
            let samples = samples.filter_map(|(at, bits)| Some((stretch(*at)?, *bits)));
            self.series(number, samples)?;
        }
        Ok(())
    }

    /// Reads what the chunks of some numbers will be continued from, so that the memory of all is asked for at once and not of one after the other.
    fn touch(&mut self, numbers: Range<u32>) {
        let all = self
            .series
            .get(numbers.start as usize..numbers.end as usize);
        let mut sum = 0;
        for here in all.unwrap_or_default() {
            let place = self.place_of.get(here.arc as usize).copied();
            if let Some((_, data)) = self.layers.get(place.unwrap_or(u32::MAX)) {
                sum ^= data.touch(here.local);
            }
        }
        std::hint::black_box(sum);
    }

    /// The series that are new in their layers.
    fn end(self) -> Vec<Fresh> {
        self.fresh
    }

    /// Puts back samples of a series, each with its stretch.
    #[inline]
    fn series<'s>(
        &mut self,
        number: u32,
        samples: impl Iterator<Item = (&'s Stretch, u64)> + Clone,
    ) -> Result<(), Error> {
        let here = self.series.get(number as usize);
        let here = here.filter(|here| here.is_here()).ok_or_else(lost)?;
        let place = self.place_of.get(here.arc as usize).copied();
        let layer = self.layers.get(place.unwrap_or(u32::MAX));
        let (layer, data) = layer.ok_or_else(lost)?;
        if !data.present.contains(here.local) {
            self.fresh
                .extend(Fresh::note(data, here.local, here.slot, false));
        }
        put_series((layer, data), self.rows, self.names, here, samples);
        Ok(())
    }
}

/// Stretches of one block that are of the same numbers each: their values need no sorting.
struct Alike<'a> {
    values: &'a [u64],
    stretches: &'a [Stretch],
    numbers: Range<u32>,
}

impl<'a> Alike<'a> {
    fn of(values: &'a [u64], stretches: &'a [Stretch]) -> Option<Self> {
        let first = stretches.first()?;
        let alike = |one: &Stretch| one.first == first.first && one.len == first.len;
        stretches.iter().all(alike).then_some(Self {
            values,
            stretches,
            numbers: first.first..first.first + u32::from(first.len),
        })
    }

    fn numbers(&self) -> Range<u32> {
        self.numbers.clone()
    }

    /// The samples of the number at a place among them.
    #[inline]
    fn samples(&self, place: usize) -> impl Iterator<Item = (&'a Stretch, u64)> + Clone + use<'a> {
        let values = self.values;
        let value = move |one: &Stretch| values.get(one.at as usize + place).copied();
        let samples = self.stretches.iter();
        samples.filter_map(move |one| Some((one, value(one)?)))
    }
}

/// What was collected has nowhere to go: nobody is to be answered without it.
fn lost() -> Error {
    Error::Bug("samples of the log that belong to no series or layer".to_owned())
}

/// Puts back samples of a series, each with its stretch.
fn put_series<'a>(
    (layer, data): (&Layer, &mut LayerData),
    rows: &RowTable,
    names: Names<'_>,
    here: &Here,
    samples: impl Iterator<Item = (&'a Stretch, u64)> + Clone,
) {
    let mut passed = 0;
    if !data.is_kept() {
        let floats = samples.clone().map(|(stretch, bits)| (stretch.row, bits));
        passed = data.append_run(here.local, floats);
    }
    // From the first on that is late or a repeat, one by one.
    for (stretch, bits) in samples.skip(passed) {
        let float = LoggedFloat {
            series: here.slot,
            offset_ms: stretch.offset_ms,
            bits,
        };
        let row = Some(stretch.row).filter(|row| *row != NO_ROW);
        put_float((layer, data), rows, names, (here.local, row), &float);
    }
}

/// The stretches sorted by block, those of one block in their order.
fn by_block(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    const DIGIT: u32 = 11;
    let highest = stretches.iter().map(|one| one.first).max().unwrap_or(0);
    let mut shift = BLOCK.trailing_zeros();
    let mut sorted = stretches.clone();
    while highest.checked_shr(shift).is_some_and(|rest| rest > 0) {
        let digit = |one: &Stretch| (one.first >> shift) as usize % (1 << DIGIT);
        let mut places = [0usize; 1 << DIGIT];
        for one in &stretches {
            if let Some(count) = places.get_mut(digit(one)) {
                *count += 1;
            }
        }
        let mut passed = 0;
        for place in &mut places {
            passed += std::mem::replace(place, passed);
        }
        for one in &stretches {
            let Some(place) = places.get_mut(digit(one)) else {
                continue;
            };
            if let Some(into) = sorted.get_mut(*place) {
                *into = *one;
            }
            *place += 1;
        }
        std::mem::swap(&mut stretches, &mut sorted);
        shift += DIGIT;
    }
    stretches
}

/// The samples of a block of numbers, sorted by number.
#[derive(Debug)]
struct Block {
    first: u32,
    /// Where the samples of each number end.
    ends: [u32; BLOCK as usize],
    /// Each with the place of its stretch.
    samples: Vec<(u32, u64)>,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            first: 0,
            ends: [0; BLOCK as usize],
            samples: Vec::new(),
        }
    }
}

impl Block {
    /// Takes the samples of stretches of one block.
    fn sort(&mut self, values: &[u64], stretches: &[Stretch]) {
        let block = stretches.first().map_or(0, |one| one.first / BLOCK);
        self.first = block * BLOCK;
        let first_of = |one: &Stretch| (one.first % BLOCK) as usize;
        let mut counts = [0; BLOCK as usize];
        for one in stretches {
            let own = counts.iter_mut().skip(first_of(one));
            own.take(usize::from(one.len)).for_each(|count| *count += 1);
        }
        // First where each begins; as it is filled, where it ends.
        let mut passed = 0;
        for (end, count) in self.ends.iter_mut().zip(counts) {
            *end = passed;
            passed += count;
        }
        self.samples.clear();
        self.samples.resize(passed as usize, (0, 0));
        for (at, one) in (0u32..).zip(stretches) {
            let own = values
                .iter()
                .skip(one.at as usize)
                .take(usize::from(one.len));
            for (bits, end) in own.zip(self.ends.iter_mut().skip(first_of(one))) {
                if let Some(place) = self.samples.get_mut(*end as usize) {
                    *place = (at, *bits);
                }
                *end += 1;
            }
        }
    }

    /// The samples of each number that has any.
    fn series(&self) -> impl Iterator<Item = (u32, &[(u32, u64)])> {
        let mut begin = 0;
        let all = (self.first..).zip(&self.ends).map(move |(number, end)| {
            let own = self.samples.get(begin..*end as usize);
            begin = *end as usize;
            (number, own.unwrap_or_default())
        });
        all.filter(|(_, own)| !own.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Would catch a pass of the sort that is left out or mixes up what another has sorted, with more series than the other
        /// tests have.
        #[test]
        fn stretches_are_sorted_by_block_and_else_stay_in_order(
            firsts in proptest::collection::vec(prop_oneof![0u32..1000, 0u32..1 << 20, any::<u32>()], 0..60),
        ) {
            let stretch = |(at, first): (u32, u32)| Stretch { first, at, offset_ms: 0, row: 0, len: 1 };
            let stretches: Vec<Stretch> = (0..).zip(firsts).map(stretch).collect();
            let mut want = stretches.clone();
            want.sort_by_key(|one| one.first / BLOCK);
            let places = |all: &[Stretch]| all.iter().map(|one| one.at).collect::<Vec<_>>();
            prop_assert_eq!(places(&by_block(stretches)), places(&want));
        }
    }
}
