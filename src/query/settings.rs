//! What can be set of queries.

use std::time::Duration;

use crate::runtime::ByteSize;

crate::settings! {
    /// Limits and habits of PromQL queries.
    pub struct QuerySettings at "query." {
        /// A query that takes longer is ended. A request may ask for less.
        timeout: Duration = Duration::from_secs(120),
        /// Queries that run at a time; further ones wait their turn.
        max_concurrency: usize = 20,
        /// Samples that one query may hold in memory at a time.
        max_samples: u64 = 50_000_000,
        /// Memory that one query may hold at a time.
        max_memory: ByteSize = ByteSize::mib(512),
        /// Points per series that a range query may ask for.
        max_points: u64 = 11_000,
        /// How far back an instant selector looks for the newest sample.
        lookback_delta: Duration = Duration::from_secs(300),
        /// The step of subqueries that name none.
        default_evaluation_interval: Duration = Duration::from_secs(60),
        /// Whether answers to range queries are kept, as far as they are made from samples that can
        /// no longer change, and used again while those are the same.
        cache_results: bool = true,
        /// What to switch on, by the names that Prometheus' `--enable-feature` has for it, such as
        /// `promql-experimental-functions`; `all` for everything.
        enable_feature: Vec<String> = Vec::new(),
    }
}

impl QuerySettings {
    /// Whether a feature is switched on, by its name or with all.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.names(feature) || self.names("all")
    }

    /// Whether a feature is switched on by its name.
    #[must_use]
    pub fn names(&self, feature: &str) -> bool {
        self.enable_feature.iter().any(|on| on == feature)
    }
}
