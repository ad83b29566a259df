//! Why a node does not run.

use crate::runtime::LogError;
use crate::{cluster, http};

/// What a person can do about it stands in the text of each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// HTTP cannot be served.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// What the node holds cannot be opened, or not be brought to disk at the end.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The log of the process.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The system does not give what a node needs.
    #[error("the system gives no {what}: {source}; raise its limits for this user or service")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// This node must not go on under its present identity.
    #[error("this node has ended: {reason}")]
    Ended {
        /// Why.
        reason: String,
    },
    /// A bug: a part of the node ended in a panic.
    #[error("{what} ended abnormally: please report the log above as a bug")]
    Lost {
        /// The part.
        what: &'static str,
    },
}
