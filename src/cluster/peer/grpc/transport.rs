//! The asking side over gRPC.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Code, Status, Streaming};

use super::connection::{Connection, Wire, WireFault, told};
use super::envelope::{Client, Message};
use super::lane::Lane;
use super::limits::{CONNECT_PATIENCE, FRAME_BYTES_MAX, PEER_MESSAGE_BYTES_MAX, QUEUE_LEN};
use super::link::Link;
use super::metrics::{Ending, Side, Underway};
use super::status::from_status;
use super::wiring::PeerWiring;
use crate::cluster::peer::{Answering, Duplex, Incoming, Method, PeerError, Refused, Transport};
use crate::model::Incarnation;

/// Carries calls over gRPC. Connections are made when they are needed and kept; an attempt that
/// failed is not repeated before a pause, and calls in it fail at once with its reason.
///
/// Calls are made within a tokio runtime.
pub struct GrpcTransport {
    wiring: PeerWiring,
    links: Mutex<BTreeMap<Incarnation, Arc<Link>>>,
    /// gRPC wants one; who is meant stands in a header of ours.
    origin: Uri,
}

impl fmt::Debug for GrpcTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcTransport")
            .field("identity", &self.wiring.identity)
            .field("links", &self.links.lock().keys())
            .finish_non_exhaustive()
    }
}

impl GrpcTransport {
    /// A transport that knows nobody yet.
    #[must_use]
    pub fn new(wiring: PeerWiring) -> Arc<Self> {
        Arc::new(Self {
            wiring,
            links: Mutex::default(),
            origin: Uri::from_static("http://peer"),
        })
    }

    fn link(&self, to: Incarnation) -> Result<Arc<Link>, PeerError> {
        let link = self.links.lock().get(&to).cloned();
        link.ok_or_else(|| unreachable(&to.to_string(), "no address of it is known".to_owned()))
    }

    fn begin(&self, method: Method) -> Underway {
        let wiring = &self.wiring;
        wiring.metrics.begin(method, Side::Asked, &wiring.clock)
    }

    /// A way through to a peer, with a place among the calls to it.
    async fn client(
        &self,
        to: Incarnation,
        method: Method,
    ) -> Result<(Client<Wire>, OwnedSemaphorePermit), PeerError> {
        let link = self.link(to)?;
        let lane = Lane::of(method);
        let failed = |why| unreachable(&to.to_string(), why);
        let permit = link.enter(lane).await.map_err(failed)?;
        let connection = link.connection(lane).await.map_err(failed)?;
        Ok((self.speak(connection, Some(to)), permit))
    }

    fn speak(&self, connection: Arc<Connection>, to: Option<Incarnation>) -> Client<Wire> {
        let wire = Wire::new(connection, self.wiring.identity.clone(), to);
        Client::with_origin(wire, self.origin.clone())
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX)
    }

    /// What a status says; and when it says that our session is old, we are told.
    fn failure(&self, peer: &str, status: &Status) -> PeerError {
        let failure = failure(peer, status);
        if let PeerError::Refused {
            refused: Refused::OldSession(why) | Refused::GivenUp(why),
            ..
        } = &failure
            && self.wiring.identity.caller().cluster.is_some()
        {
            self.wiring
                .identity
                .supersede(format!("peer {peer}: {why}"));
        }
        failure
    }

    async fn ask(
        &self,
        peer: &str,
        mut client: Client<Wire>,
        underway: &Underway,
        body: Bytes,
    ) -> Result<Bytes, PeerError> {
        underway.sent(body.len());
        let answer = client.call(Message::ask(underway.method(), body)).await;
        let answer = answer.map_err(|status| self.failure(peer, &status))?;
        let body = answer.into_inner().body;
        underway.received(body.len());
        Ok(body)
    }
}

impl Transport for GrpcTransport {
    fn call(
        &self,
        to: Incarnation,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Answering<'_, Bytes> {
        Box::pin(async move {
            let mut underway = self.begin(method);
            let peer = to.to_string();
            let asked = async {
                fits(&peer, &body)?;
                let (client, _permit) = self.client(to, method).await?;
                self.ask(&peer, client, &underway, body).await
            };
            let ended = within(patience, &peer, method, asked).await;
            underway.ended(Ending::of(&ended));
            ended
        })
    }

    fn call_at(
        &self,
        address: &str,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Answering<'_, Bytes> {
        let peer = address.to_owned();
        Box::pin(async move {
            let mut underway = self.begin(method);
            let asked = async {
                fits(&peer, &body)?;
                let opened = Connection::open(&peer, &self.wiring).await;
                let connection = opened.map_err(|why| unreachable(&peer, why))?;
                let client = self.speak(Arc::new(connection), None);
                self.ask(&peer, client, &underway, body).await
            };
            let ended = within(patience, &peer, method, asked).await;
            underway.ended(Ending::of(&ended));
            ended
        })
    }

    fn stream(
        &self,
        to: Incarnation,
        method: Method,
        body: Bytes,
        patience: Duration,
    ) -> Answering<'_, Incoming> {
        Box::pin(async move {
            let mut underway = self.begin(method);
            let peer = to.to_string();
            let asked = async {
                fits(&peer, &body)?;
                let (mut client, permit) = self.client(to, method).await?;
                underway.sent(body.len());
                let answer = client.stream(Message::ask(method, body)).await;
                let answer = answer.map_err(|status| self.failure(&peer, &status))?;
                Ok((answer.into_inner(), permit))
            };
            let answers = match within(patience, &peer, method, asked).await {
                Ok(answers) => answers,
                Err(error) => {
                    underway.ended(Ending::of(&Err::<(), _>(error.clone())));
                    return Err(error);
                }
            };
            let (out, incoming) = mpsc::channel(QUEUE_LEN);
            let (answers, permit) = answers;
            let reading = Reading {
                answers,
                out,
                peer,
                patience: Some(patience),
                underway,
                _permit: permit,
            };
            tokio::spawn(reading.run());
            Ok(incoming)
        })
    }

    fn duplex(&self, to: Incarnation, method: Method) -> Answering<'_, Duplex> {
        Box::pin(async move {
            let mut underway = self.begin(method);
            underway.lives_long();
            let peer = to.to_string();
            let (messages, said) = mpsc::channel(QUEUE_LEN);
            let (gone, is_gone) = oneshot::channel();
            let saying = Saying {
                first: Some(Message::ask(method, Bytes::new())),
                said,
                is_gone,
                sent: underway.sent_counter(),
            };
            let asked = async {
                let (mut client, permit) = self.client(to, method).await?;
                let answer = client.duplex(saying).await;
                let answer = answer.map_err(|status| self.failure(&peer, &status))?;
                Ok((answer.into_inner(), permit))
            };
            let opened = within(OPEN_PATIENCE, &peer, method, asked).await;
            let (answers, permit) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    underway.ended(Ending::of(&Err::<(), _>(error.clone())));
                    return Err(error);
                }
            };
            let (out, received) = mpsc::channel(QUEUE_LEN);
            let reading = Reading {
                answers,
                out,
                peer,
                patience: None,
                underway,
                _permit: permit,
            };
            tokio::spawn(async move {
                reading.run().await;
                drop(gone);
            });
            Ok(Duplex {
                messages,
                answers: received,
            })
        })
    }

    fn know(&self, peer: Incarnation, addresses: &[String]) {
        let mut links = self.links.lock();
        if let Some(link) = links.get(&peer) {
            link.moved(addresses);
        }
        if addresses.is_empty() {
            links.remove(&peer);
            return;
        }
        let wiring = &self.wiring;
        links
            .entry(peer)
            .or_insert_with(|| Arc::new(Link::new(wiring.clone(), addresses)));
    }
}

/// How long a stream in both directions may take to come about: the connection and one answer.
const OPEN_PATIENCE: Duration = Duration::from_secs(2 + CONNECT_PATIENCE.as_secs());

async fn within<T>(
    patience: Duration,
    peer: &str,
    method: Method,
    asked: impl Future<Output = Result<T, PeerError>>,
) -> Result<T, PeerError> {
    let ended = timeout(patience, asked).await;
    ended.unwrap_or_else(|_| Err(timed_out(peer, method, patience)))
}

fn timed_out(peer: &str, method: Method, patience: Duration) -> PeerError {
    PeerError::TimedOut {
        peer: peer.to_owned(),
        method: method.name(),
        ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
    }
}

fn unreachable(peer: &str, reason: String) -> PeerError {
    PeerError::Unreachable {
        peer: peer.to_owned(),
        reason,
    }
}

fn fits(peer: &str, body: &Bytes) -> Result<(), PeerError> {
    if body.len() <= PEER_MESSAGE_BYTES_MAX {
        return Ok(());
    }
    Err(PeerError::Refused {
        peer: peer.to_owned(),
        refused: Refused::Invalid(format!(
            "a message of {} bytes is not sent, at most {PEER_MESSAGE_BYTES_MAX} are: cut it",
            body.len()
        )),
    })
}

/// What a status means to a caller.
fn failure(peer: &str, status: &Status) -> PeerError {
    let peer = peer.to_owned();
    if let Some(refused) = from_status(status) {
        return PeerError::Refused { peer, refused };
    }
    let cause = status.source();
    let fault = cause.and_then(|cause| cause.downcast_ref::<WireFault>());
    match (fault, cause) {
        (Some(WireFault::Refused(refused)), _) => PeerError::Refused {
            peer,
            refused: refused.clone(),
        },
        (Some(WireFault::Garbled(reason)), _) => PeerError::Garbled {
            peer,
            reason: reason.clone(),
        },
        (Some(WireFault::Gone(reason)), _) => PeerError::Unreachable {
            peer,
            reason: reason.clone(),
        },
        (None, Some(cause)) => PeerError::Unreachable {
            peer,
            reason: told(cause),
        },
        // A stream that was cut without a word ends without a status.
        (None, None) if matches!(status.code(), Code::Unknown | Code::Cancelled) => {
            PeerError::Unreachable {
                peer,
                reason: "it ended the stream in the middle".to_owned(),
            }
        }
        (None, None) => PeerError::Garbled {
            peer,
            reason: status.message().to_owned(),
        },
    }
}

/// Takes answers off a stream as long as somebody wants them.
struct Reading {
    answers: Streaming<Message>,
    out: mpsc::Sender<Result<Bytes, PeerError>>,
    peer: String,
    patience: Option<Duration>,
    underway: Underway,
    _permit: OwnedSemaphorePermit,
}

impl Reading {
    async fn run(mut self) {
        loop {
            let next = tokio::select! {
                biased;
                // Whoever asked is gone: what drops here calls the work off at the peer.
                () = self.out.closed() => return,
                next = next(&mut self.answers, self.patience) => next,
            };
            let method = self.underway.method();
            let sent = match next {
                Some(Ok(Some(message))) => {
                    self.underway.received(message.body.len());
                    self.out.send(Ok(message.body)).await
                }
                Some(Ok(None)) => return self.underway.ended(Ending::Done),
                Some(Err(status)) => self.fail(failure(&self.peer, &status)).await,
                None => {
                    let patience = self.patience.unwrap_or_default();
                    self.fail(timed_out(&self.peer, method, patience)).await
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// The last word.
    async fn fail(
        &mut self,
        error: PeerError,
    ) -> Result<(), mpsc::error::SendError<Result<Bytes, PeerError>>> {
        self.underway
            .ended(Ending::of(&Err::<(), _>(error.clone())));
        let error = Err(error);
        self.out.send(error.clone()).await.ok();
        Err(mpsc::error::SendError(error))
    }
}

/// The next answer; `None` when it does not come in time.
async fn next(
    answers: &mut Streaming<Message>,
    patience: Option<Duration>,
) -> Option<Result<Option<Message>, Status>> {
    match patience {
        None => Some(answers.message().await),
        Some(patience) => timeout(patience, answers.message()).await.ok(),
    }
}

/// What is said in a stream of both directions; ends when nobody listens to the answers any more.
struct Saying {
    first: Option<Message>,
    said: mpsc::Receiver<Bytes>,
    is_gone: oneshot::Receiver<()>,
    sent: prometheus_client::metrics::counter::Counter,
}

impl Stream for Saying {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if Pin::new(&mut self.is_gone).poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.said.poll_recv(context).map(|said| {
            let body = said?;
            self.sent.inc_by(body.len() as u64);
            Some(Message::more(body))
        })
    }
}
