//! Expressions: operators by precedence, and what stands between them.

use crate::query::function::lookup;

use super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, Matching, Unary,
};
use super::cursor::{Parsed, Parser};
use super::error::ParseError;
use super::quote::{quote, quote_bytes, unquote};
use super::span::Span;
use super::token::{Keyword, Token, TokenKind};

/// How tight a sign binds: tighter than `*`, not as tight as `^`, so that `-1^2` is `-(1^2)`.
const SIGN: u8 = 6;

/// An expression and the number of levels of its tree. Boxed: the parser's frames are what bounds
/// the nesting.
pub(super) struct Node {
    pub(super) expr: Box<Expr>,
    pub(super) height: usize,
}

impl Node {
    fn leaf(kind: ExprKind, span: Span) -> Self {
        let expr = Box::new(Expr { kind, span });
        Self { expr, height: 1 }
    }
}

/// Whether it is `without`, the labels, and where they end.
type Grouping = (bool, Vec<String>, usize);

/// The arguments of a call.
struct Arguments {
    exprs: Vec<Expr>,
    height: usize,
    /// Up to the closing parenthesis.
    end: Span,
}

impl Parser<'_> {
    /// An expression whose operators bind at least so tight.
    pub(super) fn expr(&mut self, least: u8) -> Parsed<Node> {
        self.deeper(|parser| parser.expr_here(least))
    }

    fn expr_here(&mut self, least: u8) -> Parsed<Node> {
        let mut left = self.operand()?;
        loop {
            let TokenKind::Op(op) = self.peek()?.kind else {
                return Ok(left);
            };
            let binding = binding(op);
            if binding < least {
                return Ok(left);
            }
            self.take()?;
            let (return_bool, matching) = self.modifiers()?;
            // `2^3^2` is `2^(3^2)`; all others begin on the left.
            let right = self.expr(binding + u8::from(op != BinaryOp::Pow))?;
            left = self.binary(op, return_bool, matching, left, right)?;
        }
    }

    fn binary(
        &self,
        op: BinaryOp,
        return_bool: bool,
        matching: Matching,
        left: Node,
        right: Node,
    ) -> Parsed<Node> {
        let span = left.expr.span.to(right.expr.span);
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.binop_fill_modifiers {
            return self.fail(
                span,
                "binop fill modifiers are experimental and not enabled",
            );
        }
        let height = left.height.max(right.height);
        let binary = Binary {
            op,
            return_bool,
            left: *left.expr,
            right: *right.expr,
            matching: Some(matching),
        };
        self.above(height, ExprKind::Binary(Box::new(binary)), span)
    }

    /// A node over others of a height.
    pub(super) fn above(&self, height: usize, kind: ExprKind, span: Span) -> Parsed<Node> {
        let height = height + 1;
        self.check_height(height, span)?;
        let expr = Box::new(Expr { kind, span });
        Ok(Node { expr, height })
    }

    /// What stands between an operator and its right operand.
    fn modifiers(&mut self) -> Parsed<(bool, Matching)> {
        let return_bool = self.take_if(TokenKind::Keyword(Keyword::Bool))?.is_some();
        let mut matching = Matching::default();
        if let TokenKind::Keyword(word @ (Keyword::On | Keyword::Ignoring)) = self.peek()?.kind {
            self.take()?;
            matching.on = word == Keyword::On;
            matching.labels = self.grouping_labels()?;
            self.group_modifier(&mut matching)?;
        }
        self.fill_modifiers(&mut matching)?;
        Ok((return_bool, matching))
    }

    fn group_modifier(&mut self, matching: &mut Matching) -> Parsed<()> {
        matching.cardinality = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            TokenKind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.take()?;
        let next = self.peek()?.kind;
        if next == TokenKind::LeftParen || !begins_operand(next) {
            matching.include = self.grouping_labels()?;
        }
        Ok(())
    }

    fn fill_modifiers(&mut self, matching: &mut Matching) -> Parsed<()> {
        let TokenKind::Keyword(first) = self.peek()?.kind else {
            return Ok(());
        };
        let second = match first {
            Keyword::Fill => None,
            Keyword::FillLeft => Some(Keyword::FillRight),
            Keyword::FillRight => Some(Keyword::FillLeft),
            _ => return Ok(()),
        };
        self.take()?;
        let value = Some(self.fill_value()?);
        if first != Keyword::FillRight {
            matching.fill_left = value;
        }
        if first != Keyword::FillLeft {
            matching.fill_right = value;
        }
        let Some(second) = second else { return Ok(()) };
        if self.take_if(TokenKind::Keyword(second))?.is_none() {
            return Ok(());
        }
        let value = Some(self.fill_value()?);
        match second {
            Keyword::FillLeft => matching.fill_left = value,
            _ => matching.fill_right = value,
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(TokenKind::LeftParen)?;
        let value = self.signed_number()?;
        self.expect(TokenKind::RightParen)?;
        Ok(value)
    }

    /// A number with or without a sign.
    pub(super) fn signed_number(&mut self) -> Parsed<f64> {
        let negative = match self.peek()?.kind {
            TokenKind::Op(BinaryOp::Add) => Some(false),
            TokenKind::Op(BinaryOp::Sub) => Some(true),
            _ => None,
        };
        if negative.is_some() {
            self.take()?;
        }
        let (number, _) = self.number_literal()?;
        Ok(if negative == Some(true) {
            -number.value
        } else {
            number.value
        })
    }

    /// A sign and its operand, or something with what follows it in brackets and the like.
    fn operand(&mut self) -> Parsed<Node> {
        match self.peek()?.kind {
            TokenKind::Op(BinaryOp::Add) => self.signed_operand(false),
            TokenKind::Op(BinaryOp::Sub) => self.signed_operand(true),
            _ => {
                let primary = self.primary()?;
                self.postfix(primary)
            }
        }
    }

    fn signed_operand(&mut self, negative: bool) -> Parsed<Node> {
        let sign = self.take()?;
        let mut inner = self.expr(SIGN)?;
        let span = sign.span.to(inner.expr.span);
        if let ExprKind::Number(number) = &mut inner.expr.kind {
            if negative {
                number.value = -number.value;
            }
            inner.expr.span = span;
            return Ok(inner);
        }
        let unary = Unary {
            negative,
            expr: inner.expr,
        };
        self.above(inner.height, ExprKind::Unary(unary), span)
    }

    fn primary(&mut self) -> Parsed<Node> {
        let token = self.peek()?;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let (number, span) = self.number_literal()?;
                Ok(Node::leaf(ExprKind::Number(number), span))
            }
            TokenKind::String => {
                self.take()?;
                let text = self.string_of(token)?;
                Ok(Node::leaf(ExprKind::String(text), token.span))
            }
            TokenKind::LeftParen => self.parenthesis(),
            TokenKind::LeftBrace => self.selector(None),
            kind if kind.is_metric_name() => {
                self.take()?;
                self.named(token)
            }
            _ => self.unexpected(),
        }
    }

    fn parenthesis(&mut self) -> Parsed<Node> {
        let open = self.take()?;
        let inner = self.expr(0)?;
        let close = self.expect(TokenKind::RightParen)?;
        let kind = ExprKind::Paren(inner.expr);
        self.above(inner.height, kind, open.span.to(close.span))
    }

    /// An aggregation, a call or a selector; its first word was taken.
    fn named(&mut self, token: Token) -> Parsed<Node> {
        let next = self.peek()?.kind;
        match token.kind {
            TokenKind::Aggregate(op)
                if next == TokenKind::LeftParen || grouping_kind(next).is_some() =>
            {
                let aggregate = self.aggregate(token, op);
                aggregate.map_err(|stop| self.blame(stop, "aggregation", ""))
            }
            TokenKind::Identifier | TokenKind::Preprocessor(_) if next == TokenKind::LeftParen => {
                self.call(token)
            }
            _ => self.selector(Some(token)),
        }
    }

    fn aggregate(&mut self, token: Token, op: AggregateOp) -> Parsed<Node> {
        let mut grouping = self.grouping()?;
        self.expect(TokenKind::LeftParen)?;
        if op == AggregateOp::CountValues {
            self.refuse_label_that_is_no_text()?;
        }
        let arguments = self.arguments()?;
        let mut span = token.span.to(arguments.end);
        if grouping.is_none() {
            grouping = self.grouping()?;
            span.end = grouping.as_ref().map_or(span.end, |grouping| grouping.2);
        }
        self.aggregate_of(op, grouping.unwrap_or_default(), arguments, span)
    }

    fn aggregate_of(
        &self,
        op: AggregateOp,
        (without, labels, _): Grouping,
        arguments: Arguments,
        span: Span,
    ) -> Parsed<Node> {
        let mut exprs = arguments.exprs.into_iter();
        let (count, wanted) = (exprs.len(), 1 + usize::from(op.has_param()));
        if count == 0 {
            return self.fail(span, "no arguments for aggregate expression provided");
        }
        if op.is_experimental() && !self.options.experimental_functions {
            return self.fail(
                span,
                format!(
                    "{op}() is experimental and must be enabled with --enable-feature=promql-experimental-functions"
                ),
            );
        }
        let param = if op.has_param() { exprs.next() } else { None };
        let (Some(expr), true) = (exprs.next(), count == wanted) else {
            return self.fail(
                span,
                format!(
                    "wrong number of arguments for aggregate expression provided, expected {wanted}, got {count}"
                ),
            );
        };
        let aggregate = Aggregate {
            op,
            expr,
            param,
            grouping: labels,
            without,
        };
        let kind = ExprKind::Aggregate(Box::new(aggregate));
        self.above(arguments.height, kind, span)
    }

    /// `by (a, b)` or `without (a, b)`, and where it ends.
    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let Some(without) = grouping_kind(self.peek()?.kind) else {
            return Ok(None);
        };
        self.take()?;
        let labels = self.grouping_labels()?;
        Ok(Some((without, labels, self.behind())))
    }

    /// Prometheus takes any bytes as the label of `count_values` and refuses them when it
    /// evaluates; a text of ours is UTF-8, so they are refused here, in the same words.
    fn refuse_label_that_is_no_text(&mut self) -> Parsed<()> {
        let token = self.peek()?;
        if token.kind != TokenKind::String {
            return Ok(());
        }
        let bytes = unquote(self.text_of(token));
        if std::str::from_utf8(&bytes).is_err() {
            let label = quote_bytes(&bytes);
            let message = format!("invalid label name {label}");
            return Err(ParseError::when_evaluated(token.span, message).into());
        }
        Ok(())
    }

    fn call(&mut self, name: Token) -> Parsed<Node> {
        self.expect(TokenKind::LeftParen)?;
        let arguments = self.arguments()?;
        self.call_of(name, arguments)
    }

    fn call_of(&self, name: Token, arguments: Arguments) -> Parsed<Node> {
        let text = self.text_of(name);
        let Some(function) = lookup(text) else {
            let message = format!("unknown function with name {}", quote(text));
            return self.fail(name.span, message);
        };
        if function.experimental && !self.options.experimental_functions {
            let message = format!("function {} is not enabled", quote(text));
            return self.fail(name.span, message);
        }
        let call = Call {
            function,
            args: arguments.exprs,
        };
        let span = name.span.to(arguments.end);
        self.above(arguments.height, ExprKind::Call(call), span)
    }

    /// What stands between the parentheses of a call, and the closing one.
    fn arguments(&mut self) -> Parsed<Arguments> {
        let mut arguments = Arguments {
            exprs: Vec::new(),
            height: 0,
            end: Span::default(),
        };
        if let Some(close) = self.take_if(TokenKind::RightParen)? {
            arguments.end = close.span;
            return Ok(arguments);
        }
        loop {
            let node = self.expr(0)?;
            arguments.exprs.push(*node.expr);
            arguments.height = arguments.height.max(node.height);
            let Some(comma) = self.take_if(TokenKind::Comma)? else {
                arguments.end = self.expect(TokenKind::RightParen)?.span;
                return Ok(arguments);
            };
            if !begins_operand(self.peek()?.kind) {
                let message = "trailing commas not allowed in function call args";
                return self.fail(comma.span, message);
            }
        }
    }
}

/// Whether an aggregation's grouping begins: `Some(true)` for `without`.
const fn grouping_kind(kind: TokenKind) -> Option<bool> {
    match kind {
        TokenKind::Keyword(Keyword::By) => Some(false),
        TokenKind::Keyword(Keyword::Without) => Some(true),
        _ => None,
    }
}

/// Whether an expression can begin with it.
const fn begins_operand(kind: TokenKind) -> bool {
    kind.is_metric_name()
        || matches!(
            kind,
            TokenKind::Number
                | TokenKind::Duration
                | TokenKind::String
                | TokenKind::LeftParen
                | TokenKind::LeftBrace
                | TokenKind::Op(BinaryOp::Add | BinaryOp::Sub)
        )
}

/// How tight an operator binds.
const fn binding(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Greater
        | BinaryOp::Less
        | BinaryOp::GreaterEqual
        | BinaryOp::LessEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => SIGN,
    }
}
