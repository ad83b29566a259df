//! How far the storage's clock is from this node's, by the `Date` of its answers. Requests are
//! signed with the time and refused when it is more than a quarter of an hour off, and what the
//! storage says then does not always say so.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use crate::runtime::Clock;

/// Storages refuse requests beyond this.
pub(super) const OFF_S_MAX: i64 = 15 * 60;

/// How far this node's clock was ahead of the storage's at its last answer.
#[derive(Clone, Default, Debug)]
pub(super) struct ClockOff(Arc<AtomicI64>);

impl ClockOff {
    /// In seconds; negative: behind.
    pub(super) fn seconds(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes clients that look at the clock of whoever answers.
pub(super) struct Watching {
    clock: Arc<dyn Clock>,
    off: ClockOff,
}

impl Watching {
    pub(super) const fn new(clock: Arc<dyn Clock>, off: ClockOff) -> Self {
        Self { clock, off }
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watching")
    }
}

impl HttpConnector for Watching {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Watched {
            client: ReqwestConnector::default().connect(options)?,
            clock: Arc::clone(&self.clock),
            off: self.off.clone(),
        }))
    }
}

struct Watched {
    client: HttpClient,
    clock: Arc<dyn Clock>,
    off: ClockOff,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Watched {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let response = self.client.execute(request).await?;
            let date = response.headers().get("date");
            let theirs = date.and_then(|date| date.to_str().ok()).and_then(unix_s);
            if let Some(theirs) = theirs {
                let mine = self.clock.now().0.div_euclid(1000);
                self.off.0.store(mine - theirs, Ordering::Relaxed);
            }
            Ok(response)
        })
    }
}

/// The time of a `Date` header.
fn unix_s(date: &str) -> Option<i64> {
    let at = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(at.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_time() {
        assert_eq!(unix_s("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_s("yesterday"), None);
    }
}
