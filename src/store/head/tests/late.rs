//! Late samples come back, however they lie.

use std::collections::BTreeMap;

use super::rig::*;
use crate::model::*;
use crate::store::head::*;
use crate::store::log::faulty::FaultyDisk;
use crate::store::tree::DigestTree;

/// The digests of all that is held.
fn trees(head: &Head) -> Vec<(Window, DigestTree)> {
    let view = head.view();
    RingArc::all(FOUNDING_DEPTH)
        .flat_map(|arc| view.trees(arc, TimeRange::ALL))
        .collect()
}

/// Would catch late samples that are lost, changed or kept twice where they lie between, at and before
/// the times of samples in chunks; with and without a digest tree, and after a replay.
#[test]
fn a_window_of_late_samples_comes_back_however_they_lie() {
    let sets = [labels("m", "1"), labels("m", "2"), labels("n", "1")];
    let scattered = |step: i64| step * 97 % 240 * 30_000;
    let orders: [(&str, &dyn Fn(i64) -> i64); 4] = [
        ("between, rising", &|step| step * 30_000 + 15_000),
        ("between, falling", &|step| (239 - step) * 30_000 + 15_000),
        ("between, scattered", &|step| scattered(step) + 15_000),
        ("at the same times", &|step| scattered(step)),
    ];
    for (order, late_at) in orders {
        for keeps_trees in [false, true] {
            let disk = FaultyDisk::default();
            let head = open(&disk, &[]);
            let mut expected: BTreeMap<LabelSet, Samples> = BTreeMap::new();
            let mut last = 0;
            let mut write = |set: &LabelSet, at: i64, value: f64| {
                let own = expected.entry(set.clone()).or_default();
                own.merge(&Samples::of_floats(&[(at, value)]));
                last = float(&head, set, at, value);
            };
            for step in 0..240 {
                for set in &sets {
                    write(set, step * 30_000, step as f64);
                }
                // Asked for early, it follows whatever comes.
                if keeps_trees && step == 3 {
                    trees(&head);
                }
            }
            for step in 0..240 {
                for (number, set) in sets.iter().enumerate() {
                    // Half of them are what is there already, where it is there.
                    let at = late_at(step);
                    let value = at as f64 / 30_000.0 + (step % 2) as f64 * number as f64;
                    write(set, at, value);
                }
            }
            head.wait_durable(last).unwrap();
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(content(&head), expected, "{order}");
            let kept = trees(&head);
            drop(head);
            let again = open(&disk.after_kill(), &[]);
            assert_eq!(content(&again), expected, "{order}");
            assert_eq!(trees(&again), kept, "{order}");
        }
    }
}
