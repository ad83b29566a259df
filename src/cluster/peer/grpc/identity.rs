//! Who this node is to its peers, and what it believes of theirs.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::header::HeaderValue;
use tokio::sync::watch;

use super::credentials::{Credentials, CredentialsError};
use super::reason::Reason;
use super::sessions::{SessionFault, Sessions};
use crate::cluster::identity::{ClusterId, Session};
use crate::cluster::peer::{Caller, Refused};
use crate::cluster::version::{PROTOCOL, ProtocolVersion};
use crate::model::Incarnation;
use crate::runtime::{Rule, holds};

/// The node's own identity, with the sessions that it knows of others; clones are the same one.
#[derive(Clone)]
pub struct Identity(Arc<Own>);

struct Own {
    version: ProtocolVersion,
    me: ArcSwap<Me>,
    sessions: Sessions,
    superseded: watch::Sender<Option<String>>,
}

struct Me {
    caller: Caller,
    header: HeaderValue,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.caller()).finish()
    }
}

impl Identity {
    /// The identity of a node.
    #[must_use]
    pub fn new(caller: Caller) -> Self {
        Self::of_version(caller, PROTOCOL)
    }

    /// The same as of another version of the protocol.
    #[must_use]
    pub fn of_version(caller: Caller, version: ProtocolVersion) -> Self {
        Self(Arc::new(Own {
            version,
            me: ArcSwap::from_pointee(Me::of(caller, version)),
            sessions: Sessions::default(),
            superseded: watch::channel(None).0,
        }))
    }

    /// Who this node is now.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.0.me.load().caller.clone()
    }

    /// The cluster is known, or its control group has a new generation.
    ///
    /// # Errors
    /// When the node belongs to another cluster: that never changes.
    pub fn belong(&self, cluster: ClusterId, generation: u64) -> Result<(), Refused> {
        let mut caller = self.caller();
        if let Some(own) = caller.cluster.filter(|own| *own != cluster) {
            return Err(Refused::Stranger(format!(
                "this node belongs to cluster {own} and cannot belong to {cluster} too"
            )));
        }
        if caller.cluster.is_some() && generation <= caller.generation {
            return Ok(());
        }
        caller.cluster = Some(cluster);
        caller.generation = caller.generation.max(generation);
        self.0.me.store(Arc::new(Me::of(caller, self.0.version)));
        Ok(())
    }

    /// What the control state says of a member's session.
    pub fn note_session(&self, incarnation: Incarnation, session: Session) {
        self.0.sessions.tell(incarnation, session);
        let own = self.caller();
        if incarnation == own.incarnation && session.starts > own.session.starts {
            self.supersede(format!(
                "the cluster knows start {} of this node and this is start {}",
                session.starts, own.session.starts
            ));
        }
    }

    /// Why this session is over, if it is: the node has been started from a copy of its disk.
    #[must_use]
    pub fn is_superseded(&self) -> Option<String> {
        self.0.superseded.borrow().clone()
    }

    /// Returns when this session is over, with the reason: the node must exit.
    pub async fn superseded(&self) -> String {
        let mut watch = self.0.superseded.subscribe();
        let told = watch.wait_for(Option::is_some).await;
        // The sender lives as long as `self`.
        told.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// What another node, which is not reached over a real network, says of itself, as above; what
    /// it is told when its session is old, it heeds.
    #[cfg(test)]
    pub(in crate::cluster::peer) fn admit(&self, other: &Self) -> Result<(), Refused> {
        let checked = self.check(Some(&other.header()));
        let (_, refused) = match checked {
            Ok(_) => return Ok(()),
            Err(refused) => refused,
        };
        if let (Refused::OldSession(why), Some(_)) = (&refused, other.caller().cluster) {
            other.supersede(why.clone());
        }
        Err(refused)
    }

    pub(super) fn supersede(&self, why: String) {
        self.0.superseded.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(why);
            first
        });
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.me.load().header.clone()
    }

    /// Reads what the other side says of itself and checks all of it that does not depend on
    /// the question.
    pub(super) fn check(&self, header: Option<&HeaderValue>) -> Result<Caller, (Reason, Refused)> {
        let stranger = |reason, text: String| Err((reason, Refused::Stranger(text)));
        let Some(header) = header else {
            return stranger(
                Reason::Identity,
                "no credentials: on this port Cairn's nodes talk to each other".to_owned(),
            );
        };
        let read = Credentials::decode(header.as_bytes(), self.0.version);
        let caller = match read {
            Ok(credentials) => credentials.caller,
            Err(error @ CredentialsError::Version { .. }) => {
                return stranger(Reason::Version, error.to_string());
            }
            Err(error) => return stranger(Reason::Identity, error.to_string()),
        };
        let own = self.caller();
        if let (Some(ours), Some(theirs)) = (own.cluster, caller.cluster)
            && ours != theirs
        {
            return stranger(
                Reason::Cluster,
                format!("it belongs to cluster {theirs} and this node to {ours}"),
            );
        }
        self.check_session(&own, &caller)?;
        Ok(caller)
    }

    fn check_session(&self, own: &Caller, caller: &Caller) -> Result<(), (Reason, Refused)> {
        if !holds(Rule::SessionsAreTheLatest) {
            return Ok(());
        }
        let old = |known: u64| {
            let text = format!(
                "start {} of incarnation {} is not its latest, {known} is: it was started from a copy of its disk, or the disk was set back",
                caller.session.starts, caller.incarnation
            );
            Err((Reason::OldSession, Refused::OldSession(text)))
        };
        let copy = || {
            let text = format!(
                "start {} of incarnation {} is known with another nonce: two nodes run on copies of one disk",
                caller.session.starts, caller.incarnation
            );
            Err((Reason::CopiedSession, Refused::OldSession(text)))
        };
        if caller.incarnation == own.incarnation && caller.session != own.session {
            if caller.session.starts < own.session.starts {
                return old(own.session.starts);
            }
            if caller.session.starts == own.session.starts {
                return copy();
            }
            if caller.cluster.is_some() && caller.cluster == own.cluster {
                self.supersede(format!(
                    "start {} of this node's incarnation is running and this is start {}",
                    caller.session.starts, own.session.starts
                ));
            }
        }
        // Who belongs to no cluster is not remembered: anybody could say that.
        if caller.cluster.is_none() || caller.cluster != own.cluster {
            return Ok(());
        }
        match self.0.sessions.check(caller.incarnation, caller.session) {
            Ok(()) => Ok(()),
            Err(SessionFault::Old { known }) => old(known),
            Err(SessionFault::Copy) => copy(),
        }
    }
}

impl Me {
    fn of(caller: Caller, version: ProtocolVersion) -> Self {
        let credentials = Credentials { version, caller };
        let text = credentials.encode();
        // Digits, dots, hyphens and blanks make a header.
        let header = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self {
            caller: credentials.caller,
            header,
        }
    }
}
