//! Settings of the cluster layer.

use std::path::PathBuf;
use std::time::Duration;

use crate::runtime::ByteSize;

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
        /// How long a node may be away before what it holds is made anew on others. When it comes
        /// back it gets a share again.
        replace_after: Duration = Duration::from_secs(60 * 60),
        /// How fast this node fetches blocks from others, and how fast it uploads them to the bucket,
        /// in bytes a second; 0: as fast as it can.
        copy_bandwidth: ByteSize = ByteSize::mib(32),
    }
}

crate::settings! {
    /// How peers reach this node.
    pub struct PeerSettings at "peer." {
        /// The address and port on which peers are listened for.
        listen: String = "0.0.0.0:9095".to_owned(),
        /// The address and port at which peers reach this node, such as `10.0.0.1:9095`. Unset:
        /// the address of the interface that leads to the others, with the port of `peer.listen`.
        advertise: Option<String> = None,
    }
}

crate::settings! {
    /// TLS between peers. All three files, or none: then peers talk plainly, and whoever reaches
    /// the port and knows the cluster's id is taken for a peer.
    pub struct PeerTlsSettings at "peer.tls." {
        /// The file (PEM) with the authority that signs the certificates of all nodes, and of
        /// nobody else.
        ca_file: Option<PathBuf> = None,
        /// The file (PEM) with this node's certificate and what is between it and the authority.
        /// It must be good for both ends of a connection.
        cert_file: Option<PathBuf> = None,
        /// The file (PEM) with that certificate's key. Changes of the three files are seen
        /// without a restart.
        key_file: Option<PathBuf> = None,
        /// The names of which a peer's certificate must bear one. Empty: any certificate of the
        /// authority's will do.
        names: Vec<String> = Vec::new(),
    }
}
