//! Who is a member of a partition: a data directory in one of its lives.

use crate::model::Incarnation;

/// Who counts in a partition: an incarnation in one of its lives (partial amnesia begins a new one).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberId {
    /// Which data directory.
    pub incarnation: Incarnation,
    /// Which of its lives, from 0.
    pub life: u32,
}
