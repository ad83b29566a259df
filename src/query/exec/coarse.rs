//! What a selector or a function says of what it read that was downsampled, once it has read all.
//!
//! Said of all that a selector reads, not of the samples that came of it: where the kept sample of an interval lies
//! behind a range, what was in the range goes without a trace.

use crate::model::Resolution;
use crate::query::annotations::Note;
use crate::query::function::Reach;

use super::window::Windows;

/// What a function of windows over stored samples says; `knows_folds`: it counts what kept samples stand for.
pub(super) fn of_windows(
    windows: &Windows,
    (function, knows_folds): (&'static str, bool),
    met: Resolution,
) -> Option<Note> {
    if met == Resolution::Raw {
        return None;
    }
    let within = windows.reach == Reach::Within;
    if !(knows_folds && within && windows.range_ms >= met.ms()) {
        return Some(Note::OfSamplesLeft {
            function,
            resolution: met,
        });
    }
    let cuts = windows.steps.iter().any(|step| {
        let end = windows.moment.of(step);
        [end, end.saturating_sub(windows.range_ms)]
            .iter()
            .any(|end| !is_end(*end, met))
    });
    cuts.then_some(Note::CutsIntervals {
        function,
        resolution: met,
    })
}

/// What an instant selector says that looks at some moments; `around`: at what comes after them, too.
pub(super) fn of_moments(
    mut moments: impl Iterator<Item = i64>,
    around: bool,
    met: Resolution,
) -> Option<Note> {
    let between = met != Resolution::Raw && (around || !moments.all(|at| is_end(at, met)));
    between.then_some(Note::BetweenEnds(met))
}

/// Whether an interval ends at a moment.
const fn is_end(at: i64, resolution: Resolution) -> bool {
    let ms = resolution.ms();
    ms == 0 || at.rem_euclid(ms) == 0
}
