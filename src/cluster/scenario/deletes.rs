//! Deletes over the real store, beside a naive model: whatever is written, deleted, shown again,
//! sealed, merged and interrupted in whatever order, every read is that of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::seeds;
use super::three::{DAY, Three, eventually};
use super::world::{Key, START, World, context, drain, series, tenant};
use crate::cluster::control::TOMBSTONE_LEVEL;
use crate::cluster::deletes::DeleteRow;
use crate::cluster::merging::Pace;
use crate::model::*;
use crate::runtime::{CancelToken, Chance, Clock};
use crate::source::{Moments, Selection};

/// A world, and what is deleted in it.
pub(super) struct Deleting {
    pub(super) world: World,
    /// By their names.
    standing: Vec<(String, Deletion)>,
    /// Something has gone since the start: the head lists names of its series until it forgets them.
    names_linger: bool,
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

fn named(name: &str) -> Vec<Matcher> {
    vec![matcher("__name__", MatchOp::Equal, name)]
}

impl Deleting {
    pub(super) fn new(seed: u64) -> Self {
        let world = World::new(seed);
        assert!(world.member().control_state().feature_level >= TOMBSTONE_LEVEL);
        Self {
            world,
            standing: Vec::new(),
            names_linger: false,
        }
    }

    fn delete(&mut self, owner: &TenantId, matchers: Vec<Matcher>, range: TimeRange) -> DeleteRow {
        let deletes = self.world.member().deletes();
        let row = deletes.delete(owner, matchers.clone(), range).unwrap();
        let row = row.expect("the range has begun");
        let range = TimeRange::new(range.start, range.end.min(self.world.clock.now()));
        assert_eq!(row.range, range);
        let deletion = Deletion {
            tenant: owner.clone(),
            matchers,
            range,
        };
        self.standing.push((row.id.clone(), deletion));
        row
    }

    /// Undoes one, if that is still possible.
    fn undo(&mut self, at: usize) {
        let (id, deletion) = self.standing[at].clone();
        let deletes = self.world.member().deletes();
        let state = self.world.member().control_state();
        let mut rows = state.tombstones.values();
        let begun = rows.find(|one| one.tombstone.id.to_string() == id);
        let begun = begun.is_none_or(|one| one.begun);
        let undone = deletes.undo(&deletion.tenant, &id);
        assert_eq!(undone.is_err(), begun, "{undone:?}");
        if undone.is_ok() {
            self.standing.remove(at);
        }
    }

    /// Everything that is deleted goes from now on.
    fn clean(&mut self) {
        for owner in [tenant(0), tenant(1)] {
            self.world.member().deletes().clean(&owner).unwrap();
        }
    }

    /// What is gone from everywhere is gone from the model.
    fn removed(&mut self) {
        self.world.merge();
        self.world.member().deletes().pass(&CancelToken::new());
        let state = self.world.member().control_state();
        let mut stands = state.tombstones.keys().map(ToString::to_string);
        let stands: BTreeSet<String> = stands.by_ref().collect();
        let (left, ended) = std::mem::take(&mut self.standing)
            .into_iter()
            .partition(|(id, _)| stands.contains(id));
        self.standing = left;
        let ended: Vec<(String, Deletion)> = ended;
        self.names_linger |= !ended.is_empty();
        for (key, samples) in &mut self.world.model.samples {
            let about = |one: &Deletion| one.tenant == key.0 && one.matches(&key.1);
            let about: Vec<TimeRange> = ended
                .iter()
                .filter(|(_, one)| about(one))
                .map(|(_, one)| one.range)
                .collect();
            samples.retain(|at, _| !about.iter().any(|range| range.contains(TimestampMs(*at))));
        }
        self.world
            .model
            .samples
            .retain(|_, samples| !samples.is_empty());
    }

    fn is_hidden(&self, key: &Key, at: i64) -> bool {
        let at = TimestampMs(at);
        let hides =
            |one: &Deletion| one.tenant == key.0 && one.range.contains(at) && one.matches(&key.1);
        self.standing.iter().any(|(_, one)| hides(one))
    }

    fn expect(&self, key: &Key, range: TimeRange) -> Samples {
        let mut left = Samples::default();
        for (at, value, start) in self.world.model.expect(key, range, true).iter() {
            if !self.is_hidden(key, at.0) {
                left.push(at, value, start);
            }
        }
        left
    }

    /// What the model holds that nobody hides, of one tenant in a range.
    fn check(&self, owner: &TenantId, matchers: &[Matcher], range: TimeRange) {
        let source = self.world.member().source();
        let selection = Selection {
            tenant: owner.clone(),
            matchers: matchers.to_vec(),
            range,
        };
        let got = drain(source.select(&selection, &context()).unwrap().as_mut());
        let own = self.world.model.samples.keys();
        let own = own.filter(|key| key.0 == *owner);
        let matches = |labels: &LabelSet| {
            let value = |m: &Matcher| labels.get(m.name()).unwrap_or_default().to_owned();
            matchers.iter().all(|m| m.matches(&value(m)))
        };
        let mut want = BTreeMap::new();
        for key in own.filter(|key| matches(&key.1)) {
            let samples = self.expect(key, range);
            if !samples.is_empty() {
                want.insert(key.1.clone(), samples);
            }
        }
        assert!(
            got == want,
            "in {range:?}:\n got {got:?}\nwant {want:?}\n{:?}",
            self.standing
        );
        self.check_newest(&selection, &want);
        if range != TimeRange::ALL {
            return;
        }
        let labels: Vec<LabelSet> = want.into_keys().collect();
        assert_eq!(source.series(&selection, 0, &context()).unwrap(), labels);
        if self.names_linger {
            return;
        }
        let names: BTreeSet<&str> = labels
            .iter()
            .flat_map(|l| l.iter().map(|(n, _)| n))
            .collect();
        let got = source.label_names(&selection, 0, &context()).unwrap();
        assert_eq!(got, names.into_iter().collect::<Vec<_>>());
        let values: BTreeSet<&str> = labels.iter().filter_map(|l| l.get("number")).collect();
        let got = source
            .label_values("number", &selection, 0, &context())
            .unwrap();
        assert_eq!(got, values.iter().copied().collect::<Vec<_>>());
        let first = source
            .label_values("number", &selection, 1, &context())
            .unwrap();
        assert_eq!(first, values.into_iter().take(1).collect::<Vec<_>>());
    }

    /// Whoever looks at the end of the range only sees the newest that nobody hides.
    fn check_newest(&self, selection: &Selection, want: &BTreeMap<LabelSet, Samples>) {
        let moments = Moments {
            first: selection.range.end,
            step_ms: 1,
            count: 1,
        };
        let source = self.world.member().source();
        let got = source.select_newest(selection, moments, &context());
        let got = drain(got.unwrap().as_mut());
        let newest = |all: &BTreeMap<LabelSet, Samples>| -> BTreeMap<LabelSet, Samples> {
            let mut newest = all.clone();
            for samples in newest.values_mut() {
                let last = TimestampMs(*samples.timestamps.last().unwrap());
                samples.clip(TimeRange::new(last, last));
            }
            newest
        };
        let (got, want) = (newest(&got), newest(want));
        assert!(
            got == want,
            "got {got:?}\nwant {want:?}\n{:?}",
            self.standing
        );
    }

    fn check_all(&self) {
        for owner in [tenant(0), tenant(1)] {
            self.check(&owner, &[], TimeRange::ALL);
            for number in 0..3 {
                self.check(&owner, &named(&format!("metric_{number}")), TimeRange::ALL);
            }
        }
    }

    /// A time of the last days, mostly of the last hours.
    fn any_time(&mut self) -> i64 {
        let back = match self.world.chance.below(4) {
            0 => self.world.chance.below(10 * 86_400_000),
            1 => self.world.chance.below(40 * 3_600_000),
            _ => self.world.chance.below(5 * 3_600_000),
        };
        self.world.clock.now().0 - i64::try_from(back).unwrap()
    }

    fn any_range(&mut self) -> TimeRange {
        let (one, other) = (self.any_time(), self.any_time());
        TimeRange::new(TimestampMs(one.min(other)), TimestampMs(one.max(other)))
    }

    fn any_delete(&mut self) {
        let number = self.world.chance.below(24);
        let name = format!("metric_{}", number % 7);
        let matchers = match self.world.chance.below(5) {
            0 => named(&name),
            1 => vec![matcher("number", MatchOp::Equal, &number.to_string())],
            2 => vec![matcher("number", MatchOp::Regex, "1.*")],
            3 => vec![
                matcher("__name__", MatchOp::NotEqual, &name),
                matcher("instance", MatchOp::Equal, "host-1"),
            ],
            _ => vec![matcher("job", MatchOp::Equal, "node")],
        };
        let range = match self.world.chance.below(4) {
            0 => TimeRange::ALL,
            _ => self.any_range(),
        };
        let owner = tenant(self.world.chance.below(2));
        self.delete(&owner, matchers, range);
    }

    /// Writes what is not refused, as the receiver does.
    fn any_write(&mut self) {
        let count = self.world.chance.below(60) + 1;
        let mut samples = Vec::new();
        for _ in 0..count {
            let sample = self.world.any_sample();
            let (key, at) = (&sample.0, sample.1);
            let deleted = self.world.member().writer().deleted(&key.0);
            let refused = deleted.of_series(&key.1).range_at(TimestampMs(at));
            assert_eq!(refused.is_some(), self.is_hidden(key, at), "{} {at}", key.1);
            if refused.is_none() {
                samples.push(sample);
            }
        }
        self.world.append(&samples);
    }

    pub(super) fn any_step(&mut self) {
        match self.world.chance.below(24) {
            0..=8 => self.any_write(),
            9 | 10 => self.any_delete(),
            11 if !self.standing.is_empty() => {
                let len = u64::try_from(self.standing.len()).unwrap();
                let at = self.world.chance.below(len);
                self.undo(usize::try_from(at).unwrap());
            }
            19 if self.world.chance.below(3) == 0 => self.clean(),
            20 => self.world.clock.advance(Duration::from_secs(13 * 3600)),
            21 => {
                let step = i64::try_from(self.world.chance.below(30)).unwrap() + 1;
                self.world.die_while_merging(step);
            }
            22 => self.removed(),
            12 => self.world.pass(),
            13 => self.world.flush(),
            14 => {
                self.world.open();
                self.names_linger = false;
            }
            15 => {
                self.world.crash();
                self.names_linger = false;
            }
            16 => drop(self.world.merge()),
            17 => {
                let step = i64::try_from(self.world.chance.below(40)).unwrap() + 1;
                self.world.die_while_sealing(step);
            }
            18 => {
                let minutes = self.world.chance.below(240);
                self.world.clock.advance(Duration::from_secs(minutes * 60));
            }
            _ => {
                let owner = tenant(self.world.chance.below(2));
                let range = self.any_range();
                self.check(&owner, &[], range);
            }
        }
    }
}

/// Would catch anything deleted that is shown, anything else that is hidden, a write into a deleted
/// range that is taken, and an undo that does not bring everything back.
#[test]
fn every_read_is_that_of_the_model_without_what_is_deleted() {
    for seed in seeds(0..3) {
        println!("seed {seed}");
        let mut one = Deleting::new(seed);
        for _ in 0..70 {
            one.any_step();
        }
        one.check_all();
        one.world.open();
        one.check_all();
        // In the end nothing of it is held.
        one.clean();
        one.removed();
        one.check_all();
        one.world.flush();
        one.removed();
        assert_eq!(one.standing, []);
        one.check_all();
        one.world.open();
        one.world.check_all();
    }
}

/// Two samples of a series, of which the newer is deleted.
#[test]
fn where_the_newest_is_deleted_the_one_before_it_is_seen() {
    let mut one = Deleting::new(9);
    let at = START - 7_200_000;
    let (owner, labels) = series(0);
    one.world.floats(0, &[(at, 1.0), (at + 1000, 2.0)]);
    let newer = TimeRange::new(TimestampMs(at + 1000), TimestampMs(at + 1000));
    let of_metric = named(labels.metric_name().unwrap());
    one.delete(&owner, of_metric, newer);
    one.check_all();
    one.world.flush();
    one.check_all();
}

/// Would catch a delete that begins too early, one that can be undone too late, and space that does
/// not come back.
#[test]
fn what_is_deleted_goes_after_a_day_and_its_space_comes_back() {
    let mut one = Deleting::new(31);
    let all = TimeRange::ALL;
    for number in 0..8 {
        let samples: Vec<(i64, f64)> = (0..200).map(|i| (START + i * 15_000, i as f64)).collect();
        one.world.floats(number, &samples);
    }
    one.world.flush();
    let totals = |one: &Deleting| one.world.member().store().block_totals();
    let before = totals(&one);
    let pass = |one: &Deleting| one.world.member().deletes().pass(&CancelToken::new());
    one.world.clock.advance(Duration::from_secs(2 * 3600));
    let row = one.delete(
        &tenant(0),
        vec![matcher("job", MatchOp::Equal, "node")],
        all,
    );
    assert_eq!(row.undo_until, row.at.plus_ms(24 * 3_600_000));
    pass(&one);
    one.removed();
    assert_eq!(
        totals(&one),
        before,
        "nothing is rewritten while it can be undone"
    );
    one.check_all();
    one.undo(0);
    one.check_all();
    one.delete(
        &tenant(0),
        vec![matcher("job", MatchOp::Equal, "node")],
        all,
    );
    one.world.clock.advance(Duration::from_secs(24 * 3600 - 1));
    pass(&one);
    assert_eq!(one.world.member().deletes().list(&tenant(0)).len(), 1);
    assert!(!one.world.member().deletes().list(&tenant(0))[0].begun);
    one.world.clock.advance(Duration::from_secs(1));
    pass(&one);
    assert!(one.world.member().deletes().list(&tenant(0))[0].begun);
    assert_eq!(one.world.member().deletes().list(&tenant(1)), []);
    let (id, deletion) = one.standing[0].clone();
    let late = one.world.member().deletes().undo(&deletion.tenant, &id);
    assert!(late.unwrap_err().to_string().contains("cannot be undone"));
    one.removed();
    assert_eq!(one.standing, [], "nobody holds any of it");
    let after = totals(&one);
    assert!(after.1 < before.1, "{after:?} of {before:?}");
    one.check_all();
    one.world.check(&tenant(0), all);
    // A delete of everything leaves no block at all.
    one.delete(&tenant(1), vec![matcher("job", MatchOp::NotEqual, "")], all);
    one.clean();
    one.removed();
    assert_eq!(totals(&one), (0, 0));
    // From then on that time is written as any other.
    one.world.floats(2, &[(START, 5.0)]);
    one.check_all();
    one.world.flush();
    one.world.open();
    one.world.check_all();
}

/// Would catch a member that shows what another has deleted, a delete that ends while a member still
/// holds some of it, and one that never ends.
#[test]
fn three_members_hide_and_remove_alike() {
    let three = Three::open();
    let times: Vec<i64> = (0..20).map(|row| DAY + row * 15_000).collect();
    three.clock.set(DAY + WINDOW_MS);
    three.write(0, 0..6, &times);
    let everything = three.read(0).unwrap();
    let gone = |labels: &LabelSet| labels.get("number") == Some("4");
    let mut left = everything.clone();
    left.retain(|labels, _| !gone(labels));
    assert_eq!((everything.len(), left.len()), (6, 5));
    let owner = tenant(0);
    let matchers = vec![matcher("number", MatchOp::Equal, "4")];
    eventually("every program understands deletes", || {
        three.members[0].control_state().feature_level >= TOMBSTONE_LEVEL
    });
    let deletes = three.members[1].deletes();
    deletes
        .delete(&owner, matchers, TimeRange::ALL)
        .unwrap()
        .unwrap();
    let shown = |want: &std::collections::BTreeMap<LabelSet, Samples>| {
        (0..3).all(|at| three.read(at).is_some_and(|got| got == *want))
    };
    eventually("all hide it", || shown(&left));
    let refused = three.members[2].writer().deleted(&owner);
    assert!(!refused.is_empty());
    three.seal();
    assert!(shown(&left));
    let before = three.equal_blocks().unwrap().len();
    assert_eq!(deletes.clean(&owner).unwrap(), 1);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for at in 0..3 {
            let (three, over, left) = (&three, &over, &left);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let got = three.read(at);
                    assert!(got.is_none_or(|got| got == *left), "member {at} shows it");
                }
            });
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the blocks hold nothing of it", || {
                for member in &three.members {
                    member.merger().pass(Pace::Fast, &CancelToken::new());
                    member.deletes().pass(&CancelToken::new());
                }
                three.equal_blocks().is_some_and(|blocks| {
                    let samples: u64 = blocks.iter().map(|(_, entry)| entry.samples).sum();
                    samples == 5 * 20
                })
            });
            // A hint may come for hours.
            let stands = || three.members[0].control_state().tombstones.len();
            assert_eq!(stands(), 1);
            three.clock.set(DAY + WINDOW_MS + 5 * 60 * 60 * 1000);
            eventually("all have said that it is gone", || {
                for member in &three.members {
                    member.deletes().pass(&CancelToken::new());
                }
                stands() == 0
            });
        }));
        over.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
    eventually("and nobody shows it", || shown(&left));
    assert!(three.equal_blocks().unwrap().len() <= before);
    for member in &three.members {
        member.close().unwrap();
    }
}
