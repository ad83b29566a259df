//! What a source says that reads are made from, beside what it gives: under one name a range reads
//! the same for ever, whatever was written, deleted, shown again, sealed, merged or interrupted in
//! between. Answers are kept by these names.

use std::collections::HashMap;

use super::deletes::Deleting;
use super::seeds;
use super::world::{START, context, drain, tenant};
use crate::model::*;
use crate::runtime::Clock;
use crate::source::Selection;

const HOUR: i64 = 3_600_000;

/// Ranges of some hours, near the beginning of what is written and near now.
fn ranges(now: TimestampMs) -> Vec<TimeRange> {
    let range = |from: i64, hours: i64| {
        let from = from.div_euclid(HOUR) * HOUR;
        TimeRange::new(TimestampMs(from), TimestampMs(from + hours * HOUR - 1))
    };
    let mut all = vec![range(START - 24 * HOUR, 24), range(now.0 - 12 * HOUR, 6)];
    all.extend((1..6).map(|back| range(START - back * 2 * HOUR, 2)));
    all
}

/// Would catch a change of what is read that leaves its name as it was: a late sample, a block
/// more or less, a delete, an undo.
#[test]
fn what_is_read_under_one_name_is_the_same() {
    let mut again = 0;
    for seed in seeds(40..42) {
        println!("seed {seed}");
        let mut one = Deleting::new(seed);
        let mut known = HashMap::new();
        for step in 0..90 {
            one.any_step();
            let (source, now) = (one.world.member().source(), one.world.clock.now());
            for (owner, range) in [tenant(0), tenant(1)]
                .into_iter()
                .flat_map(|owner| ranges(now).into_iter().map(move |r| (owner.clone(), r)))
            {
                let before = source.contents(&owner, TimeRange::ALL).unwrap();
                let Some(name) = before.name(range) else {
                    continue;
                };
                let selection = Selection {
                    tenant: owner.clone(),
                    matchers: Vec::new(),
                    range,
                };
                let got = drain(source.select(&selection, &context()).unwrap().as_mut());
                // Nobody else does anything here.
                let after = source.contents(&owner, range).unwrap();
                assert!(before.has_stood_still(&after) && after.name(range) == Some(name));
                let key = (owner, range.start, range.end, name);
                match known.get(&key) {
                    None => drop(known.insert(key, got)),
                    Some(first) => {
                        again += 1;
                        assert!(*first == got, "step {step}, {range:?}: {first:?}\n{got:?}");
                    }
                }
            }
        }
    }
    assert!(again > 100, "{again} reads met a name again");
}
