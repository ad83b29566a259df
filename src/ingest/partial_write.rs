//! What of a request was stored, what was refused and why, and the text the sender gets.
//!
//! The text is bounded: the first ten series, then a count. Whether the rest was stored is for
//! `receive` to find out; here it is only kept and told.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// Series whose refusal is told in full.
const TOLD_MAX: usize = 10;

/// How many of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Floats, stale markers among them.
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

impl Counts {
    pub(super) const SAMPLE: Self = Self::of(1, 0, 0);
    pub(super) const HISTOGRAM: Self = Self::of(0, 1, 0);
    pub(super) const EXEMPLAR: Self = Self::of(0, 0, 1);

    const fn of(samples: u64, histograms: u64, exemplars: u64) -> Self {
        Self {
            samples,
            histograms,
            exemplars,
        }
    }

    /// These less those.
    pub(super) const fn without(self, other: Self) -> Self {
        Self::of(
            self.samples.saturating_sub(other.samples),
            self.histograms.saturating_sub(other.histograms),
            self.exemplars.saturating_sub(other.exemplars),
        )
    }

    pub(super) fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
    }

    fn total(self) -> u64 {
        self.samples + self.histograms + self.exemplars
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples", self.samples)?;
        if self.histograms > 0 {
            write!(f, ", {} histograms", self.histograms)?;
        }
        if self.exemplars > 0 {
            write!(f, ", {} exemplars", self.exemplars)?;
        }
        Ok(())
    }
}

/// What became of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct PartialWrite {
    stored: Counts,
    refused: Counts,
    /// Refusals by the word that metrics count them under.
    reasons: BTreeMap<&'static str, u64>,
    told: Vec<String>,
    untold: u64,
}

impl PartialWrite {
    /// These were handed to the store.
    pub(super) fn store(&mut self, counts: Counts) {
        self.stored.add(counts);
    }

    /// These of one series were refused. The text is only made while there is room for it.
    pub(super) fn refuse(
        &mut self,
        counts: Counts,
        reason: &'static str,
        text: impl FnOnce() -> String,
    ) {
        self.refused.add(counts);
        // A series without any sample that is refused counts as one.
        *self.reasons.entry(reason).or_default() += counts.total().max(1);
        if self.told.len() < TOLD_MAX {
            self.told.push(text());
        } else {
            self.untold += 1;
        }
    }

    /// What was dropped without a word to the sender; only metrics tell.
    pub(super) fn drop_quietly(&mut self, reason: &'static str) {
        *self.reasons.entry(reason).or_default() += 1;
    }

    pub(super) const fn stored(&self) -> Counts {
        self.stored
    }

    pub(super) fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.reasons.iter().map(|(reason, count)| (*reason, *count))
    }

    /// Whether the sender has to be told of something.
    pub(super) const fn has_refusals(&self) -> bool {
        !self.told.is_empty()
    }

    /// What was refused, for a person.
    pub(super) fn text(&self) -> String {
        let mut text = format!("stored {}; refused {}", self.stored, self.refused);
        for told in &self.told {
            text.push_str("\n  ");
            text.push_str(told);
        }
        if self.untold > 0 {
            text.push_str(&format!("\n  and {} more series", self.untold));
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_are_told_and_the_rest_counted() {
        let mut write = PartialWrite::default();
        let one = Counts {
            samples: 1,
            ..Counts::default()
        };
        write.store(Counts {
            samples: 5,
            exemplars: 1,
            ..Counts::default()
        });
        for at in 0..13 {
            write.refuse(one, "bad", || format!("series {at}: bad"));
        }
        let text = write.text();
        assert!(
            text.starts_with(
                "stored 5 samples, 1 exemplars; refused 13 samples\n  series 0: bad\n"
            )
        );
        assert!(
            text.ends_with("series 9: bad\n  and 3 more series\n"),
            "{text}"
        );
        assert_eq!(write.reasons().collect::<Vec<_>>(), [("bad", 13)]);
    }
}
