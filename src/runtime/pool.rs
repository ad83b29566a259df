//! Bounded threads for synchronous work, called from asynchronous code.
//!
//! At most `running` jobs run and at most `waiting` wait; one more is refused at once, which the
//! caller turns into a 503. A job runs on tokio's blocking threads, whose number the runtime
//! bounds as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// A named pool. Clones are one pool.
#[derive(Clone, Debug)]
pub struct Pool(Arc<State>);

#[derive(Debug)]
struct State {
    name: &'static str,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// Why a job did not run to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Too many jobs wait already.
    #[error("{name}: {waiting} requests are waiting already; try again later")]
    Busy {
        /// The pool.
        name: &'static str,
        /// The bound of its queue.
        waiting: usize,
    },
    /// A bug: the job panicked, or the runtime is going away.
    #[error("{name}: the job ended abnormally")]
    Lost {
        /// The pool.
        name: &'static str,
    },
}

impl Pool {
    /// A pool that runs `running` jobs at a time and lets `waiting` wait.
    #[must_use]
    pub fn new(name: &'static str, running: usize, waiting: usize) -> Self {
        Self(Arc::new(State {
            name,
            slots: Arc::new(Semaphore::new(running.max(1))),
            waiting: AtomicUsize::new(0),
            waiting_max: waiting,
        }))
    }

    /// Runs a job on a blocking thread and waits for it.
    ///
    /// # Errors
    /// [`PoolError::Busy`] when the queue is full, [`PoolError::Lost`] when the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let state = &self.0;
        let lost = PoolError::Lost { name: state.name };
        let slots = || Arc::clone(&state.slots);
        let permit = match slots().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::enter(state)?;
                slots().acquire_owned().await.map_err(|_| lost.clone())?
            }
        };
        let span = tracing::Span::current();
        // The job keeps its slot also when nobody waits for it any more.
        let job = move || {
            let _slot = permit;
            span.in_scope(job)
        };
        let result = super::blocking::on_thread(job).await;
        result.map_err(|_| lost)
    }
}

/// One place in the queue; given back also when the waiting request is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(state: &'a State) -> Result<Self, PoolError> {
        let before = state.waiting.fetch_add(1, Ordering::AcqRel);
        let place = Self(&state.waiting);
        if before >= state.waiting_max {
            return Err(PoolError::Busy {
                name: state.name,
                waiting: state.waiting_max,
            });
        }
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_that_nobody_waits_for_keeps_its_slot() {
        let pool = Pool::new("test", 1, 0);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (started, begun) = std::sync::mpsc::channel::<()>();
        let job = move || {
            started.send(()).unwrap();
            wait.recv().is_ok()
        };
        let asked = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(job).await }
        });
        tokio::task::block_in_place(|| begun.recv()).unwrap();
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        assert!(matches!(pool.run(|| ()).await, Err(PoolError::Busy { .. })));
        release.send(()).unwrap();
        while pool.0.slots.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| 7).await, Ok(7));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_is_refused_and_a_panic_is_reported() {
        let pool = Pool::new("test", 1, 0);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || wait.recv().is_ok()).await }
        });
        while pool.0.slots.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(pool.run(|| ()).await, Err(PoolError::Busy { .. })));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(true));
        assert!(matches!(
            pool.run(|| panic!("on purpose")).await,
            Err(PoolError::Lost { .. })
        ));
    }
}
