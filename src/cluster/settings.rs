//! Settings of the cluster layer.

use std::time::Duration;

crate::settings! {
    /// When windows become blocks.
    pub struct SealSettings at "seal." {
        /// How long after its end a window waits for late samples before its first seal. What
        /// comes later is kept all the same and sealed in a further round.
        grace: Duration = Duration::from_secs(10 * 60),
    }
}

crate::settings! {
    /// How the cluster is founded and how long it waits for those who are away.
    pub struct ClusterSettings at "cluster." {
        /// How many nodes found a new cluster together, once they see each other. Only for
        /// discovery by Consul or DNS: with a list it is the list. Nodes that come later join.
        bootstrap_expect: u32 = 3,
        /// On how many nodes each sample is kept; on fewer while there are not so many. One of 1
        /// to 5: 3 survives the loss of any node without interruption.
        replication_factor: u32 = 3,
        /// How long a node may be away before its data is made anew on others and it is given up
        /// for ever.
        replace_after: Duration = Duration::from_secs(60 * 60),
    }
}
