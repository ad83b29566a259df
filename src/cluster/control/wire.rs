//! Control commands as bytes: protobuf messages, described field by field
//! in `docs/format.md`, "Control state and catalog".
//!
//! Numbers of fields are never reused. A command whose number this program does not know is an
//! error that stops the node ([`WireError::UnknownCommand`]): going on without it would give a
//! state that differs from everybody else's. Equal commands are equal bytes.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use super::command::{BlockUploaded, ClusterId, Command, Compacted, Expired, Found};
use super::command::{NodeUp, SealCommit, Session};
use super::wire_manifest::ManifestChangedMessage;
use super::wire_parts::{ArcMessage, EntryMessage, PlaceMessage, RangeMessage, WireError};
use super::wire_parts::{damaged, narrow, read_wide, required, wide};
use super::wire_recovery::{GenerationMessage, RecoveredMessage};
use super::wire_ring::{
    DrainMessage, EpochMessage, MoveBeginMessage, MoveFinishMessage, NodeMessage,
};
use super::wire_tombstone::{TombstoneDoneMessage, TombstoneMessage, TombstoneNameMessage};
use crate::model::{BlockId, Epoch, Incarnation, TimestampMs};

/// Commands whose numbers are taken but which this version does not know.
pub(super) const RESERVED_COMMANDS: [(u32, &str); 7] = [
    (16, "Tenant"),
    (17, "Limits"),
    (18, "Rules"),
    (19, "HaLease"),
    (22, "FreshSet"),
    (23, "EnsembleClose"),
    (24, "EnsembleGiveUp"),
];

/// The longest text in a command.
const TEXT_BYTES_MAX: usize = 4096;

/// A command's bytes.
pub(super) fn encode_command(command: &Command) -> Vec<u8> {
    let body = match command {
        Command::Found(found) => Body::Found(found.into()),
        Command::NodeUp(node) => Body::NodeUp(node.into()),
        Command::NodeDown(node) => Body::NodeDown((*node).into()),
        Command::NodeLive(node) => Body::NodeLive((*node).into()),
        Command::NodeGone(node) => Body::NodeGone((*node).into()),
        Command::Drain(drain) => Body::Drain((*drain).into()),
        Command::MoveBegin(begin) => Body::MoveBegin(begin.into()),
        Command::MoveFinish(finish) => Body::MoveFinish(finish.into()),
        Command::MoveAbort(abort) => Body::MoveAbort(abort.into()),
        Command::Split(split) => Body::Split(split.into()),
        Command::SealCommit(commit) => Body::SealCommit(commit.into()),
        Command::Uploaded(blocks) => Body::Uploaded(UploadedMessage {
            blocks: blocks.iter().map(Into::into).collect(),
        }),
        Command::Compacted(compacted) => Body::Compacted(compacted.into()),
        Command::Expired(expired) => Body::Expired(expired.into()),
        Command::FeatureLevel(level) => Body::FeatureLevel(*level),
        Command::Recovered(recovered) => Body::Recovered(recovered.into()),
        Command::ControlGeneration(next) => Body::ControlGeneration(next.into()),
        Command::ManifestChanged(changed) => Body::ManifestChanged(changed.into()),
        Command::Tombstone(tombstone) => Body::Tombstone(tombstone.into()),
        Command::TombstoneDone(done) => Body::TombstoneDone((*done).into()),
        Command::TombstoneBegun(id) => Body::TombstoneBegun((*id).into()),
        Command::TombstoneUndone(id) => Body::TombstoneUndone((*id).into()),
    };
    CommandMessage { body: Some(body) }.encode_to_vec()
}

/// The command of some bytes.
pub(super) fn decode_command(bytes: &[u8]) -> Result<Command, WireError> {
    refuse_unknown(bytes)?;
    let message = CommandMessage::decode(bytes)
        .map_err(|error| damaged("a control command", error.to_string()))?;
    match message.body {
        Some(Body::Found(found)) => found.read().map(Command::Found),
        Some(Body::NodeUp(node)) => node.read().map(Command::NodeUp),
        Some(Body::NodeDown(node)) => node.read().map(Command::NodeDown),
        Some(Body::NodeLive(node)) => node.read().map(Command::NodeLive),
        Some(Body::NodeGone(node)) => node.read().map(Command::NodeGone),
        Some(Body::Drain(drain)) => drain.read().map(Command::Drain),
        Some(Body::MoveBegin(begin)) => begin.read().map(Command::MoveBegin),
        Some(Body::MoveFinish(finish)) => finish.read().map(Command::MoveFinish),
        Some(Body::MoveAbort(abort)) => abort.read_abort().map(Command::MoveAbort),
        Some(Body::Split(split)) => split.read_split().map(Command::Split),
        Some(Body::SealCommit(commit)) => commit.read().map(Command::SealCommit),
        Some(Body::Uploaded(uploaded)) => {
            let blocks: Result<_, _> = uploaded.blocks.into_iter().map(|b| b.read()).collect();
            blocks.map(Command::Uploaded)
        }
        Some(Body::Compacted(compacted)) => compacted.read().map(Command::Compacted),
        Some(Body::Expired(expired)) => expired.read().map(Command::Expired),
        Some(Body::FeatureLevel(level)) => Ok(Command::FeatureLevel(level)),
        Some(Body::Recovered(recovered)) => recovered.read().map(Command::Recovered),
        Some(Body::ControlGeneration(next)) => next.read().map(Command::ControlGeneration),
        Some(Body::ManifestChanged(changed)) => changed.read().map(Command::ManifestChanged),
        Some(Body::Tombstone(tombstone)) => tombstone.read().map(Command::Tombstone),
        Some(Body::TombstoneDone(done)) => done.read().map(Command::TombstoneDone),
        Some(Body::TombstoneBegun(name)) => name.read().map(Command::TombstoneBegun),
        Some(Body::TombstoneUndone(name)) => name.read().map(Command::TombstoneUndone),
        None => Err(damaged("a control command", "it is empty")),
    }
}

/// Looks at the numbers of a command's outermost fields, which prost would skip in silence.
fn refuse_unknown(mut bytes: &[u8]) -> Result<(), WireError> {
    let broken = |error: prost::DecodeError| damaged("a control command", error.to_string());
    while !bytes.is_empty() {
        let (number, wire_type): (u32, WireType) = decode_key(&mut bytes).map_err(broken)?;
        if !matches!(number, 1..=15 | 20 | 21 | 25..=29) {
            let reserved = RESERVED_COMMANDS.iter().find(|(taken, _)| *taken == number);
            let name = reserved.map_or("without a name here", |(_, name)| name);
            return Err(WireError::UnknownCommand { number, name });
        }
        skip_field(wire_type, number, &mut bytes, DecodeContext::default()).map_err(broken)?;
    }
    Ok(())
}

#[derive(Clone, PartialEq, Message)]
struct CommandMessage {
    #[prost(
        oneof = "Body",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 25, 26, 27, 28, 29"
    )]
    body: Option<Body>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Body {
    #[prost(message, tag = "1")]
    Found(FoundMessage),
    #[prost(message, tag = "2")]
    NodeUp(NodeUpMessage),
    #[prost(message, tag = "3")]
    NodeDown(NodeMessage),
    #[prost(message, tag = "4")]
    NodeLive(NodeMessage),
    #[prost(message, tag = "5")]
    NodeGone(NodeMessage),
    #[prost(message, tag = "6")]
    MoveBegin(MoveBeginMessage),
    #[prost(message, tag = "7")]
    MoveFinish(MoveFinishMessage),
    #[prost(message, tag = "8")]
    MoveAbort(EpochMessage),
    #[prost(message, tag = "9")]
    Split(EpochMessage),
    #[prost(message, tag = "10")]
    SealCommit(SealCommitMessage),
    #[prost(message, tag = "11")]
    Uploaded(UploadedMessage),
    #[prost(message, tag = "12")]
    Compacted(CompactedMessage),
    #[prost(message, tag = "13")]
    Expired(ExpiredMessage),
    #[prost(message, tag = "14")]
    Tombstone(TombstoneMessage),
    #[prost(message, tag = "15")]
    TombstoneDone(TombstoneDoneMessage),
    #[prost(uint32, tag = "20")]
    FeatureLevel(u32),
    #[prost(message, tag = "21")]
    ControlGeneration(GenerationMessage),
    #[prost(message, tag = "25")]
    Drain(DrainMessage),
    #[prost(message, tag = "26")]
    Recovered(RecoveredMessage),
    #[prost(message, tag = "27")]
    ManifestChanged(ManifestChangedMessage),
    #[prost(message, tag = "28")]
    TombstoneBegun(TombstoneNameMessage),
    #[prost(message, tag = "29")]
    TombstoneUndone(TombstoneNameMessage),
}

#[derive(Clone, PartialEq, Message)]
struct FoundMessage {
    #[prost(bytes = "vec", tag = "1")]
    cluster: Vec<u8>,
    #[prost(uint32, tag = "2")]
    depth: u32,
    #[prost(bytes = "vec", repeated, tag = "3")]
    founders: Vec<Vec<u8>>,
}

impl From<&Found> for FoundMessage {
    fn from(found: &Found) -> Self {
        Self {
            cluster: wide(found.cluster.0),
            depth: u32::from(found.depth),
            founders: found.founders.iter().map(|f| wide(f.0)).collect(),
        }
    }
}

impl FoundMessage {
    fn read(self) -> Result<Found, WireError> {
        let founders: Result<_, _> = self.founders.iter().map(|f| read_wide(f)).collect();
        let founders: Vec<u128> = founders?;
        Ok(Found {
            cluster: ClusterId(read_wide(&self.cluster)?),
            depth: narrow(self.depth, "a ring's depth")?,
            founders: founders.into_iter().map(Incarnation).collect(),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct NodeUpMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    incarnation: Vec<u8>,
    #[prost(uint64, tag = "3")]
    starts: u64,
    #[prost(bytes = "vec", tag = "4")]
    nonce: Vec<u8>,
    #[prost(string, repeated, tag = "5")]
    addresses: Vec<String>,
    #[prost(string, tag = "6")]
    zone: String,
    #[prost(uint64, tag = "7")]
    capacity_bytes: u64,
    #[prost(string, tag = "8")]
    version: String,
    #[prost(uint32, tag = "9")]
    feature_level_max: u32,
    #[prost(uint32, tag = "10")]
    life: u32,
}

impl From<&NodeUp> for NodeUpMessage {
    fn from(node: &NodeUp) -> Self {
        Self {
            name: node.name.clone(),
            incarnation: wide(node.incarnation.0),
            starts: node.session.starts,
            nonce: wide(node.session.nonce),
            addresses: node.addresses.clone(),
            zone: node.zone.clone(),
            capacity_bytes: node.capacity_bytes,
            version: node.version.clone(),
            feature_level_max: node.feature_level_max,
            life: node.life,
        }
    }
}

impl NodeUpMessage {
    fn read(self) -> Result<NodeUp, WireError> {
        let texts = [&self.name, &self.zone, &self.version];
        if let Some(text) = texts
            .into_iter()
            .chain(&self.addresses)
            .find(|text| text.len() > TEXT_BYTES_MAX)
        {
            let problem = format!("a text of {} bytes (bound {TEXT_BYTES_MAX})", text.len());
            return Err(damaged("NodeUp", problem));
        }
        Ok(NodeUp {
            name: self.name,
            incarnation: Incarnation(read_wide(&self.incarnation)?),
            session: Session {
                starts: self.starts,
                nonce: read_wide(&self.nonce)?,
            },
            addresses: self.addresses,
            zone: self.zone,
            capacity_bytes: self.capacity_bytes,
            version: self.version,
            feature_level_max: self.feature_level_max,
            life: self.life,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct SealCommitMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(message, optional, tag = "3")]
    range: Option<RangeMessage>,
    #[prost(uint32, tag = "4")]
    round: u32,
    #[prost(message, optional, tag = "5")]
    entry: Option<EntryMessage>,
}

impl From<&SealCommit> for SealCommitMessage {
    fn from(commit: &SealCommit) -> Self {
        Self {
            arc: Some(commit.arc.into()),
            epoch: commit.epoch.0,
            range: Some(commit.range.into()),
            round: commit.round,
            entry: Some((&commit.entry).into()),
        }
    }
}

impl SealCommitMessage {
    fn read(self) -> Result<SealCommit, WireError> {
        Ok(SealCommit {
            arc: required(self.arc, "an arc")?.read()?,
            epoch: Epoch(self.epoch),
            range: required(self.range, "a range")?.read(),
            round: self.round,
            entry: required(self.entry, "an entry")?.read()?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct UploadedMessage {
    #[prost(message, repeated, tag = "1")]
    blocks: Vec<BlockUploadedMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct BlockUploadedMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(bytes = "vec", tag = "2")]
    block: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    place: Option<PlaceMessage>,
}

impl From<&BlockUploaded> for BlockUploadedMessage {
    fn from(block: &BlockUploaded) -> Self {
        Self {
            arc: Some(block.arc.into()),
            block: wide(block.block.0),
            place: PlaceMessage::of(block.uploaded),
        }
    }
}

impl BlockUploadedMessage {
    fn read(self) -> Result<BlockUploaded, WireError> {
        Ok(BlockUploaded {
            arc: required(self.arc, "an arc")?.read()?,
            block: BlockId(read_wide(&self.block)?),
            uploaded: PlaceMessage::read(self.place)?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct CompactedMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(bytes = "vec", repeated, tag = "3")]
    inputs: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    outputs: Vec<EntryMessage>,
    #[prost(bytes = "vec", optional, tag = "5")]
    history: Option<Vec<u8>>,
}

impl From<&Compacted> for CompactedMessage {
    fn from(compacted: &Compacted) -> Self {
        Self {
            arc: Some(compacted.arc.into()),
            epoch: compacted.epoch.0,
            inputs: compacted.inputs.iter().map(|id| wide(id.0)).collect(),
            outputs: compacted.outputs.iter().map(Into::into).collect(),
            history: None,
        }
    }
}

impl CompactedMessage {
    fn read(self) -> Result<Compacted, WireError> {
        refuse_manifest(self.history.as_ref())?;
        let inputs: Result<Vec<u128>, _> = self.inputs.iter().map(|id| read_wide(id)).collect();
        let outputs: Result<_, _> = self.outputs.into_iter().map(EntryMessage::read).collect();
        Ok(Compacted {
            arc: required(self.arc, "an arc")?.read()?,
            epoch: Epoch(self.epoch),
            inputs: inputs?.into_iter().map(BlockId).collect(),
            outputs: outputs?,
        })
    }
}

/// The field is taken, and no program has ever written it: manifests change by a command of their
/// own, which says which one it was made from.
fn refuse_manifest(named: Option<&Vec<u8>>) -> Result<(), WireError> {
    let refused = WireError::Newer("a manifest that a merge or retention changes");
    named.map_or(Ok(()), |_| Err(refused))
}

#[derive(Clone, PartialEq, Message)]
struct ExpiredMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(sint64, tag = "2")]
    before_ms: i64,
    #[prost(bytes = "vec", optional, tag = "3")]
    history: Option<Vec<u8>>,
}

impl From<&Expired> for ExpiredMessage {
    fn from(expired: &Expired) -> Self {
        Self {
            arc: Some(expired.arc.into()),
            before_ms: expired.before.0,
            history: None,
        }
    }
}

impl ExpiredMessage {
    fn read(self) -> Result<Expired, WireError> {
        refuse_manifest(self.history.as_ref())?;
        Ok(Expired {
            arc: required(self.arc, "an arc")?.read()?,
            before: TimestampMs(self.before_ms),
        })
    }
}
