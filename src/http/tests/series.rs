//! Series, labels and what is known of them; answers that are not whole.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn series_and_labels() {
    let server = start(false).await;
    let all = "start=0&end=300";
    for (path, status, want) in [
        (
            format!("/api/v1/series?match[]=up&{all}"),
            200,
            r#"{"status":"success","data":[{"__name__":"up","job":"a"},{"__name__":"up","job":"b"}]}"#,
        ),
        (
            format!("/api/v1/series?match[]=up&match[]=%7Bjob=%22a%22%7D&limit=1&{all}"),
            200,
            r#"{"status":"success","data":[{"__name__":"up","job":"a"}],"warnings":["results truncated due to limit"]}"#,
        ),
        (
            "/api/v1/series?match[]=up&start=400".to_owned(),
            200,
            r#"{"status":"success","data":[]}"#,
        ),
        (
            "/api/v1/series".to_owned(),
            400,
            r#"{"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}"#,
        ),
        (
            "/api/v1/series?match[]=up&start=x".to_owned(),
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"}"#,
        ),
        (
            "/api/v1/labels?match[]=%7Bjob=~%22.*%22%7D".to_owned(),
            400,
            r#"{"status":"error","errorType":"bad_data","error":"match[] must contain at least one non-empty matcher"}"#,
        ),
        (
            format!("/prometheus/api/v1/labels?{all}"),
            200,
            r#"{"status":"success","data":["__name__","http.route","job"]}"#,
        ),
        (
            "/api/v1/labels?match[]=up&limit=1".to_owned(),
            200,
            r#"{"status":"success","data":["__name__"],"warnings":["results truncated due to limit"]}"#,
        ),
        (
            "/api/v1/label/job/values".to_owned(),
            200,
            r#"{"status":"success","data":["a","b"]}"#,
        ),
        (
            "/api/v1/label/U__http_2e_route/values".to_owned(),
            200,
            r#"{"status":"success","data":["/"]}"#,
        ),
        (
            "/api/v1/label/__name__/values?match[]=up".to_owned(),
            200,
            r#"{"status":"success","data":["up"]}"#,
        ),
    ] {
        server.check(&path, status, want).await;
    }
    let got = server.post("/api/v1/series", "match[]=up&limit=1").await;
    assert!(got.text().contains("truncated"), "{}", got.text());
    let got = server.post("/api/v1/label/job/values", "").await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_exemplars_and_text() {
    let server = start(false).await;
    for (path, status, want) in [
        (
            "/api/v1/query_exemplars?query=up%7Bjob=%22a%22%7D",
            200,
            r#"{"status":"success","data":[{"seriesLabels":{"__name__":"up","job":"a"},"exemplars":[{"labels":{"trace_id":"abc"},"value":"0.25","timestamp":1.500}]}]}"#,
        ),
        ("/api/v1/query_exemplars?query=1", 204, ""),
        (
            "/api/v1/metadata",
            200,
            r#"{"status":"success","data":{"a_total":[{"type":"counter","help":"A \"count\".","unit":""}],"up":[{"type":"gauge","help":"new","unit":""},{"type":"unknown","help":"old","unit":""}]}}"#,
        ),
        (
            "/api/v1/metadata?metric=up&limit_per_metric=1",
            200,
            r#"{"status":"success","data":{"up":[{"type":"gauge","help":"new","unit":""}]}}"#,
        ),
        (
            "/api/v1/metadata?limit=0",
            200,
            r#"{"status":"success","data":{}}"#,
        ),
        (
            "/api/v1/metadata?limit=x",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"limit must be a number"}"#,
        ),
        (
            "/api/v1/format_query?query=sum%20%20(up)by(job)",
            200,
            r#"{"status":"success","data":"sum by (job) (up)"}"#,
        ),
    ] {
        server.check(path, status, want).await;
    }
    let tree = server.post("/api/v1/parse_query", "query=1").await;
    assert!(tree.text().contains("numberLiteral"), "{}", tree.text());
    let error = server.get("/api/v1/format_query?query=sum(").await;
    assert_eq!(error.status, StatusCode::BAD_REQUEST);
    assert!(
        error
            .text()
            .contains(r#"invalid parameter \"query\": 1:5: parse error"#),
        "{}",
        error.text()
    );
}

/// Would catch an answer that lacks something and does not say so, and one that may lack something
/// without having been asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_partial_answer_is_asked_for_and_carries_a_warning() {
    let server = start(false).await;
    let whole = server.get("/api/v1/labels").await.text().to_owned();
    let warned = whole.replace("]}", r#"],"warnings":["board-2 is away"]}"#);
    for (asked, status, want) in [
        ("false", 200, whole.as_str()),
        ("", 200, whole.as_str()),
        ("true", 200, warned.as_str()),
        (
            "maybe",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"partial_response\": \"maybe\" is neither true nor false"}"#,
        ),
    ] {
        let path = format!("/api/v1/labels?partial_response={asked}");
        server.check(&path, status, want).await;
    }
}
