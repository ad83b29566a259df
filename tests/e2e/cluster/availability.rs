//! Availability as a figure: writes and dashboard queries, second by second, while one board of
//! three is killed, and while one sleeps. What it prints stands in `docs/reliability.md`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::lab::Board;
use super::load::Load;
use super::stories::three;
use crate::servers::{get, long, post_form};

/// What a dashboard asks.
const PANELS: [&str; 3] = [
    "sum(rate(lab_total[5m]))",
    "topk(3, lab_total)",
    "sum by (instance) (count_over_time(lab_total[10m]))",
];

/// Second to queries and those answered.
type Seconds = BTreeMap<u64, (u32, u32)>;

/// Asks a panel of each board in turn, every 50 ms, once, as a dashboard does; gives the longest
/// that one took.
fn look(urls: &[String], begun: Instant, stop: &AtomicBool, seconds: &Mutex<Seconds>) -> Duration {
    let (mut turn, mut slowest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let url = &urls[turn % urls.len()];
        let form = [("query", PANELS[turn % PANELS.len()])];
        turn += 1;
        let (second, asked) = (begun.elapsed().as_secs(), Instant::now());
        let answered = post_form(&format!("{url}/api/v1/query"), &form)
            .is_ok_and(|answer| answer.status == 200);
        slowest = slowest.max(asked.elapsed());
        let mut seconds = seconds.lock().unwrap();
        let entry = seconds.entry(second).or_default();
        entry.0 += 1;
        entry.1 += u32::from(answered);
        drop(seconds);
        std::thread::sleep(Duration::from_millis(50));
    }
    slowest
}

fn share((tried, good): (u32, u32)) -> String {
    if tried == 0 {
        return "-".to_owned();
    }
    format!(
        "{:.0} % of {tried}",
        f64::from(good) * 100.0 / f64::from(tried)
    )
}

/// Prints a line for each second in which not everything succeeded, and the sum.
fn print(case: &str, events: &[(u64, &str)], writes: &Seconds, reads: &Seconds) {
    println!("{case}: second | writes at the first try | queries | what happened");
    let sum = |of: &Seconds| {
        of.values()
            .fold((0, 0), |(tried, good), (t, g)| (tried + t, good + g))
    };
    let last = writes
        .keys()
        .chain(reads.keys())
        .max()
        .copied()
        .unwrap_or(0);
    for second in 0..=last {
        let at = |of: &Seconds| of.get(&second).copied().unwrap_or_default();
        let (write, read) = (at(writes), at(reads));
        let event = events.iter().find(|(at, _)| *at == second);
        if write.0 != write.1 || read.0 != read.1 || event.is_some() {
            let event = event.map_or("", |(_, event)| event);
            println!(
                "{case}: {second} | {} | {} | {event}",
                share(write),
                share(read)
            );
        }
    }
    println!(
        "{case}: all {} s | {} | {} |",
        last + 1,
        share(sum(writes)),
        share(sum(reads))
    );
}

/// The boards that a proxy would send to: those that are ready within its check's patience.
fn proxied(boards: &[Board]) -> Vec<String> {
    let urls = boards.iter().map(Board::url);
    urls.filter(|url| get(&format!("{url}/-/ready")).is_ok_and(|answer| answer.status == 200))
        .collect()
}

/// One board of three is killed, or sleeps, for twenty seconds; writes and queries go to the two
/// others, as a proxy's do once it has noticed: what is measured is what the loss costs them.
#[test]
fn availability_while_one_board_is_away() {
    if !long("cluster::availability") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::availability", folder.path(), &["seal.grace=0s"]) else {
        return;
    };
    lab.start_all();
    assert_eq!(proxied(&lab.boards).len(), 3);
    for case in ["kill -9", "SIGSTOP"] {
        let load = Load::new();
        let reads = Mutex::default();
        let (stop, begun) = (AtomicBool::new(false), Instant::now());
        let urls = [lab.boards[0].url(), lab.boards[1].url()];
        let mut events = Vec::new();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| load.run(&urls, &stop));
            let looking = scope.spawn(|| look(&urls, begun, &stop, &reads));
            std::thread::sleep(Duration::from_secs(10));
            events.push((begun.elapsed().as_secs(), "it goes away"));
            if case == "SIGSTOP" {
                lab.boards[2].signal("STOP");
            } else {
                lab.boards[2].kill();
            }
            std::thread::sleep(Duration::from_secs(20));
            events.push((begun.elapsed().as_secs(), "it comes back"));
            if case == "SIGSTOP" {
                lab.boards[2].signal("CONT");
            } else {
                lab.start(2);
            }
            std::thread::sleep(Duration::from_secs(15));
            stop.store(true, Ordering::Relaxed);
            assert_eq!(sending.join().unwrap(), 0, "a request was given up");
            let (write, read) = (load.slowest(), looking.join().unwrap());
            println!("{case}: the slowest write took {write:?}, the slowest query {read:?}");
        });
        lab.wait_ready(Duration::from_secs(60));
        load.read_back(&lab.boards);
        print(case, &events, &load.seconds(), &reads.lock().unwrap());
    }
}
