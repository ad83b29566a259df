//! What scripts of events are made of.

use std::sync::Arc;
use std::time::Duration;

use super::board::Up;
use super::workload::{self, Key, arc_of};
use super::world::World;
use crate::cluster::control::{Command, MemberId, MoveBegin, MoveFinish, Partition};
use crate::cluster::peer::{Hold, Method};
use crate::model::{Incarnation, RingArc};
use crate::runtime::on_thread;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Scripts write these series.
const SERIES: u32 = 48;

/// Messages of a method from one to another.
pub(super) fn hold(method: Method, from: Option<Incarnation>, late: Option<Duration>) -> Hold {
    Hold {
        from,
        to: None,
        method: Some(method),
        answers: None,
        late,
    }
}

/// Of what a hold is about the questions only, or the answers only.
pub(super) fn only(hold: Hold, answers: bool) -> Hold {
    Hold {
        answers: Some(answers),
        ..hold
    }
}

/// The same from one board to another.
pub(super) fn between(
    method: Method,
    (from, to): (Option<Incarnation>, Option<Incarnation>),
    late: Option<Duration>,
) -> Hold {
    Hold {
        to,
        ..hold(method, from, late)
    }
}

/// A partition, and what a script needs to know of it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) arc: RingArc,
    /// Its members in their order, as positions among the boards.
    pub(super) members: Vec<usize>,
    /// All other boards.
    pub(super) others: Vec<usize>,
    /// Some of its series.
    pub(super) series: Vec<u32>,
}

/// All messages of the control group to and from somebody are lost.
pub(super) fn deaf(who: Incarnation) -> Vec<Hold> {
    let methods = [Method::Raft, Method::Propose, Method::Hello];
    let both = methods.into_iter().flat_map(|method| {
        let from = hold(method, Some(who), None);
        let to = Hold {
            from: None,
            to: Some(who),
            ..from
        };
        [from, to]
    });
    both.collect()
}

impl World {
    pub(super) async fn founded(seed: u64, boards: u64) -> Self {
        let mut world = Self::new(seed, boards, HOUR);
        world.found().await;
        world.until_settled().await;
        world
    }

    /// Waits until nothing has moved for a while.
    pub(super) async fn until_settled(&mut self) {
        let mut seen = Vec::new();
        for _ in 0..100 {
            self.until("all is settled", 10 * MINUTE, Self::is_settled)
                .await;
            let state = self.newest_state().unwrap();
            let epochs: Vec<_> = state.partitions.values().map(|one| one.epoch).collect();
            if seen == epochs {
                return;
            }
            seen = epochs;
            self.run(Duration::from_secs(4)).await;
        }
        self.fail("something moves for ever");
    }

    pub(super) fn up(&self, at: usize) -> Arc<Up> {
        Arc::clone(self.boards[at].up.as_ref().unwrap())
    }

    pub(super) fn incarnation(&self, at: usize) -> Incarnation {
        self.boards[at].known_incarnation().unwrap()
    }

    /// One sample of each of some series, so long before now.
    pub(super) fn samples(
        &self,
        series: std::ops::Range<u32>,
        before: Duration,
    ) -> Vec<(Key, f64)> {
        let before = i64::try_from(before.as_millis()).unwrap();
        let at = (self.day_ms() - before).div_euclid(1000) * 1000;
        series
            .map(|one| ((one, at), f64::from(one) + 0.5))
            .collect()
    }

    /// Whether a write was acknowledged.
    pub(super) async fn write(&mut self, at: usize, samples: &[(Key, f64)]) -> bool {
        let model = Arc::clone(&self.model);
        let done = workload::write(model, self.up(at), samples.to_vec()).await;
        self.say(&format!("write through {}: {done}", at + 1));
        self.look_at_starts();
        done
    }

    /// Writes as a sender does.
    pub(super) async fn write_until_taken(&mut self, at: usize, samples: &[(Key, f64)]) {
        for _ in 0..30 {
            if self.write(at, samples).await {
                return;
            }
            self.run(Duration::from_secs(1)).await;
        }
        self.fail("a write is not taken");
    }

    /// Whether a read was answered; what is wrong with an answer ends everything.
    pub(super) async fn read(&mut self, at: usize) -> bool {
        match workload::read(Arc::clone(&self.model), self.up(at)).await {
            Ok(whole) => {
                self.say(&format!("read through {}: {whole}", at + 1));
                whole
            }
            Err(wrong) => self.fail(&format!("read through {}: {wrong}", at + 1)),
        }
    }

    /// The partitions in which some of the first series lie.
    pub(super) fn places(&self) -> Vec<Place> {
        let state = self.newest_state().unwrap();
        let at = |who| {
            let mut boards = self.boards.iter();
            boards.position(|board| board.known_incarnation() == Some(who))
        };
        let place = |(arc, partition): (&RingArc, &Arc<Partition>)| {
            let members = partition.members.iter().map(|member| member.incarnation);
            let members: Vec<usize> = members.filter_map(at).collect();
            let others = (0..self.boards.len()).filter(|one| !members.contains(one));
            Place {
                arc: *arc,
                others: others.collect(),
                members,
                series: (0..SERIES).filter(|one| arc_of(*one) == *arc).collect(),
            }
        };
        let places = state.partitions.iter().map(place);
        places.filter(|place| !place.series.is_empty()).collect()
    }

    /// What a partition is now.
    pub(super) fn partition(&self, arc: RingArc) -> Partition {
        let state = self.newest_state().unwrap();
        Partition::clone(state.partition(arc).unwrap())
    }

    /// Whether a board is a member of a partition, and nobody moves.
    pub(super) fn is_settled_member(&self, arc: RingArc, at: usize) -> bool {
        let partition = self.partition(arc);
        let who = self.incarnation(at);
        let mut members = partition.members.iter();
        partition.moving.is_none() && members.any(|member| member.incarnation == who)
    }

    /// The board that leads the control group.
    pub(super) fn leader(&self) -> Option<usize> {
        let (_, up) = self.ups().into_iter().next()?;
        let leader = up.member.control().leader()?;
        let mut boards = self.boards.iter();
        boards.position(|board| board.known_incarnation() == Some(leader))
    }

    /// Begins a move as a leader would that has not looked whether all is prepared.
    pub(super) async fn begin_move(&mut self, arc: RingArc, join: usize, leave: usize) {
        let epoch = self.partition(arc).epoch;
        let member = |at| MemberId {
            incarnation: self.incarnation(at),
            life: self.up(at).life,
        };
        let begin = MoveBegin {
            arc,
            epoch,
            join: Some(member(join)),
            leave: Some(member(leave)),
        };
        self.propose(0, Command::MoveBegin(begin)).await;
    }

    /// Ends a move as a leader does that has heard from all who gather.
    pub(super) async fn finish_move(&mut self, arc: RingArc) {
        let partition = self.partition(arc);
        let finish = MoveFinish {
            arc,
            epoch: partition.epoch,
            version: partition.version,
        };
        self.propose(0, Command::MoveFinish(finish)).await;
    }

    /// One sample of each of these series, so long before now.
    pub(super) fn samples_of(&self, series: &[u32], before: Duration) -> Vec<(Key, f64)> {
        let all = self.samples(0..SERIES, before);
        let mut all = all.into_iter();
        series
            .iter()
            .filter_map(|one| all.find(|((series, _), _)| series == one))
            .collect()
    }

    pub(super) async fn propose(&mut self, at: usize, command: Command) {
        let up = self.up(at);
        let proposed = on_thread(move || up.member.control().propose(&command)).await;
        self.say(&format!("proposed: {:?}", proposed.unwrap()));
    }

    pub(super) async fn drain(&mut self, at: usize, drain: bool) {
        for _ in 0..20 {
            let (up, name) = (self.up(0), format!("node-{}", at + 1));
            let drained = on_thread(move || up.member.drain(&name, drain)).await;
            match drained.unwrap() {
                Ok(()) => return,
                Err(error) => self.say(&format!("cannot drain yet: {error}")),
            }
            self.run(Duration::from_secs(1)).await;
        }
        self.fail("nobody takes the drain");
    }

    /// Blocks in the catalog.
    pub(super) fn blocks(&self) -> usize {
        let state = self.newest_state().unwrap();
        let blocks = state.partitions.values();
        let of = |p: &crate::cluster::control::Partition| {
            let older = p.history.map_or(0, |history| history.blocks);
            p.recent.len() + usize::try_from(older).unwrap()
        };
        blocks.map(|partition| of(partition)).sum()
    }

    /// Blocks of one partition in the catalog.
    pub(super) fn blocks_of(&self, arc: RingArc) -> usize {
        self.partition(arc).recent.len()
    }

    /// Waits until something is so, or not: as long as it may take.
    pub(super) async fn perhaps(&mut self, longest: Duration, is_so: impl Fn(&Self) -> bool) {
        let began = tokio::time::Instant::now();
        while !is_so(self) && began.elapsed() < longest {
            self.run(Duration::from_millis(250)).await;
        }
    }

    /// How many moves there are now.
    pub(super) fn moves(&self) -> usize {
        let state = self.newest_state().unwrap();
        let moving = state.partitions.values();
        moving
            .filter(|partition| partition.moving.is_some())
            .count()
    }

    pub(super) fn isolate(&mut self, at: usize, is_cut: bool) {
        for other in 0..self.boards.len() {
            if other != at {
                self.cut(at, other, is_cut);
                self.cut(other, at, is_cut);
            }
        }
    }

    pub(super) async fn finish(&mut self) {
        self.weather.hold(Vec::new());
        self.end().await;
    }

    /// Writes while other things go on.
    pub(super) fn spawn_write(&self, at: usize, samples: &[(Key, f64)]) {
        let (model, up, samples) = (Arc::clone(&self.model), self.up(at), samples.to_vec());
        tokio::spawn(async move { workload::write(model, up, samples).await });
    }

    /// Reads while other things go on; what is wrong with an answer ends everything.
    pub(super) fn spawn_read(&self, at: usize) {
        let (model, up) = (Arc::clone(&self.model), self.up(at));
        let wrong = Arc::clone(&self.wrong);
        tokio::spawn(async move {
            if let Err(reason) = workload::read(model, up).await {
                wrong
                    .lock()
                    .push(format!("read through {}: {reason}", at + 1));
            }
        });
    }
}
