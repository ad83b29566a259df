//! The answering side over gRPC: the port, and one task for each connection.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::answers::Desk;
use super::connection::told;
use super::door::Door;
use super::error::PeerSetupError;
use super::limits::{
    CALLER_PING_EVERY, CALLER_PING_PATIENCE, CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX,
    CONNECTIONS_PER_ADDRESS_MAX, HEADERS_BYTES_MAX, HTTP_FRAME_BYTES, INTRODUCTION_PATIENCE,
    PARTING_PATIENCE, RESET_STREAMS_MAX, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX,
    TLS_AGE_END,
};
use super::metrics::Side;
use super::reason::Reason;
use super::refusals::Refusals;
use super::sniff::{First, sniff};
use super::wiring::PeerWiring;
use crate::cluster::peer::Services;
use crate::runtime::jittered;

/// Answers peers on a port until it is stopped or dropped.
pub struct PeerServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl fmt::Debug for PeerServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerServer").field(&self.address).finish()
    }
}

impl Drop for PeerServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl PeerServer {
    /// Takes the port of `peer.listen`. Nothing is answered before [`PeerServer::serve`].
    ///
    /// # Errors
    /// When it is taken or not this machine's.
    pub async fn listen(address: &str) -> Result<TcpListener, PeerSetupError> {
        let bound = TcpListener::bind(address).await;
        bound.map_err(|error| PeerSetupError::Listen {
            address: address.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Answers peers with a node's services, within a tokio runtime.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve(
        listener: TcpListener,
        services: Arc<Services>,
        wiring: PeerWiring,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let refusals = Refusals::new(wiring.metrics.clone(), Arc::clone(&wiring.clock));
        let refusals = Arc::new(refusals);
        let desk = Desk::new(services, wiring.clone(), Arc::clone(&refusals));
        let (stop, stopping) = watch::channel(false);
        let port = Port {
            wiring,
            refusals,
            desk: Arc::new(desk),
            addresses: Arc::default(),
            stopping,
        };
        let accepting = tokio::spawn(Arc::new(port).accept(listener));
        Ok(Self {
            address,
            stop,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls, gives those under way a moment, and closes all connections.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // The task ends by itself, panics aside.
        (&mut self.accepting).await.ok();
    }
}

struct Port {
    wiring: PeerWiring,
    refusals: Arc<Refusals>,
    desk: Arc<Desk>,
    /// Connections by address.
    addresses: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    stopping: watch::Receiver<bool>,
}

impl Port {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, mostly: what is open must end first.
                    tracing::warn!(error = %error, "a peer's connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(seat) = self.seat(from.ip(), connections.len()) else {
                let text = "too many connections are open";
                self.refusals
                    .note(&from.ip().to_string(), Reason::TooMany, text);
                continue;
            };
            let port = Arc::clone(&self);
            connections.spawn(async move {
                let _seat = seat;
                port.connection(stream, from).await;
            });
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    fn seat(&self, address: IpAddr, open: usize) -> Option<Seat> {
        let mut addresses = self.addresses.lock();
        let count = addresses.get(&address).copied().unwrap_or(0);
        if open >= CONNECTIONS_MAX || count >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        addresses.insert(address, count + 1);
        Some(Seat {
            address,
            addresses: Arc::clone(&self.addresses),
        })
    }

    async fn connection(&self, stream: TcpStream, from: SocketAddr) {
        let peer: Arc<str> = from.ip().to_string().into();
        let refuse = |reason, text: &str| {
            self.refusals.note(&peer, reason, text);
        };
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let stopping = self.stopping.clone();
        let first = stopped_by(
            stopping.clone(),
            timeout(INTRODUCTION_PATIENCE, sniff(&stream)),
        );
        let first = match first.await {
            None | Some(Ok(First::Gone)) => return,
            Some(Err(_)) => return refuse(Reason::Silent, "it connects and says nothing"),
            Some(Ok(first)) => first,
        };
        match (first, &self.wiring.tls) {
            (First::Http2, None) => self.speak(stream, peer).await,
            (First::Tls, Some(tls)) => {
                let accepted = timeout(INTRODUCTION_PATIENCE, tls.accept(stream));
                match stopped_by(stopping, accepted).await {
                    None => {}
                    Some(Ok(Ok(stream))) => self.speak(stream, peer).await,
                    Some(Ok(Err(error))) => refuse(Reason::Certificate, &told(&error)),
                    Some(Err(_)) => refuse(Reason::Silent, "TLS does not come about"),
                }
            }
            (First::Tls, None) => refuse(
                Reason::Tls,
                "it speaks TLS, and peer.tls is not set here: set it on all nodes or on none",
            ),
            (First::Http2, Some(_)) => refuse(
                Reason::Tls,
                "it speaks plainly, and peer.tls is set here: set it on all nodes or on none",
            ),
            (First::Http1, _) => {
                refuse(
                    Reason::Garbage,
                    "it speaks HTTP/1: this is the port for peers",
                );
                timeout(PARTING_PATIENCE, answer_http1(stream)).await.ok();
            }
            (First::Garbage | First::Gone, _) => {
                refuse(Reason::Garbage, "what it sends is not HTTP/2");
            }
        }
    }

    /// Speaks HTTP/2 on a connection until it ends.
    async fn speak<S>(&self, stream: S, peer: Arc<str>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let _open = self.wiring.metrics.connected(Side::Answered);
        let identity = self.wiring.identity.clone();
        let door = Door::new(&self.desk, identity, Arc::clone(&self.refusals), peer);
        let door = Arc::new(door);
        let service = {
            let door = Arc::clone(&door);
            service_fn(move |request| Arc::clone(&door).answer(request))
        };
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP_FRAME_BYTES)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
            .keep_alive_interval(CALLER_PING_EVERY)
            .keep_alive_timeout(CALLER_PING_PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut stopping = self.stopping.clone();
        let began = Instant::now();
        let introduction = sleep_until(began + INTRODUCTION_PATIENCE);
        tokio::pin!(introduction);
        let is_tls = self.wiring.tls.is_some();
        // Not all connections of a cluster that was started at once are to end at once.
        let age_end = jittered(TLS_AGE_END / 10, &*self.wiring.chance) + TLS_AGE_END;
        let mut is_known = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended_with(&door, ended),
                () = introduction.as_mut(), if !is_known => {
                    if !door.is_introduced() {
                        return door.nobody();
                    }
                    is_known = true;
                }
                () = sleep_until(began + age_end), if is_tls => break,
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        connection.as_mut().graceful_shutdown();
        timeout(PARTING_PATIENCE, connection).await.ok();
    }
}

/// After a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn ended_with(door: &Door, ended: hyper::Result<()>) {
    let Err(error) = ended else {
        return;
    };
    if door.is_introduced() {
        tracing::debug!(error = told(&error), "a peer's connection has ended");
    } else {
        door.refuse(Reason::Garbage, &told(&error));
    }
}

/// The outcome, unless the node stops first.
async fn stopped_by<T>(
    mut stopping: watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => None,
        done = work => Some(done),
    }
}

/// Tells a person with a browser, or a sender with a wrong port, where they are.
async fn answer_http1(mut stream: TcpStream) {
    const TEXT: &str = "this is the port on which Cairn's nodes talk to each other; HTTP is on http.listen, 9009 by default\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        stream.shutdown().await.ok();
    }
}

/// A place among the connections.
struct Seat {
    address: IpAddr,
    addresses: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut addresses = self.addresses.lock();
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}
