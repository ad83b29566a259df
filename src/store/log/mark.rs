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

    /// The highest position that any of them covers.
    pub(super) fn highest_of_all(&self) -> u64 {
        self.0.values().copied().max().unwrap_or(0)
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

    /// Whether what the log has of an arc up to a position is covered: by its own mark or that of an
    /// arc it is part of, or, where it was split, by those of all its parts.
    pub(super) fn cover(&self, window: Window, arc: RingArc, position: u64) -> bool {
        if self.of_arc(window, arc) >= position {
            return true;
        }
        let after = (window, arc)..;
        let deeper = self.0.range(after).skip_while(|(key, _)| key.1 == arc);
        let mut of_parts = deeper.take_while(|((at, part), _)| *at == window && arc.covers(*part));
        let Some(halves) = of_parts.next().and_then(|_| arc.halves()) else {
            return false;
        };
        let mut halves = halves.into_iter();
        halves.all(|half| self.cover(window, half, position))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a segment that is let go while one half of a split arc still needs it, and one
    /// that is kept for ever because nobody marks the arc that was split.
    #[test]
    fn what_was_split_is_covered_by_all_its_parts_together() {
        let (window, arc) = (Window(4), RingArc::new(0x3000_0000, 4).unwrap());
        let [one, other] = arc.halves().unwrap();
        let [first, second] = other.halves().unwrap();
        let mut marks = Marks::default();
        let mut mark = |arc, position| {
            marks.add(Mark {
                arc,
                window,
                position,
            });
            [7, 9].map(|position| {
                let arc = RingArc::new(0x3000_0000, 4).unwrap();
                marks.cover(window, arc, position)
            })
        };
        assert_eq!(mark(one, 9), [false, false]);
        assert_eq!(mark(first, 8), [false, false]);
        assert_eq!(mark(second, 7), [true, false]);
        assert_eq!(mark(other, 8), [true, false]);
        assert_eq!(mark(second, 9), [true, false]);
        assert_eq!(mark(first, 9), [true, true]);
        assert_eq!(mark(RingArc::new(0, 0).unwrap(), 20), [true, true]);
        assert!(!marks.cover(Window(5), arc, 1));
    }
}
