//! Several stores of one cluster in one process: what replicas compare, exchange and apply.

mod apart;
mod elsewhere;
mod newest;
mod remembered;
mod rig;
mod split;
mod warming;

use proptest::prelude::*;
use rig::{Node, Write, arc_of, float, read_all, series, writes};

use super::*;
use crate::codec::page::Density;
use crate::model::*;
use crate::runtime::CancelToken;

/// The tree by its definition: every shown sample of the head, once.
fn slow_tree(node: &Node, arc: RingArc, window: Window) -> DigestTree {
    let hasher = ContentHasher::new(rig::CLUSTER);
    let mut tree = DigestTree::default();
    for (key, samples) in read_all(&node.store.pin(&[arc]), window.range()) {
        let fingerprint = fingerprint(&key.0, &key.1);
        for (at, value, start) in samples.iter() {
            let slot = window.offset_of(at).unwrap() / 600_000;
            tree.add(
                u8::try_from(slot).unwrap(),
                arc.sub_arc(fingerprint),
                hasher.sample(fingerprint, at, &value, start),
            );
        }
    }
    tree
}

fn check_trees(node: &Node) {
    let arcs: Vec<RingArc> = RingArc::all(FOUNDING_DEPTH).collect();
    let pinned = node.store.pin(&arcs);
    for arc in arcs {
        for (window, tree) in pinned.trees(arc, TimeRange::ALL) {
            let mut want = slow_tree(node, arc, window);
            want.add_metadata(tree.metadata().0);
            assert_eq!(tree, want, "{arc} {window:?}");
        }
    }
}

/// Catches trees that depend on order, layout, repeats, or on when they were asked for first.
#[test]
fn trees_are_those_of_what_is_shown_however_it_came() {
    let strategy = (
        proptest::collection::vec((writes(), 0u8..8), 1..12),
        any::<u64>(),
    );
    proptest!(ProptestConfig::with_cases(32), |((batches, seed) in strategy)| {
        let (one, mut other) = (Node::new(seed), Node::new(!seed));
        for (batch, event) in &batches {
            one.write(batch);
            match event {
                0 => drop(one.store.cut(arc_of(&batch[0].0), Window::of(TimestampMs(batch[0].1)).range()).unwrap()),
                1..4 => check_trees(&one),
                _ => {}
            }
        }
        check_trees(&one);
        for (batch, event) in batches.iter().rev() {
            let mut batch = batch.clone();
            batch.reverse();
            other.write(&batch);
            match event {
                0 => other.restart(),
                7 => check_trees(&other),
                _ => {}
            }
        }
        check_trees(&other);
        for arc in RingArc::all(FOUNDING_DEPTH) {
            let trees = |node: &Node| node.store.pin(&[arc]).trees(arc, TimeRange::ALL);
            prop_assert_eq!(trees(&one), trees(&other));
        }
    });
}

/// Catches a tree that remembers what the late buffer added before a sample of the same time came
/// to a chunk.
#[test]
fn a_live_sample_of_a_late_ones_time_is_counted_once() {
    let key = series(1);
    for (late, live) in [(1.0, 2.0), (2.0, 1.0), (2.0, 2.0)] {
        for begun in [false, true] {
            let node = Node::new(1);
            if begun {
                node.write(&[float(&key, 0, 1.0)]);
                check_trees(&node);
            }
            node.write(&[(key.clone(), 1000, Value::Float(late), 5)]);
            check_trees(&node);
            node.write(&[float(&key, 1000, live)]);
            check_trees(&node);
            node.write(&[float(&key, 2000, live)]);
            check_trees(&node);
        }
    }
}

/// Catches a pull or an absorb that leaves something out, or brings what was not asked for.
#[test]
fn pulled_and_absorbed_content_makes_two_stores_equal() {
    let strategy = (writes(), writes(), writes());
    proptest!(ProptestConfig::with_cases(32), |((both, first, second) in strategy)| {
        let nodes = [Node::new(1), Node::new(2)];
        for (node, own) in nodes.iter().zip([&first, &second]) {
            node.write(&both);
            node.write(own);
            for write in own.iter().take(3) {
                node.metadata(&write.0.0, &format!("family_{}", write.1 % 5), "help");
            }
        }
        let arcs: Vec<RingArc> = RingArc::all(FOUNDING_DEPTH).collect();
        for arc in &arcs {
            for window in rig::windows() {
                let cuts = [0, 1].map(|at: usize| nodes[at].store.cut(*arc, window.range()).unwrap());
                let differing = cuts[0].tree().differing(&cuts[1].tree());
                for (from, to) in [(1, 0), (0, 1)] {
                    let content = cuts[from].pull(differing).map(Ok::<_, Error>);
                    nodes[to].store.absorb(content).unwrap();
                }
                let trees = [0, 1].map(|at: usize| nodes[at].store.cut(*arc, window.range()).unwrap().tree());
                prop_assert_eq!(&trees[0], &trees[1]);
                prop_assert!(differing.is_empty() || !trees[0].is_empty());
            }
        }
        let read = |node: &Node| read_all(&node.store.pin(&arcs), TimeRange::ALL);
        prop_assert_eq!(read(&nodes[0]), read(&nodes[1]));
    });
}

/// A day's slots are its windows, in trees and in pulls.
#[test]
fn a_cut_of_a_day_has_a_slot_for_each_window() {
    let nodes = [Node::new(1), Node::new(2)];
    let day = Window(0).range().start;
    let range = TimeRange::new(day, day.plus_ms(86_400_000 - 1));
    let key = series(1);
    let late: Vec<Write> = (0..12)
        .map(|window| float(&key, window * WINDOW_MS + 5, window as f64))
        .collect();
    nodes[0].write(&late);
    nodes[1].write(&late[..11]);
    let arc = arc_of(&key);
    let cuts = [0, 1].map(|at: usize| nodes[at].store.cut(arc, range).unwrap());
    let differing = cuts[0].tree().differing(&cuts[1].tree());
    let mut want = Leaves::default();
    want.insert(11, arc.sub_arc(fingerprint(&key.0, &key.1)));
    assert_eq!(differing, want);
    let pulled: Vec<Pulled> = cuts[0].pull(differing).collect();
    let [Pulled::Series(one)] = pulled.as_slice() else {
        panic!("{pulled:?}");
    };
    assert_eq!(one.samples.timestamps, [11 * WINDOW_MS + 5]);
}

/// Catches a replica that drops what a foreign block does not hold, or keeps what it does.
#[test]
fn applying_a_foreign_block_leaves_exactly_the_rest() {
    let strategy = (writes(), writes(), writes());
    proptest!(ProptestConfig::with_cases(24), |((both, first, second) in strategy)| {
        let (sealer, equal, less, more) = (Node::new(1), Node::new(2), Node::new(3), Node::new(4));
        for node in [&sealer, &equal, &more] {
            node.write(&both);
            node.write(&first);
        }
        less.write(&first);
        more.write(&second);
        let arc = arc_of(&both[0].0);
        let mut catalog = std::collections::BTreeMap::new();
        let mut version = 0;
        for window in rig::windows() {
            let cut = sealer.store.cut(arc, window.range()).unwrap();
            let order = BuildOrder { arc, range: window.range(), round: 0, pages: Density::Quick };
            let Some(entry) = sealer.store.build(&cut, &order, &CancelToken::new()).unwrap() else {
                continue;
            };
            version += 1;
            for node in [&equal, &less, &more] {
                node.fetch(&entry, &sealer);
            }
            let id = entry.id;
            catalog.insert(id, entry);
            let named = Catalog { version, blocks: &catalog };
            sealer.store.apply(arc, &named, Some((cut, id))).unwrap();
            for node in [&equal, &less, &more] {
                node.store.apply(arc, &named, None).unwrap();
            }
        }
        for node in [&sealer, &equal, &less] {
            prop_assert!(node.store.head_is_empty(arc), "{:?}", node.store.held());
        }
        let all = |node: &Node| read_all(&node.store.pin(&[arc]), TimeRange::ALL);
        prop_assert_eq!(all(&equal), all(&sealer));
        prop_assert_eq!(all(&less), all(&sealer));
        // What only one had is still its own, and only that is in its head.
        let want = Node::new(9);
        want.write(&both);
        want.write(&first);
        let before = all(&want);
        want.write(&second);
        prop_assert_eq!(all(&more), all(&want));
        let mut rest = all(&want);
        for (key, samples) in &mut rest {
            let held = before.get(key).cloned().unwrap_or_default();
            let mut left = Samples::default();
            for (at, value, start) in samples.iter() {
                let found = held.timestamps.binary_search(&at.0).ok().and_then(|at| held.get(at));
                if !found.is_some_and(|(_, other, began)| settle((&value, start), (&other, began)).is_eq()) {
                    left.push(at, value, start);
                }
            }
            *samples = left;
        }
        rest.retain(|_, samples| !samples.is_empty());
        let cuts = rig::windows().map(|window| more.store.cut(arc, window.range()).unwrap());
        let mut in_head = std::collections::BTreeMap::<_, Samples>::new();
        for one in cuts.flat_map(|cut| cut.pull(Leaves::ALL).collect::<Vec<_>>()) {
            if let Pulled::Series(one) = one {
                in_head.entry((one.tenant, one.labels)).or_default().merge(&one.samples);
            }
        }
        prop_assert_eq!(in_head, rest);
    });
}

/// Catches staged files that are not what they are taken for.
#[test]
fn files_are_received_whole_or_not_at_all() {
    let (sealer, mut node) = (Node::new(1), Node::new(2));
    let key = series(3);
    let arc = arc_of(&key);
    sealer.write(&[float(&key, 7, 1.0)]);
    let entry = sealer.build(arc, Window(0)).unwrap();
    let bytes = sealer.bytes(&entry);
    let half = bytes.len() / 2;
    let mut receiving = node.store.receive(&entry).unwrap().unwrap();
    assert!(node.store.receive(&entry).is_err(), "two at once");
    receiving.write(&bytes[..half]).unwrap();
    assert!(receiving.finish().is_err(), "not complete");
    assert!(!node.store.is_staged(entry.id));
    node.restart();
    let mut receiving = node.store.receive(&entry).unwrap().unwrap();
    assert_eq!(receiving.offset(), half as u64);
    receiving.write(&bytes[half..]).unwrap();
    assert!(receiving.write(&[0]).is_err(), "too long");
    receiving.finish().unwrap();
    node.restart();
    assert!(node.store.is_staged(entry.id));
    assert!(node.store.receive(&entry).unwrap().is_none());
    assert_eq!(node.bytes(&entry), bytes);
    let info = &node.store.staged_files().unwrap()[0];
    let properties = info.properties.as_ref().unwrap();
    assert_eq!(
        (info.id, properties.arc, properties.round),
        (entry.id, arc, 0)
    );
    node.store.sweep_staged(|info| info.id == entry.id).unwrap();
    assert!(node.store.is_staged(entry.id));
    let mut blocks = std::collections::BTreeMap::new();
    blocks.insert(entry.id, entry.clone());
    let catalog = Catalog {
        version: 1,
        blocks: &blocks,
    };
    assert_eq!(node.store.missing(arc, &catalog).unwrap(), []);
    node.store.apply(arc, &catalog, None).unwrap();
    assert!(!node.store.is_staged(entry.id));
    assert_eq!(node.bytes(&entry), bytes, "the applied file is the same");
    assert_eq!(node.store.missing(arc, &catalog).unwrap(), []);
    node.store.sweep_staged(|_| false).unwrap();

    let wrong = BlockEntry {
        id: BlockId(5),
        ..entry
    };
    let mut torn = bytes.clone();
    torn[half] ^= 1;
    let mut receiving = node.store.receive(&wrong).unwrap().unwrap();
    receiving.write(&torn).unwrap();
    let error = receiving.finish().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
    assert_eq!(node.store.staged_files().unwrap(), []);
    assert_eq!(node.store.read_file(wrong.id, 0, 10).unwrap(), None);
    let mut receiving = node.store.receive(&wrong).unwrap().unwrap();
    receiving.write(&bytes[..9]).unwrap();
    node.store.sweep_staged(|_| false).unwrap();
    assert_eq!(
        node.store.staged_files().unwrap().len(),
        1,
        "being received"
    );
    drop(receiving);
    node.store.sweep_staged(|_| false).unwrap();
    assert_eq!(node.store.staged_files().unwrap(), []);
}

/// Catches content that comes back after a partition was forgotten, and readers that lose theirs.
#[test]
fn a_forgotten_partition_is_gone_but_for_its_readers() {
    for die_at in 1..=4 {
        let mut node = Node::new(die_at);
        let (mine, other) = (series(1), series(2));
        assert_ne!(arc_of(&mine), arc_of(&other));
        let arc = arc_of(&mine);
        node.write(&[float(&mine, 1, 1.0), float(&other, 1, 2.0)]);
        let entry = node.build(arc, Window(0)).unwrap();
        let mut blocks = std::collections::BTreeMap::new();
        blocks.insert(entry.id, entry.clone());
        let catalog = Catalog {
            version: 1,
            blocks: &blocks,
        };
        node.store.apply(arc, &catalog, None).unwrap();
        node.write(&[float(&mine, 2, 1.0), float(&mine, 1 + WINDOW_MS, 3.0)]);
        node.metadata(&mine.0, "family", "help");
        let arcs: Vec<RingArc> = RingArc::all(FOUNDING_DEPTH).collect();
        let pinned = node.store.pin(&arcs);
        let before = read_all(&pinned, TimeRange::ALL);
        node.store.faults.die_at(i64::try_from(die_at).unwrap());
        let died = node.store.forget_arc(arc).is_err();
        assert_eq!(died, die_at < 4);
        node.store.faults.die_at(0);
        assert_eq!(
            read_all(&pinned, TimeRange::ALL),
            before,
            "who reads it reads on"
        );
        drop(pinned);
        if died {
            node.restart();
            node.store.forget_arc(arc).unwrap();
        }
        node.store.drop_retired().unwrap();
        node.store.sweep(&|_| false).unwrap();
        for again in [false, true] {
            if again {
                node.restart();
            }
            assert!(node.store.head_is_empty(arc));
            assert_eq!(node.store.applied_version(arc), 0);
            assert_eq!(read_all(&node.store.pin(&[arc]), TimeRange::ALL).len(), 0);
            assert_eq!(read_all(&node.store.pin(&arcs), TimeRange::ALL).len(), 1);
            assert!(!node.store.has_file(entry.id).unwrap());
        }
        // It may come back.
        node.write(&[float(&mine, 9, 9.0)]);
        assert_eq!(read_all(&node.store.pin(&[arc]), TimeRange::ALL).len(), 1);
    }
}

/// Catches a raw read that brings what was not asked for, or leaves out what was.
#[test]
fn heads_are_read_by_leaves() {
    proptest!(ProptestConfig::with_cases(32), |(
        writes in writes(), slots in any::<[u16; 12]>(), from in -WINDOW_MS..WINDOW_MS
    )| {
        let node = Node::new(1);
        node.write(&writes);
        let arc = arc_of(&writes[0].0);
        let arcs: Vec<RingArc> = RingArc::all(FOUNDING_DEPTH).collect();
        let pinned = node.store.pin(&arcs).only(&[arc]);
        let leaves = Leaves::new(slots, false);
        let range = TimeRange::new(TimestampMs(from), TimestampMs(from + WINDOW_MS));
        let of_windows = rig::windows().take(3).map(|window| (window, leaves)).collect();
        let of_arcs = std::collections::BTreeMap::from([(arc, of_windows)]);
        let got = rig::read_with(range, |selection| {
            pinned.select_heads(Some(&of_arcs), selection, &rig::context()).unwrap()
        });
        let mut want = read_all(&pinned, range);
        for (key, samples) in &mut want {
            let sub_arc = arc.sub_arc(fingerprint(&key.0, &key.1));
            let mut left = Samples::default();
            for (at, value, start) in samples.iter() {
                let window = Window::of(at);
                let slot = window.offset_of(at).unwrap() / 600_000;
                let asked = leaves.contains(u8::try_from(slot).unwrap(), sub_arc);
                if asked && window < Window(2) {
                    left.push(at, value, start);
                }
            }
            *samples = left;
        }
        want.retain(|_, samples| !samples.is_empty());
        prop_assert_eq!(got, want);
    });
}

/// Catches deadlocks between appends, trees, cuts and applying, and samples that a tree kept
/// meanwhile counts twice or not at all.
#[test]
fn trees_are_right_after_appends_from_all_sides() {
    let node = std::sync::Arc::new(Node::new(5));
    let arcs: Vec<RingArc> = RingArc::all(FOUNDING_DEPTH).collect();
    let mut threads = Vec::new();
    // A panic in a thread would only be logged.
    let (done, ended) = std::sync::mpsc::channel();
    for writer in 0..2i64 {
        let (node, done) = (std::sync::Arc::clone(&node), done.clone());
        let work = move || {
            for round in 0..60i64 {
                let late = if round % 7 == 0 { 40 } else { 0 };
                let writes: Vec<Write> = (0..40)
                    .map(|number| {
                        let key = series(number % 20);
                        let at = (round - late).abs() * 15_000 + (number as i64 / 20);
                        float(&key, at, (writer * round % 3) as f64)
                    })
                    .collect();
                node.write(&writes);
            }
            done.send(()).unwrap();
        };
        threads.push(crate::runtime::NamedThread::spawn("writer", work).unwrap());
    }
    for reader in 0..2 {
        let (node, arcs, done) = (std::sync::Arc::clone(&node), arcs.clone(), done.clone());
        let work = move || {
            for round in 0..60 {
                let arc = arcs[(round * 7 + reader) % arcs.len()];
                let pinned = node.store.pin(&arcs);
                let _ = pinned.trees(arc, TimeRange::ALL);
                if round % 5 == reader {
                    let cut = node.store.cut(arc, Window(0).range()).unwrap();
                    let before = cut.tree();
                    let content = cut.pull(Leaves::ALL).take(2).map(Ok::<_, Error>);
                    node.store.absorb(content).unwrap();
                    assert_eq!(cut.tree(), before, "a cut does not change");
                }
            }
            done.send(()).unwrap();
        };
        threads.push(crate::runtime::NamedThread::spawn("reader", work).unwrap());
    }
    for thread in &mut threads {
        thread.join();
    }
    drop(done);
    assert_eq!(ended.iter().count(), 4);
    check_trees(&node);
}
