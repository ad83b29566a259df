//! What nodes ask of their bucket, in clusters of several sizes: as in `messages.rs` one scrape target
//! a node, written through it, and a ring that has as many partitions as it should, all of them in use.
//! Blocks are far below what is worth an object of its own, so that those of a window are packed.
//!
//! The nodes' clocks go faster than what is bound to the runtime's (messages, the pauses between two
//! looks of a duty): what looks every two seconds does so every minute and a half of their day.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::apart::number;
use super::clock::{Day, SimClock};
use super::script::HOUR;
use super::workload::{self, Key, NAMES, SERIES_OF_A_TARGET};
use super::world::World;
use crate::archive::{MemoryBucket, Named, Traffic, parse_name};
use crate::cluster::control::Timings;
use crate::cluster::turns::is_first;
use crate::model::{TimestampMs, Uploaded};
use crate::runtime::{on_thread, simulate};

/// A day of the nodes takes half an hour of the runtime's clock. Twice as fast, and a member would take the turn of
/// another one (five minutes) that has had no time to look (two seconds, and half of that now and then).
const TIMES: u32 = 48;
/// A target is scraped so often: enough for a block of every partition and window.
const INTERVAL: Duration = Duration::from_secs(15 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const KINDS: [&str; 5] = ["packs", "blocks alone", "catalogs", "manifests", "others"];
const TRAFFIC: [Traffic; 4] = [Traffic::Put, Traffic::Get, Traffic::List, Traffic::Delete];

fn kind_of(name: &str) -> usize {
    match parse_name(name) {
        Some(Named::Pack(_)) => 0,
        Some(Named::Block(_)) => 1,
        Some(Named::Catalog { .. }) => 2,
        Some(Named::Manifest { .. }) => 3,
        _ => 4,
    }
}

/// What has been asked of a bucket.
#[derive(Default)]
struct Asked {
    /// By what was asked, and of which kind of object.
    requests: [[usize; KINDS.len()]; TRAFFIC.len()],
    /// How often each object was put.
    puts: BTreeMap<String, usize>,
}

impl Asked {
    fn puts_of(&self, kind: usize) -> usize {
        self.requests[Traffic::Put as usize][kind]
    }

    fn objects(&self) -> usize {
        self.requests[Traffic::Put as usize].iter().sum()
    }

    /// Objects that were put more than once, but for those that are replaced (`cluster.json`, the sweeper's list).
    fn put_again(&self) -> Vec<&String> {
        let again = self
            .puts
            .iter()
            .filter(|(name, puts)| **puts > 1 && kind_of(name) < 4);
        again.map(|(name, _)| name).collect()
    }

    /// How often the partition's catalog was copied that was copied most.
    fn copies_max(&self) -> usize {
        let mut copies: BTreeMap<_, usize> = BTreeMap::new();
        for (name, puts) in &self.puts {
            if let Some(Named::Catalog { arc, .. }) = parse_name(name) {
                *copies.entry(arc).or_default() += puts;
            }
        }
        copies.into_values().max().unwrap_or_default()
    }
}

/// A day of a cluster of some size.
struct Counted {
    nodes: u64,
    partitions: usize,
    asked: Asked,
    counts: BTreeMap<&'static str, u64>,
    /// Of how many partitions each node is the first member, which seals and uploads.
    firsts: Vec<usize>,
    /// What was not as it should be in the end.
    trouble: Vec<String>,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = &self.asked;
        let [packs, blocks, catalogs, manifests, others] =
            [0, 1, 2, 3, 4].map(|k| asked.puts_of(k));
        writeln!(
            f,
            "| {} (measured) | {} | {packs} | {blocks} | {catalogs} | {} | {} |",
            self.nodes,
            self.partitions,
            manifests + others,
            asked.objects()
        )?;
        for traffic in TRAFFIC {
            let of = asked.requests[traffic as usize];
            writeln!(
                f,
                "  {traffic:?} {KINDS:?}: {of:?}, together {}",
                of.iter().sum::<usize>()
            )?;
        }
        let (again, most) = (asked.put_again(), asked.copies_max());
        writeln!(f, "  put again: {again:?}; copies of one catalog: {most}")?;
        writeln!(f, "  first turns of: {:?} partitions", self.firsts)?;
        write!(f, "  {:?}; trouble: {:?}", self.counts, self.trouble)
    }
}

impl World {
    /// A bucket for all boards, none of which has been started.
    fn give_bucket(&mut self) -> MemoryBucket {
        let clock = SimClock::new(&Day::of(&self.pace, &self.moved_ms));
        let bucket = MemoryBucket::new(Arc::new(clock));
        for board in &mut self.boards {
            board.bucket = Some(bucket.clone());
            // Who says something every so often has said it so much longer ago on a faster clock.
            board.detection = Timings::DETECTION * TIMES;
        }
        bucket
    }

    /// Every target is scraped for so long, by the nodes' clocks.
    async fn live_through(&mut self, time: Duration) {
        let until = self.day_ms() + i64::try_from(time.as_millis()).unwrap();
        while self.day_ms() < until {
            let now = self.day_ms();
            for (at, up) in self.ups() {
                let first = NAMES + u32::try_from(at).unwrap() * SERIES_OF_A_TARGET;
                let target = first..first + SERIES_OF_A_TARGET;
                let scraped: Vec<(Key, f64)> = target.map(|one| ((one, now), 1.5)).collect();
                let model = Arc::clone(&self.model);
                tokio::spawn(async move { workload::write(model, up, scraped).await });
            }
            self.run(INTERVAL / TIMES).await;
            for board in &self.boards {
                board.date_files(self.day_ms());
            }
        }
    }

    /// Of how many partitions each board has the first turn.
    fn firsts(&self) -> Vec<usize> {
        let state = self.newest_state().unwrap();
        let boards = self.boards.iter().map(|board| {
            let who = board.known_incarnation().unwrap();
            let partitions = state.partitions.iter();
            let firsts = partitions.filter(|(arc, one)| is_first(&state, (**arc, one), who));
            firsts.count()
        });
        boards.collect()
    }

    /// What has been sealed long ago and is not in the bucket.
    fn left_behind(&self) -> Vec<String> {
        let before = TimestampMs(self.day_ms() - 5 * 3_600_000);
        let state = self.newest_state().unwrap();
        let mut left = Vec::new();
        for (arc, partition) in &state.partitions {
            let old = partition.recent.values().filter(|entry| {
                entry.uploaded == Uploaded::None && entry.level.0 == 0 && entry.range.end < before
            });
            left.extend(old.map(|entry| format!("{arc}: {entry:?}")));
        }
        left
    }
}

/// What is counted, by the nodes' clocks.
#[derive(Clone, Copy)]
struct Span {
    /// When the cluster is founded: so long after the beginning, which is 22:00.
    founded: Duration,
    /// So long is not counted, and so long is.
    before: Duration,
    counted: Duration,
}

async fn count(seed: u64, nodes: u64, span: Span) -> Counted {
    let mut world = World::new(seed, nodes, HOUR);
    let bucket = world.give_bucket();
    world.pass(i64::try_from(span.founded.as_secs() / 60).unwrap());
    world.grow_up().await;
    world.pace.lock().set(TIMES);
    world.live_through(span.before).await;
    let asked = Arc::new(Mutex::new(Asked::default()));
    let note = Arc::clone(&asked);
    bucket.faults.set(Some(Box::new(move |traffic, name: &str| {
        let mut asked = note.lock();
        asked.requests[traffic as usize][kind_of(name)] += 1;
        if traffic as usize == Traffic::Put as usize {
            *asked.puts.entry(name.to_owned()).or_default() += 1;
        }
        None
    })));
    world.live_through(span.counted).await;
    bucket.faults.set(None);
    let mut trouble = world.left_behind();
    for (_, up) in world.ups() {
        let said = on_thread(move || up.member.cluster_status().trouble).await;
        trouble.extend(said.unwrap());
    }
    let asked = std::mem::take(&mut *asked.lock());
    Counted {
        nodes,
        partitions: world.newest_state().unwrap().partitions.len(),
        asked,
        counts: world.model.lock().counts.clone(),
        firsts: world.firsts(),
        trouble,
    }
}

/// One size: `scripts/sim bucket NODES [DAYS [HOURS]]`.
#[test]
#[ignore = "minutes: scripts/sim bucket"]
fn of_one_size() {
    let nodes = number("CAIRN_SIM_NODES").unwrap_or(6);
    let days = number("CAIRN_SIM_DAYS").unwrap_or(5);
    let hours = number("CAIRN_SIM_HOURS").unwrap_or(24);
    let span = Span {
        founded: Duration::ZERO,
        before: DAY * u32::try_from(days).unwrap(),
        counted: HOUR * u32::try_from(hours).unwrap(),
    };
    let counted = simulate(1, move || count(1, nodes, span));
    println!("after {days} days, in {hours} hours:\n{counted}");
}

/// Would catch objects that are put twice, windows in more than one pack a node, and copies of the catalog after
/// every change, and nodes that do nothing of it because others have the first turn everywhere; not a member that
/// puts what is another's turn, before that one looks.
#[test]
fn a_day_of_six_nodes_is_less_than_250_objects() {
    // Two windows of the day before the counted one are merged in it.
    let span = Span {
        founded: HOUR * 22,
        before: HOUR * 4,
        counted: DAY,
    };
    let day = simulate(1, move || count(1, 6, span));
    println!("{day}");
    assert_eq!(day.trouble, Vec::<String>::new());
    assert!(day.asked.objects() < 250, "{day}");
    assert_eq!(day.asked.put_again(), Vec::<&String>::new(), "{day}");
    assert!(day.asked.copies_max() <= 5, "{day}");
    // All upload: a pack of each window and node; and a merged block of each partition.
    assert!(day.firsts.iter().all(|firsts| *firsts > 0), "{day}");
    let [packs, alone] = [day.asked.puts_of(0), day.asked.puts_of(1)];
    assert!((11 * 6..=13 * 6).contains(&packs), "{day}");
    assert!(alone >= day.partitions, "{day}");
}
