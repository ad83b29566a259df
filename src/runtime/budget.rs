//! What one query may use: memory and samples, accounted while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The limits of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Bytes that it may hold at a time.
    pub memory_bytes: u64,
    /// Samples that it may hold in memory at a time (Prometheus' `--query.max-samples`).
    pub samples: u64,
}

/// The account of one query. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limits: BudgetLimits,
    /// What it shares with others, if there is such.
    shared: Option<SharedBudget>,
    memory: Peak,
    samples: Peak,
    samples_read: AtomicU64,
    bytes_fetched: AtomicU64,
}

/// Memory that several accounts share. Clones are the same.
#[derive(Clone, Debug)]
pub struct SharedBudget(Arc<(u64, Peak)>);

impl SharedBudget {
    /// So many bytes for all of them together.
    #[must_use]
    pub fn new(memory_bytes: u64) -> Self {
        Self(Arc::new((memory_bytes, Peak::default())))
    }

    /// An empty account under limits of its own and this one.
    #[must_use]
    pub fn account(&self, limits: BudgetLimits) -> Budget {
        Budget::made(limits, Some(self.clone()))
    }

    fn add(&self, bytes: u64) -> bool {
        self.0.1.add(bytes, self.0.0)
    }
}

#[derive(Debug, Default)]
struct Peak {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Peak {
    fn add(&self, amount: u64, limit: u64) -> bool {
        let now = self
            .now
            .fetch_add(amount, Ordering::Relaxed)
            .saturating_add(amount);
        if now > limit {
            self.now.fetch_sub(amount, Ordering::Relaxed);
            return false;
        }
        self.peak.fetch_max(now, Ordering::Relaxed);
        true
    }

    fn sub(&self, amount: u64) {
        self.now.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// A limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// Prometheus' words, which its users search for.
    #[error("query processing would load too many samples into memory in query execution")]
    Samples {
        /// The limit.
        limit: u64,
    },
    /// Memory.
    #[error(
        "the query needs more than {limit} bytes of memory: narrow its matchers or its range, or raise query.max_memory"
    )]
    Memory {
        /// The limit.
        limit: u64,
    },
    /// Memory that it shares with others.
    #[error(
        "all queries that are answered here together need more than {limit} bytes of memory: try again, or raise memory_limit"
    )]
    Shared {
        /// The limit.
        limit: u64,
    },
}

impl Budget {
    /// An empty account under these limits.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Self {
        Self::made(limits, None)
    }

    fn made(limits: BudgetLimits, shared: Option<SharedBudget>) -> Self {
        Self(Arc::new(Account {
            limits,
            shared,
            memory: Peak::default(),
            samples: Peak::default(),
            samples_read: AtomicU64::new(0),
            bytes_fetched: AtomicU64::new(0),
        }))
    }

    /// Takes memory and samples until the reservation is dropped.
    ///
    /// # Errors
    /// When a limit would be exceeded; nothing is taken then.
    pub fn reserve(&self, memory_bytes: u64, samples: u64) -> Result<Reservation, BudgetError> {
        let mut reservation = Reservation {
            budget: self.clone(),
            memory_bytes: 0,
            samples: 0,
        };
        reservation.grow(memory_bytes, samples)?;
        Ok(reservation)
    }

    /// Counts samples that were read from storage (for `stats`).
    pub fn count_read(&self, samples: u64) {
        self.0.samples_read.fetch_add(samples, Ordering::Relaxed);
    }

    /// Samples read from storage so far.
    #[must_use]
    pub fn samples_read(&self) -> u64 {
        self.0.samples_read.load(Ordering::Relaxed)
    }

    /// Counts bytes that were fetched from the bucket (for `stats`).
    pub fn count_fetched(&self, bytes: u64) {
        self.0.bytes_fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes fetched from the bucket so far.
    #[must_use]
    pub fn bytes_fetched(&self) -> u64 {
        self.0.bytes_fetched.load(Ordering::Relaxed)
    }

    /// The bytes held now.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.0.memory.now.load(Ordering::Relaxed)
    }

    /// The most samples held at a time so far.
    #[must_use]
    pub fn peak_samples(&self) -> u64 {
        self.0.samples.peak.load(Ordering::Relaxed)
    }

    /// The most bytes held at a time so far.
    #[must_use]
    pub fn peak_memory_bytes(&self) -> u64 {
        self.0.memory.peak.load(Ordering::Relaxed)
    }
}

/// Memory and samples taken from a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    memory_bytes: u64,
    samples: u64,
}

impl Reservation {
    /// How many bytes are taken.
    #[must_use]
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// How many samples are taken.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// Takes more.
    ///
    /// # Errors
    /// When a limit would be exceeded; what was taken before stays taken.
    pub fn grow(&mut self, memory_bytes: u64, samples: u64) -> Result<(), BudgetError> {
        let account = &self.budget.0;
        if !account.samples.add(samples, account.limits.samples) {
            return Err(BudgetError::Samples {
                limit: account.limits.samples,
            });
        }
        if !account
            .memory
            .add(memory_bytes, account.limits.memory_bytes)
        {
            account.samples.sub(samples);
            return Err(BudgetError::Memory {
                limit: account.limits.memory_bytes,
            });
        }
        if let Some(shared) = &account.shared
            && !shared.add(memory_bytes)
        {
            account.samples.sub(samples);
            account.memory.sub(memory_bytes);
            return Err(BudgetError::Shared { limit: shared.0.0 });
        }
        self.memory_bytes += memory_bytes;
        self.samples += samples;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(shared) = &self.budget.0.shared {
            shared.0.1.sub(self.memory_bytes);
        }
        self.budget.0.memory.sub(self.memory_bytes);
        self.budget.0.samples.sub(self.samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch accounts that together take more than there is, and memory that does not come back.
    #[test]
    fn accounts_share_what_they_are_told_to() {
        let shared = SharedBudget::new(100);
        let limits = BudgetLimits {
            memory_bytes: 80,
            samples: 10,
        };
        let (one, other) = (shared.account(limits), shared.account(limits));
        let held = one.reserve(70, 1).unwrap();
        let refused = other.reserve(40, 7).unwrap_err();
        assert_eq!(refused, BudgetError::Shared { limit: 100 });
        assert!(other.reserve(30, 10).is_ok());
        drop(held);
        let held = other.reserve(80, 10).unwrap();
        assert_eq!(
            one.reserve(81, 1).unwrap_err(),
            BudgetError::Memory { limit: 80 }
        );
        drop(held);
        assert!(one.reserve(80, 10).is_ok());
    }

    #[test]
    fn what_is_reserved_comes_back_and_limits_hold() {
        let budget = Budget::new(BudgetLimits {
            memory_bytes: 100,
            samples: 10,
        });
        let mut first = budget.reserve(60, 5).unwrap();
        assert_eq!(first.grow(50, 1), Err(BudgetError::Memory { limit: 100 }));
        assert!(matches!(
            budget.reserve(1, 6),
            Err(BudgetError::Samples { .. })
        ));
        first.grow(40, 5).unwrap();
        drop(first);
        budget.reserve(100, 10).unwrap();
        assert_eq!(
            (budget.peak_memory_bytes(), budget.peak_samples()),
            (100, 10)
        );
    }
}
