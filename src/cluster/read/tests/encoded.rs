//! What is compared of heads first: series as they stand encoded.

use super::rig::*;
use crate::cluster::peer::Method;
use crate::model::*;

const MINUTE: i64 = 60_000;

/// The same samples that came in another order are the same: would catch a reader that takes other
/// bytes for other samples and fetches them, or equal bytes for what they are not.
#[test]
fn samples_that_stand_encoded_otherwise_are_equal() {
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    let labels = series(1);
    let samples = [
        (START, 1.0),
        (START + MINUTE, 2.5),
        (START + 2 * MINUTE, 3.0),
    ];
    let mut turned = samples;
    turned.swap(0, 2);
    nodes.write(&[1, 3], &labels, &samples);
    for one in turned {
        nodes.write(&[2], &labels, &[one]);
    }
    for number in 1..=4 {
        let got = read(nodes.node(number).source.as_ref()).unwrap();
        assert_eq!(pairs(&got, &labels), samples, "through node {number}");
    }
    let selects = |number: usize| {
        let asked = nodes.node(number).service.asked.lock();
        asked.iter().filter(|m| **m == Method::Select).count()
    };
    // Nobody fetched anything: only the outsider reads data of others.
    assert!((1..=3).map(selects).sum::<usize>() <= 3);
    // One sample more in one of three heads is found, in the same slot and after it.
    for (to, at, value) in [(3, START + 15_000, 7.0), (2, START + 100 * MINUTE, 8.0)] {
        nodes.write(&[to, 1], &labels, &[(at, value)]);
        for number in 1..=4 {
            let got = read(nodes.node(number).source.as_ref()).unwrap();
            let found = pairs(&got, &labels);
            assert!(
                found.contains(&(at, value)),
                "through node {number}: {found:?}"
            );
        }
    }
}

/// Sums over encoded series tell apart what is not the same, and say the same of what is.
#[test]
fn sums_over_encoded_series_are_those_of_their_samples() {
    let nodes = Nodes::new(3, &ring(&[1, 2, 3], 1, None), &quick());
    let arcs: Vec<RingArc> = RingArc::all(FOUNDING_DEPTH).collect();
    let sums = |number: usize| {
        let pinned = nodes.node(number).store.pin(&arcs);
        pinned.encoded_sums(&everything(), &context()).unwrap()
    };
    let samples: Vec<(i64, f64)> = (0..300i64)
        .map(|i| (START + i * 15_000, (i * 7919 % 13) as f64))
        .collect();
    for number in 0..40 {
        nodes.write(&[1], &series(number), &samples);
        // The other has them in many requests.
        for some in samples.chunks(7) {
            nodes.write(&[2, 3], &series(number), some);
        }
    }
    assert_eq!(sums(1), sums(2));
    assert!(!sums(1).is_empty());
    let arc = arc_of(&series(3));
    let mut checked = 0;
    for (at, value) in [
        (START + 300 * 15_000, 1.0),
        (START + 7, 2.0),
        (START + WINDOW_MS, 1.0),
        (START - 1, 5.0),
    ] {
        let before = sums(1);
        nodes.write(&[1], &series(3), &[(at, value)]);
        let after = sums(1);
        assert_ne!(before[&arc], after[&arc], "{at}");
        let others = |all: &crate::store::EncodedSums| {
            let mut all = all.clone();
            all.remove(&arc);
            all
        };
        assert_eq!(others(&before), others(&after));
        nodes.write(&[2], &series(3), &[(at, value)]);
        // What came in the same order, late ones among it, is the same again.
        assert_eq!(sums(1), sums(2), "{at}");
        checked += 1;
    }
    assert_eq!(checked, 4);
    // One value for another, at the same time.
    nodes.write(&[1], &series(50), &[(START, 1.0)]);
    nodes.write(&[2], &series(50), &[(START, 1.5)]);
    assert_ne!(sums(1), sums(2));
    assert_ne!(sums(1), sums(3));
}
