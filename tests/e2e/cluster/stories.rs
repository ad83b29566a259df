//! Boards come and go while a sender sends; every acknowledged sample is read from every board.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::lab::Lab;
use super::load::Load;
use crate::servers::{Cairn, eventually, get, skip};

/// Three boards that list each other, switched on; `None` when there can be no lab here.
pub fn three(story: &str, folder: &Path, more: &[&str]) -> Option<Lab> {
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
    under_load(&mut lab, |lab| {
        for round in 0..6 {
            let victim = round % 3;
            lab.boards[victim].kill();
            std::thread::sleep(Duration::from_millis(2000));
            lab.start(victim);
            lab.wait_ready(Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1500));
        }
    });
}

/// Runs a load while something happens to the boards, and reads everything back from each of them.
/// No request may stay unacknowledged for longer than senders try.
pub fn under_load(lab: &mut Lab, mut happens: impl FnMut(&mut Lab)) {
    under_this_load(lab, |lab, _| happens(lab));
}

/// The same, with the load at hand.
pub fn under_this_load(lab: &mut Lab, mut happens: impl FnMut(&mut Lab, &Load)) {
    let load = Load::new();
    let stop = AtomicBool::new(false);
    let urls = lab.urls();
    let failed = std::thread::scope(|scope| {
        let sending = scope.spawn(|| load.run(&urls, &stop));
        std::thread::sleep(Duration::from_secs(1));
        happens(lab, &load);
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap()
    });
    assert_eq!(
        failed, 0,
        "requests were not acknowledged within 30 s of trying"
    );
    load.read_back(&lab.boards);
    println!(
        "{} acknowledged samples; {}",
        load.samples(),
        load.availability()
    );
}

/// Every board has applied everything, and all hold the same blocks.
pub fn agree(lab: &Lab) {
    let patience = Duration::from_secs(60);
    eventually("all boards hold the same blocks", patience, || {
        let mut all = Vec::new();
        for board in lab.boards.iter().filter(|board| board.is_on()) {
            let cluster = board.cluster()?;
            for partition in cluster["partitions"].as_array().ok_or("no partitions")? {
                if partition["applied"] != partition["version"] {
                    return Err(format!("{} lags: {partition}", board.name));
                }
            }
            let mut blocks = board.blocks()?;
            blocks.sort();
            all.push(blocks);
        }
        if all
            .iter()
            .any(|blocks| *blocks != all[0] || blocks.is_empty())
        {
            return Err(format!(
                "{:?}",
                all.iter().map(Vec::len).collect::<Vec<_>>()
            ));
        }
        Ok(())
    });
}

/// Would catch a replica that gives up what the others' block does not hold, and one whose block is
/// another's in name only.
#[test]
fn sealed_together_every_board_holds_the_same_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::sealed", folder.path(), &["seal.grace=0s"]) else {
        return;
    };
    lab.start_all();
    under_load(&mut lab, |lab| {
        std::thread::sleep(Duration::from_secs(6));
        lab.boards[1].kill();
        std::thread::sleep(Duration::from_secs(4));
        lab.start(1);
        lab.wait_ready(Duration::from_secs(60));
    });
    agree(&lab);
}

/// Would catch a cluster that founds itself twice, one that needs Consul once it runs, and one that
/// Consul does not find again after it has forgotten everything.
#[test]
fn boards_find_each_other_in_consul_and_do_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let story = "cluster::consul";
    let mut lab = match Lab::new(folder.path(), 3, &[]) {
        Ok(lab) => lab,
        Err(reason) => return skip(story, &reason),
    };
    let mut consul = match lab.with_consul() {
        Ok(consul) => consul,
        Err(reason) => return skip(story, reason),
    };
    lab.start_all();
    let healthy = format!("{}/v1/health/service/cairn?passing", consul.url());
    let registered = || {
        let found = get(&healthy)?.json().as_array().map_or(0, Vec::len);
        (found == 3)
            .then_some(())
            .ok_or_else(|| format!("{found} are healthy"))
    };
    eventually("Consul shows three", Duration::from_secs(60), registered);
    under_load(&mut lab, |lab| {
        consul.kill();
        std::thread::sleep(Duration::from_secs(3));
        lab.boards[2].kill();
        lab.start(2);
        lab.wait_ready(Duration::from_secs(60));
    });
    let _consul = consul.restart_empty();
    eventually(
        "Consul shows three again",
        Duration::from_secs(90),
        registered,
    );
}

/// Would catch a ring that two halves change apart, and a reader or writer that stalls for longer
/// than it takes to notice.
#[test]
fn a_board_is_cut_off_both_ways_and_one_way() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::cut_off", folder.path(), &["seal.grace=0s"]) else {
        return;
    };
    lab.start_all();
    under_load(&mut lab, |lab| {
        for (one, other) in [(0, 1), (0, 2)] {
            lab.cut_both(one, other, true);
        }
        std::thread::sleep(Duration::from_secs(8));
        for (one, other) in [(0, 1), (0, 2)] {
            lab.cut_both(one, other, false);
        }
        std::thread::sleep(Duration::from_secs(3));
        lab.cut(1, 2, true);
        std::thread::sleep(Duration::from_secs(8));
        lab.cut(1, 2, false);
        std::thread::sleep(Duration::from_secs(3));
    });
}

/// Would catch a node that believes, when it wakes, that it is still who it was.
#[test]
fn a_board_sleeps_and_wakes() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::sleeps", folder.path(), &[]) else {
        return;
    };
    lab.start_all();
    under_load(&mut lab, |lab| {
        for board in 0..3 {
            lab.boards[board].signal("STOP");
            std::thread::sleep(Duration::from_secs(7));
            lab.boards[board].signal("CONT");
            std::thread::sleep(Duration::from_secs(3));
        }
    });
}

/// The library that shows a program another time of day.
pub fn libfaketime() -> Option<String> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu", "faketime"];
    let paths = places.map(|place| format!("/usr/lib/{place}/faketime/libfaketime.so.1"));
    paths.into_iter().find(|path| Path::new(path).exists())
}

/// Would catch a node whose wrong clock makes it refuse good samples for good (400), or keep them
/// in a window of its own.
#[test]
fn a_board_whose_clock_is_wrong_refuses_until_it_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let story = "cluster::clocks";
    let Some(library) = libfaketime() else {
        return skip(story, "libfaketime is not installed (package faketime)");
    };
    let Some(mut lab) = three(story, folder.path(), &[]) else {
        return;
    };
    lab.start_all();
    lab.boards[0].terminate();
    let an_hour_behind = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME", "-1h"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    lab.start_with(0, &an_hour_behind);
    lab.wait_ready(Duration::from_secs(60));
    let url = [lab.boards[0].url()];
    eventually(
        "the wrong clock is noticed",
        Duration::from_secs(30),
        || {
            let cluster = lab.boards[0].cluster()?;
            let trouble = cluster["trouble"].to_string();
            let noticed = trouble.contains("s behind the other nodes'");
            noticed.then_some(()).ok_or(trouble)
        },
    );
    under_load(&mut lab, |lab| {
        let load = Load::new();
        assert!(
            !load.send_one(&url, Duration::from_secs(2)),
            "a wrong clock took a write"
        );
        lab.boards[0].kill();
        lab.start(0);
        lab.wait_ready(Duration::from_secs(60));
        eventually(
            "the right clock is believed",
            Duration::from_secs(30),
            || {
                let sent = load.send_one(&url, Duration::from_secs(2));
                sent.then_some(()).ok_or_else(|| "refused".to_owned())
            },
        );
    });
}

/// Would catch timeouts that a slow network never meets.
#[test]
fn a_slow_network_that_loses_packets_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::slow_network", folder.path(), &[]) else {
        return;
    };
    lab.start_all();
    // The leader's link, and then that of one who follows.
    let leader = leader(&lab);
    under_load(&mut lab, |lab| {
        for at in [leader, (leader + 1) % 3] {
            let worse = lab.worsen(at, 300, 5).unwrap();
            let asked = Instant::now();
            get(&format!("{}/-/healthy", lab.boards[at].url())).unwrap();
            let took = asked.elapsed();
            assert!(
                took >= Duration::from_millis(600),
                "the link is as it was: {took:?}"
            );
            std::thread::sleep(Duration::from_secs(8));
            drop(worse);
            std::thread::sleep(Duration::from_secs(2));
        }
    });
}

/// Which board leads the control group.
fn leader(lab: &Lab) -> usize {
    let cluster = lab.boards[0].cluster().unwrap();
    let leader = cluster["leader"].clone();
    let is_leader = |board: &super::lab::Board| leader.as_str() == Some(board.name.as_str());
    lab.boards.iter().position(is_leader).unwrap()
}

/// Would catch a cluster that cannot come back from where it stood.
#[test]
fn the_power_fails_everywhere_and_boards_come_back_in_another_order() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::power", folder.path(), &["seal.grace=0s"]) else {
        return;
    };
    lab.start_all();
    under_load(&mut lab, |lab| {
        std::thread::sleep(Duration::from_secs(4));
        for board in &mut lab.boards {
            board.kill();
        }
        for board in [2, 0, 1] {
            lab.start(board);
            std::thread::sleep(Duration::from_millis(500));
        }
        lab.wait_ready(Duration::from_secs(60));
    });
    agree(&lab);
}

/// Would catch a newcomer that counts before it has what it must, a drain that never ends, and one
/// that takes away what nobody else has.
#[test]
fn a_fourth_board_joins_and_the_first_is_drained() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "discovery.kind=static",
        "cluster.bootstrap_expect=3",
        "seal.grace=0s",
    ];
    let mut lab = match Lab::new(folder.path(), 4, &settings) {
        Ok(lab) => lab,
        Err(reason) => return skip("cluster::joins", &reason),
    };
    let founders = lab.static_peers_of(3);
    lab.set(founders);
    (0..3).for_each(|board| lab.start(board));
    lab.wait_ready(Duration::from_secs(60));
    under_load(&mut lab, |lab| {
        lab.start(3);
        lab.wait_ready(Duration::from_secs(60));
        eventually(
            "the newcomer has its share",
            Duration::from_secs(90),
            || {
                let cluster = lab.boards[1].cluster()?;
                let holds = |node: &serde_json::Value| node["holds"].as_u64().unwrap_or(0);
                let nodes = cluster["nodes"].as_array().ok_or("no nodes")?;
                let shares: Vec<u64> = nodes.iter().map(holds).collect();
                let even =
                    shares.len() == 4 && shares.iter().all(|share| (11..=13).contains(share));
                even.then_some(()).ok_or_else(|| format!("{shares:?}"))
            },
        );
        let output = Cairn::command()
            .args(["drain", "board-1", "--url", &lab.boards[1].url()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains("may be switched off"),
            "{output:?}"
        );
        lab.boards[0].terminate();
    });
    agree(&lab);
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
        let fresh = lab.boards[1].cluster()?["incarnation"].clone();
        let cluster = lab.boards[0].cluster()?;
        let nodes = cluster["nodes"].as_array().ok_or("no nodes")?;
        let it = nodes.iter().find(|node| node["incarnation"] == fresh);
        let holds = it.and_then(|node| node["holds"].as_u64());
        let moves = cluster["moves"].as_array().map(Vec::len);
        let whole = holds == Some(16) && moves == Some(0);
        whole.then_some(()).ok_or_else(|| cluster.to_string())
    });
    // The two others were there all the time: one of them may go now.
    lab.boards[2].kill();
    load.read_back(&lab.boards);
}

/// Would catch a board that counts after a loss of power as if it still had what it acknowledged, and
/// one that is never counted again.
#[test]
fn a_board_that_lost_power_before_its_disk_was_asked_is_a_member_anew() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::lost_power", folder.path(), &["log.sync=interval"]) else {
        return;
    };
    lab.start_all();
    under_load(&mut lab, |lab| {
        lab.boards[0].cut_power();
        lab.boards[0].lose_log();
        std::thread::sleep(Duration::from_secs(1));
        lab.start(0);
        lab.wait_ready(Duration::from_secs(60));
        whole_again(lab);
        let said = lab.boards[0].output();
        assert!(said.contains("counts as a new member"), "{said}");
        // What only this one and the first had must be with the first again.
        lab.boards[1].kill();
        std::thread::sleep(Duration::from_secs(2));
    });
    lab.start(1);
    lab.wait_ready(Duration::from_secs(60));
    // The whole house: nobody is left who surely has everything, so what there is is united.
    let load = Load::new();
    assert!(load.send_one(&lab.urls(), Duration::from_secs(30)));
    (0..3).for_each(|at| lab.boards[at].cut_power());
    (0..3).for_each(|at| lab.start(at));
    lab.wait_ready(Duration::from_secs(60));
    whole_again(&lab);
    assert!(load.send_one(&lab.urls(), Duration::from_secs(30)));
    load.read_back(&lab.boards);
}

/// All partitions have all their members, in their present lives.
fn whole_again(lab: &Lab) {
    let patience = Duration::from_secs(120);
    eventually("all partitions are whole again", patience, || {
        for board in &lab.boards {
            let cluster = board.cluster()?;
            let lacking = &cluster["underReplicated"];
            if lacking.as_u64() != Some(0) {
                return Err(format!("{}: {cluster}", board.name));
            }
        }
        Ok(())
    });
}
