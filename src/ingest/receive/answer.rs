//! What a sender is told: status, headers, text.

use super::super::error::Error;
use super::super::partial_write::{Counts, PartialWrite};
use super::negotiate::Message;

/// The answer to a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside `Content-Type: text/plain`.
    pub headers: Vec<(&'static str, String)>,
    /// A text for a person; empty on success.
    pub body: String,
}

/// All of it is stored, or all that ever can be.
pub(super) fn taken(message: Message, write: &PartialWrite) -> Answer {
    let mut answer = Answer {
        status: if write.has_refusals() { 400 } else { 204 },
        headers: Vec::new(),
        body: String::new(),
    };
    if write.has_refusals() {
        answer.body = write.text();
    }
    written(message, write.stored(), &mut answer);
    answer
}

/// Nothing of it counts as stored. `message` is none when not even the content type was
/// understood; `retry_after_s` is for what may succeed later.
pub(super) fn failed(message: Option<Message>, error: &Error, retry_after_s: u64) -> Answer {
    let mut answer = Answer {
        status: error.status(),
        headers: Vec::new(),
        body: format!("{error}\n"),
    };
    if matches!(error, Error::Unavailable(_)) {
        answer
            .headers
            .push(("Retry-After", retry_after_s.to_string()));
    }
    if let Some(message) = message {
        written(message, Counts::default(), &mut answer);
    }
    answer
}

/// The headers that remote-write 2.0 asks for in every answer, and 1.0 in none: there, senders take
/// them as a sign of 2.0.
fn written(message: Message, counts: Counts, answer: &mut Answer) {
    if message != Message::V2 {
        return;
    }
    for (name, count) in [
        ("X-Prometheus-Remote-Write-Samples-Written", counts.samples),
        (
            "X-Prometheus-Remote-Write-Histograms-Written",
            counts.histograms,
        ),
        (
            "X-Prometheus-Remote-Write-Exemplars-Written",
            counts.exemplars,
        ),
    ] {
        answer.headers.push((name, count.to_string()));
    }
}
