//! Rules of the replication protocol that a simulation takes away, one at a time, to see that it
//! notices. In every other build they hold, and asking costs nothing.

/// A rule marked ▲ in the protocol, by what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// What a block lacks stays in head and log.
    WhoAcknowledgesKeeps,
    /// A replica takes writes only under its own epoch.
    WritesAreOfOneEpoch,
    /// A replica answers reads only under its own epoch.
    ReadsAreOfOneEpoch,
    /// During a move a majority of the old and of the new set is needed.
    ChangesAreJoint,
    /// A newcomer gathers heads before its move can finish.
    NewcomersGather,
    /// Those it gathers from have applied the move's epoch.
    SourcesAreFenced,
    /// They are C of the old set, not one of it.
    SourcesAreEnough,
    /// When a set shrinks, those who stay gather as well.
    StayersGather,
    /// A move finishes only at the version that was applied.
    MovesEndAtTheVersion,
    /// Data come from the highest version of those that count.
    ReadersTakeTheHighestVersion,
    /// A read needs a majority, not C.
    ReadsNeedAMajority,
    /// A block is staged on a majority before it is committed.
    BlocksAreStaged,
    /// A seal of an epoch that is over is refused.
    SealsAreOfOneEpoch,
    /// A seal of a round that is over is refused.
    SealsAreOfOneRound,
    /// Only the latest session of a data directory is heard.
    SessionsAreTheLatest,
    /// A data directory that is behind what others remember of it is no member.
    OldImagesAreSetAside,
    /// Who may have lost what it acknowledged is another member.
    LostMemoryIsAnotherLife,
    /// A log that is shorter than others remember it has lost what it acknowledged.
    LogsAreNotSetBack,
    /// A delete ends when all members hold nothing of it.
    DeletesAskAllMembers,
}

/// Whether a rule holds: always.
#[cfg(not(test))]
#[must_use]
#[inline]
pub const fn holds(_: Rule) -> bool {
    true
}

/// Whether a rule holds in this process.
#[cfg(test)]
#[must_use]
pub fn holds(rule: Rule) -> bool {
    BROKEN.get() != Some(&rule)
}

#[cfg(test)]
static BROKEN: std::sync::OnceLock<Rule> = std::sync::OnceLock::new();

#[cfg(test)]
impl Rule {
    pub(crate) const ALL: [Self; 19] = [
        Self::WhoAcknowledgesKeeps,
        Self::WritesAreOfOneEpoch,
        Self::ReadsAreOfOneEpoch,
        Self::ChangesAreJoint,
        Self::NewcomersGather,
        Self::SourcesAreFenced,
        Self::SourcesAreEnough,
        Self::StayersGather,
        Self::MovesEndAtTheVersion,
        Self::ReadersTakeTheHighestVersion,
        Self::ReadsNeedAMajority,
        Self::BlocksAreStaged,
        Self::SealsAreOfOneEpoch,
        Self::SealsAreOfOneRound,
        Self::SessionsAreTheLatest,
        Self::OldImagesAreSetAside,
        Self::LostMemoryIsAnotherLife,
        Self::LogsAreNotSetBack,
        Self::DeletesAskAllMembers,
    ];

    /// Takes it away from this process for ever: one that runs a single simulation.
    pub(crate) fn take_away(self) {
        let _ = BROKEN.set(self);
    }
}
