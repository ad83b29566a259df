//! A sender that knows what was acknowledged, and reads it back from every board.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::lab::Board;
use crate::remote_write::{body, now_ms, send, series};

/// Series of each sender.
const SERIES: usize = 40;
/// The sender's clock starts this far back and goes on by a step with every request.
const BEHIND_MS: i64 = 1_800_000;
const STEP_MS: i64 = 100;
/// Some series are older: of windows that are closed.
const OLDER_MS: i64 = 9_000_000;
const REQUESTS_MAX: i64 = BEHIND_MS / STEP_MS - 1;

/// What was sent and acknowledged.
pub struct Load {
    base: i64,
    next: Mutex<i64>,
    /// Series to timestamp to value.
    acknowledged: Mutex<BTreeMap<usize, BTreeMap<i64, f64>>>,
    /// Every second since the start: requests, and those acknowledged at the first try.
    seconds: Mutex<BTreeMap<u64, (u32, u32)>>,
    /// The longest that a request took until it was acknowledged.
    slowest: Mutex<Duration>,
    started: Instant,
}

impl Load {
    pub fn new() -> Self {
        Self {
            base: now_ms() - BEHIND_MS,
            next: Mutex::new(0),
            acknowledged: Mutex::default(),
            seconds: Mutex::default(),
            slowest: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// One request to one of the addresses; tried again on the others until it is acknowledged
    /// or `patience` is over, as senders do. Whether it was.
    pub fn send_one(&self, urls: &[String], patience: Duration) -> bool {
        let number = {
            let mut next = self.next.lock().unwrap();
            *next += 1;
            *next
        };
        assert!(number < REQUESTS_MAX, "the sender's clock would pass ours");
        let at = self.base + number * STEP_MS;
        let mut request = Vec::new();
        let mut sent = Vec::new();
        for number in 0..SERIES {
            let value = at as f64 / 7.0 + number as f64;
            let text = number.to_string();
            let labels = [
                ("__name__", "lab_total"),
                ("instance", ["a", "b", "c", "d"][number % 4]),
                ("job", "lab"),
                ("number", &text),
            ];
            // Some are of a window that has long been sealed, again and again.
            let at = at - if number % 7 == 0 { OLDER_MS } else { 0 };
            request.push(series(&labels, &[(at, value)]));
            sent.push((number, at, value));
        }
        let body = body(request);
        let begun = Instant::now();
        let mut turn = usize::try_from(number).unwrap_or(0);
        let mut tries = 0;
        let acknowledged = loop {
            tries += 1;
            let url = &urls[turn % urls.len()];
            turn += 1;
            if send(url, &body).is_ok_and(|answer| answer.status / 100 == 2) {
                break true;
            }
            if begun.elapsed() > patience {
                break false;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        if acknowledged {
            let mut all = self.acknowledged.lock().unwrap();
            for (number, at, value) in sent {
                all.entry(number).or_default().insert(at, value);
            }
        }
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = begun.elapsed().max(*slowest);
        drop(slowest);
        let second = self.started.elapsed().as_secs();
        let mut seconds = self.seconds.lock().unwrap();
        let entry = seconds.entry(second).or_default();
        entry.0 += 1;
        entry.1 += u32::from(acknowledged && tries == 1);
        acknowledged
    }

    /// Sends until told to stop; how many requests were not acknowledged in time.
    pub fn run(&self, urls: &[String], stop: &AtomicBool) -> usize {
        let mut failed = 0;
        while !stop.load(Ordering::Relaxed) {
            failed += usize::from(!self.send_one(urls, Duration::from_secs(30)));
            std::thread::sleep(Duration::from_millis(20));
        }
        failed
    }

    /// The share of requests that were acknowledged at the first try, and of seconds in which all
    /// were.
    pub fn availability(&self) -> String {
        let seconds = self.seconds.lock().unwrap();
        let good = seconds.values().filter(|(tried, at_once)| tried == at_once);
        let (tried, at_once) = seconds
            .values()
            .fold((0, 0), |(tried, good), (t, g)| (tried + t, good + g));
        format!(
            "{at_once} of {tried} requests and {} of {} seconds without a retry",
            good.count(),
            seconds.len()
        )
    }

    pub fn samples(&self) -> usize {
        let all = self.acknowledged.lock().unwrap();
        all.values().map(BTreeMap::len).sum()
    }

    /// What a board lacks or has otherwise of what was acknowledged before it is asked.
    pub fn missing_on(&self, board: &Board) -> Result<(), String> {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        // From the oldest sample on, however long ago that was sent.
        let minutes = (now_ms() - self.base + OLDER_MS) / 60_000 + 1;
        let found = board.query(&format!("lab_total[{minutes}m]"), now_ms())?;
        let mut stored: BTreeMap<usize, BTreeMap<i64, f64>> = BTreeMap::new();
        for series in found.as_array().ok_or("no list")? {
            let number = series["metric"]["number"].as_str().ok_or("no number")?;
            let number: usize = number.parse().map_err(|_| "no number")?;
            for pair in series["values"].as_array().ok_or("no values")? {
                let at = (pair[0].as_f64().ok_or("no time")? * 1000.0).round() as i64;
                let value: f64 = pair[1]
                    .as_str()
                    .and_then(|v| v.parse().ok())
                    .ok_or("value")?;
                stored.entry(number).or_default().insert(at, value);
            }
        }
        let (mut lost, mut example) = (0, None);
        for (number, samples) in &acknowledged {
            for (at, value) in samples {
                let found = stored.get(number).and_then(|samples| samples.get(at));
                if found.map(|v| v.to_bits()) != Some(value.to_bits()) {
                    lost += 1;
                    example.get_or_insert((*number, *at, found.copied()));
                }
            }
        }
        if lost > 0 {
            return Err(format!(
                "{}: {lost} acknowledged samples are lost or changed, such as {example:?}",
                board.name
            ));
        }
        Ok(())
    }

    /// The longest that a request took until it was acknowledged.
    pub fn slowest(&self) -> Duration {
        *self.slowest.lock().unwrap()
    }

    /// Every second since the start: requests, and those acknowledged at the first try.
    pub fn seconds(&self) -> BTreeMap<u64, (u32, u32)> {
        self.seconds.lock().unwrap().clone()
    }

    /// Every board gives every acknowledged sample.
    pub fn read_back(&self, boards: &[Board]) {
        assert!(self.samples() > 0, "nothing was acknowledged");
        for board in boards.iter().filter(|board| board.is_on()) {
            if let Err(problem) = self.missing_on(board) {
                panic!("{problem}\n{}", board.output());
            }
        }
    }
}
