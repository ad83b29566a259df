//! Rules marked ▲ taken away: for each a course of events that harms nobody while the rule holds, and
//! that the world notices when it does not. The proof that the simulation sees, rule by rule.
//!
//! `quorums.rs`: who counts for a write or a read; `moves.rs`: what a move hands on; `seals.rs`: what
//! may enter the catalog; `disks.rs`: who a node is; `deletes.rs`: when a delete is over.

mod deletes;
mod disks;
mod moves;
mod quorums;
mod seals;

use super::apart::{run_apart, seed_of_this_process};
use crate::runtime::{Rule, simulate};

/// Runs a course here, if this process is one for it; else in such processes, with the rule and
/// without it. Without it an invariant must break with these words.
fn weigh<F: Future<Output = ()>>(
    test: (&str, &str),
    rule: Rule,
    breaks: &str,
    course: impl FnOnce(u64) -> F + Send + 'static,
) {
    weigh_at(1, test, rule, breaks, course);
}

/// The same with a seed of which it is known that things come in the order that does harm.
fn weigh_at<F: Future<Output = ()>>(
    seed: u64,
    (file, name): (&str, &str),
    rule: Rule,
    breaks: &str,
    course: impl FnOnce(u64) -> F + Send + 'static,
) {
    if let Some(seed) = seed_of_this_process() {
        return simulate(seed, move || course(seed));
    }
    let name = format!("without::{file}::{name}");
    if let Err(reason) = run_apart(&format!("cluster::sim::{name}"), seed, None) {
        panic!("{rule:?} holds, and yet:\n{reason}");
    }
    is_noticed(&name, seed, rule, breaks);
}

/// Without a rule a scenario fails, and an invariant breaks with these words.
fn is_noticed(name: &str, seed: u64, rule: Rule, breaks: &str) {
    let name = format!("cluster::sim::{name}");
    match run_apart(&name, seed, Some(rule)) {
        Ok(said) => panic!("without {rule:?} nothing is noticed:\n{said}"),
        Err(noticed) => assert!(
            noticed.contains(breaks),
            "without {rule:?} something else is noticed:\n{noticed}"
        ),
    }
}

/// What is said of an acknowledged sample that nobody who counts has any more.
const LOST: &str = "was acknowledged, is in no block";
/// What is said of one that a reader does not see.
const HIDDEN: &str = "was acknowledged; so are";
/// What is said of one that was deleted and is not gone.
const AGAIN: &str = "was deleted for good and is there again";
/// What is said of a block that nobody has.
const NOWHERE: &str = "is in the catalog and nowhere else";
