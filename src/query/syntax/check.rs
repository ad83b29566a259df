//! What makes sense: types, and rules that go beyond grammar. The order of the checks is
//! Prometheus', because only the first error is reported.

use crate::model::METRIC_NAME;
use crate::query::value::ValueType;

use super::ast::{
    Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, ExprKind, Unary, VectorSelector,
};
use super::error::ParseError;
use super::quote::quote;
use super::span::Span;

type Checked<T = ValueType> = Result<T, ParseError>;

/// Checks an expression, and completes what only types can tell: how series match.
pub(super) fn check(text: &str, expr: &mut Expr) -> Checked {
    Check { text }.expr(expr)
}

struct Check<'a> {
    text: &'a str,
}

impl Expr {
    /// The type of what it evaluates to.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        let mut expr = self;
        loop {
            expr = match &expr.kind {
                ExprKind::Number(_) => return ValueType::Scalar,
                ExprKind::String(_) => return ValueType::String,
                ExprKind::Vector(_) | ExprKind::Aggregate(_) => return ValueType::Vector,
                ExprKind::Matrix(_) | ExprKind::Subquery(_) => return ValueType::Matrix,
                ExprKind::Paren(inner) => inner,
                ExprKind::Unary(unary) => &unary.expr,
                ExprKind::Binary(binary) => return binary.value_type(),
                ExprKind::Call(call) => return call.function.returns,
            };
        }
    }
}

impl Binary {
    fn value_type(&self) -> ValueType {
        // `and` of its sides' types, without visiting a chain of operators once for each.
        let mut left = &self.left;
        if self.right.value_type() != ValueType::Scalar {
            return ValueType::Vector;
        }
        while let ExprKind::Binary(binary) = &left.kind {
            if binary.right.value_type() != ValueType::Scalar {
                return ValueType::Vector;
            }
            left = &binary.left;
        }
        match left.value_type() {
            ValueType::Scalar => ValueType::Scalar,
            _ => ValueType::Vector,
        }
    }
}

impl Check<'_> {
    fn fail<T>(&self, span: Span, message: impl Into<String>) -> Checked<T> {
        Err(ParseError::new(self.text, span, message.into()))
    }

    fn expr(&self, expr: &mut Expr) -> Checked {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Number(_) => Ok(ValueType::Scalar),
            ExprKind::String(_) => Ok(ValueType::String),
            ExprKind::Vector(vector) => self.vector(vector, span),
            ExprKind::Matrix(matrix) => {
                self.vector(&matrix.vector, matrix.vector_span)?;
                Ok(ValueType::Matrix)
            }
            ExprKind::Subquery(subquery) => match self.expr(&mut subquery.expr)? {
                ValueType::Vector => Ok(ValueType::Matrix),
                other => self.fail(
                    span,
                    format!(
                        "subquery is only allowed on instant vector, got {} instead",
                        other.name()
                    ),
                ),
            },
            ExprKind::Paren(inner) => self.expr(inner),
            ExprKind::Unary(unary) => self.unary(unary, span),
            ExprKind::Binary(binary) => self.binary(binary, span),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate),
            ExprKind::Call(call) => self.call(call, span),
        }
    }

    fn unary(&self, unary: &mut Unary, span: Span) -> Checked {
        match self.expr(&mut unary.expr)? {
            known @ (ValueType::Scalar | ValueType::Vector) => Ok(known),
            other => self.fail(
                span,
                format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                    quote(other.documented())
                ),
            ),
        }
    }

    fn vector(&self, vector: &VectorSelector, span: Span) -> Checked {
        if let Some(name) = &vector.name {
            let others = vector.matchers.split_last().map(|(_, others)| others);
            let mut others = others.unwrap_or_default().iter();
            if let Some(twice) = others.find(|matcher| matcher.name() == METRIC_NAME) {
                let (name, value) = (quote(name), quote(twice.value()));
                return self.fail(
                    span,
                    format!("metric name must not be set twice: {name} or {value}"),
                );
            }
        } else if !vector.info_labels && vector.matchers.iter().all(|one| one.matches_empty()) {
            // A typo must not select every series there is.
            return self.fail(
                span,
                "vector selector must contain at least one non-empty matcher",
            );
        }
        Ok(ValueType::Vector)
    }

    fn expect(&self, expr: &mut Expr, wanted: ValueType, context: &str) -> Checked<()> {
        let found = self.expr(expr)?;
        if found == wanted {
            return Ok(());
        }
        let (wanted, found) = (wanted.documented(), found.documented());
        self.fail(
            expr.span,
            format!("expected type {wanted} in {context}, got {found}"),
        )
    }

    fn aggregate(&self, aggregate: &mut Aggregate) -> Checked {
        self.expect(
            &mut aggregate.expr,
            ValueType::Vector,
            "aggregation expression",
        )?;
        let wanted = match aggregate.op {
            AggregateOp::CountValues => ValueType::String,
            _ => ValueType::Scalar,
        };
        if let Some(param) = &mut aggregate.param {
            self.expect(param, wanted, "aggregation parameter")?;
        }
        Ok(ValueType::Vector)
    }

    fn call(&self, call: &mut Call, span: Span) -> Checked {
        let (function, given) = (call.function, call.args.len());
        let (least, most) = (function.args_min(), function.args_max());
        let bound = match most {
            Some(most) if least == most && given != least => Some(("", least)),
            Some(most) if given > most => Some((" at most", most)),
            _ if given < least => Some((" at least", least)),
            _ => None,
        };
        if let Some((bound, wanted)) = bound {
            let name = quote(function.name);
            return self.fail(
                span,
                format!("expected{bound} {wanted} argument(s) in call to {name}, got {given}"),
            );
        }
        if function.name == "info" {
            self.info_labels(call, span)?;
        }
        let context = format!("call to function {}", quote(function.name));
        for (at, arg) in call.args.iter_mut().enumerate() {
            if let Some(wanted) = function.arg(at) {
                self.expect(arg, wanted, &context)?;
            }
        }
        Ok(function.returns)
    }

    /// The second argument of `info` is written as a selector but names only labels.
    fn info_labels(&self, call: &mut Call, span: Span) -> Checked<()> {
        let Some(labels) = call.args.get_mut(1) else {
            return Ok(());
        };
        let found = labels.value_type();
        if found != ValueType::Vector {
            let found = found.documented();
            return self.fail(
                span,
                format!("expected type instant vector in call to function \"info\", got {found}"),
            );
        }
        match &mut labels.kind {
            ExprKind::Vector(vector) if vector.name.is_some() => self.fail(
                labels.span,
                "expected label selectors only, got vector selector instead",
            ),
            ExprKind::Vector(vector) => {
                vector.info_labels = true;
                Ok(())
            }
            _ => self.fail(labels.span, "expected label selectors only"),
        }
    }

    fn binary(&self, binary: &mut Binary, span: Span) -> Checked {
        let left = self.expr(&mut binary.left)?;
        let right = self.expr(&mut binary.right)?;
        self.binary_modifiers(binary, left, right)?;
        for (found, expr) in [(left, &binary.left), (right, &binary.right)] {
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                return self.fail(
                    expr.span,
                    "binary expression must contain only scalar and instant vector types",
                );
            }
        }
        if left != ValueType::Vector || right != ValueType::Vector {
            self.without_matching(binary, span)?;
        } else if binary.op.is_set() {
            self.set_matching(binary, span)?;
        }
        if left == ValueType::Scalar && right == ValueType::Scalar {
            return Ok(ValueType::Scalar);
        }
        Ok(ValueType::Vector)
    }

    fn binary_modifiers(
        &self,
        binary: &mut Binary,
        left: ValueType,
        right: ValueType,
    ) -> Checked<()> {
        let op = binary.op;
        if binary.return_bool && !op.is_comparison() {
            return self.fail(
                self.op_span(binary),
                "bool modifier can only be used on comparison operators",
            );
        }
        let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
        if scalars && op.is_comparison() && !binary.return_bool {
            return self.fail(
                self.op_span(binary),
                "comparisons between scalars must use BOOL modifier",
            );
        }
        let span = self.op_span(binary);
        let Some(matching) = &mut binary.matching else {
            return Ok(());
        };
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let mut labels = matching.labels.iter();
        let twice = labels.find(|label| matching.on && matching.include.contains(label));
        match twice {
            Some(label) => self.fail(
                span,
                format!(
                    "label {} must not occur in ON and GROUP clause at once",
                    quote(label)
                ),
            ),
            None => Ok(()),
        }
    }

    /// At least one side is no vector: nothing to match.
    fn without_matching(&self, binary: &mut Binary, span: Span) -> Checked<()> {
        let matching = binary.matching.take().unwrap_or_default();
        if !matching.labels.is_empty() {
            return self.fail(span, "vector matching only allowed between instant vectors");
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return self.fail(
                span,
                "filling in missing series only allowed between instant vectors",
            );
        }
        if binary.op.is_set() {
            let op = quote(binary.op.symbol());
            return self.fail(
                span,
                format!("set operator {op} not allowed in binary scalar expression"),
            );
        }
        Ok(())
    }

    fn set_matching(&self, binary: &Binary, span: Span) -> Checked<()> {
        let Some(matching) = &binary.matching else {
            return Ok(());
        };
        if matching.cardinality != Cardinality::ManyToMany {
            let op = quote(binary.op.symbol());
            return self.fail(span, format!("no grouping allowed for {op} operation"));
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return self.fail(
                span,
                "filling in missing series not allowed for set operators",
            );
        }
        Ok(())
    }

    /// From behind the left operand to the right one.
    fn op_span(&self, binary: &Binary) -> Span {
        let (left, right) = (binary.left.span.end, binary.right.span.start);
        let between = self.text.get(left..right).unwrap_or_default();
        let spaces = between.len() - between.trim_start_matches([' ', '\t', '\n', '\r']).len();
        Span::new(left + spaces, right)
    }
}
