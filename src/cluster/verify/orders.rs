//! The order that this node has, how far it is, and whether anybody still wants it. There is one at
//! a time: a new one takes the place of the one before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::report::{Order, VerifyFault, VerifyReport, VerifyStage};
use super::wire::{Asked, decode_request, encode_report};
use crate::cluster::peer::{Caller, Method, Refused, Service, Services, Serving};
use crate::runtime::Clock;

/// An order that nobody has asked about for so long is given up: a terminal was closed, a network
/// cut. Whoever waits asks every second.
pub(super) const LEASE: Duration = Duration::from_secs(60);

/// Faults that are told in words: more than a person reads, and a quarter of a mebibyte.
const FAULTS_MAX: usize = 1000;

struct Current {
    order: Order,
    /// When somebody last asked about it.
    asked: Duration,
    report: VerifyReport,
}

/// What is ordered here, and what became of it.
pub(in crate::cluster) struct Orders {
    clock: Arc<dyn Clock>,
    current: Mutex<Option<Current>>,
}

impl Orders {
    pub(in crate::cluster) fn new(clock: &Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            current: Mutex::default(),
        })
    }

    /// Lets peers order and ask.
    pub(in crate::cluster) fn enter(self: &Arc<Self>, services: &Services) {
        let service: Arc<dyn Service> = Arc::<Self>::clone(self);
        services.enter(&[Method::Verify], &service);
    }

    pub(super) fn begin(&self, order: Order) {
        *self.current.lock() = Some(Current {
            order,
            asked: self.clock.elapsed(),
            report: VerifyReport {
                order: order.number,
                ..VerifyReport::default()
            },
        });
    }

    pub(super) fn call_off(&self) {
        if let Some(current) = self.current.lock().as_mut()
            && current.report.stage != VerifyStage::Done
        {
            current.report.stage = VerifyStage::CalledOff;
        }
    }

    /// How far it is, for somebody who wants it.
    pub(super) fn ask(&self) -> VerifyReport {
        let mut current = self.current.lock();
        let Some(current) = current.as_mut() else {
            return VerifyReport::default();
        };
        current.asked = self.clock.elapsed();
        current.report.clone()
    }

    /// The order that waits, if one does; it is under way from now on.
    pub(super) fn take(&self) -> Option<Order> {
        let mut current = self.current.lock();
        let current = current.as_mut()?;
        if current.report.stage != VerifyStage::Waiting {
            return None;
        }
        current.report.stage = VerifyStage::Running;
        Some(current.order)
    }

    /// Whether an order is still to be carried out. One that nobody asks about is called off.
    pub(super) fn is_wanted(&self, number: u64) -> bool {
        let now = self.clock.elapsed();
        self.with(number, |current| {
            if now.saturating_sub(current.asked) > LEASE {
                current.report.stage = VerifyStage::CalledOff;
            }
            current.report.stage == VerifyStage::Running
        })
        .unwrap_or(false)
    }

    /// Notes progress.
    pub(super) fn note(&self, number: u64, note: impl FnOnce(&mut VerifyReport)) {
        self.with(number, |current| note(&mut current.report));
    }

    pub(super) fn fault(&self, number: u64, fault: VerifyFault) {
        self.note(number, |report| {
            report.faults_all += 1;
            if report.faults.len() < FAULTS_MAX {
                report.faults.push(fault);
            }
        });
    }

    /// It has come to its end; gives how much is wrong.
    pub(super) fn end(&self, number: u64, done: bool) -> Option<u64> {
        self.with(number, |current| {
            if current.report.stage == VerifyStage::Running {
                current.report.stage = match done {
                    true => VerifyStage::Done,
                    false => VerifyStage::CalledOff,
                };
            }
            current.report.faults_all
        })
    }

    fn with<T>(&self, number: u64, visit: impl FnOnce(&mut Current) -> T) -> Option<T> {
        let mut current = self.current.lock();
        let current = current.as_mut()?;
        (current.order.number == number).then(|| visit(current))
    }
}

impl Service for Orders {
    fn call<'a>(&'a self, _: &'a Caller, _: Method, body: Bytes) -> Serving<'a, Bytes> {
        Box::pin(async move {
            let asked =
                decode_request(body).map_err(|error| Refused::Invalid(error.to_string()))?;
            match asked {
                Asked::Begin(order) => self.begin(order),
                Asked::CallOff => self.call_off(),
                Asked::HowFar => {}
            }
            Ok(encode_report(&self.ask()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::runtime::ManualClock;

    fn order(number: u64) -> Order {
        Order {
            number,
            bytes_per_second: 1,
            applied: 0,
        }
    }

    /// Would catch an order that goes on for nobody, one that ends although somebody waits, and
    /// progress of an old order that is taken for the new one's.
    #[test]
    fn an_order_lives_as_long_as_somebody_asks_and_no_other_comes() {
        let clock = Arc::new(ManualClock::at(TimestampMs(0)));
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let orders = Orders::new(&shared);
        assert_eq!(orders.ask(), VerifyReport::default());
        assert_eq!(orders.take(), None);
        orders.begin(order(7));
        assert_eq!(orders.ask().stage, VerifyStage::Waiting);
        assert_eq!(orders.take(), Some(order(7)));
        assert_eq!(orders.take(), None, "once");
        for _ in 0..10 {
            clock.advance(LEASE);
            assert!(orders.is_wanted(7));
            orders.ask();
        }
        clock.advance(LEASE + Duration::from_secs(1));
        assert!(!orders.is_wanted(7));
        assert_eq!(orders.ask().stage, VerifyStage::CalledOff);
        orders.begin(order(8));
        orders.take();
        orders.begin(order(9));
        assert!(!orders.is_wanted(8), "another came");
        orders.note(8, |report| report.bytes += 1);
        assert_eq!(orders.end(8, true), None);
        assert_eq!((orders.ask().order, orders.ask().bytes), (9, 0));
        orders.take();
        orders.call_off();
        assert!(!orders.is_wanted(9));
        assert_eq!(orders.end(9, false), Some(0));
        orders.begin(order(10));
        orders.take();
        orders.end(10, true);
        orders.call_off();
        assert_eq!(orders.ask().stage, VerifyStage::Done, "what is done is");
    }
}
