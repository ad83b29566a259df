//! What the log promises, under failing and torn writes: what was acknowledged is read back, what
//! is read back is a beginning of what was pushed, and damage is never taken for a torn tail.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test data: positions are small numbers, payloads are any bytes"
)]

use std::sync::Arc;

use proptest::prelude::*;

use super::faulty::FaultyDisk;
use super::*;
use crate::model::{RingArc, TimestampMs, Window};
use crate::runtime::{ByteSize, Clock, ManualClock};
use crate::store::error::Error;

/// Collects what a replay gives.
#[derive(Default)]
struct Collected(Records, Vec<Pin>);

impl Replayed for Collected {
    fn record(&mut self, header: &RecordHeader, _offset: u64, payload: &[u8]) -> bool {
        self.0.push((header.position, payload.to_vec()));
        let pin = (header.window, arc(header.shard), header.position);
        self.1.push(pin.into());
        true
    }

    fn finish(&mut self) -> Result<Vec<Pin>, Misread> {
        Ok(std::mem::take(&mut self.1))
    }
}

fn arc(number: u8) -> RingArc {
    RingArc::new(u32::from(number) << 28, 4).unwrap()
}

/// Records by their positions.
type Records = Vec<(u64, Vec<u8>)>;

fn try_open(disk: &FaultyDisk, marks: &[Mark]) -> Result<(Log, Records), Error> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs(0)));
    let mut collected = Collected::default();
    // As small as they may be: room for two of the largest records.
    let settings = WriteLogSettings {
        segment_size: ByteSize(1),
        ..WriteLogSettings::default()
    };
    let log = Log::open(
        &settings,
        Arc::new(disk.clone()),
        marks,
        clock,
        &mut collected,
    )?;
    Ok((log, collected.0))
}

fn open(disk: &FaultyDisk) -> (Log, Records) {
    try_open(disk, &[]).unwrap()
}

/// The payload of a position: so that what comes back can be checked without remembering it.
fn payload(position: u64, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (position as usize * 31 + at * 7) as u8)
        .collect()
}

fn push(log: &Log, position: u64, len: usize) -> Result<u64, Error> {
    let payload = payload(position, len);
    let pushed = log.push(&[Record {
        window: Window(position as i64 / 4),
        shard: (position % 3) as u8,
        kind: RecordKind::Others,
        payload: &payload,
        arcs: &[arc((position % 3) as u8)],
    }]);
    log.kick();
    pushed
}

/// What came back is 1, 2, 3, ... with the payloads that were pushed.
fn check(found: &[(u64, Vec<u8>)], acknowledged: u64) {
    for (at, (position, bytes)) in found.iter().enumerate() {
        assert_eq!(*position, at as u64 + 1);
        assert_eq!(*bytes, payload(*position, bytes.len()));
    }
    assert!(
        found.len() as u64 >= acknowledged,
        "{acknowledged} were acknowledged, {} came back",
        found.len()
    );
}

/// Lengths that fill a segment now and then: one is at least twice the largest payload long.
fn length(position: u64) -> usize {
    match position % 7 {
        3 => 3 << 20,
        5 => 0,
        other => other as usize * 137,
    }
}

#[test]
fn the_nth_io_fails_for_every_n() {
    for torn in [0, 40, 1 << 20] {
        for n in 0..40 {
            let disk = FaultyDisk::default();
            disk.fail_at(n, torn);
            let mut acknowledged = 0;
            let Ok((log, _)) = try_open(&disk, &[]) else {
                check(&open(&disk.after_power_cut(n)).1, 0);
                continue;
            };
            let mut failed = false;
            for position in 1..=14 {
                let done = push(&log, position, length(position))
                    .and_then(|position| log.wait_durable(position));
                match done {
                    Ok(()) => {
                        assert!(!failed, "after a failure nothing may be acknowledged");
                        acknowledged = position;
                    }
                    Err(error) => {
                        failed = true;
                        assert!(error.to_string().contains("restarted"), "{error}");
                    }
                }
            }
            drop(log);
            check(&open(&disk.after_kill()).1, acknowledged);
            for seed in 0..2 {
                let after = disk.after_power_cut(seed);
                check(&open(&after).1, acknowledged);
                // What was cut off stays cut off, and the log goes on.
                let (log, found) = open(&after);
                let next = found.len() as u64 + 1;
                let position = push(&log, next, 100).unwrap();
                assert_eq!(position, next);
                log.wait_durable(position).unwrap();
                drop(log);
                check(&open(&after.after_power_cut(seed)).1, next);
            }
        }
    }
}

/// A sync that failed is not tried again, not even by the next process: what that one reads from
/// the system's cache it acknowledges when it is sent once more, so it must be on the disk then.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again() {
    for before in 0..3 {
        let disk = FaultyDisk::default();
        let (log, _) = open(&disk);
        for position in 1..=before {
            push(&log, position, 100).unwrap();
            log.wait_durable(position).unwrap();
        }
        // The write reaches the cache, the sync fails.
        disk.fail_at(1, 0);
        push(&log, before + 1, 3000).unwrap();
        log.wait_durable(before + 1).unwrap_err();
        drop(log);
        disk.recover();
        let (log, found) = open(&disk);
        check(&found, before);
        drop(log);
        for seed in 0..8 {
            check(&open(&disk.after_power_cut(seed)).1, found.len() as u64);
        }
    }
}

/// A log of several writes in one segment, and where each write begins.
fn several_writes() -> (FaultyDisk, String, Vec<usize>) {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk);
    let mut begins = Vec::new();
    for position in 1..=6 {
        begins.push(4096 + log.stats().written_bytes as usize);
        push(&log, position, 50).unwrap();
        log.wait_durable(position).unwrap();
    }
    begins.push(4096 + log.stats().written_bytes as usize);
    drop(log);
    let name = disk.names().remove(0);
    (disk, name, begins)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off() {
    let (disk, name, begins) = several_writes();
    let (last, end) = (begins[5], begins[6]);
    for at in last..end {
        let torn = disk.after_kill();
        torn.damage(&name, |bytes| bytes[at..].fill(0));
        let (log, found) = open(&torn);
        check(&found, 5);
        assert_eq!(found.len(), 5, "byte {at}");
        drop(log);
        // The last write's beginning is lost, its end is there.
        let torn = disk.after_kill();
        torn.damage(&name, |bytes| bytes[last..at].fill(0));
        let (log, found) = open(&torn);
        check(&found, 5);
        let next = found.len() as u64 + 1;
        push(&log, next, 50).unwrap();
        log.wait_durable(next).unwrap();
        drop(log);
        check(&open(&torn.after_kill()).1, next);
    }
}

#[test]
fn damage_before_the_tail_is_an_error_that_names_file_and_byte() {
    let (disk, name, begins) = several_writes();
    for at in begins[0]..begins[5] {
        let damaged = disk.after_kill();
        damaged.damage(&name, |bytes| bytes[at] ^= 0x10);
        // One write earlier than the last: only the last one can prove that it was acknowledged.
        match try_open(&damaged, &[]) {
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(&name) && text.contains("byte"), "{text}");
            }
            // The record that begins a write may be damaged without harm when its successor
            // can be read; it holds nothing of its own.
            Ok((_, found)) => panic!("byte {at}: {} records came back", found.len()),
        }
    }
}

#[test]
fn a_missing_segment_and_a_later_version_are_errors() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk);
    for position in 1..=9 {
        push(&log, position, 3 << 20).unwrap();
        log.wait_durable(position).unwrap();
    }
    drop(log);
    let names = disk.names();
    assert!(names.len() >= 4, "{names:?}");
    let gone = disk.after_kill();
    gone.remove(&names[1]).unwrap();
    let error = try_open(&gone, &[]).unwrap_err().to_string();
    assert!(error.contains("is missing"), "{error}");
    let later = disk.after_kill();
    later.damage(&names[0], |bytes| {
        bytes[8] = 9;
        let crc = crate::codec::crc32c(0, &bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
    });
    let error = try_open(&later, &[]).unwrap_err().to_string();
    assert!(error.contains("upgrade"), "{error}");
}

#[test]
fn marked_segments_are_used_again_and_their_old_records_never_come_back() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk);
    let mut marks = Vec::new();
    let mut mark_all = |log: &Log, upto: u64| {
        for position in 1..=upto {
            let mark = Mark {
                arc: arc((position % 3) as u8),
                window: Window(position as i64 / 4),
                position: upto,
            };
            marks.push(mark);
            log.mark(mark);
        }
        marks.clone()
    };
    for position in 1..=40 {
        push(&log, position, 3 << 20).unwrap();
        log.wait_durable(position).unwrap();
        if position % 4 == 0 {
            mark_all(&log, position);
        }
    }
    assert!(disk.names().len() <= 8, "{:?}", disk.names());
    let first = log.first_position();
    assert!(first > 20, "{first}");
    push(&log, 41, 10).unwrap();
    log.wait_durable(41).unwrap();
    drop(log);
    let (_, found) = try_open(&disk.after_kill(), &mark_all_again(&marks)).unwrap();
    assert_eq!(found.last().unwrap().0, 41);
    assert!(found.first().unwrap().0 >= first);
    for (position, bytes) in &found {
        assert_eq!(*bytes, payload(*position, bytes.len()));
    }
}

fn mark_all_again(marks: &[Mark]) -> Vec<Mark> {
    marks.to_vec()
}

/// In the weaker modes an acknowledgement survives the death of the process, and a power cut leaves
/// a beginning of what was acknowledged, never a gap.
#[test]
fn the_weaker_modes_lose_only_an_end_and_only_to_a_power_cut() {
    for sync in [SyncMode::Interval, SyncMode::Os] {
        let disk = FaultyDisk::default();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs(0)));
        let settings = WriteLogSettings {
            sync,
            ..WriteLogSettings::default()
        };
        let mut collected = Collected::default();
        let shared = Arc::new(disk.clone());
        let log = Log::open(&settings, shared, &[], clock, &mut collected).unwrap();
        for position in 1..=30 {
            push(&log, position, length(position)).unwrap();
            log.wait_durable(position).unwrap();
        }
        // A copy of the disk as it is while the log is open.
        check(&open(&disk.after_kill()).1, 30);
        for seed in 0..6 {
            check(&open(&disk.after_power_cut(seed)).1, 0);
        }
        // Closing brings everything to the disk.
        drop(log);
        check(&open(&disk.after_power_cut(0)).1, 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_without_a_thread_of_ones_own() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk);
    let log = Arc::new(log);
    let waits = (1..=50u64).map(|_| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let position = push(&log, 1, 10)?;
            log.durable(position).await
        })
    });
    for wait in waits.collect::<Vec<_>>() {
        wait.await.unwrap().unwrap();
    }
    assert!(log.stats().syncs <= 51);
    disk.fail_at(0, 0);
    let position = push(&log, 2, 10).unwrap();
    let error = log.durable(position).await.unwrap_err();
    assert!(error.to_string().contains("the log failed"), "{error}");
}

/// Every mark that covers all positions up to `upto`.
fn marks_upto(upto: u64) -> Vec<Mark> {
    (1..=upto)
        .map(|position| Mark {
            arc: arc((position % 3) as u8),
            window: Window(position as i64 / 4),
            position: upto,
        })
        .collect()
}

#[test]
fn many_segments_given_up_at_once_do_not_lock_the_log() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk);
    for position in 1..=14 {
        push(&log, position, 4 << 20).unwrap();
        log.wait_durable(position).unwrap();
    }
    let before = disk.names().len();
    assert!(before >= 7, "{before}");
    for mark in marks_upto(13) {
        log.mark(mark);
    }
    // Killed, or without power, at any moment after it.
    for after in [disk.after_kill(), disk.after_power_cut(1)] {
        for _ in 0..2 {
            let (log, found) = try_open(&after, &marks_upto(13)).unwrap();
            assert_eq!(found.last().unwrap().0, 14);
            drop(log);
        }
    }
    // The room is given back without another segment being begun.
    push(&log, 15, 1).unwrap();
    log.wait_durable(15).unwrap();
    drop(log);
    assert!(disk.names().len() <= 5, "{:?}", disk.names());
    let (_, found) = try_open(&disk, &marks_upto(13)).unwrap();
    assert_eq!(found.last().unwrap().0, 15);
}

#[test]
fn a_power_cut_while_a_used_file_is_begun_again_harms_nothing() {
    let begun = FaultyDisk::default();
    let (log, _) = open(&begun);
    for position in 1..=5 {
        push(&log, position, 4 << 20).unwrap();
        log.wait_durable(position).unwrap();
    }
    drop(log);
    for (n, torn) in [
        (0, 700),
        (1, 0),
        (1, 4 << 20),
        (2, 0),
        (2, 4 << 20),
        (3, 4 << 20),
        (4, 0),
        (5, 0),
    ] {
        let disk = begun.after_kill();
        let (log, _) = try_open(&disk, &[]).unwrap();
        for mark in marks_upto(4) {
            log.mark(mark);
        }
        disk.fail_at(n, torn);
        let mut acknowledged = 5;
        for position in 6..=11 {
            let done = push(&log, position, 4 << 20).and_then(|p| log.wait_durable(p));
            if done.is_ok() {
                acknowledged = position;
            }
        }
        drop(log);
        for seed in 0..3 {
            let after = disk.after_power_cut(seed);
            let (log, found) = try_open(&after, &marks_upto(4))
                .unwrap_or_else(|error| panic!("{n} {torn} {seed}: {error}"));
            let last = found.last().map_or(4, |found| found.0);
            assert!(last >= acknowledged, "{last} of {acknowledged}");
            for (position, bytes) in &found {
                assert_eq!(*bytes, payload(*position, bytes.len()));
            }
            drop(log);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Power cuts at any operation, again and again on what the last one left.
    #[test]
    fn acknowledged_records_survive_power_cuts(
        rounds in proptest::collection::vec((0u64..30, 0usize..5000, any::<u64>(), 1u64..25), 1..6)
    ) {
        let mut disk = FaultyDisk::default();
        let mut acknowledged = 0;
        for (fails_at, torn, seed, count) in rounds {
            disk.fail_at(fails_at, torn);
            if let Ok((log, found)) = try_open(&disk, &[]) {
                check(&found, acknowledged);
                let mut next = found.len() as u64;
                for _ in 0..count {
                    next += 1;
                    let len = (next * 97 % 9000) as usize;
                    let Ok(position) = push(&log, next, len) else { break };
                    prop_assert_eq!(position, next);
                    if log.wait_durable(position).is_ok() {
                        acknowledged = position;
                    }
                }
            }
            disk = disk.after_power_cut(seed);
        }
        check(&open(&disk).1, acknowledged);
    }
}

/// Would catch a log that gives positions again that marks cover: what was acknowledged under them
/// would be taken for sealed by the next start.
#[test]
fn positions_that_marks_cover_are_not_given_again() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk);
    for position in 1..=3 {
        push(&log, position, 10).unwrap();
    }
    log.wait_durable(3).unwrap();
    drop(log);
    let mark = Mark {
        arc: arc(1),
        window: Window(12),
        position: 50,
    };
    let (log, found) = try_open(&disk, &[mark]).unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(log.position(), 50);
    assert_eq!(push(&log, 51, 10).unwrap(), 51);
    log.wait_durable(51).unwrap();
    // A segment further on, and behind what it held before.
    assert_eq!(push(&log, 52, 3 << 20).unwrap(), 52);
    assert_eq!(push(&log, 53, 3 << 20).unwrap(), 53);
    assert_eq!(push(&log, 54, 3 << 20).unwrap(), 54);
    log.wait_durable(54).unwrap();
    log.jump(54).unwrap();
    log.jump(100).unwrap();
    assert_eq!(push(&log, 101, 1).unwrap(), 101);
    log.wait_durable(101).unwrap();
    drop(log);
    for marks in [&[mark][..], &[]] {
        let (log, found) = try_open(&disk, marks).unwrap();
        let positions: Vec<u64> = found.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, [1, 2, 3, 51, 52, 53, 54, 101]);
        assert!(
            found
                .iter()
                .all(|(at, bytes)| *bytes == payload(*at, bytes.len()))
        );
        assert_eq!(log.position(), 101);
    }
}
