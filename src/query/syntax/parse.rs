//! The whole of a query: text to a tree that makes sense.

use super::ast::{Expr, ExprKind};
use super::check::check;
use super::cursor::{Parsed, Parser, QUERY_BYTES_MAX};
use super::error::ParseError;
use super::options::ParseOptions;
use super::span::Span;
use super::token::TokenKind;
use crate::model::Matcher;

/// Parses an expression and checks its types.
///
/// # Errors
/// Prometheus' error text, place included, if the text is not PromQL, makes no sense, or uses what
/// is experimental and not switched on; and if it is longer than [`QUERY_BYTES_MAX`] or nests
/// deeper than [`super::NESTING_MAX`] or [`super::LEVELS_MAX`].
pub fn parse(text: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, *options);
    let parsed = whole(&mut parser);
    let mut expr = parsed.map_err(|stop| parser.settle(stop))?;
    check(text, &mut expr)?;
    Ok(expr)
}

/// Parses a series selector, as `match[]` and `/api/v1/series` take them: no modifiers, and it may
/// match everything.
///
/// # Errors
/// As [`parse`].
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text, ParseOptions::default());
    let parsed = selector(&mut parser);
    parsed.map_err(|stop| parser.settle(stop))
}

fn whole(parser: &mut Parser<'_>) -> Parsed<Expr> {
    refuse_long(parser)?;
    if parser.peek()?.kind == TokenKind::End {
        return parser.fail(Span::default(), "no expression found in input");
    }
    let node = parser.expr(0)?;
    parser.expect(TokenKind::End)?;
    Ok(*node.expr)
}

fn selector(parser: &mut Parser<'_>) -> Parsed<Vec<Matcher>> {
    refuse_long(parser)?;
    let first = parser.peek()?;
    let name = first.kind.is_metric_name().then_some(first);
    match name {
        Some(_) => {
            parser.take()?;
        }
        None if first.kind == TokenKind::LeftBrace => {}
        None => return parser.unexpected(),
    }
    let node = parser.selector(name)?;
    parser.expect(TokenKind::End)?;
    match node.expr.kind {
        ExprKind::Vector(vector) => Ok(vector.matchers),
        _ => parser.unexpected(),
    }
}

fn refuse_long(parser: &Parser<'_>) -> Parsed<()> {
    let length = parser.text.len();
    if length <= QUERY_BYTES_MAX {
        return Ok(());
    }
    parser.fail(
        Span::default(),
        format!("query has {length} bytes, more than {QUERY_BYTES_MAX}: shorten it"),
    )
}
