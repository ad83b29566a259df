//! Entries leave the state for a manifest and come back.

use super::rig::{arc, change, entry, founded, history, node_up, refusal, seal};
use crate::cluster::control::command::*;
use crate::cluster::control::state::{ControlState, MOVED_MAX};
use crate::model::*;

/// Would catch an entry that leaves the state without being in the manifest, and a manifest that is
/// changed under the feet of whoever made the next one.
#[test]
fn entries_change_places_only_as_they_were_when_the_manifest_was_made() {
    let mut state = founded();
    let changed = |c: &ManifestChanged| Command::ManifestChanged(c.clone());
    let (one, two) = (Window(0).range(), Window(1).range());
    state.apply(&seal(0, 1, one, 1, 1));
    state.apply(&seal(0, 1, two, 1, 2));
    let bad = Refusal::BadManifest(arc(0));
    let first = change(None, Some(1), &[1], Vec::new());
    assert_eq!(
        refusal(&mut state, &changed(&first)),
        bad,
        "the feature level"
    );
    state.apply(&node_up(1, 1));
    assert_eq!(state.apply(&Command::FeatureLevel(2)), Outcome::Applied);
    for (wrong, expected) in [
        (change(Some(9), Some(1), &[1], Vec::new()), bad),
        (change(None, None, &[1], Vec::new()), bad),
        (change(None, Some(1), &[1, 1], Vec::new()), bad),
        (change(None, None, &[], vec![entry(7, one, 1)]), bad),
        (
            change(None, Some(1), &[1, 3], Vec::new()),
            Refusal::NoBlock(BlockId(3)),
        ),
        (
            change(None, Some(1), &[], vec![entry(2, two, 1)]),
            Refusal::KnownBlock(BlockId(2)),
        ),
    ] {
        assert_eq!(refusal(&mut state, &changed(&wrong)), expected);
    }
    let mut late = first.clone();
    late.epoch = Epoch(2);
    let current = Refusal::WrongEpoch { current: Epoch(1) };
    assert_eq!(refusal(&mut state, &changed(&late)), current);
    let mut many = first.clone();
    let more = (100..).map(|id| (BlockId(id), Uploaded::None));
    many.moved = more.take(MOVED_MAX + 1).collect();
    assert_eq!(refusal(&mut state, &changed(&many)), bad);
    // An upload that came in between is not lost.
    let mut uploaded = state.clone();
    uploaded.apply(&Command::Uploaded(vec![BlockUploaded {
        arc: arc(0),
        block: BlockId(1),
        uploaded: Uploaded::Object,
    }]));
    assert_eq!(refusal(&mut uploaded, &changed(&first)), bad);
    assert_eq!(state.apply(&changed(&first)), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!(
        (partition.version, partition.history),
        (3, Some(history(1)))
    );
    assert_eq!(partition.recent.keys().collect::<Vec<_>>(), [&BlockId(2)]);
    assert_eq!(refusal(&mut state, &changed(&first)), bad, "once more");
    let back = change(Some(1), None, &[], vec![entry(1, one, 1)]);
    assert_eq!(state.apply(&changed(&back)), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!((partition.version, partition.history), (4, None));
    assert_eq!(partition.recent.len(), 2);
}

/// Would catch a sealer that slept until its round was forgotten and then commits a block whose
/// file has been swept.
#[test]
fn a_round_that_is_forgotten_is_still_over() {
    let mut state = founded();
    state.apply(&node_up(1, 1));
    state.apply(&Command::FeatureLevel(2));
    for (window, round, id) in [(0, 1, 1), (1, 1, 2), (1, 2, 3), (9, 1, 4)] {
        let seal = seal(0, 1, Window(window).range(), round, id);
        assert_eq!(state.apply(&seal), Outcome::Applied);
    }
    let mut forget = change(None, Some(1), &[1, 2, 3], Vec::new());
    forget.rounds_before = Window(5).start();
    let forget = Command::ManifestChanged(forget);
    assert_eq!(state.apply(&forget), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!(partition.rounds.len(), 1);
    // Whoever began round 2 of the first window, or round 1 of one that nobody has sealed.
    let next = Refusal::WrongRound { next: 3 };
    for (window, round) in [(0, 1), (0, 2), (1, 2), (2, 1)] {
        let late = seal(0, 1, Window(window).range(), round, 50);
        assert_eq!(refusal(&mut state, &late), next, "{window}, {round}");
    }
    for (window, round, id) in [(0, 3, 60), (0, 4, 61), (5, 1, 62), (9, 2, 63)] {
        let seal = seal(0, 1, Window(window).range(), round, id);
        assert_eq!(state.apply(&seal), Outcome::Applied);
    }
    assert_eq!(ControlState::decode(&state.encode()), Ok(state));
}
