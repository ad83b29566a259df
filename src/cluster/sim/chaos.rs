//! What a seed makes of a cluster: writes and reads through all nodes, while nodes die, links are
//! cut, messages are lost, clocks are wrong and time passes. At the end everything heals, and
//! everything must be there, the same on all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::board::Crash;
use super::workload::{self, Content, Key, held};
use super::world::World;
use crate::cluster::control::{Liveness, MemberId};
use crate::cluster::peer::Conditions;
use crate::cluster::quorum::Sets;
use crate::model::WINDOW_MS;
use crate::runtime::Chance;

/// Things that happen in a run.
const STEPS: u32 = 120;

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) boards: u64,
    pub(super) steps: u32,
    pub(super) series: u32,
    /// Who is away for longer is replaced.
    pub(super) replace_after: Duration,
    /// Disks are lost.
    pub(super) wipes: bool,
}

impl Course {
    /// What a seed is for: every third has a spare board, every other loses disks.
    pub(super) const fn of(seed: u64) -> Self {
        let spare = seed.is_multiple_of(3);
        Self {
            boards: if spare { 4 } else { 3 },
            steps: STEPS,
            series: 24,
            replace_after: Duration::from_secs(if spare { 20 } else { 3600 }),
            wipes: seed.is_multiple_of(2),
        }
    }
}

/// How a run went.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Ran {
    pub(super) trace: u64,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) acknowledged: usize,
    pub(super) blocks: usize,
    pub(super) virtual_secs: u64,
}

/// One run.
pub(super) async fn run(seed: u64, course: Course) -> Ran {
    let began = tokio::time::Instant::now();
    let mut world = World::new(seed, course.boards, course.replace_after);
    world.found().await;
    let steps = super::apart::number("CAIRN_SIM_STEPS");
    let steps = steps.unwrap_or(u64::from(course.steps));
    for step in 0..steps {
        step_once(&mut world, course);
        let pause = world.chance.below(700);
        world.run(Duration::from_millis(pause)).await;
        if let Some((at, error)) = world.refusals.pop() {
            world.fail(&format!("node {} does not go on: {error}", at + 1));
        }
        if step.is_multiple_of(4) {
            world.check();
        }
    }
    world.end().await;
    let blocks = world.blocks();
    let model = world.model.lock();
    Ran {
        trace: world.weather.traffic().trace,
        counts: model.counts.clone(),
        acknowledged: model.acknowledged.len(),
        blocks,
        virtual_secs: began.elapsed().as_secs(),
    }
}

fn step_once(world: &mut World, course: Course) {
    let boards = world.boards.len();
    let at = world.below(boards);
    match world.chance.below(100) {
        0..45 => world.write_through(at, course.series),
        45..60 => world.read_through(at),
        60..67 => world.maybe_crash(at),
        67..76 => {
            let down = world
                .boards
                .iter()
                .position(|b| !b.is_up() && !b.is_starting);
            if let Some(down) = down {
                world.start(down);
            }
        }
        76..84 => {
            let to = world.below(boards);
            let is_cut = world.chance.below(3) == 0;
            if at != to {
                world.cut(at, to, is_cut);
                if is_cut && world.chance.below(2) == 0 {
                    world.cut(to, at, true);
                }
            }
        }
        84..88 => world.change_weather(),
        88..90 => world.change_clock(at),
        90..92 => world.heal(),
        92..95 if course.wipes => world.maybe_wipe(at),
        _ => {
            let minutes = i64::try_from(world.chance.below(40)).unwrap() + 1;
            world.pass(minutes);
        }
    }
}

impl World {
    /// Starts everybody and waits until all take writes.
    pub(super) async fn found(&mut self) {
        self.heal();
        for at in 0..self.boards.len() {
            self.start(at);
        }
        let minute = Duration::from_secs(60);
        self.until("all are up", minute, Self::all_are_up).await;
    }

    fn write_through(&mut self, at: usize, series: u32) {
        let Some(up) = self.boards[at].up.clone() else {
            return;
        };
        let now = self.day_ms();
        let mut samples: BTreeMap<Key, f64> = BTreeMap::new();
        let age = match self.chance.below(10) {
            0 => self.chance.below(30 * 3_600_000),
            1 | 2 => self.chance.below(3 * 3_600_000),
            _ => self.chance.below(60_000),
        };
        let first = self.chance.below(u64::from(series));
        for number in 0..=self.chance.below(8) {
            let series = u32::try_from((first + number) % u64::from(series)).unwrap();
            // Coarse times, so that keys are written again.
            let at = (now - i64::try_from(age).unwrap()).div_euclid(5_000) * 5_000;
            let value = f64::from(u32::try_from(self.chance.below(1 << 20)).unwrap());
            samples.insert((series, at), value);
        }
        let samples: Vec<(Key, f64)> = samples.into_iter().collect();
        self.say(&format!("write through {}: {samples:?}", at + 1));
        let model = Arc::clone(&self.model);
        tokio::spawn(async move { workload::write(model, up, samples).await });
    }

    fn read_through(&mut self, at: usize) {
        if self.boards[at].is_up() {
            self.say(&format!("read through {}", at + 1));
            self.spawn_read(at);
        }
    }

    fn maybe_crash(&mut self, at: usize) {
        let how = match self.chance.below(2) {
            0 => Crash::Kill,
            _ => Crash::PowerCut,
        };
        // Now and then all of them at once.
        if self.chance.below(12) == 0 {
            self.check();
            for at in 0..self.boards.len() {
                if self.boards[at].is_up() || self.boards[at].is_starting {
                    self.crash(at, how);
                }
            }
            return;
        }
        if self.boards[at].is_up() || self.boards[at].is_starting {
            self.crash(at, how);
        }
    }

    /// A disk is lost, when all others are there and nobody mends anything: one at a time is what
    /// replicas protect from.
    fn maybe_wipe(&mut self, at: usize) {
        if !self.all_are_up() || !self.is_settled() {
            return;
        }
        self.check();
        self.crash(at, Crash::PowerCut);
        self.say(&format!("the disk of {} is lost", at + 1));
        self.boards[at].wipe();
        self.start(at);
    }

    fn change_weather(&mut self) {
        let conditions = Conditions {
            lost: [0, 0, 10, 50, 150][self.below(5)],
            doubled: [0, 20, 100][self.below(3)],
            delay_ms: [1, 5, 50, 300][self.below(4)],
            slow: [0, 0, 20, 100][self.below(4)],
        };
        self.say(&format!("weather {conditions:?}"));
        self.weather.set(conditions);
    }

    /// At most one clock is wrong at a time.
    fn change_clock(&mut self, at: usize) {
        let day = self.day_ms();
        let wrong = match self.chance.below(5) {
            0 => -day,
            1 => 365 * 86_400_000,
            2 => 30_000,
            3 => -3_600_000,
            _ => 0,
        };
        for board in &self.boards {
            board.day.wrong_ms.store(0, Ordering::SeqCst);
        }
        self.say(&format!("the clock of {} is {wrong} ms wrong", at + 1));
        self.boards[at].day.wrong_ms.store(wrong, Ordering::SeqCst);
    }

    /// Heals everything, waits until nothing is to be done any more, and looks whether everything
    /// is everywhere.
    pub(super) async fn end(&mut self) {
        self.say("the end");
        self.heal();
        for board in &self.boards {
            board.day.wrong_ms.store(0, Ordering::SeqCst);
        }
        for at in 0..self.boards.len() {
            if !self.boards[at].is_up() && !self.boards[at].is_starting {
                self.start(at);
            }
        }
        let minutes = Duration::from_secs(600);
        self.until("all are up again", minutes, Self::all_are_up)
            .await;
        self.until("nothing is to be mended", minutes, Self::is_settled)
            .await;
        self.check();
        // All windows end, and what came late grows old.
        for _ in 0..16 {
            self.pass(WINDOW_MS / 60_000 / 4);
            self.run(Duration::from_secs(8)).await;
            self.check();
        }
        // What others gave up last, and somebody kept because his block lacks it, grows old again.
        for _ in 0..4 {
            self.perhaps(Duration::from_secs(60), Self::heads_are_empty)
                .await;
            if !self.heads_are_empty() {
                self.pass(61);
            }
        }
        self.until("all heads are empty", minutes, Self::heads_are_empty)
            .await;
        self.until(
            "all have applied the catalog",
            minutes,
            Self::all_have_applied,
        )
        .await;
        self.check();
        self.check_equal();
        for (at, up) in self.ups() {
            match workload::read(Arc::clone(&self.model), up).await {
                Ok(true) => {}
                Ok(false) => self.fail(&format!("node {} cannot read in the end", at + 1)),
                Err(reason) => self.fail(&format!("in the end node {}: {reason}", at + 1)),
            }
        }
    }

    /// Everybody is live and knows the same, no move is under way, and every partition has as many
    /// members as it should, all of whom are there.
    pub(super) fn is_settled(&self) -> bool {
        let Some(state) = self.newest_state() else {
            return false;
        };
        let live = |up: &super::board::Up| {
            let member = state.members.get(&up.incarnation);
            member.is_some_and(|member| member.liveness == Liveness::Live)
        };
        let ups = self.ups();
        let is_leaving = |up: &super::board::Up| {
            let member = state.members.get(&up.incarnation);
            member.is_some_and(|member| member.draining)
        };
        let staying = ups.iter().filter(|(_, up)| !is_leaving(up)).count();
        ups.iter().all(|(_, up)| live(up))
            && state.partitions.values().all(|partition| {
                let is_up = |member: &MemberId| {
                    let mut ups = ups.iter();
                    ups.any(|(_, up)| {
                        up.incarnation == member.incarnation && up.life == member.life
                    })
                };
                partition.moving.is_none()
                    && partition.members.len() == staying.min(3)
                    && partition.members.iter().all(is_up)
            })
            && ups
                .iter()
                .all(|(_, up)| up.member.control().state().applied == state.applied)
    }

    pub(super) fn heads_are_empty(&self) -> bool {
        let ups = self.ups();
        let mut ups = ups.iter();
        ups.all(|(_, up)| up.member.store().held().is_empty())
    }

    fn all_have_applied(&self) -> bool {
        let Some(state) = self.newest_state() else {
            return false;
        };
        self.ups().iter().all(|(_, up)| {
            state.partitions.iter().all(|(arc, partition)| {
                let everyone = Sets::of(partition).everyone();
                let mut everyone = everyone.iter();
                let takes_part = everyone.any(|member| member.incarnation == up.incarnation);
                !takes_part || up.member.store().has_applied(*arc, partition.version)
            })
        })
    }

    /// Members of a partition hold the same of it.
    fn check_equal(&self) {
        let state = self.newest_state().unwrap();
        let mut of_arc: BTreeMap<_, (usize, Content)> = BTreeMap::new();
        for (at, up) in self.ups() {
            let all = held(&up);
            for (arc, partition) in &state.partitions {
                let mut members = partition.members.iter();
                if !members.any(|member| member.incarnation == up.incarnation) {
                    continue;
                }
                let mine = all.iter().filter(|(key, _)| workload::is_in(key.0, *arc));
                let mine: Content = mine.map(|(key, value)| (*key, *value)).collect();
                let (other, known) = of_arc.entry(*arc).or_insert_with(|| (at, mine.clone()));
                if *known != mine {
                    self.fail(&format!(
                        "nodes {} and {} hold different samples of {arc}",
                        *other + 1,
                        at + 1
                    ));
                }
            }
        }
    }
}
