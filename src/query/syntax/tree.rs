//! Trees as JSON, as `/api/v1/parse_query` gives them to user interfaces.
//!
//! Source: `web/api/v1/translate_ast.go` of prometheus/prometheus, for names and shapes.

use serde_json::{Value, json};

use crate::model::Matcher;

use super::ast::{At, Binary, Edges, Expr, ExprKind, Matching, Subquery, VectorSelector};
use super::duration::{DurationExpr, DurationKind};
use super::format::number_text;

/// An expression as a JSON object.
#[must_use]
pub fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(number) => {
            json!({"type": "numberLiteral", "val": number_text(number.value)})
        }
        ExprKind::String(text) => json!({"type": "stringLiteral", "val": text}),
        ExprKind::Vector(vector) => selector("vectorSelector", vector),
        ExprKind::Matrix(matrix) => {
            let mut object = selector("matrixSelector", &matrix.vector);
            extend(&mut object, "range", Some(&matrix.range));
            object
        }
        ExprKind::Subquery(subquery) => subquery_tree(subquery),
        ExprKind::Paren(inner) => over(json!({"type": "parenExpr"}), [("expr", tree(inner))]),
        ExprKind::Unary(unary) => {
            let op = if unary.negative { "-" } else { "+" };
            let object = json!({"type": "unaryExpr", "op": op});
            over(object, [("expr", tree(&unary.expr))])
        }
        ExprKind::Binary(binary) => binary_tree(binary),
        ExprKind::Aggregate(aggregate) => {
            let object = json!({
                "type": "aggregation",
                "op": aggregate.op.name(),
                "grouping": aggregate.grouping,
                "without": aggregate.without,
            });
            let param = aggregate.param.as_ref().map_or(Value::Null, tree);
            over(object, [("expr", tree(&aggregate.expr)), ("param", param)])
        }
        ExprKind::Call(call) => {
            let function = call.function;
            let types: Vec<&str> = function.args.iter().map(|one| one.name()).collect();
            let object = json!({
                "type": "call",
                "func": {
                    "name": function.name,
                    "argTypes": types,
                    "variadic": function.variadic,
                    "returnType": function.returns.name(),
                },
            });
            let args = Value::Array(call.args.iter().map(tree).collect());
            over(object, [("args", args)])
        }
    }
}

/// An object with trees in it. They are moved: `json!` would copy them, at each level once more.
fn over<const N: usize>(mut object: Value, trees: [(&str, Value); N]) -> Value {
    if let Value::Object(members) = &mut object {
        members.extend(trees.map(|(name, tree)| (name.to_owned(), tree)));
    }
    object
}

fn selector(kind: &str, vector: &VectorSelector) -> Value {
    let (timestamp, start_or_end) = at(vector.at);
    let mut object = json!({
        "type": kind,
        "name": vector.name.as_deref().unwrap_or_default(),
        "matchers": vector.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
        "anchored": vector.edges == Edges::Anchored,
        "smoothed": vector.edges == Edges::Smoothed,
    });
    extend(&mut object, "offset", vector.offset.as_ref());
    object
}

fn matcher(matcher: &Matcher) -> Value {
    json!({"name": matcher.name(), "value": matcher.value(), "type": matcher.op().symbol()})
}

fn at(at: Option<At>) -> (Option<i64>, Option<&'static str>) {
    match at {
        None => (None, None),
        Some(At::Time(time)) => (Some(time.0), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
    }
}

fn subquery_tree(subquery: &Subquery) -> Value {
    let (timestamp, start_or_end) = at(subquery.at);
    let object = json!({
        "type": "subquery",
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
    });
    let mut object = over(object, [("expr", tree(&subquery.expr))]);
    extend(&mut object, "range", Some(&subquery.range));
    extend(&mut object, "step", subquery.step.as_ref());
    extend(&mut object, "offset", subquery.offset.as_ref());
    object
}

/// A duration is two members: its milliseconds if it is a number, its tree if it is more.
fn extend(object: &mut Value, name: &str, duration: Option<&DurationExpr>) {
    let Value::Object(members) = object else {
        return;
    };
    let literal = duration.and_then(DurationExpr::literal_ms);
    let expr = duration.filter(|_| literal.is_none()).map(duration_tree);
    members.insert(name.to_owned(), json!(literal.unwrap_or(0)));
    members.insert(format!("{name}Expr"), expr.unwrap_or_default());
}

fn duration_tree(duration: &DurationExpr) -> Value {
    let node = |op: &str, left: Option<&DurationExpr>, right: Option<&DurationExpr>| {
        let side = |side: Option<&DurationExpr>| side.map_or(Value::Null, duration_tree);
        let object = json!({"type": "durationExpr", "op": op, "wrapped": false});
        over(object, [("lhs", side(left)), ("rhs", side(right))])
    };
    match &duration.kind {
        DurationKind::Number(number) => json!({
            "type": "numberLiteral",
            "val": number_text(number.value),
            "duration": number.duration,
        }),
        DurationKind::Step => node("step", None, None),
        DurationKind::Range => node("range", None, None),
        DurationKind::Plus(inner) => node("+", None, Some(inner)),
        DurationKind::Negate(inner) => node("-", None, Some(inner)),
        DurationKind::Paren(inner) => {
            let mut object = match inner.kind {
                DurationKind::Number(_) => node("+", None, Some(inner)),
                _ => duration_tree(inner),
            };
            if let Value::Object(members) = &mut object {
                members.insert("wrapped".to_owned(), json!(true));
            }
            object
        }
        DurationKind::Binary(op, left, right) => node(op.symbol(), Some(left), Some(right)),
    }
}

fn binary_tree(binary: &Binary) -> Value {
    let object = json!({
        "type": "binaryExpr",
        "op": binary.op.symbol(),
        "matching": binary.matching.as_ref().map(matching_tree),
        "bool": binary.return_bool,
    });
    over(
        object,
        [("lhs", tree(&binary.left)), ("rhs", tree(&binary.right))],
    )
}

fn matching_tree(matching: &Matching) -> Value {
    json!({
        "card": matching.cardinality.name(),
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {
            "lhs": matching.fill_left.map(fill_value),
            "rhs": matching.fill_right.map(fill_value),
        },
    })
}

/// JSON has no infinities: there Prometheus fails, and we give the text.
fn fill_value(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None => Value::String(number_text(value)),
    }
}
