//! Where synchronous work meets asynchronous: a thread that waits for a future, and a future that
//! waits for a thread.
//!
//! Everything above goes through these two, so that a simulation (`turns.rs`) can run the threads
//! of many nodes one at a time, in an order that its seed decides.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinError;

/// Blocks this thread until a future of a runtime's other threads has ended.
pub fn wait<F: Future>(runtime: &Handle, future: F) -> F::Output {
    #[cfg(test)]
    if super::turns::is_seated() {
        return super::turns::wait(future);
    }
    runtime.block_on(future)
}

/// Does something on a thread that may block. It is done to its end, also when nobody waits for
/// it any more.
///
/// # Errors
/// When it panicked, or the runtime is going away.
pub async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(test)]
    if super::turns::is_simulated() {
        return tokio::spawn(super::turns::Turns::new(work)).await;
    }
    tokio::task::spawn_blocking(work).await
}
