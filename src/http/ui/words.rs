//! What PromQL knows by name, for the completion in the query box: functions with their arguments,
//! aggregations, keywords. Written from the tables that the parser reads, so that nothing is listed
//! twice.

use crate::query::function::{self, Function};
use crate::query::syntax;

use super::super::json::{self, Fields};

/// All words as JSON: `{"functions": [{name, args, doc}], "aggregations": [..], "keywords": [..]}`.
pub(super) fn words() -> Vec<u8> {
    let mut out = Vec::new();
    let mut fields = Fields::new(&mut out);
    json::list(
        fields.field("functions"),
        function::all(),
        |out, function| {
            let mut entry = Fields::new(out);
            entry.text("name", function.name);
            entry.text("args", &arguments(function));
            entry.text("doc", function.doc);
            entry.end();
        },
    );
    json::texts(fields.field("aggregations"), syntax::aggregations());
    json::texts(fields.field("keywords"), syntax::keywords());
    fields.end();
    out
}

/// As documentation writes them: `(range vector, scalar?)`, and `…` where more may follow.
fn arguments(function: &Function) -> String {
    let least = function.args_min();
    let mut texts: Vec<String> = Vec::new();
    for (at, kind) in function.args.iter().enumerate() {
        let open = if at < least { "" } else { "?" };
        texts.push(format!("{}{open}", kind.documented()));
    }
    if function
        .args_max()
        .is_none_or(|most| most > function.args.len())
    {
        texts.push("…".to_owned());
    }
    format!("({})", texts.join(", "))
}
