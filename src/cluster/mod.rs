//! What many nodes agree on, and how samples get to them: control commands, writes, seals.
//!
//! Knows nothing of PromQL or HTTP. On one node every rule of the replication protocol holds with
//! n = 1: one member per partition, W = R = C = 1.

mod addresses;
mod assembly;
mod blocks;
mod clocks;
mod control;
mod data;
mod decisions;
mod deletes;
mod discovery;
mod error;
mod first_seal;
mod flushes;
mod history;
mod identity;
mod in_force;
mod life;
mod manifests;
mod member;
mod merging;
mod metrics;
mod moves;
mod opening;
mod peer;
mod queries;
mod quorum;
mod read;
mod read_only;
mod recover;
mod retention;
mod ring;
#[cfg(test)]
mod scenario;
mod scrub;
mod seal;
mod self_report;
mod settings;
#[cfg(test)]
mod sim;
mod status;
mod tiering;
mod together;
mod turns;
mod upkeep;
mod verify;
mod version;
mod waiting;
mod watch;
mod ways;
mod workers;
mod write;

use prometheus_client::registry::Registry;

use crate::archive::ArchiveMetrics;
use crate::store::TierMetrics;

pub use crate::store::{AppendBatch, Appended, FloatSample, OtherSample, SeriesId};
pub use blocks::{ArchiveStatus, RestoreExtent, RestoreProgress, Restored, restore};
pub use control::{
    BlockUploaded, ClusterId, Command, Compacted, Control, ControlError, ControlGeneration,
    ControlMetrics, ControlState, DAY_MS, DELETES_BYTES_MAX, DeletesCopy, Drain, Ended, Ending,
    Expired, Found, FoundingLeave, Greeting, GroupParts, Hidden, History, HistoryLeft,
    Introduction, Liveness, LocalControl, MANIFEST_BYTES_MAX, MANIFEST_LEVEL, MATCHERS_BYTES_MAX,
    MOVED_MAX, Manifest, ManifestChanged, Member, MemberId, Move, MoveAbort, MoveBegin, MoveFinish,
    NodeUp, Outcome, Partition, Position, RaftControl, RangeKey, Recovered, Refusal, Removal,
    SealCommit, Session, Split, Standing, Survivor, TOMBSTONE_LEVEL, TOMBSTONES_MAX, Timings,
    Tombstone, TombstoneDone, TombstoneId, WireError, begin_session, is_sealable, join_or_found,
    utc_day,
};
pub use data::{
    Content, ContentWriter, CutAnswer, CutHeld, CutRequest, DataError, FetchAnswer, FetchRequest,
    LEAVES_LEN, ManifestAnswer, ManifestRequest, PullOf, PullRequest, Purpose, StageAnswer,
    StageRequest, decode_content, decode_leaves, encode_leaves,
};
pub use decisions::{Loss, LossRow};
pub use deletes::{DeleteRow, Deletes};
pub use discovery::{
    Announcement, ConsulSettings, Discovery, DiscoveryError, DiscoveryKind, DiscoveryMetrics,
    DiscoverySettings, DnsSettings, Endpoint, Founding, FoundingRecord, KindSettings, Later,
    Operation as DiscoveryOperation, Peer, PeerSaid, Secret, Sighting, StaticSettings,
    Surroundings, look as look_for_peers, open as open_discovery,
};
pub use error::Error;
pub use flushes::FlushStatus;
pub use history::{HistoryMetrics, ManifestResult};
pub use member::LocalMember;
pub use merging::{MergeMetrics, MergeResult, Merger, Merges, Pace};
pub use metrics::{ClusterMetrics, SealResult};
pub use moves::{Progress, Report};
pub use opening::{MemberSettings, PeerMemory, Starting, World};
pub use peer::{
    Answering, Blocking, Caller, Credentials, CredentialsError, Duplex, GrpcTransport, Identity,
    Incoming, Method, Outgoing, PEER_MESSAGE_BYTES_MAX, PeerError, PeerMetrics, PeerServer,
    PeerSetupError, PeerTls, PeerWiring, Refused, Service, Services, Serving, Transport,
    decode_envelope, encode_envelope,
};
pub use queries::{CancelQueries, NodeQueries, Queries};
pub use quorum::{Role, Sets};
pub use read::{
    ClusterSource, Completion, ReadMetrics, ReadParts, ReadService, ReadSettings,
    reread as reread_message,
};
pub use read_only::{ReadOnlyMetrics, ReadOnlyNode, ReadOnlyStatus};
pub use recover::recover_control;
pub use ring::{DesiredMove, Holding, Plan, Share, Why, Wish, plan};
pub use scrub::ScrubStatus;
pub use seal::{Pass, Sealer};
pub use settings::{ClusterSettings, PeerSettings, PeerTlsSettings, SealSettings};
pub use status::{ClusterStatus, MoveRow, NodeRow, PartitionRow};
pub use verify::{
    NodeVerified, Standing as VerifyStanding, Verification, Verified, VerifyFault, VerifyOrder,
    VerifyReport, VerifyStage,
};
pub use version::{Build, FEATURE_LEVEL, PROTOCOL, ProtocolVersion};
pub use write::{
    AppendService, Durable, Gate, Pending, Refusing, Replica, WriteError, WriteMetrics,
    WriteSettings, Writer, WriterParts,
};

/// Registers what a node counts of its peers and its bucket, without any: for the reference of metrics.
pub fn register_peer_metrics(registry: &mut Registry) {
    drop(ArchiveMetrics::register(registry));
    drop(PeerMetrics::register(registry));
    drop(DiscoveryMetrics::register(registry));
    drop(ControlMetrics::register(registry));
    drop(WriteMetrics::register(registry));
    drop(ReadMetrics::register(registry));
    drop(ReadOnlyMetrics::register(registry));
    drop(TierMetrics::register(registry));
}
