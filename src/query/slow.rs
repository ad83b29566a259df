//! Queries that take long are written to the log, with their plan.

use std::time::Duration;

use super::output::QueryStats;
use super::plan::Node;
use crate::model::TenantId;

/// A query that takes so long is written to the log: nobody waits so long for a panel gladly.
const SLOW_TIME: Duration = Duration::from_secs(10);

/// Characters of it that are written there.
const SLOW_CHARS_MAX: usize = 4000;

/// A query that has ended.
pub(super) struct Slow<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) text: &'a str,
    pub(super) node: &'a Node,
    pub(super) steps: usize,
    pub(super) stats: &'a QueryStats,
    pub(super) memory_bytes: u64,
}

/// Writes a query down that took long, with what it was made of.
pub(super) fn log_slow(slow: &Slow<'_>) {
    let stats = slow.stats;
    if stats.total < SLOW_TIME {
        return;
    }
    let query: String = slow.text.chars().take(SLOW_CHARS_MAX).collect();
    tracing::warn!(
        tenant = %slow.tenant,
        query,
        plan = slow.node.outline(),
        took_ms = stats.total.as_millis(),
        waited_ms = stats.queue.as_millis(),
        steps = slow.steps,
        samples = stats.samples_read,
        memory_bytes = slow.memory_bytes,
        "a query was slow"
    );
}
