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
    use super::*;
    use crate::archive::small_storage::SmallStorage;

    /// Would catch a storage that is overloaded and asked five times as often for it, and one that is
    /// never asked twice again.
    #[tokio::test]
    async fn a_storage_that_fails_is_soon_asked_once_a_request() {
        let storage = SmallStorage::answering("503 Slow Down");
        let bucket = storage.bucket();
        let look = || async {
            let before = storage.asked();
            let size = bucket.size("object").await;
            (size, storage.asked() - before)
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
        storage.answer("404 Not Found");
        for _ in 0..250 {
            assert!(matches!(look().await, (Ok(None), 1)));
        }
        storage.answer("503 Slow Down");
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
