//! Why a text is no PromQL: Prometheus' own words and place, because people search for them.

use super::span::Span;

/// The text is not an expression, or one that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.shown())]
pub struct ParseError {
    /// What is wrong, without the place.
    pub message: String,
    /// Where, in bytes.
    pub span: Span,
    /// Where, as `line:column`, both counted from 1, the column in bytes. Empty where Prometheus
    /// takes the text and refuses to evaluate it.
    pub position: String,
}

impl ParseError {
    /// What Prometheus says when it evaluates the text.
    pub(super) const fn when_evaluated(span: Span, message: String) -> Self {
        Self {
            message,
            span,
            position: String::new(),
        }
    }

    fn shown(&self) -> String {
        let Self {
            message, position, ..
        } = self;
        if position.is_empty() {
            message.clone()
        } else {
            format!("{position}: parse error: {message}")
        }
    }

    /// An error at a place in a text.
    #[must_use]
    pub fn new(text: &str, span: Span, message: String) -> Self {
        Self {
            message,
            span,
            position: position(text, span.start),
        }
    }
}

fn position(text: &str, at: usize) -> String {
    if text.is_empty() {
        return "unknown position".to_owned();
    }
    let Some(before) = text.as_bytes().get(..at) else {
        return "invalid position".to_owned();
    };
    let lines = before.split(|&byte| byte == b'\n');
    let (line, last) = lines.enumerate().last().unwrap_or_default();
    format!("{}:{}", line + 1, last.len() + 1)
}
