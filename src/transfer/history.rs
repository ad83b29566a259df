//! What every foreign format gives: series with samples, piece by piece, and where one could go on.

use serde::{Deserialize, Serialize};

use super::Error;
use crate::model::{LabelSet, Metadata, Samples, TimestampMs, Value, settle};

/// Samples of one series. A series may come in any number of pieces.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Its labels.
    pub labels: LabelSet,
    /// Samples in order of time.
    pub samples: Samples,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Samples.
    Piece(Piece),
    /// What a metric family is.
    Family(String, Metadata),
}

/// Where a history was left. Everything before it has been given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// The part: a block's name; empty where there is one part only.
    #[serde(default)]
    pub part: String,
    /// Which slice of the part's time, by number.
    #[serde(default)]
    pub slice: u64,
    /// Bytes of a text, or the place of a series in an index.
    #[serde(default)]
    pub at: u64,
}

/// A history in a foreign format.
pub trait History {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When it cannot be read, with the place.
    fn next(&mut self) -> Result<Option<Item>, Error>;

    /// Behind all that was given.
    fn position(&self) -> Position;

    /// How much was read, in the unit of [`History::total`].
    fn done(&self) -> u64;

    /// How much there is, where that is known.
    fn total(&self) -> Option<u64>;
}

/// Samples in whatever order, as a set: two values of one time are settled as everywhere.
pub(super) fn in_order(samples: impl Iterator<Item = (TimestampMs, Value)>) -> Samples {
    let none = TimestampMs(0);
    let mut all: Vec<(TimestampMs, Value)> = samples.collect();
    // The one that is shown comes first.
    if !all.is_sorted_by(|one, two| one.0 < two.0) {
        all.sort_by(|one, two| {
            let shown = || settle((&two.1, none), (&one.1, none));
            one.0.cmp(&two.0).then_with(shown)
        });
        all.dedup_by_key(|sample| sample.0);
    }
    let mut samples = Samples::default();
    for (at, value) in all {
        samples.push(at, value, none);
    }
    samples
}
