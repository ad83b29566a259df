//! Trees back to text: in one line, and with line breaks as `/api/v1/format_query` gives it.
//!
//! Both are Prometheus' own layout, so that a formatted query is the same wherever it was
//! formatted. Comments and superfluous parts (`by ()`, the order of matchers) are lost.
//! Source: `promql/parser/{printer,prettier}.go` and `prettier_rules.md` of prometheus/prometheus.

use std::fmt::{self, Write as _};

use crate::model::{METRIC_NAME, MatchOp, Matcher};
use crate::query::function::format_general;

use super::ast::{
    Aggregate, At, Binary, Cardinality, Edges, Expr, ExprKind, Matching, MatrixSelector, Subquery,
    VectorSelector,
};
use super::duration::{DurationExpr, DurationKind, DurationOp, NumberLiteral};
use super::quote::quote;

/// A part that is longer than this in one line is split into several.
const LINE_BYTES_MAX: usize = 100;

/// An expression with line breaks and indentation where it is long.
#[must_use]
pub fn prettify(expr: &Expr) -> String {
    let mut out = String::new();
    pretty(&mut out, expr, 0);
    out
}

fn pretty(out: &mut String, expr: &Expr, level: usize) {
    if !is_long(expr) || is_never_split(expr) {
        // Prometheus forgets to indent these.
        if !matches!(expr.kind, ExprKind::Subquery(_)) {
            indent(out, level);
        }
        push(out, expr);
        return;
    }
    match &expr.kind {
        ExprKind::Subquery(subquery) => {
            pretty(out, &subquery.expr, level);
            push(out, &SubquerySuffix(subquery));
        }
        ExprKind::Unary(unary) => {
            let mut inner = String::new();
            pretty(&mut inner, &unary.expr, level);
            indent(out, level);
            out.push(if unary.negative { '-' } else { '+' });
            out.push_str(inner.trim());
        }
        ExprKind::Binary(binary) => {
            pretty(out, &binary.left, level + 1);
            out.push('\n');
            indent(out, level);
            push(out, &Operator(binary));
            out.push('\n');
            pretty(out, &binary.right, level + 1);
        }
        ExprKind::Paren(inner) => {
            indent(out, level);
            pretty_list(out, [&**inner], level);
        }
        ExprKind::Aggregate(aggregate) => {
            indent(out, level);
            push(out, &AggregateHead(aggregate));
            pretty_list(out, aggregate.param.iter().chain([&aggregate.expr]), level);
        }
        ExprKind::Call(call) => {
            indent(out, level);
            out.push_str(call.function.name);
            pretty_list(out, &call.args, level);
        }
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {}
    }
}

/// Expressions in parentheses, each on lines of its own.
fn pretty_list<'a>(out: &mut String, exprs: impl IntoIterator<Item = &'a Expr>, level: usize) {
    out.push('(');
    for (at, expr) in exprs.into_iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        pretty(out, expr, level + 1);
    }
    out.push('\n');
    indent(out, level);
    out.push(')');
}

const fn is_never_split(expr: &Expr) -> bool {
    matches!(
        expr.kind,
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_)
    )
}

fn indent(out: &mut String, level: usize) {
    for _ in 0..level {
        out.push_str("  ");
    }
}

fn push(out: &mut String, part: &dyn fmt::Display) {
    let written = write!(out, "{part}");
    debug_assert!(written.is_ok(), "a String takes every text");
}

/// Whether an expression takes more than a line; looks no further than that.
fn is_long(expr: &Expr) -> bool {
    struct Line(usize);
    impl fmt::Write for Line {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    write!(Line(LINE_BYTES_MAX), "{expr}").is_err()
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::String(text) => f.write_str(&quote(text)),
            ExprKind::Vector(vector) => vector.fmt(f),
            ExprKind::Matrix(matrix) => matrix.fmt(f),
            ExprKind::Subquery(subquery) => {
                write!(f, "{}{}", subquery.expr, SubquerySuffix(subquery))
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Unary(unary) => {
                let sign = if unary.negative { '-' } else { '+' };
                write!(f, "{sign}{}", unary.expr)
            }
            ExprKind::Binary(binary) => {
                write!(f, "{} {} {}", binary.left, Operator(binary), binary.right)
            }
            ExprKind::Aggregate(aggregate) => {
                write!(f, "{}(", AggregateHead(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (at, arg) in call.args.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{arg}")?;
                }
                f.write_str(")")
            }
        }
    }
}

/// What stands before an aggregation's parenthesis.
struct AggregateHead<'a>(&'a Aggregate);

impl fmt::Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aggregate = self.0;
        let labels = Labels(&aggregate.grouping);
        match aggregate.op.name() {
            op if aggregate.without => write!(f, "{op} without {labels} "),
            op if !aggregate.grouping.is_empty() => write!(f, "{op} by {labels} "),
            op => f.write_str(op),
        }
    }
}

/// Labels in parentheses.
struct Labels<'a>(&'a [String]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (at, label) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            write_label(f, label)?;
        }
        f.write_str(")")
    }
}

/// A label's name, quoted unless every version of Prometheus takes it as it is.
fn write_label(f: &mut dyn fmt::Write, label: &str) -> fmt::Result {
    let plain = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if label.chars().all(plain)
        && !label.starts_with(|c: char| c.is_ascii_digit())
        && !label.is_empty()
    {
        f.write_str(label)
    } else {
        f.write_str(&quote(label))
    }
}

/// A binary operator with its modifiers.
struct Operator<'a>(&'a Binary);

impl fmt::Display for Operator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.symbol())?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        self.0
            .matching
            .as_ref()
            .map_or(Ok(()), |matching| matching.fmt(f))
    }
}

impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = match self.cardinality {
            Cardinality::ManyToOne => Some("group_left"),
            Cardinality::OneToMany => Some("group_right"),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if !self.labels.is_empty() || self.on || group.is_some() {
            let word = if self.on { "on" } else { "ignoring" };
            write!(f, " {word} {}", Labels(&self.labels))?;
        }
        if let Some(group) = group {
            write!(f, " {group} {}", Labels(&self.include))?;
        }
        match (self.fill_left, self.fill_right) {
            #[allow(clippy::float_cmp, reason = "the same number written twice")]
            (Some(left), Some(right)) if left == right => {
                return write!(f, " fill ({})", format_general(left));
            }
            _ => {}
        }
        if let Some(left) = self.fill_left {
            write!(f, " fill_left ({})", format_general(left))?;
        }
        if let Some(right) = self.fill_right {
            write!(f, " fill_right ({})", format_general(right))?;
        }
        Ok(())
    }
}

impl fmt::Display for VectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_series(f, self)?;
        write!(f, "{}", AtSuffix(self.at))?;
        write_edges(f, self.edges)?;
        write!(f, "{}", OffsetSuffix(self.offset.as_ref()))
    }
}

impl fmt::Display for MatrixSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vector = &self.vector;
        write_series(f, vector)?;
        write!(f, "[{}]", Length(&self.range))?;
        write_edges(f, vector.edges)?;
        write!(f, "{}", AtSuffix(vector.at))?;
        write!(f, "{}", OffsetSuffix(vector.offset.as_ref()))
    }
}

fn write_series(f: &mut fmt::Formatter<'_>, vector: &VectorSelector) -> fmt::Result {
    let name = vector.name.as_deref().unwrap_or_default();
    let is_name = |matcher: &&Matcher| {
        matcher.name() == METRIC_NAME
            && matcher.op() == MatchOp::Equal
            && matcher.value() == name
            && !name.is_empty()
    };
    let others = vector.matchers.iter().filter(|one| !is_name(one));
    let mut others: Vec<String> = others.map(matcher_text).collect();
    others.sort_unstable();
    f.write_str(name)?;
    if others.is_empty() {
        return Ok(());
    }
    write!(f, "{{{}}}", others.join(","))
}

fn matcher_text(matcher: &Matcher) -> String {
    let mut text = String::new();
    let written = write_label(&mut text, matcher.name());
    debug_assert!(written.is_ok(), "a String takes every text");
    text.push_str(matcher.op().symbol());
    text.push_str(&quote(matcher.value()));
    text
}

fn write_edges(f: &mut fmt::Formatter<'_>, edges: Edges) -> fmt::Result {
    f.write_str(match edges {
        Edges::Plain => "",
        Edges::Anchored => " anchored",
        Edges::Smoothed => " smoothed",
    })
}

struct AtSuffix(Option<At>);

impl fmt::Display for AtSuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(At::Start) => f.write_str(" @ start()"),
            Some(At::End) => f.write_str(" @ end()"),
            #[allow(clippy::cast_precision_loss, reason = "as Prometheus prints it")]
            Some(At::Time(time)) => write!(f, " @ {:.3}", time.0 as f64 / 1_000.0),
        }
    }
}

struct OffsetSuffix<'a>(Option<&'a DurationExpr>);

impl fmt::Display for OffsetSuffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(offset) => {
                // Less than a millisecond still keeps its sign.
                let negative =
                    matches!(&offset.kind, DurationKind::Number(number) if number.value < 0.0);
                let sign = if negative && offset.literal_ms() == Some(0) {
                    "-"
                } else {
                    ""
                };
                write!(f, " offset {sign}{}", Length(offset))
            }
        }
    }
}

/// What stands behind a subquery's expression.
struct SubquerySuffix<'a>(&'a Subquery);

impl fmt::Display for SubquerySuffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subquery = self.0;
        write!(f, "[{}:", Length(&subquery.range))?;
        if let Some(step) = &subquery.step {
            write!(f, "{}", Length(step))?;
        }
        f.write_str("]")?;
        write!(f, "{}", AtSuffix(subquery.at))?;
        write!(f, "{}", OffsetSuffix(subquery.offset.as_ref()))
    }
}

/// A duration where one is expected: a plain number becomes `5m`, too.
struct Length<'a>(&'a DurationExpr);

impl fmt::Display for Length<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.literal_ms() {
            Some(ms) => write_milliseconds(f, ms),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Number(number) => number.fmt(f),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Plus(inner) => inner.fmt(f),
            DurationKind::Negate(inner) => write!(f, "-{inner}"),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
            DurationKind::Binary(op @ (DurationOp::MinOf | DurationOp::MaxOf), left, right) => {
                write!(f, "{}({left}, {right})", op.symbol())
            }
            DurationKind::Binary(op, left, right) => {
                write!(f, "{left} {} {right}", op.symbol())
            }
        }
    }
}

impl fmt::Display for NumberLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.duration {
            return f.write_str(&number_text(self.value));
        }
        if self.value < 0.0 {
            f.write_str("-")?;
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the parser bounds durations; `as` saturates"
        )]
        let ms = (self.value.abs() * 1e9) as i64 / 1_000_000;
        write_milliseconds(f, ms)
    }
}

/// A number in plain digits, as Go's `strconv.FormatFloat(x, 'f', -1, 64)`.
pub(super) fn number_text(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

/// A duration in Prometheus' units. Years and weeks appear only if nothing remains: 90d reads
/// easier than 12w6d.
fn write_milliseconds(f: &mut fmt::Formatter<'_>, ms: i64) -> fmt::Result {
    if ms == 0 {
        return f.write_str("0s");
    }
    if ms < 0 {
        f.write_str("-")?;
    }
    let mut rest = ms.unsigned_abs();
    for (unit, size, exact) in [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1_000, false),
        ("ms", 1, false),
    ] {
        let count = rest / size;
        if count > 0 && (!exact || rest.is_multiple_of(size)) {
            write!(f, "{count}{unit}")?;
            rest -= count * size;
        }
    }
    Ok(())
}
