//! Durations: literals, and expressions of them within brackets and behind `offset`.

use super::ast::BinaryOp;
use super::cursor::{Parsed, Parser};
use super::duration::{DurationExpr, DurationKind, DurationOp, NumberLiteral, out_of_range};
use super::literal::{duration_seconds, number};
use super::span::Span;
use super::token::{Preprocessor, Token, TokenKind};

/// How tight operators bind: `+ -`, `* / %`, `^`.
const SUM: u8 = 1;
const PRODUCT: u8 = 2;
const POWER: u8 = 3;

impl Parser<'_> {
    /// `5`, `0x1f`, `Inf`, `5m`.
    pub(super) fn number_literal(&mut self) -> Parsed<(NumberLiteral, Span)> {
        let token = self.peek()?;
        let text = self.text_of(token);
        let (value, duration) = match token.kind {
            TokenKind::Number => (number(text), false),
            TokenKind::Duration => (duration_seconds(text), true),
            _ => return self.unexpected(),
        };
        self.take()?;
        match value {
            Ok(value) => Ok((NumberLiteral { value, duration }, token.span)),
            Err(message) => self.fail(token.span, message),
        }
    }

    /// What stands in brackets: it must be above 0 as far as that is known.
    pub(super) fn positive_duration(&mut self) -> Parsed<DurationExpr> {
        let duration = self.duration()?;
        match &duration.kind {
            // Not `<= 0.0`: Prometheus lets NaN pass here.
            DurationKind::Number(number) if number.value <= 0.0 => {
                self.fail(duration.span, "duration must be greater than 0")
            }
            _ => Ok(duration),
        }
    }

    fn duration(&mut self) -> Parsed<DurationExpr> {
        let mut parts = 0;
        self.duration_above(SUM, &mut parts)
    }

    /// What stands behind `offset`. A single value ends it (`offset 5m + 3` adds to the samples),
    /// but one that begins with a parenthesis goes on as far as it can: so it is in Prometheus.
    pub(super) fn offset_duration(&mut self) -> Parsed<DurationExpr> {
        let mut parts = 0;
        let first = self.peek()?;
        let sign = match first.kind {
            TokenKind::Number | TokenKind::Duration => {
                let (number, span) = self.number_literal()?;
                return self.literal(number, span, span);
            }
            TokenKind::Preprocessor(_) => return self.duration_primary(&mut parts),
            TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => self.take()?,
            _ => return self.duration(),
        };
        match self.peek()?.kind {
            TokenKind::Number | TokenKind::Duration => {
                let (number, span) = self.number_literal()?;
                self.signed(sign, number_duration(number, span))
            }
            TokenKind::Preprocessor(_) => {
                let inner = self.duration_primary(&mut parts)?;
                let span = sign.span.to(inner.span);
                let kind = match sign.kind {
                    TokenKind::Op(BinaryOp::Sub) => DurationKind::Negate(Box::new(inner)),
                    _ => DurationKind::Plus(Box::new(inner)),
                };
                Ok(DurationExpr { kind, span })
            }
            TokenKind::LeftParen => {
                let inner = self.duration_primary(&mut parts)?;
                self.signed(sign, inner)
            }
            _ => {
                let inner = self.duration_above(POWER, &mut parts)?;
                let left = self.signed(sign, inner)?;
                self.duration_tail(left, SUM, &mut parts)
            }
        }
    }

    fn duration_above(&mut self, least: u8, parts: &mut usize) -> Parsed<DurationExpr> {
        let first = self.peek()?;
        let left = match first.kind {
            TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => {
                self.take()?;
                let inner = self.deeper(|parser| parser.duration_above(POWER, parts))?;
                self.signed(first, inner)?
            }
            _ => self.duration_primary(parts)?,
        };
        self.duration_tail(left, least, parts)
    }

    fn duration_tail(
        &mut self,
        mut left: DurationExpr,
        least: u8,
        parts: &mut usize,
    ) -> Parsed<DurationExpr> {
        loop {
            let token = self.peek()?;
            let Some((op, binding)) = duration_op(token.kind) else {
                return Ok(left);
            };
            if binding < least {
                return Ok(left);
            }
            self.take()?;
            let above = if op == DurationOp::Pow {
                binding
            } else {
                binding + 1
            };
            let right = self.deeper(|parser| parser.duration_above(above, parts))?;
            left = self.joined(token, op, left, right)?;
        }
    }

    fn joined(
        &self,
        token: Token,
        op: DurationOp,
        left: DurationExpr,
        right: DurationExpr,
    ) -> Parsed<DurationExpr> {
        let by_zero = matches!(&right.kind, DurationKind::Number(number) if number.value == 0.0);
        match op {
            DurationOp::Div if by_zero => return self.fail(token.span, "division by zero"),
            DurationOp::Mod if by_zero => return self.fail(token.span, "modulo by zero"),
            _ => {}
        }
        let span = left.span.to(right.span);
        let kind = DurationKind::Binary(op, Box::new(left), Box::new(right));
        Ok(DurationExpr { kind, span })
    }

    /// A sign before a duration: literals take it in, `+` leaves no trace.
    fn signed(&self, sign: Token, inner: DurationExpr) -> Parsed<DurationExpr> {
        let negative = sign.kind == TokenKind::Op(BinaryOp::Sub);
        let span = sign.span.to(inner.span);
        match inner.kind {
            DurationKind::Number(mut number) => {
                if negative {
                    number.value = -number.value;
                }
                self.literal(number, span, sign.span)
            }
            _ if negative => Ok(DurationExpr {
                kind: DurationKind::Negate(Box::new(inner)),
                span,
            }),
            _ => Ok(inner),
        }
    }

    fn literal(&self, number: NumberLiteral, span: Span, blamed: Span) -> Parsed<DurationExpr> {
        if out_of_range(number.value) {
            return self.fail(blamed, "duration out of range");
        }
        Ok(number_duration(number, span))
    }

    fn duration_primary(&mut self, parts: &mut usize) -> Parsed<DurationExpr> {
        let first = self.peek()?;
        *parts += 1;
        self.check_height(*parts, first.span)?;
        match first.kind {
            TokenKind::LeftParen => {
                self.take()?;
                let inner = self.deeper(|parser| parser.duration_above(SUM, parts))?;
                self.expect(TokenKind::RightParen)?;
                Ok(wrapped(first.span, inner))
            }
            TokenKind::Preprocessor(word) => self.duration_call(word, parts),
            _ => {
                let (number, span) = self.number_literal()?;
                self.literal(number, span, span)
            }
        }
    }

    fn duration_call(&mut self, word: Preprocessor, parts: &mut usize) -> Parsed<DurationExpr> {
        let op = match word {
            Preprocessor::Step | Preprocessor::Range => None,
            Preprocessor::MinOf => Some(DurationOp::MinOf),
            Preprocessor::MaxOf => Some(DurationOp::MaxOf),
            Preprocessor::Start | Preprocessor::End => return self.unexpected(),
        };
        let first = self.take()?;
        self.expect(TokenKind::LeftParen)?;
        let kind = match op {
            Some(op) => {
                let left = self.deeper(|parser| parser.duration_above(SUM, parts))?;
                self.expect(TokenKind::Comma)?;
                let right = self.deeper(|parser| parser.duration_above(SUM, parts))?;
                DurationKind::Binary(op, Box::new(left), Box::new(right))
            }
            None if word == Preprocessor::Step => DurationKind::Step,
            None => DurationKind::Range,
        };
        let last = self.expect(TokenKind::RightParen)?;
        let span = first.span.to(last.span);
        Ok(DurationExpr { kind, span })
    }
}

const fn number_duration(number: NumberLiteral, span: Span) -> DurationExpr {
    DurationExpr {
        kind: DurationKind::Number(number),
        span,
    }
}

/// Parentheses do not count twice, and Prometheus counts only the left one as part of a number.
fn wrapped(open: Span, inner: DurationExpr) -> DurationExpr {
    let span = match &inner.kind {
        DurationKind::Paren(_) => return inner,
        DurationKind::Number(_) => open.to(inner.span),
        _ => inner.span,
    };
    let kind = DurationKind::Paren(Box::new(inner));
    DurationExpr { kind, span }
}

const fn duration_op(kind: TokenKind) -> Option<(DurationOp, u8)> {
    match kind {
        TokenKind::Op(BinaryOp::Add) => Some((DurationOp::Add, SUM)),
        TokenKind::Op(BinaryOp::Sub) => Some((DurationOp::Sub, SUM)),
        TokenKind::Op(BinaryOp::Mul) => Some((DurationOp::Mul, PRODUCT)),
        TokenKind::Op(BinaryOp::Div) => Some((DurationOp::Div, PRODUCT)),
        TokenKind::Op(BinaryOp::Mod) => Some((DurationOp::Mod, PRODUCT)),
        TokenKind::Op(BinaryOp::Pow) => Some((DurationOp::Pow, POWER)),
        _ => None,
    }
}
