//! What stands before gRPC on each connection: whoever does not belong here goes no further.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use tonic::Code;
use tonic::body::Body;
use tower_service::Service;

use super::answers::{Admitted, Desk};
use super::connection::{FROM, TO};
use super::credentials::from_hex;
use super::envelope::Answerer;
use super::identity::Identity;
use super::limits::{FRAME_BYTES_MAX, STRANGER_FRAME_BYTES_MAX};
use super::reason::Reason;
use super::refusals::Refusals;
use super::status::{REFUSED, to_status};
use crate::cluster::peer::{Caller, Refused};

/// The door of one connection.
pub(super) struct Door {
    identity: Identity,
    refusals: Arc<Refusals>,
    from: Arc<str>,
    members: Answerer<Desk>,
    strangers: Answerer<Desk>,
    /// Whether somebody has come through.
    is_introduced: AtomicBool,
    /// Whether somebody was turned away.
    is_refused: AtomicBool,
}

type Answer = Result<Response<Body>, Infallible>;

impl Door {
    pub(super) fn new(
        desk: &Arc<Desk>,
        identity: Identity,
        refusals: Arc<Refusals>,
        from: Arc<str>,
    ) -> Self {
        let answerer = |bytes| {
            Answerer::from_arc(Arc::clone(desk))
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(FRAME_BYTES_MAX)
        };
        Self {
            identity,
            refusals,
            from,
            members: answerer(FRAME_BYTES_MAX),
            strangers: answerer(STRANGER_FRAME_BYTES_MAX),
            is_introduced: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
        }
    }

    pub(super) fn is_introduced(&self) -> bool {
        self.is_introduced.load(Ordering::Relaxed)
    }

    /// The time for an introduction is over, and nobody has come through.
    pub(super) fn nobody(&self) {
        if !self.is_refused.load(Ordering::Relaxed) {
            self.refuse(Reason::Silent, "it does not say who it is");
        }
    }

    pub(super) fn refuse(&self, reason: Reason, text: &str) {
        self.refusals.note(&self.from, reason, text);
    }

    /// Answers a request.
    pub(super) fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let caller = match self.admit(request.headers()) {
            Ok(caller) => caller,
            Err((reason, refused)) => {
                self.refuse(reason, &refused.to_string());
                self.is_refused.store(true, Ordering::Relaxed);
                let answer = self.signed(to_status(&refused).into_http());
                return Box::pin(async { Ok(answer) });
            }
        };
        self.is_introduced.store(true, Ordering::Relaxed);
        let mut answerer = match caller.cluster {
            Some(_) => self.members.clone(),
            None => self.strangers.clone(),
        };
        request.extensions_mut().insert(Admitted {
            caller,
            from: Arc::clone(&self.from),
        });
        Box::pin(async move {
            let answer = answerer.call(request).await?;
            Ok(self.signed(self.explained(answer)))
        })
    }

    fn admit(&self, headers: &HeaderMap) -> Result<Caller, (Reason, Refused)> {
        let caller = self.identity.check(headers.get(FROM))?;
        let Some(to) = headers.get(TO) else {
            return Ok(caller);
        };
        let own = self.identity.caller().incarnation;
        let wanted = std::str::from_utf8(to.as_bytes())
            .ok()
            .and_then(|text| from_hex(text, "whom it wants").ok());
        if wanted == Some(own.0) {
            return Ok(caller);
        }
        let text = format!("incarnation {own} is here, not the one that was asked for");
        Err((Reason::NotMe, Refused::Stranger(text)))
    }

    /// What gRPC refuses by itself is a refusal like ours.
    fn explained(&self, mut answer: Response<Body>) -> Response<Body> {
        let headers = answer.headers();
        if headers.contains_key(REFUSED) {
            return answer;
        }
        let Some(status) = headers.get("grpc-status") else {
            return answer;
        };
        let reason = match Code::from_bytes(status.as_bytes()) {
            Code::Ok => return answer,
            Code::OutOfRange | Code::ResourceExhausted => Reason::Size,
            Code::Unimplemented => Reason::Method,
            _ => Reason::Garbage,
        };
        let told = headers.get("grpc-message");
        let told = told.and_then(|text| text.to_str().ok()).unwrap_or_default();
        self.refuse(reason, &told.replace("%20", " "));
        let kind = HeaderValue::from_static("invalid");
        answer.headers_mut().insert(REFUSED, kind);
        answer
    }

    fn signed<B>(&self, mut answer: Response<B>) -> Response<B> {
        answer.headers_mut().insert(FROM, self.identity.header());
        answer
    }
}
