//! The web page: plain files, embedded in the program, that read the same API as everybody.
//!
//! `/` is the page; what it needs lies below `/ui/{version}/`, where the version is a digest of all
//! files: so browsers keep them for good, and never mix the files of two releases. There is no
//! build step, nothing is asked of other hosts, and the content security policy holds the page to
//! that. Knows nothing of the node's state: these routes can be served before there is any.

mod files;
mod words;

use std::borrow::Cow;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::encoding::{Coder, Encoding};
use super::reply::plain;

/// Scripts, styles, pictures and requests: from this node alone. Other sites may not frame it.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'self'";

/// What stands for the version in `index.html`.
const VERSION_MARK: &str = "VERSION";

/// A year: what a path with a version names never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// May be kept, but is to be asked for again every time.
const ASK_AGAIN: &str = "no-cache";

/// `/` and all that it needs.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = Arc::new(Page::new());
    let index = page.clone();
    Router::new()
        .route(
            "/",
            get(move |headers: HeaderMap| ready(index.index(&headers))),
        )
        .route(
            "/ui/{version}/{*name}",
            get(
                move |Path((version, name)): Path<(String, String)>, headers: HeaderMap| {
                    ready(page.file(&version, &name, &headers))
                },
            ),
        )
}

/// One file as it is served.
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: Cow<'static, [u8]>,
}

/// The page with its files.
struct Page {
    version: String,
    index: Vec<u8>,
    files: Vec<File>,
}

impl Page {
    fn new() -> Self {
        let mut files: Vec<File> = files::FILES
            .iter()
            .map(|&(name, kind, bytes)| File {
                name,
                kind,
                bytes: Cow::Borrowed(bytes),
            })
            .collect();
        files.push(File {
            name: "words.json",
            kind: "application/json",
            bytes: Cow::Owned(words::words()),
        });
        let version = version(&files);
        let index = files::INDEX.replace(VERSION_MARK, &version).into_bytes();
        Self {
            version,
            index,
            files,
        }
    }

    /// The page itself.
    fn index(&self, headers: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.version);
        let known = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains(&tag));
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            respond("text/html; charset=utf-8", &self.index, headers)
        };
        let out = response.headers_mut();
        guard(out);
        out.insert(CACHE_CONTROL, HeaderValue::from_static(ASK_AGAIN));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            out.insert(ETAG, tag);
        }
        response
    }

    /// One of its files.
    fn file(&self, version: &str, name: &str, headers: &HeaderMap) -> Response {
        let found = self.files.iter().find(|file| file.name == name);
        let Some(file) = found.filter(|_| version == self.version) else {
            let text =
                "404 page not found\nthis node serves another version of the page: load it again";
            return plain(StatusCode::NOT_FOUND, text);
        };
        let mut response = respond(file.kind, &file.bytes, headers);
        let out = response.headers_mut();
        guard(out);
        out.insert(CACHE_CONTROL, HeaderValue::from_static(FOREVER));
        response
    }
}

/// A digest of all files, short enough for a path.
fn version(files: &[File]) -> String {
    let mut hash = blake3::Hasher::new();
    let index = ("index.html", files::INDEX.as_bytes());
    let all = files.iter().map(|file| (file.name, file.bytes.as_ref()));
    for (name, bytes) in all.chain([index]) {
        hash.update(name.as_bytes());
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().to_hex().chars().take(16).collect()
}

/// A body, compressed as the browser accepts it.
fn respond(kind: &'static str, bytes: &[u8], headers: &HeaderMap) -> Response {
    let mut coder = Coder::new(Encoding::accepted(headers));
    let encoding = coder.encoding().name();
    let mut body = coder.push(bytes);
    body.extend(coder.finish());
    let mut response = Body::from(body).into_response();
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    out.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(name) = encoding {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    response
}

/// What keeps a browser from doing more than the page needs.
fn guard(headers: &mut HeaderMap) {
    let rules: [(HeaderName, &'static str); 3] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in rules {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests;
