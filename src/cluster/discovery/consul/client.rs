//! One request to the agent at a time: a connection, perhaps TLS, the token, one answer of
//! bounded size within a bounded time. Every request is counted, and waits for its turn, so that
//! whatever goes wrong above, Consul is not flooded.
//!
//! A connection per request is deliberate: there are a few a minute at most, a connection that
//! went stale cannot be met, and certificates are read anew each time.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::tls;
use crate::cluster::discovery::allowance::Allowance;
use crate::cluster::discovery::metrics::RequestResult;
use crate::cluster::discovery::peer::authority;
use crate::cluster::discovery::settings::{ConsulSettings, Secret};
use crate::cluster::discovery::{DiscoveryError, Operation, Surroundings};
use crate::runtime::Clock;

/// The longest answer that is read: a thousand peers with long metadata take 2 MB.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// The longest token file that is read: a token has 36 characters.
const TOKEN_BYTES_MAX: u64 = 4 << 10;

/// How long a connection, TLS included, may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that may go at once: registering, founding and watching from a standing start take
/// some fifteen.
const AT_ONCE: u32 = 20;

/// After those, one request so often. A quiet node needs less than one a minute.
const EVERY: Duration = Duration::from_secs(4);

/// How much of a refusal's text is shown.
const REASON_CHARS_MAX: usize = 300;

/// A request.
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) method: Method,
    /// Path and query, below the base address.
    pub(super) target: String,
    pub(super) body: Vec<u8>,
    /// How long the answer may take.
    pub(super) patience: Duration,
    /// Does not wait for its turn: the last requests of a node that stops.
    pub(super) at_once: bool,
}

/// An answer that is no failure: below 300, 404, or 409.
pub(super) struct Reply {
    pub(super) status: u16,
    /// `X-Consul-Index`.
    pub(super) index: Option<u64>,
    pub(super) body: Bytes,
}

/// Talks to one agent.
pub(super) struct Client {
    base: Base,
    token: Token,
    tls: tls::Files,
    allowance: Mutex<Allowance>,
    surroundings: Surroundings,
}

impl Client {
    pub(super) fn new(
        settings: &ConsulSettings,
        surroundings: &Surroundings,
    ) -> Result<Self, DiscoveryError> {
        let base = Base::parse(&settings.consul_http_addr)?;
        let tls = tls::Files::of(settings)?;
        if base.tls {
            // What cannot work is said at the start, not in a log line later.
            tls.config()?;
        }
        Ok(Self {
            base,
            token: Token::of(settings)?,
            tls,
            allowance: Mutex::new(Allowance::new(AT_ONCE, EVERY)),
            surroundings: surroundings.clone(),
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.base.shown
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.surroundings.clock
    }

    /// Sends a request when its turn has come.
    pub(super) async fn send(&self, call: Call) -> Result<Reply, DiscoveryError> {
        let now = self.surroundings.clock.elapsed();
        let turn = self.allowance.lock().take(now);
        if !call.at_once && !turn.is_zero() {
            sleep(turn).await;
        }
        let sent = self.surroundings.metrics.request(call.operation);
        let reply = self.exchange(call).await;
        let result = match &reply {
            Ok(_) => RequestResult::Answered,
            Err(DiscoveryError::Away { .. }) => RequestResult::Away,
            Err(_) => RequestResult::Refused,
        };
        sent.ended(result);
        reply
    }

    async fn exchange(&self, call: Call) -> Result<Reply, DiscoveryError> {
        let operation = call.operation;
        let patience = call.patience;
        let away = |reason: String| DiscoveryError::Away {
            operation,
            place: self.base.shown.clone(),
            reason,
        };
        let request = self.request(call).await?;
        let reply = timeout(patience, async {
            let host = (self.base.host.as_str(), self.base.port);
            let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(host))
                .await
                .map_err(|_| away(format!("no connection within {CONNECT_TIMEOUT:?}")))?
                .map_err(|error| away(error.to_string()))?;
            if !self.base.tls {
                return converse(stream, request).await.map_err(away);
            }
            let connecting = tls::connect(self.tls.config()?, &self.base.host, stream);
            let stream = timeout(CONNECT_TIMEOUT, connecting)
                .await
                .map_err(|_| away(format!("no TLS within {CONNECT_TIMEOUT:?}")))?
                .map_err(|error| away(format!("TLS: {error}")))?;
            converse(stream, request).await.map_err(away)
        });
        let reply = reply
            .await
            .unwrap_or_else(|_| Err(away(format!("no answer within {patience:?}"))))?;
        self.judge(operation, reply)
    }

    async fn request(&self, call: Call) -> Result<Request<Full<Bytes>>, DiscoveryError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.base.prefix, call.target))
            .header("host", &self.base.authority)
            .header("connection", "close")
            .header("user-agent", concat!("cairn/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = self.token.read().await? {
            request = request.header("x-consul-token", token.reveal());
        }
        request
            .body(Full::new(Bytes::from(call.body)))
            .map_err(|_| DiscoveryError::Setting {
                key: self.token.key(),
                value: String::new(),
                reason: "the token has characters that no token has".to_owned(),
            })
    }

    fn judge(&self, operation: Operation, reply: Reply) -> Result<Reply, DiscoveryError> {
        let reason = || {
            let text = String::from_utf8_lossy(&reply.body);
            text.trim().chars().take(REASON_CHARS_MAX).collect()
        };
        let place = self.base.shown.clone();
        match reply.status {
            200..=299 | 404 | 409 => Ok(reply),
            // No leader, an overloaded server, a proxy without its agent.
            429 | 500.. => Err(DiscoveryError::Away {
                operation,
                place,
                reason: format!("status {}: {}", reply.status, reason()),
            }),
            status => Err(DiscoveryError::Refused {
                operation,
                place,
                status,
                reason: reason(),
            }),
        }
    }
}

/// One request and its answer on a connection of their own.
async fn converse<IO>(io: IO, request: Request<Full<Bytes>>) -> Result<Reply, String>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io))
        .await
        .map_err(|error| whole(&error))?;
    let answer = async {
        let answer = sender.send_request(request).await;
        let (head, body) = answer.map_err(|error| whole(&error))?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let index = head.headers.get("x-consul-index");
        Ok(Reply {
            status: head.status.as_u16(),
            index: index.and_then(|index| index.to_str().ok()?.parse().ok()),
            body: body
                .map_err(|error| format!("the answer broke off: {error}"))?
                .to_bytes(),
        })
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        reply = &mut answer => reply,
        // What the connection ended with, the answer says too.
        _ = connection => answer.await,
    }
}

/// An error with its causes.
fn whole(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Where the agent is.
#[derive(Debug)]
struct Base {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    /// A path that stands before every other, of an agent behind a proxy.
    prefix: String,
    /// For people.
    shown: String,
}

impl Base {
    fn parse(address: &str) -> Result<Self, DiscoveryError> {
        let wrong = |reason: &str| DiscoveryError::Setting {
            key: "discovery.consul.consul_http_addr",
            value: address.to_owned(),
            reason: format!("{reason}: write \"http://127.0.0.1:8500\""),
        };
        let whole = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let uri: Uri = whole.parse().map_err(|_| wrong("it is no address"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("only http and https are spoken")),
        };
        if uri.query().is_some() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(wrong("neither a query nor a user name can stand in it"));
        }
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("it names no host"))?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            tls,
            authority: authority(&host, port),
            host,
            port,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            shown: format!("consul at {}", whole.trim_end_matches('/')),
        })
    }
}

/// The ACL token, or where it stands.
enum Token {
    None,
    Inline(Secret),
    File(std::path::PathBuf),
}

impl Token {
    fn of(settings: &ConsulSettings) -> Result<Self, DiscoveryError> {
        let inline = !settings.token.reveal().is_empty();
        match &settings.token_file {
            Some(path) if inline => Err(DiscoveryError::Setting {
                key: "discovery.consul.token_file",
                value: path.display().to_string(),
                reason: "discovery.consul.token is set too: keep one of them".to_owned(),
            }),
            Some(path) => Ok(Self::File(path.clone())),
            None if inline => Ok(Self::Inline(settings.token.clone())),
            None => Ok(Self::None),
        }
    }

    const fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "discovery.consul.token_file",
            _ => "discovery.consul.token",
        }
    }

    async fn read(&self) -> Result<Option<Secret>, DiscoveryError> {
        let path = match self {
            Self::None => return Ok(None),
            Self::Inline(token) => return Ok(Some(token.clone())),
            Self::File(path) => path,
        };
        let wrong = |reason: String| DiscoveryError::Setting {
            key: self.key(),
            value: path.display().to_string(),
            reason,
        };
        let file = tokio::fs::metadata(path).await;
        match file {
            Ok(file) if file.len() > TOKEN_BYTES_MAX => {
                let len = file.len();
                return Err(wrong(format!(
                    "it has {len} bytes, at most {TOKEN_BYTES_MAX}: a token alone stands in it"
                )));
            }
            _ => {}
        }
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| wrong(format!("it cannot be read: {error}")))?;
        match text.trim() {
            "" => Err(wrong("it is empty".to_owned())),
            token => Ok(Some(Secret::new(token.to_owned()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let check = |address: &str, tls: bool, host: &str, port: u16, prefix: &str| {
            let base = Base::parse(address).unwrap();
            assert_eq!(
                (
                    base.tls,
                    base.host.as_str(),
                    base.port,
                    base.prefix.as_str()
                ),
                (tls, host, port, prefix),
                "{address}"
            );
        };
        check("http://127.0.0.1:8500", false, "127.0.0.1", 8500, "");
        check("127.0.0.1:8500", false, "127.0.0.1", 8500, "");
        check("https://consul.lan:8501/", true, "consul.lan", 8501, "");
        check("https://proxy/consul/", true, "proxy", 443, "/consul");
        check("http://[::1]:8500", false, "::1", 8500, "");
        for wrong in [
            "",
            "unix:///run/consul.sock",
            "http://",
            "http://a b",
            "http://user:password@consul:8500",
            "http://consul:8500?token=x",
        ] {
            let error = Base::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("consul_http_addr"), "{wrong}: {error}");
        }
    }
}
