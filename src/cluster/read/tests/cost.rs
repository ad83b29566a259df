//! What a read over several nodes costs beside one of a single store.

use std::time::Duration;

use super::rig::*;
use crate::model::*;
use crate::source::Source;

/// Not a test: how long a read takes on one store, through a member and through a node that holds
/// nothing, all replicas being equal. `cargo test --lib what_a_quorum_read_costs -- --ignored
/// --nocapture`, with CARGO_PROFILE_TEST_OPT_LEVEL=3.
#[test]
#[ignore = "it measures"]
fn what_a_quorum_read_costs() {
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    let samples: Vec<(i64, f64)> = (0..480i64)
        .map(|i| (START + i * 15_000, (i * 7919 % 1000) as f64))
        .collect();
    for number in 0..2000 {
        nodes.write(&[1, 2, 3], &series(number), &samples);
    }
    let one = |value: &str| crate::source::Selection {
        matchers: vec![Matcher::new("instance", MatchOp::Equal, value).unwrap()],
        ..everything()
    };
    let few = crate::source::Selection {
        matchers: vec![Matcher::new("__name__", MatchOp::Regex, "metric_1.").unwrap()],
        ..everything()
    };
    let none = one("nobody");
    for (what, selection) in [
        ("all 2000", everything()),
        ("400", one("host-1")),
        ("10", few),
        ("none", none),
    ] {
        let measure = |source: &dyn Source| {
            let mut best = Duration::MAX;
            for _ in 0..3 {
                let watch = Watch::start();
                let mut stream = source.select(&selection, &context()).unwrap();
                let mut samples = Samples::default();
                while stream.next(&mut samples).unwrap().is_some() {}
                best = best.min(watch.elapsed());
            }
            best
        };
        let local = measure(nodes.node(1).store.as_ref());
        let member = measure(nodes.node(1).source.as_ref());
        let outside = measure(nodes.node(4).source.as_ref());
        println!(
            "{what} series of 480 samples: store {local:?}, member {member:?}, outside {outside:?}"
        );
    }
}
