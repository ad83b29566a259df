//! The coordinator's side of a write, for a ring in which this node is the only member.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::error::WriteError;
use super::gate::Gate;
use super::replica::Replica;
use crate::model::{Epoch, LabelSet, RingArc, TenantId};
use crate::store::{AppendBatch, Appended, SeriesId};

/// Takes validated samples. Clones write to the same place.
#[derive(Clone)]
pub struct Writer {
    replica: Arc<dyn Replica>,
    gate: Arc<Gate>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// A writer to one replica, through its gate.
    #[must_use]
    pub fn new(replica: Arc<dyn Replica>, gate: Arc<Gate>) -> Self {
        Self { replica, gate }
    }

    /// The id under which samples of a series are appended. The same series has the same id until
    /// it is forgotten; then `append` names the samples whose series has to be registered again.
    ///
    /// # Errors
    /// When no further series is taken.
    pub fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, WriteError> {
        Ok(self.replica.register(tenant, labels)?)
    }

    /// Appends a batch: it is visible to reads from here on, and acknowledged once
    /// [`Pending::wait`] says so.
    ///
    /// # Errors
    /// When the node takes no writes now; the reason is for the sender.
    pub fn append(&self, batch: &AppendBatch<'_>) -> Result<Pending, WriteError> {
        let inside = self.gate.enter()?;
        let ring = inside.ring();
        let appended = self.replica.append(batch)?;
        drop(inside);
        Ok(Pending {
            replica: Arc::clone(&self.replica),
            appended,
            ring,
        })
    }

    /// Why writes are refused now, if they are: for readiness.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        self.gate.refusing()
    }
}

/// A batch that is in the head but not acknowledged yet.
#[must_use = "nothing is acknowledged before the wait is over"]
pub struct Pending {
    replica: Arc<dyn Replica>,
    appended: Appended,
    ring: Arc<BTreeMap<RingArc, Epoch>>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("appended", &self.appended)
            .finish_non_exhaustive()
    }
}

impl Pending {
    /// What became of the batch; its stale samples have to be registered and appended once more.
    #[must_use]
    pub const fn appended(&self) -> &Appended {
        &self.appended
    }

    /// The epochs under which it was taken.
    #[must_use]
    pub fn ring(&self) -> &BTreeMap<RingArc, Epoch> {
        &self.ring
    }

    /// Waits until a majority, here this node, has the batch durably.
    ///
    /// # Errors
    /// When the log cannot be written; the sender must try again.
    pub async fn wait(self) -> Result<(), WriteError> {
        Ok(self.replica.durable(self.appended.position).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::gate::Refusing;
    use super::super::replica::Durable;
    use super::*;
    use crate::store::Error;

    /// Counts appends; fails to make the second durable.
    #[derive(Default)]
    struct Double(AtomicU64);

    impl Replica for Double {
        fn register(&self, _: &TenantId, _: &LabelSet) -> Result<SeriesId, Error> {
            Err(Error::Limit {
                what: "series",
                value: 11,
                limit: 10,
                remedy: "send fewer",
            })
        }

        fn append(&self, _: &AppendBatch<'_>) -> Result<Appended, Error> {
            Ok(Appended {
                position: self.0.fetch_add(1, Ordering::SeqCst) + 1,
                ..Appended::default()
            })
        }

        fn durable(&self, position: u64) -> Durable<'_> {
            Box::pin(async move {
                if position == 2 {
                    return Err(Error::Unavailable("the log has failed".to_owned()));
                }
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn a_write_is_acknowledged_only_when_it_is_durable() {
        let gate = Arc::new(Gate::closed("replaying the log"));
        let double = Arc::new(Double::default());
        let writer = Writer::new(double.clone(), gate.clone());
        let unavailable = |reason: &str| WriteError::Unavailable {
            reason: reason.to_owned(),
        };
        let batch = AppendBatch::default();
        assert_eq!(
            writer.append(&batch).unwrap_err(),
            unavailable("replaying the log")
        );
        assert_eq!(double.0.load(Ordering::SeqCst), 0);
        gate.refuse(Refusing::Disk, Some("the disk is full".to_owned()));
        gate.refuse(Refusing::NotReady, None);
        assert_eq!(writer.refusing().as_deref(), Some("the disk is full"));
        gate.refuse(Refusing::Disk, None);
        assert_eq!(writer.append(&batch).unwrap().wait().await, Ok(()));
        assert_eq!(
            writer.append(&batch).unwrap().wait().await,
            Err(unavailable("the log has failed"))
        );
        let registered = writer.register(&TenantId::anonymous(), &LabelSet::empty());
        assert!(matches!(registered, Err(WriteError::Limit { .. })));
    }
}
