//! What scripts of events are made of.

use std::sync::Arc;
use std::time::Duration;

use super::board::Up;
use super::workload::{self, Key};
use super::world::World;
use crate::cluster::control::Command;
use crate::cluster::peer::{Hold, Method};
use crate::model::Incarnation;
use crate::runtime::on_thread;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Messages of a method from one to another.
pub(super) fn hold(method: Method, from: Option<Incarnation>, late: Option<Duration>) -> Hold {
    Hold {
        from,
        to: None,
        method: Some(method),
        late,
    }
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
        world
            .until("all is settled", 5 * MINUTE, Self::is_settled)
            .await;
        world
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
        blocks.map(|partition| partition.recent.len()).sum()
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
