//! The answers of a service as a stream: whoever takes them drives the service, and dropping the
//! stream drops the service's work with it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::codegen::tokio_stream::Stream;

use super::envelope::Message;
use super::limits::PEER_MESSAGE_BYTES_MAX;
use super::metrics::{Ending, Underway};
use super::status::to_status;
use crate::cluster::peer::{Refused, Serving};

/// A service at work.
pub(super) struct Driven<Held> {
    serving: Option<Serving<'static, ()>>,
    answers: mpsc::Receiver<Bytes>,
    refused: Option<Refused>,
    is_over: bool,
    underway: Underway,
    /// What is free again when it ends.
    _held: Held,
}

impl<Held> Driven<Held> {
    pub(super) fn new(
        serving: Serving<'static, ()>,
        answers: mpsc::Receiver<Bytes>,
        underway: Underway,
        held: Held,
    ) -> Self {
        Self {
            serving: Some(serving),
            answers,
            refused: None,
            is_over: false,
            underway,
            _held: held,
        }
    }

    fn end(&mut self, refused: Option<Refused>) -> Option<Result<Message, Status>> {
        self.is_over = true;
        self.serving = None;
        self.answers.close();
        let ended = refused.map_or(Ok(()), Err);
        self.underway.ended(Ending::of_answer(&ended));
        ended.err().map(|refused| Err(to_status(&refused)))
    }
}

impl<Held: Unpin> Stream for Driven<Held> {
    type Item = Result<Message, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(serving) = &mut self.serving
            && let Poll::Ready(ended) = serving.as_mut().poll(context)
        {
            self.serving = None;
            self.refused = ended.err();
        }
        match self.answers.poll_recv(context) {
            Poll::Ready(Some(body)) if body.len() > PEER_MESSAGE_BYTES_MAX => {
                let text = format!(
                    "an answer of {} bytes is too large, at most {PEER_MESSAGE_BYTES_MAX} travel",
                    body.len()
                );
                Poll::Ready(self.end(Some(Refused::Invalid(text))))
            }
            Poll::Ready(Some(body)) => {
                self.underway.sent(body.len());
                Poll::Ready(Some(Ok(Message::more(body))))
            }
            Poll::Ready(None) if self.serving.is_none() => {
                let refused = self.refused.take();
                Poll::Ready(self.end(refused))
            }
            // It may still say why it ends.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
