//! Marks: up to which position the log's content of an arc and window is elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Fingerprint, RingArc, Window};

/// Whatever the log has of (`arc`, `window`) up to `position` is in an applied block, or was
/// forgotten on purpose. Stored by whoever applies blocks, told to the log at open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Which partition.
    pub arc: RingArc,
    /// Which window.
    pub window: Window,
    /// The last position that is covered.
    pub position: u64,
}

/// All marks that matter.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(BTreeMap<(Window, RingArc), u64>);

impl Marks {
    pub(super) fn new(marks: &[Mark]) -> Self {
        let mut all = Self::default();
        for mark in marks {
            all.add(*mark);
        }
        all
    }

    pub(super) fn add(&mut self, mark: Mark) {
        let position = self.0.entry((mark.window, mark.arc)).or_default();
        *position = mark.position.max(*position);
    }

    /// Up to where an arc's content is covered, by its own mark or that of an arc it is part of.
    pub(super) fn of_arc(&self, window: Window, arc: RingArc) -> u64 {
        let shallower = (0..=arc.depth()).filter_map(|depth| {
            let prefix = if depth == 0 {
                0
            } else {
                arc.prefix() & !(u32::MAX.checked_shr(u32::from(depth)).unwrap_or(0))
            };
            self.0.get(&(window, RingArc::new(prefix, depth)?)).copied()
        });
        shallower.max().unwrap_or(0)
    }

    /// Up to where the content of a series is covered.
    pub(super) fn of_series(&self, window: Window, fingerprint: Fingerprint) -> u64 {
        self.of_arc(window, RingArc::of(fingerprint, RingArc::DEPTH_MAX))
    }

    /// The highest position that any mark of a window covers.
    pub(super) fn highest(&self, window: Window) -> u64 {
        self.0
            .range((window, RingArc::of(Fingerprint(0), 0))..)
            .take_while(|((at, _), _)| *at == window)
            .map(|(_, position)| *position)
            .max()
            .unwrap_or(0)
    }
}

/// What marks say, for a replay to ask.
#[derive(Clone, Debug)]
pub(crate) struct Covered(Arc<Marks>);

impl Covered {
    /// What these marks say.
    #[must_use]
    pub(crate) fn by(marks: &[Mark]) -> Self {
        Self(Arc::new(Marks::new(marks)))
    }

    /// Up to which position the content of a series in a window is elsewhere.
    #[must_use]
    pub(crate) fn of_series(&self, window: Window, fingerprint: Fingerprint) -> u64 {
        self.0.of_series(window, fingerprint)
    }

    /// Up to which position anything of a window is elsewhere.
    #[must_use]
    pub(crate) fn highest(&self, window: Window) -> u64 {
        self.0.highest(window)
    }
}
