//! Boards come and go while a sender sends; every acknowledged sample is read from every board.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::lab::Lab;
use super::load::Load;
use crate::servers::{eventually, skip};

/// Three boards that list each other, switched on; `None` when there can be no lab here.
fn three(story: &str, folder: &Path, more: &[&str]) -> Option<Lab> {
    let settings = [
        "discovery.kind=static",
        "cluster.bootstrap_expect=3",
        "cluster.replication_factor=3",
    ];
    let settings: Vec<&str> = settings.iter().chain(more).copied().collect();
    match Lab::new(folder, 3, &settings) {
        Ok(mut lab) => {
            let peers = lab.static_peers();
            lab.set(peers);
            Some(lab)
        }
        Err(reason) => {
            skip(story, &reason);
            None
        }
    }
}

/// Would catch a cluster that does not form, forms twice, or keeps what it is sent in one place.
#[test]
fn three_boards_form_a_cluster_and_any_of_them_answers_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::three_boards", folder.path(), &[]) else {
        return;
    };
    // Not all at once, and not in order.
    lab.start(2);
    std::thread::sleep(Duration::from_millis(700));
    lab.start(0);
    lab.start(1);
    lab.wait_ready(Duration::from_secs(60));
    let ids: Vec<String> = lab
        .boards
        .iter()
        .map(|board| board.cluster().unwrap()["cluster"].to_string())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let load = Load::new();
    for turn in 0..30 {
        let url = [lab.boards[turn % 3].url()];
        assert!(
            load.send_one(&url, Duration::from_secs(10)),
            "{}",
            lab.boards[turn % 3].output()
        );
    }
    load.read_back(&lab.boards);
}

/// Would catch an acknowledgement that one board alone stood for, and a board that never catches up.
#[test]
fn one_board_is_killed_again_and_again_and_nothing_stops() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three(
        "cluster::one_board_killed",
        folder.path(),
        &["seal.grace=0s"],
    ) else {
        return;
    };
    lab.start_all();
    let load = Load::new();
    let stop = AtomicBool::new(false);
    let urls = lab.urls();
    let failed = std::thread::scope(|scope| {
        let sending = scope.spawn(|| load.run(&urls, &stop));
        for round in 0..6 {
            std::thread::sleep(Duration::from_millis(1500 + 300 * round));
            let victim = usize::try_from(round).unwrap_or(0) % 3;
            lab.boards[victim].kill();
            std::thread::sleep(Duration::from_millis(2000));
            lab.start(victim);
            lab.wait_ready(Duration::from_secs(60));
        }
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap()
    });
    assert_eq!(
        failed, 0,
        "requests were not acknowledged within 30 s of trying"
    );
    load.read_back(&lab.boards);
    println!("{} acknowledged samples on every board", load.samples());
}

/// Would catch writes that are acknowledged without a majority, and what they lose.
#[test]
fn two_of_three_away_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::two_away", folder.path(), &[]) else {
        return;
    };
    lab.start_all();
    let load = Load::new();
    let urls = lab.urls();
    for _ in 0..20 {
        assert!(load.send_one(&urls, Duration::from_secs(10)));
    }
    lab.boards[0].kill();
    lab.boards[1].kill();
    let alone = [lab.boards[2].url()];
    assert!(
        !load.send_one(&alone, Duration::from_secs(3)),
        "one of three acknowledged"
    );
    assert!(
        load.missing_on(&lab.boards[2]).is_err(),
        "one of three answered"
    );
    lab.start(1);
    lab.start(0);
    lab.wait_ready(Duration::from_secs(60));
    eventually("writes are taken again", Duration::from_secs(30), || {
        let sent = load.send_one(&alone, Duration::from_secs(5));
        sent.then_some(()).ok_or_else(|| "refused".to_owned())
    });
    load.read_back(&lab.boards);
}

/// Would catch an old disk's name that counts for what the new disk does not have.
#[test]
fn a_wiped_board_is_a_new_member_and_gets_its_share() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::wiped", folder.path(), &["seal.grace=0s"]) else {
        return;
    };
    lab.start_all();
    let load = Load::new();
    let urls = lab.urls();
    for _ in 0..50 {
        assert!(load.send_one(&urls, Duration::from_secs(10)));
    }
    lab.boards[1].kill();
    lab.boards[1].wipe();
    lab.start(1);
    lab.wait_ready(Duration::from_secs(60));
    for _ in 0..20 {
        assert!(load.send_one(&urls, Duration::from_secs(20)));
    }
    eventually("the ring is whole again", Duration::from_secs(90), || {
        let cluster = lab.boards[0].cluster()?;
        let short = cluster["underReplicated"].as_u64();
        let moves = cluster["moves"].as_array().map(Vec::len);
        let whole = short == Some(0) && moves == Some(0);
        whole.then_some(()).ok_or_else(|| cluster.to_string())
    });
    // The two others were there all the time: one of them may go now.
    lab.boards[2].kill();
    load.read_back(&lab.boards);
}
