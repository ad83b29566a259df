//! Several boards and the network between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::board::{Board, Crash, Started, Up};
use super::clock::{BEGIN, Day, Pace};
use super::history::History;
use super::workload::Model;
use crate::cluster::control::ControlState;
use crate::cluster::peer::{Conditions, MemoryNetwork, Weather};
use crate::runtime::{Chance, SeededChance};

/// Everything.
pub(super) struct World {
    pub(super) chance: SeededChance,
    pub(super) network: Arc<MemoryNetwork>,
    pub(super) weather: Arc<Weather>,
    pub(super) boards: Vec<Board>,
    pub(super) model: Arc<Mutex<Model>>,
    /// Starts that have come to something: board, start, what.
    started: Arc<Mutex<Vec<(usize, u64, Started)>>>,
    /// Links that are cut.
    cuts: Vec<(usize, usize)>,
    pub(super) moved_ms: Arc<AtomicI64>,
    pub(super) pace: Arc<Mutex<Pace>>,
    began: tokio::time::Instant,
    pub(super) history: History,
    /// Starts that have failed, and nodes that have ended by themselves, and why.
    pub(super) refusals: Vec<(usize, String)>,
    /// What readers found wrong.
    pub(super) wrong: Arc<Mutex<Vec<String>>>,
    is_loud: bool,
    _root: Arc<tempfile::TempDir>,
    pub(super) root: std::path::PathBuf,
    founders: Vec<u64>,
}

impl World {
    /// So many boards, all of which found the cluster together.
    pub(super) fn new(seed: u64, boards: u64, replace_after: Duration) -> Self {
        let chance = SeededChance::new(seed);
        let weather = Arc::new(Weather::new(Arc::new(SeededChance::new(chance.next_u64()))));
        let network: Arc<MemoryNetwork> = Arc::default();
        network.weather(Arc::clone(&weather));
        let shm = std::path::Path::new("/dev/shm");
        let root = if shm.is_dir() {
            tempfile::tempdir_in(shm)
        } else {
            tempfile::tempdir()
        };
        let root = Arc::new(root.unwrap());
        let moved_ms = Arc::new(AtomicI64::new(0));
        let pace = Arc::new(Mutex::new(Pace::begin()));
        let founders: Vec<u64> = (1..=boards).collect();
        let board = |number: &u64| {
            let day = Day::of(&pace, &moved_ms);
            let mut board = Board::new(*number, root.path(), day, &founders);
            board.replace_after = replace_after;
            board
        };
        Self {
            boards: founders.iter().map(board).collect(),
            chance,
            network,
            weather,
            model: Arc::default(),
            started: Arc::default(),
            cuts: Vec::new(),
            moved_ms,
            pace,
            began: tokio::time::Instant::now(),
            history: History::default(),
            refusals: Vec::new(),
            wrong: Arc::default(),
            is_loud: std::env::var("CAIRN_SIM_LOUD").is_ok(),
            root: root.path().to_owned(),
            _root: root,
            founders,
        }
    }

    /// One more board, which knows where the founders are.
    pub(super) fn add_board(&mut self) -> usize {
        let number = u64::try_from(self.boards.len()).unwrap() + 1;
        let mut peers = self.founders.clone();
        peers.push(number);
        let day = Day::of(&self.pace, &self.moved_ms);
        let mut board = Board::new(number, &self.root, day, &peers);
        board.replace_after = self.boards[0].replace_after;
        self.boards.push(board);
        self.boards.len() - 1
    }

    /// Says what happens, into the trace and on request to a person.
    pub(super) fn say(&self, what: &str) {
        self.weather.note(what);
        if self.is_loud {
            eprintln!("{:>9.3} {what}", self.began.elapsed().as_secs_f64());
        }
    }

    /// Stops with what went wrong.
    pub(super) fn fail(&self, what: &str) -> ! {
        panic!("after {:.3} s: {what}", self.began.elapsed().as_secs_f64());
    }

    pub(super) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.chance.below(u64::try_from(bound).unwrap())).unwrap()
    }

    pub(super) fn start(&mut self, at: usize) {
        self.say(&format!("start {}", at + 1));
        let seed = self.chance.next_u64();
        let board = &mut self.boards[at];
        let starting = board.start(&self.network, seed);
        let (number, started) = (board.starts, Arc::clone(&self.started));
        tokio::spawn(async move {
            let result = starting.await;
            started.lock().push((at, number, result));
        });
    }

    /// Takes note of starts that have come to something.
    pub(super) fn look_at_starts(&mut self) {
        let all = std::mem::take(&mut *self.started.lock());
        for (at, number, result) in all {
            let board = &mut self.boards[at];
            if board.starts != number {
                // It crashed while it started.
                if let Ok(up) = result {
                    up.end();
                }
                continue;
            }
            board.is_starting = false;
            match result {
                Ok(up) => {
                    board.up = Some(up);
                    self.say(&format!("{} is up", at + 1));
                }
                Err(error) => {
                    self.say(&format!("{} does not start: {error}", at + 1));
                    self.refusals.push((at, error));
                }
            }
        }
    }

    /// Who says that it must end ends.
    fn look_at_ends(&mut self) {
        for at in 0..self.boards.len() {
            if let Some(reason) = self.boards[at].ending() {
                self.say(&format!("{} ends: {reason}", at + 1));
                self.crash(at, Crash::Kill);
                self.refusals.push((at, reason));
            }
        }
    }

    pub(super) fn crash(&mut self, at: usize, how: Crash) {
        self.say(&format!("crash {}: {how:?}", at + 1));
        let board = &mut self.boards[at];
        board.crash(how, &self.network, &self.chance);
    }

    /// The nodes that are up.
    pub(super) fn ups(&self) -> Vec<(usize, Arc<Up>)> {
        let boards = self.boards.iter().enumerate();
        let ups = boards.filter_map(|(at, board)| Some((at, Arc::clone(board.up.as_ref()?))));
        ups.collect()
    }

    pub(super) fn all_are_up(&self) -> bool {
        self.boards.iter().all(Board::is_up)
    }

    /// Cuts what one node says to another, or mends it.
    pub(super) fn cut(&mut self, from: usize, to: usize, is_cut: bool) {
        self.say(&format!("{} to {}: cut {is_cut}", from + 1, to + 1));
        self.cuts.retain(|cut| *cut != (from, to));
        if is_cut {
            self.cuts.push((from, to));
        }
        self.put_cuts();
    }

    /// Cuts are between boards, whatever incarnation they run as.
    pub(super) fn put_cuts(&self) {
        for (from, board) in self.boards.iter().enumerate() {
            for (to, other) in self.boards.iter().enumerate() {
                let is_cut = self.cuts.contains(&(from, to));
                let here = board.known_incarnation();
                let there = other.known_incarnation();
                if let (Some(here), Some(there)) = (here, there) {
                    self.network.cut(here, there, is_cut);
                }
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.say("heal");
        self.cuts.clear();
        self.put_cuts();
        self.weather.set(Conditions {
            delay_ms: 2,
            ..Conditions::default()
        });
    }

    /// How long the simulation has gone on.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The day goes on by so many minutes at once, for everybody.
    pub(super) fn pass(&self, minutes: i64) {
        for board in &self.boards {
            board.date_files(self.day_ms());
        }
        self.say(&format!("{minutes} minutes pass"));
        self.moved_ms.fetch_add(minutes * 60_000, Ordering::SeqCst);
    }

    pub(super) fn day_ms(&self) -> i64 {
        let passed = i64::try_from(self.pace.lock().passed().as_millis()).unwrap();
        BEGIN + passed + self.moved_ms.load(Ordering::SeqCst)
    }

    /// The control state of whoever has applied most.
    pub(super) fn newest_state(&self) -> Option<Arc<ControlState>> {
        let states = self.ups().into_iter();
        let states = states.map(|(_, up)| up.member.control().state());
        states.max_by_key(|state| state.applied)
    }

    /// Lets the simulation run for a while.
    pub(super) async fn run(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        self.look_at_starts();
        self.look_at_ends();
        self.put_cuts();
        let wrong = self.wrong.lock().pop();
        if let Some(wrong) = wrong {
            self.fail(&wrong);
        }
    }

    /// Lets it run until something is so.
    pub(super) async fn until(
        &mut self,
        what: &str,
        longest: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) {
        let began = tokio::time::Instant::now();
        while !is_so(self) {
            if began.elapsed() > longest {
                self.fail(&format!("never: {what}"));
            }
            self.run(Duration::from_millis(250)).await;
        }
    }
}
