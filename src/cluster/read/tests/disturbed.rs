//! A node that is silent, breaks off, or does something just before it answers.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::cluster::peer::{Caller, Method, Outgoing, Refused, Service, Serving};

/// What a node does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    None,
    /// Never answers this.
    Silent(Method),
    /// Sends so many messages of a select, then nothing and no end.
    StopsAfter(usize),
    /// Sends so many messages, then breaks off.
    BreaksAfter(usize),
}

type Hook = Box<dyn FnMut() + Send>;

/// A service that can be disturbed.
pub(super) struct Disturbed {
    inner: Arc<dyn Service>,
    pub(super) fault: Mutex<Fault>,
    /// Done once, before a method is answered.
    pub(super) before: Mutex<Option<(Method, Hook)>>,
    pub(super) asked: Mutex<Vec<Method>>,
}

impl Disturbed {
    pub(super) fn new(inner: Arc<dyn Service>) -> Self {
        Self {
            inner,
            fault: Mutex::new(Fault::None),
            before: Mutex::new(None),
            asked: Mutex::default(),
        }
    }

    fn begin(&self, method: Method) -> Fault {
        self.asked.lock().push(method);
        let hook = {
            let mut before = self.before.lock();
            match &*before {
                Some((of, _)) if *of == method => before.take(),
                _ => None,
            }
        };
        if let Some((_, mut hook)) = hook {
            hook();
        }
        *self.fault.lock()
    }
}

impl Service for Disturbed {
    fn stream<'a>(
        &'a self,
        from: &'a Caller,
        method: Method,
        body: Bytes,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        Box::pin(async move {
            let (count, stops) = match self.begin(method) {
                Fault::Silent(silent) if silent == method => {
                    return std::future::pending().await;
                }
                Fault::StopsAfter(count) if method == Method::Select => (count, true),
                Fault::BreaksAfter(count) if method == Method::Select => (count, false),
                _ => return self.inner.stream(from, method, body, answers).await,
            };
            let (out, made) = tokio::sync::mpsc::channel(1);
            let serving = self.inner.stream(from, method, body, out);
            let serving = async {
                let _ = serving.await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = pass(made, &answers, count, stops) => {}
                () = serving => {}
            }
            Err(Refused::Unavailable("it broke".to_owned()))
        })
    }
}

/// Passes so many messages on.
async fn pass(
    mut made: tokio::sync::mpsc::Receiver<Bytes>,
    answers: &Outgoing,
    count: usize,
    stops: bool,
) {
    for _ in 0..count {
        if let Some(message) = made.recv().await {
            let _ = answers.send(message).await;
        }
    }
    if stops {
        std::future::pending::<()>().await;
    }
}
