//! Three boards with a history of forty days, one of them of an older build at first.

use std::time::Duration;

use serde_json::Value;

use super::lab::{Board, Lab};
use super::stories::{agree as hold_the_same_blocks, three};
use crate::downsampling::{DAY, HOUR, agree, answers, blocks, flush, old_blocks, write};
use crate::remote_write::now_ms;
use crate::servers::{Cairn, eventually};

const PATIENCE: Duration = Duration::from_secs(180);

/// The last feature level at which nothing is downsampled.
const OLDER: &str = "0.1.0 1.0 4";

/// All boards list the same blocks of that time, downsampled, and give the same answers with the same infos.
fn check(lab: &Lab, (from, written): (i64, u64), (times, before): (&[i64], &[Value])) {
    eventually("all boards have downsampled blocks", PATIENCE, || {
        let left = lab.boards.iter().map(|board| blocks(&board.url(), from).1);
        let left: Vec<u64> = left.collect();
        let done = left.iter().all(|left| *left > 0 && left * 15 < written);
        done.then_some(())
            .ok_or_else(|| format!("{left:?} of {written} samples"))
    });
    hold_the_same_blocks(lab);
    let first = old_blocks(&lab.boards[0].url(), from);
    let answered = answers(&lab.boards[0].url(), times);
    agree(before, &answered);
    for board in &lab.boards[1..] {
        assert_eq!(old_blocks(&board.url(), from), first, "{}", board.name);
        let also = answers(&board.url(), times);
        for (one, other) in answered.iter().zip(&also) {
            assert_eq!(one["infos"], other["infos"], "{}", board.name);
        }
        agree(&answered, &also);
        agree(before, &also);
    }
}

/// Would catch what a node of an older build cannot read, a policy that is forgotten while there is one, replicas that
/// fold for themselves, and a new member that gets raw samples or none.
#[test]
fn three_boards_downsample_once_all_can_read_it_and_a_wiped_one_gets_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["seal.grace=0s", "retention.downsample=2d:5m"];
    let Some(mut lab) = three("cluster::downsampling", folder.path(), &settings) else {
        return;
    };
    lab.start(0);
    lab.start(1);
    lab.start_as(
        2,
        &Cairn::other_build(),
        &[("TEST_ONLY_CAIRN_BUILD", OLDER)],
    );
    lab.wait_ready(PATIENCE);
    let from = now_ms() / DAY * DAY - 40 * DAY;
    // Two blocks of each partition, so that there is something to merge.
    let mut written = 0;
    for start in [from, from + 8 * HOUR] {
        written += write(&lab.boards[1].url(), start);
        lab.boards.iter().for_each(|board| flush(&board.url()));
    }
    let times: Vec<i64> = (2..=8).map(|hour| from + hour * HOUR).collect();
    let before = answers(&lab.boards[0].url(), &times);
    let says = |answer: &Value| answer.to_string().contains("downsampled");
    assert!(!before.iter().any(says));
    eventually("the day is merged, and nothing more", PATIENCE, || {
        let held = |board: &Board| {
            let url = board.url();
            (old_blocks(&url, from).len(), blocks(&url, from).1)
        };
        let held: Vec<(usize, u64)> = lab.boards.iter().map(held).collect();
        let is_merged = |(count, samples): &(usize, u64)| *count <= 16 && *samples == written;
        let merged = held.iter().all(is_merged);
        merged
            .then_some(())
            .ok_or_else(|| format!("{held:?} of {written} samples"))
    });
    let level = |board: &Board| board.cluster().unwrap()["featureLevel"].as_u64();
    assert!(lab.boards.iter().all(|board| level(board) == Some(4)));
    lab.boards[2].terminate();
    lab.start(2);
    lab.wait_ready(PATIENCE);
    check(&lab, (from, written), (&times, &before));
    lab.boards[1].kill();
    lab.boards[1].wipe();
    lab.start(1);
    lab.wait_ready(PATIENCE);
    check(&lab, (from, written), (&times, &before));
}
