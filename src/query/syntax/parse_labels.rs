//! Lists in parentheses and braces: grouping labels, matchers.

use crate::model::{METRIC_NAME, MatchOp, Matcher};

use super::ast::BinaryOp;
use super::cursor::{Parsed, Parser};
use super::quote::{quote_bytes, unquote};
use super::token::{Token, TokenKind};

const GROUPING: &str = "grouping opts";
const MATCHING: &str = "label matching";

impl Parser<'_> {
    /// `(a, "b c", sum)`: any word may be a label here, keywords too.
    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        let open = self.expect(TokenKind::LeftParen);
        open.map_err(|stop| self.blame(stop, GROUPING, "\"(\""))?;
        let mut labels = Vec::new();
        if self.take_if(TokenKind::RightParen)?.is_some() {
            return Ok(labels);
        }
        loop {
            let label = self.grouping_label();
            labels.push(label.map_err(|stop| self.blame(stop, GROUPING, "label"))?);
            if self.take_if(TokenKind::Comma)?.is_none() {
                let close = self.expect(TokenKind::RightParen);
                close.map_err(|stop| self.blame(stop, GROUPING, "\",\" or \")\""))?;
                return Ok(labels);
            }
            if self.take_if(TokenKind::RightParen)?.is_some() {
                return Ok(labels);
            }
        }
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        let token = self.peek()?;
        if token.kind.is_label_name() {
            self.take()?;
            return Ok(self.text_of(token).to_owned());
        }
        self.expect(TokenKind::String)?;
        let bytes = unquote(self.text_of(token));
        match String::from_utf8(bytes) {
            Ok(label) if !label.is_empty() => Ok(label),
            other => {
                let bytes = other.map_or_else(|error| error.into_bytes(), String::into_bytes);
                let label = quote_bytes(&bytes);
                self.fail(
                    token.span,
                    format!("invalid label name for grouping: {label}"),
                )
            }
        }
    }

    /// `{a="b", "c d"=~"e", "name"}`; also gives the closing brace.
    pub(super) fn matchers(&mut self) -> Parsed<(Vec<Matcher>, Token)> {
        self.expect(TokenKind::LeftBrace)?;
        let mut matchers = Vec::new();
        loop {
            if let Some(close) = self.take_if(TokenKind::RightBrace)? {
                return Ok((matchers, close));
            }
            matchers.push(self.matcher()?);
            if self.take_if(TokenKind::Comma)?.is_none() {
                let close = self.expect(TokenKind::RightBrace);
                let close = close.map_err(|stop| self.blame(stop, MATCHING, "\",\" or \"}\""))?;
                return Ok((matchers, close));
            }
        }
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        let first = self.peek()?;
        let name = match first.kind {
            TokenKind::Identifier => self.text_of(first).to_owned(),
            TokenKind::String => self.string_of(first)?,
            _ => {
                let nothing = self.unexpected();
                return nothing.map_err(|stop| self.blame(stop, MATCHING, "identifier or \"}\""));
            }
        };
        self.take()?;
        let Some(op) = match_op(self.peek()?.kind) else {
            if first.kind == TokenKind::String {
                return self.build_matcher(first, first, METRIC_NAME, MatchOp::Equal, &name);
            }
            let nothing = self.unexpected();
            return nothing.map_err(|stop| self.blame(stop, MATCHING, "label matching operator"));
        };
        self.take()?;
        let value = self.expect(TokenKind::String);
        let value = value.map_err(|stop| self.blame(stop, MATCHING, "string"))?;
        let text = self.string_of(value)?;
        self.build_matcher(first, value, &name, op, &text)
    }

    fn build_matcher(
        &self,
        first: Token,
        last: Token,
        name: &str,
        op: MatchOp,
        value: &str,
    ) -> Parsed<Matcher> {
        Matcher::new(name, op, value)
            .or_else(|error| self.fail(first.span.to(last.span), error.to_string()))
    }
}

const fn match_op(kind: TokenKind) -> Option<MatchOp> {
    match kind {
        TokenKind::Assign => Some(MatchOp::Equal),
        TokenKind::Op(BinaryOp::NotEqual) => Some(MatchOp::NotEqual),
        TokenKind::Matches => Some(MatchOp::Regex),
        TokenKind::NotMatches => Some(MatchOp::NotRegex),
        _ => None,
    }
}
