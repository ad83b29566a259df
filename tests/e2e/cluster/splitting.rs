//! The ring becomes finer while senders send.

use std::time::Duration;

use super::stories::{agree, three, under_this_load};
use crate::servers::{Cairn, eventually};

/// All partitions are split one by one: two seconds each, and a loaded machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Would catch a split that only one board follows, a board that does not come back after it, and
/// a sample that was acknowledged and is in neither half.
#[test]
fn every_partition_is_split_under_load_and_a_board_dies_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three("cluster::splitting", folder.path(), &["seal.grace=0s"]) else {
        return;
    };
    lab.start_all();
    under_this_load(&mut lab, |lab, load| {
        let url = lab.boards[1].url();
        let (done, said) = Cairn::run(&["ring", "split", "--url", &url]);
        assert!(!done && said.contains("16 partitions"), "{said}");
        // The boards have to have said that all of them understand it.
        eventually("the first partition is split", PATIENCE, || {
            let (done, said) = Cairn::run(&["ring", "split", "--yes", "--url", &url]);
            let done = done && said.contains("the others follow");
            done.then_some(()).ok_or(said)
        });
        lab.boards[2].kill();
        std::thread::sleep(Duration::from_secs(3));
        lab.start(2);
        eventually("all are split, as every board sees it", PATIENCE, || {
            for board in &lab.boards {
                let cluster = board.cluster()?;
                let partitions = cluster["partitions"].as_array().ok_or("no partitions")?;
                if partitions.len() != 32 {
                    return Err(format!("{}: {} partitions", board.name, partitions.len()));
                }
            }
            Ok(())
        });
        load.read_back(&lab.boards);
    });
    agree(&lab);
}
