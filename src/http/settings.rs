//! What can be set about the HTTP server.

use std::time::Duration;

crate::settings! {
    /// The HTTP server: writes, queries and the page.
    pub struct HttpSettings at "http." {
        /// Where it listens.
        listen: String = "0.0.0.0:9009".to_owned(),
        /// Connections at a time; further ones wait in the system's queue.
        max_connections: usize = 1024,
        /// How long a request's head or body may take to arrive.
        read_timeout: Duration = Duration::from_secs(60),
        /// Whether `/api/v1/admin/tsdb/...` deletes series, shows them again and makes snapshots: for
        /// everybody who reaches the port. When it is off, these paths answer 503, as Prometheus'
        /// do without `--web.enable-admin-api`.
        enable_admin_api: bool = false,
    }
}
