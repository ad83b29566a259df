//! The words of PromQL: what the lexer gives and how messages name them.

use super::ast::{AggregateOp, BinaryOp};
use super::quote::quote;
use super::span::Span;

/// A word and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

/// What a word is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TokenKind {
    End,
    Identifier,
    /// An identifier with a colon: never a label.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
    At,
    Op(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Preprocessor(Preprocessor),
}

/// Words that modify what stands before or after them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

/// Words that the query's own times replace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// The keywords, in lower case; the text may have them in any.
const WORDS: [(&str, TokenKind); 39] = [
    ("and", TokenKind::Op(BinaryOp::And)),
    ("or", TokenKind::Op(BinaryOp::Or)),
    ("unless", TokenKind::Op(BinaryOp::Unless)),
    ("atan2", TokenKind::Op(BinaryOp::Atan2)),
    ("sum", TokenKind::Aggregate(AggregateOp::Sum)),
    ("avg", TokenKind::Aggregate(AggregateOp::Avg)),
    ("count", TokenKind::Aggregate(AggregateOp::Count)),
    ("min", TokenKind::Aggregate(AggregateOp::Min)),
    ("max", TokenKind::Aggregate(AggregateOp::Max)),
    ("group", TokenKind::Aggregate(AggregateOp::Group)),
    ("stddev", TokenKind::Aggregate(AggregateOp::Stddev)),
    ("stdvar", TokenKind::Aggregate(AggregateOp::Stdvar)),
    ("topk", TokenKind::Aggregate(AggregateOp::Topk)),
    ("bottomk", TokenKind::Aggregate(AggregateOp::Bottomk)),
    (
        "count_values",
        TokenKind::Aggregate(AggregateOp::CountValues),
    ),
    ("quantile", TokenKind::Aggregate(AggregateOp::Quantile)),
    ("limitk", TokenKind::Aggregate(AggregateOp::Limitk)),
    ("limit_ratio", TokenKind::Aggregate(AggregateOp::LimitRatio)),
    ("offset", TokenKind::Keyword(Keyword::Offset)),
    ("smoothed", TokenKind::Keyword(Keyword::Smoothed)),
    ("anchored", TokenKind::Keyword(Keyword::Anchored)),
    ("by", TokenKind::Keyword(Keyword::By)),
    ("without", TokenKind::Keyword(Keyword::Without)),
    ("on", TokenKind::Keyword(Keyword::On)),
    ("ignoring", TokenKind::Keyword(Keyword::Ignoring)),
    ("group_left", TokenKind::Keyword(Keyword::GroupLeft)),
    ("group_right", TokenKind::Keyword(Keyword::GroupRight)),
    ("fill", TokenKind::Keyword(Keyword::Fill)),
    ("fill_left", TokenKind::Keyword(Keyword::FillLeft)),
    ("fill_right", TokenKind::Keyword(Keyword::FillRight)),
    ("bool", TokenKind::Keyword(Keyword::Bool)),
    ("start", TokenKind::Preprocessor(Preprocessor::Start)),
    ("end", TokenKind::Preprocessor(Preprocessor::End)),
    ("step", TokenKind::Preprocessor(Preprocessor::Step)),
    ("range", TokenKind::Preprocessor(Preprocessor::Range)),
    ("max_of", TokenKind::Preprocessor(Preprocessor::MaxOf)),
    ("min_of", TokenKind::Preprocessor(Preprocessor::MinOf)),
    ("inf", TokenKind::Number),
    ("nan", TokenKind::Number),
];

/// The aggregations, for completion.
pub fn aggregations() -> impl Iterator<Item = &'static str> {
    named(|kind| matches!(kind, TokenKind::Aggregate(_)))
}

/// Words that join or modify expressions, for completion.
pub fn keywords() -> impl Iterator<Item = &'static str> {
    named(|kind| matches!(kind, TokenKind::Op(_) | TokenKind::Keyword(_)))
}

fn named(wanted: fn(TokenKind) -> bool) -> impl Iterator<Item = &'static str> {
    let words = WORDS.iter().filter(move |(_, kind)| wanted(*kind));
    words.map(|(name, _)| *name)
}

impl TokenKind {
    /// The keyword that a word is, if it is one.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        WORDS
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))
            .map(|&(_, kind)| kind)
    }

    /// The keyword of a duration that a word is, if it is one.
    pub(super) fn of_duration_word(word: &str) -> Option<Self> {
        Self::of_word(word).filter(|kind| {
            matches!(
                kind,
                Self::Preprocessor(
                    Preprocessor::Step
                        | Preprocessor::Range
                        | Preprocessor::MaxOf
                        | Preprocessor::MinOf
                )
            )
        })
    }

    /// It can stand for a metric's name where an expression begins.
    pub(super) const fn is_metric_name(self) -> bool {
        matches!(
            self,
            Self::Identifier
                | Self::MetricIdentifier
                | Self::Aggregate(_)
                | Self::Preprocessor(_)
                | Self::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
                | Self::Keyword(
                    Keyword::Anchored
                        | Keyword::By
                        | Keyword::Fill
                        | Keyword::FillLeft
                        | Keyword::FillRight
                        | Keyword::Offset
                        | Keyword::Smoothed
                        | Keyword::Without
                )
        )
    }

    /// It can stand for a label's name where labels are listed.
    pub(super) const fn is_label_name(self) -> bool {
        match self {
            Self::Identifier
            | Self::MetricIdentifier
            | Self::Aggregate(_)
            | Self::Preprocessor(_)
            | Self::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2) => true,
            Self::Keyword(keyword) => !matches!(keyword, Keyword::Without),
            _ => false,
        }
    }
}

impl Token {
    /// The word as messages name it: `identifier "b"`, `<op:*>`, `","`.
    pub(super) fn described(&self, query: &str) -> String {
        let text = query
            .get(self.span.start..self.span.end)
            .unwrap_or_default();
        let prefix = match self.kind {
            TokenKind::End => return "end of input".to_owned(),
            TokenKind::Identifier => return format!("identifier {}", quote(text)),
            TokenKind::MetricIdentifier => return format!("metric identifier {}", quote(text)),
            TokenKind::Op(_) | TokenKind::At | TokenKind::Matches | TokenKind::NotMatches => {
                return format!("<op:{text}>");
            }
            TokenKind::Aggregate(_) => return format!("<aggr:{text}>"),
            TokenKind::Keyword(_) => return format!("<{text}>"),
            TokenKind::Number => "number ",
            TokenKind::Duration => "duration ",
            TokenKind::String => "string ",
            _ => "",
        };
        if text.len() <= 10 {
            return format!("{prefix}{}", quote(text));
        }
        let start: String = text.chars().take(10).collect();
        format!("{prefix}{}...", quote(&start))
    }
}
