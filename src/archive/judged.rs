//! The layer between the client of S3-compatible storage and the network: two look at each answer, one at
//! the clock of whoever gives it, one at whether the client may repeat what failed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use super::clock_watch::ClockWatch;
use super::retry_budget::RetryBudget;

/// Makes clients whose answers are judged.
#[derive(Clone)]
pub(super) struct Judges {
    pub(super) clock: ClockWatch,
    pub(super) budget: RetryBudget,
}

impl fmt::Debug for Judges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judges")
    }
}

impl HttpConnector for Judges {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Judged {
            client: ReqwestConnector::default().connect(options)?,
            judges: self.clone(),
        }))
    }
}

#[derive(Debug)]
struct Judged {
    client: HttpClient,
    judges: Judges,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Judged {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let answer = self.client.execute(request).await;
            if let Ok(response) = &answer {
                self.judges.clock.look(response);
            }
            self.judges.budget.judge(answer).await
        })
    }
}
