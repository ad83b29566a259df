//! Selectors, and what follows an expression: ranges, `offset`, `@`, `anchored`, `smoothed`.

use crate::model::{METRIC_NAME, MatchOp, Matcher, TimestampMs};

use super::ast::{At, Edges, ExprKind, MatrixSelector, Subquery, VectorSelector};
use super::cursor::{Parsed, Parser};
use super::duration::{DurationExpr, DurationKind};
use super::parse_expr::Node;
use super::span::Span;
use super::token::{Keyword, Preprocessor, Token, TokenKind};

/// The parts of a selector or subquery that modifiers set.
type Modified<'a> = (&'a mut Option<DurationExpr>, &'a mut Option<At>);

impl Parser<'_> {
    /// A selector; the name before its braces was taken.
    pub(super) fn selector(&mut self, name: Option<Token>) -> Parsed<Node> {
        let first = match name {
            Some(name) => name,
            None => self.peek()?,
        };
        let mut span = first.span;
        let mut matchers = Vec::new();
        if self.peek()?.kind == TokenKind::LeftBrace {
            let (listed, close) = self.matchers()?;
            matchers = listed;
            span = span.to(close.span);
        }
        let name = name.map(|name| self.text_of(name).to_owned());
        if let Some(name) = &name {
            let matcher = Matcher::new(METRIC_NAME, MatchOp::Equal, name);
            matchers.push(matcher.or_else(|error| self.fail(span, error.to_string()))?);
        }
        let selector = VectorSelector {
            name,
            matchers,
            offset: None,
            at: None,
            edges: Edges::Plain,
            info_labels: false,
        };
        self.above(0, ExprKind::Vector(selector), span)
    }

    /// An expression with all that follows it.
    pub(super) fn postfix(&mut self, mut node: Node) -> Parsed<Node> {
        loop {
            match self.peek()?.kind {
                TokenKind::LeftBracket => node = self.bracket(node)?,
                TokenKind::At => {
                    self.take()?;
                    let at = self.at_time(node.expr.span);
                    let at = at.map_err(|stop| self.blame(stop, "@", "timestamp"))?;
                    self.set_at(&mut node, at)?;
                }
                TokenKind::Keyword(Keyword::Offset) => {
                    self.take()?;
                    let offset = self.offset_duration();
                    let offset = offset.map_err(|stop| {
                        self.blame(stop, "offset", "number, duration, step(), or range()")
                    })?;
                    self.set_offset(&mut node, offset)?;
                }
                TokenKind::Keyword(Keyword::Anchored) => {
                    self.take()?;
                    self.set_edges(&mut node, Edges::Anchored)?;
                }
                TokenKind::Keyword(Keyword::Smoothed) => {
                    self.take()?;
                    self.set_edges(&mut node, Edges::Smoothed)?;
                }
                _ => return Ok(node),
            }
        }
    }

    fn at_time(&mut self, span: Span) -> Parsed<At> {
        if let TokenKind::Preprocessor(word @ (Preprocessor::Start | Preprocessor::End)) =
            self.peek()?.kind
        {
            self.take()?;
            self.expect(TokenKind::LeftParen)?;
            self.expect(TokenKind::RightParen)?;
            return Ok(match word {
                Preprocessor::Start => At::Start,
                _ => At::End,
            });
        }
        let seconds = self.signed_number()?;
        match milliseconds(seconds) {
            Some(ms) => Ok(At::Time(TimestampMs(ms))),
            None => {
                let seconds = fixed_point(seconds);
                self.fail(
                    span,
                    format!("timestamp out of bounds for @ modifier: {seconds}"),
                )
            }
        }
    }

    fn set_at(&self, node: &mut Node, at: At) -> Parsed<()> {
        let span = node.expr.span;
        let Some((_, place)) = modified(&mut node.expr.kind) else {
            return self.fail(
                span,
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            );
        };
        if place.is_some() {
            return self.fail(span, "@ <timestamp> may not be set multiple times");
        }
        *place = Some(at);
        node.expr.span.end = self.behind();
        Ok(())
    }

    fn set_offset(&self, node: &mut Node, offset: DurationExpr) -> Parsed<()> {
        let span = node.expr.span;
        let Some((place, _)) = modified(&mut node.expr.kind) else {
            return self.fail(
                span,
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            );
        };
        if place.is_some() {
            return self.fail(span, "offset may not be set multiple times");
        }
        node.expr.span.end = offset.span.end;
        // An offset of 0 is none: another may follow it.
        let none =
            matches!(&offset.kind, DurationKind::Number(number) if number.value.abs() < 5e-10);
        if !none {
            *place = Some(offset);
        }
        Ok(())
    }

    fn set_edges(&self, node: &mut Node, edges: Edges) -> Parsed<()> {
        let word = match edges {
            Edges::Anchored => "anchored",
            _ => "smoothed",
        };
        let message = match &mut node.expr.kind {
            _ if !self.options.extended_range_selectors => {
                format!("{word} modifier is experimental and not enabled")
            }
            ExprKind::Vector(vector) | ExprKind::Matrix(MatrixSelector { vector, .. }) => {
                if vector.edges == Edges::Plain || vector.edges == edges {
                    vector.edges = edges;
                    return Ok(());
                }
                "anchored and smoothed modifiers cannot be used together".to_owned()
            }
            ExprKind::Subquery(_) => format!("{word} modifier is not supported for subqueries"),
            _ => format!("{word} modifier not implemented"),
        };
        self.fail(node.expr.span, message)
    }

    /// `[5m]` or `[5m:1m]`.
    fn bracket(&mut self, node: Node) -> Parsed<Node> {
        let open = self.expect(TokenKind::LeftBracket)?;
        let range = self.positive_duration();
        let range = range.map_err(|stop| {
            let expected = "number, duration, step(), or range()";
            self.blame(stop, "subquery or range selector", expected)
        })?;
        if let Some(close) = self.take_if(TokenKind::RightBracket)? {
            return self.matrix(node, open, range, close);
        }
        let colon = self.expect(TokenKind::Colon);
        colon.map_err(|stop| self.blame(stop, "subquery or range", "\":\" or \"]\""))?;
        let (step, close) = match self.take_if(TokenKind::RightBracket)? {
            Some(close) => (None, close),
            None => {
                let step = self.positive_duration();
                let step = step.map_err(|stop| {
                    let expected = "number, duration, step(), range(), or \"]\"";
                    self.blame(stop, "subquery selector", expected)
                })?;
                let close = self.expect(TokenKind::RightBracket);
                let close = close.map_err(|stop| self.blame(stop, "subquery selector", "\"]\""))?;
                (Some(step), close)
            }
        };
        let span = node.expr.span.to(close.span);
        let subquery = Subquery {
            expr: *node.expr,
            range,
            step,
            offset: None,
            at: None,
        };
        let kind = ExprKind::Subquery(Box::new(subquery));
        self.above(node.height, kind, span)
    }

    fn matrix(&self, node: Node, open: Token, range: DurationExpr, close: Token) -> Parsed<Node> {
        let vector_span = node.expr.span;
        let brackets = open.span.to(close.span);
        let ExprKind::Vector(vector) = node.expr.kind else {
            return self.fail(brackets, "ranges only allowed for vector selectors");
        };
        if vector.offset.is_some() {
            return self.fail(brackets, "no offset modifiers allowed before range");
        }
        if vector.at.is_some() {
            return self.fail(brackets, "no @ modifiers allowed before range");
        }
        let matrix = MatrixSelector {
            vector,
            vector_span,
            range,
        };
        let span = vector_span.to(close.span);
        self.above(node.height, ExprKind::Matrix(matrix), span)
    }
}

fn modified(kind: &mut ExprKind) -> Option<Modified<'_>> {
    match kind {
        ExprKind::Vector(vector) | ExprKind::Matrix(MatrixSelector { vector, .. }) => {
            Some((&mut vector.offset, &mut vector.at))
        }
        ExprKind::Subquery(subquery) => Some((&mut subquery.offset, &mut subquery.at)),
        _ => None,
    }
}

/// Seconds as Prometheus rounds them to a timestamp, unless they are beyond what it takes.
#[allow(
    clippy::cast_possible_truncation,
    reason = "bounded above; `as` saturates"
)]
fn milliseconds(seconds: f64) -> Option<i64> {
    let bound = 9_223_372_036_854_775_808.0; // 2^63
    let within = seconds > -bound && seconds < bound;
    within.then(|| (seconds * 1_000.0).round() as i64)
}

/// A number as Go's `%f` gives it.
fn fixed_point(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value:.6}")
}
