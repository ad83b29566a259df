//! Two versions in one cluster: boards are upgraded one by one.
//!
//! The later version is the build that cargo made for this test run, told to be one
//! (`TEST_ONLY_CAIRN_BUILD`, which only debug builds read): its name, its protocol's minor version
//! and its feature level are raised.

use std::time::Duration;

use super::lab::Lab;
use super::stories::{agree, under_this_load};
use crate::servers::{Cairn, eventually, skip};
use cairn::cluster::FEATURE_LEVEL;

const PATIENCE: Duration = Duration::from_secs(60);

/// The feature level of the program under test, and that of the later one.
const LEVEL: u32 = FEATURE_LEVEL;
const LATER: u32 = LEVEL + 1;

/// The later program.
fn later() -> String {
    format!("0.2.0 1.1 {LATER}")
}

fn start_as(lab: &mut Lab, board: usize, version: &str) {
    let variables = [("TEST_ONLY_CAIRN_BUILD", version)];
    lab.start_as(board, &Cairn::other_build(), &variables);
}

/// Feature level and versions as every board that is on sees them.
fn seen(lab: &Lab) -> Result<Vec<(u64, Vec<String>)>, String> {
    let on = lab.boards.iter().filter(|board| board.is_on());
    on.map(|board| {
        let cluster = board.cluster()?;
        let nodes = cluster["nodes"].as_array().ok_or("no nodes")?;
        let version = |node: &serde_json::Value| node["version"].as_str().unwrap_or("").to_owned();
        let level = cluster["featureLevel"].as_u64().ok_or("no level")?;
        Ok((level, nodes.iter().map(version).collect()))
    })
    .collect()
}

fn wait_for_level(lab: &Lab, wanted: u32, upgraded: usize) {
    let what = format!("{upgraded} are upgraded, and the feature level is {wanted}");
    eventually(&what, PATIENCE, || {
        let seen = seen(lab)?;
        let is_new = |version: &&String| *version == "0.2.0";
        let right = seen.iter().all(|(level, versions)| {
            *level == u64::from(wanted) && versions.iter().filter(is_new).count() == upgraded
        });
        right.then_some(()).ok_or_else(|| format!("{seen:?}"))
    });
}

/// Would catch a node that does not understand its neighbour's version, a feature level that rises
/// while somebody does not understand it, and a program that starts on what it cannot read.
#[test]
fn boards_are_upgraded_one_by_one_and_nothing_stops() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "discovery.kind=static",
        "cluster.bootstrap_expect=3",
        "seal.grace=0s",
    ];
    let mut lab = match Lab::new(folder.path(), 4, &settings) {
        Ok(lab) => lab,
        Err(reason) => return skip("cluster::upgrade", &reason),
    };
    let founders = lab.static_peers_of(3);
    lab.set(founders);
    lab.targets = 3;
    (0..3).for_each(|board| lab.start(board));
    lab.wait_ready(PATIENCE);
    under_this_load(&mut lab, |lab, load| {
        wait_for_level(lab, LEVEL, 0);
        for (before, board) in [2, 0, 1].into_iter().enumerate() {
            lab.boards[board].terminate();
            start_as(lab, board, &later());
            lab.wait_ready(PATIENCE);
            let all = before == 2;
            wait_for_level(lab, if all { LATER } else { LEVEL }, before + 1);
            load.read_back(&lab.boards);
        }
        // The old version does not start on what the new one may have written.
        lab.boards[0].terminate();
        lab.start(0);
        let (code, said) = lab.boards[0].wait_for_end(PATIENCE);
        assert_eq!(code, Some(1), "{said}");
        let used = format!("feature level {LATER}");
        let understood = format!("understands up to {LEVEL}");
        for part in [used.as_str(), understood.as_str(), "at least as new"] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        start_as(lab, 0, &later());
        lab.wait_ready(PATIENCE);
        // A version that is too far away is told so and gets nowhere.
        start_as(lab, 3, &format!("0.9.0 1.3 {LATER}"));
        eventually("the stranger is told why", PATIENCE, || {
            let ready = lab.boards[3].ready()?;
            let told = ready.contains("upgrade nodes one minor version at a time");
            told.then_some(()).ok_or(ready)
        });
        let refused = lab.boards[..3].iter();
        let refused = refused.map(|b| b.metric("cairn_peer_refused_total", "reason=\"version\""));
        assert!(refused.sum::<f64>() > 0.0, "nobody counts the refusal");
        lab.boards[3].kill();
    });
    agree(&lab);
}
