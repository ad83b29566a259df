//! Threads with a name and an owner that waits for them.

use std::io;
use std::thread::JoinHandle;

/// A running thread. Whoever holds it tells the thread to end and then joins it; dropped, it
/// waits.
#[derive(Debug)]
pub struct NamedThread {
    name: String,
    handle: Option<JoinHandle<()>>,
}

impl NamedThread {
    /// Starts a thread.
    ///
    /// # Errors
    /// When the system has no more threads to give.
    pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)?;
        Ok(Self {
            name: name.to_owned(),
            handle: Some(handle),
        })
    }

    /// Waits until the thread has ended; called twice, the second time does nothing. A panic in
    /// it is logged.
    pub fn join(&mut self) {
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!(thread = %self.name, "a thread ended in a panic");
        }
    }

    /// Leaves it to itself: what it has is given back when it ends.
    #[cfg(test)]
    pub(super) fn detach(mut self) {
        drop(self.handle.take());
    }
}

impl Drop for NamedThread {
    fn drop(&mut self) {
        self.join();
    }
}

/// Lets the calling thread wait: for commands that look at something again and again.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place where a thread sleeps"
)]
pub fn pause(duration: std::time::Duration) {
    std::thread::sleep(duration);
}
