//! Nodes that talk over loopback, and a service that shows what reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::cluster::identity::{ClusterId, Session};
use crate::cluster::peer::grpc::{
    GrpcTransport, Identity, PeerMetrics, PeerServer, PeerTls, PeerWiring,
};
use crate::cluster::peer::{
    Caller, Incoming, Method, Outgoing, PeerError, Refused, Service, Services, Serving, Transport,
};
use crate::model::Incarnation;
use crate::runtime::{SeededChance, SystemClock};

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn caller(number: u128, cluster: Option<u128>) -> Caller {
    Caller {
        cluster: cluster.map(ClusterId),
        generation: 0,
        incarnation: Incarnation(number),
        session: Session {
            starts: 1,
            nonce: number,
        },
    }
}

pub(super) fn wiring(identity: Identity, tls: Option<PeerTls>) -> PeerWiring {
    PeerWiring {
        identity,
        tls,
        metrics: PeerMetrics::default(),
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SeededChance::new(7)),
    }
}

/// A node with a port.
pub(super) struct Node {
    pub(super) me: Incarnation,
    pub(super) wiring: PeerWiring,
    pub(super) transport: Arc<GrpcTransport>,
    pub(super) server: PeerServer,
    pub(super) probe: Arc<Probe>,
}

impl Node {
    pub(super) async fn start(number: u128) -> Self {
        Self::of(Identity::new(caller(number, Some(99)))).await
    }

    pub(super) async fn of(identity: Identity) -> Self {
        Self::wired(wiring(identity, None), "127.0.0.1:0").await
    }

    pub(super) async fn wired(wiring: PeerWiring, address: &str) -> Self {
        let probe = Arc::new(Probe::default());
        let services = Arc::new(Services::default());
        let service: Arc<dyn Service> = Arc::clone(&probe) as _;
        services.enter(&Method::ALL, &service);
        let listener = PeerServer::listen(address).await.unwrap();
        let server = PeerServer::serve(listener, services, wiring.clone()).unwrap();
        Self {
            me: wiring.identity.caller().incarnation,
            transport: GrpcTransport::new(wiring.clone()),
            wiring,
            server,
            probe,
        }
    }

    pub(super) fn address(&self) -> String {
        self.server.address().to_string()
    }

    pub(super) fn knows(&self, other: &Self) {
        self.transport.know(other.me, &[other.address()]);
    }

    pub(super) async fn ask(&self, to: Incarnation, body: &[u8]) -> Result<Bytes, PeerError> {
        let body = Bytes::copy_from_slice(body);
        self.transport.call(to, Method::Cut, body, PATIENCE).await
    }
}

/// Two nodes of one cluster; the first knows the second.
pub(super) async fn pair() -> (Node, Node) {
    let (one, two) = (Node::start(1).await, Node::start(2).await);
    one.knows(&two);
    (one, two)
}

/// `Cut` echoes; `ReadState` waits for ever; `Pull` answers as many messages as the body says, of
/// as many bytes; `FetchBlock` answers one and waits for ever; `Append` echoes what it is told;
/// `Stage` hears and says nothing; `Status` refuses.
#[derive(Default)]
pub(super) struct Probe {
    /// Answers that went into a queue.
    pub(super) made: AtomicUsize,
    /// Questions so far.
    pub(super) asked: AtomicUsize,
    /// Questions under way.
    pub(super) underway: AtomicUsize,
    /// A question has ended or was called off.
    pub(super) ended: Notify,
}

struct Underway<'a>(&'a Probe);

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.underway.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_one();
    }
}

impl Probe {
    fn begin(&self) -> Underway<'_> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.underway.fetch_add(1, Ordering::SeqCst);
        Underway(self)
    }

    /// Waits until nothing is under way.
    pub(super) async fn idle(&self) {
        let idle = async {
            while self.underway.load(Ordering::SeqCst) > 0 {
                self.ended.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, idle)
            .await
            .expect("what was called off ends");
    }

    /// Waits until so many questions are under way.
    pub(super) async fn busy(&self, count: usize) {
        for _ in 0..500 {
            if self.underway.load(Ordering::SeqCst) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} under way", self.underway.load(Ordering::SeqCst));
    }
}

/// The body of a question for `Pull`.
pub(super) fn pull(messages: u32, bytes: u32) -> Bytes {
    [messages.to_le_bytes(), bytes.to_le_bytes()]
        .concat()
        .into()
}

impl Service for Probe {
    fn call<'a>(&'a self, from: &'a Caller, method: Method, body: Bytes) -> Serving<'a, Bytes> {
        Box::pin(async move {
            let _underway = self.begin();
            match method {
                Method::ReadState => std::future::pending().await,
                Method::Status => Err(Refused::NotFound("nothing is here".to_owned())),
                Method::Select => Ok(vec![0; 5 << 20].into()),
                Method::Hello => Ok(from.incarnation.to_string().into()),
                _ => Ok(body),
            }
        })
    }

    fn stream<'a>(
        &'a self,
        _: &'a Caller,
        method: Method,
        body: Bytes,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        Box::pin(async move {
            let _underway = self.begin();
            if method == Method::FetchBlock {
                answers.send(Bytes::from_static(b"one")).await.ok();
                std::future::pending::<()>().await;
            }
            let number = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
            for _ in 0..number(0) {
                let answer = vec![7; number(4) as usize];
                if answers.send(answer.into()).await.is_err() {
                    return Ok(());
                }
                self.made.fetch_add(1, Ordering::SeqCst);
            }
            Err(Refused::Unavailable("no more".to_owned()))
        })
    }

    fn duplex<'a>(
        &'a self,
        _: &'a Caller,
        method: Method,
        mut messages: Incoming,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        Box::pin(async move {
            let _underway = self.begin();
            if method == Method::Stage {
                std::future::pending::<()>().await;
            }
            while let Some(Ok(message)) = messages.recv().await {
                self.made.fetch_add(1, Ordering::SeqCst);
                if answers.send(message).await.is_err() {
                    break;
                }
            }
            Ok(())
        })
    }
}
