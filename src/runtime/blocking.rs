//! Where synchronous work meets asynchronous: a thread that waits for a future, and a future that
//! waits for a thread.
//!
//! Everything above goes through these two, so that a simulation (`turns.rs`) can run the threads
//! of many nodes one at a time, in an order that its seed decides.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::{Handle, RuntimeFlavor};
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

/// Whether [`in_place`] can be used here: where the runtime has other threads that go on meanwhile.
pub(super) fn has_place() -> bool {
    #[cfg(test)]
    if super::turns::is_simulated() {
        return false;
    }
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    flavor.is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread)
}

/// Does something short on the thread of the task that asks for it, as long as [`has_place`]: nobody has to be woken
/// for it, and nobody when it is done. What else this thread would do is done by another one; what else this *task*
/// would do waits. `None` when it panicked.
pub(super) fn in_place<T>(work: impl FnOnce() -> T) -> Option<T> {
    tokio::task::block_in_place(|| catch_unwind(AssertUnwindSafe(work)).ok())
}
