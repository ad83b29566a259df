//! Bounded threads for synchronous work, called from asynchronous code.
//!
//! At most `running` jobs run and at most `waiting` wait; one more is refused at once, which the
//! caller turns into a 503. A job runs on tokio's blocking threads, whose number the runtime
//! bounds as well; one that is expected to be short may run where it is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
        let permit = self.slot().await?;
        let span = tracing::Span::current();
        // The job keeps its slot also when nobody waits for it any more.
        let job = move || {
            let _slot = permit;
            span.in_scope(job)
        };
        let result = super::blocking::on_thread(job).await;
        result.map_err(|_| self.lost())
    }

    /// Runs a job that is expected to be short: on this very thread where that holds up nobody else, which spares waking
    /// two others. The task that asks sees nothing else until it is done, not even that nobody waits any more.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_here<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        if !super::blocking::has_place() {
            return self.run(job).await;
        }
        let _slot = self.slot().await?;
        super::blocking::in_place(job).ok_or_else(|| self.lost())
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, PoolError> {
        let state = &self.0;
        let slots = || Arc::clone(&state.slots);
        match slots().try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) => {
                let _waiting = Waiting::enter(state)?;
                slots().acquire_owned().await.map_err(|_| self.lost())
            }
        }
    }

    fn lost(&self) -> PoolError {
        PoolError::Lost { name: self.0.name }
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

    /// Would catch a short job that is sent to another thread, holds up what else there is to do, has no slot, or takes
    /// its task along when it panics.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_short_job_runs_where_it_is_asked_for() {
        let pool = Pool::new("test", 1, 0);
        let asked = tokio::spawn(async move {
            let here = std::thread::current().id();
            let (release, wait) = std::sync::mpsc::channel::<()>();
            let other = pool.clone();
            // The only worker there was is held by the job, and another one releases it.
            let refused = tokio::spawn(async move {
                let refused = other.run_here(|| ()).await;
                release.send(()).unwrap();
                refused
            });
            let job = move || (std::thread::current().id() == here, wait.recv().is_ok());
            let ran = pool.run_here(job).await;
            let refused = refused.await.unwrap();
            let lost = pool.run_here(|| panic!("on purpose")).await;
            (ran, refused, lost, pool.run_here(|| 7).await)
        });
        let (ran, refused, lost, after) = asked.await.unwrap();
        assert_eq!(ran, Ok((true, true)));
        assert!(matches!(refused, Err(PoolError::Busy { .. })));
        assert_eq!(
            (lost, after),
            (Err(PoolError::Lost { name: "test" }), Ok(7))
        );
    }

    #[tokio::test]
    async fn where_there_is_no_other_thread_a_short_job_gets_one() {
        let here = std::thread::current().id();
        let elsewhere = move || std::thread::current().id() != here;
        assert_eq!(Pool::new("test", 1, 0).run_here(elsewhere).await, Ok(true));
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
