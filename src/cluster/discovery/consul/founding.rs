//! The founding record: one key, written once. The holder of a lock writes it with a
//! compare-and-set that also checks the lock, in one transaction; either alone would be enough
//! for "exactly once", the lock is there so that one node at a time decides.
//!
//! Over several datacenters the record is in the first that the settings name. A session belongs
//! to a machine of its own datacenter, so there the compare-and-set decides alone.

use std::sync::Arc;

use bytes::Bytes;

use super::api::{Api, Key, SessionId};
use crate::cluster::discovery::settings::ConsulSettings;
use crate::cluster::discovery::{DiscoveryError, FoundingRecord, Later, Operation};

/// The longest record. Consul takes 512 KB; ours has some hundred bytes.
const RECORD_BYTES_MAX: usize = 64 << 10;

/// The record of the clusters that use one service name.
pub(super) struct Record {
    api: Arc<Api>,
    record: String,
    lock: String,
    /// What a person sees beside the lock.
    holder: String,
    datacenters: Vec<String>,
}

impl Record {
    pub(super) fn new(api: Arc<Api>, settings: &ConsulSettings, node: &str) -> Self {
        let folder = format!("cairn/{}", settings.service_name);
        Self {
            api,
            record: format!("{folder}/founding"),
            lock: format!("{folder}/founding.lock"),
            holder: format!("cairn founding, {node}"),
            datacenters: settings.datacenters.clone(),
        }
    }

    fn key<'a>(&'a self, name: &'a str) -> Key<'a> {
        Key {
            name,
            datacenter: self.datacenters.first().map(String::as_str),
        }
    }

    async fn decided(&self, proposal: Bytes) -> Result<Bytes, DiscoveryError> {
        if proposal.is_empty() || proposal.len() > RECORD_BYTES_MAX {
            return Err(DiscoveryError::Answer {
                operation: Operation::Found,
                place: "this node".to_owned(),
                reason: format!(
                    "a founding record of {} bytes, of at most {RECORD_BYTES_MAX}",
                    proposal.len()
                ),
            });
        }
        if let Some(found) = self.api.read(self.key(&self.record)).await? {
            return Ok(found);
        }
        let written = if self.datacenters.len() > 1 {
            self.api.create(self.key(&self.record), &proposal).await?
        } else {
            let session = self.api.create_session(&self.holder).await?;
            let written = self.write_locked(&proposal, &session).await;
            if let Err(error) = self.api.destroy_session(&session).await {
                // It ends by itself.
                tracing::debug!(%error, "the founding session could not be ended");
            }
            written?
        };
        if written {
            return Ok(proposal);
        }
        let found = self.api.read(self.key(&self.record)).await?;
        found.ok_or(DiscoveryError::Held)
    }

    /// `false`: the record exists, or the lock was lost.
    async fn write_locked(
        &self,
        proposal: &[u8],
        session: &SessionId,
    ) -> Result<bool, DiscoveryError> {
        let lock = self.key(&self.lock);
        if !self.api.lock(lock, session).await? {
            return Ok(false);
        }
        let record = self.key(&self.record);
        self.api
            .create_under_lock(record, proposal, lock, session)
            .await
    }
}

impl FoundingRecord for Record {
    fn read(&self) -> Later<'_, Result<Option<Bytes>, DiscoveryError>> {
        Box::pin(self.api.read(self.key(&self.record)))
    }

    fn decide(&self, proposal: Bytes) -> Later<'_, Result<Bytes, DiscoveryError>> {
        Box::pin(self.decided(proposal))
    }
}
