//! Connections: accepted up to a bound, served as HTTP/1.1 or HTTP/2, ended gracefully.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_service::Service;

use super::error::Error;
use super::front::Front;
use super::metrics::HttpMetrics;
use super::settings::HttpSettings;

/// hyper's read buffer would grow to some 400 KiB a connection; more than this gains nothing
/// measurable, and idle senders are many.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// Requests that one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 128;

/// How long requests under way may take to end when the server stops.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Pause after the system refuses a connection (no file descriptors left, mostly).
const REFUSAL_PAUSE: Duration = Duration::from_millis(50);

/// Whether `http.listen` has the form of an address: a host or an address, a colon, a port. Whether
/// the name is known and the port is free shows when the node starts.
///
/// # Errors
/// When it has not.
pub fn check_listen(settings: &HttpSettings) -> Result<(), Error> {
    let listen = &settings.listen;
    let reason = match listen.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => return Ok(()),
        Some(("", _)) => "the host is missing",
        Some(_) => "the port is no number up to 65535",
        None => "the port is missing",
    };
    Err(Error::Address {
        listen: listen.clone(),
        reason: reason.to_owned(),
    })
}

/// A listening server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    settings: HttpSettings,
    metrics: HttpMetrics,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// When the address is none, is taken, or is refused by the system.
    pub async fn bind(settings: HttpSettings, metrics: HttpMetrics) -> Result<Self, Error> {
        let listen = settings.listen.clone();
        let mut addresses = tokio::net::lookup_host(listen.clone())
            .await
            .map_err(|error| Error::Address {
                listen: listen.clone(),
                reason: error.to_string(),
            })?;
        let address = addresses.next().ok_or_else(|| Error::Address {
            listen: listen.clone(),
            reason: "the name has no address".to_owned(),
        })?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::AddrInUse => Error::Taken { listen },
                _ => Error::Listen {
                    listen,
                    reason: error.to_string(),
                },
            })?;
        Ok(Self {
            listener,
            settings,
            metrics,
        })
    }

    /// Where it listens; of use where the system chose the port.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` ends, then lets requests under way finish for some seconds.
    pub async fn run(self, front: Front, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(self.settings.max_connections.max(1)));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let builder = Arc::new(builder(self.settings.read_timeout));
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.accept(&places) => accepted,
            };
            // Those that have ended leave the set.
            while connections.try_join_next().is_some() {}
            let Some((stream, place)) = accepted else {
                continue;
            };
            let builder = builder.clone();
            let service = Routed(front.clone());
            let watcher = graceful.watcher();
            let open = Open::new(&self.metrics);
            connections.spawn(async move {
                let io = TokioIo::new(stream);
                let connection = builder.serve_connection(io, service);
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(%error, "connection ended");
                }
                drop((open, place));
            });
        }
        drop(self.listener);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tokio::time::sleep(DRAIN_TIME) => {
                tracing::warn!("requests were cut off: they took too long to end");
            }
        }
        connections.shutdown().await;
    }

    /// The next connection, once there is a place for it.
    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let place = places.clone().acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written in one piece mostly; waiting to fill packets only delays.
                let _ = stream.set_nodelay(true);
                Some((stream, place))
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REFUSAL_PAUSE).await;
                None
            }
        }
    }
}

fn builder(read_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(read_timeout)
        .max_buf_size(READ_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(read_timeout);
    builder
}

/// Counts a connection while it lives.
struct Open(HttpMetrics);

impl Open {
    fn new(metrics: &HttpMetrics) -> Self {
        metrics.connections.inc();
        Self(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// axum's router as hyper's service.
#[derive(Clone)]
struct Routed(Front);

impl hyper::service::Service<Request<Incoming>> for Routed {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut router = self.0.router();
        // A router is always ready.
        Box::pin(async move { router.call(request).await })
    }
}
