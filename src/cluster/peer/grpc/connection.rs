//! One HTTP/2 connection to a peer, and gRPC's way through it: credentials go with every request
//! and are checked in every answer.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::body::Body;
use tower_service::Service;

use super::credentials::hex;
use super::identity::Identity;
use super::limits::{
    CONNECT_PATIENCE, CONNECTION_WINDOW_BYTES, HEADERS_BYTES_MAX, HTTP_FRAME_BYTES, PING_EVERY,
    PING_PATIENCE, RESET_STREAMS_MAX, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, TLS_AGE_MAX,
};
use super::metrics::Side;
use super::wiring::PeerWiring;
use crate::cluster::peer::Refused;
use crate::model::Incarnation;

/// Who speaks.
pub(super) const FROM: HeaderName = HeaderName::from_static("cairn-from");

/// Whom it wants to speak to.
pub(super) const TO: HeaderName = HeaderName::from_static("cairn-to");

/// An open connection.
pub(super) struct Connection {
    send: SendRequest<Body>,
    address: String,
    born: Duration,
    is_tls: bool,
    /// Whether a peer has answered on it.
    is_proved: AtomicBool,
    closed: watch::Sender<bool>,
}

impl Connection {
    /// Connects to `host:port`.
    pub(super) async fn open(address: &str, wiring: &PeerWiring) -> Result<Self, String> {
        let opened = timeout(CONNECT_PATIENCE, Self::open_slowly(address, wiring)).await;
        opened.unwrap_or_else(|_| {
            Err(format!(
                "{address} gave no connection within {} s",
                CONNECT_PATIENCE.as_secs()
            ))
        })
    }

    async fn open_slowly(address: &str, wiring: &PeerWiring) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{address}: {error}");
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (send, closed) = match &wiring.tls {
            None => speak(stream, wiring).await,
            Some(tls) => {
                let stream = tls.connect(stream).await.map_err(|error| {
                    format!("{address}: TLS: {error}; has the peer TLS switched on?")
                })?;
                speak(stream, wiring).await
            }
        }
        .map_err(|error| format!("{address}: {}", told(&error)))?;
        Ok(Self {
            send,
            address: address.to_owned(),
            born: wiring.clock.elapsed(),
            is_tls: wiring.tls.is_some(),
            is_proved: AtomicBool::new(false),
            closed,
        })
    }

    /// Whether calls may begin on it.
    pub(super) fn is_usable(&self, now: Duration) -> bool {
        let is_aged = self.is_tls && now.saturating_sub(self.born) > TLS_AGE_MAX;
        !is_aged && !self.is_over()
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.send.is_closed()
    }

    /// Whether a peer has ever answered on it.
    pub(super) fn is_proved(&self) -> bool {
        self.is_proved.load(Ordering::Relaxed)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Ends it with all that is under way.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }
}

async fn speak<S>(
    stream: S,
    wiring: &PeerWiring,
) -> hyper::Result<(SendRequest<Body>, watch::Sender<bool>)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (closed, closing) = watch::channel(false);
    let tasks = Tasks(closing);
    let (send, connection) = http2::Builder::new(tasks.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        // Only while an answer is awaited: what is idle needs no watching.
        .keep_alive_while_idle(false)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .handshake(TokioIo::new(stream))
        .await?;
    let open = wiring.metrics.connected(Side::Asked);
    tasks.execute(async move {
        let _open = open;
        if let Err(error) = connection.await {
            tracing::debug!(error = told(&error), "a connection to a peer has ended");
        }
    });
    Ok((send, closed))
}

/// The tasks of a connection: they end by themselves, or at once when it is closed.
#[derive(Clone)]
struct Tasks(watch::Receiver<bool>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut closing = self.0.clone();
        tokio::spawn(async move {
            let closed = async {
                // Who opened it may be gone before what is under way has ended.
                if closing.wait_for(|closed| *closed).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = closed => {}
                () = task => {}
            }
        });
    }
}

/// An error with its causes.
pub(super) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// What goes wrong below gRPC.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireFault {
    /// The connection or the stream is over.
    #[error("{0}")]
    Gone(String),
    /// Who answers is not whom we asked.
    #[error("{0}")]
    Refused(Refused),
    /// Who answers is no peer at all.
    #[error("{0}")]
    Garbled(String),
}

/// A connection as gRPC uses it.
#[derive(Clone)]
pub(super) struct Wire {
    connection: Arc<Connection>,
    send: SendRequest<Body>,
    identity: Identity,
    to: Option<Incarnation>,
}

impl Wire {
    pub(super) fn new(
        connection: Arc<Connection>,
        identity: Identity,
        to: Option<Incarnation>,
    ) -> Self {
        Self {
            send: connection.send.clone(),
            connection,
            identity,
            to,
        }
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Incoming>;
    type Error = WireFault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, WireFault>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WireFault>> {
        let ready = self.send.poll_ready(context);
        ready.map_err(|error| WireFault::Gone(told(&error)))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let headers = request.headers_mut();
        headers.insert(FROM, self.identity.header());
        let to = self.to.map(|to| HeaderValue::try_from(hex(to.0)));
        if let Some(Ok(to)) = to {
            headers.insert(TO, to);
        }
        let sent = self.send.send_request(request);
        let identity = self.identity.clone();
        let connection = Arc::clone(&self.connection);
        let to = self.to;
        Box::pin(async move {
            let answer = sent.await;
            let answer = answer.map_err(|error| WireFault::Gone(told(&error)))?;
            check(&identity, to, answer.headers())?;
            connection.is_proved.store(true, Ordering::Relaxed);
            Ok(answer)
        })
    }
}

/// Whether it is the peer we wanted that answers.
fn check(
    identity: &Identity,
    to: Option<Incarnation>,
    headers: &HeaderMap,
) -> Result<(), WireFault> {
    let stranger = |text| Err(WireFault::Refused(Refused::Stranger(text)));
    let Some(from) = headers.get(FROM) else {
        return Err(WireFault::Garbled(
            "who answers there shows no credentials: it is no Cairn node's peer port".to_owned(),
        ));
    };
    let answerer = match identity.check(Some(from)) {
        Ok(answerer) => answerer,
        Err((_, why)) => return stranger(format!("who answers there is not believed: {why}")),
    };
    match to {
        Some(to) if to != answerer.incarnation => stranger(format!(
            "incarnation {} answers there instead",
            answerer.incarnation
        )),
        _ => Ok(()),
    }
}
