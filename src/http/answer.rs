//! Answers of the API: computed and written on a pool thread, sent while they are written.
//!
//! An endpoint writes its `data` into a [`Sink`]. A small answer goes out whole; of a large one
//! at most a few pieces wait for the client at a time, and the pool thread waits with them. Dropping
//! the response (a closed connection) cancels the endpoint's token. Not here: what endpoints write.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::runtime::{CancelToken, Pool, PoolError};

use super::encoding::{Coder, Encoding};
use super::json;
use super::reply::ApiError;

/// From here on an answer is sent in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces that may wait for a slow client.
const PIECES_WAITING: usize = 4;

/// A client that takes nothing for so long is taken for gone: its answer holds a thread of the
/// pool and what the query has in memory.
const STALLED_TIME: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 30_000 });

/// Shorter answers are not worth compressing.
const COMPRESS_BYTES_MIN: usize = 1024;

/// What stands beside the data of an answer.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

/// The client went away while its answer was being written.
#[derive(Debug)]
pub(super) struct Gone;

impl From<Gone> for ApiError {
    fn from(_: Gone) -> Self {
        Self::new(
            super::reply::Kind::Canceled,
            "the client closed the connection",
        )
    }
}

/// Where an endpoint writes its data.
pub(super) struct Sink {
    written: Vec<u8>,
    coder: Coder,
    pieces: mpsc::Sender<Bytes>,
    sent: bool,
    /// Nobody can take a piece while this thread writes: all of it is the last one.
    here: bool,
}

impl Sink {
    /// The bytes to write to.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.written
    }

    /// To be called now and then while writing, say after every series: sends what has gathered.
    pub(super) fn breathe(&mut self) -> Result<(), Gone> {
        if self.here || self.written.len() < PIECE_BYTES {
            return Ok(());
        }
        let piece = self.coder.push(&self.written);
        self.written.clear();
        if piece.is_empty() {
            return Ok(());
        }
        self.sent = true;
        let send = self.pieces.send_timeout(Bytes::from(piece), STALLED_TIME);
        Handle::current().block_on(send).map_err(|_| Gone)
    }

    /// The last piece, and how everything was encoded.
    fn finish(mut self) -> Last {
        if !self.sent && self.written.len() < COMPRESS_BYTES_MIN {
            return Last {
                bytes: self.written,
                encoding: Encoding::Identity,
                _pieces: self.pieces,
            };
        }
        let encoding = self.coder.encoding();
        let mut bytes = self.coder.push(&self.written);
        bytes.extend(self.coder.finish());
        Last {
            bytes,
            encoding,
            _pieces: self.pieces,
        }
    }
}

struct Last {
    bytes: Vec<u8>,
    encoding: Encoding,
    /// It ends with the last piece and not before: whoever waits for both would be woken twice.
    _pieces: mpsc::Sender<Bytes>,
}

/// Cancels work when nobody waits for it any more.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What an answer looks like on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Its media type.
    pub(super) media: &'static str,
    /// How the client wants it compressed.
    pub(super) encoding: Encoding,
    /// How the endpoint has encoded it already.
    pub(super) encoded: Option<&'static str>,
    /// Whether data and errors stand in Prometheus' envelope. Without it errors are plain text, and
    /// nothing written is an empty answer.
    pub(super) enveloped: bool,
}

impl Form {
    /// Prometheus' JSON.
    pub(super) const fn json(encoding: Encoding) -> Self {
        Self {
            media: "application/json",
            encoding,
            encoded: None,
            enveloped: true,
        }
    }

    fn refuse(self, error: ApiError) -> Response {
        if self.enveloped {
            error.into_response()
        } else {
            error.into_text()
        }
    }

    fn success(self, encoding: Encoding, body: Body) -> Response {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media));
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(name) = self.encoded.or(encoding.name()) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        response
    }
}

/// Where an answer is computed and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On a thread of its own.
    Thread,
    /// On the thread of the connection, which sees nothing else meanwhile, not even that the client has gone: for what
    /// is expected to be short. A large answer waits in memory, up to some three times what the query was allowed.
    Here,
}

type Outcome = Result<Result<Option<Last>, ApiError>, PoolError>;
type Job = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Runs an endpoint on the pool and turns what it writes into the response. An endpoint that
/// writes nothing is answered with 204.
pub(super) async fn answer(
    (pool, place): (&Pool, Place),
    form: Form,
    cancel: CancelToken,
    endpoint: impl FnOnce(&mut Sink) -> Result<Remarks, ApiError> + Send + 'static,
) -> Response {
    let guard = CancelOnDrop(cancel);
    let (sender, mut pieces) = mpsc::channel(PIECES_WAITING);
    let coder = Coder::new(form.encoding);
    let planned = coder.encoding();
    let sink = Sink {
        written: Vec::new(),
        coder,
        pieces: sender,
        sent: false,
        here: place == Place::Here,
    };
    let pool = pool.clone();
    let mut job: Job = Box::pin(async move {
        let job = move || write(sink, form, endpoint);
        match place {
            Place::Thread => pool.run(job).await,
            Place::Here => pool.run_here(job).await,
        }
    });
    // Whichever comes first: a piece (a large answer), or the end.
    let first = std::future::poll_fn(|cx| {
        if let Poll::Ready(Some(piece)) = pieces.poll_recv(cx) {
            return Poll::Ready(Ok(piece));
        }
        job.as_mut().poll(cx).map(Err)
    })
    .await;
    match first {
        Ok(piece) => {
            let body = Pieces {
                next: Some(piece),
                pieces,
                job: Some(job),
                _guard: guard,
            };
            form.success(planned, Body::new(body))
        }
        Err(outcome) => match (pieces.try_recv(), outcome) {
            // It sent pieces and ended between two looks.
            (Ok(piece), outcome) => {
                let body = Pieces {
                    next: Some(piece),
                    pieces,
                    job: Some(Box::pin(std::future::ready(outcome))),
                    _guard: guard,
                };
                form.success(planned, Body::new(body))
            }
            (Err(_), Ok(Ok(Some(last)))) => form.success(last.encoding, Body::from(last.bytes)),
            (Err(_), Ok(Ok(None))) => StatusCode::NO_CONTENT.into_response(),
            (Err(_), Ok(Err(error))) => form.refuse(error),
            (Err(_), Err(error)) => form.refuse(ApiError::from(error)),
        },
    }
}

fn write(
    mut sink: Sink,
    form: Form,
    endpoint: impl FnOnce(&mut Sink) -> Result<Remarks, ApiError>,
) -> Result<Option<Last>, ApiError> {
    const OPENING: &[u8] = b"{\"status\":\"success\",\"data\":";
    if !form.enveloped {
        endpoint(&mut sink)?;
        return Ok(Some(sink.finish()));
    }
    sink.out().extend_from_slice(OPENING);
    let remarks = endpoint(&mut sink)?;
    if !sink.sent && sink.written.len() == OPENING.len() {
        return Ok(None);
    }
    for (name, texts) in [("warnings", &remarks.warnings), ("infos", &remarks.infos)] {
        if !texts.is_empty() {
            let out = sink.out();
            out.push(b',');
            json::key(out, name);
            json::texts(out, texts.iter().map(String::as_str));
        }
    }
    sink.out().push(b'}');
    Ok(Some(sink.finish()))
}

/// A response body: the pieces, then what the job ends with. It drives the job itself.
struct Pieces {
    next: Option<Bytes>,
    pieces: mpsc::Receiver<Bytes>,
    job: Option<Job>,
    _guard: CancelOnDrop,
}

/// An answer that cannot be finished: the connection is cut, so that nobody takes it as whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be finished: {0}")]
struct Unfinished(String);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Unfinished;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unfinished>>> {
        let this = &mut *self;
        if let Some(piece) = this.next.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Poll::Ready(Some(piece)) = this.pieces.poll_recv(cx) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(job) = this.job.as_mut() else {
            return Poll::Ready(None);
        };
        let outcome = ready!(job.as_mut().poll(cx));
        this.job = None;
        let last = match outcome {
            Ok(Ok(last)) => last.map_or_else(Vec::new, |last| last.bytes),
            Ok(Err(error)) => return Poll::Ready(Some(Err(Unfinished(error.message)))),
            Err(error) => return Poll::Ready(Some(Err(Unfinished(error.to_string())))),
        };
        // Pieces sent between the look above and the job's end come before its last one.
        let mut rest = Vec::new();
        while let Ok(piece) = this.pieces.try_recv() {
            rest.extend_from_slice(&piece);
        }
        rest.extend(last);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(rest)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const PLAIN: Form = Form::json(Encoding::Identity);

    async fn run(
        (place, encoding): (Place, Encoding),
        endpoint: impl FnOnce(&mut Sink) -> Result<Remarks, ApiError> + Send + 'static,
    ) -> (StatusCode, Option<String>, Vec<u8>) {
        let pool = Pool::new("test", 2, 2);
        let response = answer(
            (&pool, place),
            Form::json(encoding),
            CancelToken::new(),
            endpoint,
        )
        .await;
        let coding = response.headers().get(CONTENT_ENCODING);
        let coding = coding.map(|coding| coding.to_str().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, coding, body.to_vec())
    }

    #[tokio::test]
    async fn a_small_answer_is_plain_and_whole() {
        let (status, coding, body) = run((Place::Thread, Encoding::Gzip), |sink| {
            sink.out().extend_from_slice(b"[1]");
            Ok(Remarks {
                warnings: vec!["careful".to_owned()],
                infos: Vec::new(),
            })
        })
        .await;
        assert_eq!((status, coding), (StatusCode::OK, None));
        assert_eq!(
            body,
            br#"{"status":"success","data":[1],"warnings":["careful"]}"#
        );
        let (status, _, body) =
            run((Place::Thread, Encoding::Gzip), |_| Ok(Remarks::default())).await;
        assert_eq!((status, body.len()), (StatusCode::NO_CONTENT, 0));
        let (status, _, body) = run((Place::Thread, Encoding::Gzip), |_| {
            Err(ApiError::bad_data("no"))
        })
        .await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(
            body,
            br#"{"status":"error","errorType":"bad_data","error":"no"}"#
        );
    }

    fn many_numbers(sink: &mut Sink) -> Result<Remarks, ApiError> {
        sink.out().push(b'[');
        for number in 0..300_000 {
            json::whole(sink.out(), number);
            sink.out().push(b',');
            sink.breathe()?;
        }
        sink.out().extend_from_slice(b"0]");
        Ok(Remarks::default())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_takes_nothing_holds_no_thread_for_long() {
        let pool = Pool::new("test", 1, 1);
        let unread = answer(
            (&pool, Place::Thread),
            PLAIN,
            CancelToken::new(),
            many_numbers,
        )
        .await;
        assert_eq!(unread.status(), StatusCode::OK);
        let other = tokio::time::timeout(Duration::from_secs(60), pool.run(|| 7)).await;
        assert_eq!(other.unwrap().unwrap(), 7);
        // Its answer was cut off, and it is told so.
        assert!(unread.into_body().collect().await.is_err());
    }

    /// Would also catch an answer that is written where nobody can take its pieces, and waits for that.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_large_answer_arrives_whole() {
        let encodings = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd];
        let each = encodings.map(|one| [(Place::Thread, one), (Place::Here, one)]);
        for (place, encoding) in each.into_iter().flatten() {
            let (status, coding, body) = run((place, encoding), many_numbers).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(coding.as_deref(), encoding.name());
            let plain = match encoding {
                Encoding::Identity => body,
                Encoding::Gzip => {
                    let mut plain = Vec::new();
                    let mut decoder = flate2::read::GzDecoder::new(&body[..]);
                    std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
                    plain
                }
                Encoding::Zstd => zstd::decode_all(&body[..]).unwrap(),
            };
            let json: serde_json::Value = serde_json::from_slice(&plain).unwrap();
            assert_eq!(json["data"].as_array().unwrap().len(), 300_001);
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_work() {
        let pool = Pool::new("test", 1, 1);
        let cancel = CancelToken::new();
        let seen = cancel.clone();
        let (ended, end) = std::sync::mpsc::channel();
        let response = answer((&pool, Place::Thread), PLAIN, cancel, move |sink| {
            while sink.breathe().is_ok() && seen.check().is_ok() {
                sink.out().extend_from_slice(&[b' '; 10_000]);
            }
            ended.send(()).unwrap();
            Ok(Remarks::default())
        })
        .await;
        drop(response);
        let waited = tokio::task::spawn_blocking(move || {
            end.recv_timeout(std::time::Duration::from_secs(10))
        });
        waited.await.unwrap().unwrap();
    }
}
