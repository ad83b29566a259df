//! What runs here on somebody's behalf: it can be listed, and called off from outside.
//!
//! It knows nothing of queries. An entry is there for as long as its guard; how many there can be
//! is bounded by the threads that make them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::budget::Budget;
use super::cancel::CancelToken;
use super::clock::Clock;
use crate::model::{TenantId, TimestampMs};

/// Characters of a text that are kept: enough to recognise it.
const TEXT_CHARS_MAX: usize = 1000;

/// A list of what runs. Clones are the same list.
#[derive(Clone)]
pub struct Register(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    next: AtomicU64,
    entries: Mutex<BTreeMap<u64, Entry>>,
}

struct Entry {
    tenant: TenantId,
    text: String,
    began: TimestampMs,
    since: Duration,
    waiting: bool,
    cancel: CancelToken,
    budget: Budget,
}

/// One that runs, as it is seen from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Underway {
    /// Its number on this node.
    pub id: u64,
    /// On whose behalf.
    pub tenant: TenantId,
    /// What it does; cut when it is long.
    pub text: String,
    /// When it began.
    pub began: TimestampMs,
    /// How long ago that was.
    pub took: Duration,
    /// It waits for its turn.
    pub waiting: bool,
    /// The most memory that it has held.
    pub peak_memory_bytes: u64,
    /// Samples that it has read.
    pub samples_read: u64,
}

/// The place of one in the list; it is struck off when this is dropped.
pub struct Registered {
    list: Register,
    id: u64,
}

impl Register {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            clock,
            next: AtomicU64::new(1),
            entries: Mutex::default(),
        }))
    }

    /// Puts one on the list; it waits for its turn.
    #[must_use]
    pub fn enter(
        &self,
        tenant: &TenantId,
        text: &str,
        cancel: &CancelToken,
        budget: &Budget,
    ) -> Registered {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            tenant: tenant.clone(),
            text: text.chars().take(TEXT_CHARS_MAX).collect(),
            began: self.0.clock.now(),
            since: self.0.clock.elapsed(),
            waiting: true,
            cancel: cancel.clone(),
            budget: budget.clone(),
        };
        self.0.entries.lock().insert(id, entry);
        let list = self.clone();
        Registered { list, id }
    }

    /// All that run, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Underway> {
        let now = self.0.clock.elapsed();
        let entries = self.0.entries.lock();
        let shown = entries.iter().map(|(id, entry)| Underway {
            id: *id,
            tenant: entry.tenant.clone(),
            text: entry.text.clone(),
            began: entry.began,
            took: now.saturating_sub(entry.since),
            waiting: entry.waiting,
            peak_memory_bytes: entry.budget.peak_memory_bytes(),
            samples_read: entry.budget.samples_read(),
        });
        shown.collect()
    }

    /// Calls off one, or all; only those of a tenant, where one is given. Says how many.
    pub fn cancel(&self, id: Option<u64>, tenant: Option<&TenantId>) -> usize {
        let entries = self.0.entries.lock();
        let meant = entries.iter().filter(|(at, entry)| {
            id.is_none_or(|id| id == **at) && tenant.is_none_or(|tenant| *tenant == entry.tenant)
        });
        meant.map(|(_, entry)| entry.cancel.cancel()).count()
    }
}

impl Registered {
    /// It is its turn.
    pub fn runs(&self) {
        if let Some(entry) = self.list.0.entries.lock().get_mut(&self.id) {
            entry.waiting = false;
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.list.0.entries.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::BudgetLimits;
    use super::super::clock::ManualClock;
    use super::*;

    #[test]
    fn what_runs_is_listed_and_called_off() {
        let clock = Arc::new(ManualClock::at(TimestampMs(5_000)));
        let register = Register::new(clock.clone());
        let budget = Budget::new(BudgetLimits {
            memory_bytes: 100,
            samples: 10,
        });
        let tenants = [TenantId::new("a").unwrap(), TenantId::new("b").unwrap()];
        let tokens = [CancelToken::new(), CancelToken::new()];
        let entered: Vec<Registered> = tenants
            .iter()
            .zip(&tokens)
            .map(|(tenant, token)| register.enter(tenant, &"é".repeat(2_000), token, &budget))
            .collect();
        entered[1].runs();
        drop(budget.reserve(70, 1));
        clock.advance(Duration::from_secs(3));
        let list = register.list();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].waiting, list[1].waiting), (true, false));
        assert_eq!(list[1].text.chars().count(), TEXT_CHARS_MAX);
        assert_eq!(
            (list[0].began, list[0].took.as_secs()),
            (TimestampMs(5_000), 3)
        );
        assert_eq!(list[0].peak_memory_bytes, 70);
        // Not another's, not one that is not there.
        assert_eq!(register.cancel(Some(list[0].id), Some(&tenants[1])), 0);
        assert_eq!(register.cancel(Some(99), None), 0);
        assert!(tokens.iter().all(|token| token.check().is_ok()));
        assert_eq!(register.cancel(Some(list[0].id), Some(&tenants[0])), 1);
        assert!(tokens[0].check().is_err() && tokens[1].check().is_ok());
        drop(entered);
        assert_eq!((register.list().len(), register.cancel(None, None)), (0, 0));
    }
}
