//! What other stores ask: would catch a format that is not the one its media type says, a wrong
//! time, an envelope around what is no JSON.

use super::*;

async fn scrape(server: &Running, path: &str, accept: &str) -> (String, String) {
    let request = Request::get(format!("{}{path}", server.base)).header("accept", accept);
    let got = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.text());
    let media = got.headers["content-type"].to_str().unwrap().to_owned();
    (media, got.text().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn federation_shows_the_newest_samples() {
    let server = start(false).await;
    let all = "/federate?match[]=%7Bjob!=%22%22%7D&match[]=up&match[]=%7B__name__=~%22http.*%22%7D";
    let (media, text) = scrape(&server, all, "*/*").await;
    assert!(media.starts_with("text/plain; version=0.0.4;"), "{media}");
    assert_eq!(
        text,
        "# TYPE http_x untyped\nhttp_x{http_route=\"/\",instance=\"\"} 0.5 300000\n\
         # TYPE up untyped\nup{job=\"a\",instance=\"\"} 1 300000\nup{job=\"b\",instance=\"\"} 0 300000\n"
    );
    let accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8";
    let (media, text) = scrape(&server, all, accept).await;
    assert!(
        media.starts_with("application/openmetrics-text; version=1.0.0;"),
        "{media}"
    );
    assert_eq!(
        text,
        "# TYPE \"http.x\" unknown\n{\"http.x\",\"http.route\"=\"/\",instance=\"\"} 0.5 300.000\n\
         # TYPE up unknown\nup{job=\"a\",instance=\"\"} 1 300.000\nup{job=\"b\",instance=\"\"} 0 300.000\n# EOF\n"
    );
    // Nothing asked, nothing found: no error in Prometheus either.
    for path in ["/federate", "/prometheus/federate?match[]=nothing"] {
        assert_eq!(scrape(&server, path, "").await.1, "", "{path}");
    }
    server
        .check(
            "/federate?match[]=%7B",
            400,
            "1:2: parse error: unexpected end of input inside braces\n",
        )
        .await;
    server.ready.store(false, Ordering::Release);
    server
        .check("/federate?match[]=up", 503, "the log is being read\n")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_reader_gets_what_it_accepts() {
    let server = start(false).await;
    // One query of all times for job="a"; then the kinds of answers that are accepted.
    let query = b"\x0a\x18\x08\x00\x10\xff\xff\xff\xff\x0f\x1a\x0a\x08\x00\x12\x03job\x1a\x01a\x22\x00\x2a\x00";
    for (kinds, media) in [
        (&b""[..], "application/x-protobuf"),
        (
            b"\x12\x02\x01\x00",
            "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
        ),
    ] {
        let message = [&query[..], kinds].concat();
        let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
        let request = Request::post(format!("{}/prometheus/api/v1/read", server.base));
        let got = server.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(
            got.status,
            StatusCode::OK,
            "{}",
            String::from_utf8_lossy(&got.body)
        );
        assert_eq!(got.headers["content-type"], media);
        let listed = kinds.is_empty();
        assert_eq!(got.headers.contains_key("content-encoding"), listed);
        let body = if listed {
            snap::raw::Decoder::new().decompress_vec(&got.body).unwrap()
        } else {
            got.body
        };
        let labels = b"\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x08\x0a\x03job\x12\x01a";
        assert!(
            body.windows(labels.len()).any(|part| part == labels),
            "{body:?}"
        );
    }
    let request = Request::post(format!("{}/api/v1/read", server.base));
    let got = server.send(request.body(Body::from("x")).unwrap()).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    assert!(
        got.text().starts_with("the request is no snappy block"),
        "{}",
        got.text()
    );
}
