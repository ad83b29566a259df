//! What has no samples, numbers, and answers that may lack something.

use super::rig::*;
use crate::source::{Partial, ReadContext, Source};

/// Each series is counted once, whoever is asked and whoever is away.
#[test]
fn series_are_counted_once() {
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    for number in 0..30 {
        nodes.write(&[1, 2, 3], &series(number), &[(START, 1.0)]);
    }
    for away in [0, 1, 3] {
        if away > 0 {
            nodes.away(away);
        }
        for number in (1..=4).filter(|number| *number != away) {
            let source = &nodes.node(number).source;
            let found = source.label_pairs(&tenant(), &context()).unwrap();
            assert_eq!(found.series, 30, "through {number} without {away}");
            let of = |name: &str, value: &str| found.pairs[&(name.into(), value.into())];
            assert_eq!((of("instance", "host-1"), of("job", "node")), (6, 30));
            assert_eq!(found.pairs.len(), 36);
        }
        if away > 0 {
            nodes.back(away);
        }
    }
}

/// Names are those of a majority, whoever has them.
#[test]
fn names_are_united_over_a_majority() {
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    let mut want = Vec::new();
    for number in 0..30 {
        let to = [[1, 2], [2, 3], [1, 3]][usize::try_from(number).unwrap() % 3];
        nodes.write(&to, &series(number), &[(START, 1.0)]);
        want.push(series(number));
    }
    want.sort_unstable();
    for away in [0, 1, 2, 3] {
        if away > 0 {
            nodes.away(away);
        }
        for number in (1..=4).filter(|number| *number != away) {
            let source = &nodes.node(number).source;
            let all = everything();
            assert_eq!(source.series(&all, 0, &context()).unwrap(), want);
            assert_eq!(source.series(&all, 4, &context()).unwrap(), want[..4]);
            let names = source.label_names(&all, 0, &context()).unwrap();
            assert_eq!(names, ["__name__", "instance", "job"]);
            let values = source
                .label_values("__name__", &all, 0, &context())
                .unwrap();
            assert_eq!(values.len(), 30);
            assert!(
                source
                    .metadata(&tenant(), None, &context())
                    .unwrap()
                    .is_empty()
            );
            assert!(source.exemplars(&all, &context()).unwrap().is_empty());
            // One member's numbers: it has heard of two thirds of the series at least.
            let found = source.label_pairs(&tenant(), &context()).unwrap();
            assert!((20..=30).contains(&found.series), "{}", found.series);
        }
        if away > 0 {
            nodes.back(away);
        }
    }
}

/// Whoever asks for it gets what there is, and is told which partitions and nodes it may lack;
/// a whole answer carries no such warning.
#[test]
fn a_partial_answer_says_what_it_may_lack() {
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    nodes.write(&[1, 2, 3], &series(1), &[(START, 1.0)]);
    nodes.write(&[2, 3], &series(2), &[(START, 2.0)]);
    let select = |number: usize, (context, partial): (ReadContext, Partial)| {
        let source = nodes.node(number).source.as_ref();
        let got = read_with(source, &everything(), &context);
        (got, partial.noted())
    };
    let names = |number: usize, (context, partial): (ReadContext, Partial)| {
        let source = &nodes.node(number).source;
        let got = source.series(&everything(), 0, &context).unwrap();
        (got.len(), partial.noted())
    };
    let (got, lacks) = select(4, partial_context());
    assert_eq!((got.unwrap().len(), lacks), (2, Vec::new()));
    assert_eq!(names(4, partial_context()), (2, Vec::new()));
    nodes.away(2);
    nodes.away(3);
    for number in [1, 4] {
        let (got, lacks) = select(number, partial_context());
        // What only those have who are away is lacking, and is said to be.
        assert_eq!(got.unwrap().len(), 1, "through {number}");
        let (found, named) = names(number, partial_context());
        assert_eq!(found, 1);
        for text in [&lacks[0], &named[0]] {
            for part in ["may lack", "partition 0-4", "node-2", "node-3", "13 more"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }
    nodes.away(1);
    let (got, lacks) = select(4, partial_context());
    assert_eq!((got.unwrap().len(), lacks.len()), (0, 1), "{lacks:?}");
}
