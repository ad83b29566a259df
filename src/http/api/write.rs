//! Writes: the body is read here, within its bounds, and everything else is `ingest`'s.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use crate::ingest::{Answer, Receiver, RequestHead};

use super::super::reply::plain;
use super::super::tenant::tenant_of;

/// What a write needs of the node.
#[derive(Clone)]
pub(in super::super) struct Writes {
    pub(in super::super) receiver: Receiver,
    pub(in super::super) tenancy: bool,
    pub(in super::super) read_timeout: Duration,
}

/// Takes one write.
pub(in super::super) async fn write(writes: Writes, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let tenant = match tenant_of(&parts.headers, writes.tenancy) {
        Ok(tenant) => tenant,
        Err(error) => return error.into_response(),
    };
    let text = |name: HeaderName| {
        let value = parts.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let head = RequestHead {
        content_type: text(CONTENT_TYPE),
        content_encoding: text(CONTENT_ENCODING),
    };
    let receiver = &writes.receiver;
    let (mut body, mut room) = (body, receiver.room());
    let read = read(
        &mut body,
        announced(&parts.headers),
        receiver.body_bytes_max(),
        |bytes| room.grow_to(bytes),
    );
    match tokio::time::timeout(writes.read_timeout, read).await {
        Ok(Ok(body)) => respond(receiver.receive_in(tenant, head, body, room).await),
        Ok(Err(Unread::TooLarge)) => {
            pass_over(body).await;
            respond(receiver.refuse_too_large(&head))
        }
        Ok(Err(Unread::NoRoom(reason))) => respond(receiver.refuse_for_now(&head, reason)),
        Ok(Err(Unread::Broken(reason))) => plain(
            StatusCode::BAD_REQUEST,
            format!("the body could not be read: {reason}"),
        ),
        // No 4xx: senders would drop what only came too slowly.
        Err(_) => {
            let within = writes.read_timeout;
            let reason =
                format!("the body did not arrive within {within:?} (http.read_timeout): try again");
            respond(receiver.refuse_for_now(&head, reason))
        }
    }
}

/// Why there is no body.
enum Unread {
    TooLarge,
    NoRoom(String),
    Broken(String),
}

/// The body's length as announced; 0 where it is not.
fn announced(headers: &HeaderMap) -> usize {
    headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}

/// Memory that is taken for a body before its bytes have come, however long it says it is.
const TRUSTED_BYTES: usize = 1 << 20;

/// What is read and thrown away of a body that is too large, and for how long: a sender that is
/// still writing when the connection closes would see a broken pipe instead of the reason.
const PASSED_OVER_BYTES: usize = 256 << 20;
const PASSED_OVER_TIME: Duration = Duration::from_secs(5);

/// Reads the rest of a body and keeps nothing of it.
pub(in super::super) async fn pass_over(mut body: Body) {
    let rest = async {
        let mut passed = 0;
        while let Some(Ok(frame)) = body.frame().await {
            passed += frame.data_ref().map_or(0, Bytes::len);
            if passed > PASSED_OVER_BYTES {
                break;
            }
        }
    };
    // Whoever takes longer does not get to read the reason.
    let _ = tokio::time::timeout(PASSED_OVER_TIME, rest).await;
}

/// Reads a body into one piece of memory; one frame is not copied. `grow_to` is asked before more
/// is kept.
async fn read(
    body: &mut Body,
    announced: usize,
    most: usize,
    mut grow_to: impl FnMut(usize) -> Result<(), String>,
) -> Result<Bytes, Unread> {
    if announced > most {
        return Err(Unread::TooLarge);
    }
    let mut first: Option<Bytes> = None;
    let mut whole: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Unread::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let held = first.as_ref().map_or(whole.len(), Bytes::len);
        if held.saturating_add(data.len()) > most {
            return Err(Unread::TooLarge);
        }
        grow_to(held + data.len()).map_err(Unread::NoRoom)?;
        if held == 0 {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            whole.reserve(announced.clamp(held + data.len(), TRUSTED_BYTES.max(held + data.len())));
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| Bytes::from(whole)))
}

fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = if answer.body.is_empty() {
        status.into_response()
    } else {
        plain(status, answer.body)
    };
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            // Names come from constants of `ingest`, in whatever case reads best there.
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::cluster::{AppendBatch, Appended, Durable, Gate, Replica, SeriesId, Writer};
    use crate::ingest::IngestSettings;
    use crate::model::{LabelSet, TenantId, TimestampMs};
    use crate::runtime::{ManualClock, Rush, SeededChance};
    use crate::store::Error as StoreError;

    async fn check(pieces: &[&'static [u8]], announced: usize, most: usize, want: Option<&[u8]>) {
        let mut body = Body::new(Pieces(pieces.to_vec()));
        let got = read(&mut body, announced, most, |_| Ok(())).await;
        assert_eq!(got.ok().as_deref(), want);
    }

    /// A body that comes in pieces.
    struct Pieces(Vec<&'static [u8]>);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            let next = (!self.0.is_empty()).then(|| self.0.remove(0));
            let frame = |piece| Ok(hyper::body::Frame::data(Bytes::from_static(piece)));
            std::task::Poll::Ready(next.map(frame))
        }
    }

    /// A store that is never reached.
    struct Nowhere;

    impl Replica for Nowhere {
        fn register(&self, _: &TenantId, _: &LabelSet) -> Result<SeriesId, StoreError> {
            Err(StoreError::Bug("nothing comes so far".to_owned()))
        }

        fn append(&self, _: &AppendBatch<'_>) -> Result<Appended, StoreError> {
            Err(StoreError::Bug("nothing comes so far".to_owned()))
        }

        fn durable(&self, _: u64) -> Durable<'_> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    /// A body that never comes.
    struct Silent;

    impl hyper::body::Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_that_comes_too_slowly_may_be_sent_again() {
        let receiver = Receiver::new(
            Writer::new(Arc::new(Nowhere), Arc::new(Gate::default())),
            IngestSettings::default(),
            Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000))),
            Arc::new(SeededChance::new(1)),
            Rush::new(2),
            &mut Registry::default(),
        );
        let writes = Writes {
            receiver,
            tenancy: false,
            read_timeout: Duration::from_millis(20),
        };
        let request = Request::post("/api/v1/write").header(
            CONTENT_TYPE,
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        );
        let request = request.body(Body::new(Silent)).unwrap();
        let response = write(writes, request).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let headers = response.headers();
        assert!(headers.contains_key("retry-after"));
        assert_eq!(headers["x-prometheus-remote-write-samples-written"], "0");
    }

    #[tokio::test]
    async fn bodies_are_read_up_to_the_bound() {
        check(&[], 0, 10, Some(b"")).await;
        check(&[b"abc"], 3, 10, Some(b"abc")).await;
        check(&[b"abc", b"", b"de", b"f"], 6, 6, Some(b"abcdef")).await;
        check(&[b"abc", b"def"], 0, 6, Some(b"abcdef")).await;
        // A length that lies costs no memory and changes nothing.
        check(&[b"abc", b"def"], 5, 10, Some(b"abcdef")).await;
        check(&[b"abc"], 11, 10, None).await;
        check(&[b"abc", b"def"], 0, 5, None).await;
        check(&[b"abcdef"], 0, 5, None).await;
    }
}
