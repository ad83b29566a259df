//! A small HTTP client for the commands that ask a running node.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The longest answer that is read, in bytes: more than a terminal can show.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Talks to one node.
pub(super) struct Node {
    base: String,
    tenant: Option<String>,
    timeout: Duration,
}

impl Node {
    pub(super) fn new(url: &str, tenant: Option<&str>, timeout: Duration) -> Self {
        let url = url.trim_end_matches('/');
        let base = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        Self {
            base,
            tenant: tenant.map(str::to_owned),
            timeout,
        }
    }

    /// Reads an endpoint below `/api/v1/` that takes no parameters.
    pub(super) fn get(&self, endpoint: &str) -> Result<Answer, String> {
        self.ask(Method::GET, endpoint, String::new())
    }

    /// Posts a form to an endpoint below `/api/v1/`: an order, which may need no words, or a
    /// question that may be longer than a URL.
    pub(super) fn post(&self, endpoint: &str, form: &[(&str, &str)]) -> Result<Answer, String> {
        let pairs: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        self.ask(Method::POST, endpoint, pairs.join("&"))
    }

    /// Gives the `data` of an answer and its warnings and infos.
    fn ask(&self, method: Method, endpoint: &str, body: String) -> Result<Answer, String> {
        let (status, text) = self.answer(method, &format!("/api/v1/{endpoint}"), body)?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Answer {
                warnings: Vec::new(),
                infos: Vec::new(),
                data: serde_json::Value::Null,
            });
        }
        let mut json: serde_json::Value =
            serde_json::from_str(&text).map_err(|_| self.not_json(status, &text))?;
        let texts = |json: &serde_json::Value, name: &str| -> Vec<String> {
            let list = json.get(name).and_then(|list| list.as_array());
            list.into_iter()
                .flatten()
                .filter_map(|text| text.as_str().map(str::to_owned))
                .collect()
        };
        if json.get("status").and_then(|status| status.as_str()) != Some("success") {
            let error = json
                .get("error")
                .and_then(|error| error.as_str())
                .unwrap_or("no reason given");
            return Err(error.to_owned());
        }
        Ok(Answer {
            warnings: texts(&json, "warnings"),
            infos: texts(&json, "infos"),
            data: json
                .get_mut("data")
                .map(serde_json::Value::take)
                .unwrap_or_default(),
        })
    }

    /// What to say of an answer that no API gives: a node that is starting, or something else.
    fn not_json(&self, status: StatusCode, text: &str) -> String {
        let first = text.lines().next().unwrap_or_default();
        let first: String = first.chars().take(200).collect();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return format!("{}: {first}", self.base);
        }
        format!(
            "{} answers {} ({first}): is a Cairn or Prometheus there? Give its address with --url",
            self.base,
            status.as_u16()
        )
    }

    fn answer(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, String), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start: {error}"))?;
        runtime.block_on(async {
            tokio::time::timeout(self.timeout, self.exchange(method, path, body))
                .await
                .map_err(|_| {
                    format!(
                        "{}: no answer within {:?}; raise it with --timeout",
                        self.base, self.timeout
                    )
                })?
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, String), String> {
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|error| format!("{}: {error}", self.base))?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("user-agent", concat!("cairn/", env!("CARGO_PKG_VERSION")));
        if let Some(tenant) = &self.tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let answer = client.request(request).await.map_err(|error| {
            let reason = std::error::Error::source(&error)
                .map(|source| format!(": {source}"))
                .unwrap_or_default();
            format!(
                "{}: cannot be reached{reason}; is the node running? Give its address with --url",
                self.base
            )
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let bytes = body
            .map_err(|error| format!("{}: the answer broke off: {error}", self.base))?
            .to_bytes();
        String::from_utf8(bytes.to_vec())
            .map(|text| (status, text))
            .map_err(|_| format!("{}: the answer is no text", self.base))
    }
}

/// What an endpoint said.
pub(super) struct Answer {
    pub(super) data: serde_json::Value,
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

impl Answer {
    /// Shows warnings and infos on standard error, so that they do not mix with the data.
    pub(super) fn complain(&self) {
        for text in self.warnings.iter().chain(&self.infos) {
            use std::io::Write;
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }
}

/// Percent-encodes a form value.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// A member of an object as a text; missing is empty.
pub(super) fn text(value: &serde_json::Value, name: &str) -> String {
    match value.get(name) {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A member of an object as a list; missing is empty.
pub(super) fn list<'a>(value: &'a serde_json::Value, name: &str) -> &'a [serde_json::Value] {
    let items = value.get(name).and_then(serde_json::Value::as_array);
    items.map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// The first line and the body of what a node is sent.
    fn sent(ask: impl FnOnce(&Node) -> Result<Answer, String>) -> (String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let node = Node::new(&address, None, Duration::from_secs(120));
        std::thread::scope(|scope| {
            let request = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut from = BufReader::new(stream.try_clone().unwrap());
                let mut lines = Vec::new();
                while lines.last().is_none_or(|line| line != "\r\n") {
                    let mut line = String::new();
                    from.read_line(&mut line).unwrap();
                    lines.push(line);
                }
                let length = lines.iter().find_map(|line| {
                    let length = line.strip_prefix("content-length:")?;
                    length.trim().parse::<usize>().ok()
                });
                let mut body = vec![0; length.unwrap_or(0)];
                from.read_exact(&mut body).unwrap();
                let answer = "{\"status\":\"success\",\"data\":1}";
                let length = answer.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}"
                )
                .unwrap();
                let first = lines.swap_remove(0).trim_end().to_owned();
                (first, String::from_utf8(body).unwrap())
            });
            assert_eq!(ask(&node).unwrap().data, 1);
            request.join().unwrap()
        })
    }

    /// Would catch an order without words that is sent as a question: no node takes it.
    #[test]
    fn orders_are_posted_with_and_without_words() {
        let check = |got: (String, String), line: &str, body: &str| {
            assert_eq!(got, (line.to_owned(), body.to_owned()));
        };
        check(
            sent(|node| node.get("status/flush")),
            "GET /api/v1/status/flush HTTP/1.1",
            "",
        );
        check(
            sent(|node| node.post("admin/flush", &[])),
            "POST /api/v1/admin/flush HTTP/1.1",
            "",
        );
        check(
            sent(|node| node.post("query", &[("query", "a b"), ("time", "1")])),
            "POST /api/v1/query HTTP/1.1",
            "query=a%20b&time=1",
        );
    }

    #[test]
    fn form_values_are_escaped() {
        assert_eq!(escape("a{b=\"c d\"}+é"), "a%7Bb%3D%22c%20d%22%7D%2B%C3%A9");
    }
}
