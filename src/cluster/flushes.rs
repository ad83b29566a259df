//! Orders to seal everything now. Who seals is the worker that seals anyway; whoever ordered looks
//! how far it is.

use std::sync::Arc;

use parking_lot::Mutex;

use super::blocks::{ArchiveStatus, Hurry};
use super::seal::Pass;

/// How far flushes are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlushStatus {
    /// The number of the last order.
    pub ordered: u64,
    /// The number of the last order that was carried out.
    pub done: u64,
    /// Ranges that could not be sealed then.
    pub failed: u64,
    /// Samples that no block holds.
    pub unsealed_samples: u64,
    /// The bucket, if there is one.
    pub archive: Option<ArchiveStatus>,
}

#[derive(Default)]
struct Orders {
    ordered: u64,
    done: u64,
    failed: u64,
}

/// Orders, and what became of them.
#[derive(Default)]
pub(super) struct Flushes {
    orders: Mutex<Orders>,
    /// The bucket is to have everything at once.
    pub(super) hurry: Arc<Hurry>,
}

impl Flushes {
    /// Orders a flush, and gives its number.
    pub(super) fn order(&self) -> u64 {
        let mut orders = self.orders.lock();
        orders.ordered += 1;
        self.hurry.begin();
        orders.ordered
    }

    /// The last order that has not been carried out.
    pub(super) fn due(&self) -> Option<u64> {
        let orders = self.orders.lock();
        (orders.ordered > orders.done).then_some(orders.ordered)
    }

    /// An order and all before it were carried out.
    pub(super) fn note(&self, number: u64, pass: Pass) {
        let mut orders = self.orders.lock();
        orders.done = number;
        orders.failed = pass.failed as u64;
        if orders.done >= orders.ordered {
            self.hurry.note_sealed();
        }
    }

    /// How far they are.
    pub(super) fn status(
        &self,
        unsealed_samples: u64,
        archive: Option<ArchiveStatus>,
    ) -> FlushStatus {
        let orders = self.orders.lock();
        FlushStatus {
            ordered: orders.ordered,
            done: orders.done,
            failed: orders.failed,
            unsealed_samples,
            archive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_came_meanwhile_is_carried_out_too() {
        let flushes = Flushes::default();
        assert_eq!(flushes.due(), None);
        assert_eq!((flushes.order(), flushes.order()), (1, 2));
        let due = flushes.due();
        assert_eq!((due, flushes.order()), (Some(2), 3));
        let pass = Pass {
            failed: 1,
            ..Pass::default()
        };
        flushes.note(2, pass);
        let status = flushes.status(7, None);
        assert_eq!((status.ordered, status.done, status.failed), (3, 2, 1));
        assert_eq!(flushes.due(), Some(3));
        flushes.note(3, Pass::default());
        assert_eq!(flushes.due(), None);
    }
}
