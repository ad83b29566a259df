//! What of the items that a series carries is admitted: times, exemplars, metadata.

use crate::cluster::Hidden;
use crate::model::{Exemplar, Metadata, MetricKind, TimestampMs, Value};

use super::super::partial_write::Counts;
use super::super::settings::IngestSettings;
use super::super::validate::exemplar_labels;
use super::spelling::{Item, RawExemplar, RawMetadata};

/// The word for times too far in the future, as Mimir counts them.
pub(super) const TOO_FAR: &str = "too_far_in_future";
/// The word for times of which samples are being deleted.
pub(super) const DELETED: &str = "deleted";
/// The longest help and unit texts that are stored.
const METADATA_TEXT_MAX: usize = 4096;

/// An item that may be stored.
pub(super) enum Admitted {
    Float {
        at: TimestampMs,
        value: f64,
    },
    Other {
        at: TimestampMs,
        value: Value,
        start: TimestampMs,
    },
    Exemplar(Exemplar),
}

impl Admitted {
    /// The time that a delete would hide it by: deletes are not about exemplars.
    pub(super) const fn at(&self) -> TimestampMs {
        match self {
            Self::Float { at, .. } | Self::Other { at, .. } => *at,
            Self::Exemplar(_) => TimestampMs::MAX,
        }
    }

    /// It, unless what is deleted of its series covers it.
    pub(super) fn unless_deleted(self, deleted: &Hidden) -> Result<Self, Refused> {
        let Some(range) = deleted.range_at(self.at()) else {
            return Ok(self);
        };
        Err(Refused {
            reason: DELETED,
            counts: match self {
                Self::Float { .. } => Counts::SAMPLE,
                Self::Other {
                    value: Value::Float(_),
                    ..
                } => Counts::SAMPLE,
                Self::Other { .. } => Counts::HISTOGRAM,
                Self::Exemplar(_) => Counts::EXEMPLAR,
            },
            text: format!(
                "samples of this series up to {} are being deleted, and none of that time are \
                 stored until they are gone from everywhere: write later ones, or undo the delete",
                range.end.0
            ),
        })
    }
}

/// An item that may not.
pub(super) struct Refused {
    pub(super) reason: &'static str,
    pub(super) counts: Counts,
    pub(super) text: String,
}

/// The bound of timestamps.
#[derive(Clone, Copy)]
pub(super) struct Times<'s> {
    pub(super) settings: &'s IngestSettings,
    pub(super) now: TimestampMs,
}

impl Times<'_> {
    /// The latest time that is not too far in the future.
    pub(super) fn latest(self) -> TimestampMs {
        let grace = self.settings.creation_grace_period.as_millis();
        self.now.plus_ms(i64::try_from(grace).unwrap_or(i64::MAX))
    }

    fn check(self, at: TimestampMs, counts: Counts) -> Result<(), Refused> {
        if at <= self.latest() {
            return Ok(());
        }
        let text = format!(
            "the timestamp {} is {} s ahead of this node's clock, at most {} s are allowed: \
             set the sender's clock, send milliseconds, or raise ingest.creation_grace_period",
            at.0,
            at.0.saturating_sub(self.now.0) / 1000,
            self.settings.creation_grace_period.as_secs(),
        );
        Err(Refused {
            reason: TOO_FAR,
            counts,
            text,
        })
    }

    /// Admits an item or says why not.
    pub(super) fn admit(self, item: Item<'_>) -> Result<Admitted, Refused> {
        match item {
            Item::Float { at, value, start } => {
                self.check(at, Counts::SAMPLE)?;
                Ok(match start.0 {
                    0 => Admitted::Float { at, value },
                    _ => Admitted::Other {
                        at,
                        value: Value::Float(value),
                        start,
                    },
                })
            }
            Item::Histogram(sample) => {
                let counts = Counts::HISTOGRAM;
                self.check(sample.at, counts)?;
                let histogram = sample.histogram.map_err(|refusal| Refused {
                    reason: refusal.reason(),
                    counts,
                    text: refusal.to_string(),
                })?;
                Ok(Admitted::Other {
                    at: sample.at,
                    value: Value::Histogram(histogram.into()),
                    start: sample.start,
                })
            }
            Item::Exemplar(raw) => self.exemplar(&raw).map(Admitted::Exemplar),
        }
    }

    fn exemplar(self, raw: &RawExemplar<'_>) -> Result<Exemplar, Refused> {
        let refused = |reason, text| Refused {
            reason,
            counts: Counts::EXEMPLAR,
            text,
        };
        let labels = raw
            .labels
            .as_ref()
            .map_err(|fault| refused(fault.reason(), format!("an exemplar: {fault}")))?;
        if raw.at.0 == 0 {
            let text = "an exemplar has no timestamp: set it at the sender";
            return Err(refused("exemplar_without_timestamp", text.to_owned()));
        }
        self.check(raw.at, Counts::EXEMPLAR)?;
        let labels = exemplar_labels(labels)
            .map_err(|refusal| refused(refusal.reason(), refusal.to_string()))?;
        Ok(Exemplar {
            labels,
            value: raw.value,
            timestamp: raw.at,
        })
    }
}

/// Reads metadata. `Ok(None)`: it says nothing. The error is the word to count it under: what is
/// no text is left out, since it only describes a metric and is not worth refusing samples for.
pub(super) fn metadata(
    raw: &RawMetadata<'_>,
    settings: &IngestSettings,
) -> Result<Option<(String, Metadata)>, &'static str> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| "metadata_invalid_utf8");
    let (family, help, unit) = (text(raw.family)?, text(raw.help)?, text(raw.unit)?);
    let silent = raw.kind == MetricKind::Unknown && help.is_empty() && unit.is_empty();
    if family.is_empty() || silent {
        return Ok(None);
    }
    if family.len() > settings.max_label_value_length
        || help.len().max(unit.len()) > METADATA_TEXT_MAX
    {
        return Err("metadata_too_long");
    }
    let metadata = Metadata {
        kind: raw.kind,
        help: help.to_owned(),
        unit: unit.to_owned(),
    };
    Ok(Some((family.to_owned(), metadata)))
}
