//! A shard: a stripe of the head with a lock of its own, holding whole scrape targets.
//!
//! Two locks, always taken in this order: the state (windows, layers, what the log has defined),
//! then the roster (who is registered). After them those of a window's rows, then of its layers,
//! the oldest first; readers take a layer's alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use roaring::RoaringBitmap;

use super::exemplars::Exemplars;
use super::layer::{Layer, LayerData};
use super::pieces::Pieces;
use super::roster::Roster;
use super::rows::Rows;
use crate::model::{RingArc, TimestampMs, Window};
use crate::store::log::Lasts;

/// Windows of a shard that have chunks at a time; samples of others go through the late buffer.
const LIVE_WINDOWS: usize = 4;

/// No number. There are fewer series in a shard.
const NO_NUMBER: u32 = u32::MAX;

/// A stripe of the head.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub state: Mutex<State>,
    pub roster: RwLock<Roster>,
}

/// What changes with every append.
#[derive(Debug, Default)]
pub(super) struct State {
    pub windows: BTreeMap<Window, WindowState>,
    /// In how many layers a series has something, by slot.
    held: Pieces<u16>,
    /// The numbers that records of the log name series by, by slot; [`NO_NUMBER`]: none yet.
    numbers: Pieces<u32>,
    /// How many numbers were given.
    numbered: u32,
    /// Those of them that nobody has any more.
    free_numbers: RoaringBitmap,
    /// All layers by arc, then window, then age; made when asked for.
    listed: Option<Arc<[Arc<Layer>]>>,
    pub exemplars: Exemplars,
}

/// What a shard holds of a window.
#[derive(Debug, Default)]
pub(super) struct WindowState {
    pub rows: Arc<Rows>,
    /// The layer of each arc that takes appends.
    pub open: BTreeMap<RingArc, Arc<Layer>>,
    /// Layers that were cut, oldest first.
    pub frozen: Vec<Arc<Layer>>,
    /// Whether floats go to chunks, and into the log as steps.
    pub live: bool,
    /// What the next steps in the log stand on; of windows that are not live, nothing.
    pub lasts: Lasts,
}

impl WindowState {
    /// All layers, frozen ones first.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Arc<Layer>> {
        self.frozen.iter().chain(self.open.values())
    }
}

impl State {
    /// The window's state, made when it is new, with open layers for these arcs.
    pub(super) fn window(&mut self, window: Window, arcs: &[RingArc]) -> &mut WindowState {
        if !self.windows.contains_key(&window) {
            let live = self.claim_live(window);
            let fresh = WindowState {
                live,
                ..WindowState::default()
            };
            self.windows.insert(window, fresh);
        }
        let state = self.windows.entry(window).or_default();
        for arc in arcs {
            if !state.open.contains_key(arc) {
                let layer = Layer::new(*arc, window, Arc::clone(&state.rows));
                state.open.insert(*arc, Arc::new(layer));
                self.listed = None;
            }
        }
        state
    }

    /// Whether a new window may have chunks: while there are few, or when it is newer than all
    /// that have them; then the oldest of those has to stop.
    fn claim_live(&mut self, window: Window) -> bool {
        let live: Vec<Window> = self
            .windows
            .iter()
            .filter(|(_, state)| state.live)
            .map(|(at, _)| *at)
            .collect();
        if live.len() < LIVE_WINDOWS {
            return true;
        }
        if live.last().is_some_and(|newest| *newest > window) {
            return false;
        }
        if let Some(state) = live.first().and_then(|oldest| self.windows.get_mut(oldest)) {
            state.live = false;
            state.lasts = Lasts::default();
        }
        true
    }

    /// Layers have come or gone.
    pub(super) fn relist(&mut self) {
        self.listed = None;
    }

    /// All layers by arc, then window, then age.
    pub(super) fn listed(&mut self) -> Arc<[Arc<Layer>]> {
        if let Some(listed) = &self.listed {
            return Arc::clone(listed);
        }
        let mut all: Vec<Arc<Layer>> = self
            .windows
            .values()
            .flat_map(WindowState::layers)
            .cloned()
            .collect();
        all.sort_by_key(|layer| (layer.arc, layer.window));
        let listed: Arc<[Arc<Layer>]> = all.into();
        self.listed = Some(Arc::clone(&listed));
        listed
    }

    /// A series has something in one more layer.
    pub(super) fn hold(&mut self, slot: u32) {
        while self.held.len() <= slot as usize {
            self.held.push(0);
        }
        if let Some(held) = self.held.get_mut(slot as usize) {
            *held = held.saturating_add(1);
        }
    }

    /// The number by which records name a series, whatever window they are of. Numbers are given in the order in which
    /// the log meets series, and not in that in which they are registered: where several senders register theirs at
    /// once, slots alternate between them, but a request's samples come together, now as later, and so do their numbers.
    /// A record names neighbours in a few bytes, and a replay takes them together. Numbers of who is forgotten are given again
    /// from the lowest on: a target's are neighbours, and so are those of the one that takes its place.
    #[inline]
    pub(super) fn number_of(&mut self, slot: u32) -> u32 {
        match self.numbers.get(slot as usize) {
            Some(number) if *number != NO_NUMBER => *number,
            _ => self.give_number(slot),
        }
    }

    #[cold]
    fn give_number(&mut self, slot: u32) -> u32 {
        while self.numbers.len() <= slot as usize {
            self.numbers.push(NO_NUMBER);
        }
        let number = match self.free_numbers.min() {
            Some(lowest) => {
                self.free_numbers.remove(lowest);
                lowest
            }
            None => {
                self.numbered += 1;
                self.numbered - 1
            }
        };
        if let Some(place) = self.numbers.get_mut(slot as usize) {
            *place = number;
        }
        number
    }

    /// The series that has a slot is forgotten: its number may be another's.
    pub(super) fn free_number(&mut self, slot: u32) {
        if let Some(place) = self.numbers.get_mut(slot as usize)
            && *place != NO_NUMBER
        {
            self.free_numbers.insert(*place);
            *place = NO_NUMBER;
        }
    }

    /// A series has something in one layer less; `true` when that was the last.
    pub(super) fn release(&mut self, slot: u32) -> bool {
        let Some(held) = self.held.get_mut(slot as usize) else {
            return true;
        };
        // A count that once stood at its end is not believed again: the series stays.
        if *held != u16::MAX {
            *held = held.saturating_sub(1);
        }
        *held == 0
    }

    /// Whether any layer has something of a series.
    pub(super) fn holds(&self, slot: u32) -> bool {
        self.held.get(slot as usize).is_some_and(|held| *held > 0)
    }

    /// Moves the open layer of an arc and window to the frozen ones, and returns all frozen ones.
    pub(super) fn freeze(&mut self, arc: RingArc, window: Window) -> Vec<Arc<Layer>> {
        let Some(state) = self.windows.get_mut(&window) else {
            return Vec::new();
        };
        if let Some(layer) = state.open.remove(&arc) {
            state.frozen.push(layer);
        }
        let frozen = state.frozen.iter().filter(|layer| layer.arc == arc);
        frozen.cloned().collect()
    }

    /// Removes layers that were cut, and returns those that were still there; a window without any
    /// goes too.
    pub(super) fn remove(&mut self, window: Window, layers: &[Arc<Layer>]) -> Vec<Arc<Layer>> {
        let Some(state) = self.windows.get_mut(&window) else {
            return Vec::new();
        };
        let given_up = |layer: &Arc<Layer>| layers.iter().any(|other| Arc::ptr_eq(layer, other));
        let frozen = std::mem::take(&mut state.frozen).into_iter();
        let (removed, kept) = frozen.partition(given_up);
        state.frozen = kept;
        if state.frozen.is_empty() && state.open.is_empty() {
            self.windows.remove(&window);
        }
        self.listed = None;
        removed
    }

    /// Bytes held by the counters here.
    pub(super) fn bytes(&self) -> usize {
        let of_window = |state: &WindowState| state.rows.bytes() + state.lasts.bytes();
        let windows: usize = self.windows.values().map(of_window).sum();
        let numbers = self.numbers.bytes() + self.free_numbers.serialized_size();
        self.held.bytes() + numbers + windows
    }
}

/// The open layers of the arcs of an append, each locked at its first use.
pub(super) struct OpenLayers<'a> {
    layers: Vec<(&'a Arc<Layer>, Option<MutexGuard<'a, LayerData>>)>,
    now: TimestampMs,
}

impl<'a> OpenLayers<'a> {
    pub(super) fn of(state: &'a WindowState, arcs: &[RingArc], now: TimestampMs) -> Self {
        let layers = arcs
            .iter()
            .filter_map(|arc| state.open.get(arc))
            .map(|layer| (layer, None))
            .collect();
        Self { layers, now }
    }

    #[inline]
    pub(super) fn get(&mut self, arc: u32) -> Option<(&'a Arc<Layer>, &mut LayerData)> {
        let now = self.now;
        let (layer, guard) = self.layers.get_mut(arc as usize)?;
        let data = guard.get_or_insert_with(|| {
            let mut data = layer.lock();
            data.appended = now;
            data
        });
        Some((layer, data))
    }
}
