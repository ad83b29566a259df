//! Reads the tree: every Rust file below `src`, without comments, texts and test modules, and the
//! paths that it names.

use std::fs;
use std::path::{Path, PathBuf};

/// One file below `src`.
pub(crate) struct Source {
    /// Its path from the top of the repository, such as `src/store/mod.rs`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// The code alone: comments and texts blanked, inline test modules cut off.
    pub code: String,
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder of the repository, sorted by path; files of test modules
/// (`tests.rs`, `test_*.rs`) left out.
pub(crate) fn below(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    visit(&root().join(folder), &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = without_tests(&blank(&text));
            let path = path
                .strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .into_owned();
            Source { path, text, code }
        })
        .collect()
}

fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            visit(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.starts_with("test_") {
            found.push(path);
        }
    }
}

#[allow(
    clippy::too_many_lines,
    reason = "one small scanner reads better whole"
)]
/// Replaces comments and the insides of texts by spaces; line ends stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let keep = |out: &mut String, byte: u8| out.push(if byte == b'\n' { '\n' } else { ' ' });
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(b"//") {
            while at < bytes.len() && bytes[at] != b'\n' {
                at += 1;
            }
        } else if rest.starts_with(b"/*") {
            let end = text[at..]
                .find("*/")
                .map_or(bytes.len(), |end| at + end + 2);
            while at < end {
                keep(&mut out, bytes[at]);
                at += 1;
            }
        } else if rest.starts_with(b"r\"")
            || rest.starts_with(b"r#")
            || rest.starts_with(b"br\"")
            || rest.starts_with(b"br#")
        {
            let hashes = rest
                .iter()
                .skip_while(|b| b"br".contains(b))
                .take_while(|b| **b == b'#')
                .count();
            let open = rest.iter().position(|b| *b == b'"');
            match open {
                Some(open) if open <= hashes + 2 => {
                    let close = format!("\"{}", "#".repeat(hashes));
                    let from = at + open + 1;
                    let end = text[from..]
                        .find(&close)
                        .map_or(bytes.len(), |end| from + end + close.len());
                    while at < end {
                        keep(&mut out, bytes[at]);
                        at += 1;
                    }
                }
                _ => {
                    out.push(bytes[at] as char);
                    at += 1;
                }
            }
        } else if rest[0] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                if bytes[at] == b'\\' {
                    keep(&mut out, bytes[at]);
                    at += 1;
                }
                if at < bytes.len() {
                    keep(&mut out, bytes[at]);
                    at += 1;
                }
            }
            at += 1;
        } else if rest.starts_with(b"'\"'")
            || rest.starts_with(b"'\\''")
            || rest.starts_with(b"b'\"'")
        {
            at += rest
                .iter()
                .skip(2)
                .position(|b| *b == b'\'')
                .map_or(3, |end| end + 3);
        } else {
            out.push(if bytes[at].is_ascii() {
                bytes[at] as char
            } else {
                ' '
            });
            at += 1;
        }
    }
    out
}

/// Cuts inline modules marked `#[cfg(test)]` off: they stand at the end of a file.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        let after = &rest[at..];
        let (brace, semicolon) = (after.find('{'), after.find(';'));
        match (brace, semicolon) {
            (Some(open), end) if end.is_none_or(|end| open < end) => {
                let mut depth = 0;
                let close = after[open..]
                    .char_indices()
                    .find(|(_, c)| {
                        depth += i32::from(*c == '{') - i32::from(*c == '}');
                        depth == 0
                    })
                    .map_or(after.len(), |(close, _)| open + close + 1);
                rest = &after[close..];
            }
            (_, Some(end)) => rest = &after[end + 1..],
            _ => rest = "",
        }
    }
    out.push_str(rest);
    out
}

/// All paths in the code that begin with one of `roots` (such as `crate` or `super`), with the
/// braces of `use` trees multiplied out.
pub(crate) fn paths(code: &str, roots: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in roots {
        let pattern = format!("{root}::");
        let mut from = 0;
        while let Some(at) = code[from..].find(&pattern) {
            let at = from + at;
            from = at + pattern.len();
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            expand(&code[at..], &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Reads one path or `use` tree from the beginning of `code`; returns how many bytes it took.
fn expand(code: &str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    let mut at = 0;
    loop {
        at += code[at..].len() - code[at..].trim_start().len();
        let name: String = code[at..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '*')
            .collect();
        if code[at..].starts_with('{') {
            at += 1;
            loop {
                at += code[at..].len() - code[at..].trim_start().len();
                if at >= code.len() || code[at..].starts_with('}') {
                    at = (at + 1).min(code.len());
                    break;
                }
                if code[at..].starts_with(',') {
                    at += 1;
                    continue;
                }
                let used = expand(&code[at..], prefix, found);
                at += used.max(1);
            }
            break;
        }
        if name.is_empty() {
            break;
        }
        at += name.len();
        prefix.push(name);
        if code[at..].starts_with("::") && !code[at..].starts_with("::<") {
            at += 2;
            continue;
        }
        found.push(prefix.clone());
        let trimmed = code[at..].trim_start();
        if let Some(alias) = trimmed.strip_prefix("as ") {
            let alias_len = alias
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .count();
            at = code.len() - alias.trim_start().len() + alias_len;
        }
        break;
    }
    prefix.truncate(depth);
    at
}

#[test]
fn use_trees_are_multiplied_out() {
    let code = "use crate::{a::B, c::{D, self as e}};\nlet x = crate::f::<u8>(super::g::h());";
    let shown: Vec<String> = paths(code, &["crate", "super"])
        .iter()
        .map(|p| p.join("::"))
        .collect();
    assert_eq!(
        shown,
        [
            "crate::a::B",
            "crate::c::D",
            "crate::c::self",
            "crate::f",
            "super::g::h"
        ]
    );
}

#[test]
fn comments_texts_and_tests_are_no_code() {
    let code = without_tests(&blank(
        "a // crate::x\n\"crate::y\" r#\"crate::z\"# b\n#[cfg(test)]\nmod tests { crate::t }\nc",
    ));
    assert!(!code.contains("crate"), "{code}");
    assert!(code.contains('a') && code.contains('b') && code.contains('c'));
}
