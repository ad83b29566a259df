//! Gathering heads for a move: the union of what C old members hold under the new epoch.
//!
//! Each of them must have applied the epoch, so that no write can still be acknowledged under the
//! old one with its help. By comparing digest trees only what differs is sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::control::MemberId;
use crate::cluster::data::{DataPeers, Heads};
use crate::cluster::error::Error;
use crate::cluster::quorum::GatherFrom;
use crate::model::{Epoch, RingArc, TimeRange, Window};
use crate::runtime::CancelToken;
use crate::store::{DigestTree, Leaves, Store};

/// From whom heads are gathered, and under which epoch.
pub(super) struct Sources<'a> {
    pub(super) arc: RingArc,
    pub(super) epoch: Epoch,
    pub(super) from: &'a GatherFrom,
    pub(super) me: MemberId,
}

/// Takes into this store's head what the others' heads hold and it does not.
///
/// # Errors
/// When too few of those who count, this one included if it is one, could be asked under the
/// epoch; what was taken from some stays, and does no harm.
pub(super) fn gather(
    store: &Store,
    peers: &DataPeers,
    sources: &Sources<'_>,
    cancel: &CancelToken,
) -> Result<(), Error> {
    // What this node holds it has given, in whichever life.
    let (mine, others): (BTreeSet<MemberId>, BTreeSet<MemberId>) = sources
        .from
        .members
        .iter()
        .partition(|member| member.incarnation == sources.me.incarnation);
    let others: Vec<MemberId> = others.into_iter().collect();
    let mut given = mine;
    let mut failure = None;
    let (arc, epoch) = (sources.arc, sources.epoch);
    for (member, heads) in peers.heads(&others, arc, epoch, sources.from.remains) {
        cancel.check().map_err(crate::store::Error::from)?;
        let taken = heads.and_then(|heads| take(store, peers, sources, member, &heads));
        match taken {
            Ok(()) => {
                given.insert(member);
            }
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    if sources.from.is_enough(&given) {
        return Ok(());
    }
    Err(failure.unwrap_or_else(|| {
        Error::TooFew(format!(
            "partition {}: too few of its members answer under epoch {}",
            sources.arc, sources.epoch.0
        ))
    }))
}

/// Takes what one member has and this store lacks.
fn take(
    store: &Store,
    peers: &DataPeers,
    sources: &Sources<'_>,
    member: MemberId,
    heads: &Heads,
) -> Result<(), Error> {
    let pinned = store.pin(&[sources.arc]);
    let mine: BTreeMap<Window, DigestTree> = pinned
        .trees(sources.arc, TimeRange::ALL)
        .into_iter()
        .collect();
    drop(pinned);
    for (window, theirs) in heads {
        let differing = mine
            .get(window)
            .map_or(Leaves::ALL, |tree| tree.differing(theirs));
        if !differing.is_empty() {
            let content =
                peers.pull_head(member, sources.arc, sources.epoch, *window, differing)?;
            store.absorb(content)?;
        }
    }
    Ok(())
}
