//! Three members of one cluster whose partitions are all split while samples are written and read
//! and windows are sealed.

#![allow(
    clippy::disallowed_methods,
    reason = "members on real threads and a real network are waited for in real time"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::three::{DAY, Three, eventually};
use crate::cluster::control::{Command, DAY_MS, Split};
use crate::cluster::member::LocalMember;
use crate::cluster::merging::{Merges, Pace};
use crate::model::{FOUNDING_DEPTH, LabelSet, Level, RingArc, Samples, TimeRange, WINDOW_MS};
use crate::runtime::{CancelToken, pause};
use crate::store::DigestTree;

const SERIES: u64 = 24;

impl Three {
    /// Splits a partition, whoever leads.
    fn split(&self, arc: RingArc) {
        eventually("a partition is split", || {
            let control = self.members[0].control();
            let state = control.state();
            let Some(partition) = state.partition(arc) else {
                return true;
            };
            let epoch = partition.epoch;
            let _ = control.propose(&Command::Split(Split { arc, epoch }));
            false
        });
    }

    /// Whether all members keep what they hold by the arcs of one depth, and their heads are equal.
    fn are_aligned(&self, depth: u8) -> bool {
        let trees = |at: usize| {
            let store = self.members[at].store();
            let arcs: Vec<RingArc> = RingArc::all(depth).collect();
            if !arcs.iter().all(|arc| store.has_arc(*arc)) {
                return None;
            }
            let pinned = store.pin(&arcs);
            let of = |arc: &RingArc| pinned.trees(*arc, TimeRange::ALL);
            let trees: Vec<Vec<(_, DigestTree)>> = arcs.iter().map(of).collect();
            Some(trees)
        };
        let first = trees(0);
        first.is_some() && trees(1) == first && trees(2) == first
    }
}

/// What must be in an answer: the rows that were acknowledged before it was asked for; what may be:
/// the one row that is being written.
fn check(got: &BTreeMap<LabelSet, Samples>, acknowledged: i64, at: usize) {
    if acknowledged > 0 {
        assert_eq!(got.len() as u64, SERIES, "member {at}");
    }
    for (labels, samples) in got {
        let times = &samples.timestamps;
        let sorted = times.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(sorted, "member {at}: a sample twice of {labels:?}");
        for row in 0..acknowledged {
            let found = times.binary_search(&time_of(row));
            assert!(
                found.is_ok(),
                "member {at}: row {row} is missing of {labels:?}"
            );
        }
    }
}

/// Rows are spread over two windows, so that one is sealed while the other is written.
fn time_of(row: i64) -> i64 {
    DAY + row % 2 * WINDOW_MS + row * 15_000
}

/// Would catch a sample that is acknowledged and lies in neither half, or that a reader with
/// another ring than the member it asks is not given; a seal of the whole that enters the catalog
/// of a half; a block of both that only one of them gives up.
#[test]
fn all_partitions_are_split_under_writes_reads_and_seals() {
    let three = Three::open();
    three.clock.set(DAY + 2 * WINDOW_MS);
    three.write(0, 0..SERIES, &[time_of(0)]);
    three.seal();
    let (over, rows) = (AtomicBool::new(false), AtomicI64::new(1));
    std::thread::scope(|scope| {
        let (three, over, rows) = (&three, &over, &rows);
        for at in 0..3 {
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let before = rows.load(Ordering::SeqCst);
                    // A read may fail when a member is busy, but never answer wrongly.
                    if let Some(got) = three.read(at) {
                        check(&got, before, at);
                    }
                }
            });
        }
        scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let row = rows.load(Ordering::SeqCst);
                let at = usize::try_from(row % 3).unwrap();
                three.write(at, 0..SERIES, &[time_of(row)]);
                rows.store(row + 1, Ordering::SeqCst);
            }
        });
        scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                for member in &three.members {
                    let _ = member.flush();
                }
                pause(Duration::from_millis(20));
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for arc in RingArc::all(FOUNDING_DEPTH) {
                three.split(arc);
            }
            let now = rows.load(Ordering::SeqCst);
            eventually("writes go on", || rows.load(Ordering::SeqCst) > now + 2);
        }));
        over.store(true, Ordering::SeqCst);
        done.unwrap();
    });
    let rows = rows.load(Ordering::SeqCst);
    let read_by_all = |what: &str| {
        for at in 0..3 {
            eventually(what, || {
                let got = three.read(at);
                got.is_some_and(|got| {
                    check(&got, rows, at);
                    got.values().all(|samples| samples.len() as i64 == rows)
                })
            });
        }
    };
    read_by_all("every member answers");
    three.seal();
    eventually("heads are equal", || three.are_aligned(FOUNDING_DEPTH + 1));
    read_by_all("sealed it is the same");
    three.clock.set(DAY + DAY_MS + 30 * 60 * 60 * 1000);
    eventually("each half has merged its own part", || {
        let pass = |member: &LocalMember| {
            let pass = member.merger().pass(Pace::Fast, &CancelToken::new());
            pass == Merges::default()
        };
        let is_quiet = three
            .members
            .iter()
            .map(pass)
            .fold(true, |all, one| all && one);
        let blocks = three.equal_blocks().unwrap_or_default();
        is_quiet && blocks.iter().any(|(_, entry)| entry.level == Level(1))
    });
    for member in &three.members {
        let store = member.store();
        let (mut merged, mut wide) = (BTreeSet::new(), 0);
        for (arc, entry) in store.blocks() {
            let built_for = store.arc_of_block(entry.id).unwrap().unwrap();
            if entry.level == Level(1) {
                assert_eq!(built_for, arc);
                assert!(merged.insert(arc), "one merge, one block");
            } else {
                assert!(built_for.covers(arc));
                wide += usize::from(built_for != arc);
            }
        }
        // Where a half had no other block of that day, there is nothing to merge the whole one with.
        assert!(
            merged.len() > SERIES as usize / 4 && wide < 16,
            "{merged:?} {wide}"
        );
    }
    read_by_all("merged it is the same");
    for member in &three.members {
        member.close().unwrap();
    }
}
