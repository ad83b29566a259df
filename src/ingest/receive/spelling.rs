//! What the two versions of remote-write have in common: series that are spelt somehow, and carry
//! samples. `intake` is written against this; `remote_write_v1` and `_v2` are the two spellings.

use crate::codec::protobuf::{Reader, WireError};
use crate::model::{MetricKind, TimestampMs};

use super::super::native_histogram::HistogramSample;
use super::super::validate::RawLabel;

/// What a quick look at an encoded series gave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walked {
    /// The key under which the series may be known.
    pub(super) key: u128,
    pub(super) content: Content,
    /// A hash of the metadata that came with the series; 0: none did.
    pub(super) metadata: u32,
}

/// Where a series has its samples.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) enum Content {
    /// One float, read already. In a guess it is only true if the key is known.
    One { at: TimestampMs, value: f64 },
    /// To be read from this offset on.
    Fields { from: u32 },
    /// To be read from its beginning, and not to be remembered: its fields stand in an order that
    /// no known sender uses.
    Odd,
    /// There is nothing in it to store.
    #[default]
    Nothing,
    /// It breaks a rule of its message; the whole series is refused.
    Refused(SeriesFault),
}

/// A rule of remote-write 2.0 that one series breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum SeriesFault {
    #[error("it refers to a symbol that the request does not have")]
    Reference,
    #[error("it has an odd number of label references: names and values come in pairs")]
    OddReferences,
    #[error("it has both samples and histograms: send them as two series")]
    Both,
    #[error("it has neither samples nor histograms nor exemplars")]
    Empty,
}

impl SeriesFault {
    /// The word that metrics count it under.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Reference => "symbol_out_of_range",
            Self::OddReferences => "odd_label_references",
            Self::Both => "samples_and_histograms",
            Self::Empty => "no_samples",
        }
    }
}

/// Something that a series carries.
#[derive(Debug)]
pub(super) enum Item<'a> {
    Float {
        at: TimestampMs,
        value: f64,
        start: TimestampMs,
    },
    Histogram(Box<HistogramSample>),
    Exemplar(RawExemplar<'a>),
}

/// An exemplar as it came.
#[derive(Debug)]
pub(super) struct RawExemplar<'a> {
    pub(super) labels: Result<Vec<RawLabel<'a>>, SeriesFault>,
    pub(super) value: f64,
    pub(super) at: TimestampMs,
}

/// Metadata as it came with a series or in a message of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawMetadata<'a> {
    /// The metric family; with a series: the metric name.
    pub(super) family: &'a [u8],
    pub(super) kind: MetricKind,
    pub(super) help: &'a [u8],
    pub(super) unit: &'a [u8],
}

/// One version's way to spell series.
pub(super) trait Spelling<'a> {
    /// Looks at a series as quickly as possible. It may guess [`Content::One`]: if the key is
    /// known, the guess was right. What it gives is written where it is to stay, because moving it
    /// there right afterwards would wait for the writing.
    fn walk(&self, series: &'a [u8], walked: &mut Walked) -> Result<(), WireError>;

    /// Looks at all fields of a series; nothing is guessed.
    fn walk_fully(&self, series: &'a [u8]) -> Result<Walked, WireError>;

    /// Its labels, as they stand.
    fn labels(&self, series: &'a [u8]) -> Result<Vec<RawLabel<'a>>, WireError>;

    /// The next thing that it carries.
    fn item(&self, reader: &mut Reader<'a>) -> Result<Option<Item<'a>>, WireError>;

    /// The metadata that came with it.
    fn metadata(&self, series: &'a [u8]) -> Result<Option<RawMetadata<'a>>, WireError>;

    /// Whether faults of exemplars are told (2.0) or passed over in silence (1.0).
    fn exemplar_faults_are_told(&self) -> bool;
}
