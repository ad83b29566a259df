//! The answering side: which part of the node answers which method.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::message::{Caller, Method, Refused};
use super::transport::{Incoming, Outgoing, Serving};

/// Answers some methods. A method has one of the three shapes; the others refuse it.
///
/// What is dropped is called off: when the caller goes away, the future is dropped, or the next
/// message cannot be sent. Work on other threads is given a `CancelToken` that the future cancels
/// when it is dropped.
pub trait Service: Send + Sync + 'static {
    /// One message, one answer.
    fn call<'a>(&'a self, from: &'a Caller, method: Method, body: Bytes) -> Serving<'a, Bytes> {
        let _ = (from, body);
        Box::pin(async move { Err(wrong_shape(method)) })
    }

    /// One message, many answers into a bounded queue.
    fn stream<'a>(
        &'a self,
        from: &'a Caller,
        method: Method,
        body: Bytes,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        let _ = (from, body, answers);
        Box::pin(async move { Err(wrong_shape(method)) })
    }

    /// Messages and answers as long as both sides stay.
    fn duplex<'a>(
        &'a self,
        from: &'a Caller,
        method: Method,
        messages: Incoming,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        let _ = (from, messages, answers);
        Box::pin(async move { Err(wrong_shape(method)) })
    }
}

fn wrong_shape(method: Method) -> Refused {
    Refused::Invalid(format!(
        "{} is not asked in this way: the peer runs another version",
        method.name()
    ))
}

/// The table of services. Parts of the node enter themselves when they are ready.
#[derive(Default)]
pub struct Services(RwLock<BTreeMap<Method, Arc<dyn Service>>>);

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.read().keys()).finish()
    }
}

impl Services {
    /// Enters a service for some methods, in place of what answered them before.
    pub fn enter(&self, methods: &[Method], service: &Arc<dyn Service>) {
        let mut table = self.0.write();
        for method in methods {
            table.insert(*method, Arc::clone(service));
        }
    }

    /// Who answers a method.
    ///
    /// # Errors
    /// When nobody does yet: the node is starting.
    pub fn of(&self, method: Method) -> Result<Arc<dyn Service>, Refused> {
        self.0.read().get(&method).cloned().ok_or_else(|| {
            Refused::Unavailable(format!(
                "{} is not served yet: the node is starting",
                method.name()
            ))
        })
    }
}
