//! What is opened after a start, before anybody asks.

use std::collections::BTreeMap;

use super::newest::seal;
use super::*;

/// Would catch a start that reads all of history, what is not here, or reads on when the node is stopped.
#[test]
fn the_newest_day_is_opened_and_decoded() {
    let mut node = Node::new(3);
    let windows = [Window(-40), Window(-9), Window(2)];
    let mut blocks: BTreeMap<RingArc, BTreeMap<BlockId, BlockEntry>> = BTreeMap::new();
    for window in windows {
        let at = window.range().start.0;
        let all: Vec<Write> = (0..6)
            .map(|number| float(&series(number), at, 1.0))
            .collect();
        node.write(&all);
        for arc in all.iter().map(|write| arc_of(&write.0)) {
            seal(&node, arc, window, blocks.entry(arc).or_default());
        }
    }
    let here = |windows: &[Window]| {
        let of = |entry: &&BlockEntry| windows.iter().any(|it| it.range() == entry.range);
        blocks
            .values()
            .flat_map(BTreeMap::values)
            .filter(of)
            .count()
    };
    node.restart();
    let stopped = CancelToken::new();
    stopped.cancel();
    assert_eq!(node.store.warm_up(&stopped).unwrap(), Warmed::default());
    let newest = here(&windows[1..]);
    assert!(newest > 1 && newest < here(&windows));
    let want = Warmed {
        blocks: newest,
        decoded: newest,
    };
    assert_eq!(node.store.warm_up(&CancelToken::new()).unwrap(), want);
    assert_eq!(read_all(&node.store, TimeRange::ALL).len(), 6);
}
