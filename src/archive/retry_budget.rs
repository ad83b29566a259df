//! How many requests to the bucket may be repeated, over all of them: when most fail, repeating each
//! several times makes a storage that is overloaded more so, and whoever waits learns of it later.
//!
//! As gRPC's retry throttling has it (proposal A6, `maxTokens` and `tokenRatio`): a failed attempt
//! takes a token, one that succeeds gives a tenth of one back, and failures are repeated only while
//! more than half of the tokens are there. Pauses between repetitions are the client's, pauses before the
//! next request those of whoever asks.

use std::sync::Arc;

use object_store::client::{HttpError, HttpErrorKind, HttpResponse};
use parking_lot::Mutex;

use super::metrics::ArchiveMetrics;

/// Tokens that there are at most: ten failures in a row are repeated, and all parts of a query that
/// fetches sixteen ranges at once soon are not.
const TOKENS_MAX: u32 = 20;
/// A success gives back so much of a token: fewer than one failure in ten is repeated for ever.
const TENTHS_BACK: u32 = 1;

const TENTHS: u32 = 10;

/// Tokens, in tenths.
#[derive(Debug)]
struct Tokens(u32);

impl Tokens {
    const fn full() -> Self {
        Self(TOKENS_MAX * TENTHS)
    }

    fn succeeded(&mut self) {
        self.0 = self.0.saturating_add(TENTHS_BACK).min(TOKENS_MAX * TENTHS);
    }

    /// Whether it may be repeated.
    fn failed(&mut self) -> bool {
        self.0 = self.0.saturating_sub(TENTHS);
        self.0 > TOKENS_MAX * TENTHS / 2
    }
}

/// What all requests to a bucket may be repeated.
#[derive(Clone)]
pub(super) struct RetryBudget {
    tokens: Arc<Mutex<Tokens>>,
    metrics: ArchiveMetrics,
}

impl RetryBudget {
    pub(super) fn new(metrics: ArchiveMetrics) -> Self {
        let tokens = Arc::new(Mutex::new(Tokens::full()));
        Self { tokens, metrics }
    }

    /// What the client shall see: a failure beyond the budget as one that it does not repeat.
    pub(super) async fn judge(
        &self,
        answer: Result<HttpResponse, HttpError>,
    ) -> Result<HttpResponse, HttpError> {
        if answer.as_ref().is_ok_and(|response| !is_failure(response)) {
            // A mistake of ours, a missing object: the storage does its work.
            self.tokens.lock().succeeded();
            return answer;
        }
        self.metrics.attempt_failed();
        if self.tokens.lock().failed() {
            return answer;
        }
        self.metrics.not_repeated();
        let reason = match answer {
            Ok(response) => {
                let status = response.status();
                let body = response.into_body().bytes().await.unwrap_or_default();
                let text = String::from_utf8_lossy(&body);
                format!("the storage answers {status}: {text}")
            }
            Err(error) => whole_text(&error),
        };
        Err(HttpError::new(HttpErrorKind::Unknown, NotRepeated(reason)))
    }
}

/// What the client would repeat.
fn is_failure(response: &HttpResponse) -> bool {
    let status = response.status().as_u16();
    status >= 500 || status == 429 || status == 408
}

/// A failure with its causes.
fn whole_text(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

#[derive(Debug, thiserror::Error)]
#[error("{0}; it is not asked again at once, because most requests fail")]
struct NotRepeated(String);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::archive::{ArchiveKind, ArchiveSettings, Bucket};
    use crate::model::TimestampMs;
    use crate::runtime::{Clock, ManualClock};

    /// Reads a request without a body.
    fn read_head(from: &mut impl Read) {
        let (mut request, mut piece) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"\r\n\r\n") {
            match from.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(len) => request.extend_from_slice(&piece[..len]),
            }
        }
    }

    #[allow(clippy::disallowed_methods, reason = "it ends with the test's process")]
    /// A storage that answers everything with one status, and how often it was asked.
    fn storage(status: Arc<Mutex<&'static str>>) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                read_head(&mut stream);
                count.fetch_add(1, Ordering::SeqCst);
                let answer = format!(
                    "HTTP/1.1 {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    *status.lock()
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        (address, asked)
    }

    /// Would catch a storage that is overloaded and asked five times as often for it, and one that is
    /// never asked twice again.
    #[tokio::test]
    async fn a_storage_that_fails_is_soon_asked_once_a_request() {
        let status = Arc::new(Mutex::new("503 Slow Down"));
        let (address, asked) = storage(Arc::clone(&status));
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "secret").unwrap();
        let mut settings = ArchiveSettings::default();
        settings.main.kind = ArchiveKind::S3;
        settings.s3.endpoint = Some(address);
        settings.s3.bucket = "blocks".to_owned();
        settings.s3.access_key_file = Some(secret.path().to_owned());
        settings.s3.secret_key_file = Some(secret.path().to_owned());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs(0)));
        let metrics = ArchiveMetrics::default();
        let bucket = Bucket::open(&settings, &clock, metrics).unwrap().unwrap();
        let look = || async {
            let before = asked.load(Ordering::SeqCst);
            let size = bucket.size("object").await;
            (size, asked.load(Ordering::SeqCst) - before)
        };
        let mut attempts = Vec::new();
        for _ in 0..10 {
            let (size, asked) = look().await;
            let error = size.unwrap_err().to_string();
            assert!(error.contains("503"), "{error}");
            attempts.push(asked);
        }
        assert_eq!(attempts, [5, 5, 1, 1, 1, 1, 1, 1, 1, 1]);
        // What is not there is no failure.
        *status.lock() = "404 Not Found";
        for _ in 0..250 {
            assert!(matches!(look().await, (Ok(None), 1)));
        }
        *status.lock() = "503 Slow Down";
        assert_eq!(look().await.1, 5);
    }

    /// Would catch a budget that never ends, one that ends for good, and one that a failure now and
    /// then uses up.
    #[test]
    fn failures_are_repeated_while_most_requests_succeed() {
        let mut tokens = Tokens::full();
        let repeated = (0..100).filter(|_| tokens.failed()).count();
        assert_eq!(repeated, 9, "then it is enough");
        (0..100).for_each(|_| tokens.succeeded());
        assert!(!tokens.failed(), "not yet");
        (0..30).for_each(|_| tokens.succeeded());
        assert!(tokens.failed());
        let mut tokens = Tokens::full();
        for at in 0..10_000 {
            if at % 12 == 0 {
                assert!(tokens.failed(), "now and then: {at}");
            } else {
                tokens.succeeded();
            }
        }
    }
}
