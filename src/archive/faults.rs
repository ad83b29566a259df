//! What tests let the bucket do.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use super::metrics::Traffic;

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BucketFault {
    /// Not answer.
    Fail,
    /// Say yes and keep nothing.
    Lose,
    /// Keep half.
    Cut,
    /// Keep it with one bit changed.
    Flip,
}

impl BucketFault {
    pub(super) fn spoil(self, bytes: Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        match self {
            Self::Cut => bytes.truncate(middle),
            _ => bytes[middle] ^= 4,
        }
        bytes.into()
    }
}

/// Decides which request meets which fault.
pub(crate) type FaultPlan = Box<dyn FnMut(Traffic, &str) -> Option<BucketFault> + Send>;

/// Faults of a bucket in tests.
#[derive(Clone, Default)]
pub(crate) struct BucketFaults(Arc<parking_lot::Mutex<Option<FaultPlan>>>, Arc<AtomicI64>);

impl BucketFaults {
    pub(crate) fn set(&self, plan: Option<FaultPlan>) {
        *self.0.lock() = plan;
    }

    /// From now on the bucket's clock is so far ahead.
    pub(crate) fn set_ahead_ms(&self, ms: i64) {
        self.1.store(ms, Ordering::Relaxed);
    }

    pub(super) fn ahead_ms(&self) -> i64 {
        self.1.load(Ordering::Relaxed)
    }

    pub(super) fn of(&self, operation: Traffic, name: &str) -> Option<BucketFault> {
        self.0.lock().as_mut()?(operation, name)
    }
}
