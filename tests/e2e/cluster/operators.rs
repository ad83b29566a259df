//! What a person decides when boards are gone for good.

use std::process::Command;
use std::time::Duration;

use super::lab::Lab;
use super::load::Load;
use super::stories::{agree, three};
use crate::servers::{Cairn, eventually};

const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until so many nodes are listed, all live, with so many copies of everything.
fn whole(lab: &Lab, ask: usize, nodes: usize, copies: usize) {
    let what = format!("{nodes} nodes with {copies} copies of everything");
    eventually(&what, PATIENCE, || {
        let cluster = lab.boards[ask].cluster()?;
        let partitions = cluster["partitions"].as_array().ok_or("no partitions")?;
        let enough = partitions.iter().all(|partition| {
            let members = partition["members"].as_array().map_or(0, Vec::len);
            members == copies && partition["live"] == copies
        });
        let listed = cluster["nodes"].as_array().ok_or("no nodes")?;
        let live = listed
            .iter()
            .filter(|node| node["health"] == "live")
            .count();
        let moves = cluster["moves"].as_array().map_or(0, Vec::len);
        let right = enough && listed.len() == nodes && live == nodes && moves == 0;
        right.then_some(()).ok_or_else(|| cluster.to_string())
    });
}

fn health(lab: &Lab, ask: usize, name: &str) -> Result<String, String> {
    let cluster = lab.boards[ask].cluster()?;
    let nodes = cluster["nodes"].as_array().ok_or("no nodes")?;
    let it = nodes.iter().find(|node| node["name"] == name);
    let it = it.ok_or_else(|| format!("{name} is not listed"))?;
    Ok(it["health"].as_str().unwrap_or_default().to_owned())
}

fn is_down(lab: &Lab, ask: usize, name: &str) {
    eventually("it is seen to be down", PATIENCE, || {
        let health = health(lab, ask, name)?;
        (health == "down").then_some(()).ok_or(health)
    });
}

fn send(load: &Load, urls: &[String], requests: usize) {
    for _ in 0..requests {
        assert!(load.send_one(urls, PATIENCE), "a request was not taken");
    }
}

/// Would catch a node that is struck off while it is needed, one that counts again when it comes
/// back, and one that comes back and does not say why it cannot.
#[test]
fn a_board_that_is_gone_is_forgotten_and_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::forgotten", folder.path(), &["seal.grace=0s"]) else {
        return;
    };
    lab.start_all();
    let load = Load::new();
    send(&load, &lab.urls(), 30);
    let url = lab.boards[0].url();
    let forget = |more: &[&str]| {
        let arguments = ["ring", "forget", "board-3", "--url", &url];
        Cairn::run(&[&arguments[..], more].concat())
    };
    let (done, said) = forget(&["--yes"]);
    assert!(!done && said.contains("board-3 is live"), "{said}");
    lab.boards[2].kill();
    is_down(&lab, 0, "board-3");
    let (done, said) = forget(&[]);
    assert!(!done && said.contains("holds 16 replicas"), "{said}");
    assert_eq!(health(&lab, 0, "board-3").unwrap(), "down");
    let (done, said) = forget(&["--yes"]);
    assert!(done && said.contains("is forgotten"), "{said}");
    whole(&lab, 1, 2, 2);
    send(&load, &lab.urls(), 10);
    // One of two is down, and what it holds is needed: it is not to be forgotten by mistake.
    lab.boards[1].kill();
    // Its old disk is not taken for what it was, and says so.
    lab.start(1);
    lab.start(2);
    let (code, said) = lab.boards[2].wait_for_end(PATIENCE);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("sets the data directory aside"), "{said}");
    lab.start(2);
    lab.wait_ready(PATIENCE);
    whole(&lab, 0, 3, 3);
    send(&load, &lab.urls(), 10);
    load.read_back(&lab.boards);
    agree(&lab);
}

/// Whether something of a board was set aside.
fn is_aside(lab: &Lab, board: usize) -> bool {
    let entries = std::fs::read_dir(lab.boards[board].data_dir()).unwrap();
    let mut names = entries.map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with("old-"))
}

/// Would catch an old image of a disk that counts, one that keeps its board off for ever, and data
/// that go with it.
#[test]
fn an_old_image_is_set_aside_and_its_board_moved_in_anew() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::old_image", folder.path(), &["seal.grace=0s"]) else {
        return;
    };
    lab.start_all();
    let load = Load::new();
    send(&load, &lab.urls(), 20);
    lab.boards[1].kill();
    let image = folder.path().join("image");
    copy(&lab.boards[1].data_dir(), &image);
    for _ in 0..2 {
        lab.start(1);
        lab.wait_ready(PATIENCE);
        send(&load, &lab.urls(), 20);
        lab.boards[1].kill();
    }
    lab.boards[1].wipe();
    copy(&image, &lab.boards[1].data_dir());
    lab.start(1);
    let (code, said) = lab.boards[1].wait_for_end(PATIENCE);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is an old image"), "{said}");
    lab.start(1);
    lab.wait_ready(PATIENCE);
    assert!(is_aside(&lab, 1), "{}", lab.boards[1].output());
    whole(&lab, 0, 3, 3);
    send(&load, &lab.urls(), 20);
    load.read_back(&lab.boards);
    agree(&lab);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let mut copy = Command::new("cp");
    let copied = copy.arg("--archive").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// The control group: its survivor, the last board, is told that there is nobody else.
fn recover_control(lab: &mut Lab) {
    let data_dir = lab.boards[2].data_dir();
    let data_dir = data_dir.to_str().unwrap();
    let recover = |more: &[&str]| {
        let arguments = ["recover", "control", "--data-dir", data_dir];
        Cairn::run(&[&arguments[..], more].concat())
    };
    let (done, said) = recover(&[]);
    assert!(!done && said.contains("in use"), "{said}");
    lab.boards[2].terminate();
    let (done, said) = recover(&[]);
    assert!(
        !done && said.contains("board-1") && said.contains("--accept-loss"),
        "{said}"
    );
    let (done, said) = recover(&["--lost", "board-1", "--accept-loss"]);
    assert!(!done && said.contains("a majority"), "{said}");
    let lost = ["--lost", "board-1", "--lost", "board-2", "--accept-loss"];
    let (done, said) = recover(&lost);
    assert!(done && said.contains("generation 1"), "{said}");
    lab.start(2);
    lab.wait_ready(PATIENCE);
    eventually("it leads", PATIENCE, || {
        let cluster = lab.boards[2].cluster()?;
        let leads = cluster["leader"] == "board-3" && cluster["generation"] == 1;
        leads.then_some(()).ok_or_else(|| cluster.to_string())
    });
}

/// The partitions: nothing is given up without being asked for.
fn recover_ring(lab: &Lab, load: &Load) {
    let url = lab.boards[2].url();
    let alone = [url.clone()];
    assert!(
        !load.send_one(&alone, Duration::from_secs(3)),
        "nobody accepted a loss yet"
    );
    let (done, said) = Cairn::run(&["ring", "recover", "--url", &url]);
    assert!(
        !done && said.contains("16 partitions have lost a majority"),
        "{said}"
    );
    let (done, said) = Cairn::run(&["ring", "recover", "--accept-loss", "--url", &url]);
    assert!(done && said.contains("16 partitions go on"), "{said}");
    let (done, said) = Cairn::run(&["ring", "recover", "--accept-loss", "--url", &url]);
    assert!(done && said.contains("nothing is lost"), "{said}");
    send(load, &alone, 20);
    load.read_back(&lab.boards);
}

/// Two of three disks are gone for good. Would catch a survivor that goes on by itself, one that
/// cannot be made to go on, and a lost board whose old disk is believed afterwards.
#[test]
fn one_of_three_boards_is_left_and_a_person_lets_it_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::majority_lost", folder.path(), &["seal.grace=0s"]) else {
        return;
    };
    lab.start_all();
    let load = Load::new();
    send(&load, &lab.urls(), 60);
    // The last one has everything too, which only one of the others need have had with it.
    agree(&lab);
    for board in [0, 1] {
        lab.boards[board].kill();
    }
    let old = folder.path().join("old-disk");
    copy(&lab.boards[0].data_dir(), &old);
    (0..2).for_each(|board| lab.boards[board].wipe());
    let url = lab.boards[2].url();
    let alone = [url.clone()];
    assert!(
        !load.send_one(&alone, Duration::from_secs(3)),
        "one of three took a write"
    );
    assert!(
        load.missing_on(&lab.boards[2]).is_err(),
        "one of three answered"
    );
    eventually("that nobody can decide is said", PATIENCE, || {
        let (done, said) = Cairn::run(&["ring", "recover", "--accept-loss", "--url", &url]);
        let told = !done && said.contains("cairn recover control");
        told.then_some(()).ok_or(said)
    });

    recover_control(&mut lab);
    recover_ring(&lab, &load);
    // Its old disk is not believed, a new one is.
    copy(&old, &lab.boards[0].data_dir());
    lab.start(0);
    let (code, said) = lab.boards[0].wait_for_end(PATIENCE);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("sets the data directory aside"), "{said}");
    // The next start does so, and is a new member.
    (0..2).for_each(|board| lab.start(board));
    lab.wait_ready(PATIENCE);
    assert!(is_aside(&lab, 0), "what it held is still there");
    whole(&lab, 2, 3, 3);
    send(&load, &lab.urls(), 20);
    load.read_back(&lab.boards);
    agree(&lab);
}
