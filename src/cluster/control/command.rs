//! What can be proposed to the control state, as values.
//!
//! A command says what to change and under which conditions; [`super::apply`] alone decides
//! whether they hold. Everything that needs a clock or chance (ids, times, sessions) is in the
//! command already, so that applying it is the same on every node. How a command looks as bytes
//! is `wire.rs`'s business.

pub use super::member_id::MemberId;
use super::tombstone::{MATCHERS_BYTES_MAX, TOMBSTONES_MAX, Tombstone, TombstoneDone, TombstoneId};
pub use crate::cluster::identity::{ClusterId, Session};
use crate::model::{BlockEntry, BlockId, Digest, Epoch, Incarnation, RingArc, TimeRange};
use crate::model::{TimestampMs, Uploaded};

/// The one decision that makes a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The new cluster.
    pub cluster: ClusterId,
    /// Its ring begins with 2^depth arcs.
    pub depth: u8,
    /// Who replicates every arc, in order.
    pub founders: Vec<Incarnation>,
}

/// A node has started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeUp {
    /// What people call it.
    pub name: String,
    /// What it is.
    pub incarnation: Incarnation,
    /// Which start of it.
    pub session: Session,
    /// Where peers reach it; empty on a single node.
    pub addresses: Vec<String>,
    /// What fails together with it.
    pub zone: String,
    /// Bytes it offers; 0: not said.
    pub capacity_bytes: u64,
    /// The version of its program, for people.
    pub version: String,
    /// The highest feature level that it understands.
    pub feature_level_max: u32,
    /// Which life of its data directory it is in.
    pub life: u32,
}

#[cfg(test)]
impl NodeUp {
    /// A test's node at its first start, which says of itself only who it is.
    pub(in crate::cluster) const fn of(number: u128) -> Self {
        Self {
            name: String::new(),
            incarnation: Incarnation(number),
            session: Session {
                starts: 1,
                nonce: number,
            },
            addresses: Vec::new(),
            zone: String::new(),
            capacity_bytes: 0,
            version: String::new(),
            feature_level_max: 1,
            life: 0,
        }
    }
}

/// Somebody wants a node to hold nothing, so that it can be switched off for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drain {
    /// Which node.
    pub incarnation: Incarnation,
    /// Whether it is to be emptied; `false` takes it back.
    pub drain: bool,
}

/// A change of a partition's members begins: from here on it is joint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MoveBegin {
    /// The partition.
    pub arc: RingArc,
    /// The epoch under which the move was decided.
    pub epoch: Epoch,
    /// Who comes.
    pub join: Option<MemberId>,
    /// Who goes.
    pub leave: Option<MemberId>,
}

/// The new set of a move stands alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MoveFinish {
    /// The partition.
    pub arc: RingArc,
    /// The epoch that the move began.
    pub epoch: Epoch,
    /// The version of the catalog that those who gather have applied.
    pub version: u64,
}

/// The move under way is given up: the old set stands alone again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MoveAbort {
    /// The partition.
    pub arc: RingArc,
    /// The epoch that the move began.
    pub epoch: Epoch,
}

/// A partition becomes two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Split {
    /// The partition.
    pub arc: RingArc,
    /// Its epoch; both halves start at the next.
    pub epoch: Epoch,
}

/// A sealed block enters the catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealCommit {
    /// The partition.
    pub arc: RingArc,
    /// The epoch under which the block was staged.
    pub epoch: Epoch,
    /// The window or UTC day that was sealed.
    pub range: TimeRange,
    /// Which seal of that range this is; the first is 1.
    pub round: u32,
    /// The block.
    pub entry: BlockEntry,
}

/// One block is in the bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockUploaded {
    /// Its partition.
    pub arc: RingArc,
    /// The block.
    pub block: BlockId,
    /// Where it lies.
    pub uploaded: Uploaded,
}

/// Blocks were rewritten: the outputs hold what the inputs held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compacted {
    /// The partition.
    pub arc: RingArc,
    /// The epoch under which the outputs were staged.
    pub epoch: Epoch,
    /// What goes; all of it must still be there.
    pub inputs: Vec<BlockId>,
    /// What comes.
    pub outputs: Vec<BlockEntry>,
}

/// What the state knows of a partition's manifest: the file that lists its older blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct History {
    /// The digest of its bytes, by which it is had.
    pub digest: Digest,
    /// Blocks that it lists.
    pub blocks: u32,
    /// The earliest end among their ranges: whoever decides about retention need not have the file.
    pub oldest_end: TimestampMs,
}

/// Entries change places between the state's own list and the manifest of older blocks, which is
/// staged on W members like a block. No block comes or goes by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestChanged {
    /// The partition.
    pub arc: RingArc,
    /// The epoch under which the manifest was staged.
    pub epoch: Epoch,
    /// The manifest that it was made from.
    pub base: Option<Digest>,
    /// The manifest after this.
    pub history: Option<History>,
    /// What the state lists no more because the manifest does, and where the bucket has it.
    pub moved: Vec<(BlockId, Uploaded)>,
    /// What the state lists again because the manifest does no more.
    pub back: Vec<BlockEntry>,
    /// Rounds of ranges that end before this are forgotten one by one, and counted by a floor.
    pub rounds_before: TimestampMs,
}

/// Retention: every block that ends before a time goes, and none can be sealed there again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expired {
    /// The partition.
    pub arc: RingArc,
    /// Blocks whose whole range lies before this go, those of the manifest too.
    pub before: TimestampMs,
}

/// A person lets a partition go on with the members that are left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The partition.
    pub arc: RingArc,
    /// Its epoch.
    pub epoch: Epoch,
    /// Who goes on with it: every old member that is not gone, and whoever is to take part.
    pub members: Vec<MemberId>,
    /// Blocks that nobody has any more.
    pub lost_blocks: Vec<BlockId>,
    /// The manifest of older blocks, where that changes too.
    pub history: Option<HistoryLeft>,
}

/// What is left of a partition's manifest when a person lets it go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryLeft {
    /// The manifest until now.
    pub base: Digest,
    /// The manifest from now on.
    pub left: Option<History>,
}

/// A person lets the control group go on without a majority of its voters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlGeneration {
    /// The new generation, higher than all before.
    pub generation: u64,
    /// Who is given up for ever with the old one.
    pub lost: Vec<Incarnation>,
}

/// A change of the control state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Found the cluster: the first command of every control log.
    Found(Found),
    /// A node has started.
    NodeUp(NodeUp),
    /// Nobody reaches a node.
    NodeDown(Incarnation),
    /// A node that was down is reached again.
    NodeLive(Incarnation),
    /// A node will never come back.
    NodeGone(Incarnation),
    /// A node is to be emptied, or no longer.
    Drain(Drain),
    /// A partition's members begin to change.
    MoveBegin(MoveBegin),
    /// They have changed.
    MoveFinish(MoveFinish),
    /// They have not changed.
    MoveAbort(MoveAbort),
    /// A partition becomes two.
    Split(Split),
    /// A block was sealed and staged on W members.
    SealCommit(SealCommit),
    /// Blocks have reached the bucket.
    Uploaded(Vec<BlockUploaded>),
    /// Blocks were rewritten.
    Compacted(Compacted),
    /// Blocks are past their retention.
    Expired(Expired),
    /// Formats and commands up to this level may be used from now on.
    FeatureLevel(u32),
    /// A partition goes on with what is left of it.
    Recovered(Recovered),
    /// The control group goes on with what is left of it.
    ControlGeneration(ControlGeneration),
    /// Entries move between the state and the manifest.
    ManifestChanged(ManifestChanged),
    /// Samples are deleted: hidden from now on.
    Tombstone(Tombstone),
    /// From now on they are left out of what is rewritten; it cannot be undone any more.
    TombstoneBegun(TombstoneId),
    /// They are shown again.
    TombstoneUndone(TombstoneId),
    /// A member holds nothing of them any more.
    TombstoneDone(TombstoneDone),
}

impl Command {
    /// The command's name, for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Found(_) => "Found",
            Self::NodeUp(_) => "NodeUp",
            Self::NodeDown(_) => "NodeDown",
            Self::NodeLive(_) => "NodeLive",
            Self::NodeGone(_) => "NodeGone",
            Self::Drain(_) => "Drain",
            Self::MoveBegin(_) => "MoveBegin",
            Self::MoveFinish(_) => "MoveFinish",
            Self::MoveAbort(_) => "MoveAbort",
            Self::Split(_) => "Split",
            Self::SealCommit(_) => "SealCommit",
            Self::Uploaded(_) => "Uploaded",
            Self::Compacted(_) => "Compacted",
            Self::Expired(_) => "Expired",
            Self::FeatureLevel(_) => "FeatureLevel",
            Self::Recovered(_) => "Recovered",
            Self::ControlGeneration(_) => "ControlGeneration",
            Self::ManifestChanged(_) => "ManifestChanged",
            Self::Tombstone(_) => "Tombstone",
            Self::TombstoneBegun(_) => "TombstoneBegun",
            Self::TombstoneUndone(_) => "TombstoneUndone",
            Self::TombstoneDone(_) => "TombstoneDone",
        }
    }
}

/// Why a command changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The first command must found the cluster.
    #[error("no cluster has been founded yet")]
    NotFounded,
    /// There is a cluster already.
    #[error("the cluster {0} has been founded already")]
    Founded(ClusterId),
    /// A founding without founders, with one twice, or with a ring too deep.
    #[error("a founding needs distinct founders and a ring of at most 2^16 arcs")]
    BadFounding,
    /// No such partition.
    #[error("there is no partition {0}: the ring has changed, read it again")]
    NoPartition(RingArc),
    /// The members of the partition have changed.
    #[error("the partition's epoch is {}: begin again under it", .current.0)]
    WrongEpoch {
        /// The epoch now.
        current: Epoch,
    },
    /// Somebody else has sealed that range.
    #[error("the range's next round is {next}: begin again with it")]
    WrongRound {
        /// The round that could be committed now.
        next: u32,
    },
    /// Entry and command disagree, or the range is no window and no UTC day.
    #[error("the block's entry does not fit the command")]
    BadEntry,
    /// The block is in the catalog already.
    #[error("the block {0} is in the catalog already")]
    KnownBlock(BlockId),
    /// The block is not in the catalog (any more).
    #[error("the block {0} is not in the catalog")]
    NoBlock(BlockId),
    /// Retention has passed over the range.
    #[error("everything before {before} has expired")]
    Expired {
        /// The time before which nothing is kept.
        before: TimestampMs,
    },
    /// The horizon can only rise.
    #[error("everything before {before} has expired already")]
    NotLater {
        /// The time before which nothing is kept.
        before: TimestampMs,
    },
    /// A later start of this data directory is known: another process runs on it or a copy of it.
    #[error(
        "start {} of this data directory is known: another process runs on it or on a copy of it",
        .known
    )]
    OldSession {
        /// The highest start that is known.
        known: u64,
    },
    /// The incarnation was given up for ever.
    #[error(
        "the incarnation {0} is gone, given up for ever: its next start sets the data directory aside and joins as a new node"
    )]
    Gone(Incarnation),
    /// No such node.
    #[error("no node of the incarnation {0} has ever announced itself")]
    NoNode(Incarnation),
    /// One change of members at a time, and none while a partition is split.
    #[error("a move of the partition {0} is under way: wait until it has finished or abort it")]
    Moving(RingArc),
    /// There is nothing to finish or to abort.
    #[error("no move of the partition {0} is under way")]
    NotMoving(RingArc),
    /// Who joins is in the set already or not in its present life, who leaves is not in it, or
    /// nobody would be left.
    #[error("the move does not fit the members of the partition {0}: decide again")]
    BadMove(RingArc),
    /// The catalog has gone on since the gathering members applied it.
    #[error("the partition's version is {current}: apply it and finish again")]
    WrongVersion {
        /// The version now.
        current: u64,
    },
    /// The arc cannot be halved again.
    #[error("the partition {0} is as deep as can be (bound {max})", max = RingArc::DEPTH_MAX)]
    TooDeep(RingArc),
    /// Feature levels only rise, and only to what every node understands.
    #[error("the feature level is {current} and every node understands up to {understood}")]
    BadLevel {
        /// The level now.
        current: u32,
        /// The highest that every node understands.
        understood: u32,
    },
    /// A program that does not understand what the cluster already uses.
    #[error(
        "the cluster uses feature level {level}, and this program understands up to {understood}: start a version that is at least as new as the other nodes'"
    )]
    TooOld {
        /// The level now.
        level: u32,
        /// What the program understands.
        understood: u32,
    },
    /// Enough members of the partition are left, or may come back, for an ordinary move.
    #[error("enough members of the partition {0} are left: it is moved in the ordinary way")]
    NotLost(RingArc),
    /// The control group has been rebuilt meanwhile.
    #[error("the control group's generation is {current} already")]
    OldGeneration {
        /// The generation now.
        current: u64,
    },
    /// The manifest of the partition is another one, the entries do not fit it, or a program that
    /// knows no manifests might still be there.
    #[error(
        "the change does not fit the manifest of the partition {0}: read the catalog and begin again"
    )]
    BadManifest(RingArc),
    /// A tombstone without matchers or times, with too long matchers, or that has not begun.
    #[error(
        "a delete needs matchers of at most {MATCHERS_BYTES_MAX} bytes and a range that ends by now"
    )]
    BadTombstone,
    /// So many stand already.
    #[error(
        "{TOMBSTONES_MAX} deletes are under way: wait until some have ended, or name more series with one"
    )]
    TooManyTombstones,
    /// No such tombstone (any more).
    #[error("there is no delete {0}: it has ended, or was undone")]
    NoTombstone(TombstoneId),
    /// It cannot be taken back.
    #[error("the delete {0} cannot be undone any more: its samples are being removed")]
    TombstoneBegun(TombstoneId),
    /// A number is at its end.
    #[error("a counter of the control state is at its end")]
    Exhausted,
}

/// What applying a command did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The state is changed (or already was as the command wants it).
    Applied,
    /// Nothing is changed.
    Refused(Refusal),
}

impl Outcome {
    /// The refusal as an error.
    ///
    /// # Errors
    /// The refusal, if it is one.
    pub const fn into_result(self) -> Result<(), Refusal> {
        match self {
            Self::Applied => Ok(()),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}
