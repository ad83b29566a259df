//! By which numbers records of the log name series.

use std::sync::Arc;

use super::rig::*;
use crate::model::*;
use crate::store::head::*;
use crate::store::log::faulty::FaultyDisk;
use crate::store::log::{
    FloatRun, Lasts, Log, Misread, Pin, RecordHeader, RecordKind, Replayed, WriteLogSettings,
    decode_steps,
};

/// The runs of each record of floats.
struct Runs(Vec<Vec<(u32, u32)>>);

impl Replayed for Runs {
    fn record(&mut self, header: &RecordHeader, _: u64, payload: &[u8]) -> bool {
        if header.kind == RecordKind::Steps {
            let (mut runs, mut values) = (Vec::new(), Vec::new());
            decode_steps(
                payload,
                &mut Lasts::default(),
                &mut Vec::new(),
                &mut runs,
                &mut values,
            )
            .unwrap();
            let numbers = |run: &FloatRun| (run.first, run.len);
            self.0.push(runs.iter().map(numbers).collect());
        }
        true
    }

    fn finish(&mut self) -> Result<Vec<Pin>, Misread> {
        Ok(Vec::new())
    }
}

fn runs(disk: &FaultyDisk) -> Vec<Vec<(u32, u32)>> {
    let mut runs = Runs(Vec::new());
    let disk = Arc::new(disk.after_kill());
    let settings = WriteLogSettings::default();
    drop(Log::open(&settings, disk, &[], clock(), &mut runs).unwrap());
    runs.0
}

/// Would catch numbers given in the order of registering, in which the series of several senders alternate: then every sample
/// of a record is named for itself, for as long as the process lives.
#[test]
fn series_that_come_together_are_numbered_together_however_they_were_registered() {
    let disk = FaultyDisk::default();
    let head = open_with(&disk, &[], 1);
    let register = |sender: usize, number: usize| {
        let set = labels(&format!("m{number}"), &sender.to_string());
        head.register(&tenant(), &set).unwrap()
    };
    let mut senders = [Vec::new(), Vec::new(), Vec::new()];
    for number in 0..100 {
        for (sender, series) in senders.iter_mut().enumerate() {
            series.push(register(sender, number));
        }
    }
    let mut last = 0;
    for step in 0..2 {
        for (sender, series) in senders.iter().enumerate() {
            let at = TimestampMs(step * 15_000 + i64::try_from(sender).unwrap());
            let value = 1.0;
            let float = |series: &SeriesId| FloatSample {
                series: *series,
                at,
                value,
            };
            let floats: Vec<FloatSample> = series.iter().map(float).collect();
            let batch = AppendBatch {
                floats: &floats,
                ..AppendBatch::default()
            };
            last = head.append(&batch).unwrap().position;
        }
    }
    // What else is written of a series has the same numbers.
    let exemplar = Exemplar {
        labels: LabelSet::from_pairs(&[("trace_id", "abc")]).unwrap(),
        value: 0.25,
        timestamp: TimestampMs(7),
    };
    let batch = AppendBatch {
        exemplars: &[(senders[1][30], exemplar)],
        ..AppendBatch::default()
    };
    last = last.max(head.append(&batch).unwrap().position);
    head.wait_durable(last).unwrap();
    let want = (content(&head), head.view().exemplars(&all()));
    assert_eq!(want.1.len(), 1);
    drop(head);
    let one_each = [vec![(0, 100)], vec![(100, 100)], vec![(200, 100)]];
    assert_eq!(runs(&disk), [one_each.clone(), one_each].concat());
    let again = open_with(&disk.after_kill(), &[], 1);
    assert_eq!((content(&again), again.view().exemplars(&all())), want);
}

/// Would catch series that come after others were forgotten and have their numbers in whatever order places became free: each
/// sample is named for itself then, for as long as the process lives.
#[test]
fn who_takes_the_place_of_others_is_numbered_together_again() {
    let disk = FaultyDisk::default();
    let head = open_with(&disk, &[], 1);
    let scrape = |of: &str, at: i64| {
        let float = |number: usize| FloatSample {
            series: head
                .register(&tenant(), &labels(&format!("m{number}"), of))
                .unwrap(),
            at: TimestampMs(at),
            value: 1.0,
        };
        let floats: Vec<FloatSample> = (0..100).map(float).collect();
        let batch = AppendBatch {
            floats: &floats,
            ..AppendBatch::default()
        };
        let position = head.append(&batch).unwrap().position;
        head.wait_durable(position).unwrap();
    };
    let forget = || {
        for (arc, window) in head.held().into_keys() {
            head.give_up(head.cut(arc, window).unwrap());
        }
        head.tidy();
        head.tidy();
        assert_eq!(head.stats().series, 0);
    };
    scrape("one", 0);
    scrape("other", 1);
    forget();
    scrape("other", 2);
    scrape("third", 3);
    scrape("fourth", 4);
    forget();
    scrape("third", 5);
    drop(head);
    let first: Vec<_> = runs(&disk).into_iter().map(|runs| runs[0]).collect();
    assert_eq!(
        first,
        [
            (0, 100),
            (100, 100),
            (0, 100),
            (100, 100),
            (200, 100),
            (0, 100)
        ]
    );
}
