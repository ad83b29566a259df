//! The node that a command asks, and how its answer is printed: the same flags for every command
//! that talks to a node.

use std::time::Duration;

use clap::Args;

use super::client::Node;

/// Which node, and in which form it answers.
///
/// A command whose node is anything else than one that is asked says so with `mut_arg`.
#[derive(Args, Debug)]
pub(super) struct AtNode {
    /// The node to ask.
    #[arg(
        long,
        env = "CAIRN_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:9009"
    )]
    pub(super) url: String,
    /// Print the answer as one JSON object.
    // Behind all flags of the command itself, and before --help.
    #[arg(long, display_order = 998)]
    pub(super) json: bool,
}

/// The same for commands that are of one tenant's data.
#[derive(Args, Debug)]
pub(super) struct AtTenant {
    #[command(flatten)]
    pub(super) node: AtNode,
    /// Whose series (X-Scope-OrgID), where tenancy is on.
    #[arg(long)]
    pub(super) tenant: Option<String>,
}

impl AtNode {
    /// To talk to it.
    pub(super) fn node(&self, timeout: Duration) -> Node {
        Node::new(&self.url, None, timeout)
    }
}

impl AtTenant {
    /// Whose data are meant.
    pub(super) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// To talk to it.
    pub(super) fn node(&self, timeout: Duration) -> Node {
        Node::new(&self.node.url, self.tenant(), timeout)
    }
}
