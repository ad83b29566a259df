//! When a delete is over.

use super::super::deletes::who_was_away_brings_back_what_is_deleted;
use super::{AGAIN, weigh};
use crate::runtime::Rule;

/// One who was away still has what the others have removed.
#[test]
fn deletes_ask_all_members() {
    weigh(
        ("deletes", "deletes_ask_all_members"),
        Rule::DeletesAskAllMembers,
        AGAIN,
        who_was_away_brings_back_what_is_deleted,
    );
}
