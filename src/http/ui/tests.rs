//! The page as a browser gets it. Would catch a file that is not served, a content type that a
//! browser refuses, and anything that reaches for another host or needs more than the policy gives.

use std::io::Read;

use axum::http::Request;
use http_body_util::BodyExt;
use tower_service::Service;

use super::*;

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn get_with(path: &str, headers: &[(&str, &str)]) -> Got {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let mut router: Router = routes();
    let response = router.call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Got {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

async fn get(path: &str) -> Got {
    get_with(path, &[]).await
}

/// What a text names between a prefix and a quote.
fn named<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let parts = text.split(prefix).skip(1);
    parts.map(|part| part.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn the_page_is_html_under_a_strict_policy() {
    let got = get("/").await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.header("content-type"), "text/html; charset=utf-8");
    assert!(
        got.header("content-security-policy")
            .starts_with("default-src 'self';")
    );
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert_eq!(got.header("cache-control"), "no-cache");
    assert!(got.text().contains("<title>Cairn</title>"));
    assert!(!got.text().contains(VERSION_MARK));
}

#[tokio::test]
async fn the_page_is_sent_again_only_when_it_changed() {
    let tag = get("/").await.header("etag").to_owned();
    let again = get_with("/", &[("if-none-match", &tag)]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert!(again.body.is_empty());
    let other = get_with("/", &[("if-none-match", "\"0\"")]).await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test]
async fn all_that_the_page_names_is_served_and_kept() {
    let page = get("/").await;
    let mut links = named(page.text(), "href=\"ui/");
    links.extend(named(page.text(), "src=\"ui/"));
    assert!(links.len() > 20, "{links:?}");
    for link in links {
        let got = get(&format!("/ui/{link}")).await;
        assert_eq!(got.status, StatusCode::OK, "{link}");
        let kind = match link.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        assert_eq!(got.header("content-type"), kind, "{link}");
        assert!(
            got.header("cache-control").contains("immutable"),
            "{link}: {:?}",
            got.headers
        );
        assert!(
            got.header("content-security-policy")
                .contains("default-src 'self'")
        );
    }
}

#[tokio::test]
async fn modules_are_preloaded_and_import_what_is_served() {
    let page = get("/").await;
    for file in Page::new()
        .files
        .iter()
        .filter(|file| file.name.ends_with(".js"))
    {
        let linked = format!("/{}\"", file.name);
        assert!(
            page.text().contains(&linked),
            "{} is not in the page",
            file.name
        );
        let text = std::str::from_utf8(&file.bytes).unwrap();
        for import in named(text, " from \"./") {
            let found = files::FILES.iter().any(|(name, ..)| *name == import);
            assert!(found, "{} imports {import}", file.name);
        }
    }
}

#[tokio::test]
async fn another_version_is_not_found() {
    let page = Page::new();
    for path in [
        "/ui/0/main.js".to_owned(),
        format!("/ui/{}/nothing.js", page.version),
        format!("/ui/{}/../mod.rs", page.version),
    ] {
        let got = get(&path).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
        assert!(got.text().contains("page not found"), "{path}");
    }
}

#[tokio::test]
async fn files_are_compressed_where_accepted() {
    let path = format!("/ui/{}/uplot/uPlot.esm.js", Page::new().version);
    let plain = get(&path).await;
    let small = get_with(&path, &[("accept-encoding", "gzip")]).await;
    assert_eq!(small.header("content-encoding"), "gzip");
    assert_eq!(small.header("vary"), "accept-encoding");
    assert!(small.body.len() * 2 < plain.body.len());
    let mut read = Vec::new();
    flate2::read::GzDecoder::new(small.body.as_slice())
        .read_to_end(&mut read)
        .unwrap();
    assert!(read == plain.body);
}

/// Without comments: the library's name where its ideas come from.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("/*") {
        out.push_str(&rest[..at]);
        let end = rest[at..].find("*/").map_or(rest.len(), |end| at + end + 2);
        rest = &rest[end..];
    }
    out.push_str(rest);
    out.lines()
        .map(|line| {
            let comment = line.find("//").filter(|&at| !line[..at].ends_with(':'));
            &line[..comment.unwrap_or(line.len())]
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The name of a language of pictures, which is written as an address and never fetched.
const SVG: &str = "http://www.w3.org/2000/svg";

#[test]
fn no_other_host_is_named() {
    let page = Page::new();
    let served = page
        .files
        .iter()
        .map(|file| (file.name, file.bytes.as_ref()));
    for (name, bytes) in served.chain([("index.html", page.index.as_slice())]) {
        let text = code(std::str::from_utf8(bytes).unwrap()).replace(SVG, "");
        for sign in [
            "http://", "https://", "ws://", "wss://", "\"//", "'//", "(//",
        ] {
            assert!(!text.contains(sign), "{name} has {sign}");
        }
    }
}

/// What the policy would refuse, and what would make HTML of what a series says.
#[test]
fn nothing_inline_and_no_html_from_texts() {
    let page = Page::new();
    let index = std::str::from_utf8(&page.index).unwrap();
    for sign in [
        " style=",
        "<style",
        " onclick=",
        " onload=",
        "javascript:",
        "<script>",
    ] {
        assert!(!index.contains(sign), "the page has {sign}");
    }
    assert_eq!(index.matches("<script").count(), 1);
    for file in page.files.iter().filter(|file| !file.name.contains('/')) {
        let text = std::str::from_utf8(&file.bytes).unwrap();
        for sign in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            "new Function",
        ] {
            assert!(!text.contains(sign), "{} has {sign}", file.name);
        }
    }
}

#[test]
fn words_are_what_the_parser_knows() {
    let json: serde_json::Value = serde_json::from_slice(&words::words()).unwrap();
    let functions = json["functions"].as_array().unwrap();
    let of = |name: &str| {
        functions
            .iter()
            .find(|one| one["name"] == name)
            .unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(of("rate")["args"], "(range vector)");
    assert_eq!(of("round")["args"], "(instant vector, scalar?)");
    assert!(!of("rate")["doc"].as_str().unwrap().is_empty());
    let has = |list: &str, word: &str| json[list].as_array().unwrap().iter().any(|one| one == word);
    assert!(has("aggregations", "topk"));
    assert!(has("keywords", "group_left"));
    assert!(!has("keywords", "sum"));
}
