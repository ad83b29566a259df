//! Imports go one way: a layer names only layers below it, a path into another folder stops at
//! its door, and no files of one folder import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::report;
use super::sources::{Source, below, paths};

/// What a folder of `src` may import beside itself. A folder that is not here is refused.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    // Only the words of time: a clock returns a timestamp.
    ("runtime", &["model"]),
    ("codec", &["model"]),
    ("source", &["codec", "model", "runtime"]),
    ("store", &["source", "codec", "model", "runtime"]),
    ("archive", &["codec", "model", "runtime"]),
    (
        "cluster",
        &["store", "archive", "source", "codec", "model", "runtime"],
    ),
    ("ingest", &["cluster", "codec", "model", "runtime"]),
    ("transfer", &["codec", "model"]),
    ("query", &["source", "codec", "model", "runtime"]),
    ("rules", &["query", "ingest", "cluster", "model", "runtime"]),
    (
        "http",
        &[
            // Codec: remote read and federation speak protobuf and Prometheus' chunks.
            "rules", "query", "ingest", "cluster", "source", "codec", "model", "runtime",
        ],
    ),
    (
        "config",
        &[
            "http", "query", "ingest", "cluster", "archive", "store", "model", "runtime",
        ],
    ),
    ("node", &["*"]),
    ("cli", &["*"]),
    ("lib", &[]),
    ("main", &["cli"]),
];

fn folder_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside
        .split_once('/')
        .map_or_else(|| inside.trim_end_matches(".rs"), |(folder, _)| folder)
}

/// Absolute module path of a file: `src/store/head/mod.rs` is `[store, head]`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// Every path that a file names inside the crate, absolute (without the leading `crate`).
fn absolute(source: &Source) -> Vec<Vec<String>> {
    let own = module_of(&source.path);
    let mut all: Vec<Vec<String>> = paths(&source.code, &["crate", "super"])
        .into_iter()
        .map(|path| {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let mut whole = if ups == 0 {
                Vec::new()
            } else {
                own[..own.len().saturating_sub(ups)].to_vec()
            };
            whole.extend(path.into_iter().skip(ups.max(1)));
            whole
        })
        .collect();
    if own == ["lib"] || own == ["main"] {
        all.extend(
            paths(&source.code, &["cairn"])
                .into_iter()
                .map(|path| path[1..].to_vec()),
        );
    }
    all.retain(|path| !path.is_empty());
    all
}

#[test]
fn layers_import_only_what_lies_below_them() {
    let mut complaints = Vec::new();
    for source in below("src") {
        let own = folder_of(&source.path);
        let Some((_, allowed)) = ALLOWED.iter().find(|(folder, _)| *folder == own) else {
            complaints.push(format!(
                "{}: the folder {own} is not in the table of directions",
                source.path
            ));
            continue;
        };
        let targets: BTreeSet<String> = absolute(&source)
            .into_iter()
            .map(|mut path| path.swap_remove(0))
            .collect();
        for target in targets {
            let known = ALLOWED.iter().any(|(folder, _)| *folder == target);
            if known
                && target != own
                && !allowed.contains(&"*")
                && !allowed.contains(&target.as_str())
            {
                complaints.push(format!("{}: {own} may not import {target}", source.path));
            }
        }
    }
    report("imports go downwards only", complaints);
}

/// Modules that a door opens on purpose: `pub mod` in the folder's `mod.rs`.
fn open_modules(sources: &[Source], folder: &[String]) -> BTreeSet<String> {
    let door = format!("src/{}/mod.rs", folder.join("/"));
    let Some(door) = sources.iter().find(|source| source.path == door) else {
        return BTreeSet::new();
    };
    door.code
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("pub mod ")?
                .strip_suffix(';')
                .map(str::to_owned)
        })
        .collect()
}

/// How a path goes past a door: the module it enters, which that module's folder keeps to itself.
fn past_a_door(sources: &[Source], path: &[String]) -> Option<String> {
    let door = |len: usize| {
        let door = format!("src/{}/mod.rs", path[..len].join("/"));
        sources.iter().find(|source| source.path == door)
    };
    let is_module = |len: usize| {
        let own = format!("src/{}.rs", path[..len].join("/"));
        door(len).is_some() || sources.iter().any(|source| source.path == own)
    };
    for len in 2..=path.len() {
        if !is_module(len) {
            return None;
        }
        if open_modules(sources, &path[..len - 1]).contains(&path[len - 1]) {
            continue;
        }
        // A function may be named as the private module that it comes from: the door hands it on.
        let item = len == path.len()
            && door(len - 1)
                .is_some_and(|door| handed_on(&door.code, true).contains_key(&path[len - 1]));
        return (!item).then(|| path[..len - 1].join("::"));
    }
    None
}

#[test]
fn paths_into_another_folder_stop_at_its_door() {
    let sources = below("src");
    let mut complaints = Vec::new();
    for source in &sources {
        let own = module_of(&source.path);
        for path in absolute(source) {
            if path[0] == own[0] || matches!(own[0].as_str(), "lib" | "main") {
                continue;
            }
            if let Some(folder) = past_a_door(&sources, &path) {
                complaints.push(format!(
                    "{}: {} goes past the door of {folder}",
                    source.path,
                    path.join("::"),
                ));
            }
        }
    }
    report("paths stop at doors", complaints);
}

#[test]
fn a_function_named_as_its_module_comes_through_the_door() {
    let source = |path: &str, code: &str| Source {
        path: path.to_owned(),
        text: String::new(),
        code: code.to_owned(),
    };
    let sources = [
        source("src/query/mod.rs", "pub mod syntax;\nmod plan;"),
        source(
            "src/query/syntax/mod.rs",
            "mod parse;\nmod token;\npub use parse::{Parsed, parse};\nuse token::token;",
        ),
        source("src/query/syntax/parse.rs", ""),
        source("src/query/syntax/token.rs", ""),
        source("src/query/plan.rs", ""),
    ];
    let check = |path: &str, past: Option<&str>| {
        let path: Vec<String> = path.split("::").map(str::to_owned).collect();
        assert_eq!(past_a_door(&sources, &path).as_deref(), past, "{path:?}");
    };
    check("query::syntax::parse", None);
    check("query::syntax::Parsed", None);
    check("query::Engine", None);
    check("query::syntax::parse::Parsed", Some("query::syntax"));
    check("query::syntax::token", Some("query::syntax"));
    check("query::plan", Some("query"));
}

/// Which sibling defines an item that a door hands on, `pub use part::{A, B}`, or has at hand.
fn handed_on(door: &str, only_public: bool) -> BTreeMap<String, String> {
    let mut items = BTreeMap::new();
    for statement in door.split(';') {
        let Some((before, tree)) = statement.split_once("use ") else {
            continue;
        };
        let public = before
            .rsplit(['\n', '}'])
            .next()
            .is_some_and(|visibility| visibility.trim().starts_with("pub"));
        if only_public && !public {
            continue;
        }
        let tree = tree.trim();
        let first: String = tree
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let wrapped = format!("crate::{tree}");
        for path in paths(&wrapped, &["crate"]) {
            if let Some(last) = path.last() {
                items.insert(last.clone(), first.clone());
            }
        }
    }
    items
}

#[test]
fn no_files_of_one_folder_import_each_other_in_a_circle() {
    let sources = below("src");
    let folders: BTreeSet<Vec<String>> = sources
        .iter()
        .filter(|source| source.path.ends_with("/mod.rs"))
        .map(|source| module_of(&source.path))
        .collect();
    let mut complaints = Vec::new();
    for folder in &folders {
        let door = format!("src/{}/mod.rs", folder.join("/"));
        let door = sources
            .iter()
            .find(|source| source.path == door)
            .map_or("", |source| &source.code);
        let items = handed_on(door, false);
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for source in &sources {
            let own = module_of(&source.path);
            if own.len() <= folder.len() || own[..folder.len()] != folder[..] {
                continue;
            }
            let part = own[folder.len()].clone();
            for path in absolute(source) {
                if path.len() <= folder.len() || path[..folder.len()] != folder[..] {
                    continue;
                }
                let named = &path[folder.len()];
                let target = items.get(named).unwrap_or(named).clone();
                if target != part {
                    edges.entry(part.clone()).or_default().insert(target);
                }
            }
        }
        if let Some(circle) = find_circle(&edges) {
            complaints.push(format!("{}: {}", folder.join("/"), circle.join(" -> ")));
        }
    }
    report("no import circles inside a folder", complaints);
}

fn find_circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        at: &str,
        edges: &BTreeMap<String, BTreeSet<String>>,
        trail: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(start) = trail.iter().position(|name| name == at) {
            trail.drain(..start);
            trail.push(at.to_owned());
            return true;
        }
        if !done.insert(at.to_owned()) {
            return false;
        }
        trail.push(at.to_owned());
        if edges
            .get(at)
            .into_iter()
            .flatten()
            .any(|next| walk(next, edges, trail, done))
        {
            return true;
        }
        trail.pop();
        false
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| {
        let mut trail = Vec::new();
        walk(start, edges, &mut trail, &mut done).then_some(trail)
    })
}

#[test]
fn a_circle_is_found() {
    let edge = |from: &str, to: &[&str]| {
        (
            from.to_owned(),
            to.iter().map(|s| (*s).to_owned()).collect(),
        )
    };
    let edges = BTreeMap::from([edge("a", &["b"]), edge("b", &["c"]), edge("c", &["b"])]);
    assert_eq!(find_circle(&edges).unwrap(), ["b", "c", "b"]);
    assert!(find_circle(&BTreeMap::from([edge("a", &["b", "c"]), edge("b", &["c"])])).is_none());
}

#[test]
fn the_library_re_exports_nothing() {
    let sources = below("src");
    let lib = sources
        .iter()
        .find(|source| source.path == "src/lib.rs")
        .unwrap();
    assert!(
        !lib.code.contains("pub use"),
        "src/lib.rs lists modules and nothing else"
    );
}
