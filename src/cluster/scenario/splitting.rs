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

/// What goes on while partitions are split.
struct Load<'a> {
    three: &'a Three,
    over: AtomicBool,
    /// Rows that are acknowledged.
    rows: AtomicI64,
}

impl Load<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn rows(&self) -> i64 {
        self.rows.load(Ordering::SeqCst)
    }

    fn reads(&self, at: usize) {
        while !self.is_over() {
            let before = self.rows();
            // A read may fail when a member is busy, but never answer wrongly.
            if let Some(got) = self.three.read(at) {
                check(&got, before, at);
            }
        }
    }

    fn writes(&self) {
        while !self.is_over() {
            let row = self.rows();
            let at = usize::try_from(row % 3).unwrap();
            self.three.write(at, 0..SERIES, &[time_of(row)]);
            self.rows.store(row + 1, Ordering::SeqCst);
        }
    }

    fn seals(&self) {
        while !self.is_over() {
            for member in &self.three.members {
                let _ = member.flush();
            }
            pause(Duration::from_millis(20));
        }
    }

    /// Splits every partition meanwhile; how many rows there are in the end.
    fn split_all(self) -> i64 {
        std::thread::scope(|scope| {
            let load = &self;
            for at in 0..3 {
                scope.spawn(move || load.reads(at));
            }
            scope.spawn(move || load.writes());
            scope.spawn(move || load.seals());
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for arc in RingArc::all(FOUNDING_DEPTH) {
                    load.three.split(arc);
                }
                let now = load.rows();
                eventually("writes go on", || load.rows() > now + 2);
            }));
            load.over.store(true, Ordering::SeqCst);
            done.unwrap();
        });
        self.rows()
    }
}

/// Every member answers with all rows.
fn read_by_all(three: &Three, rows: i64) {
    for at in 0..3 {
        eventually("every member answers with all rows", || {
            let got = three.read(at);
            got.is_some_and(|got| {
                check(&got, rows, at);
                let mut lens = got.values().map(Samples::len);
                lens.all(|len| i64::try_from(len) == Ok(rows))
            })
        });
    }
}

/// Every half that can has merged its own part of the blocks of the whole, and no other.
fn check_merged(member: &LocalMember) {
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
    assert!(merged.len() > 4 && wide < 16, "{merged:?} {wide}");
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
    let load = Load {
        three: &three,
        over: AtomicBool::new(false),
        rows: AtomicI64::new(1),
    };
    let rows = load.split_all();
    read_by_all(&three, rows);
    three.seal();
    eventually("heads are equal", || three.are_aligned(FOUNDING_DEPTH + 1));
    read_by_all(&three, rows);
    three.clock.set(DAY + DAY_MS + 30 * 60 * 60 * 1000);
    eventually("each half has merged its own part", || {
        let mut is_quiet = true;
        for member in &three.members {
            let pass = member.merger().pass(Pace::Fast, &CancelToken::new());
            is_quiet &= pass == Merges::default();
        }
        let blocks = three.equal_blocks().unwrap_or_default();
        is_quiet && blocks.iter().any(|(_, entry)| entry.level == Level(1))
    });
    three.members.iter().for_each(check_merged);
    read_by_all(&three, rows);
    for member in &three.members {
        member.close().unwrap();
    }
}
