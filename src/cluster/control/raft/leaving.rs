//! Leaving in good order: leadership goes to another voter before this node stops.
//!
//! The library has no transfer of leadership, and its voters refuse everybody else for as long as
//! the lease of the leader that they know. So the leader falls silent, and once the lease has passed
//! asks the voter that has most of the log to lead. That takes the lease and one exchange, where a
//! crash takes the lease and an election's timeout. Meanwhile this node still votes and answers.

use std::time::Duration;

use super::group::RaftControl;
use super::network::Client;
use super::types::GroupNode;
use crate::cluster::control::Control;

impl RaftControl {
    /// Hands leadership away, if this node has it and another can, and stops taking part. Takes at
    /// most a few election timeouts.
    pub async fn close(&self) {
        self.end_duties();
        if self.is_leader() && self.heir().is_some() {
            let patience = self.timings.election.1.saturating_mul(3);
            let handed = tokio::time::timeout(patience, self.hand_over()).await;
            match handed {
                Ok(()) => tracing::info!(leader = ?self.leader(), "leadership is handed over"),
                Err(_) => tracing::warn!("nobody has taken the leadership in time"),
            }
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the control group did not end well");
        }
    }

    async fn hand_over(&self) {
        self.raft.runtime_config().heartbeat(false);
        self.raft.runtime_config().elect(false);
        let lease = self.timings.election.1;
        tokio::time::sleep(lease).await;
        while self.is_leader() {
            if let Some(heir) = self.heir() {
                let patience = self.timings.heartbeat;
                let asked = Client::take_over(&self.peers, heir.incarnation, patience).await;
                if let Err(error) = asked {
                    tracing::debug!(%error, "the heir does not answer");
                }
            }
            tokio::time::sleep(self.timings.heartbeat / 2).await;
        }
        // The new leader has spoken to this node; a moment for the others.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// The voter that has most of the log.
    fn heir(&self) -> Option<GroupNode> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let progress = metrics.replication.as_ref()?;
        let others = membership.voter_ids().filter(|id| *id != self.number());
        let heir = others.max_by_key(|id| progress.get(id).copied().flatten())?;
        membership.get_node(&heir).cloned()
    }
}
