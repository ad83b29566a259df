//! What the catalog takes: seals, merges, uploads, and what has expired.

use super::rig::{arc, entry, founded, refusal, seal};
use crate::cluster::control::command::*;
use crate::cluster::control::state::{DAY_MS, utc_day};
use crate::model::*;

#[test]
fn a_seal_is_refused_when_epoch_round_or_entry_do_not_fit() {
    let mut state = founded();
    let range = Window(10).range();
    assert_eq!(
        refusal(&mut state, &seal(0, 2, range, 1, 1)),
        Refusal::WrongEpoch { current: Epoch(1) }
    );
    assert_eq!(
        refusal(&mut state, &seal(0, 1, range, 2, 1)),
        Refusal::WrongRound { next: 1 }
    );
    assert_eq!(state.apply(&seal(0, 1, range, 1, 1)), Outcome::Applied);
    // The second of two sealers.
    assert_eq!(
        refusal(&mut state, &seal(0, 1, range, 1, 2)),
        Refusal::WrongRound { next: 2 }
    );
    assert_eq!(
        refusal(&mut state, &seal(0, 1, range, 2, 1)),
        Refusal::KnownBlock(BlockId(1))
    );
    assert_eq!(state.apply(&seal(0, 1, range, 2, 2)), Outcome::Applied);
    let odd = TimeRange::new(TimestampMs(5), TimestampMs(9));
    assert_eq!(
        refusal(&mut state, &seal(0, 1, odd, 1, 3)),
        Refusal::BadEntry
    );
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!((partition.version, partition.recent.len()), (2, 2));
    // A UTC day has rounds of its own.
    let day = utc_day(range.start);
    assert_eq!(state.apply(&seal(0, 1, day, 1, 4)), Outcome::Applied);
    // Another partition is untouched.
    assert_eq!(state.partition(arc(1)).unwrap().version, 0);
}

#[test]
fn what_has_expired_is_gone_and_cannot_be_sealed_again() {
    let mut state = founded();
    for window in 0i64..24 {
        let block = u128::from(window.unsigned_abs()) + 1;
        let outcome = state.apply(&seal(3, 1, Window(window).range(), 1, block));
        assert_eq!(outcome, Outcome::Applied);
    }
    let expired = |before| {
        Command::Expired(Expired {
            arc: arc(3),
            before: TimestampMs(before),
        })
    };
    assert_eq!(state.apply(&expired(DAY_MS)), Outcome::Applied);
    let partition = state.partition(arc(3)).unwrap();
    assert_eq!((partition.recent.len(), partition.rounds.len()), (12, 12));
    assert_eq!(partition.version, 25);
    let before = TimestampMs(DAY_MS);
    assert_eq!(
        refusal(&mut state, &seal(3, 1, Window(11).range(), 1, 100)),
        Refusal::Expired { before }
    );
    assert_eq!(
        refusal(&mut state, &expired(DAY_MS)),
        Refusal::NotLater { before }
    );
    assert_eq!(
        state.apply(&seal(3, 1, Window(12).range(), 2, 100)),
        Outcome::Applied
    );
}

#[test]
fn compaction_wants_all_its_inputs_and_changes_the_version_once() {
    let mut state = founded();
    let (one, two) = (Window(0).range(), Window(1).range());
    state.apply(&seal(0, 1, one, 1, 1));
    state.apply(&seal(0, 1, two, 1, 2));
    let whole = TimeRange::new(one.start, two.end);
    let mut output = entry(9, whole, 0);
    output.level = Level(1);
    let compacted = |inputs: &[u128]| {
        Command::Compacted(Compacted {
            arc: arc(0),
            epoch: Epoch(1),
            inputs: inputs.iter().copied().map(BlockId).collect(),
            outputs: vec![output.clone()],
        })
    };
    assert_eq!(
        refusal(&mut state, &compacted(&[1, 3])),
        Refusal::NoBlock(BlockId(3))
    );
    assert_eq!(state.apply(&compacted(&[1, 2])), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!(partition.version, 3);
    assert_eq!(partition.recent.keys().collect::<Vec<_>>(), [&BlockId(9)]);
}

#[test]
fn an_upload_changes_no_version_and_is_never_forgotten() {
    let mut state = founded();
    state.apply(&seal(0, 1, Window(0).range(), 1, 1));
    let uploaded = |uploaded, block| {
        Command::Uploaded(vec![BlockUploaded {
            arc: arc(0),
            block: BlockId(block),
            uploaded,
        }])
    };
    let object = uploaded(Uploaded::Object, 1);
    assert_eq!(state.apply(&object), Outcome::Applied);
    assert_eq!(state.apply(&uploaded(Uploaded::None, 1)), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!(partition.version, 1);
    assert_eq!(partition.recent[&BlockId(1)].uploaded, Uploaded::Object);
    assert_eq!(
        refusal(&mut state, &uploaded(Uploaded::Object, 2)),
        Refusal::NoBlock(BlockId(2))
    );
}
