//! A store that follows a ring while it is divided, beside one that never is: both show the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::rig::{self, Node, Write, arc_of, float, read_all, series, writes};
use super::*;
use crate::codec::page::Density;
use crate::runtime::{CancelToken, Throttle};
use crate::source::{Selection, Source};

type Ring = BTreeSet<RingArc>;

/// A store with the ring and the catalogs that the control state would have.
struct Divided {
    node: Node,
    ring: Ring,
    catalogs: BTreeMap<RingArc, (u64, BTreeMap<BlockId, BlockEntry>)>,
}

impl Divided {
    fn new(seed: u64) -> Self {
        Self {
            node: Node::new(seed),
            ring: RingArc::all(FOUNDING_DEPTH).collect(),
            catalogs: BTreeMap::new(),
        }
    }

    /// The arc of the ring in which a series lies.
    fn arc_of(&self, key: &rig::Key) -> RingArc {
        let fingerprint = fingerprint(&key.0, &key.1);
        let mut arcs = self.ring.iter().copied();
        arcs.find(|arc| arc.contains(fingerprint)).unwrap()
    }

    /// The control state splits a partition; the store has not heard of it.
    fn split(&mut self, arc: RingArc) -> [RingArc; 2] {
        let halves = arc.halves().unwrap();
        assert!(self.ring.remove(&arc));
        self.ring.extend(halves);
        let catalog = self.catalogs.remove(&arc).unwrap_or_default();
        for half in halves {
            self.catalogs.insert(half, catalog.clone());
        }
        halves
    }

    fn align(&self) -> Result<(), Error> {
        self.node.store.align(&self.ring)
    }

    fn restart(&mut self) {
        self.node.restart();
        self.align().unwrap();
    }

    fn apply(&self, arc: RingArc) {
        let (version, blocks) = &self.catalogs[&arc];
        let catalog = Catalog {
            version: *version,
            blocks,
        };
        self.node.store.apply(arc, &catalog, None).unwrap();
    }

    /// Builds a block of what the head holds, and applies it.
    fn seal(&mut self, arc: RingArc, window: Window) {
        if let Some(entry) = self.node.build(arc, window) {
            let (version, blocks) = self.catalogs.entry(arc).or_default();
            *version += 1;
            blocks.insert(entry.id, entry);
            self.apply(arc);
        }
    }

    /// Makes one block of all that a partition lists.
    fn merge(&mut self, arc: RingArc) {
        let inputs: Vec<BlockId> = match self.catalogs.get(&arc) {
            Some((_, blocks)) if !blocks.is_empty() => blocks.keys().copied().collect(),
            _ => return,
        };
        let order = MergeOrder {
            arc,
            inputs,
            range: TimeRange::ALL,
            level: Level(1),
            round: 0,
            keep_from: TimestampMs::MIN,
            without: Vec::new(),
            resolution: Resolution::Raw,
        };
        let throttle = std::sync::Arc::new(Throttle::new(0));
        let cancel = CancelToken::new();
        let merged = self
            .node
            .store
            .merge(&order, Density::Dense, &throttle, &cancel)
            .unwrap();
        let (version, blocks) = self.catalogs.get_mut(&arc).unwrap();
        *version += 1;
        blocks.clear();
        blocks.extend(merged.entry.iter().map(|entry| (entry.id, entry.clone())));
        self.apply(arc);
    }

    /// What is shown as a whole is what the partitions show one by one, each its own; digests are
    /// those of what heads show.
    fn check(&self, model: &Node) {
        let want = read_all(&model.store, TimeRange::ALL);
        assert_eq!(read_all(&self.node.store, TimeRange::ALL), want);
        self.check_matched(&want);
        let mut found = BTreeMap::new();
        for arc in &self.ring {
            let pinned = self.node.store.pin(&[*arc]);
            let own = read_all(&pinned, TimeRange::ALL);
            for (key, samples) in own {
                assert!(arc.contains(fingerprint(&key.0, &key.1)), "{arc} {key:?}");
                assert!(found.insert(key, samples).is_none(), "in two partitions");
            }
            self.check_trees(*arc, &pinned);
        }
        assert_eq!(found, want);
    }

    /// What matchers find is what there is now, whatever they found before.
    fn check_matched(&self, want: &BTreeMap<rig::Key, Samples>) {
        let matcher = |name, op, value| Matcher::new(name, op, value).unwrap();
        for matchers in [
            vec![matcher("instance", MatchOp::Equal, "host-0")],
            vec![matcher("__name__", MatchOp::Regex, "metric_[1-4]")],
            vec![
                matcher("job", MatchOp::Equal, "node"),
                matcher("instance", MatchOp::NotRegex, "host-1|other.*"),
            ],
        ] {
            let asked = |selection: &Selection| Selection {
                matchers: matchers.clone(),
                ..selection.clone()
            };
            let mut values = BTreeSet::new();
            let found = rig::read_with(TimeRange::ALL, |selection| {
                let (store, context) = (&self.node.store, rig::context());
                let selection = asked(selection);
                let names = store.label_values("__name__", &selection, 0, &context);
                values.extend(names.unwrap());
                store.select(&selection, &context).unwrap()
            });
            let satisfies = |(_, labels): &&rig::Key| {
                let value = |name| labels.get(name).unwrap_or_default();
                matchers.iter().all(|one| one.matches(value(one.name())))
            };
            let want: BTreeSet<&rig::Key> = want.keys().filter(satisfies).collect();
            assert_eq!(found.keys().collect::<BTreeSet<_>>(), want, "{matchers:?}");
            let names = want.iter().filter_map(|(_, labels)| labels.get("__name__"));
            let names: BTreeSet<String> = names.map(str::to_owned).collect();
            assert_eq!(values, names, "{matchers:?}");
        }
    }

    fn check_trees(&self, arc: RingArc, pinned: &Pinned) {
        let hasher = ContentHasher::new(rig::CLUSTER);
        let got: BTreeMap<Window, DigestTree> =
            pinned.trees(arc, TimeRange::ALL).into_iter().collect();
        let mut want: BTreeMap<Window, DigestTree> = BTreeMap::new();
        let heads = rig::read_with(TimeRange::ALL, |selection| {
            let heads = pinned.select_heads(None, selection, &rig::context());
            heads.unwrap()
        });
        for ((tenant, labels), samples) in heads {
            let fingerprint = fingerprint(&tenant, &labels);
            for (at, value, start) in samples.iter() {
                let window = Window::of(at);
                let slot = window.offset_of(at).unwrap() / 600_000;
                let hash = hasher.sample(fingerprint, at, &value, start);
                let tree = want.entry(window).or_default();
                tree.add(u8::try_from(slot).unwrap(), arc.sub_arc(fingerprint), hash);
            }
        }
        for (window, tree) in &got {
            let want = want.entry(*window).or_default();
            want.add_metadata(tree.metadata().0);
        }
        assert_eq!(got, want, "{arc}");
    }
}

/// Catches whatever of head, log, marks, blocks, views or digests is lost, doubled or in the wrong
/// half when partitions are split between writes, seals, merges and restarts.
#[test]
fn a_store_that_is_divided_shows_what_one_does_that_is_not() {
    let strategy = (
        proptest::collection::vec((writes(), 0u8..12, 0usize..64), 1..10),
        any::<u64>(),
    );
    proptest!(ProptestConfig::with_cases(24), |((batches, seed) in strategy)| {
        let (mut divided, model) = (Divided::new(seed), Node::new(!seed));
        for (batch, event, which) in &batches {
            divided.node.write(batch);
            model.write(batch);
            let key = &batch[which % batch.len()].0;
            let metadata = |node: &Node| node.metadata(&key.0, &format!("family_{which}"), "help");
            metadata(&divided.node);
            let arc = divided.arc_of(key);
            let window = Window::of(TimestampMs(batch[which % batch.len()].1));
            match event {
                0..4 => {
                    divided.split(arc);
                    divided.align().unwrap();
                }
                4 => {
                    // Several at once, one of them twice.
                    let [half, _] = divided.split(arc);
                    divided.split(half);
                    divided.split(*divided.ring.iter().nth(which % divided.ring.len()).unwrap());
                    divided.restart();
                }
                5..7 => divided.seal(arc, window),
                7 => rig::windows().for_each(|window| divided.seal(arc, window)),
                8 => divided.merge(arc),
                9 => drop(divided.node.store.cut(arc, window.range()).unwrap()),
                10 => divided.restart(),
                _ => {}
            }
            divided.check(&model);
        }
        divided.restart();
        divided.check(&model);
        for arc in divided.ring.clone() {
            rig::windows().for_each(|window| divided.seal(arc, window));
            divided.merge(arc);
        }
        divided.check(&model);
        divided.restart();
        divided.check(&model);
    });
}

/// Would catch what one block had being taken for what another one in its place has.
#[test]
fn what_is_found_in_one_block_is_not_taken_for_another_ones() {
    let first = series(0);
    let arc = arc_of(&first);
    let is_beside = |other: &rig::Key| other.0 == first.0 && arc_of(other) == arc;
    let second = (1..).map(series).find(is_beside).unwrap();
    let (mut divided, model) = (Divided::new(5), Node::new(6));
    for key in [&first, &second] {
        let batch = [float(key, 1, 1.0)];
        divided.node.write(&batch);
        model.write(&batch);
        divided.seal(arc, Window(0));
        // The second time there is one block again, of both.
        divided.merge(arc);
        divided.check(&model);
        divided.check(&model);
    }
}

/// Two series of one partition that lie in different halves of it.
fn neighbours() -> (RingArc, [rig::Key; 2]) {
    let mut first: BTreeMap<RingArc, rig::Key> = BTreeMap::new();
    for number in 0.. {
        let key = series(number);
        let arc = arc_of(&key);
        let half = |key: &rig::Key| {
            let fingerprint = fingerprint(&key.0, &key.1);
            arc.halves()
                .unwrap()
                .iter()
                .position(|half| half.contains(fingerprint))
        };
        let known = first.entry(arc).or_insert_with(|| key.clone());
        if half(known) != half(&key) {
            let mut both = [known.clone(), key.clone()];
            both.sort_by_key(half);
            return (arc, both);
        }
    }
    unreachable!()
}

fn check_work_on_the_whole_is_refused(
    divided: &Divided,
    [cut, other]: [RangeCut; 2],
    built: &BlockEntry,
) {
    let store = &divided.node.store;
    let refused = |done: Result<(), Error>| {
        let error = done.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unavailable, "{error}");
    };
    let (arc, range) = (cut.arc(), cut.range());
    let blocks = BTreeMap::from([(built.id, built.clone())]);
    let catalog = Catalog {
        version: 9,
        blocks: &blocks,
    };
    refused(store.apply(arc, &catalog, Some((cut, built.id))));
    refused(store.forget(other));
    refused(store.forget_arc(arc));
    refused(store.cut(arc, range).map(drop));
}

/// Catches a crash in the middle of a split after which something is missing, and work on the whole
/// that goes on as if nothing had happened.
#[test]
fn a_split_that_a_crash_interrupts_is_done_by_the_next_start() {
    let (arc, keys) = neighbours();
    for die_at in 0..=2 {
        let (mut divided, model) = (Divided::new(die_at), Node::new(99));
        let write = |divided: &Divided, at: i64| {
            let batch: Vec<Write> = keys.iter().map(|key| float(key, at, at as f64)).collect();
            divided.node.write(&batch);
            model.write(&batch);
        };
        write(&divided, 1);
        divided.seal(arc, Window(0));
        write(&divided, 2);
        write(&divided, WINDOW_MS + 3);
        let range = Window(0).range();
        let cut = divided.node.store.cut(arc, range).unwrap();
        let late = divided.node.store.cut(arc, range).unwrap();
        let order = BuildOrder {
            arc,
            range,
            round: 1,
            pages: Density::Quick,
        };
        let cancel = CancelToken::new();
        let built = divided
            .node
            .store
            .build(&cut, &order, &cancel)
            .unwrap()
            .unwrap();
        let before = divided.node.store.pin(&[arc]);
        let halves = divided.split(arc);
        divided
            .node
            .store
            .faults
            .die_at(i64::try_from(die_at).unwrap());
        assert_eq!(divided.align().is_err(), die_at > 0);
        divided.node.store.faults.die_at(0);
        assert_eq!(
            read_all(&before, TimeRange::ALL).len(),
            2,
            "who reads it reads on"
        );
        drop(before);
        if die_at == 0 {
            write(&divided, 4);
            check_work_on_the_whole_is_refused(&divided, [cut, late], &built);
            divided.check(&model);
        }
        divided.restart();
        divided.check(&model);
        assert!(divided.align().is_ok(), "done once is done");
        for half in halves {
            assert_eq!(divided.node.store.applied_version(half), 1);
            assert!(!divided.node.store.head_is_empty(half));
        }
        assert!(!divided.node.store.holds(arc));
        // One half goes on without the other.
        rig::windows().for_each(|window| divided.seal(halves[0], window));
        divided.check(&model);
        assert!(divided.node.store.head_is_empty(halves[0]));
        assert!(!divided.node.store.head_is_empty(halves[1]));
        divided.restart();
        divided.check(&model);
        assert!(divided.node.store.head_is_empty(halves[0]));
    }
}

/// Catches a block that one half still lists and whose file went with the other.
#[test]
fn a_block_of_both_halves_goes_with_the_last() {
    let (arc, keys) = neighbours();
    for restarts in [false, true] {
        let (mut divided, model) = (Divided::new(1), Node::new(2));
        let batch: Vec<Write> = keys.iter().map(|key| float(key, 1, 5.0)).collect();
        divided.node.write(&batch);
        model.write(&batch);
        divided.node.metadata(&keys[0].0, "family", "help");
        divided.seal(arc, Window(0));
        let wide = *divided.catalogs[&arc].1.keys().next().unwrap();
        let bytes = divided.node.store.block_totals();
        let [one, other] = divided.split(arc);
        divided.align().unwrap();
        assert_eq!(divided.node.store.block_totals(), bytes, "counted once");
        let sizes = divided.node.store.block_sizes();
        assert_eq!(sizes.values().map(Vec::len).sum::<usize>(), 1);
        assert_eq!(divided.node.store.arc_of_block(wide).unwrap(), Some(arc));
        divided.merge(one);
        if restarts {
            divided.restart();
        }
        divided.node.store.drop_retired().unwrap();
        assert!(divided.node.store.has_file(wide).unwrap());
        divided.check(&model);
        let names = |arcs: &[RingArc]| {
            let selection = crate::source::Selection {
                tenant: keys[0].0.clone(),
                matchers: Vec::new(),
                range: TimeRange::ALL,
            };
            let pinned = divided.node.store.pin(arcs);
            let values = crate::source::Source::label_values(
                &pinned,
                "__name__",
                &selection,
                0,
                &rig::context(),
            );
            values.unwrap()
        };
        let name = |key: &rig::Key| key.1.metric_name().unwrap().to_owned();
        if keys[0].0 == keys[1].0 {
            assert_eq!(names(&[other]), [name(&keys[1])]);
        }
        assert_eq!(names(&[one]), [name(&keys[0])]);
        let pinned = divided.node.store.pin(&[other]);
        divided.merge(other);
        assert!(
            divided.node.store.has_file(wide).unwrap(),
            "somebody reads it"
        );
        drop(pinned);
        divided.node.store.drop_retired().unwrap();
        assert!(!divided.node.store.has_file(wide).unwrap());
        divided.check(&model);
        divided.restart();
        divided.check(&model);
    }
}

/// Catches a log that is kept for ever for the half that has nothing in a window.
#[test]
fn the_log_is_let_go_when_one_half_holds_nothing() {
    let mut divided = Divided::new(3);
    let tenant = TenantId::new("tenant-1").unwrap();
    let place = fingerprint_of_family(&tenant, "family");
    let arc = RingArc::of(place, FOUNDING_DEPTH);
    // Nothing that can be compressed.
    let chance = crate::runtime::SeededChance::new(1);
    let text = |_| format!("{:016x}", crate::runtime::Chance::next_u64(&chance));
    let help: String = (0..56_000).map(text).collect();
    for number in 0..24 {
        divided
            .node
            .metadata(&tenant, "family", &format!("{number}{help}"));
    }
    divided.node.write_durably(&[float(&series(1), 1, 1.0)]);
    let window = Window::of(TimestampMs(1_000_000_000));
    let segments = |divided: &Divided| divided.node.store.head_stats().log.segments;
    let before = segments(&divided);
    let halves = divided.split(arc);
    divided.align().unwrap();
    let half = halves
        .into_iter()
        .find(|half| half.contains(place))
        .unwrap();
    divided.seal(half, window);
    assert!(divided.node.store.head_is_empty(half));
    // Whatever was not written yet when it was marked is.
    divided.node.write_durably(&[float(&series(1), 2, 1.0)]);
    assert!(
        before > 1 && segments(&divided) < before,
        "{before} {}",
        segments(&divided)
    );
}
