//! What a metric family says of itself: kind, help and unit.

/// The kind of a metric family, numbered as remote-write 2.0 numbers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum MetricKind {
    /// Not said.
    #[default]
    Unknown = 0,
    /// Counts up.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Classic or native histogram.
    Histogram = 3,
    /// Histogram whose counts may go down.
    GaugeHistogram = 4,
    /// Quantiles computed by the client.
    Summary = 5,
    /// Constant 1 with information in its labels.
    Info = 6,
    /// One of several states is 1.
    StateSet = 7,
}

impl MetricKind {
    /// The kind of a number, [`MetricKind::Unknown`] for one that nobody defined.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }

    /// The name that Prometheus' metadata API uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// Metadata of a metric family.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Metadata {
    /// Its kind.
    pub kind: MetricKind,
    /// A sentence for people.
    pub help: String,
    /// The unit, such as `seconds`.
    pub unit: String,
}
