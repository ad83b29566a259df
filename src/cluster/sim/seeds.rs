//! Seeds, each in a process of its own.
//!
//! `CAIRN_SIM_SEEDS` says how many, `CAIRN_SIM_FIRST` from which on; `scripts/sim` sets them.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::apart::{number, run_apart, seed_of_this_process};
use super::chaos::{self, Course};
use crate::runtime::simulate;

/// So many without being asked for more.
const SEEDS: u64 = 50;

/// The test that is one seed.
const ONE: &str = "cluster::sim::seeds::one";

/// One seed, in this process.
#[test]
#[ignore = "a run of its own process: scripts/sim"]
fn one() {
    let seed = seed_of_this_process().unwrap_or(1);
    let ran = simulate(seed, move || chaos::run(seed, Course::of(seed)));
    println!("ran {ran:?}");
}

/// Seeds that are still to be run, and those that have failed.
struct Seeds {
    first: u64,
    end: u64,
    next: AtomicU64,
    failures: Mutex<Vec<(u64, String)>>,
}

impl Seeds {
    fn work(&self) {
        loop {
            let seed = self.next.fetch_add(1, Ordering::SeqCst);
            if seed >= self.end {
                return;
            }
            if let Err(reason) = run_apart(ONE, seed, None) {
                println!("seed {seed} fails; again: scripts/sim --seed {seed}\n{reason}");
                self.failures.lock().push((seed, reason));
            }
            let (done, all) = (seed + 1 - self.first, self.end - self.first);
            if done.is_multiple_of(10) {
                let failed = self.failures.lock().len();
                println!("{done} of {all} seeds, {failed} failed");
            }
        }
    }
}

/// Would catch whatever breaks a promise of the protocol under faults that a seed can draw.
#[test]
fn whatever_happens_nothing_acknowledged_is_lost_hidden_or_made_up() {
    let first = number("CAIRN_SIM_FIRST").unwrap_or(1);
    let seeds = Seeds {
        first,
        end: first + number("CAIRN_SIM_SEEDS").unwrap_or(SEEDS),
        next: AtomicU64::new(first),
        failures: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..crate::runtime::cores() {
            scope.spawn(|| seeds.work());
        }
    });
    let failures = seeds.failures.into_inner();
    let failed: Vec<u64> = failures.into_iter().map(|(seed, _)| seed).collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// Would catch anything whose order no seed decides.
#[test]
fn a_seed_repeats_a_run_to_the_letter() {
    let once = |seed| {
        let said = run_apart(ONE, seed, None).unwrap();
        let line = said.lines().find(|line| line.starts_with("ran "));
        line.unwrap().to_owned()
    };
    let first = once(1);
    assert_eq!(once(1), first);
    assert_ne!(once(2), first);
}
