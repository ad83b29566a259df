//! Queries: would catch an answer that is not Prometheus', and one that nobody waits for.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn queries_answer_as_prometheus_does() {
    let server = start(false).await;
    for (path, status, want) in [
        // What Grafana's "save & test" asks.
        (
            "query?query=1%2B1&time=4",
            200,
            r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#,
        ),
        (
            "query?query=up&time=295.5",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[295.500,"1"]},{"metric":{"__name__":"up","job":"b"},"value":[295.500,"0"]}]}}"#,
        ),
        (
            "query?query=up&limit=1",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[300,"1"]}]},"warnings":["results truncated due to limit"]}"#,
        ),
        (
            "query?query=nothing",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        ),
        (
            "query?query=%22text%22&time=1",
            200,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"text"]}}"#,
        ),
        (
            "query?query=%7B%22http.x%22%7D%5B15s%5D&time=30",
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"http.x","http.route":"/"},"values":[[20,"0.5"],[30,"0.5"]]}]}}"#,
        ),
        (
            "query_range?query=sum(up)&start=10&end=30&step=10",
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[10,"1"],[20,"1"],[30,"1"]]}]}}"#,
        ),
        (
            "query?query=sum(",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}"#,
        ),
        (
            "query_range?query=up&start=10&end=5&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": end timestamp must not be before start time"}"#,
        ),
        (
            "query_range?query=up&start=0&end=5&step=0",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"}"#,
        ),
        (
            "query_range?query=up&start=0&end=100000&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}"#,
        ),
        (
            "query_range?query=up%5B5m%5D&start=0&end=10&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"}"#,
        ),
    ] {
        server.check(&format!("/api/v1/{path}"), status, want).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_by_form_with_stats_and_annotations() {
    let server = start(false).await;
    let got = server
        .post(
            "/prometheus/api/v1/query",
            "query=rate(up%5B1m%5D)&stats=true",
        )
        .await;
    let json: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(json["data"]["result"][0]["metric"]["job"], "a");
    assert!(json["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64() > Some(0));
    assert!(json["data"]["stats"]["timings"]["execTotalTime"].is_number());
    let info = json["infos"][0].as_str().unwrap();
    assert!(info.contains("metric might not be a counter"), "{info}");
    assert!(info.ends_with("\"up\" (1:6)"), "{info}");
    let got = server.post("/api/v1/query", "query=1&stats=yes").await;
    assert!(got.text().contains("deprecated"), "{}", got.text());
    let got = server
        .post("/api/v1/query", "query=up&time=350&lookback_delta=30s")
        .await;
    assert!(got.text().contains(r#""result":[]"#), "{}", got.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_past_its_time_is_ended() {
    let server = start(false).await;
    let got = server
        .post("/api/v1/query", "query=slow&timeout=0.05")
        .await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        got.text().contains(r#""errorType":"timeout""#),
        "{}",
        got.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_ends_its_query() {
    use tokio::io::AsyncWriteExt;
    let server = start(false).await;
    let address = server.base.trim_start_matches("http://");
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    connection
        .write_all(b"GET /api/v1/query?query=slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!server.stopped.load(Ordering::Acquire));
    drop(connection);
    for _ in 0..500 {
        if server.stopped.load(Ordering::Acquire) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the query went on after its client had left");
}
