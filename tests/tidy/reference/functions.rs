//! `functions.md`: every PromQL function, from the table that the parser reads.

use std::fmt::Write;

use cairn::query::function::{Function, all};

use super::{cell, check, opening};

/// The arguments as Prometheus' documentation writes them: those in brackets may be left out.
fn signature(function: &Function) -> String {
    let least = function.args_min();
    // Of arguments without bound, one more shows that there may be more.
    let most = function.args_max().unwrap_or(least + 1);
    let mut text = String::new();
    for at in 0..most.min(least + 1) {
        let Some(kind) = function.arg(at) else { break };
        let comma = if at == 0 { "" } else { ", " };
        if at < least {
            let _ = write!(text, "{comma}{}", kind.name());
        } else {
            let more = if most > least + 1 || function.args_max().is_none() {
                " ..."
            } else {
                ""
            };
            let _ = write!(text, "[{comma}{}{more}]", kind.name());
        }
    }
    format!("{}({text})", function.name)
}

#[test]
fn reference_of_the_functions() {
    let mut page = opening("PromQL functions");
    page.push_str(
        "A *vector* is an instant vector, a *matrix* a range vector. Arguments in brackets may be \
         left out. Prometheus offers the experimental ones behind its flag \
         `promql-experimental-functions`; here they are always there, and may still change with \
         Prometheus. `holt_winters` is `double_exponential_smoothing`.\n\n\
         | function | gives | what it is | experimental |\n| --- | --- | --- | --- |\n",
    );
    for function in all() {
        let experimental = if function.experimental { "yes" } else { "" };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {experimental} |",
            signature(function),
            function.returns.name(),
            cell(function.doc)
        );
    }
    check("functions.md", &page);
}

#[test]
fn a_signature_shows_what_may_be_left_out() {
    for (name, shown) in [
        ("pi", "pi()"),
        ("abs", "abs(vector)"),
        ("hour", "hour([vector])"),
        ("round", "round(vector[, scalar])"),
        (
            "label_join",
            "label_join(vector, string, string[, string ...])",
        ),
    ] {
        let function = cairn::query::function::lookup(name).unwrap();
        assert_eq!(signature(function), shown);
    }
}
