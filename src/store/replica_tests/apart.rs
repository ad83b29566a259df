//! Reads in several streams.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::newest::seal;
use super::rig::series;
use super::*;
use crate::source::{Moments, Selection, SeriesStream, Source};

pub(super) fn drained(streams: Vec<Box<dyn SeriesStream>>) -> Vec<(LabelSet, Samples)> {
    let (mut all, mut samples) = (Vec::new(), Samples::default());
    for mut stream in streams {
        while let Some(labels) = stream.next(&mut samples).unwrap() {
            all.push((labels, samples.clone()));
        }
    }
    all
}

/// Would catch a series that is lost where a selection is divided, or comes twice, and sums that depend on how
/// many threads there were.
#[test]
fn several_streams_give_what_one_gives_in_its_order() {
    let strategy = (writes(), writes(), 0u8..8, 0u64..1000, 1usize..20);
    let most = Cell::new(0);
    proptest!(ProptestConfig::with_cases(12), |((first, second, some, least, count) in strategy)| {
        let node = Node::new(11);
        node.write(&first);
        for (number, arc) in RingArc::all(FOUNDING_DEPTH).enumerate() {
            let mut blocks = BTreeMap::new();
            for window in rig::windows() {
                if (number + usize::try_from(window.0 + 1).unwrap()) % 8 >= usize::from(some) {
                    seal(&node, arc, window, &mut blocks);
                }
            }
        }
        node.write(&second);
        let moments = Moments { first: TimestampMs(0), step_ms: WINDOW_MS / 7, count };
        for moments in [None, Some(moments)] {
            let selection = Selection {
                tenant: series(0).0,
                matchers: Vec::new(),
                range: TimeRange::new(TimestampMs(-WINDOW_MS), TimestampMs(2 * WINDOW_MS)),
            };
            let context = rig::context();
            let one = match moments {
                Some(moments) => node.store.select_newest(&selection, moments, &context),
                None => node.store.select(&selection, &context),
            };
            let view = node.store.read_view(selection.range).unwrap();
            let several = view.select_apart(&selection, moments, least, &context).unwrap();
            most.set(most.get().max(several.len()));
            let one = drained(vec![one.unwrap()]);
            let several = drained(several);
            let names = |all: &[(LabelSet, Samples)]| all.iter().map(|one| one.0.to_string()).collect::<Vec<_>>();
            prop_assert_eq!(names(&several), names(&one));
            prop_assert!(several == one, "{several:?} {one:?}");
        }
    });
    assert!(most.get() > 2, "at most {} streams", most.get());
}
