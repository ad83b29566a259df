//! `log-fields.md`: every field of the log and every message, found by reading the sources. A field
//! that has no meaning here fails the test, and so does a meaning whose field is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::super::report;
use super::super::sources::below;
use super::{cell, check, opening};

/// What a field means, wherever it stands.
const MEANINGS: &[(&str, &str)] = &[
    ("activity", "what discovery was at"),
    ("address", "where HTTP is served"),
    ("applied", "how many control commands are applied"),
    ("at", "the place of an entry in the control log"),
    ("block", "the id of a block"),
    ("blocks", "how many blocks it is about"),
    ("bound", "the most that is allowed of it"),
    ("bucket", "the bucket or directory, in words"),
    ("bytes", "how many bytes it takes"),
    ("bytes_before", "how many bytes the merged blocks took"),
    ("cluster", "the id of the cluster"),
    ("command", "the kind of a control command"),
    (
        "copies",
        "which copies of blocks: `local` files or those in the `bucket`",
    ),
    ("data_dir", "the directory that holds everything"),
    ("decoded", "of how many blocks the index was decoded"),
    ("delete", "the name of a delete, by which it is undone"),
    (
        "end",
        "how a seal ended; of a merge or a delete the last time that it covers",
    ),
    ("ending", "why a node must stop"),
    ("epoch", "the epoch of a partition"),
    ("error", "what went wrong, and what to try"),
    (
        "faults",
        "how many copies of blocks verification has found wrong",
    ),
    ("file", "a file's name"),
    ("founders", "how many nodes found a cluster"),
    ("free", "bytes that may still be written to the disk"),
    ("index", "the number of a control command in its log"),
    ("keys", "keys of the configuration"),
    (
        "life",
        "how often a data directory has lost a part of what it had acknowledged",
    ),
    (
        "leader",
        "the incarnation of the node that leads the control group",
    ),
    (
        "memory_bytes",
        "the most memory that a query held, in bytes",
    ),
    ("min_free", "bytes below which writes are refused"),
    ("objects", "how many objects of the bucket it is about"),
    ("offset", "a position in a file, in bytes"),
    ("outcome", "what a control command came to"),
    ("partition", "the arc of the ring that a partition is"),
    ("peer", "another node, by its name, incarnation or address"),
    ("peers", "how many peers"),
    (
        "plan",
        "what a query is made of: each part after the one above it, deeper ones behind more `>`",
    ),
    ("query", "a PromQL expression, cut when it is long"),
    (
        "reason",
        "what is missing, or why something was refused, in words",
    ),
    ("refusal", "why a control command changed nothing"),
    ("records", "records of the log that are meant"),
    (
        "replayed_records",
        "records of the log that were read at the start",
    ),
    (
        "resolution",
        "how far apart the samples of a block are: `raw`, `5m` or `1h`",
    ),
    ("samples", "how many samples"),
    ("selector", "which series are deleted"),
    ("series", "how many series"),
    ("service", "the id of a service in Consul"),
    (
        "snapshot",
        "the name of a snapshot, a folder in `snapshots`",
    ),
    (
        "start",
        "the beginning of a range of time, in milliseconds since 1970",
    ),
    ("steps", "at how many times a query is evaluated"),
    ("tenant", "whose data it is about"),
    ("thread", "the name of a thread"),
    ("took_ms", "how long it took, in milliseconds"),
    ("version", "the version of the program"),
    ("voters", "how many nodes vote in the control group"),
    (
        "waited_ms",
        "how long it waited for its turn, in milliseconds",
    ),
    ("why", "why a range was due for sealing"),
];

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// One line that the log may have.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    level: usize,
    message: String,
    fields: Vec<String>,
}

/// The text from an opening parenthesis to the one that closes it, both left out.
fn inside(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return &text[1..at];
                }
            }
            _ => {}
        }
    }
    panic!("nothing closes {}", &text[..text.len().min(60)]);
}

/// The arguments of a call.
fn arguments(text: &str) -> Vec<String> {
    let (mut all, mut one) = (Vec::new(), String::new());
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                all.push(std::mem::take(&mut one));
                continue;
            }
            _ => {}
        }
        one.push(c);
    }
    all.push(one);
    all.retain(|one| !one.trim().is_empty());
    all.iter().map(|one| one.trim().to_owned()).collect()
}

/// The lines that a source may write to the log.
fn lines(text: &str) -> Vec<Line> {
    let mut found = Vec::new();
    for (level, name) in LEVELS.iter().enumerate() {
        for (macro_name, span) in [
            (format!("{name}!("), false),
            (format!("{name}_span!("), true),
        ] {
            for (at, _) in text.match_indices(&macro_name) {
                let before = text[..at].chars().next_back();
                let comment = text[..at]
                    .lines()
                    .next_back()
                    .is_some_and(|line| line.contains("//"));
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_') || comment {
                    continue;
                }
                let call = inside(&text[at + macro_name.len() - 1..]);
                found.push(line(level, &arguments(call), span));
            }
        }
    }
    found
}

fn line(level: usize, arguments: &[String], span: bool) -> Line {
    let mut line = Line {
        level,
        message: String::new(),
        fields: Vec::new(),
    };
    for argument in arguments {
        if let Some(message) = argument.strip_prefix('"') {
            let message = message.trim_end_matches('"');
            assert!(
                !message.contains('{'),
                "a message is constant, values are fields: {message}"
            );
            line.message = if span {
                format!("span `{message}`")
            } else {
                message.to_owned()
            };
            continue;
        }
        let name = argument.split('=').next().unwrap_or(argument);
        let name = name.trim().trim_start_matches(['%', '?']);
        // A field may be named after a part of a value: `self.name` is `name`.
        let name = name.rsplit('.').next().unwrap_or(name);
        if name != "target:" && !name.starts_with("target") {
            line.fields.push(name.to_owned());
        }
    }
    line
}

#[test]
fn reference_of_the_log() {
    let (mut all, mut complaints) = (BTreeSet::new(), Vec::new());
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in below("src") {
        let code = source.text.split("#[cfg(test)]\nmod").next().unwrap();
        if code.contains("#[instrument") || code.contains("tracing::instrument") {
            complaints.push(format!(
                "{}: fields of #[instrument] are not read; write the span out",
                source.path
            ));
        }
        for line in lines(code) {
            for field in &line.fields {
                if !MEANINGS.iter().any(|(name, _)| name == field) {
                    let path = &source.path;
                    complaints.push(format!("{path}: the log field {field} has no meaning: add a line to MEANINGS in tests/tidy/reference/log_fields.rs"));
                }
                let where_used = used.entry(field.clone()).or_default();
                where_used.insert(line.message.clone());
            }
            all.insert(line);
        }
    }
    for (name, _) in MEANINGS {
        if !used.contains_key(*name) {
            complaints.push(format!("no line of the log has the field {name} any more"));
        }
    }
    report("fields of the log are documented", complaints);

    let mut page = opening("The log");
    page.push_str(
        "Every line has a time, a level, the part of the program that wrote it and a constant text; \
         what varies are fields. `telemetry` in the [configuration](configuration.md) sets level \
         and form.\n\n\
         *error*: someone must act. *warn*: degraded, but handled. *info*: a sentence in the node's \
         life. *debug*: the rest.\n\n## Fields\n\n| field | what it is |\n| --- | --- |\n",
    );
    for (name, meaning) in MEANINGS {
        let _ = writeln!(page, "| `{name}` | {meaning} |");
    }
    page.push_str("\n## Texts\n\n| level | text | fields |\n| --- | --- | --- |\n");
    for line in all {
        let fields: Vec<String> = line.fields.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            LEVELS[line.level],
            cell(&line.message),
            fields.join(" ")
        );
    }
    check("log-fields.md", &page);
}

#[test]
fn lines_of_the_log_are_found() {
    let text = "tracing::warn!(\n file = name, %error, ?self.end, f = g(1, \"a,)\"), \"it, (is)\"\n); // info!(x)\n\
                // tracing::info!(no, \"no\")\n let s = debug_span!(\"seal\", partition);";
    let fields = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        lines(text),
        [
            Line {
                level: 1,
                message: "it, (is)".to_owned(),
                fields: fields(&["file", "error", "end", "f"]),
            },
            Line {
                level: 3,
                message: "span `seal`".to_owned(),
                fields: fields(&["partition"]),
            },
        ]
    );
}
