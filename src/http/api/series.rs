//! What series there are: `series`, `labels`, `label/<name>/values`, `query_exemplars`.

use std::collections::BTreeMap;

use crate::model::{Exemplar, LabelSet, Matcher};
use crate::query::syntax::{self, Expr, ExprKind};
use crate::source::ReadContext;

use super::super::answer::{Remarks, Sink};
use super::super::json;
use super::super::reply::ApiError;
use super::call::{Answered, Call, cut, one_more};

/// `series`: the label sets that match.
pub(in super::super) fn series(call: &Call, sink: &mut Sink) -> Answered {
    if call.params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = call.params.limit()?;
    let range = call.range()?;
    let sets = call
        .matcher_sets()
        .map_err(|reason| ApiError::parameter("match[]", reason))?;
    let context = call.context();
    let mut found: Vec<LabelSet> = Vec::new();
    for matchers in sets {
        let selection = call.selection(matchers, range);
        let source = &call.state.source;
        found.extend(source.series(&selection, one_more(limit), &context)?);
    }
    found.sort();
    found.dedup();
    let remarks = cut(&mut found, limit);
    write_list(sink, &found, json::labels)?;
    Ok(remarks)
}

/// `labels`: the label names.
pub(in super::super) fn labels(call: &Call, sink: &mut Sink) -> Answered {
    texts(call, sink, |matchers, limit, context| {
        let selection = call.selection(matchers, call.range()?);
        let source = &call.state.source;
        Ok(source.label_names(&selection, limit, context)?)
    })
}

/// `label/<name>/values`: the values of one label.
pub(in super::super) fn label_values(call: &Call, sink: &mut Sink) -> Answered {
    let name = unescape(&call.name);
    if name.is_empty() {
        return Err(ApiError::bad_data(format!("invalid label name: {name:?}")));
    }
    texts(call, sink, |matchers, limit, context| {
        let selection = call.selection(matchers, call.range()?);
        let source = &call.state.source;
        Ok(source.label_values(&name, &selection, limit, context)?)
    })
}

/// Asks once per `match[]` (once without any), and writes the union.
fn texts(
    call: &Call,
    sink: &mut Sink,
    ask: impl Fn(Vec<Matcher>, usize, &ReadContext) -> Result<Vec<String>, ApiError>,
) -> Answered {
    let limit = call.params.limit()?;
    call.range()?;
    let mut sets = call.matcher_sets().map_err(ApiError::bad_data)?;
    if sets.is_empty() {
        sets.push(Vec::new());
    }
    let context = call.context();
    let mut found: Vec<String> = Vec::new();
    for matchers in sets {
        found.extend(ask(matchers, one_more(limit), &context)?);
    }
    found.sort_unstable();
    found.dedup();
    let remarks = cut(&mut found, limit);
    write_list(sink, &found, |out, name| json::text(out, name))?;
    Ok(remarks)
}

fn write_list<T>(
    sink: &mut Sink,
    items: &[T],
    write: impl Fn(&mut Vec<u8>, &T),
) -> Result<(), ApiError> {
    sink.out().push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            sink.out().push(b',');
        }
        write(sink.out(), item);
        sink.breathe()?;
    }
    sink.out().push(b']');
    Ok(())
}

/// A name as it stands in a path: after `U__` an underscore is doubled and other characters are
/// `_HEX_`. What does not follow these rules is taken as it is.
fn unescape(name: &str) -> String {
    name.strip_prefix("U__")
        .and_then(unescaped)
        .unwrap_or_else(|| name.to_owned())
}

fn unescaped(escaped: &str) -> Option<String> {
    let mut plain = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('_') {
        plain.push_str(before);
        if let Some(more) = after.strip_prefix('_') {
            plain.push('_');
            rest = more;
            continue;
        }
        let (code, more) = after.split_once('_')?;
        // Six digits reach the last character there is.
        if code.is_empty() || code.len() > 6 {
            return None;
        }
        plain.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        rest = more;
    }
    plain.push_str(rest);
    Some(plain)
}

/// `query_exemplars`: exemplars of all series that an expression selects.
pub(in super::super) fn exemplars(call: &Call, sink: &mut Sink) -> Answered {
    let range = call.range()?;
    if range.end < range.start {
        return Err(ApiError::bad_data(
            "end timestamp must not be before start timestamp",
        ));
    }
    let expr = syntax::parse(call.params.get("query"), call.state.engine.parse_options())
        .map_err(ApiError::bad_data)?;
    let mut selectors = Vec::new();
    collect_selectors(&expr, &mut selectors);
    if selectors.is_empty() {
        return Ok(Remarks::default());
    }
    let context = call.context();
    let mut found: BTreeMap<LabelSet, Vec<Exemplar>> = BTreeMap::new();
    for matchers in selectors {
        let selection = call.selection(matchers, range);
        for (labels, exemplars) in call.state.source.exemplars(&selection, &context)? {
            // Two selectors may meet the same series.
            found.entry(labels).or_insert(exemplars);
        }
    }
    json::list(sink.out(), found, |out, (labels, exemplars)| {
        out.push(b'{');
        json::key(out, "seriesLabels");
        json::labels(out, &labels);
        out.push(b',');
        json::key(out, "exemplars");
        json::list(out, &exemplars, write_exemplar);
        out.push(b'}');
    });
    Ok(Remarks::default())
}

fn write_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    out.push(b'{');
    json::key(out, "labels");
    json::labels(out, &exemplar.labels);
    out.push(b',');
    json::key(out, "value");
    json::float(out, exemplar.value);
    out.push(b',');
    json::key(out, "timestamp");
    json::timestamp(out, exemplar.timestamp.0);
    out.push(b'}');
}

fn collect_selectors(expr: &Expr, found: &mut Vec<Vec<Matcher>>) {
    match &expr.kind {
        ExprKind::Vector(selector) => found.push(selector.matchers.clone()),
        ExprKind::Matrix(selector) => found.push(selector.vector.matchers.clone()),
        _ => expr
            .children()
            .into_iter()
            .for_each(|child| collect_selectors(child, found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::syntax::ParseOptions;

    #[test]
    fn names_in_paths_are_unescaped() {
        for (name, want) in [
            ("job", "job"),
            ("U__job", "job"),
            ("U__http_2e_server", "http.server"),
            ("U__a__b", "a_b"),
            ("U___1f600_x", "😀x"),
            ("U__a_b", "U__a_b"),
            ("U__a_zz_", "U__a_zz_"),
            ("U__a_d800_", "U__a_d800_"),
        ] {
            assert_eq!(unescape(name), want, "{name}");
        }
    }

    #[test]
    fn all_selectors_of_an_expression_are_found() {
        let expr = syntax::parse(
            "sum(rate(a[5m])) / on() max_over_time(b{x=\"y\"}[1h:1m]) + 1",
            &ParseOptions::ALL,
        );
        let mut found = Vec::new();
        collect_selectors(&expr.unwrap(), &mut found);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].len(), 2);
    }
}
