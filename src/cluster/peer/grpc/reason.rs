//! Why somebody is refused before a service sees anything, as counted and logged.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Why somebody is refused before a service sees anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Reason {
    /// It belongs to another cluster.
    Cluster,
    /// It belongs to none, and asked what only members may.
    NoCluster,
    /// Its version does not fit.
    Version,
    /// It does not say who it is, or not so that it can be read.
    Identity,
    /// It wanted another incarnation than this node.
    NotMe,
    /// A later start of its incarnation is known.
    OldSession,
    /// Another start with the same counter is known.
    CopiedSession,
    /// Its certificate is not of the authority, or bears a wrong name.
    Certificate,
    /// It speaks plainly where TLS is wanted, or the other way round.
    Tls,
    /// The method is not known or has another shape.
    Method,
    /// The message is too large.
    Size,
    /// What it sends is no HTTP/2.
    Garbage,
    /// It connects and says nothing.
    Silent,
    /// It has too many connections or calls under way.
    TooMany,
}

impl Reason {
    pub(super) const ALL: [Self; 14] = [
        Self::Cluster,
        Self::NoCluster,
        Self::Version,
        Self::Identity,
        Self::NotMe,
        Self::OldSession,
        Self::CopiedSession,
        Self::Certificate,
        Self::Tls,
        Self::Method,
        Self::Size,
        Self::Garbage,
        Self::Silent,
        Self::TooMany,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::NoCluster => "no_cluster",
            Self::Version => "version",
            Self::Identity => "identity",
            Self::NotMe => "not_me",
            Self::OldSession => "old_session",
            Self::CopiedSession => "copied_session",
            Self::Certificate => "certificate",
            Self::Tls => "tls",
            Self::Method => "method",
            Self::Size => "size",
            Self::Garbage => "garbage",
            Self::Silent => "silent",
            Self::TooMany => "too_many",
        }
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.label().encode(encoder)
    }
}
