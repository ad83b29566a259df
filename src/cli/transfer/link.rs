//! HTTP with bodies of bytes, over connections that stay: requests that carry history.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;

/// The longest error that is read.
const TEXT_BYTES_MAX: usize = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server and a tenant.
pub(super) struct Link {
    base: String,
    tenant: Option<String>,
    timeout: Duration,
    runtime: Runtime,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What a server said.
pub(super) struct Reply {
    pub(super) status: u16,
    /// What it asks to wait, in seconds.
    pub(super) retry_after: Option<u64>,
    pub(super) text: String,
}

impl Link {
    pub(super) fn new(url: &str, tenant: Option<&str>, timeout: Duration) -> Result<Self, String> {
        let url = url.trim_end_matches('/');
        let base = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start: {error}"))?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Ok(Self {
            base,
            tenant: tenant.map(str::to_owned),
            timeout,
            runtime,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    fn request(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.base))
            .header("user-agent", concat!("cairn/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| format!("{}: {error}", self.base))
    }

    /// Sends a body and reads the answer as it comes; `Err` has what a server says that refuses.
    pub(super) fn stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Result<Stream<'_>, Reply>, String> {
        let request = self.request(path, headers, body)?;
        let exchange = async {
            let answer = self.exchange(request).await?;
            if answer.status().is_success() {
                return Ok(Ok(answer.into_body()));
            }
            self.short(answer).await.map(Err)
        };
        let streamed = self.in_time(exchange)?;
        Ok(streamed.map(|body| Stream { link: self, body }))
    }

    /// Ends a wait that has become too long.
    fn in_time<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        self.runtime.block_on(async {
            tokio::time::timeout(self.timeout, work)
                .await
                .map_err(|_| format!("{}: no answer within {:?}", self.base, self.timeout))?
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        self.client.request(request).await.map_err(|error| {
            let reason = std::error::Error::source(&error)
                .map(|source| format!(": {source}"))
                .unwrap_or_default();
            format!("{}: cannot be reached{reason}", self.base)
        })
    }

    /// Reads an answer of some lines.
    async fn short(&self, answer: Response<Incoming>) -> Result<Reply, String> {
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(answer.into_body(), TEXT_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| format!("{}: the answer broke off: {error}", self.base))?;
        Ok(Reply {
            status,
            retry_after,
            text: String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        })
    }

    /// Sends a body and reads a short answer.
    pub(super) fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply, String> {
        let request = self.request(path, headers, body)?;
        self.in_time(async { self.short(self.exchange(request).await?).await })
    }
}

/// An answer that comes bit by bit.
pub(super) struct Stream<'a> {
    link: &'a Link,
    body: Incoming,
}

impl Stream<'_> {
    /// What comes next; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, String> {
        let Self { link, body } = self;
        link.in_time(async {
            loop {
                let Some(frame) = body.frame().await else {
                    return Ok(None);
                };
                let frame = frame
                    .map_err(|error| format!("{}: the answer broke off: {error}", link.base))?;
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        })
    }
}
