//! The asking side: cuts, content, block files of other members, for threads that may block.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ask::{CutAnswer, CutHeld, CutRequest, PullOf, PullRequest, Purpose};
use super::content::decode_content;
use super::file::{FetchAnswer, FetchRequest, StageAnswer, StageRequest};
use super::manifest::{ManifestAnswer, ManifestRequest};
use super::wire::{DataError, wrong};
use crate::cluster::control::{MANIFEST_BYTES_MAX, MemberId};
use crate::cluster::error::Error;
use crate::cluster::peer::{Blocking, Incoming, Method, PeerError};
use crate::model::{BlockEntry, Digest, Epoch, Incarnation, RingArc, Window};
use crate::runtime::{CancelToken, Throttle};
use crate::store::{self, DigestTree, Leaves, Pulled, Store};

/// A cut reads what came late and hashes it: moments, and seconds on a loaded board.
const CUT_PATIENCE: Duration = Duration::from_secs(5);
/// The other member fetches the file meanwhile: some MiB over a slow network.
const STAGE_PATIENCE: Duration = Duration::from_secs(60);
/// Between two messages of a stream, and for a piece of a file.
const STREAM_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a file that are asked for at once.
const PIECE_BYTES: u32 = 512 << 10;

/// What a member has cut.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct CutReply {
    /// By which it is pulled; `None`: it held nothing.
    pub(in crate::cluster) token: Option<u64>,
    /// What it holds.
    pub(in crate::cluster) tree: DigestTree,
}

/// The windows of which a member's head holds something of a partition.
pub(in crate::cluster) type Heads = Vec<(Window, DigestTree)>;

/// Other members, as sources of content and files.
pub(in crate::cluster) struct DataPeers {
    peers: Blocking,
    /// How fast files are fetched.
    throttle: Throttle,
}

/// What a peer sends is read as it comes; dropped, it sends no more.
pub(in crate::cluster) struct Content {
    peers: Blocking,
    from: Incarnation,
    messages: Incoming,
    ready: VecDeque<Pulled>,
    over: bool,
}

fn garbled(from: Incarnation) -> impl Fn(DataError) -> Error {
    move |error| {
        Error::Peer(PeerError::Garbled {
            peer: from.to_string(),
            reason: error.to_string(),
        })
    }
}

impl Iterator for Content {
    type Item = Result<Pulled, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.take() {
                self.over = true;
                return Some(Err(error));
            }
        }
    }
}

impl Content {
    /// Takes the next message.
    fn take(&mut self) -> Result<(), Error> {
        let message = self.peers.next(&mut self.messages).map_err(Error::Peer)?;
        let problem = "it ends before its last message";
        let message = message.ok_or_else(|| wrong("content", problem));
        let content = message.and_then(decode_content);
        let content = content.map_err(garbled(self.from))?;
        self.over = content.last;
        self.ready.extend(content.items);
        Ok(())
    }
}

/// An answer that this epoch does not allow.
fn other_epoch(arc: RingArc, mine: Epoch, theirs: Epoch) -> Error {
    Error::TooFew(format!(
        "partition {arc} is at epoch {} here and at {} there: it is asked again",
        mine.0, theirs.0
    ))
}

impl DataPeers {
    pub(in crate::cluster) const fn new(peers: Blocking, throttle: Throttle) -> Self {
        Self { peers, throttle }
    }

    /// Asks members to cut.
    pub(in crate::cluster) fn cut(
        &self,
        members: &[MemberId],
        order: &CutRequest,
    ) -> Vec<(MemberId, Result<CutReply, Error>)> {
        let take = |held| match held {
            CutHeld::Cut { token, tree } => CutReply {
                token: Some(token),
                tree,
            },
            CutHeld::Empty | CutHeld::Windows(_) => CutReply {
                token: None,
                tree: DigestTree::default(),
            },
        };
        self.held(members, order, take)
    }

    /// Asks members what their heads hold of a partition; with `remains` also those that have lost a
    /// part of it.
    pub(in crate::cluster) fn heads(
        &self,
        members: &[MemberId],
        arc: RingArc,
        epoch: Epoch,
        remains: bool,
    ) -> Vec<(MemberId, Result<Heads, Error>)> {
        let order = CutRequest {
            arc,
            epoch,
            range: None,
            round: 0,
            remains,
        };
        let take = |held| match held {
            CutHeld::Windows(windows) => windows,
            CutHeld::Empty | CutHeld::Cut { .. } => Vec::new(),
        };
        self.held(members, &order, take)
    }

    fn held<T>(
        &self,
        members: &[MemberId],
        order: &CutRequest,
        take: impl Fn(CutHeld) -> T,
    ) -> Vec<(MemberId, Result<T, Error>)> {
        let decode = |bytes| CutAnswer::decode(bytes, order);
        let answers = self.ask(members, Method::Cut, &order.encode(), CUT_PATIENCE, decode);
        let each = answers.into_iter().map(|(member, answer)| {
            let held = answer.and_then(|answer| match answer {
                CutAnswer::Held { held, .. } => Ok(take(held)),
                CutAnswer::WrongEpoch(theirs) => Err(other_epoch(order.arc, order.epoch, theirs)),
            });
            (member, held)
        });
        each.collect()
    }

    fn ask<T>(
        &self,
        members: &[MemberId],
        method: Method,
        body: &Bytes,
        patience: Duration,
        take: impl Fn(Bytes) -> Result<T, DataError>,
    ) -> Vec<(MemberId, Result<T, Error>)> {
        let bodies = vec![body.clone(); members.len()];
        self.ask_each(members, method, bodies, patience, take)
    }

    fn ask_each<T>(
        &self,
        members: &[MemberId],
        method: Method,
        bodies: Vec<Bytes>,
        patience: Duration,
        take: impl Fn(Bytes) -> Result<T, DataError>,
    ) -> Vec<(MemberId, Result<T, Error>)> {
        let incarnations = members.iter().map(|member| member.incarnation);
        let asks = incarnations.zip(bodies);
        let answers = self.peers.call_all(asks.collect(), method, patience);
        let each = members.iter().zip(answers);
        each.map(|(member, (from, answer))| {
            let answer = answer.map_err(Error::Peer);
            (
                *member,
                answer.and_then(|bytes| take(bytes).map_err(garbled(from))),
            )
        })
        .collect()
    }

    /// The content of some leaves of a member's cut.
    pub(in crate::cluster) fn pull_cut(
        &self,
        member: MemberId,
        arc: RingArc,
        epoch: Epoch,
        token: u64,
        leaves: Leaves,
    ) -> Result<Content, Error> {
        let order = PullRequest {
            arc,
            epoch,
            purpose: Purpose::Seal,
            of: PullOf::Cut(token),
            leaves,
        };
        self.pull(member, &order)
    }

    /// The content of some leaves of a member's head.
    pub(in crate::cluster) fn pull_head(
        &self,
        member: MemberId,
        arc: RingArc,
        epoch: Epoch,
        window: Window,
        leaves: Leaves,
    ) -> Result<Content, Error> {
        let order = PullRequest {
            arc,
            epoch,
            purpose: Purpose::Move,
            of: PullOf::Window(window),
            leaves,
        };
        self.pull(member, &order)
    }

    fn pull(&self, member: MemberId, order: &PullRequest) -> Result<Content, Error> {
        let from = member.incarnation;
        let body = order.encode();
        let messages = self
            .peers
            .stream(from, Method::Pull, body, STREAM_PATIENCE)
            .map_err(Error::Peer)?;
        Ok(Content {
            peers: self.peers.clone(),
            from,
            messages,
            ready: VecDeque::new(),
            over: false,
        })
    }

    /// Has members fetch a block's file from this node and keep it durably. Each is told by its own
    /// order, because each has a cut of its own to release.
    pub(in crate::cluster) fn stage(
        &self,
        orders: &[(MemberId, StageRequest)],
    ) -> Vec<(MemberId, Result<(), Error>)> {
        let members: Vec<MemberId> = orders.iter().map(|(member, _)| *member).collect();
        let bodies = orders.iter().map(|(_, order)| order.encode());
        let answers = self.ask_each(
            &members,
            Method::Stage,
            bodies.collect(),
            STAGE_PATIENCE,
            StageAnswer::decode,
        );
        let each = answers.into_iter().zip(orders);
        let each = each.map(|((member, answer), (_, order))| {
            let staged = answer.and_then(|answer| match answer.staged {
                true => Ok(()),
                false => Err(other_epoch(order.arc, order.epoch, answer.epoch)),
            });
            (member, staged)
        });
        each.collect()
    }

    /// Has members fetch a manifest from this node and keep it durably; gives those that did.
    pub(in crate::cluster) fn stage_manifest(
        &self,
        members: &[MemberId],
        arc: RingArc,
        epoch: Epoch,
        digest: Digest,
    ) -> Vec<(MemberId, Result<(), Error>)> {
        let order = ManifestRequest::Keep { digest, arc, epoch };
        let answers = self.ask(
            members,
            Method::Manifest,
            &order.encode(),
            STAGE_PATIENCE,
            ManifestAnswer::decode,
        );
        let each = answers.into_iter().map(|(member, answer)| {
            let kept = answer.and_then(|answer| match answer.kept {
                true => Ok(()),
                false => Err(other_epoch(arc, epoch, answer.epoch)),
            });
            (member, kept)
        });
        each.collect()
    }

    /// The bytes of a manifest from one who has it; whether they are what the digest says is for
    /// the caller to see.
    pub(in crate::cluster) fn fetch_manifest(
        &self,
        digest: Digest,
        source: Incarnation,
        cancel: &CancelToken,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            cancel.check().map_err(store::Error::from)?;
            let request = ManifestRequest::Read {
                digest,
                offset: bytes.len() as u64,
                len: PIECE_BYTES,
            };
            let body = request.encode();
            let answer = self
                .peers
                .call(source, Method::Manifest, body, STREAM_PATIENCE)
                .map_err(Error::Peer)?;
            let answer = ManifestAnswer::decode(answer).map_err(garbled(source))?;
            self.throttle.take(answer.bytes.len() as u64);
            bytes.extend_from_slice(&answer.bytes);
            let len = bytes.len() as u64;
            let sane = len <= answer.size && answer.size <= MANIFEST_BYTES_MAX as u64;
            if !sane || (answer.bytes.is_empty() && len < answer.size) {
                let problem = format!("{len} bytes of {}", answer.size);
                return Err(garbled(source)(wrong("a manifest", problem)));
            }
            if len == answer.size {
                return Ok(bytes);
            }
        }
    }

    /// Fetches a block's file from whoever has it, in turn, going on where the last one ended.
    pub(in crate::cluster) fn fetch(
        &self,
        store: &Store,
        entry: &BlockEntry,
        sources: &[Incarnation],
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let mut failure = None;
        for source in sources {
            cancel.check().map_err(store::Error::from)?;
            match self.fetch_from(store, entry, *source, cancel) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| {
            Error::TooFew(format!(
                "block {} of {} bytes is not here, and nobody else is known to have it",
                entry.id, entry.size
            ))
        }))
    }

    fn fetch_from(
        &self,
        store: &Store,
        entry: &BlockEntry,
        source: Incarnation,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let Some(mut receiving) = store.receive(entry)? else {
            return Ok(());
        };
        while !receiving.is_complete() {
            cancel.check().map_err(store::Error::from)?;
            let request = FetchRequest {
                id: entry.id,
                offset: receiving.offset(),
                len: PIECE_BYTES,
            };
            let piece = self
                .peers
                .call(
                    source,
                    Method::FetchBlock,
                    request.encode(),
                    STREAM_PATIENCE,
                )
                .map_err(Error::Peer)?;
            let FetchAnswer(piece) =
                FetchAnswer::decode(piece, &request).map_err(garbled(source))?;
            if piece.is_empty() {
                break;
            }
            self.throttle.take(piece.len() as u64);
            receiving.write(&piece)?;
        }
        Ok(receiving.finish()?)
    }
}

/// For whoever fetches on a caller's behalf.
pub(super) type SharedPeers = Arc<DataPeers>;
