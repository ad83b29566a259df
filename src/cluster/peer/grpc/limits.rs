//! The numbers of the wire, each with its reason.
//!
//! Memory: what a peer sends and nobody reads yet lies in HTTP/2 windows. A connection holds at
//! most [`CONNECTION_WINDOW_BYTES`] of that in each direction, and a node has at most three
//! connections to a peer and three from it: 24 MiB a peer when all of it stalls, near nothing
//! otherwise. A stream adds at most [`QUEUE_LEN`] messages that were read and not taken.

use std::time::Duration;

/// The largest body of a message. Parts that send more cut it: a block's file goes in pieces.
pub const PEER_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What the envelope adds to a body at most: method, tag, length.
const ENVELOPE_BYTES_MAX: usize = 32;

/// The largest message with its envelope.
pub(super) const FRAME_BYTES_MAX: usize = PEER_MESSAGE_BYTES_MAX + ENVELOPE_BYTES_MAX;

/// The same for a caller that belongs to no cluster: what it may say is short.
pub(super) const STRANGER_FRAME_BYTES_MAX: usize = 64 << 10;

/// What is unread of one stream: at 1 ms there and back 128 MB/s, more than a gigabit.
pub(super) const STREAM_WINDOW_BYTES: u32 = 128 << 10;

/// What is unread of one connection. As many stalled streams as a lane carries
/// ([`Lane`](super::lane::Lane)) fit in, so that none of them can stop the others.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Larger than HTTP/2's 16 KiB, so that a 64 KiB message is one frame.
pub(super) const HTTP_FRAME_BYTES: u32 = 64 << 10;

/// What a stream may have written that the connection has not sent yet.
pub(super) const SEND_BUFFER_BYTES: usize = 256 << 10;

/// Headers are our two and gRPC's few.
pub(super) const HEADERS_BYTES_MAX: u32 = 16 << 10;

/// Messages between the wire and who reads them.
pub(super) const QUEUE_LEN: usize = 4;

/// Calls and streams under way on one connection.
pub(super) const STREAMS_MAX: u32 = 128;

/// Calls and streams of one caller under way, over all its connections.
pub(super) const CALLS_PER_CALLER_MAX: usize = 256;

/// Connections to this node. 300 nodes come with three each.
pub(super) const CONNECTIONS_MAX: usize = 1024;

/// Connections from one address: a stranger cannot take them all.
pub(super) const CONNECTIONS_PER_ADDRESS_MAX: usize = 128;

/// Streams that were called off and whose last frames may still come: queries are called off
/// many at a time.
pub(super) const RESET_STREAMS_MAX: usize = 1024;

/// How often a peer that owes us an answer is asked whether it lives. With
/// [`PING_PATIENCE`] a dead one is noticed within 4 s.
pub(super) const PING_EVERY: Duration = Duration::from_millis(1_500);

/// How long it has to say so: above a second of lost packets on a bad link.
pub(super) const PING_PATIENCE: Duration = Duration::from_millis(2_500);

/// The same towards callers, of whom nothing is awaited: so that the dead leave no connections.
pub(super) const CALLER_PING_EVERY: Duration = Duration::from_secs(10);

/// How long a caller has to answer.
pub(super) const CALLER_PING_PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may take to come about, TLS included.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// How long who has connected may take until it has said who it is.
pub(super) const INTRODUCTION_PATIENCE: Duration = Duration::from_secs(10);

/// The first pause after a failed connection; a node that restarts is back within seconds.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(50);

/// The longest pause: how long a peer that is back may go unnoticed.
pub(super) const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// With TLS: from this age on a connection takes no new calls, so that a renewed certificate is
/// used and a withdrawn one is not.
pub(super) const TLS_AGE_MAX: Duration = Duration::from_secs(50 * 60);

/// With TLS: at this age the answering side ends the connection, long streams included; they
/// are opened again.
pub(super) const TLS_AGE_END: Duration = Duration::from_secs(60 * 60);

/// How long calls under way have to end when the connection is closed.
pub(super) const PARTING_PATIENCE: Duration = Duration::from_secs(2);

/// How often the files of certificates are looked at for changes, at most.
pub(super) const FILES_EVERY: Duration = Duration::from_secs(5);

/// A refusal is logged once in this time for each peer and reason.
pub(super) const LOG_EVERY: Duration = Duration::from_secs(60);

/// Pairs of peer and reason that the log remembers.
pub(super) const LOG_PAIRS_MAX: usize = 1024;

/// Incarnations whose sessions are remembered from their calls; those that are told from outside
/// (members) do not count.
pub(super) const SESSIONS_MAX: usize = 4096;

/// The longest text of a refusal that travels.
pub(super) const REASON_BYTES_MAX: usize = 1024;
