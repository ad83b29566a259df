//! Cancellation: a token that long work looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Work that may be called off, or runs out of time. Clones are one token.
#[derive(Clone, Debug)]
pub struct CancelToken(Arc<State>);

#[derive(Debug)]
struct State {
    cancelled: AtomicBool,
    deadline: Option<(Instant, Duration)>,
}

/// Why work stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cancelled {
    /// Nobody waits for the answer any more.
    #[error("the request was cancelled")]
    Cancelled,
    /// The time is up.
    #[error("it took longer than {0:?}")]
    TimedOut(Duration),
}

impl CancelToken {
    /// A token that only [`CancelToken::cancel`] ends.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(State {
            cancelled: AtomicBool::new(false),
            deadline: None,
        }))
    }

    /// A token that also ends by itself after `timeout`.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "deadlines are made here and nowhere else"
    )]
    pub fn with_timeout(timeout: Duration) -> Self {
        let deadline = Instant::now().checked_add(timeout).map(|at| (at, timeout));
        Self(Arc::new(State {
            cancelled: AtomicBool::new(false),
            deadline,
        }))
    }

    /// Calls the work off.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
    }

    /// To be asked between pieces of work: every few thousand samples, every series, every page.
    ///
    /// # Errors
    /// When the work was called off or its time is up.
    #[allow(
        clippy::disallowed_methods,
        reason = "deadlines are checked here and nowhere else"
    )]
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.0.cancelled.load(Ordering::Acquire) {
            return Err(Cancelled::Cancelled);
        }
        match self.0.deadline {
            Some((at, timeout)) if Instant::now() >= at => Err(Cancelled::TimedOut(timeout)),
            _ => Ok(()),
        }
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}
