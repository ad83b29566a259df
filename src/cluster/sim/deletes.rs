//! Deletes in the simulation: what somebody deletes, and what must hold of it from then on.
//!
//! A sample that was deleted is owed to nobody, and shown by no node that knows of the delete. Once
//! the tombstone has gone no node holds it, and nothing that comes back brings it back. What was not
//! deleted, or shown again, is owed as ever: the invariants of `check.rs` see to that.

use std::time::Duration;

use super::apart::run_apart;
use super::board::Crash;
use super::scenarios::play;
use super::script::{HOUR, MINUTE};
use super::workload::{Content, Deleting};
use super::world::World;
use crate::cluster::control::ControlState;
use crate::model::{MatchOp, Matcher, TenantId, TimeRange, TimestampMs};
use crate::runtime::{Chance, on_thread};

impl World {
    /// Deletes some series through a node; whether that was done.
    pub(super) async fn delete(&mut self, at: usize, series: &[u32], range: TimeRange) -> bool {
        let numbers: Vec<String> = series.iter().map(u32::to_string).collect();
        let matcher = Matcher::new("n", MatchOp::Regex, &numbers.join("|")).unwrap();
        let mut deleting = Deleting {
            id: String::new(),
            series: series.iter().copied().collect(),
            range,
            owed: Content::new(),
        };
        // From now on it may be hidden.
        self.model.lock().withdraw(&mut deleting);
        let up = self.up(at);
        let deleted = on_thread(move || {
            let deletes = up.member.deletes();
            deletes.delete(&TenantId::anonymous(), vec![matcher], range)
        });
        let deleted = deleted.await.unwrap();
        self.say(&format!("delete of {series:?} in {range:?}: {deleted:?}"));
        // Without an answer nobody knows whether it stands: then nothing of it is owed.
        if let Ok(Some(row)) = &deleted {
            deleting.id = row.id.clone();
            deleting.range = row.range;
            let mut model = self.model.lock();
            let before = std::mem::take(&mut deleting.owed);
            model.owe(before);
            model.withdraw(&mut deleting);
            model.deleting.push(deleting);
        }
        deleted.is_ok_and(|row| row.is_some())
    }

    /// Undoes a delete through a node.
    async fn undo(&mut self, at: usize, which: usize) {
        let id = self.model.lock().deleting[which].id.clone();
        let (up, name) = (self.up(at), id.clone());
        let undone = on_thread(move || up.member.deletes().undo(&TenantId::anonymous(), &name));
        let undone = undone.await.unwrap();
        self.say(&format!("undo of {id}: {undone:?}"));
        if undone.is_ok() {
            let mut model = self.model.lock();
            let one = model.deleting.remove(which);
            model.owe(one.owed);
        }
    }

    /// Lets everything go that is deleted.
    pub(super) async fn clean(&mut self, at: usize) {
        let up = self.up(at);
        let cleaned = on_thread(move || up.member.deletes().clean(&TenantId::anonymous()));
        let cleaned = cleaned.await.unwrap();
        self.say(&format!("clean: {cleaned:?}"));
    }

    /// Takes note of deletes that have ended: from now on nobody has anything of them.
    pub(super) fn look_at_deletes(&mut self) {
        let Some(state) = self.newest_state() else {
            return;
        };
        let stands = |one: &Deleting| stands(&state, &one.id);
        let mut model = self.model.lock();
        let (left, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut model.deleting)
            .into_iter()
            .partition(stands);
        model.deleting = left;
        for one in ended {
            model.count("deletes ended");
            model.gone.extend(one.owed.into_keys());
        }
    }

    /// Runs until no tombstone stands, with the invariants looked at; what is in heads grows old and
    /// is sealed meanwhile.
    async fn until_all_is_removed(&mut self) {
        for _ in 0..60 {
            self.look_at_deletes();
            self.check();
            let state = self.newest_state();
            if state.is_some_and(|state| state.tombstones.is_empty()) {
                return;
            }
            self.pass(10);
            self.run(Duration::from_secs(20)).await;
        }
        self.fail("a delete never ends");
    }
}

fn stands(state: &ControlState, id: &str) -> bool {
    let mut all = state.tombstones.keys();
    all.any(|one| one.to_string() == id)
}

/// One is away while all that it holds is sealed, deleted and rewritten by the others; what it brings
/// back is in no block any more.
pub(super) async fn who_was_away_brings_back_what_is_deleted(seed: u64) {
    let mut world = World::founded(seed, 3).await;
    let some = world.samples(0..24, Duration::ZERO);
    world.write_until_taken(0, &some).await;
    world.crash(2, Crash::Kill);
    world.pass(250);
    let long = 10 * MINUTE;
    let sealed = |world: &World| world.heads_are_empty() && world.blocks() > 0;
    world.until("all is sealed", long, sealed).await;
    let series: Vec<u32> = (0..12).collect();
    assert!(world.delete(0, &series, TimeRange::ALL).await);
    assert!(world.read(0).await);
    world.clean(1).await;
    // Longer than hints live.
    world.pass(300);
    for _ in 0..10 {
        world.run(Duration::from_secs(20)).await;
        world.look_at_deletes();
        world.check();
    }
    world.start(2);
    world.until("it is back", long, World::all_are_up).await;
    world.until_all_is_removed().await;
    assert!(world.read(2).await);
    world.finish().await;
    world.look_at_deletes();
    assert!(!world.model.lock().gone.is_empty());
}

/// Would catch a delete that ends while somebody who is away still has some of it.
#[test]
fn nothing_that_is_deleted_comes_back() {
    play(
        "deletes::nothing_that_is_deleted_comes_back",
        who_was_away_brings_back_what_is_deleted,
    );
}

impl World {
    /// One that is up.
    fn any_up(&self) -> usize {
        let ups = self.ups();
        ups[self.below(ups.len())].0
    }

    async fn any_write(&mut self) {
        let at = self.any_up();
        let back = match self.chance.below(3) {
            0 => 4 * 3600,
            _ => 60,
        };
        let back = Duration::from_secs(self.chance.below(back));
        let first = u32::try_from(self.below(20)).unwrap();
        let many = u32::try_from(self.below(6)).unwrap() + 1;
        let samples = self.samples(first..first + many, back);
        self.write(at, &samples).await;
    }

    async fn any_delete(&mut self) {
        let at = self.any_up();
        let count = self.below(6) + 1;
        let series: Vec<u32> = (0..count)
            .map(|_| u32::try_from(self.below(24)).unwrap())
            .collect();
        let now = self.day_ms();
        let range = match self.chance.below(3) {
            0 => TimeRange::ALL,
            1 => TimeRange::new(TimestampMs(now - 7_200_000), TimestampMs::MAX),
            _ => TimeRange::new(TimestampMs(now - 10_800_000), TimestampMs(now - 1_800_000)),
        };
        self.delete(at, &series, range).await;
    }

    async fn any_step_with_deletes(&mut self) {
        match self.chance.below(24) {
            0..=7 => self.any_write().await,
            8 | 9 => {
                let at = self.any_up();
                self.read(at).await;
            }
            10 | 11 => self.any_delete().await,
            12 => {
                let standing = self.model.lock().deleting.len();
                if standing > 0 {
                    let (at, which) = (self.any_up(), self.below(standing));
                    self.undo(at, which).await;
                }
            }
            13 | 14 => {
                let at = self.any_up();
                self.clean(at).await;
            }
            15 if self.all_are_up() => {
                let at = self.any_up();
                let how = match self.chance.below(2) {
                    0 => Crash::Kill,
                    _ => Crash::PowerCut,
                };
                self.crash(at, how);
            }
            16 | 17 => {
                let mut boards = self.boards.iter();
                let down = boards.position(|one| !one.is_up() && !one.is_starting);
                if let Some(down) = down {
                    self.start(down);
                }
            }
            18..=20 => {
                let minutes = i64::try_from(self.chance.below(120)).unwrap() + 1;
                self.pass(minutes);
            }
            _ => self.run(MINUTE).await,
        }
    }
}

async fn a_course_with_deletes(seed: u64) {
    let mut world = World::founded(seed, 3).await;
    for _ in 0..60 {
        world.any_step_with_deletes().await;
        let pause = world.chance.below(2000);
        world.run(Duration::from_millis(pause)).await;
        world.look_at_deletes();
        world.check();
    }
    world.heal();
    for at in 0..world.boards.len() {
        if !world.boards[at].is_up() && !world.boards[at].is_starting {
            world.start(at);
        }
    }
    world
        .until("all are back", 10 * MINUTE, World::all_are_up)
        .await;
    world.until_settled().await;
    world.clean(0).await;
    // What is in heads is sealed, and hints are old.
    for _ in 0..6 {
        world.pass(HOUR.as_secs().cast_signed() / 60);
        world.run(Duration::from_secs(20)).await;
    }
    world.until_all_is_removed().await;
    world.finish().await;
    println!("ran {:?}", world.model.lock().counts);
}

/// Would catch whatever deletes and faults do to each other in an order that nobody thought of: each
/// seed in a process of its own. `CAIRN_SIM_FIRST` and `CAIRN_SIM_SEEDS` ask for others.
#[test]
fn whatever_happens_what_is_deleted_stays_so_and_nothing_else_goes() {
    const NAME: &str = "deletes::whatever_happens_what_is_deleted_stays_so_and_nothing_else_goes";
    if super::apart::seed_of_this_process().is_some() {
        return play(NAME, a_course_with_deletes);
    }
    let first = super::apart::number("CAIRN_SIM_FIRST").unwrap_or(1);
    let seeds = super::apart::number("CAIRN_SIM_SEEDS").unwrap_or(3).min(50);
    for seed in first..first + seeds {
        match run_apart(&format!("cluster::sim::{NAME}"), seed, None) {
            Ok(said) => {
                let ran = said.lines().find(|line| line.starts_with("ran "));
                println!("seed {seed}: {}", ran.unwrap_or("nothing"));
            }
            Err(reason) => panic!(
                "again: CAIRN_SIM_LOUD=1 CAIRN_SEED={seed} cargo test --lib {NAME}\n{reason}"
            ),
        }
    }
}
