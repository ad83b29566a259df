//! Deletes: who may say that nothing is left, and when the last word is spoken.

use super::rig::*;
use crate::cluster::control::command::*;
use crate::cluster::control::state::ControlState;
use crate::cluster::control::tombstone::*;
use crate::model::*;

const ID: TombstoneId = TombstoneId(9);

fn tombstone(range: TimeRange, at: TimestampMs) -> Command {
    Command::Tombstone(Tombstone {
        id: ID,
        deletion: Deletion {
            tenant: TenantId::anonymous(),
            matchers: vec![Matcher::new("job", MatchOp::Equal, "old").unwrap()],
            range,
        },
        at,
    })
}

/// Three members, and a delete of the first hour of all time that has begun.
fn deleting() -> ControlState {
    let mut state = three();
    state.feature_level = TOMBSTONE_LEVEL;
    let range = TimeRange::new(TimestampMs(0), TimestampMs(3_600_000));
    let stands = state.apply(&tombstone(range, TimestampMs(3_600_000)));
    assert_eq!(stands, Outcome::Applied);
    assert_eq!(state.apply(&Command::TombstoneBegun(ID)), Outcome::Applied);
    state
}

/// A member says that it holds nothing, by what it saw.
fn done(number: u128, seen: u64) -> Command {
    Command::TombstoneDone(TombstoneDone {
        id: ID,
        by: member(number),
        seen,
    })
}

/// Says it by the state as it is now.
fn say(state: &mut ControlState, number: u128) {
    let word = done(number, state.applied);
    assert_eq!(state.apply(&word), Outcome::Applied);
}

fn is_settled(state: &ControlState, number: u32) -> bool {
    let arcs = &state.tombstones[&ID].arcs;
    arcs.get(&arc(number))
        .is_some_and(|removal| removal.settled)
}

/// Would catch a delete that ends before all members have said that they hold nothing.
#[test]
fn it_ends_with_the_last_member_of_all() {
    let mut state = deleting();
    for number in [1, 2, 1, 2] {
        say(&mut state, number);
        assert!(
            state.tombstones.contains_key(&ID),
            "the third has said nothing"
        );
    }
    // Who is a member of nothing is not heard.
    say(&mut state, 4);
    assert!(state.tombstones.contains_key(&ID));
    say(&mut state, 3);
    assert!(state.tombstones.is_empty());
}

/// Would catch a word that is taken for a block which came after its speaker had looked.
#[test]
fn a_word_is_about_what_its_speaker_has_seen() {
    let mut state = deleting();
    let before = state.applied;
    say(&mut state, 1);
    say(&mut state, 2);
    let window = Window(0).range();
    assert_eq!(state.apply(&seal(0, 1, window, 1, 50)), Outcome::Applied);
    // What the two have said of the first partition is void, and the third one's word comes late.
    assert_eq!(state.apply(&done(3, before)), Outcome::Applied);
    assert!(!is_settled(&state, 0) && is_settled(&state, 1));
    for number in [1, 2] {
        say(&mut state, number);
        assert!(!is_settled(&state, 0));
    }
    say(&mut state, 3);
    assert!(state.tombstones.is_empty());
}

/// Would catch a delete that begins again for ever, and one that a block of other times holds up.
#[test]
fn what_is_settled_stays_so_and_other_times_do_not_matter() {
    let mut state = deleting();
    let later = Window(1).range();
    say(&mut state, 1);
    say(&mut state, 2);
    assert_eq!(state.apply(&seal(0, 1, later, 1, 50)), Outcome::Applied);
    // A partition that moves is not settled meanwhile, and its new member has to speak.
    let moves = begin(2, 1, Some(4), Some(1));
    assert_eq!(state.apply(&moves), Outcome::Applied);
    say(&mut state, 3);
    assert!(is_settled(&state, 0) && !is_settled(&state, 2));
    let window = Window(0).range();
    assert_eq!(state.apply(&seal(0, 1, window, 1, 51)), Outcome::Applied);
    assert!(is_settled(&state, 0));
    for number in 1..=4 {
        say(&mut state, number);
    }
    assert!(!is_settled(&state, 2), "it moves");
    assert_eq!(state.apply(&finish(2, 2, 0)), Outcome::Applied);
    for number in [2, 3] {
        say(&mut state, number);
        assert!(!is_settled(&state, 2));
    }
    say(&mut state, 4);
    assert!(state.tombstones.is_empty());
}

/// Would catch a delete that is taken back when blocks are being rewritten, and one that reaches beyond
/// the moment in which it was asked for.
#[test]
fn what_does_not_fit_is_refused() {
    let mut state = deleting();
    let late = refusal(&mut state, &Command::TombstoneUndone(ID));
    assert_eq!(late, Refusal::TombstoneBegun(ID));
    let nobody = TombstoneId(1);
    let unknown = refusal(&mut state, &Command::TombstoneBegun(nobody));
    assert_eq!(unknown, Refusal::NoTombstone(nobody));
    let mut state = three();
    let range = TimeRange::new(TimestampMs(0), TimestampMs(10));
    let old = refusal(&mut state, &tombstone(range, TimestampMs(10)));
    assert!(matches!(old, Refusal::BadLevel { .. }), "{old:?}");
    state.feature_level = TOMBSTONE_LEVEL;
    let future = refusal(&mut state, &tombstone(range, TimestampMs(9)));
    assert_eq!(future, Refusal::BadTombstone);
    state.apply(&tombstone(range, TimestampMs(10)));
    let word = done(1, state.applied);
    let early = refusal(&mut state, &word);
    assert_eq!(early, Refusal::BadTombstone, "it has not begun");
    state.apply(&Command::TombstoneUndone(ID));
    assert!(state.tombstones.is_empty());
}
