//! What is asked again and again while samples and series come and go.

use std::collections::{BTreeMap, BTreeSet};

use super::newest::seal;
use super::rig::Key;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A sample of a series, which may be a new one.
    Write(u64, i64),
    /// A window is sealed and leaves the head.
    Seal(Window),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = (0i64..3, 0i64..4).prop_map(|(window, slot)| window * WINDOW_MS + slot * 15_000);
    let write = (0u64..8, at).prop_map(|(number, at)| Step::Write(number, at));
    let seal = (0i64..3).prop_map(|window| Step::Seal(Window(window)));
    proptest::collection::vec(prop_oneof![3 => write, 1 => seal], 1..24)
}

/// What was written of a range.
fn written(all: &BTreeMap<Key, BTreeSet<i64>>, range: TimeRange) -> BTreeMap<Key, Vec<i64>> {
    let of = |(key, times): (&Key, &BTreeSet<i64>)| {
        let times: Vec<i64> = times.range(range.start.0..=range.end.0).copied().collect();
        (!times.is_empty()).then(|| (key.clone(), times))
    };
    all.iter().filter_map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Would catch series that are taken from an answer that was kept although others came, or their numbers went to others,
    /// or that are left out because the head had nothing of them in the range when the answer was kept.
    #[test]
    fn an_answer_is_kept_no_longer_than_it_is_right(steps in steps()) {
        let node = Node::new(19);
        let (mut catalogs, mut all) = (BTreeMap::new(), BTreeMap::<Key, BTreeSet<i64>>::new());
        let one = Window(1).range();
        for step in steps {
            match step {
                Step::Write(number, at) => {
                    let key = series(number);
                    node.write(&[float(&key, at, 1.0)]);
                    all.entry(key).or_default().insert(at);
                }
                Step::Seal(window) => {
                    for arc in RingArc::all(FOUNDING_DEPTH) {
                        seal(&node, arc, window, catalogs.entry(arc).or_default());
                    }
                }
            }
            // The second time it is kept, the third time taken.
            for range in [TimeRange::ALL, TimeRange::ALL, TimeRange::ALL, one, one, one] {
                let found = read_all(&node.store, range);
                let found = found.into_iter().filter(|(_, samples)| !samples.timestamps.is_empty());
                let found: BTreeMap<Key, Vec<i64>> = found.map(|(key, samples)| (key, samples.timestamps)).collect();
                prop_assert_eq!(found, written(&all, range));
            }
        }
    }
}

/// Would catch an answer that is never kept.
#[test]
fn who_asks_again_is_answered_from_what_is_kept() {
    let node = Node::new(20);
    node.write(&[float(&series(1), 1000, 1.0), float(&series(3), 1000, 1.0)]);
    let mut kept = Vec::new();
    for _ in 0..3 {
        assert_eq!(read_all(&node.store, TimeRange::ALL).len(), 2);
        kept.push(node.store.decoded.bytes());
    }
    assert!(kept[0] < kept[1] && kept[1] == kept[2], "{kept:?}");
}
