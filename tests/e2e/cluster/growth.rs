//! A cluster grows from one board and shrinks again, and its number of copies is changed, while a
//! sender sends.

use std::time::Duration;

use super::lab::Lab;
use super::stories::{agree, under_this_load};
use crate::servers::{Cairn, eventually, long, skip};

const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until as many boards share all partitions evenly, with as many copies of each.
fn shared(lab: &Lab, boards: usize, copies: usize) {
    let what = format!("{boards} boards share everything, {copies} copies of each");
    eventually(&what, PATIENCE, || {
        let on = lab.boards.iter().find(|board| board.is_on());
        let cluster = on.ok_or("nobody is on")?.cluster()?;
        let partitions = cluster["partitions"].as_array().ok_or("no partitions")?;
        let whole = partitions.iter().all(|partition| {
            let members = partition["members"].as_array().map_or(0, Vec::len);
            members == copies && partition["live"] == copies
        });
        let nodes = cluster["nodes"].as_array().ok_or("no nodes")?;
        let holds = |node: &serde_json::Value| node["holds"].as_u64().unwrap_or(0);
        let holds: Vec<u64> = nodes.iter().map(holds).collect();
        let holders: Vec<u64> = holds.iter().copied().filter(|held| *held > 0).collect();
        let fair = (partitions.len() * copies / boards) as u64;
        let even = holders.len() == boards && holders.iter().all(|it| it.abs_diff(fair) <= 1);
        let moves = cluster["moves"].as_array().map_or(0, Vec::len);
        (whole && even && moves == 0)
            .then_some(())
            .ok_or_else(|| format!("{holds:?}, {moves} moves, whole: {whole}"))
    });
}

/// Whether a board that does not lead shows how far a move is, which only the leader knows itself.
fn shows_progress(lab: &Lab) -> bool {
    let on = lab.boards.iter().filter(|board| board.is_on());
    let shows = |cluster: &serde_json::Value, name: &str| {
        let moves = cluster["moves"].as_array().cloned().unwrap_or_default();
        let known = moves.iter().any(|step| step["missingBytes"].is_u64());
        known && cluster["leader"].is_string() && cluster["leader"] != name
    };
    on.into_iter().any(|board| {
        board
            .cluster()
            .is_ok_and(|cluster| shows(&cluster, &board.name))
    })
}

/// Starts boards one after the other until so many are on.
fn grow(lab: &mut Lab, boards: usize) {
    let list = lab.static_peers_of(boards);
    lab.set(list);
    for board in 0..boards {
        if !lab.boards[board].is_on() {
            lab.start(board);
            lab.wait_ready(PATIENCE);
        }
    }
}

/// Empties the last boards, switches them off and forgets them.
fn shrink(lab: &mut Lab, boards: usize) {
    let first = lab.boards[0].url();
    let leaving = (boards..lab.boards.len()).rev();
    for board in leaving
        .filter(|board| lab.boards[*board].is_on())
        .collect::<Vec<_>>()
    {
        let name = lab.boards[board].name.clone();
        let (done, said) = Cairn::run(&["drain", &name, "--url", &first]);
        assert!(done && said.contains("may be switched off"), "{said}");
        lab.boards[board].terminate();
        eventually("the empty board is forgotten", PATIENCE, || {
            let (done, said) = Cairn::run(&["ring", "forget", &name, "--yes", "--url", &first]);
            done.then_some(()).ok_or(said)
        });
    }
}

fn lab(story: &str, folder: &std::path::Path, boards: usize) -> Option<Lab> {
    let settings = ["discovery.kind=static", "seal.grace=0s"];
    match Lab::new(folder, boards, &settings) {
        Ok(lab) => Some(lab),
        Err(reason) => {
            skip(story, &reason);
            None
        }
    }
}

/// Would catch a set that grows without having gathered, one that shrinks before those who stay have
/// what those who go had, and a control group that an emptied board takes with it.
#[test]
fn one_board_becomes_two_and_one_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = lab("cluster::growth", folder.path(), 2) else {
        return;
    };
    grow(&mut lab, 1);
    under_this_load(&mut lab, |lab, load| {
        shared(lab, 1, 1);
        grow(lab, 2);
        shared(lab, 2, 2);
        load.read_back(&lab.boards);
        shrink(lab, 1);
        shared(lab, 1, 1);
    });
}

/// Would catch a board that has to be emptied before it may have company: what it took while it was
/// alone, as a node without any discovery, is on all boards afterwards.
#[test]
fn a_single_node_becomes_three_boards_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = lab("cluster::single_becomes_three", folder.path(), 3) else {
        return;
    };
    lab.set("discovery.kind=none".to_owned());
    lab.start(0);
    lab.wait_ready(PATIENCE);
    under_this_load(&mut lab, |lab, load| {
        eventually("the single node has samples", PATIENCE, || {
            let some = load.samples() > 1000;
            some.then_some(())
                .ok_or_else(|| format!("{} samples", load.samples()))
        });
        lab.set("discovery.kind=static".to_owned());
        lab.set(lab.static_peers_of(3));
        lab.boards[0].terminate();
        lab.start(0);
        lab.wait_ready(PATIENCE);
        grow(lab, 3);
        shared(lab, 3, 3);
        load.read_back(&lab.boards);
    });
    agree(&lab);
}

/// The same up to six boards and back, and the number of copies by configuration.
#[test]
fn boards_and_copies_go_up_to_six_and_back() {
    if !long("cluster::six_boards") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = lab("cluster::six_boards", folder.path(), 6) else {
        return;
    };
    grow(&mut lab, 1);
    under_this_load(&mut lab, |lab, load| {
        for boards in [2, 3, 6] {
            grow(lab, boards);
            if boards == 6 {
                eventually("every board shows how far moves are", PATIENCE, || {
                    let shown = shows_progress(lab);
                    shown
                        .then_some(())
                        .ok_or_else(|| "nothing is shown".to_owned())
                });
            }
            shared(lab, boards, boards.min(3));
            load.read_back(&lab.boards);
        }
        for copies in [5, 2, 1, 3] {
            lab.set(format!("cluster.replication_factor={copies}"));
            for board in 0..6 {
                lab.boards[board].terminate();
                lab.start(board);
                lab.wait_ready(PATIENCE);
            }
            shared(lab, 6, copies);
            load.read_back(&lab.boards);
        }
        for boards in [3, 2, 1] {
            shrink(lab, boards);
            shared(lab, boards, boards.min(3));
            load.read_back(&lab.boards);
        }
    });
    agree(&lab);
}
