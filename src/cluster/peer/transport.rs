//! The asking side: what carries a message to a peer and its answer back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::message::{Method, PeerError, Refused};
use crate::model::Incarnation;
use crate::runtime::wait;

/// The end of a call.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, PeerError>> + Send + 'a>>;

/// The end of answering one.
pub type Serving<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refused>> + Send + 'a>>;

/// Messages that come; the last may be the reason why there are no more. Dropped, it calls off
/// whatever makes them.
pub type Incoming = mpsc::Receiver<Result<Bytes, PeerError>>;

/// Where messages go, a bounded queue: sending waits while the other side does not read, and
/// fails when it is gone.
pub type Outgoing = mpsc::Sender<Bytes>;

/// Both directions of a stream that lives long.
#[derive(Debug)]
pub struct Duplex {
    /// What we say.
    pub messages: Outgoing,
    /// What the peer says.
    pub answers: Incoming,
}

/// Carries messages to peers, whom it knows by their incarnation. Connections are made when they
/// are needed, kept, and made again.
pub trait Transport: Send + Sync + 'static {
    /// Asks a peer and waits for its answer, at most so long.
    fn call(
        &self,
        to: Incarnation,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Answering<'_, Bytes>;

    /// The same of whoever is at an address (`host:port`), before anybody knows who that is.
    fn call_at(
        &self,
        address: &str,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Answering<'_, Bytes>;

    /// Asks a peer for many answers; waits so long for the first sign of it and for each further.
    fn stream(
        &self,
        to: Incarnation,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Answering<'_, Incoming>;

    /// Opens a stream in both directions.
    fn duplex(&self, to: Incarnation, method: Method) -> Answering<'_, Duplex>;

    /// Where a peer is to be found from now on; connections to other addresses of it are closed.
    fn know(&self, peer: Incarnation, addresses: &[String]);
}

/// A transport for threads that may block: seals, moves and queries run on such.
#[derive(Clone)]
pub struct Blocking {
    transport: Arc<dyn Transport>,
    runtime: Handle,
}

impl std::fmt::Debug for Blocking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blocking")
    }
}

impl Blocking {
    /// Calls of threads through a transport, driven by a runtime of other threads.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, runtime: Handle) -> Self {
        Self { transport, runtime }
    }

    /// Asks a peer and blocks until it has answered.
    ///
    /// # Errors
    /// As [`PeerError`] says.
    pub fn call(
        &self,
        to: Incarnation,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, PeerError> {
        let answer = self.transport.call(to, method, body, patience);
        wait(&self.runtime, answer)
    }

    /// Asks several peers at once; answers in the order of the peers.
    pub fn call_all(
        &self,
        asks: Vec<(Incarnation, Bytes)>,
        method: Method,
        patience: Duration,
    ) -> Vec<(Incarnation, Result<Bytes, PeerError>)> {
        let mut asked = Vec::with_capacity(asks.len());
        for (to, body) in asks {
            let transport = Arc::clone(&self.transport);
            let answer = async move { transport.call(to, method, body, patience).await };
            asked.push((to, self.runtime.spawn(answer)));
        }
        let answered = |(to, task): (Incarnation, tokio::task::JoinHandle<_>)| {
            let ended = wait(&self.runtime, task);
            let answer = ended.unwrap_or_else(|error| {
                Err(PeerError::Unreachable {
                    peer: to.to_string(),
                    reason: format!("the call was ended: {error}"),
                })
            });
            (to, answer)
        };
        asked.into_iter().map(answered).collect()
    }

    /// Asks a peer for many answers; to be read with [`Blocking::next`].
    ///
    /// # Errors
    /// As [`PeerError`] says.
    pub fn stream(
        &self,
        to: Incarnation,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Result<Incoming, PeerError> {
        let answers = self.transport.stream(to, method, body, patience);
        wait(&self.runtime, answers)
    }

    /// The next answer; `None` when there are no more.
    ///
    /// # Errors
    /// As [`PeerError`] says; the stream is over then.
    pub fn next(&self, answers: &mut Incoming) -> Result<Option<Bytes>, PeerError> {
        wait(&self.runtime, answers.recv()).transpose()
    }

    /// The transport itself.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport)
    }
}
