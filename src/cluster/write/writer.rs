//! Where validated samples go: into the local head while this node is alone, else to the members of
//! their partitions. Which of the two is decided at each write, in the step that lets it in.

use std::fmt;
use std::sync::Arc;

use super::coordinator::{Coordinator, UnderWay};
use super::error::WriteError;
use super::gate::Gate;
use super::parts::WriterParts;
use super::replica::Replica;
use crate::cluster::control::{Control, ControlState, Hidden};
use crate::model::{LabelSet, TenantId, TimeRange};
use crate::store::{AppendBatch, Appended, SeriesId};

/// Takes validated samples. Clones write to the same place.
#[derive(Clone)]
pub struct Writer {
    replica: Arc<dyn Replica>,
    gate: Arc<Gate>,
    coordinator: Option<Arc<Coordinator>>,
    /// Where it stands what is deleted.
    control: Option<Arc<dyn Control>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// A writer of a node that is alone for ever.
    #[must_use]
    pub fn new(replica: Arc<dyn Replica>, gate: Arc<Gate>) -> Self {
        Self {
            replica,
            gate,
            coordinator: None,
            control: None,
        }
    }

    /// A writer of a node that others may join. Its ring is that of [`Writer::set_ring`].
    #[must_use]
    pub fn of_cluster(parts: WriterParts) -> Self {
        Self {
            replica: Arc::clone(&parts.replica),
            gate: Arc::clone(&parts.gate),
            coordinator: Some(Arc::new(Coordinator::new(parts))),
            control: None,
        }
    }

    /// The same, which knows what is deleted: see [`Writer::deleted`].
    #[must_use]
    pub fn knowing(self, control: Arc<dyn Control>) -> Self {
        Self {
            control: Some(control),
            ..self
        }
    }

    /// What is deleted of a tenant at this moment: samples that nobody may write until they are
    /// gone from everywhere.
    #[must_use]
    pub fn deleted(&self, tenant: &TenantId) -> Hidden {
        let state = self.control.as_ref().map(|control| control.state());
        state.map_or_else(Hidden::default, |state| {
            Hidden::of(&state, tenant, TimeRange::ALL)
        })
    }

    /// Puts the ring of a control state into force, for the gate and for what goes out. To be
    /// called in the order of the states, by whoever applies them; when it has returned, every
    /// write that was let in under the ring before is in the head.
    pub fn set_ring(&self, state: &ControlState) {
        if let Some(coordinator) = &self.coordinator {
            coordinator.set_ring(state);
        }
    }

    /// Forgets the labels that are kept for streams, as time would.
    #[cfg(test)]
    pub(super) fn forget_labels(&self) {
        if let Some(coordinator) = &self.coordinator {
            for minute in [600, 1200] {
                let elapsed = std::time::Duration::from_secs(minute);
                coordinator.ground.routes.tidy(elapsed);
            }
        }
    }

    /// The coordinator, when this node is not alone at this moment.
    fn together(&self) -> Option<&Arc<Coordinator>> {
        let coordinator = self.coordinator.as_ref();
        coordinator.filter(|_| !self.gate.enter_as_replica().is_alone())
    }

    /// The id under which samples of a series are appended. The same series has the same id until
    /// it is forgotten; then `append` names the samples whose series has to be registered again.
    ///
    /// # Errors
    /// When no further series is taken.
    pub fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, WriteError> {
        match self.together() {
            Some(coordinator) => coordinator.register(tenant, labels),
            None => Ok(self.replica.register(tenant, labels)?),
        }
    }

    /// Appends a batch: it is visible to reads from here on, and acknowledged once
    /// [`Pending::wait`] says so.
    ///
    /// # Errors
    /// When the node takes no writes now; the reason is for the sender.
    pub fn append(&self, batch: &AppendBatch<'_>) -> Result<Pending, WriteError> {
        let inside = self.gate.enter()?;
        let coordinator = match &self.coordinator {
            Some(coordinator) if !inside.is_alone() => coordinator,
            _ => {
                let appended = self.replica.append(batch)?;
                drop(inside);
                return Ok(Pending {
                    appended,
                    rest: Rest::Here(Arc::clone(&self.replica)),
                });
            }
        };
        drop(inside);
        let (under_way, appended) = coordinator.append(batch)?;
        Ok(Pending {
            appended,
            rest: Rest::UnderWay(Box::new(under_way)),
        })
    }

    /// Why writes are refused now, if they are: for readiness.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        self.gate.refusing()
    }
}

/// A batch that is in a head or on its way to some, but not acknowledged yet.
#[must_use = "nothing is acknowledged before the wait is over"]
pub struct Pending {
    appended: Appended,
    rest: Rest,
}

enum Rest {
    Here(Arc<dyn Replica>),
    UnderWay(Box<UnderWay>),
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

    /// Waits until a majority of every partition has the batch durably, all under one epoch.
    ///
    /// # Errors
    /// When no majority has taken it in time; the sender must try again.
    pub async fn wait(self) -> Result<(), WriteError> {
        match self.rest {
            Rest::Here(replica) => Ok(replica.durable(self.appended.position).await?),
            Rest::UnderWay(under_way) => under_way.wait().await,
        }
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
