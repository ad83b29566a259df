//! Files: each introduces itself, none outgrows one head, and what the documentation names exists.

use std::fs;

use super::report;
use super::sources::{below, root};

/// Lines of code and comments, tests aside, that a file may have.
const LINES_MAX: usize = 500;

/// Files that are longer today. The list only shrinks.
const LONGER: &[&str] = &[];

#[test]
fn files_introduce_themselves() {
    let silent = below("src")
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    report("a file opens with //! and says what it is for", silent);
}

#[test]
fn files_stay_small() {
    let mut complaints = Vec::new();
    for source in below("src") {
        let tests = source
            .text
            .find("#[cfg(test)]\nmod tests {")
            .unwrap_or(source.text.len());
        let lines = source.text[..tests].lines().count();
        let excepted = LONGER.contains(&source.path.as_str());
        if lines > LINES_MAX && !excepted {
            complaints.push(format!(
                "{}: {lines} lines, at most {LINES_MAX}",
                source.path
            ));
        }
        if lines <= LINES_MAX && excepted {
            complaints.push(format!(
                "{}: short enough now, take it off the list",
                source.path
            ));
        }
    }
    report("files stay small", complaints);
}

#[test]
fn names_say_something() {
    const NOTHING: &[&str] = &[
        "manager", "helper", "helpers", "util", "utils", "common", "misc",
    ];
    let complaints = below("src")
        .into_iter()
        .filter(|source| {
            source
                .path
                .split(['/', '.'])
                .any(|part| NOTHING.contains(&part))
        })
        .map(|source| source.path)
        .collect();
    report("a file is named for what it is", complaints);
}

/// What stands in backticks in the documentation and looks like a path of the tree must exist.
#[test]
fn paths_in_the_documentation_exist() {
    let mut complaints = Vec::new();
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/decisions"] {
        pages.extend(
            fs::read_dir(root().join(folder))
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().path()),
        );
    }
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|ext| ext == "md"))
    {
        let text = fs::read_to_string(page).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let looks_like_path = [
                "src/", "tests/", "scripts/", "docs/", "benches/", "fuzz/", ".ci/",
            ]
            .iter()
            .any(|top| quoted.starts_with(top));
            let plain = quoted
                .chars()
                .all(|c| c.is_alphanumeric() || "/._-".contains(c));
            if looks_like_path && plain && !root().join(quoted).exists() {
                complaints.push(format!("{}: {quoted} does not exist", page.display()));
            }
        }
    }
    report("documentation names what exists", complaints);
}

/// Promises are worth what their tests are: `docs/reliability.md` names them by file and function.
#[test]
fn tests_in_the_documentation_exist() {
    let mut complaints = Vec::new();
    let mut named = 0;
    let page = fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    for paragraph in page.split("\n\n") {
        let mut file = None;
        for quoted in paragraph.split('`').skip(1).step_by(2) {
            if quoted.ends_with(".rs") {
                file = Some((
                    quoted,
                    fs::read_to_string(root().join(quoted)).unwrap_or_default(),
                ));
                continue;
            }
            let Some((path, text)) = &file else {
                continue;
            };
            let plain = quoted.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if !plain || quoted.matches('_').count() < 2 {
                continue;
            }
            named += 1;
            if !text.contains(&format!("fn {quoted}(")) {
                complaints.push(format!("{path} has no test {quoted}"));
            }
        }
    }
    assert!(named > 50, "only {named} tests are named");
    report("documentation names tests that exist", complaints);
}
