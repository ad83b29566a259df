//! Reads over several nodes with real stores: whatever heads hold and whatever was sealed, a read
//! through any node has every acknowledged sample, or fails.

mod cost;
mod disturbed;
mod encoded;
mod folds;
mod names;
mod newest;
mod newest_of_all;
mod rig;
mod split;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use disturbed::Fault;
use rig::*;

use crate::cluster::control::Move;
use crate::cluster::peer::Method;
use crate::model::*;
use crate::runtime::{Cancelled, Chance, SeededChance};
use crate::source::{Source, SourceError};

const MINUTE: i64 = 60_000;

/// Would catch replicas that agree and are merged all the same, and any sample that goes missing
/// on its way through the wire.
#[test]
fn equal_heads_are_one_complete_view() {
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    let mut want = BTreeMap::new();
    for number in 0..60 {
        let labels = series(number);
        let samples: Vec<(i64, f64)> = (0..50i64)
            .map(|i| (START + i * 15_000, (number as i64 * i % 7) as f64))
            .collect();
        nodes.write(&[1, 2, 3], &labels, &samples);
        want.insert(labels, samples);
    }
    for number in 1..=4 {
        let node = nodes.node(number);
        let got = read(node.source.as_ref()).unwrap();
        assert_eq!(got.len(), want.len(), "through node {number}");
        for (labels, samples) in &want {
            assert_eq!(pairs(&got, labels), *samples);
        }
    }
    let mut states = 0;
    for node in &nodes.nodes {
        let asked = node.service.asked.lock();
        // One select for the outsider at most; no member asks for the head's leaves.
        assert!(
            asked.iter().filter(|m| **m == Method::Select).count() <= 1,
            "{asked:?}"
        );
        states += asked.iter().filter(|m| **m == Method::ReadState).count();
    }
    // A member asks one other, the outsider two; more only if one of them took its time.
    assert!((5..=8).contains(&states), "{states}");
    let empty = read_with(
        nodes.node(4).source.as_ref(),
        &crate::source::Selection {
            range: TimeRange::new(TimestampMs(0), TimestampMs(1000)),
            ..everything()
        },
        &context(),
    );
    assert!(empty.unwrap().is_empty());
}

/// A majority has each sample, another one each time; the third never hears of it.
#[test]
fn what_one_head_misses_comes_from_another() {
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    let labels = series(1);
    nodes.write(
        &[1, 2],
        &labels,
        &[(START, 1.0), (START + 20 * MINUTE, 4.0)],
    );
    nodes.write(&[2, 3], &labels, &[(START + MINUTE, 2.0)]);
    nodes.write(&[1, 3], &labels, &[(START + 2 * MINUTE, 3.0)]);
    nodes.write(&[3, 2], &series(2), &[(START, 5.0)]);
    for number in 1..=4 {
        let got = read(nodes.node(number).source.as_ref()).unwrap();
        let want = [
            (START, 1.0),
            (START + MINUTE, 2.0),
            (START + 2 * MINUTE, 3.0),
            (START + 20 * MINUTE, 4.0),
        ];
        assert_eq!(pairs(&got, &labels), want, "through node {number}");
        assert_eq!(pairs(&got, &series(2)), [(START, 5.0)]);
    }
}

/// Random writes to random majorities, seals by whoever, applied by some, members away: every
/// read has what was acknowledged, and nothing that nobody wrote.
#[test]
fn every_read_has_what_was_acknowledged() {
    let seeds = match std::env::var("CAIRN_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..4).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        println!("seed {seed}");
        let chance = SeededChance::new(seed);
        let mut nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
        let mut acknowledged = BTreeSet::new();
        let mut written = BTreeSet::new();
        for step in 0..40 {
            for _ in 0..chance.below(20) {
                let labels = series(chance.below(12));
                let at = START + i64::try_from(chance.below(24)).unwrap() * 20 * MINUTE;
                let mask = chance.below(7) + 1;
                let to: Vec<usize> = (1..=3).filter(|n| mask >> (n - 1) & 1 == 1).collect();
                nodes.write(&to, &labels, &[(at, 1.0 + (at / MINUTE % 97) as f64)]);
                written.insert((labels.clone(), at));
                if to.len() >= 2 {
                    acknowledged.insert((labels, at));
                }
            }
            let arc = arc_of(&series(chance.below(12)));
            let window = Window(Window::of(TimestampMs(START)).0 + chance.below(4) as i64);
            let mask = chance.below(8);
            let some: Vec<usize> = (1..=3).filter(|n| mask >> (n - 1) & 1 == 1).collect();
            match chance.below(3) {
                0 => {
                    let by = 1 + below(&chance, 3);
                    nodes.seal(by, arc, window, &some);
                }
                1 => some.iter().for_each(|number| nodes.apply(*number, arc)),
                _ => {}
            }
            if step % 4 != 3 {
                continue;
            }
            let away = 1 + below(&chance, 6);
            if away <= 3 {
                nodes.away(away);
            }
            for number in (1..=4).filter(|number| *number != away) {
                let got = read(nodes.node(number).source.as_ref()).unwrap();
                let got = all_of(&got);
                let missing: Vec<_> = acknowledged.difference(&got).collect();
                assert!(
                    missing.is_empty(),
                    "seed {seed} through {number}: {missing:?}"
                );
                assert!(got.is_subset(&written), "seed {seed} through {number}");
            }
            if away <= 3 {
                nodes.back(away);
            }
        }
    }
}

/// Between the states and the rest a block is committed, and what was in heads goes into it.
#[test]
fn a_seal_in_the_middle_of_a_read_hides_nothing() {
    // Which message meets the seal, and who applies it then.
    for (method, at, seals) in [
        (Method::Select, 2, vec![2]),
        (Method::Select, 3, vec![3]),
        (Method::Select, 2, vec![1, 2, 3]),
        (Method::ReadState, 2, vec![2]),
        (Method::ReadState, 3, vec![1, 2]),
    ] {
        for reader in [1, 4] {
            let mut nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
            let labels = series(1);
            let arc = arc_of(&labels);
            let window = Window::of(TimestampMs(START));
            nodes.write(&[1, 2], &labels, &[(START, 1.0)]);
            nodes.write(&[2, 3], &labels, &[(START + MINUTE, 2.0)]);
            nodes.write(&[1, 3], &labels, &[(START + 2 * MINUTE, 3.0)]);
            assert!(nodes.seal(2, arc, window, &[]));
            let stores: Vec<_> = seals
                .iter()
                .map(|n| Arc::clone(&nodes.node(*n).store))
                .collect();
            let catalog = nodes.catalog[&arc].clone();
            let hook = move || {
                stores
                    .iter()
                    .for_each(|store| apply(store, arc, Some(&catalog)))
            };
            *nodes.node(at).service.before.lock() = Some((method, Box::new(hook)));
            let got = read(nodes.node(reader).source.as_ref()).unwrap();
            let want = [
                (START, 1.0),
                (START + MINUTE, 2.0),
                (START + 2 * MINUTE, 3.0),
            ];
            assert_eq!(
                pairs(&got, &labels),
                want,
                "{method:?} at {at}, {seals:?}, through {reader}"
            );
        }
    }
}

/// During a move the newcomer's empty head must not stand in for the old set, nor the old set for
/// what only the new one acknowledged.
#[test]
fn a_move_needs_both_sets() {
    let moving = Move {
        join: Some(id(4)),
        leave: Some(id(1)),
    };
    let nodes = Nodes::new(5, &ring(&[1, 2, 3], 2, Some(moving)), &quick());
    let labels = series(1);
    nodes.write(&[1, 2], &labels, &[(START, 1.0)]);
    nodes.write(&[2, 3, 4], &labels, &[(START + MINUTE, 2.0)]);
    for number in 1..=5 {
        let got = read(nodes.node(number).source.as_ref()).unwrap();
        assert_eq!(pairs(&got, &labels), [(START, 1.0), (START + MINUTE, 2.0)]);
    }
    // 3 and 4 are a majority of the new set, and with 1 of the old one: 2 is not needed.
    nodes.away(2);
    let got = read(nodes.node(5).source.as_ref()).unwrap();
    assert_eq!(pairs(&got, &labels), [(START, 1.0), (START + MINUTE, 2.0)]);
    // 3 alone is no majority of the new set.
    nodes.away(4);
    assert!(matches!(
        read(nodes.node(5).source.as_ref()),
        Err(SourceError::Unavailable(_))
    ));
}

/// With too few members the read fails and says which partition and nodes; never half an answer.
#[test]
fn without_a_majority_the_read_fails_and_says_why() {
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    nodes.write(&[1, 2, 3], &series(1), &[(START, 1.0)]);
    nodes.away(2);
    assert_eq!(read(nodes.node(4).source.as_ref()).unwrap().len(), 1);
    nodes.away(3);
    for number in [1, 4] {
        let source = &nodes.node(number).source;
        let error = read(source.as_ref()).unwrap_err().to_string();
        for part in [
            "partition 0-4",
            "node-2",
            "node-3",
            "nothing listens",
            "13 more partitions",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let names = source.label_names(&everything(), 0, &context());
        assert!(
            matches!(names, Err(SourceError::Unavailable(_))),
            "{names:?}"
        );
    }
    nodes.back(3);
    assert_eq!(read(nodes.node(4).source.as_ref()).unwrap().len(), 1);
}

/// A reader whose ring is old gets no quorum under it, whoever answers; with the new ring it does.
#[test]
fn a_stale_reader_waits_for_its_ring() {
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    nodes.write(&[1, 2, 3], &series(1), &[(START, 1.0)]);
    let new = ring(&[1, 2, 3], 2, None);
    for number in 1..=3 {
        nodes.node(number).ring.0.store(Arc::new(new.clone()));
    }
    let stale = nodes.node(4);
    assert!(matches!(
        read(stale.source.as_ref()),
        Err(SourceError::Unavailable(_))
    ));
    // Its log brings the change while it waits.
    let (state, later) = (Arc::clone(&stale.ring), new.clone());
    nodes.runtime.spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        state.0.store(Arc::new(later));
    });
    assert_eq!(read(stale.source.as_ref()).unwrap().len(), 1);
    // The other way round: members that are behind are waited for.
    let newer = ring(&[1, 2, 3], 3, None);
    stale.ring.0.store(Arc::new(newer.clone()));
    let behind: Vec<_> = (1..=3).map(|n| Arc::clone(&nodes.node(n).ring)).collect();
    nodes.runtime.spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        behind
            .iter()
            .for_each(|ring| ring.0.store(Arc::new(newer.clone())));
    });
    assert_eq!(read(stale.source.as_ref()).unwrap().len(), 1);
}

/// Members that are silent, in whatever they are asked, delay a read and do not fail it.
#[test]
fn a_silent_member_is_left_for_another() {
    for method in [Method::ReadState, Method::Select] {
        for silent in 1..=3 {
            let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
            for number in 0..40 {
                nodes.write(&[1, 2, 3], &series(number), &[(START, 1.0)]);
            }
            *nodes.node(silent).service.fault.lock() = Fault::Silent(method);
            let got = read(nodes.node(4).source.as_ref()).unwrap();
            assert_eq!(got.len(), 40);
        }
    }
}

/// A member that stops in the middle of its data is left for another: every series comes once.
#[test]
fn data_that_break_off_come_from_elsewhere() {
    let mut met_both = 0;
    for fault in [
        Fault::StopsAfter(1),
        Fault::BreaksAfter(1),
        Fault::BreaksAfter(2),
        Fault::BreaksAfter(3),
    ] {
        let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
        let long: Vec<(i64, f64)> = (0..900i64).map(|i| (START + i * 1000, i as f64)).collect();
        for number in 0..60 {
            nodes.write(&[1, 2], &series(number), &long);
            nodes.write(&[2, 3], &series(number), &[(START + 1, 5.0)]);
            nodes.write(&[3], &series(number), &long);
        }
        for number in 1..=2 {
            *nodes.node(number).service.fault.lock() = fault;
        }
        let (source, context) = (&nodes.node(4).source, context());
        let mut stream = source.select(&everything(), &context).unwrap();
        // The first to break has been chosen; once it has given something both members behave.
        let mut got = BTreeMap::new();
        let mut samples = Samples::default();
        loop {
            match stream.next(&mut samples) {
                Ok(Some(labels)) => assert!(got.insert(labels, samples.clone()).is_none()),
                Ok(None) => break,
                // It met both before either had given anything, which is one too many: the reader
                // asks again.
                Err(SourceError::Unavailable(_)) if got.is_empty() => {
                    met_both += 1;
                    stream = source.select(&everything(), &context).unwrap();
                }
                Err(error) => panic!("{fault:?}: {error}"),
            }
            for number in 1..=2 {
                *nodes.node(number).service.fault.lock() = Fault::None;
            }
        }
        assert_eq!(got.len(), 60, "{fault:?}");
        assert!(got.values().all(|samples| samples.len() == 901));
    }
    assert!(met_both < 4, "nothing ever came from elsewhere");
}

/// When nobody else is left the read ends with an error, soon.
#[test]
fn data_that_break_off_are_an_error() {
    for fault in [
        Fault::StopsAfter(1),
        Fault::BreaksAfter(1),
        Fault::BreaksAfter(2),
    ] {
        let nodes = Nodes::new(4, &ring(&[1], 1, None), &quick());
        for number in 0..40 {
            nodes.write(&[1], &series(number), &[(START, 1.0)]);
        }
        *nodes.node(1).service.fault.lock() = fault;
        let error = read(nodes.node(4).source.as_ref()).unwrap_err();
        assert!(matches!(error, SourceError::Unavailable(_)), "{error}");
        assert!(error.to_string().contains("broke off"), "{error}");
    }
}

/// A query that is called off ends while its peers are silent.
#[test]
fn a_read_that_is_called_off_ends() {
    // Silence alone would end nothing for as long as the test may take.
    let patient = crate::cluster::read::ReadSettings {
        silence_max: Duration::from_secs(3600),
        ..quick()
    };
    let nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &patient);
    let context = context();
    for number in 1..=3 {
        let service = &nodes.node(number).service;
        *service.fault.lock() = Fault::Silent(Method::ReadState);
        let cancel = context.cancel.clone();
        let call_off = Box::new(move || cancel.cancel());
        *service.before.lock() = Some((Method::ReadState, call_off));
    }
    let result = read_with(nodes.node(4).source.as_ref(), &everything(), &context);
    assert!(
        matches!(result, Err(SourceError::Cancelled(Cancelled::Cancelled))),
        "{result:?}"
    );
}

/// Long series go in pieces, and the query's account is charged for what comes from peers.
#[test]
fn long_series_come_in_pieces_and_are_charged() {
    let nodes = Nodes::new(2, &ring(&[1], 1, None), &quick());
    let samples: Vec<(i64, f64)> = (0..100_000i64)
        .map(|i| (START + i * 1000, (i % 1000) as f64))
        .collect();
    nodes.write(&[1], &series(1), &samples);
    nodes.write(&[1], &series(2), &samples[..10]);
    let context = context();
    let got = read_with(nodes.node(2).source.as_ref(), &everything(), &context).unwrap();
    assert_eq!(pairs(&got, &series(1)), samples);
    assert_eq!(pairs(&got, &series(2)), samples[..10]);
    assert_eq!(context.budget.samples_read(), 100_010);
    let tight = crate::source::ReadContext {
        budget: crate::runtime::Budget::new(crate::runtime::BudgetLimits {
            memory_bytes: 1 << 30,
            samples: 50,
        }),
        ..context
    };
    let result = read_with(nodes.node(2).source.as_ref(), &everything(), &tight);
    assert!(matches!(result, Err(SourceError::Budget(_))));
}

/// More reads than a node takes are refused, and that is no empty answer.
#[test]
fn too_many_reads_of_peers_are_refused() {
    let settings = crate::cluster::read::ReadSettings {
        open_max: 1,
        ..quick()
    };
    let nodes = Nodes::new(2, &ring(&[1], 1, None), &settings);
    nodes.write(&[1], &series(1), &[(START, 1.0)]);
    let source = &nodes.node(2).source;
    // It says what it holds and waits until the rest is taken.
    *nodes.node(1).service.fault.lock() = Fault::StopsAfter(1);
    let held = source.select(&everything(), &context()).unwrap();
    *nodes.node(1).service.fault.lock() = Fault::None;
    let error = read(source.as_ref()).unwrap_err().to_string();
    assert!(error.contains("open here already"), "{error}");
    drop(held);
    assert_eq!(read(source.as_ref()).unwrap().len(), 1);
}
