//! Text to words, one at a time, because what a character means depends on the brackets around it
//! and because errors must come in the order in which Prometheus finds them.
//!
//! Source: `promql/parser/lex.go` of prometheus/prometheus, for what is a word, where errors
//! stand and how they read.

use super::ast::BinaryOp;
use super::error::ParseError;
use super::quote::{code_point, quote, quote_char};
use super::span::Span;
use super::token::{Keyword, Token, TokenKind};

/// Reads the words of a query.
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// The next byte to be read.
    at: usize,
    /// Where the word being read begins.
    start: usize,
    open_parens: usize,
    in_braces: bool,
    in_brackets: bool,
    /// Directly behind a bracket or an operator of a duration: fewer words are known here.
    in_duration: bool,
    seen_colon: bool,
    seen_duration: bool,
}

type Lexed<T> = Result<T, ParseError>;

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            start: 0,
            open_parens: 0,
            in_braces: false,
            in_brackets: false,
            in_duration: false,
            seen_colon: false,
            seen_duration: false,
        }
    }

    /// The next word; `End` again and again at the end.
    pub(super) fn next(&mut self) -> Lexed<Token> {
        loop {
            self.start = self.at;
            let token = if self.in_braces {
                self.within_braces()?
            } else if self.in_duration {
                self.within_duration()?
            } else {
                self.statement()?
            };
            if let Some(kind) = token {
                return Ok(Token {
                    kind,
                    span: Span::new(self.start, self.at),
                });
            }
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let found = self.peek().is_some_and(wanted);
        if found {
            self.bump();
        }
        found
    }

    fn accept_all(&mut self, wanted: impl Fn(char) -> bool) {
        while self.accept(&wanted) {}
    }

    /// What was read of the current word.
    fn word(&self) -> &'a str {
        self.text.get(self.start..self.at).unwrap_or_default()
    }

    fn refuse<T>(&self, message: String) -> Lexed<T> {
        let span = Span::new(self.start, self.text.len());
        Err(ParseError::new(self.text, span, message))
    }

    /// Refuses what stands behind the word just read.
    fn refuse_behind<T>(&mut self, message: String) -> Lexed<T> {
        self.start = self.at;
        self.refuse(message)
    }

    fn skip_space(&mut self) -> Option<TokenKind> {
        self.accept_all(is_space);
        None
    }

    fn skip_comment(&mut self) -> Option<TokenKind> {
        self.accept_all(|c| c != '\n' && c != '\r');
        None
    }

    /// Outside of braces. `None`: nothing but space or a comment was read.
    fn statement(&mut self) -> Lexed<Option<TokenKind>> {
        let Some(c) = self.bump() else {
            return self.end().map(Some);
        };
        Ok(Some(match c {
            '#' => return Ok(self.skip_comment()),
            _ if is_space(c) => return Ok(self.skip_space()),
            ',' => TokenKind::Comma,
            '*' => TokenKind::Op(BinaryOp::Mul),
            '/' => TokenKind::Op(BinaryOp::Div),
            '%' => TokenKind::Op(BinaryOp::Mod),
            '+' => TokenKind::Op(BinaryOp::Add),
            '-' => TokenKind::Op(BinaryOp::Sub),
            '^' => TokenKind::Op(BinaryOp::Pow),
            '@' => TokenKind::At,
            '=' | '!' | '<' | '>' => self.comparison(c)?,
            '"' | '\'' | '`' => self.string(c)?,
            '(' | ')' => self.paren(c)?,
            '{' => {
                self.in_braces = true;
                TokenKind::LeftBrace
            }
            '[' => self.left_bracket()?,
            ']' if self.in_brackets => {
                self.in_brackets = false;
                TokenKind::RightBracket
            }
            ']' => return self.refuse("unexpected right bracket ']'".to_owned()),
            '.' | '0'..='9' if self.begins_number(c) => self.number()?,
            _ if is_alpha(c) || c == ':' => self.word_or_colon(c)?,
            _ => return self.refuse(format!("unexpected character: {}", quote_char(Some(c)))),
        }))
    }

    fn end(&self) -> Lexed<TokenKind> {
        if self.open_parens != 0 {
            return self.refuse("unclosed left parenthesis".to_owned());
        }
        if self.in_brackets {
            return self.refuse("unclosed left bracket".to_owned());
        }
        Ok(TokenKind::End)
    }

    fn comparison(&mut self, first: char) -> Lexed<TokenKind> {
        let second = self.peek();
        let op = match (first, second) {
            ('=', Some('=')) => BinaryOp::Equal,
            ('!', Some('=')) => BinaryOp::NotEqual,
            ('<', Some('=')) => BinaryOp::LessEqual,
            ('<', Some('/')) => BinaryOp::TrimUpper,
            ('>', Some('=')) => BinaryOp::GreaterEqual,
            ('>', Some('/')) => BinaryOp::TrimLower,
            ('<', _) => return Ok(TokenKind::Op(BinaryOp::Less)),
            ('>', _) => return Ok(TokenKind::Op(BinaryOp::Greater)),
            ('=', Some('~')) | ('!', _) => {
                let second = quote_char(second);
                return self.refuse(format!("unexpected character after '{first}': {second}"));
            }
            _ => return Ok(TokenKind::Assign),
        };
        self.bump();
        Ok(TokenKind::Op(op))
    }

    fn paren(&mut self, c: char) -> Lexed<TokenKind> {
        if c == '(' {
            self.open_parens += 1;
            return Ok(TokenKind::LeftParen);
        }
        match self.open_parens.checked_sub(1) {
            Some(open) => self.open_parens = open,
            None => return self.refuse_behind("unexpected right parenthesis ')'".to_owned()),
        }
        Ok(TokenKind::RightParen)
    }

    fn left_bracket(&mut self) -> Lexed<TokenKind> {
        if self.in_brackets {
            return self.refuse("unexpected left bracket '['".to_owned());
        }
        self.seen_colon = false;
        self.in_brackets = true;
        self.in_duration = true;
        Ok(TokenKind::LeftBracket)
    }

    fn begins_number(&self, c: char) -> bool {
        c.is_ascii_digit() || self.peek().is_some_and(|c| c.is_ascii_digit())
    }

    fn word_or_colon(&mut self, c: char) -> Lexed<TokenKind> {
        if !self.in_brackets {
            return Ok(self.keyword_or_identifier());
        }
        if c == ':' {
            if self.seen_colon {
                return self.refuse("unexpected colon ':'".to_owned());
            }
            self.seen_colon = true;
            return Ok(TokenKind::Colon);
        }
        match self.duration_word(c) {
            Some(kind) => Ok(kind),
            None => self.refuse(format!(
                "unexpected character: {}, expected ':'",
                quote_char(Some(c))
            )),
        }
    }

    fn duration_word(&mut self, first: char) -> Option<TokenKind> {
        if !matches!(first.to_ascii_lowercase(), 's' | 'r' | 'm') {
            return None;
        }
        self.accept_all(is_alpha);
        TokenKind::of_duration_word(self.word())
    }

    fn keyword_or_identifier(&mut self) -> TokenKind {
        self.accept_all(|c| is_alphanumeric(c) || c == ':');
        let word = self.word();
        match TokenKind::of_word(word) {
            // Metrics may be called `fill`: it is a modifier only with a parenthesis behind it.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.rest().trim_start_matches(is_space).starts_with('(') =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        }
    }

    fn within_braces(&mut self) -> Lexed<Option<TokenKind>> {
        let Some(c) = self.bump() else {
            return self.refuse("unexpected end of input inside braces".to_owned());
        };
        Ok(Some(match c {
            '#' => return Ok(self.skip_comment()),
            _ if is_space(c) => return Ok(self.skip_space()),
            ',' => TokenKind::Comma,
            '"' | '\'' | '`' => self.string(c)?,
            '=' if self.accept(|c| c == '~') => TokenKind::Matches,
            '=' => TokenKind::Assign,
            '!' if self.accept(|c| c == '~') => TokenKind::NotMatches,
            '!' if self.accept(|c| c == '=') => TokenKind::Op(BinaryOp::NotEqual),
            '!' => {
                let next = quote_char(self.peek());
                return self.refuse(format!(
                    "unexpected character after '!' inside braces: {next}"
                ));
            }
            '{' => return self.refuse("unexpected left brace '{'".to_owned()),
            '}' => {
                self.in_braces = false;
                TokenKind::RightBrace
            }
            _ if is_alpha(c) => {
                self.accept_all(is_alphanumeric);
                TokenKind::Identifier
            }
            _ => {
                let c = quote_char(Some(c));
                return self.refuse(format!("unexpected character inside braces: {c}"));
            }
        }))
    }

    /// Within brackets, up to the first number: then [`Self::statement`] takes over.
    fn within_duration(&mut self) -> Lexed<Option<TokenKind>> {
        let Some(c) = self.bump() else {
            return self.refuse("unexpected end of input in duration expression".to_owned());
        };
        Ok(Some(match c {
            _ if is_space(c) => return Ok(self.skip_space()),
            ']' => {
                self.in_brackets = false;
                self.in_duration = false;
                self.seen_colon = false;
                TokenKind::RightBracket
            }
            ':' if !self.seen_duration => {
                return self.refuse_behind(
                    "unexpected colon before duration in duration expression".to_owned(),
                );
            }
            ':' if self.seen_colon => {
                return self
                    .refuse_behind("unexpected repeated colon in duration expression".to_owned());
            }
            ':' => {
                self.seen_colon = true;
                TokenKind::Colon
            }
            '(' | ')' => self.paren(c)?,
            ',' => TokenKind::Comma,
            '+' => TokenKind::Op(BinaryOp::Add),
            '-' => TokenKind::Op(BinaryOp::Sub),
            '*' => TokenKind::Op(BinaryOp::Mul),
            '/' => TokenKind::Op(BinaryOp::Div),
            '%' => TokenKind::Op(BinaryOp::Mod),
            '^' => TokenKind::Op(BinaryOp::Pow),
            '.' | '0'..='9' if self.begins_number(c) => {
                self.seen_duration = true;
                self.in_duration = false;
                self.number()?
            }
            _ => match self.duration_word(c) {
                Some(kind) => kind,
                None => {
                    let c = quote_char(Some(c));
                    return self
                        .refuse(format!("unexpected character in duration expression: {c}"));
                }
            },
        }))
    }

    fn string(&mut self, quote: char) -> Lexed<TokenKind> {
        let raw = quote == '`';
        loop {
            match self.bump() {
                None if raw => return self.refuse("unterminated raw string".to_owned()),
                None => return self.refuse("unterminated quoted string".to_owned()),
                Some('\n') if !raw => {
                    return self.refuse("unterminated quoted string".to_owned());
                }
                Some('\\') if !raw => self.escape(quote)?,
                Some(char::REPLACEMENT_CHARACTER) => {
                    return self.refuse("invalid UTF-8 rune".to_owned());
                }
                Some(c) if c == quote => return Ok(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, quote: char) -> Lexed<()> {
        let (mut value, count, base, max) = match self.bump() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some(c @ '0'..='7') => (c.to_digit(8).unwrap_or_default(), 2, 8, 0xff),
            Some('x') => (0, 2, 16, 0xff),
            Some('u') => (0, 4, 16, u32::from(char::MAX)),
            Some('U') => (0, 8, 16, u32::from(char::MAX)),
            Some(c) => return self.refuse(format!("unknown escape sequence {}", code_point(c))),
            None => return self.refuse("escape sequence not terminated".to_owned()),
        };
        for _ in 0..count {
            let Some(c) = self.bump() else {
                return self.refuse("escape sequence not terminated".to_owned());
            };
            let Some(digit) = c.to_digit(base) else {
                let c = code_point(c);
                return self.refuse(format!("illegal character {c} in escape sequence"));
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            let message = "escape sequence is an invalid Unicode code point";
            return self.refuse(message.to_owned());
        }
        Ok(())
    }

    /// A number or a duration; its first character was read.
    fn number(&mut self) -> Lexed<TokenKind> {
        self.at = self.start;
        if self.scan_number() {
            return Ok(TokenKind::Number);
        }
        if self.scan_duration() {
            return Ok(TokenKind::Duration);
        }
        let word = quote(self.word());
        self.refuse(format!("bad number or duration syntax: {word}"))
    }

    /// Reads a number, however wrong in its details; `false` where Prometheus gives up.
    fn scan_number(&mut self) -> bool {
        let hex = self.accept(|c| c == '0') && self.accept(|c| matches!(c, 'x' | 'X'));
        if hex {
            self.accept(|c| c == '_');
        }
        let is_digit = |c: char| c.is_ascii_digit() || (hex && c.is_ascii_hexdigit());
        let (mut seen_dot, mut seen_exponent) = (false, false);
        self.accept(|c| c == '.');
        self.accept(is_digit);
        while let Some(c) = self.peek() {
            let is_exponent = matches!(c, 'e' | 'E');
            if !(is_digit(c) || c == '.' || c == '_' || is_exponent) {
                break;
            }
            if (c == '.' && seen_dot) || (is_exponent && seen_exponent) {
                self.bump();
                return false;
            }
            if c == '.' {
                self.bump();
                seen_dot = true;
                if self.accept(|c| matches!(c, '_' | '.')) || hex {
                    return false;
                }
            } else if is_exponent || c == '_' {
                self.bump();
                if is_exponent {
                    seen_exponent = true;
                    self.accept(|c| matches!(c, '+' | '-'));
                }
                if self.accept(|c| matches!(c, '.' | '_' | 'e' | 'E')) || self.peek().is_none() {
                    return false;
                }
            } else {
                self.accept_all(is_digit);
            }
        }
        !self.peek().is_some_and(is_alphanumeric)
    }

    /// Goes on where [`Self::scan_number`] stopped.
    fn scan_duration(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        self.accept(|c| c == 's');
        while self.accept(|c| c.is_ascii_digit()) {
            self.accept_all(|c| c.is_ascii_digit());
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.accept(|c| c == 's');
        }
        !self.accept(is_alphanumeric)
    }
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

const fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

const fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}
