//! Bad input harms nobody: each gets the right status and a text that names the thing, its bound
//! and the remedy; the valid rest is stored; the process goes on.

use super::remote_write::{body, now_ms, send, series};
use super::servers::{Answer, Cairn, get, post};

const V1: (&str, &str) = ("content-type", "application/x-protobuf");
const SNAPPY: (&str, &str) = ("content-encoding", "snappy");

fn expect(what: &str, answer: &Answer, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    for part in parts {
        assert!(
            answer.text().contains(part),
            "{what}: {part:?} is missing in {}",
            answer.text()
        );
    }
}

fn write(node: &Cairn, headers: &[(&str, &str)], bytes: &[u8]) -> Answer {
    post(&format!("{}/api/v1/write", node.url()), headers, bytes).unwrap()
}

fn bad_bodies(node: &Cairn) {
    expect(
        "no snappy",
        &write(node, &[V1, SNAPPY], b"\xff\xff\xff\xff\xffgarbage"),
        400,
        &["snappy"],
    );
    // A length that lies: 4 GiB declared in five bytes.
    let lie = [0xf0, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let answer = write(node, &[V1, SNAPPY], &lie);
    assert!(
        matches!(answer.status, 400 | 413),
        "a lying length: {} {}",
        answer.status,
        answer.text()
    );
    let whole = body(vec![series(&[("__name__", "x")], &[(now_ms(), 1.0)])]);
    let raw = snap::raw::Decoder::new().decompress_vec(&whole).unwrap();
    let cut = snap::raw::Encoder::new()
        .compress_vec(&raw[..raw.len() - 3])
        .unwrap();
    expect(
        "truncated protobuf",
        &write(node, &[V1, SNAPPY], &cut),
        400,
        &[],
    );
    expect(
        "unknown encoding",
        &write(node, &[V1, ("content-encoding", "br")], &whole),
        415,
        &["snappy"],
    );
    expect(
        "unknown type",
        &write(node, &[("content-type", "text/plain"), SNAPPY], &whole),
        415,
        &[],
    );
    let huge = vec![0u8; 80 << 20];
    let answer = write(node, &[V1, SNAPPY], &huge);
    expect("a body over the limit", &answer, 413, &[]);
    let bomb = snap::raw::Encoder::new()
        .compress_vec(&vec![0u8; 300 << 20])
        .unwrap();
    expect("a bomb", &write(node, &[V1, SNAPPY], &bomb), 413, &[]);
    assert_eq!(
        write(node, &[V1, SNAPPY], &body(vec![])).status / 100,
        2,
        "nothing at all is a success"
    );
}

#[allow(clippy::too_many_lines, reason = "a list of cases")]
fn bad_labels(node: &Cairn) {
    let now = now_ms();
    let good = || {
        series(
            &[("__name__", "good_rest"), ("try", &now.to_string())],
            &[(now, 7.0)],
        )
    };
    let long = "v".repeat(1 << 20);
    // What is wrong, the labels, and what the answer names.
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);
    let cases: &[Case<'_>] = &[
        ("no name", vec![("a", "b")], "__name__"),
        (
            "twice",
            vec![("__name__", "twice"), ("a", "1"), ("a", "2")],
            "twice",
        ),
        (
            "empty label name",
            vec![("__name__", "empty"), ("", "1")],
            "empty",
        ),
        (
            "huge value",
            vec![("__name__", "huge"), ("a", &long)],
            "huge",
        ),
    ];
    for (what, labels, part) in cases {
        let answer = send(
            &node.url(),
            &body(vec![series(labels, &[(now, 1.0)]), good()]),
        )
        .unwrap();
        expect(what, &answer, 400, &[part]);
        assert!(
            answer.body.len() < 10_000,
            "{what}: an answer of {} bytes",
            answer.body.len()
        );
    }
    let future = body(vec![
        series(&[("__name__", "future")], &[(now + 86_400_000, 1.0)]),
        good(),
    ]);
    expect(
        "a day in the future",
        &send(&node.url(), &future).unwrap(),
        400,
        &["future"],
    );
    let kept = node.query(&format!("good_rest{{try=\"{now}\"}}"));
    assert_eq!(kept[0]["value"][1], "7", "the valid rest is stored: {kept}");
    assert_eq!(
        node.query("{__name__=~\"twice|empty|huge|future\"}")
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    // Invalid UTF-8 in a label value.
    let mut raw = snap::raw::Decoder::new()
        .decompress_vec(&body(vec![series(
            &[("__name__", "badutf")],
            &[(now, 1.0)],
        )]))
        .unwrap();
    let at = raw
        .windows(6)
        .position(|window| window == b"badutf")
        .unwrap();
    raw[at] = 0xff;
    let bytes = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
    expect(
        "invalid UTF-8",
        &send(&node.url(), &bytes).unwrap(),
        400,
        &["UTF-8"],
    );
}

fn bad_queries(node: &Cairn) {
    let ask = |query: &str| node.api("query", &[("query", query)]);
    expect("syntax", &ask("sum(up"), 400, &["bad_data", "parse error"]);
    expect("position", &ask("up + + "), 400, &["1:"]);
    expect("type", &ask("rate(up)"), 400, &["range vector"]);
    expect("unknown function", &ask("nope(up)"), 400, &["nope"]);
    expect("regex", &ask("up{a=~\"(\"}"), 400, &[]);
    expect(
        "matches everything",
        &ask("{a=~\".*\"}"),
        400,
        &["at least one"],
    );
    let range = |start: &str, end: &str, step: &str| {
        node.api(
            "query_range",
            &[
                ("query", "up"),
                ("start", start),
                ("end", end),
                ("step", step),
            ],
        )
    };
    expect(
        "too many points",
        &range("0", "100000", "1"),
        400,
        &["11,000"],
    );
    expect("end before start", &range("100", "0", "1"), 400, &[]);
    expect("no step", &range("0", "100", "0"), 400, &["step"]);
    let deep = format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000));
    expect("too deep", &ask(&deep), 400, &[]);
    let answer = get(&format!("{}/api/v1/nothing", node.url())).unwrap();
    expect("unknown path", &answer, 404, &["page not found"]);
    expect(
        "no match[]",
        &get(&format!("{}/api/v1/series", node.url())).unwrap(),
        400,
        &["match[]"],
    );
}

#[test]
fn bad_input_is_named_and_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let node = Cairn::start(folder.path(), &[]);
    bad_bodies(&node);
    bad_labels(&node);
    bad_queries(&node);
    assert_eq!(get(&format!("{}/-/ready", node.url())).unwrap().status, 200);
    assert!(
        !node.server.output().contains("panicked"),
        "{}",
        node.server.output()
    );
}
