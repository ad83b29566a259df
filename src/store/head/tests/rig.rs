//! A head over a disk in memory.

use std::sync::Arc;

use crate::model::*;
use crate::runtime::{Clock, ManualClock};
use crate::source::Selection;
use crate::store::head::*;
use crate::store::log::faulty::FaultyDisk;
use crate::store::log::{Mark, WriteLogSettings};

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)))
}

pub(super) fn open(disk: &FaultyDisk, marks: &[Mark]) -> Head {
    open_with(disk, marks, HeadSettings::default().shards)
}

/// The same with so many shards.
pub(super) fn open_with(disk: &FaultyDisk, marks: &[Mark], shards: usize) -> Head {
    let settings = HeadSettings {
        shards,
        ..HeadSettings::default()
    };
    let log = WriteLogSettings {
        segment_size: crate::runtime::ByteSize(1),
        ..WriteLogSettings::default()
    };
    Head::open(settings, &log, Arc::new(disk.clone()), marks, clock()).unwrap()
}

pub(super) fn tenant() -> TenantId {
    TenantId::anonymous()
}

pub(super) fn labels(name: &str, instance: &str) -> LabelSet {
    LabelSet::from_pairs(&[("__name__", name), ("job", "j"), ("instance", instance)]).unwrap()
}

pub(super) fn all() -> Selection {
    Selection {
        tenant: tenant(),
        matchers: Vec::new(),
        range: TimeRange::ALL,
    }
}

/// All series and their samples.
pub(super) fn content(head: &Head) -> Vec<(LabelSet, Samples)> {
    let view = head.view();
    let mut found: Vec<_> = view
        .select(&all())
        .into_iter()
        .map(|series| {
            let mut samples = Samples::default();
            view.read(&series, TimeRange::ALL, &mut samples);
            (series.labels, samples)
        })
        .filter(|(_, samples)| !samples.is_empty())
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

pub(super) fn float(head: &Head, set: &LabelSet, at: i64, value: f64) -> u64 {
    let series = head.register(&tenant(), set).unwrap();
    let appended = head
        .append(&AppendBatch {
            floats: &[FloatSample {
                series,
                at: TimestampMs(at),
                value,
            }],
            ..AppendBatch::default()
        })
        .unwrap();
    assert!(appended.stale_floats.is_empty());
    appended.position
}

pub(super) fn histogram(count: u64) -> Value {
    Value::Histogram(Arc::new(Histogram::counting(u32::try_from(count).unwrap())))
}
