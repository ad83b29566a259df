//! From gRPC to services: the three shapes, once the caller has been let in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::codegen::async_trait;
use tonic::{Request, Response, Status, Streaming};

use super::driven::Driven;
use super::envelope::{Answers, Message};
use super::limits::{
    CALLS_PER_CALLER_MAX, INTRODUCTION_PATIENCE, PEER_MESSAGE_BYTES_MAX, QUEUE_LEN,
};
use super::metrics::{Ending, Side, Underway};
use super::reason::Reason;
use super::refusals::Refusals;
use super::status::to_status;
use super::wiring::PeerWiring;
use crate::cluster::peer::{Caller, Method, PeerError, Refused, Service, Services, Serving};
use crate::model::Incarnation;

/// A caller that was let in.
#[derive(Clone)]
pub(super) struct Admitted {
    /// Who it is.
    pub(super) caller: Caller,
    /// Its address, for logs.
    pub(super) from: Arc<str>,
}

/// Passes questions on to services.
pub(super) struct Desk {
    services: Arc<Services>,
    wiring: PeerWiring,
    refusals: Arc<Refusals>,
    underway: Arc<Mutex<BTreeMap<Incarnation, usize>>>,
}

/// A question that may be answered.
struct Question {
    admitted: Admitted,
    method: Method,
    service: Arc<dyn Service>,
    underway: Underway,
    place: Place,
}

impl Desk {
    pub(super) fn new(
        services: Arc<Services>,
        wiring: PeerWiring,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self {
            services,
            wiring,
            refusals,
            underway: Arc::default(),
        }
    }

    /// What does not depend on the shape.
    fn question(&self, admitted: Admitted, first: &Message) -> Result<Question, Status> {
        let refuse = |reason, refused: Refused| {
            self.refusals
                .note(&admitted.from, reason, &refused.to_string());
            to_status(&refused)
        };
        let method = first.asked();
        let method = method.map_err(|refused| refuse(Reason::Method, refused))?;
        self.may_ask(&admitted.caller, method)
            .map_err(|(reason, refused)| refuse(reason, refused))?;
        let place = Place::take(&self.underway, admitted.caller.incarnation)
            .map_err(|refused| refuse(Reason::TooMany, refused))?;
        let wiring = &self.wiring;
        let mut underway = wiring.metrics.begin(method, Side::Answered, &wiring.clock);
        underway.received(first.body.len());
        let service = self.services.of(method).map_err(|refused| {
            underway.ended(Ending::Refused);
            to_status(&refused)
        })?;
        Ok(Question {
            admitted,
            method,
            service,
            underway,
            place,
        })
    }

    fn may_ask(&self, caller: &Caller, method: Method) -> Result<(), (Reason, Refused)> {
        if method.is_for_strangers() {
            return Ok(());
        }
        let name = method.name();
        if caller.cluster.is_none() {
            let text = format!("{name} is for members, and the caller belongs to no cluster yet");
            return Err((Reason::NoCluster, Refused::Stranger(text)));
        }
        if self.wiring.identity.caller().cluster.is_none() {
            let text = format!("{name} is for members, and this node belongs to no cluster yet");
            return Err((Reason::NoCluster, Refused::Unavailable(text)));
        }
        Ok(())
    }
}

fn admitted(extensions: &tonic::Extensions) -> Result<Admitted, Status> {
    let admitted = extensions.get::<Admitted>().cloned();
    admitted.ok_or_else(|| {
        to_status(&Refused::Unavailable(
            "the caller was not looked at: this is a bug".to_owned(),
        ))
    })
}

#[async_trait]
impl Answers for Desk {
    async fn call(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        let (_, extensions, message) = request.into_parts();
        let mut asked = self.question(admitted(&extensions)?, &message)?;
        let answer = asked
            .service
            .call(&asked.admitted.caller, asked.method, message.body);
        let answer = answer.await.and_then(fits);
        asked.underway.ended(Ending::of_answer(&answer));
        let body = answer.map_err(|refused| to_status(&refused))?;
        asked.underway.sent(body.len());
        Ok(Response::new(Message::more(body)))
    }

    type StreamStream = Driven<Place>;

    async fn stream(
        &self,
        request: Request<Message>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let asked = self.question(admitted(&extensions)?, &message)?;
        let (out, answers) = mpsc::channel(QUEUE_LEN);
        let (service, caller, method) = (asked.service, asked.admitted.caller, asked.method);
        let serving: Serving<'static, ()> =
            Box::pin(async move { service.stream(&caller, method, message.body, out).await });
        let driven = Driven::new(serving, answers, asked.underway, asked.place);
        Ok(Response::new(driven))
    }

    type DuplexStream = Driven<Place>;

    async fn duplex(
        &self,
        request: Request<Streaming<Message>>,
    ) -> Result<Response<Self::DuplexStream>, Status> {
        let (_, extensions, mut messages) = request.into_parts();
        let admitted = admitted(&extensions)?;
        let first = first(&mut messages, INTRODUCTION_PATIENCE).await?;
        let mut asked = self.question(admitted, &first)?;
        asked.underway.lives_long();
        let (out, answers) = mpsc::channel(QUEUE_LEN);
        let received = asked.underway.received_counter();
        let (service, caller, method) = (asked.service, asked.admitted.caller, asked.method);
        let serving: Serving<'static, ()> = Box::pin(async move {
            let (heard, incoming) = mpsc::channel(QUEUE_LEN);
            let count = move |body: &Bytes| {
                received.inc_by(body.len() as u64);
            };
            let hearing = hear(messages, heard, caller.incarnation, count);
            let mut serving = service.duplex(&caller, method, incoming, out);
            tokio::select! {
                biased;
                ended = &mut serving => return ended,
                () = hearing => {}
            }
            serving.await
        });
        let driven = Driven::new(serving, answers, asked.underway, asked.place);
        Ok(Response::new(driven))
    }
}

fn fits(body: Bytes) -> Result<Bytes, Refused> {
    if body.len() <= PEER_MESSAGE_BYTES_MAX {
        return Ok(body);
    }
    Err(Refused::Invalid(format!(
        "the answer has {} bytes, at most {PEER_MESSAGE_BYTES_MAX} travel: ask for less",
        body.len()
    )))
}

/// The message that says what is asked.
async fn first(messages: &mut Streaming<Message>, patience: Duration) -> Result<Message, Status> {
    let silent = || {
        to_status(&Refused::Invalid(
            "the stream does not say what it is".to_owned(),
        ))
    };
    match timeout(patience, messages.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Err(status)) => Err(status),
        Ok(Ok(None)) | Err(_) => Err(silent()),
    }
}

/// Passes on what a caller says; ends when it has said all, or nobody listens.
async fn hear(
    mut messages: Streaming<Message>,
    heard: mpsc::Sender<Result<Bytes, PeerError>>,
    from: Incarnation,
    count: impl Fn(&Bytes),
) {
    loop {
        let said = match messages.message().await {
            Ok(Some(message)) => {
                count(&message.body);
                Ok(message.body)
            }
            Ok(None) => return,
            Err(status) => Err(PeerError::Unreachable {
                peer: from.to_string(),
                reason: status.message().to_owned(),
            }),
        };
        let is_last = said.is_err();
        if heard.send(said).await.is_err() || is_last {
            return;
        }
    }
}

/// A place among the calls of one caller.
pub(super) struct Place {
    of: Incarnation,
    all: Arc<Mutex<BTreeMap<Incarnation, usize>>>,
}

impl Place {
    fn take(
        all: &Arc<Mutex<BTreeMap<Incarnation, usize>>>,
        of: Incarnation,
    ) -> Result<Self, Refused> {
        let mut counts = all.lock();
        let count = counts.entry(of).or_insert(0);
        if *count >= CALLS_PER_CALLER_MAX {
            return Err(Refused::Unavailable(format!(
                "{CALLS_PER_CALLER_MAX} calls of this caller are under way: wait for some of them"
            )));
        }
        *count += 1;
        drop(counts);
        Ok(Self {
            of,
            all: Arc::clone(all),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.all.lock();
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}
